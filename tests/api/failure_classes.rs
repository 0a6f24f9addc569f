//! Filters and groups of error logs by failure class and by the form of the message.

use callscope::domain::failure::FailureClass;
use callscope::store::classification;
use callscope::store::error_list::{self, ErrorListQuery};
use callscope::store::error_log::ErrorScope;
use callscope::store::filter::Cells;
use callscope::store::page::PageRequest;
use serde_json::{Value, json};

use crate::bad_data::{insert_at, invalid_times, unusual_times};
use crate::support::{ErrorRow, Kind, NULL, TestApp, TestDatabase, error_code, eventually};
use crate::tests;

tests! {
    error_logs_are_grouped_by_class,
    error_logs_are_filtered_by_class,
    error_logs_of_keys_are_filtered_by_class,
    a_list_has_the_rows_that_match_in_memory,
    error_logs_are_deleted_by_class,
    messages_of_the_same_form_are_one_group,
    new_error_logs_have_a_class_at_once,
    an_id_that_is_used_again_has_its_own_class,
    error_logs_are_counted_over_time,
    a_query_by_class_sends_few_statements,
    groups_of_a_request_share_statements,
    unreadable_times_do_not_stop_the_job,
    the_job_starts_again_when_ids_are_used_again.only(&[Kind::Sqlite]),
    the_job_classifies_and_forgets,
    error_logs_without_a_class_are_not_deleted,
    a_read_only_server_needs_the_classes,
    a_long_backlog_is_refused.only(&[Kind::Sqlite]),
    a_query_classifies_nothing_while_the_job_is_behind,
    a_failed_write_is_an_error,
}

const DEAD: &str =
    r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key."}}"#;
const DAY: &str = "Quota exceeded for quota metric 'Requests' and limit 'Requests per day' (GenerateRequestsPerDay)";

/// Two dead keys, an overloaded model, a text that no rule matches, in the hour before [`crate::support::NOW`].
async fn insert_failures(database: &TestDatabase) {
    let at = |minute: u32| ErrorRow::at(&format!("2026-03-01T11:{minute:02}:00Z")).key("a");
    let overloaded = || at(0).code(503).log("The model is overloaded. Please try again later.");
    database
        .insert(&[
            at(1).id(1).code(400).log(DEAD),
            at(2).id(2).key("b").code(400).log(DEAD),
            overloaded().id(3),
            overloaded().id(4).key("b"),
            overloaded().id(5).key("c"),
            at(5).id(6).code(NULL).log("The stars are not right"),
            at(6).id(7).code(429).log(DAY),
        ])
        .await;
}

/// The ids of the error logs that a filter selects, in their order.
async fn ids(app: &TestApp, filter: &str) -> Vec<i64> {
    let query = format!(
        "{{ errorLogs(filter: {{ {filter} }}, orderBy: OLDEST_FIRST, first: 100) {{ totalCount nodes {{ databaseId }} }} }}"
    );
    let data = app.data(&query).await;
    let nodes = data["errorLogs"]["nodes"].as_array().unwrap();
    let mut ids: Vec<i64> = nodes.iter().map(|node| node["databaseId"].as_i64().unwrap()).collect();
    assert_eq!(data["errorLogs"]["totalCount"], ids.len(), "{filter}");
    ids.sort_unstable();
    ids
}

/// The groups by some dimensions.
async fn groups(app: &TestApp, by: &str, fields: &str) -> Value {
    let query = format!("{{ errorGroups(by: [{by}]) {{ count {fields} }} }}");
    app.data(&query).await["errorGroups"].clone()
}

async fn error_logs_are_grouped_by_class(database: TestDatabase) {
    insert_failures(&database).await;
    let app = TestApp::start(&database).await;
    let fields = "failureClass firstSeenAt latest { databaseId failure { class } }";
    let group = |class: &str, count: u32, first: &str, latest: u32| {
        json!({
            "failureClass": class, "count": count, "firstSeenAt": format!("2026-03-01T11:{first}:00Z"),
            "latest": { "databaseId": latest, "failure": { "class": class } },
        })
    };
    assert_eq!(
        groups(&app, "FAILURE_CLASS", fields).await,
        json!([
            group("PROVIDER_OVERLOADED", 3, "00", 5),
            group("KEY_INVALID", 2, "01", 2),
            group("QUOTA_DAY", 1, "06", 7),
            group("UNKNOWN", 1, "05", 6),
        ])
    );
    let found =
        groups(&app, "FAILURE_CLASS, ERROR_CODE", "failureClass errorCode apiKey { id }").await;
    assert_eq!(
        found[0],
        json!({ "count": 3, "failureClass": "PROVIDER_OVERLOADED", "errorCode": 503, "apiKey": null })
    );
    // Not grouped by class.
    let found = groups(&app, "ERROR_CODE", "failureClass messageTemplate { id }").await;
    assert_eq!(found[0], json!({ "count": 3, "failureClass": null, "messageTemplate": null }));
}

async fn error_logs_are_filtered_by_class(database: TestDatabase) {
    insert_failures(&database).await;
    let app = TestApp::start(&database).await;
    for (filter, expected) in [
        ("failureClasses: [KEY_INVALID]", &[1, 2][..]),
        ("failureClasses: [KEY_INVALID, UNKNOWN]", &[1, 2, 6]),
        ("failureClasses: []", &[]),
        ("failureClasses: [BILLING]", &[]),
        ("excludeFailureClasses: [KEY_INVALID]", &[3, 4, 5, 6, 7]),
        ("excludeFailureClasses: [UNKNOWN, QUOTA_DAY]", &[1, 2, 3, 4, 5]),
        ("excludeFailureClasses: []", &[1, 2, 3, 4, 5, 6, 7]),
        ("failureClasses: [PROVIDER_OVERLOADED, KEY_INVALID], keys: [\"b\"]", &[2, 4]),
        ("failureClasses: [KEY_INVALID], contains: \"not valid\"", &[1, 2]),
        ("failureClasses: [KEY_INVALID], since: \"2026-03-01T11:02:00Z\"", &[2]),
        ("failureClasses: [KEY_INVALID], until: \"2026-03-01T11:02:00Z\"", &[1]),
    ] {
        assert_eq!(ids(&app, filter).await, expected, "{filter}");
    }
    let refused =
        app.graphql("{ errorGroups(by: [FAILURE_CLASS, FAILURE_CLASS]) { count } }").await;
    assert_eq!(error_code(&refused), "BAD_USER_INPUT");
}

async fn error_logs_of_keys_are_filtered_by_class(database: TestDatabase) {
    insert_failures(&database).await;
    let app = TestApp::start(&database).await;
    let query = "{ apiKeys { nodes { errorLogs(filter: { failureClasses: [KEY_INVALID] }) { nodes { databaseId } } } } }";
    let data = app.data(query).await;
    let found: Vec<Value> = data["apiKeys"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|key| key["errorLogs"]["nodes"].as_array().unwrap().clone())
        .collect();
    assert_eq!(found.len(), 2, "{data}");
}

/// A subscription sends the error logs of a list.
async fn a_list_has_the_rows_that_match_in_memory(database: TestDatabase) {
    insert_failures(&database).await;
    let app = TestApp::start(&database).await;
    let db = app.db();
    let page = PageRequest { limit: 100, backward: false, after: None, before: None };
    let list = async |scope: ErrorScope| {
        let query = ErrorListQuery { scope, newest_first: true, page: page.clone() };
        error_list::list(db, &query, &|_| Ok(())).await.unwrap().rows
    };
    let all = list(ErrorScope::default()).await;
    let template = all[0].template().id;
    let classes = vec![FailureClass::KeyInvalid, FailureClass::Unknown];
    for scope in [
        ErrorScope { classes: Some(classes.clone()), ..ErrorScope::default() },
        ErrorScope { exclude_classes: classes, ..ErrorScope::default() },
        ErrorScope { templates: Some(vec![template.clone()]), ..ErrorScope::default() },
        ErrorScope { exclude_templates: vec![template], ..ErrorScope::default() },
    ] {
        let filter = scope.row_filter(db);
        let matching: Vec<i64> =
            all.iter().filter(|row| filter.matches(*row)).map(|row| row.id).collect();
        let listed: Vec<i64> = list(scope.clone()).await.iter().map(|row| row.id).collect();
        assert_eq!(matching, listed, "{scope:?}");
        assert!(!listed.is_empty() && listed.len() < all.len(), "{scope:?}");
    }
}

async fn error_logs_are_deleted_by_class(database: TestDatabase) {
    insert_failures(&database).await;
    let app = TestApp::start(&database).await;
    let query = "mutation { deleteErrorLogsWhere(filter: { failureClasses: [KEY_INVALID, UNKNOWN] }) { deletedCount } }";
    assert_eq!(app.data(query).await["deleteErrorLogsWhere"]["deletedCount"], 3);
    assert_eq!(database.ids("t_error_logs").await, [3, 4, 5, 7]);
    let audit = "SELECT subject FROM callscope_audit WHERE action LIKE '%DELETE%'";
    let entries = database.query(audit).await;
    assert!(format!("{entries:?}").contains("KEY_INVALID"), "{entries:?}");
}

async fn messages_of_the_same_form_are_one_group(database: TestDatabase) {
    let at = |second: u32| ErrorRow::at(&format!("2026-03-01T11:00:{second:02}Z")).key("a");
    let rows: Vec<ErrorRow> = (0..6)
        .map(|number| {
            at(number)
                .log(format!("Request {number}7 of job 0x{number}ff3a failed after {number}.5 s"))
        })
        .chain([at(9).log("The stars are not right")])
        .collect();
    database.insert(&rows).await;
    let app = TestApp::start(&database).await;
    let found = groups(
        &app,
        "MESSAGE_TEMPLATE",
        "messageTemplate { id text } latest { messageTemplate { id text } }",
    )
    .await;
    assert_eq!(found.as_array().unwrap().len(), 2, "{found}");
    assert_eq!(found[0]["count"], 6);
    assert_eq!(found[0]["messageTemplate"], found[0]["latest"]["messageTemplate"]);
    let text = found[0]["messageTemplate"]["text"].as_str().unwrap();
    assert_eq!(text, "Request <*> of job <*> failed after <*>");
    assert_eq!(found[1]["messageTemplate"]["text"], "The stars are not right");
    let id = found[0]["messageTemplate"]["id"].as_str().unwrap();
    assert_eq!(ids(&app, &format!("messageTemplates: [\"{id}\"]")).await.len(), 6);
    assert_eq!(ids(&app, &format!("excludeMessageTemplates: [\"{id}\"]")).await.len(), 1);
    assert_eq!(ids(&app, "messageTemplates: [\"t0\"]").await.len(), 0);
}

async fn new_error_logs_have_a_class_at_once(database: TestDatabase) {
    let dead = || ErrorRow::at("2026-03-01T11:30:00Z").code(400).log(DEAD);
    database.insert(&[dead(), dead().log("The stars are not right").code(NULL)]).await;
    let app = TestApp::start(&database).await;
    assert_eq!(ids(&app, "failureClasses: [KEY_INVALID]").await.len(), 1);
    database.insert(&[dead()]).await;
    assert_eq!(ids(&app, "failureClasses: [KEY_INVALID]").await.len(), 2);
    let query = "mutation { recordErrors(input: { errors: [{ key: \"a\", errorCode: 400, message: \"API key not valid\" }] }) { recorded } }";
    assert_eq!(app.data(query).await["recordErrors"]["recorded"], 1);
    assert_eq!(ids(&app, "failureClasses: [KEY_INVALID]").await.len(), 3);
}

async fn an_id_that_is_used_again_has_its_own_class(database: TestDatabase) {
    insert_failures(&database).await;
    let app = TestApp::start(&database).await;
    assert_eq!(ids(&app, "failureClasses: [KEY_INVALID]").await, [1, 2]);
    database.execute("DELETE FROM t_error_logs WHERE id = 2").await;
    database.insert(&[ErrorRow::at("2026-03-01T11:31:00Z").id(2).code(503).log(NULL)]).await;
    assert_eq!(ids(&app, "failureClasses: [KEY_INVALID]").await, [1]);
    assert_eq!(ids(&app, "failureClasses: [PROVIDER_OVERLOADED]").await, [2, 3, 4, 5]);
}

async fn error_logs_are_counted_over_time(database: TestDatabase) {
    insert_failures(&database).await;
    let app = TestApp::start(&database).await;
    let series = async |arguments: &str| {
        let query = format!("{{ errorSeries({arguments}) {{ start end count }} }}");
        app.data(&query).await["errorSeries"].clone()
    };
    let between = "between: { since: \"2026-03-01T11:00:00Z\", until: \"2026-03-01T11:08:00Z\" }";
    let found = series(&format!("{between}, interval: \"PT2M\"")).await;
    let counts = |found: &Value| -> Vec<i64> {
        found.as_array().unwrap().iter().map(|bucket| bucket["count"].as_i64().unwrap()).collect()
    };
    assert_eq!(counts(&found), [4, 1, 1, 1]);
    assert_eq!(found[1]["start"], "2026-03-01T11:02:00Z");
    assert_eq!(found[1]["end"], "2026-03-01T11:04:00Z");
    let of = async |filter: &str| {
        counts(&series(&format!("{between}, interval: \"PT2M\", filter: {{ {filter} }}")).await)
    };
    assert_eq!(of("failureClasses: [KEY_INVALID]").await, [1, 1, 0, 0]);
    assert_eq!(of("failureClasses: []").await, [0; 4]);
    // A narrower filter leaves the buckets as they are.
    assert_eq!(
        of("since: \"2026-03-01T11:01:00Z\", until: \"2026-03-01T11:06:00Z\"").await,
        [1, 1, 1, 0]
    );
    assert_eq!(of("contains: \"stars\"").await, [0, 0, 1, 0]);
    let refused =
        app.graphql("{ errorSeries(period: LAST_30_DAYS, interval: \"PT1S\") { count } }").await;
    assert_eq!(error_code(&refused), "BAD_USER_INPUT");
    assert_eq!(app.statements(&format!("{{ errorSeries({between}) {{ count }} }}")).await, 1);
    assert_eq!(of("excludeFailureClasses: [KEY_INVALID]").await, [3, 0, 1, 1]);
    let both = "failureClasses: [KEY_INVALID, UNKNOWN], excludeFailureClasses: [KEY_INVALID]";
    assert_eq!(of(both).await, [0, 0, 1, 0]);
    // Those that differ in their classes share a statement.
    let filters = [
        "",
        "failureClasses: [KEY_INVALID]",
        "failureClasses: [UNKNOWN, QUOTA_DAY]",
        "excludeFailureClasses: [UNKNOWN]",
        "failureClasses: []",
    ];
    let fields = filters.iter().enumerate().map(|(index, filter)| {
        format!(
            "s{index}: errorSeries({between}, interval: \"PT2M\", filter: {{ {filter} }}) {{ count }} "
        )
    });
    let query = format!("{{ {} }}", fields.collect::<String>());
    let data = app.data(&query).await;
    for (index, filter) in filters.iter().enumerate() {
        assert_eq!(counts(&data[format!("s{index}")]), of(filter).await, "{filter}");
    }
    // The error logs by class, the highest id and error logs without a class.
    assert_eq!(app.statements(&query).await, 3);
    let other = format!(
        "{{ a: errorSeries({between}, filter: {{ failureClasses: [UNKNOWN] }}) {{ count }} \
         b: errorSeries({between}, filter: {{ failureClasses: [UNKNOWN], models: [\"a\"] }}) {{ count }} }}"
    );
    assert_eq!(app.statements(&other).await, 6);
}

async fn a_query_by_class_sends_few_statements(database: TestDatabase) {
    insert_failures(&database).await;
    let app = TestApp::start(&database).await;
    let list = "{ errorLogs(filter: { failureClasses: [KEY_INVALID] }) { nodes { id } } }";
    app.data(list).await;
    // The highest id, error logs without a class, and the list.
    assert_eq!(app.statements(list).await, 3);
    let groups = "{ errorGroups(by: [FAILURE_CLASS]) { failureClass count } }";
    assert_eq!(app.statements(groups).await, 3);
    let keys = "{ apiKeys { nodes { errorLogs(filter: { failureClasses: [KEY_INVALID] }) { nodes { id } } } } }";
    let others = "{ apiKeys { nodes { errorLogs { nodes { id } } } } }";
    assert_eq!(app.statements(keys).await, app.statements(others).await + 2);
    // A query without classes needs none of them.
    assert_eq!(app.statements("{ errorGroups(by: [ERROR_CODE]) { count } }").await, 1);
}

/// All combinations of these dimensions, the longest first.
fn combinations(dimensions: &[&str]) -> Vec<String> {
    let mut found: Vec<Vec<&str>> = (1_usize..1 << dimensions.len())
        .map(|bits| {
            let chosen = dimensions.iter().enumerate().filter(|(index, _)| bits >> index & 1 == 1);
            chosen.map(|(_, dimension)| *dimension).collect()
        })
        .collect();
    found.sort_by_key(|chosen| std::cmp::Reverse(chosen.len()));
    found.iter().map(|chosen| chosen.join(", ")).collect()
}

async fn groups_of_a_request_share_statements(database: TestDatabase) {
    let mut rows = vec![];
    for number in 0..60 {
        let of = |values: [&'static str; 3], factor: usize| values[number * factor / 7 % 3];
        let row = ErrorRow::at(&format!("2026-03-01T11:{:02}:00Z", number * 17 % 40))
            .key(of(["a", "b", "A"], 5))
            .model(of(["pro", "flash", "lite"], 3))
            .error_type(of(["chat", "embed", "list"], 4))
            .code([400, 503, 429][number % 3])
            .log(of([DEAD, DAY, "The stars are not right"], 2));
        rows.push(match number % 8 {
            0 => row.key(NULL),
            1 => row.model(NULL).error_type(NULL),
            2 => row.code(NULL),
            _ => row,
        });
    }
    database.insert(&rows).await;
    let app = TestApp::start(&database).await;
    let field = |by: &str, arguments: &str| {
        format!(
            "errorGroups(by: [{by}]{arguments}) {{ apiKey {{ id }} model errorType errorCode failureClass \
             messageTemplate {{ id }} count firstSeenAt lastSeenAt latest {{ databaseId }} }}"
        )
    };
    let dimensions = ["API_KEY", "MODEL", "ERROR_TYPE", "ERROR_CODE", "FAILURE_CLASS"];
    let all = combinations(&dimensions);
    for arguments in [", first: 200", ", first: 3", ", filter: { models: [\"pro\"] }"] {
        // The first ones have all dimensions of the others.
        for some in [&all[..], &all[6..12]] {
            let fields = some
                .iter()
                .enumerate()
                .map(|(index, by)| format!("g{index}: {}", field(by, arguments)));
            let together = app.data(&format!("{{ {} }}", fields.collect::<String>())).await;
            for (index, by) in some.iter().enumerate() {
                let alone = app.data(&format!("{{ {} }}", field(by, arguments))).await;
                let sorted = |groups: &Value| {
                    // The order of groups of the same size and time depends on the database.
                    let mut groups: Vec<String> =
                        groups.as_array().unwrap().iter().map(Value::to_string).collect();
                    groups.sort();
                    groups
                };
                let (shared, expected) = (&together[format!("g{index}")], &alone["errorGroups"]);
                match arguments.contains("first: 3") {
                    true => assert_eq!(counts(shared), counts(expected), "{by} {arguments}"),
                    false => assert_eq!(sorted(shared), sorted(expected), "{by} {arguments}"),
                }
            }
        }
    }
    let count = async |groups: &[(&str, &str)]| {
        let fields = groups.iter().enumerate();
        let fields = fields.map(|(index, (by, arguments))| {
            format!("g{index}: errorGroups(by: [{by}]{arguments}) {{ count }}")
        });
        app.statements(&format!("{{ {} }}", fields.collect::<String>())).await
    };
    let both = ("MODEL, ERROR_CODE", "");
    assert_eq!(count(&[("MODEL", ""), both, ("ERROR_CODE", "")]).await, 1);
    assert_eq!(count(&[("MODEL", ", first: 1"), both]).await, 1);
    // Cut groups have not all of the others.
    assert_eq!(count(&[("MODEL", ""), ("MODEL, ERROR_CODE", ", first: 2")]).await, 2);
    assert_eq!(count(&[("MODEL", ", filter: { keys: [\"a\"] }"), both]).await, 2);
    assert_eq!(count(&[("ERROR_TYPE", ""), both]).await, 2);
    // Groups by class have no error logs without a class.
    let by_class = ("MODEL, FAILURE_CLASS", ", first: 200");
    assert_eq!(count(&[("MODEL", ""), by_class]).await, count(&[by_class]).await + 1);
    assert_eq!(count(&[("FAILURE_CLASS", ""), by_class]).await, count(&[by_class]).await);
}

fn counts(groups: &Value) -> Vec<i64> {
    groups.as_array().unwrap().iter().map(|group| group["count"].as_i64().unwrap()).collect()
}

async fn unreadable_times_do_not_stop_the_job(database: TestDatabase) {
    insert_at(&database, invalid_times(database.kind())).await;
    insert_at(&database, unusual_times(database.kind())).await;
    // Without a time, and on SQLite bytes.
    let odd = if database.kind() == Kind::Sqlite { "x'00ff'" } else { "NULL" };
    let rows = format!(
        "INSERT INTO t_error_logs (error_log, request_time) VALUES ('a', {odd}), ('b', NULL)"
    );
    database.execute(&rows).await;
    database.insert(&[ErrorRow::at("2026-03-01T11:31:00Z").code(400).log(DEAD)]).await;
    let app = TestApp::start_with(&database, |config| config.database.failure_classes = true).await;
    let all = async |app: &TestApp| {
        let query =
            "{ errorLogs(first: 100) { totalCount } errorGroups(by: [FAILURE_CLASS]) { count } }";
        let data = app.data(query).await;
        let groups = data["errorGroups"].as_array().unwrap();
        let count: i64 = groups.iter().map(|group| group["count"].as_i64().unwrap()).sum();
        (data["errorLogs"]["totalCount"].as_i64().unwrap(), count)
    };
    // Each error log of the list is in a group.
    let (listed, grouped) = all(&app).await;
    assert_eq!(listed, grouped);
    eventually("all classes", async || {
        i64::try_from(database.count("callscope_failures").await).unwrap() == listed
    })
    .await;
    assert_eq!(ids(&app, "failureClasses: [KEY_INVALID]").await.len(), 1);
    assert!(app.metrics().await.contains("callscope_job_running{job=\"failures\"} 1\n"));
    let reader = TestApp::start_read_only(&database).await;
    assert_eq!(all(&reader).await, (listed, listed));
    // Nothing is left to do.
    let before = app.sent();
    let checked = classification::check(app.db(), i64::MIN).await.unwrap();
    assert_eq!(checked.missing, [0; 0]);
    assert!(app.sent() > before);
    app.shutdown().await;
}

/// More rows than are always looked at again.
async fn the_job_starts_again_when_ids_are_used_again(database: TestDatabase) {
    let many = |class: &str, count: u32| {
        format!(
            "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {count}) \
             INSERT INTO t_error_logs (error_log, error_code, request_time) \
             SELECT '{class}', 400, datetime('2026-02-01', n || ' seconds') FROM number"
        )
    };
    database.execute(&many("API key not valid", 3000)).await;
    let app = TestApp::start_with(&database, |config| config.database.failure_classes = true).await;
    let classified = async |count: u64| {
        eventually("all classes", async || database.count("callscope_failures").await == count)
            .await;
    };
    classified(3000).await;
    let count = async |class: &str| {
        let query =
            format!("{{ errorLogs(filter: {{ failureClasses: [{class}] }}) {{ totalCount }} }}");
        app.data(&query).await["errorLogs"]["totalCount"].as_i64().unwrap()
    };
    assert_eq!(count("KEY_INVALID").await, 3000);
    // The same ids and times, as after a restored file, and fewer of them.
    database.execute("DELETE FROM t_error_logs").await;
    database.execute(&many("API key not valid", 100)).await;
    assert_eq!(count("KEY_INVALID").await, 100);
    // Those of deleted error logs go.
    classified(100).await;
    app.shutdown().await;
}

async fn the_job_classifies_and_forgets(database: TestDatabase) {
    insert_failures(&database).await;
    let app = TestApp::start(&database).await;
    let db = app.db();
    let checked = classification::check(db, i64::MIN).await.unwrap();
    assert_eq!((checked.missing.len(), checked.last), (7, Some(7)));
    classification::add(db, &checked.missing).await.unwrap();
    assert_eq!(classification::check(db, i64::MIN).await.unwrap().missing, [0; 0]);
    assert_eq!(classification::check(db, 7).await.unwrap().last, None);
    // Those of an older version are computed again.
    database
        .execute("UPDATE callscope_failures SET class = 'OLD', rules = 0 WHERE error_id = 3")
        .await;
    let checked = classification::check(db, i64::MIN).await.unwrap();
    assert_eq!(checked.missing, [3]);
    classification::add(db, &checked.missing).await.unwrap();
    // A later version may have classes that this one does not have.
    database
        .execute("UPDATE callscope_failures SET class = 'NEW', rules = 99 WHERE error_id = 4")
        .await;
    assert_eq!(classification::check(db, i64::MIN).await.unwrap().missing, [0; 0]);
    let found = groups(&app, "FAILURE_CLASS", "failureClass").await;
    assert!(
        found
            .as_array()
            .unwrap()
            .contains(&json!({ "count": 2, "failureClass": "PROVIDER_OVERLOADED" })),
        "{found}"
    );
    // Those of deleted error logs go.
    database.execute("DELETE FROM t_error_logs WHERE id IN (1, 7)").await;
    assert_eq!(classification::sweep(db, i64::MIN).await.unwrap(), Some(7));
    assert_eq!(classification::sweep(db, 7).await.unwrap(), None);
    assert_eq!(database.count("callscope_failures").await, 5);
}

/// Without a time an error log is in no list, and without a class in no deletion by class.
async fn error_logs_without_a_class_are_not_deleted(database: TestDatabase) {
    insert_failures(&database).await;
    database
        .execute("INSERT INTO t_error_logs (id, error_code, error_log, request_time) VALUES (50, 400, 'API key not valid', NULL)")
        .await;
    let app = TestApp::start(&database).await;
    for filter in ["failureClasses: [UNKNOWN, KEY_INVALID]", "excludeFailureClasses: [KEY_INVALID]"]
    {
        let query = format!(
            "mutation {{ deleteErrorLogsWhere(filter: {{ {filter} }}) {{ deletedCount }} }}"
        );
        app.data(&query).await;
    }
    assert_eq!(database.ids("t_error_logs").await, [50]);
}

async fn a_read_only_server_needs_the_classes(database: TestDatabase) {
    insert_failures(&database).await;
    let writer = TestApp::start(&database).await;
    let reader = TestApp::start_read_only(&database).await;
    let query = "{ errorLogs(filter: { failureClasses: [KEY_INVALID] }) { nodes { id } } }";
    let refused = reader.graphql(query).await;
    assert_eq!(error_code(&refused), "SERVER_BUSY", "{refused}");
    assert_eq!(ids(&writer, "failureClasses: [KEY_INVALID]").await, [1, 2]);
    assert_eq!(ids(&reader, "failureClasses: [KEY_INVALID]").await, [1, 2]);
    assert_eq!(database.count("callscope_failures").await, 7);
}

async fn a_long_backlog_is_refused(database: TestDatabase) {
    let many = "WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 1200) \
        INSERT INTO t_error_logs (error_code, request_time) \
        SELECT 503, datetime('2026-02-01', n || ' minutes') FROM number";
    database.execute(many).await;
    let app = TestApp::start(&database).await;
    let query = "{ errorGroups(by: [FAILURE_CLASS]) { failureClass count } }";
    let refused = app.graphql(query).await;
    assert_eq!(error_code(&refused), "SERVER_BUSY", "{refused}");
    let message = refused["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("failure class") && message.contains("shorter time"), "{message}");
    assert_eq!(database.count("callscope_failures").await, 0);
    // A shorter time.
    let shorter = query.replace(']', "], filter: { until: \"2026-02-01T12:00:00Z\" }");
    assert_eq!(app.data(&shorter).await["errorGroups"][0]["count"], 719);
    let data = app.data(query).await;
    assert_eq!(
        data["errorGroups"],
        json!([{ "failureClass": "PROVIDER_OVERLOADED", "count": 1200 }])
    );
}

async fn a_query_classifies_nothing_while_the_job_is_behind(database: TestDatabase) {
    insert_failures(&database).await;
    let app = TestApp::start(&database).await;
    let query = "{ errorGroups(by: [FAILURE_CLASS]) { count } }";
    app.db().failures().set(i64::MIN, true);
    let refused = app.graphql(query).await;
    assert_eq!(error_code(&refused), "SERVER_BUSY", "{refused}");
    assert_eq!(database.count("callscope_failures").await, 0);
    // A time in which all error logs have a class is answered.
    let ids = database.ids("t_error_logs").await;
    classification::add(app.db(), &ids[..6]).await.unwrap();
    let earlier = "until: \"2026-03-01T11:06:00Z\"";
    let query = |filter: &str| {
        format!("{{ errorGroups(by: [FAILURE_CLASS], filter: {{ {filter} }}) {{ count }} }}")
    };
    assert_eq!(app.data(&query(earlier)).await["errorGroups"].as_array().unwrap().len(), 3);
    assert_eq!(error_code(&app.graphql(&query("")).await), "SERVER_BUSY");
    app.db().failures().set(i64::MIN, false);
    assert_eq!(app.data(&query("")).await["errorGroups"].as_array().unwrap().len(), 4);
}

/// A count without the error logs that could not be classified would be too small.
async fn a_failed_write_is_an_error(database: TestDatabase) {
    insert_failures(&database).await;
    let app = TestApp::start(&database).await;
    let (refuse, allow) = match database.kind() {
        Kind::Sqlite => (
            &["CREATE TRIGGER refuse BEFORE INSERT ON callscope_failures
            WHEN NEW.class = 'QUOTA_DAY' BEGIN SELECT RAISE(ABORT, 'no'); END"][..],
            "DROP TRIGGER refuse",
        ),
        Kind::Postgres => (
            &[
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN IF NEW.class = ''QUOTA_DAY'' THEN RAISE ''no''; END IF; RETURN NEW; END'",
                "CREATE TRIGGER refuse BEFORE INSERT ON callscope_failures
                FOR EACH ROW EXECUTE FUNCTION refuse()",
            ][..],
            "DROP TRIGGER refuse ON callscope_failures",
        ),
        Kind::MariaDb => (
            &["CREATE TRIGGER refuse BEFORE INSERT ON callscope_failures FOR EACH ROW
            IF NEW.class = 'QUOTA_DAY' THEN SIGNAL SQLSTATE '45000'; END IF"][..],
            "DROP TRIGGER refuse",
        ),
    };
    for statement in refuse {
        database.execute(statement).await;
    }
    let queries = [
        "{ errorGroups(by: [FAILURE_CLASS]) { count } }",
        "{ errorLogs(filter: { failureClasses: [UNKNOWN] }) { totalCount } }",
        "mutation { deleteErrorLogsWhere(filter: { failureClasses: [UNKNOWN] }) { deletedCount } }",
    ];
    for query in queries {
        let refused = app.graphql(query).await;
        assert_eq!(error_code(&refused), "INTERNAL", "{query}: {refused}");
    }
    // One transaction: not a part of the rows.
    assert_eq!(database.count("callscope_failures").await, 0);
    assert_eq!(database.count("t_error_logs").await, 7);
    database.execute(allow).await;
    assert_eq!(ids(&app, "failureClasses: [UNKNOWN]").await, [6]);
    assert_eq!(database.count("callscope_failures").await, 7);
}
