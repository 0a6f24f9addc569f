//! The plans of all statements, including writes: they use the indexes and never scan a whole
//! table; statistics read no row of it.

use callscope::access::token;
use callscope::config::DatabaseConfig;
use callscope::domain::id_range::IdRange;
use callscope::domain::record::CallRecord;
use callscope::domain::table::LogTable;
use callscope::store::export::{self, ExportScope};
use callscope::store::import::{self, Import, Position};
use callscope::store::text_index::{self, Step};
use callscope::store::write::Batch;
use callscope::store::{
    Database, classification, idempotency, lease, retention, token as tokens, write,
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;

use crate::rollups::folded;
use crate::support::{CallRow, ErrorRow, Kind, NOW, NULL, TestApp, TestDatabase};
use crate::tests;

tests! {
    lists_and_lookups_scan_no_table,
    statistics_read_only_an_index,
    statistics_of_rollups_scan_no_calls,
    error_statistics_scan_no_table,
    old_rows_are_found_by_an_index,
    an_export_scans_no_table,
    a_page_of_a_window_starts_at_its_cursor.only(&[Kind::Sqlite]),
    writes_scan_no_table,
    searches_by_the_index_scan_no_table.only(&[Kind::Sqlite]),
}

const KEYS: i64 = 150;

/// 20,000 calls and 2,000 error logs over 240 days, and the planners' statistics of them.
async fn fill(database: &TestDatabase) {
    let now: chrono::DateTime<chrono::Utc> = NOW.parse().unwrap();
    let key = |number: i64| format!("FakeSyPlan{:029}", number % KEYS);
    let model = |number: i64| format!("gemini-2.5-{}", number % 7);
    let calls: Vec<CallRow> = (0..20_000)
        .map(|number: i64| {
            let at = now - chrono::TimeDelta::milliseconds(number * 1_036_800 + 1);
            let status = if number % 10 == 3 { 429 } else { 200 };
            let row = CallRow::at_stored(at).key(key(number * 7)).model(model(number));
            let latency = i32::try_from(number * 37 % 5000).unwrap();
            if number % 500 == 9 {
                row.status(NULL).latency(NULL)
            } else {
                row.status(status).latency(latency)
            }
        })
        .collect();
    let errors: Vec<ErrorRow> = (0..2_000)
        .map(|number: i64| {
            let of = number * 10 + 3;
            let at = now - chrono::TimeDelta::milliseconds(of * 1_036_800);
            ErrorRow::at_stored(at)
                .key(key(of * 7))
                .model(model(of))
                .error_type(["gemini-chat-stream", "openai-chat-stream"][of as usize % 2])
                .code(if number % 9 == 0 { 403 } else { 429 })
                .log("quota exceeded for this project ".repeat(12))
                .request(format!("{{\"contents\": \"{}\"}}", "a longer text ".repeat(30)))
        })
        .collect();
    database.insert(&calls).await;
    database.insert(&errors).await;
    for table in ["t_request_log", "t_error_logs"] {
        match database.kind() {
            Kind::Sqlite => database.execute(&format!("ANALYZE {table}")).await,
            Kind::Postgres => vacuum(database, table).await,
            Kind::MariaDb => database.execute(&format!("ANALYZE TABLE {table}")).await,
        }
    }
}

/// Index-only scans need the visibility map, which VACUUM writes only for rows that are visible to all
/// transactions of the server: those of parallel tests may have to end first.
async fn vacuum(database: &TestDatabase, table: &str) {
    let visible =
        format!("SELECT relallvisible = relpages FROM pg_class WHERE relname = '{table}'");
    loop {
        database.execute(&format!("VACUUM ANALYZE {table}")).await;
        if database.value(&visible).await == true {
            break;
        }
    }
}

/// The table accesses that a plan may have.
#[derive(Clone, Copy, PartialEq)]
enum Allowed {
    /// Rows found by an index.
    Rows,
    /// A range of a covering index.
    IndexAlone,
}

/// Fails for each disallowed table access in a plan.
async fn check(database: &TestDatabase, app: &TestApp, query: &str, allowed: Allowed) {
    let statements = app.sql(query).await;
    check_statements(database, query, statements, allowed).await;
}

async fn check_statements(
    database: &TestDatabase,
    query: &str,
    statements: Vec<String>,
    allowed: Allowed,
) {
    assert!(!statements.is_empty(), "no statement for {query}");
    for sql in statements.iter().filter(|sql| has_plan(sql)) {
        let wrong = match database.kind() {
            Kind::Sqlite => sqlite_faults(database, sql, allowed).await,
            Kind::Postgres => postgres_faults(database, sql, allowed).await,
            Kind::MariaDb => mariadb_faults(database, sql, allowed).await,
        };
        assert!(wrong.is_empty(), "{query}\n{sql}\n{}", wrong.join("\n"));
    }
}

/// The tables that grow; a scan of the others is as good as an index. Groups by class join all rows of
/// `callscope_failures`.
fn is_large(table: &str) -> bool {
    matches!(
        table,
        "t_request_log"
            | "t_error_logs"
            | "callscope_idempotency"
            | "callscope_audit"
            | "callscope_text_index"
    )
}

/// The other statements set up a session or maintain the file.
fn has_plan(sql: &str) -> bool {
    ["SELECT", "WITH", "INSERT", "UPDATE", "DELETE"].iter().any(|verb| sql.starts_with(verb))
}

async fn sqlite_faults(database: &TestDatabase, sql: &str, allowed: Allowed) -> Vec<String> {
    // A clause after the INSERT only reads the id of its last row.
    let sql = sql.strip_suffix("; SELECT last_insert_rowid()").unwrap_or(sql);
    let plan = database.query(&format!("EXPLAIN QUERY PLAN {sql}")).await;
    let steps = plan.iter().filter_map(|row| row[3].as_str());
    let accesses = steps.filter(|step| {
        let mut words = step.split(' ');
        let verb = words.next();
        matches!(verb, Some("SCAN" | "SEARCH"))
            && words.next().is_some_and(is_large)
            // A search of FTS5 for trigrams, or for a row.
            && !step.contains("VIRTUAL TABLE INDEX 0:M") && !step.contains("VIRTUAL TABLE INDEX 0:=")
    });
    let fault = |step: &&str| match allowed {
        _ if step.starts_with("SCAN") => true,
        Allowed::Rows => false,
        Allowed::IndexAlone => !step.contains("COVERING INDEX"),
    };
    accesses.filter(fault).map(str::to_owned).collect()
}

async fn postgres_faults(database: &TestDatabase, sql: &str, allowed: Allowed) -> Vec<String> {
    let plan = database.value(&format!("EXPLAIN (COSTS OFF, FORMAT JSON) {sql}")).await;
    let plan: Value = serde_json::from_str(plan.as_str().unwrap()).unwrap();
    let mut nodes = vec![&plan[0]["Plan"]];
    let mut wrong = vec![];
    while let Some(node) = nodes.pop() {
        nodes.extend(node["Plans"].as_array().into_iter().flatten());
        if !node["Relation Name"].as_str().is_some_and(is_large) {
            continue;
        }
        let kind = node["Node Type"].as_str().unwrap();
        // This node changes the rows that its plans find.
        if kind == "ModifyTable" {
            continue;
        }
        let whole = node["Index Cond"].is_null() && kind != "Bitmap Heap Scan";
        if whole || allowed == Allowed::IndexAlone && kind != "Index Only Scan" {
            wrong.push(node.to_string());
        }
    }
    wrong
}

async fn mariadb_faults(database: &TestDatabase, sql: &str, allowed: Allowed) -> Vec<String> {
    let plan = database.query(&format!("EXPLAIN {sql}")).await;
    let text = |row: &[Value], column: usize| row[column].as_str().unwrap_or("").to_owned();
    let fault = |row: &&Vec<Value>| {
        let (kind, extra) = (text(row, 3), text(row, 9));
        // For each gap, a range of ids.
        let is_scan = matches!(kind.as_str(), "ALL" | "index");
        is_scan && !extra.starts_with("Range checked")
            || allowed == Allowed::IndexAlone && !extra.contains("Using index")
            // A condition that only filters rows of the whole index, or a plan made per row.
            || extra.contains("Using index condition") && allowed == Allowed::IndexAlone
    };
    // New rows need no search.
    let searched = |row: &&Vec<Value>| is_large(&text(row, 2)) && text(row, 1) != "INSERT";
    plan.iter().filter(searched).filter(fault).map(|row| format!("{row:?}")).collect()
}

async fn key_id(app: &TestApp) -> String {
    let data = app.data("{ apiKeys(first: 1) { nodes { id } } }").await;
    data["apiKeys"]["nodes"][0]["id"].as_str().unwrap().to_owned()
}

/// Classifies all error logs: a query would do it for a large part of this table, by a list of ids.
async fn classify(database: &TestDatabase, app: &TestApp) {
    classification::add_all(app.db()).await.unwrap();
    let table = if database.kind() == Kind::MariaDb { "TABLE" } else { "" };
    database.execute(&format!("ANALYZE {table} callscope_failures")).await;
}

async fn lists_and_lookups_scan_no_table(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start(&database).await;
    classify(&database, &app).await;
    let id = key_id(&app).await;
    let call = "{ nodes { id timestamp apiKey { masked } model statusCode latencyMs errorLog { message } } pageInfo { endCursor } totalCount }";
    let error = "{ nodes { id timestamp message request } pageInfo { endCursor } }";
    let mut queries = vec![
        "{ node(id: \"call_7\") { id } }".to_owned(),
        "{ nodes(ids: [\"call_7\", \"call_8\", \"error_9\", \"error_10\"]) { id } }".to_owned(),
        format!("{{ errorLookup(key: \"{id}\", timestamp: \"{NOW}\") {{ id request }} }}"),
        format!(
            "{{ errorLookup(key: \"{id}\", timestamp: \"{NOW}\", statusCode: 429, windowSeconds: 300) {{ id }} }}"
        ),
        "{ apiKeys(first: 20) { nodes { masked firstSeenAt lastSeenAt } } }".to_owned(),
        format!(
            "{{ apiKey(key: \"{id}\") {{ firstSeenAt calls(period: LAST_30_DAYS, first: 5) {call} errorLogs(first: 5) {error} }} }}"
        ),
        format!(
            "{{ apiKeys(first: 5) {{ nodes {{ calls(period: LAST_30_DAYS, first: 5) {call} errorLogs(first: 5) {error} }} }} }}"
        ),
    ];
    for order in ["NEWEST_FIRST", "OLDEST_FIRST", "SLOWEST_FIRST"] {
        for scope in [
            "period: LAST_HOUR",
            "period: LAST_24_HOURS",
            "period: LAST_30_DAYS, filter: { status: FAILURE }",
            "period: LAST_7_DAYS, filter: { models: [\"gemini-2.5-1\"], statusCodes: [429, 403], minLatencyMs: 10 }",
            "period: LAST_30_DAYS, filter: { excludeModels: [\"gemini-2.5-1\"], excludeStatusCodes: [200] }",
            &format!("period: LAST_30_DAYS, filter: {{ excludeKeys: [\"{id}\"] }}"),
            &format!("period: LAST_30_DAYS, key: \"{id}\""),
        ] {
            queries.push(format!("{{ callDetails({scope}, orderBy: {order}, first: 20) {call} }}"));
            queries.push(format!("{{ callDetails({scope}, orderBy: {order}, last: 20) {call} }}"));
        }
    }
    for order in ["NEWEST_FIRST", "OLDEST_FIRST"] {
        for filter in [
            "",
            "models: [\"gemini-2.5-3\"]",
            "errorTypes: [\"openai-chat-stream\"], errorCodes: [429]",
            "excludeErrorTypes: [\"gemini-chat\"], excludeErrorCodes: [403]",
            &format!("excludeKeys: [\"{id}\"], excludeModels: [\"gemini-2.5-3\"]"),
            "contains: \"QUOTA\"",
            &format!("keys: [\"{id}\"]"),
            "keyContains: \"00000000003\"",
            "since: \"2026-02-01T00:00:00Z\"",
            "until: \"2026-01-01T00:00:00Z\", contains: \"exceeded\"",
            "failureClasses: [QUOTA_OTHER]",
            "excludeFailureClasses: [UNKNOWN], messageTemplates: [\"t1\"]",
        ] {
            // PostgreSQL joins all rows of a table as small as this one.
            if database.kind() == Kind::Postgres && filter.contains("ailureClasses") {
                continue;
            }
            queries.push(format!(
                "{{ errorLogs(filter: {{ {filter} }}, orderBy: {order}, first: 20) {error} }}"
            ));
            queries.push(format!(
                "{{ errorLogs(filter: {{ {filter} }}, orderBy: {order}, last: 20) {error} }}"
            ));
        }
    }
    let data = app
        .data("{ callDetails(period: LAST_30_DAYS, first: 50) { pageInfo { endCursor } } errorLogs(first: 50) { pageInfo { endCursor } } }")
        .await;
    let cursor = |list: &str| data[list]["pageInfo"]["endCursor"].as_str().unwrap().to_owned();
    let (calls, errors) = (cursor("callDetails"), cursor("errorLogs"));
    queries.push(format!(
        "{{ callDetails(period: LAST_30_DAYS, first: 20, after: \"{calls}\") {call} }}"
    ));
    queries.push(format!(
        "{{ callDetails(period: LAST_30_DAYS, last: 20, before: \"{calls}\") {call} }}"
    ));
    queries.push(format!("{{ errorLogs(first: 20, after: \"{errors}\") {error} }}"));
    queries.push(format!("{{ errorLogs(last: 20, before: \"{errors}\") {error} }}"));
    for query in &queries {
        check(&database, &app, query, Allowed::Rows).await;
    }
}

async fn statistics_read_only_an_index(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start(&database).await;
    for query in statistics(&key_id(&app).await) {
        check(&database, &app, &query, Allowed::IndexAlone).await;
    }
}

async fn statistics_of_rollups_scan_no_calls(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start_with(&database, |config| {
        (config.database.rollups, config.database.rollup_from_calls) = (true, 0);
    })
    .await;
    folded(&app).await;
    // Calls that are not folded: above the watermark, and in a gap.
    let new: Vec<CallRow> = (0..20).map(|_| CallRow::at("2026-02-20T10:00:00Z")).collect();
    database.insert(&new).await;
    database.execute("INSERT INTO callscope_rollup_gaps VALUES (5000, 5002, NULL, NULL)").await;
    for query in statistics(&key_id(&app).await) {
        let mut statements = app.sql(&query).await;
        // Of another background job.
        statements.retain(|sql| !sql.contains("callscope_idempotency"));
        check_statements(&database, &query, statements, Allowed::Rows).await;
    }
}

/// Queries of statistics, also of the key with this id.
fn statistics(id: &str) -> Vec<String> {
    let windows = "{ lastMinute { total } lastHour { failure } last24Hours { total } currentMonth { success } last(duration: \"P20D\") { total } }";
    let counts = "counts { total failure successRate }";
    let latency = "latency { count avg min p50 p95 max }";
    let mut queries = vec![
        format!("{{ usageStats {windows} }}"),
        format!("{{ usageStats(key: \"{id}\") {windows} }}"),
        format!(
            "{{ apiKey(key: \"{id}\") {{ counts(period: LAST_24_HOURS) {{ total }} latency(period: LAST_7_DAYS) {{ p95 }} models(period: LAST_24_HOURS) {{ model {counts} {latency} }} }} }}"
        ),
        format!(
            "{{ apiKeys(first: 20) {{ nodes {{ counts(period: LAST_24_HOURS) {{ total }} latency(period: LAST_7_DAYS) {{ p95 }} models(period: LAST_24_HOURS) {{ model {counts} }} }} }} }}"
        ),
        "{ callDetails(period: LAST_7_DAYS) { totalCount } }".to_owned(),
        format!(
            "{{ callDetails(period: LAST_7_DAYS, key: \"{id}\", filter: {{ status: FAILURE }}) {{ totalCount }} }}"
        ),
    ];
    let filters = [
        "",
        ", filter: { status: FAILURE, models: [\"gemini-2.5-1\"] }",
        ", filter: { statusCodes: [429], maxLatencyMs: 900 }",
        &format!(", filter: {{ excludeKeys: [\"{id}\"], excludeStatusCodes: [200] }}"),
    ];
    let key = format!(", key: \"{id}\"");
    for fields in [counts.to_owned(), format!("{counts} {latency}")] {
        for scope in filters.iter().copied().chain([key.as_str()]) {
            for period in ["LAST_24_HOURS", "LAST_30_DAYS"] {
                queries.push(format!(
                    "{{ callSeries(period: {period}{scope}) {{ start {fields} }} }}"
                ));
            }
            for by in
                ["API_KEY", "MODEL", "STATUS_CODE", "STATUS", "API_KEY, MODEL, STATUS_CODE, STATUS"]
            {
                for order in ["TOTAL_DESC", "P95_LATENCY_DESC"] {
                    queries.push(format!("{{ callGroups(by: [{by}], period: LAST_7_DAYS{scope}, orderBy: {order}) {{ {fields} }} }}"));
                }
            }
        }
    }
    queries
}

async fn error_statistics_scan_no_table(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start(&database).await;
    classify(&database, &app).await;
    let id = key_id(&app).await;
    let group = "{ count firstSeenAt lastSeenAt latest { id } }";
    let since = "since: \"2026-02-01T00:00:00Z\"";
    for by in [
        "API_KEY",
        "MODEL",
        "ERROR_TYPE",
        "ERROR_CODE",
        "API_KEY, MODEL, ERROR_TYPE, ERROR_CODE",
        "FAILURE_CLASS",
        "FAILURE_CLASS, MESSAGE_TEMPLATE, MODEL",
    ] {
        for filter in [
            since.to_owned(),
            format!("{since}, errorCodes: [429]"),
            format!("keys: [\"{id}\"]"),
            "since: \"2026-02-22T00:00:00Z\", contains: \"quota\"".to_owned(),
        ] {
            let query = format!("{{ errorGroups(by: [{by}], filter: {{ {filter} }}) {group} }}");
            check(&database, &app, &query, Allowed::Rows).await;
        }
    }
    for filter in [
        since.to_owned(),
        format!("{since}, errorTypes: [\"openai-chat-stream\"], models: [\"gemini-2.5-2\"]"),
        "errorCodes: [403]".to_owned(),
        String::new(),
        format!("keys: [\"{id}\"]"),
    ] {
        let query = format!("{{ errorLogs(filter: {{ {filter} }}) {{ totalCount }} }}");
        check(&database, &app, &query, Allowed::IndexAlone).await;
    }
}

/// Also from the middle on, where a prune continues after the rows that it deleted.
async fn old_rows_are_found_by_an_index(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start(&database).await;
    for table in LogTable::ALL {
        for days in [1, 90, 230] {
            let before = app.clock.now() - chrono::TimeDelta::days(days);
            app.db().record();
            let first = retention::find(app.db(), table, before, None, 128).await.unwrap();
            retention::find(app.db(), table, before, first.last, 128).await.unwrap();
            retention::newest(app.db(), table, before).await.unwrap();
            if days == 1 {
                retention::count_since(app.db(), table, before).await.unwrap();
            }
            // Counting most of a table correctly reads all of it.
            if days == 230 {
                retention::count(app.db(), table, before).await.unwrap();
            }
            let statements = app.db().record();
            let name = format!("{table:?} before {before}");
            check_statements(&database, &name, statements, Allowed::IndexAlone).await;
        }
    }
    let storage = "{ serverInfo { storage { calls { oldest newest } } } }";
    let ends = app.sql(storage).await.into_iter().filter(|sql| sql.contains("request_time"));
    check_statements(&database, storage, ends.collect(), Allowed::IndexAlone).await;
}

async fn an_export_scans_no_table(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start(&database).await;
    let now = app.clock.now();
    let since = Some(now - chrono::TimeDelta::days(9));
    let key = Some(vec!["FakeSyPlan00000000000000000000000000007".to_owned()]);
    for table in LogTable::ALL {
        for scope in [
            ExportScope::default(),
            ExportScope { since, until: Some(now), ..ExportScope::default() },
            ExportScope { since, keys: key.clone(), ..ExportScope::default() },
            ExportScope { models: Some(vec!["gemini-2.5-3".into()]), ..ExportScope::default() },
        ] {
            app.db().record();
            let first = export::page(app.db(), table, &scope, None, 50).await.unwrap();
            export::page(app.db(), table, &scope, first.last, 50).await.unwrap();
            let name = format!("{table:?} {scope:?}");
            check_statements(&database, &name, app.db().record(), Allowed::Rows).await;
        }
    }
}

/// Where a statement starts to read the index by time, or ends: the value of the first search in its program.
async fn sqlite_start(database: &TestDatabase, sql: &str) -> String {
    let program = database.query(&format!("EXPLAIN {sql}")).await;
    let is_seek = |row: &&Vec<Value>| row[1].as_str().is_some_and(|name| name.starts_with("Seek"));
    let seek = program.iter().find(is_seek).expect("the statement has no range");
    let register = seek[4].clone();
    let loads = |row: &&Vec<Value>| row[1] == "String8" && row[3] == register;
    let load = program.iter().find(loads).expect("the range starts at no text");
    load[5].as_str().unwrap().to_owned()
}

async fn a_page_of_a_window_starts_at_its_cursor(database: TestDatabase) {
    fill(&database).await;
    let app = TestApp::start(&database).await;
    let window = "since: \"2026-02-01T00:00:00Z\", until: \"2026-02-28T00:00:00Z\"";
    for (list, lists) in [
        ("callDetails", format!("callDetails(between: {{ {window} }}, ")),
        ("errorLogs", format!("errorLogs(filter: {{ {window} }}, ")),
    ] {
        for order in ["OLDEST_FIRST", "NEWEST_FIRST"] {
            for (from, cursor) in [("first", "after"), ("last", "before")] {
                let page = format!("{lists} orderBy: {order}, {from}: 5");
                let fields = "{ nodes { timestamp } pageInfo { startCursor endCursor } }";
                let data = app.data(&format!("{{ {page}) {fields} }}")).await[list].clone();
                let (at, row) = if from == "first" { ("endCursor", 4) } else { ("startCursor", 0) };
                let last: DateTime<Utc> =
                    data["nodes"][row]["timestamp"].as_str().unwrap().parse().unwrap();
                let at = &data["pageInfo"][at];
                let next = app.sql(&format!("{{ {page}, {cursor}: {at}) {fields} }}")).await;
                let start = sqlite_start(&database, &next[0]).await;
                assert_eq!(start, last.format("%F %T%.6f").to_string(), "{page} {}", next[0]);
            }
        }
    }
    let scope = ExportScope {
        since: Some("2026-02-01T00:00:00Z".parse().unwrap()),
        until: Some("2026-02-28T00:00:00Z".parse().unwrap()),
        ..ExportScope::default()
    };
    for table in LogTable::ALL {
        let first = export::page(app.db(), table, &scope, None, 50).await.unwrap();
        app.db().record();
        let last = first.last.clone().unwrap().stored.at;
        export::page(app.db(), table, &scope, first.last, 50).await.unwrap();
        let start = sqlite_start(&database, &app.db().record()[0]).await;
        assert_eq!(start, last.format("%F %T%.6f").to_string(), "{table:?}");
    }
}

/// 5,000 idempotency keys, of which 50 are older than a day, and as many entries of the audit log.
async fn fill_own_tables(database: &TestDatabase) {
    let key = |number: i64| {
        let time = if number < 50 { "2026-02-27T12:00:00" } else { "2026-03-01T11:00:00" };
        format!("('{number:064x}', '{number:064x}', '{number}', '', '{time}.{number:06}Z')")
    };
    let keys: Vec<String> = (0..5000).map(key).collect();
    let insert = format!("INSERT INTO callscope_idempotency VALUES {}", keys.join(", "));
    database.execute(&insert).await;
    let entry = |number: i64| {
        let time = "2026-02-27T12:00:00.000000Z";
        format!("('{time}', 'anonymous', '-', 'PRUNE_LOGS', '', '{number:032x}')")
    };
    let entries: Vec<String> = (0..5000).map(entry).collect();
    let insert = format!(
        "INSERT INTO callscope_audit (at, caller, address, action, subject, deletion_id) VALUES {}",
        entries.join(", ")
    );
    database.execute(&insert).await;
    let analyze = if database.kind() == Kind::MariaDb { "ANALYZE TABLE" } else { "ANALYZE" };
    for table in ["callscope_idempotency", "callscope_audit"] {
        database.execute(&format!("{analyze} {table}")).await;
    }
}

/// The list at the end has all expected statements, so that none is missed.
async fn writes_scan_no_table(database: TestDatabase) {
    fill(&database).await;
    fill_own_tables(&database).await;
    let app = TestApp::start(&database).await;
    let groups = app.data("{ errorGroups(by: [API_KEY], first: 1) { apiKey { id } } }").await;
    let id = groups["errorGroups"][0]["apiKey"]["id"].as_str().unwrap();
    let (db, now) = (app.db(), app.clock.now());
    db.record();

    let call = "{ key: \"k\", statusCode: 429, error: { message: \"m\" } }";
    for mutation in [
        "recordCalls(input: { calls: [{}] }) { recorded }".to_owned(),
        format!("recordCalls(input: {{ calls: [{call}, {call}] }}) {{ recorded }}"),
        "recordErrors(input: { errors: [{}, {}] }) { recorded }".to_owned(),
        // Recorded, found again, and claimed again after it expired.
        "recordCalls(input: { calls: [{}], idempotencyKey: \"a\" }) { recorded }".to_owned(),
        "recordCalls(input: { calls: [{}], idempotencyKey: \"a\" }) { recorded }".to_owned(),
    ] {
        app.data(&format!("mutation {{ {mutation} }}")).await;
    }
    app.clock.advance(TimeDelta::days(2));
    app.data(
        "mutation { recordCalls(input: { calls: [{}], idempotencyKey: \"a\" }) { recorded } }",
    )
    .await;
    idempotency::delete_expired(db, now - TimeDelta::days(1)).await.unwrap();

    for mutation in [
        "deleteErrorLogs(ids: [\"error_7\", \"error_8\"]) { deletedCount }".to_owned(),
        format!("deleteErrorLogsWhere(filter: {{ keys: [\"{id}\"] }}) {{ deletedCount }}"),
        "deleteErrorLogsWhere(filter: { until: \"2025-07-10T00:00:00Z\" }) { deletedCount }".to_owned(),
        "pruneLogs(callsOlderThan: \"P238D\", errorsOlderThan: \"P230D\") { deletedCalls deletedErrorLogs }"
            .to_owned(),
    ] {
        let data = app.data(&format!("mutation {{ {mutation} }}")).await;
        assert!(!data.to_string().contains(":0"), "nothing was deleted: {mutation} {data}");
    }
    app.data("{ apiKeys(first: 20) { nodes { secret } } }").await;

    for holder in ["one", "other"] {
        lease::acquire(db, "test", holder, (now, now + TimeDelta::minutes(1))).await.unwrap();
    }
    lease::release(db, "test", "one").await.unwrap();
    let token = token::make("plans", "READ".parse().unwrap(), now, None).unwrap();
    tokens::insert(db, &token.row).await.unwrap();
    tokens::revoke(db, "plans", now).await.unwrap();

    let source = "a file".to_owned();
    let known = Import {
        source: source.clone(),
        position: Position::default(),
        shift_micros: 0,
        finished: false,
    };
    import::register(db, &[known]).await.unwrap();
    let record = CallRecord {
        timestamp: now,
        key: Some("k".into()),
        model: None,
        status_code: None,
        latency_ms: None,
    };
    let done = Position { rows_done: 2, missing: vec![IdRange { first: 1, last: 1, step: 1 }] };
    let (from, to) = (Position::default(), done.clone());
    let step = import::Step { source: source.clone(), from, to, finished: false };
    let batch = Batch { calls: vec![record.clone(), record], ..Batch::default() };
    write::insert(db, &batch, Some(&step)).await.unwrap();
    let step = import::Step { source, from: done.clone(), to: done, finished: true };
    import::finish(db, &step).await.unwrap();

    let statements = db.record();
    let plain: Vec<String> = statements.iter().map(|sql| sql.replace(['"', '`'], "")).collect();
    for expected in [
        "INTO t_request_log",
        "INTO t_error_logs",
        "INTO callscope_idempotency",
        "INTO callscope_audit",
        "UPDATE callscope_audit",
        "INTO callscope_imports",
        "INTO callscope_settings",
        "INTO callscope_tokens",
        "FROM callscope_idempotency WHERE digest IN",
        "DELETE FROM callscope_idempotency",
        "DELETE FROM callscope_imports",
        "DELETE FROM t_error_logs",
        "DELETE FROM t_request_log",
        "UPDATE callscope_imports",
        "UPDATE callscope_settings",
        "UPDATE callscope_tokens",
    ] {
        let seen = plain.iter().any(|sql| sql.contains(expected));
        assert!(seen, "not recorded: {expected} in {plain:#?}");
    }
    check_statements(&database, "writes", statements, Allowed::Rows).await;
}

/// Searches, and the steps of the job that keeps the index.
async fn searches_by_the_index_scan_no_table(database: TestDatabase) {
    fill(&database).await;
    let config = DatabaseConfig { text_index: true, ..database.config() };
    let db = Database::open(&config).await.unwrap();
    db.record();
    while let Some(step) = text_index::next_step(&db).await.unwrap() {
        text_index::run(&db, &step).await.unwrap();
    }
    database.execute("DELETE FROM t_error_logs WHERE id > 1900 OR id % 7 = 0").await;
    let repair = text_index::next_step(&db).await.unwrap().unwrap();
    assert_eq!(repair, Step::Repair);
    text_index::run(&db, &repair).await.unwrap();
    let (changed, _) = text_index::find_changed(&db, i64::MIN).await.unwrap();
    assert!(!changed.is_empty());
    text_index::run(&db, &Step::Replace(changed)).await.unwrap();
    let steps = db.record();
    check_statements(&database, "steps of the text index", steps, Allowed::Rows).await;
    db.close().await.unwrap();

    let app = TestApp::start_with(&database, |config| {
        config.database.text_index = true;
    })
    .await;
    for query in [
        "{ errorLogs(filter: { contains: \"nothing\" }) { totalCount nodes { id } } }",
        "{ errorLogs(filter: { contains: \"quota\", errorCodes: [403] }) { nodes { id } } }",
        "{ errorGroups(by: [MODEL], filter: { contains: \"nothing\" }) { count } }",
    ] {
        let statements = app.sql(query).await;
        assert!(statements.iter().any(|sql| sql.contains(" MATCH ")), "{statements:?}");
        check_statements(&database, query, statements, Allowed::Rows).await;
    }
    app.shutdown().await;
}
