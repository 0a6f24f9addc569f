//! Monthly partitions of a PostgreSQL database: they are created, used, dropped by retention, detached and attached.

use std::process::Command;
use std::time::{Duration, Instant};

use callscope::domain::table::LogTable;
use callscope::prune::{self, Cutoffs, Pace, Tally};
use callscope::store::partition::{self, NewPartitions};
use callscope::store::schema::{NewTables, migrate_until};
use chrono::{DateTime, Utc};
use serde_json::json;
use tokio::time::sleep;

use super::retention::{keep, wait_for};
use super::rollups::{self, folded};
use crate::support::{CallRow, ErrorRow, Kind, NOW, NULL, TestApp, TestDatabase};
use crate::tests;

tests! {
    the_command_creates_partitions.empty().only(&[Kind::Postgres]),
    existing_tables_are_refused.only(&[Kind::Sqlite, Kind::Postgres]),
    windows_read_the_partitions_of_their_months.empty().only(&[Kind::Postgres]),
    retention_drops_partitions.empty().only(&[Kind::Postgres]),
    statistics_keep_detached_months.empty().only(&[Kind::Postgres]),
    unfolded_calls_keep_their_partition.empty().only(&[Kind::Postgres]),
    a_partition_in_use_is_not_waited_for.empty().only(&[Kind::Postgres]),
    late_calls_are_counted_and_kept_in_statistics.empty().only(&[Kind::Postgres]),
    later_months_are_created.empty().only(&[Kind::Postgres]),
    misplaced_rows_are_reported.empty().only(&[Kind::Postgres]),
    months_are_detached_and_attached.empty().only(&[Kind::Postgres]),
}

/// Creates the tables with partitions from January to June of 2026.
async fn migrate(database: &TestDatabase) {
    let months = ["2026-01", "2026-03"].map(|month| month.parse().unwrap());
    let [since, now] = months;
    let new = NewTables::Partitions(NewPartitions { since, now });
    migrate_until(&database.config(), new, std::future::pending()).await.unwrap();
}

/// Rows of both tables in each month from December 2025 to March 2026, two at its start.
async fn fill(database: &TestDatabase) {
    for month in ["2025-12", "2026-01", "2026-02", "2026-03"] {
        let times = ["01T00:00:00Z", "01T10:00:00Z"].map(|time| format!("{month}-{time}"));
        database.insert(&times.each_ref().map(|at| CallRow::at(at).key("k").model(month))).await;
        database.insert(&times.each_ref().map(|at| ErrorRow::at(at).key("k").log("Quota"))).await;
    }
}

async fn names(app: &TestApp) -> Vec<String> {
    let parts = partition::list(app.db(), LogTable::Calls).await.unwrap();
    parts.into_iter().map(|part| part.name.replace("t_request_log_", "")).collect()
}

/// A server that has folded all calls.
async fn start_folded(database: &TestDatabase) -> TestApp {
    let app = rollups::start(database).await;
    folded(&app).await;
    app
}

fn run(database: &TestDatabase, args: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callscope"));
    let output = command.env_clear().args(args).args(["--database-url", database.url()]).output();
    let output = output.unwrap();
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout).unwrap()),
        false => Err(String::from_utf8(output.stderr).unwrap()),
    }
}

async fn the_command_creates_partitions(database: TestDatabase) {
    let migrate = ["migrate", "--partition-by", "month", "--partitions-since", "2026-01"];
    run(&database, &migrate).unwrap();
    // Again, as after a process that died before it recorded the tables: their rows are Callscope's.
    database.execute("DELETE FROM callscope_settings WHERE name = 'tables_made'").await;
    run(&database, &migrate).unwrap();
    let made = "SELECT value FROM callscope_settings WHERE name = 'tables_made'";
    assert_eq!(database.value(made).await, "t_request_log,t_error_logs");
    fill(&database).await;
    database.insert(&[CallRow::at_stored(NULL)]).await;
    let app = TestApp::start(&database).await;
    let found = names(&app).await;
    assert_eq!(found[..4], ["before", "2026_01", "2026_02", "2026_03"]);
    assert_eq!(found.last().unwrap(), "default");
    let listed = run(&database, &["partition", "list"]).unwrap();
    let has = |line: &str| listed.lines().any(|listed| listed.starts_with(line));
    assert!(has("t_request_log_before     before 2026-01-01"), "{listed}");
    assert!(has("t_error_logs_2026_02     2026-02-01 to 2026-03-01"), "{listed}");
    assert!(has("t_error_logs_default     all others"), "{listed}");
    // Callscope made the tables: retention needs no other option.
    let list = "{ callDetails(between: { since: \"2025-12-01T00:00:00Z\", until: \"2026-03-01T12:00:00Z\" }) {
        totalCount nodes { model errorLog { message } } } }";
    let list = app.data(list).await["callDetails"].clone();
    assert_eq!(list["totalCount"], 8);
    let storage = "{ serverInfo { storage { calls { rows bytes oldest } } } }";
    let calls = app.data(storage).await["serverInfo"]["storage"]["calls"].clone();
    assert_eq!((&calls["rows"], &calls["oldest"]), (&json!(9), &json!("2025-12-01T00:00:00Z")));
    // Each has four indexes and a table.
    assert!(calls["bytes"].as_i64().unwrap() > 4 * 5 * 8192, "{calls}");
}

async fn existing_tables_are_refused(database: TestDatabase) {
    let error = run(&database, &["migrate", "--partition-by", "month"]).unwrap_err();
    let expected = match database.kind() {
        Kind::Postgres => "t_request_log exists without partitions of Callscope",
        _ => "partitions need PostgreSQL",
    };
    assert!(error.contains(expected), "{error}");
    assert_eq!(database.count("t_request_log").await, 0);
    if database.kind() == Kind::Postgres {
        let error = run(&database, &["partition", "list"]).unwrap_err();
        assert!(error.contains("have no partitions of Callscope"), "{error}");
    }
}

async fn windows_read_the_partitions_of_their_months(database: TestDatabase) {
    migrate(&database).await;
    fill(&database).await;
    let app = TestApp::start(&database).await;
    let february = "since: \"2026-02-03T00:00:00Z\", until: \"2026-02-20T00:00:00Z\"";
    let between = format!("between: {{ {february} }}");
    let queries = [
        "usageStats { lastHour { total } last24Hours { total } }".to_owned(),
        format!("callDetails({between}) {{ totalCount nodes {{ model }} }}"),
        format!("callGroups(by: [MODEL], {between}) {{ counts {{ total }} latency {{ p95 }} }}"),
        format!("callSeries({between}, interval: \"P1D\") {{ counts {{ total }} }}"),
        format!("errorLogs(filter: {{ {february} }}) {{ totalCount nodes {{ id }} }}"),
        format!("errorGroups(by: [MODEL], filter: {{ {february} }}) {{ count }}"),
    ];
    for query in queries {
        let statements = app.sql(&format!("{{ {query} }}")).await;
        assert!(!statements.is_empty(), "{query}");
        for sql in statements {
            let plan = database.query(&format!("EXPLAIN {sql}")).await;
            let plan = plan.iter().map(|row| format!("{}\n", row[0].as_str().unwrap()));
            let plan: String = plan.collect();
            let month = if query.starts_with("usageStats") { "2026_03" } else { "2026_02" };
            // 24 hours before noon on the first of March.
            let also = if query.starts_with("usageStats") { "2026_02" } else { month };
            for other in ["before", "2026_01", "2026_02", "2026_03", "2026_04", "default"] {
                let is_read = plan.contains(&format!("_{other}"));
                assert!(other == month || other == also || !is_read, "{other}: {sql}\n{plan}");
            }
        }
    }
}

async fn retention_drops_partitions(database: TestDatabase) {
    migrate(&database).await;
    fill(&database).await;
    let app = TestApp::start_with(&database, |config| {
        (config.database.rollups, config.database.rollup_from_calls) = (true, 0);
        // Up to the end of January. Its partition is dropped, and December is deleted row by row.
        config.keep = keep(&["--keep-calls", "P28DT12H", "--keep-errors", "P28DT12H"]);
    })
    .await;
    folded(&app).await;
    wait_for((4, 4), async || {
        (database.count("t_request_log").await, database.count("t_error_logs").await)
    })
    .await;
    let found = names(&app).await;
    assert_eq!(found[..2], ["before", "2026_02"]);
    for table in ["t_request_log", "t_error_logs"] {
        let line = format!("callscope_retention_removed_rows_total{{table=\"{table}\"}} 4\n");
        wait_for(true, async || app.metrics().await.contains(&line)).await;
    }
    // The statistics still have all calls.
    let groups = "{ callGroups(by: [MODEL], between: { since: \"2025-12-01T00:00:00Z\", \
        until: \"2026-03-02T00:00:00Z\" }) { model counts { total } } }";
    let groups = app.data(groups).await["callGroups"].clone();
    assert_eq!(groups.as_array().unwrap().len(), 4);
    assert!(groups.as_array().unwrap().iter().all(|group| group["counts"]["total"] == 2));
    app.shutdown().await;
}

fn cutoffs(before: &str) -> Cutoffs {
    let before: DateTime<Utc> = before.parse().unwrap();
    Cutoffs { now: NOW.parse().unwrap(), calls: Some(before), error_logs: Some(before) }
}

async fn prune_before(app: &TestApp, before: &str) -> callscope::error::Result<(u64, u64)> {
    let tally = Tally::default();
    let pace = Pace::foreground(app.db());
    prune::prune(app.db(), cutoffs(before), pace, &tally, &|| false).await?;
    Ok((tally.counts().calls, tally.counts().error_logs))
}

/// The cells of a detached month are not used for lists, and are kept for statistics.
async fn statistics_keep_detached_months(database: TestDatabase) {
    migrate(&database).await;
    fill(&database).await;
    let app = start_folded(&database).await;
    database.insert(&[CallRow::at("2026-02-20T00:00:00Z").model("2026-02")]).await;
    let february = "between: { since: \"2026-02-01T00:00:00Z\", until: \"2026-03-01T00:00:00Z\" }";
    let query = format!(
        "{{ callDetails({february}) {{ totalCount nodes {{ id }} }} callGroups(by: [MODEL], {february}) {{ counts {{ total }} }} }}"
    );
    let expect = async |rows: usize| {
        let found = app.data(&query).await;
        assert_eq!(found["callGroups"], json!([{ "counts": { "total": 3 } }]), "{found}");
        assert_eq!(found["callDetails"]["totalCount"], rows);
        assert_eq!(found["callDetails"]["nodes"].as_array().unwrap().len(), rows);
    };
    expect(3).await;
    let now = NOW.parse().unwrap();
    partition::detach(app.db(), "t_request_log_2026_02", now).await.unwrap();
    expect(0).await;
    partition::attach(app.db(), "t_request_log_2026_02").await.unwrap();
    expect(3).await;
    app.shutdown().await;
}

/// A transaction that is open has an id below those of the calls that are folded.
async fn unfolded_calls_keep_their_partition(database: TestDatabase) {
    migrate(&database).await;
    fill(&database).await;
    let app = rollups::start(&database).await;
    // Between both calls of January there are free ids, where a call may still appear.
    database.execute("UPDATE t_request_log SET id = id + 10 WHERE id > 3").await;
    assert_eq!(prune_before(&app, "2026-02-01T00:00:00Z").await.unwrap(), (4, 4));
    assert_eq!(names(&app).await[..2], ["before", "2026_01"], "the calls were deleted one by one");
    assert_eq!(database.count("t_request_log").await, 4);
    app.shutdown().await;
}

/// A long transaction of another program.
async fn a_partition_in_use_is_not_waited_for(database: TestDatabase) {
    migrate(&database).await;
    fill(&database).await;
    let app = TestApp::start(&database).await;
    database.execute("BEGIN").await;
    let march = "SELECT * FROM t_request_log WHERE request_time >= '2026-03-01'";
    assert_eq!(database.query(march).await.len(), 2);
    let work = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let start = Instant::now();
            let record =
                "mutation { recordCalls(input: { calls: [{ model: \"new\" }] }) { recorded } }";
            assert_eq!(app.data(record).await["recordCalls"]["recorded"], 1);
            app.data("{ usageStats { lastHour { total } } }").await;
            slowest = slowest.max(start.elapsed());
            sleep(Duration::from_millis(200)).await;
        }
        slowest
    };
    let prune = prune_before(&app, "2026-02-01T00:00:00Z");
    let (pruned, slowest) = futures_util::join!(prune, work);
    // The error logs are not in use: their partition is dropped. Calls are deleted row by row.
    assert_eq!(pruned.unwrap(), (4, 4));
    assert!(slowest < Duration::from_secs(60), "{slowest:?}");
    assert_eq!(names(&app).await[1], "2026_01");
    assert_eq!(database.count("t_error_logs").await, 4);
    assert_eq!(database.count("t_request_log").await, 24);
    database.execute("COMMIT").await;
    assert_eq!(prune_before(&app, "2026-02-01T00:00:00Z").await.unwrap(), (0, 0));
    assert_eq!(names(&app).await[1], "2026_02", "an empty partition is dropped too");
    app.shutdown().await;
}

/// A call with a time of the month that is dropped.
async fn late_calls_are_counted_and_kept_in_statistics(database: TestDatabase) {
    migrate(&database).await;
    fill(&database).await;
    let app = start_folded(&database).await;
    // It has an id, and its transaction is open.
    database.execute("BEGIN").await;
    database.insert(&[CallRow::at("2026-01-20T00:00:00Z").model("late")]).await;
    assert_eq!(prune_before(&app, "2026-02-01T00:00:00Z").await.unwrap(), (4, 4));
    assert_eq!(names(&app).await[1], "2026_01", "the transaction has a lock");
    database.execute("COMMIT").await;
    folded(&app).await;
    assert_eq!(prune_before(&app, "2026-02-01T00:00:00Z").await.unwrap(), (1, 0));
    let groups = "{ callGroups(by: [MODEL], between: { since: \"2025-12-01T00:00:00Z\", \
        until: \"2026-02-01T00:00:00Z\" }) { model counts { total } } }";
    let groups = app.data(groups).await["callGroups"].clone();
    let late = json!({ "model": "late", "counts": { "total": 1 } });
    assert!(groups.as_array().unwrap().contains(&late), "{groups}");
    // Another one, after the drop: it is in the default partition, and no reason for a warning.
    database.insert(&[CallRow::at("2026-01-21T00:00:00Z")]).await;
    assert_eq!(database.count("t_request_log_default").await, 1);
    assert_eq!(partition::with_misplaced_rows(app.db()).await.unwrap(), Vec::<String>::new());
    assert_eq!(prune_before(&app, "2026-02-01T00:00:00Z").await.unwrap(), (1, 0));
    app.shutdown().await;
}

async fn later_months_are_created(database: TestDatabase) {
    migrate(&database).await;
    // No server ran in June: the calls of July are in the default partition.
    let times = ["2026-06-30T23:59:59Z", "2026-07-01T00:00:00Z", "2026-07-20T00:00:00Z"];
    database.insert(&times.map(CallRow::at)).await;
    database.insert(&[CallRow::at("2030-01-01T00:00:00Z")]).await;
    assert_eq!(database.count("t_request_log_default").await, 3);
    let app = TestApp::start(&database).await;
    let now = "2026-08-15T00:00:00Z".parse().unwrap();
    let left_out = partition::create_ahead(app.db(), now, Some(1)).await.unwrap().unwrap();
    assert!(
        left_out.contains("t_request_log_default has more than 1 rows of 2026-07"),
        "{left_out}"
    );
    let left_out = "2126-08-15T00:00:00Z".parse().unwrap();
    let left_out = partition::create_ahead(app.db(), left_out, None).await.unwrap().unwrap();
    assert!(left_out.contains("is the clock right?"), "{left_out}");
    assert_eq!(names(&app).await[7..], ["default"]);
    // A failure after the rows are moved changes nothing.
    database
        .execute(
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no disk'; \
             END $$; CREATE EVENT TRIGGER refuse ON ddl_command_end WHEN TAG IN ('ALTER TABLE') \
             EXECUTE FUNCTION refuse()",
        )
        .await;
    assert!(partition::create_ahead(app.db(), now, None).await.is_err());
    database.execute("DROP EVENT TRIGGER refuse").await;
    assert_eq!(names(&app).await[7..], ["default"]);
    assert_eq!(database.count("t_request_log_default").await, 3);
    for _ in 0..2 {
        assert_eq!(partition::create_ahead(app.db(), now, None).await.unwrap(), None);
        let found = names(&app).await;
        assert_eq!(found[7..], ["2026_07", "2026_08", "2026_09", "2026_10", "2026_11", "default"]);
        assert_eq!(database.count("t_request_log_2026_07").await, 2);
        assert_eq!(database.count("t_request_log_default").await, 1);
        assert_eq!(database.count("t_request_log").await, 4);
    }
    // Its rows are found by id and by time, and new rows get new ids.
    database.insert(&[CallRow::at("2026-07-21T00:00:00Z")]).await;
    assert_eq!(database.ids("t_request_log_2026_07").await, [2, 3, 5]);
    let valid = "SELECT COUNT(*) FROM pg_index WHERE indrelid = \
        CAST('t_request_log_2026_07' AS regclass) AND indisvalid";
    assert_eq!(database.value(valid).await, 3);
    let identity = "SELECT CAST(attidentity AS TEXT) FROM pg_attribute WHERE attname = 'id' AND attrelid = \
        CAST('t_request_log_2026_07' AS regclass)";
    assert_eq!(
        database.value(identity).await,
        "",
        "PostgreSQL 17 attaches no table with an own one"
    );
    assert_eq!(app.db().pending_indexes().await.unwrap().len(), 0);
    app.shutdown().await;
}

async fn misplaced_rows_are_reported(database: TestDatabase) {
    migrate(&database).await;
    database.insert(&[CallRow::at_stored(NULL)]).await;
    database.insert(&[ErrorRow::at("2030-01-01T00:00:00Z")]).await;
    let app = TestApp::start(&database).await;
    let expected = "ready\ndegraded: partitions t_error_logs_default has rows with times after the last month\n";
    wait_for(expected.to_owned(), async || {
        app.get("/readyz").send().await.unwrap().text().await.unwrap()
    })
    .await;
    app.shutdown().await;
}

async fn months_are_detached_and_attached(database: TestDatabase) {
    migrate(&database).await;
    fill(&database).await;
    let app = TestApp::start(&database).await;
    let total = "{ callDetails(between: { since: \"2025-12-01T00:00:00Z\", \
        until: \"2026-03-02T00:00:00Z\" }) { totalCount } }";
    let total = async || app.data(total).await["callDetails"]["totalCount"].clone();
    assert_eq!(total().await, 8);
    run(&database, &["partition", "detach", "t_request_log_2026_01"]).unwrap();
    assert_eq!((total().await, names(&app).await[1].as_str()), (json!(6), "2026_02"));
    assert_eq!(database.count("t_request_log_2026_01").await, 2, "its table is kept");
    // A call of this month, which attaching it moves.
    database.insert(&[CallRow::at("2026-01-20T00:00:00Z")]).await;
    assert_eq!(database.count("t_request_log_default").await, 1);
    run(&database, &["partition", "attach", "t_request_log_2026_01"]).unwrap();
    assert_eq!((total().await, names(&app).await[1].as_str()), (json!(9), "2026_01"));
    assert_eq!(database.count("t_request_log_2026_01").await, 3);
    run(&database, &["partition", "create"]).unwrap();
    for (args, expected) in [
        (["detach", "t_request_log_2020_01"], "the rows of 2020-01 are in t_request_log_before"),
        (["detach", "t_request_log_2090_01"], "no table has the partition `t_request_log_2090_01`"),
        (["detach", "t_request_log_default"], "only a month can be detached"),
        (["detach", "t_request_log_before"], "only a month can be detached"),
        (["attach", "t_request_log_2026-01"], "is not the name of a month"),
        (["attach", "x; DROP TABLE t_request_log"], "is not the name of a month"),
        (["attach", "t_request_log_2026_13"], "is not the name of a month"),
    ] {
        let error = run(&database, &[&["partition"][..], &args].concat()).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
    // Classes of error logs are removed with their month, and computed again.
    let groups = "{ errorGroups(by: [FAILURE_CLASS], first: 10) { count } }";
    let count = async || app.data(groups).await["errorGroups"][0]["count"].clone();
    assert_eq!(count().await, 8);
    run(&database, &["partition", "detach", "t_error_logs_2026_01"]).unwrap();
    assert_eq!(count().await, 6);
    database.execute("DELETE FROM callscope_failures").await;
    run(&database, &["partition", "attach", "t_error_logs_2026_01"]).unwrap();
    assert_eq!(database.count("callscope_failures").await, 8);
    assert_eq!(count().await, 8);
    // A row of another month is refused.
    run(&database, &["partition", "detach", "t_request_log_2026_02"]).unwrap();
    database
        .execute("UPDATE t_request_log_2026_02 SET request_time = '2026-05-01' WHERE id = 5")
        .await;
    assert!(run(&database, &["partition", "attach", "t_request_log_2026_02"]).is_err());
    assert_eq!(total().await, 7);
    // Otherwise the job would attach it.
    let last = names(&app).await.into_iter().rev().nth(1).unwrap();
    let last = format!("t_request_log_{last}");
    let error = run(&database, &["partition", "detach", &last]).unwrap_err();
    assert!(error.contains("the last month cannot be detached"), "{error}");
    app.shutdown().await;
}
