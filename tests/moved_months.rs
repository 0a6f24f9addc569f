//! Months of PostgreSQL on another server: they are moved, queried, dropped, and unavailable.
//!
//!     scripts/cluster postgres-months run -- cargo test --workspace --test moved_months
//!
//! Ignored without these two servers. The tests kill the other server, which the script has started.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[expect(dead_code, reason = "other tests use the rest")]
mod process;
#[path = "outages/trial.rs"]
mod trial;
#[path = "api/support/wait.rs"]
mod wait;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use callscope::clock::Clock;
use callscope::domain::month::Month;
use chrono::{Months, NaiveDateTime};
use libtest_mimic::Arguments;
use process::{Process, serve};
use sea_orm::sqlx::{AssertSqlSafe, Connection, PgConnection, query_scalar, raw_sql};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use trial::trial;
use wait::{eventually, within};

fn main() {
    let mut args = Arguments::from_args();
    // They kill the other server.
    args.test_threads = Some(1);
    let trials = vec![
        trial("moved_months_answer_as_before", Servers::open, moved),
        trial("recent_work_needs_no_other_server", Servers::open, other_server_is_down),
        trial("an_interrupted_move_continues", Servers::open, interrupted),
        trial("no_row_is_lost_while_others_write", Servers::open, busy),
        trial("expired_months_are_dropped_on_the_other_server", Servers::open, expired),
        trial("a_move_that_could_lose_rows_is_refused", Servers::open, refused),
    ];
    libtest_mimic::run(&args, trials).exit();
}

/// The two servers.
struct Servers {
    main: String,
    old: String,
}

/// An empty database on each of them; the first one has the second one as its server `archive`.
struct Databases {
    main: String,
    old: String,
}

impl Servers {
    fn open() -> Result<Self, String> {
        let url = |name: &str| {
            let url = std::env::var(name).ok().filter(|url| !url.is_empty());
            url.ok_or_else(|| format!("{name} is not set: scripts/cluster postgres-months run"))
        };
        let main = url("CALLSCOPE_TEST_MONTHS_URL")?;
        Ok(Self { main, old: url("CALLSCOPE_TEST_OLD_MONTHS_URL")? })
    }

    async fn create(&self) -> Databases {
        let name = format!("callscope_test_{:08x}", rand::random::<u32>());
        let mut urls = vec![];
        for url in [&self.main, &self.old] {
            execute(url, &format!("CREATE DATABASE {name}")).await;
            let (server, _) = url.rsplit_once('/').unwrap();
            urls.push(format!("{server}/{name}"));
        }
        let [main, old] = urls.try_into().unwrap();
        let databases = Databases { main, old };
        let (_, port) = self.old.rsplit_once('/').unwrap().0.rsplit_once(':').unwrap();
        databases
            .execute(&format!(
                "CREATE EXTENSION postgres_fdw; CREATE EXTENSION dblink; \
                 CREATE SERVER archive FOREIGN DATA WRAPPER postgres_fdw \
                 OPTIONS (host '127.0.0.1', port '{port}', dbname '{name}', connect_timeout '2', tcp_user_timeout '10000'); \
                 CREATE USER MAPPING FOR CURRENT_USER SERVER archive OPTIONS (user 'callscope')"
            ))
            .await;
        databases
    }
}

async fn execute(url: &str, sql: &str) {
    let mut admin = PgConnection::connect(url).await.expect("connects");
    raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.expect("runs");
}

async fn number(url: &str, sql: &str) -> i64 {
    let mut admin = PgConnection::connect(url).await.expect("connects");
    query_scalar(AssertSqlSafe(sql)).fetch_one(&mut admin).await.expect("a number")
}

fn script(args: &[&str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/cluster");
    let output = Command::new(script).arg("postgres-months").args(args).output().expect("runs");
    assert!(output.status.success(), "{args:?}: {output:?}");
}

/// The other server is stopped, also for a test that fails.
struct Frozen;

impl Frozen {
    fn stop() -> Self {
        script(&["signal", "2", "STOP"]);
        Self
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        script(&["signal", "2", "CONT"]);
    }
}

/// The months from here on are moved. They are more than 32 days old on each day of a month.
const MOVED: [u32; 3] = [5, 4, 3];
const TABLES: [&str; 2] = ["t_request_log", "t_error_logs"];

/// The month that is so many months before the start of the tests.
fn month(ago: u32) -> Month {
    static NOW: OnceLock<NaiveDateTime> = OnceLock::new();
    let now = *NOW.get_or_init(|| Clock::System.now().naive_utc());
    Month::of(now.checked_sub_months(Months::new(ago)).unwrap())
}

fn partition(table: &str, ago: u32) -> String {
    format!("{table}_{}", month(ago).to_string().replace('-', "_"))
}

impl Databases {
    async fn execute(&self, sql: &str) {
        execute(&self.main, sql).await;
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callscope"));
        command.env_clear().args(args).args(["--database-url", &self.main]);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("runs")
    }

    fn migrate(&self) {
        let since = month(5).to_string();
        let args = ["migrate", "--partition-by", "month", "--partitions-since", &since];
        assert!(self.run(&args).status.success());
    }

    /// Calls of the last five months and of the last 20 minutes, every fourth one failed and with an error log; `count` calls
    /// of each month.
    async fn fill(&self, count: i64) {
        for ago in [5, 4, 3, 2, 1] {
            let start = month(ago).start();
            self.insert(&format!("timestamp '{start}'"), &format!("2400000 / {count}"), count)
                .await;
        }
        self.insert("now()::timestamp - interval '20 minutes'", "1", 1000).await;
    }

    async fn insert(&self, start: &str, step: &str, count: i64) {
        self.execute(&format!(
            "INSERT INTO t_request_log (request_time, model_name, api_key, is_success, status_code, latency_ms) \
             SELECT {start} + i * ({step}) * interval '1 second', 'model-' || i % 3, 'key-' || i % 7, i % 4 > 0, \
             CASE WHEN i % 4 = 0 THEN 429 ELSE 200 END, i % 3000 FROM generate_series(0, {count} - 1) AS i; \
             INSERT INTO t_error_logs (request_time, model_name, gemini_key, error_type, error_code, error_log, request_msg) \
             SELECT {start} + i * ({step}) * interval '1 second', 'model-' || i % 3, 'key-' || i % 7, 'chat', 429, \
             'Quota exceeded: ' || i || CASE WHEN i % 400 = 0 THEN repeat('ü', 20000) ELSE '' END, json_build_object('n', i) \
             FROM generate_series(0, {count} - 1, 4) AS i"
        ))
        .await;
    }

    fn serve(&self, args: &[&str]) -> Process {
        Process::start(serve(env!("CARGO_TARGET_TMPDIR").as_ref(), &self.main).args(args))
    }

    fn start_move(&self, name: &str) -> Child {
        let mut command = self.command(&["partition", "move", name, "--to", "archive"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("runs")
    }

    fn move_month(&self, name: &str) {
        let moved = self.run(&["partition", "move", name, "--to", "archive"]);
        assert!(moved.status.success(), "{moved:?}");
    }

    fn move_refusal(&self, name: &str, server: &str) -> String {
        let moved = self.run(&["partition", "move", name, "--to", server]);
        assert!(!moved.status.success());
        String::from_utf8(moved.stderr).unwrap()
    }
}

async fn query(server: &Process, query: &str) -> Value {
    let request = reqwest::Client::new().post(format!("http://{}/graphql", server.address));
    let sent = request.json(&json!({ "query": query }));
    sent.send().await.expect("an answer").json().await.expect("JSON")
}

async fn get(server: &Process, path: &str) -> String {
    let url = format!("http://{}{path}", server.address);
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

/// The data of an answer without errors.
async fn data(server: &Process, text: &str) -> Value {
    let answer = query(server, text).await;
    assert!(answer["errors"].is_null(), "{text}: {answer}");
    answer["data"].clone()
}

async fn until_folded(server: &Process) {
    let rollups = "{ serverInfo { rollups { enabled lagRows } } }";
    eventually("the calls are folded", async || {
        data(server, rollups).await["serverInfo"]["rollups"]
            == json!({ "enabled": true, "lagRows": 0 })
    })
    .await;
}

/// Queries about old times, by time and by id.
async fn old_queries(server: &Process) -> Vec<String> {
    let at = |ago: u32, day: &str| format!("{}-{day}", month(ago));
    let (start, end) = (at(5, "01T00:00:00Z"), at(0, "01T00:00:00Z"));
    let (odd_start, odd_end) = (at(5, "03T11:22:33Z"), at(3, "17T01:02:03Z"));
    let all = format!("since: \"{start}\", until: \"{end}\"");
    let part = format!("since: \"{odd_start}\", until: \"{odd_end}\"");
    let days =
        format!("since: \"{}\", until: \"{}\"", at(4, "05T00:00:00Z"), at(4, "20T07:00:00Z"));
    // Statistics are those of the rollups, which have hours.
    let hours =
        format!("since: \"{}\", until: \"{}\"", at(5, "03T11:00:00Z"), at(3, "17T01:00:00Z"));
    let first = format!(
        "{{ callDetails(between: {{ {part} }}, first: 3) {{ nodes {{ id }} }} errorLogs(filter: {{ {part} }}, first: 3) {{ nodes {{ id }} }} }}"
    );
    let found = data(server, &first).await;
    let ids: Vec<&Value> = ["callDetails", "errorLogs"]
        .iter()
        .flat_map(|name| found[name]["nodes"].as_array().unwrap())
        .map(|node| &node["id"])
        .collect();
    assert_eq!(ids.len(), 6, "{found}");
    let nodes = format!(
        "{{ nodes(ids: {}) {{ id ... on Call {{ timestamp errorLog {{ message }} }} ... on ErrorLog {{ message request }} }} }}",
        json!(ids)
    );
    let mut queries: Vec<String> = [
        "callDetails(between: { ALL }, first: 50) { totalCount nodes { id timestamp model statusCode errorLog { id message } failure { class } } }",
        "callDetails(between: { PART }, first: 20, key: \"key-3\", filter: { statusCodes: [429] }) { totalCount nodes { id errorLog { id } } pageInfo { endCursor } }",
        "callDetails(between: { PART }, last: 20) { nodes { id } }",
        "callGroups(by: [API_KEY, STATUS], between: { ALL }) { counts { total } latency { p95 max } }",
        "callGroups(by: [MODEL], between: { HOURS }) { model counts { total success } }",
        "callSeries(between: { HOURS }, interval: \"P1D\") { start counts { total } latency { p50 } }",
        "errorLogs(filter: { ALL }, first: 100) { totalCount nodes { id message timestamp failure { class } request } }",
        "errorLogs(filter: { PART, contains: \"exceeded: 8ü\" }) { totalCount nodes { id } }",
        "errorLogs(filter: { PART, failureClasses: [QUOTA_OTHER, QUOTA_MINUTE, QUOTA_DAY] }) { totalCount }",
        "errorGroups(by: [FAILURE_CLASS, MODEL], filter: { ALL }) { count firstSeenAt lastSeenAt failureClass }",
        "errorGroups(by: [API_KEY], filter: { PART }) { count latest { id message } }",
        "errorSeries(between: { PART }, interval: \"P1D\") { start count }",
        "diagnoses(between: { DAYS }) { cause since until failures }",
    ]
    .iter()
    .map(|query| format!("{{ {} }}", query.replace("ALL", &all).replace("PART", &part).replace("DAYS", &days).replace("HOURS", &hours)))
    .collect();
    queries.push(nodes);
    queries
}

async fn moved(servers: Servers) {
    let databases = servers.create().await;
    databases.migrate();
    databases.fill(12_000).await;
    let server = databases.serve(&["--rollup-from-calls", "0"]);
    until_folded(&server).await;
    let classes = "{ errorGroups(by: [FAILURE_CLASS]) { count } }";
    eventually("the error logs have classes", async || {
        query(&server, classes).await["data"]["errorGroups"][0]["count"] == 5 * 3000 + 250
    })
    .await;
    let queries = old_queries(&server).await;
    let mut expected = vec![];
    for query in &queries {
        expected.push(data(&server, query).await);
    }
    let days = async || {
        let of_month = format!(
            "SELECT COUNT(*) FROM callscope_error_days WHERE day >= extract(epoch FROM timestamp '{}')",
            month(4).start()
        );
        number(&databases.main, &of_month).await
    };
    eventually("the days of error logs are counted", async || days().await >= 4 * 28).await;
    // A month between others first, of which the server forgets the days.
    for table in TABLES {
        databases.move_month(&partition(table, 4));
    }
    let forget = [month(4), month(3)]
        .map(|month| format!("extract(epoch FROM timestamp '{}')", month.start()));
    let [since, until] = forget;
    databases
        .execute(&format!("DELETE FROM callscope_error_cells WHERE day >= {since} AND day < {until}; DELETE FROM callscope_error_days WHERE day >= {since} AND day < {until}"))
        .await;
    for (query, expected) in queries.iter().zip(&expected) {
        assert_eq!(&data(&server, query).await, expected, "{query}");
    }
    for table in TABLES {
        for ago in [5, 3] {
            databases.move_month(&partition(table, ago));
        }
    }
    for (query, expected) in queries.iter().zip(&expected) {
        assert_eq!(&data(&server, query).await, expected, "{query}");
    }
    let count = "SELECT COUNT(*) FROM t_request_log";
    assert_eq!(number(&databases.main, count).await, 25_000, "the others are not here any more");
    let there = format!("SELECT COUNT(*) FROM {}", partition("t_request_log", 3));
    assert_eq!(number(&databases.old, &there).await, 12_000);
    let listed = String::from_utf8(databases.run(&["partition", "list"]).stdout).unwrap();
    let line = listed.lines().find(|line| line.starts_with(&partition("t_request_log", 4)));
    assert!(line.unwrap().ends_with("12,000 rows on server archive"), "{listed}");
    // A late call is stored here, and in the list and the statistics of its month.
    let at = format!("{}-10T00:00:00.5Z", month(3));
    let record = format!(
        "mutation {{ recordCalls(input: {{ calls: [{{ model: \"late\", timestamp: \"{at}\" }}] }}) {{ recorded }} }}"
    );
    assert_eq!(data(&server, &record).await["recordCalls"]["recorded"], 1);
    let window = format!(
        "between: {{ since: \"{0}-09T00:00:00Z\", until: \"{0}-11T00:00:00Z\" }}",
        month(3)
    );
    let late = data(&server, &format!("{{ callDetails({window}, filter: {{ models: [\"late\"] }}) {{ totalCount }} callGroups(by: [MODEL], {window}) {{ model }} }}")).await;
    assert_eq!(late["callDetails"]["totalCount"], 1, "{late}");
    assert!(late["callGroups"].as_array().unwrap().contains(&json!({ "model": "late" })), "{late}");
    // Windows read the servers of their months only.
    execute(&databases.main, "ALTER SERVER archive OPTIONS (SET port '1')").await;
    let recent = data(&server, "{ callDetails(period: LAST_HOUR) { totalCount } }").await;
    assert_eq!(recent["callDetails"]["totalCount"], 1000, "{recent}");
    server.kill();
    // A rebuild of the rollups keeps what they have of moved months.
    let (_, port) = servers.old.rsplit_once('/').unwrap().0.rsplit_once(':').unwrap();
    execute(&databases.main, &format!("ALTER SERVER archive OPTIONS (SET port '{port}')")).await;
    assert!(databases.run(&["rollup", "rebuild"]).status.success());
    let server = databases.serve(&["--rollup-from-calls", "0"]);
    until_folded(&server).await;
    let groups = &queries[3];
    assert_eq!(total(&data(&server, groups).await), total(&expected[3]) + 1);
    server.kill();
}

/// What goes on without the other server.
async fn recent_work(server: &Process) {
    let mut followed = reqwest::Client::new()
        .post(format!("http://{}/graphql/stream", server.address))
        .header("Accept", "text/event-stream")
        .json(&json!({ "query": "subscription { callRecorded { model } }" }))
        .send()
        .await
        .unwrap();
    within("the start of the stream", followed.chunk()).await.unwrap().unwrap();
    let record = "mutation { recordCalls(input: { calls: [{ key: \"key-1\", model: \"now\", statusCode: 429, \
        error: { message: \"Quota exceeded\" } }] }) { recorded calls { id } } }";
    let recorded = data(server, record).await["recordCalls"].clone();
    assert_eq!(recorded["recorded"], 1, "{recorded}");
    let mut events = String::new();
    while !events.contains("\"now\"") {
        let event = within("the event of the call", followed.chunk()).await.unwrap().unwrap();
        events += std::str::from_utf8(&event).unwrap();
    }
    for text in [
        "usageStats { lastHour { total } last24Hours { total } }",
        "callDetails(period: LAST_HOUR) { totalCount nodes { errorLog { message } } }",
        "callDetails(period: LAST_30_DAYS) { totalCount nodes { errorLog { message } } }",
        "apiKeys(first: 10) { totalCount nodes { firstSeenAt lastSeenAt counts(period: LAST_24_HOURS) { total } } }",
        "callSeries(period: LAST_24_HOURS, interval: \"PT1H\") { counts { total } latency { p95 } }",
        "serverInfo { storage { calls { rows oldest } errorLogs { rows } } rollups { lagRows } }",
        "diagnoses(period: LAST_24_HOURS) { cause }",
        "usableKeys(model: \"model-1\", first: 10) { totalCount }",
    ] {
        data(server, &format!("{{ {text} }}")).await;
    }
    let node = format!(
        "{{ node(id: {}) {{ ... on Call {{ model errorLog {{ message }} }} }} }}",
        recorded["calls"][0]["id"]
    );
    assert_eq!(data(server, &node).await["node"]["errorLog"]["message"], "Quota exceeded");
    // Statistics of whole days are those of the rollups.
    let days = format!(
        "between: {{ since: \"{}-01T00:00:00Z\", until: \"{}-01T00:00:00Z\" }}",
        month(5),
        month(1)
    );
    let groups = format!("{{ callGroups(by: [MODEL], {days}) {{ counts {{ total }} }} }}");
    assert_eq!(total(&data(server, &groups).await), 8000);
}

/// All calls of groups.
fn total(answer: &Value) -> i64 {
    let groups = answer["callGroups"].as_array().unwrap();
    groups.iter().map(|group| group["counts"]["total"].as_i64().unwrap()).sum()
}

async fn other_server_is_down(servers: Servers) {
    let databases = servers.create().await;
    databases.migrate();
    databases.fill(2000).await;
    let server = databases.serve(&["--rollup-from-calls", "0", "--timeout-seconds", "10"]);
    until_folded(&server).await;
    for table in TABLES {
        databases.move_month(&partition(table, 3));
    }
    let old = old_queries(&server).await;
    // Frozen: a statement that needs it would not end.
    let frozen = Frozen::stop();
    recent_work(&server).await;
    let answer = query(&server, &old[0]).await;
    // A new session does not connect; an older one waits.
    let code = answer["errors"][0]["extensions"]["code"].as_str();
    assert!(matches!(code, Some("TIMEOUT" | "DATABASE_UNAVAILABLE")), "{answer}");
    recent_work(&server).await;
    drop(frozen);
    script(&["signal", "2", "KILL"]);
    recent_work(&server).await;
    let name = partition("t_request_log", 3);
    let degraded = format!("degraded: partitions server archive with {name}");
    // Lists of the month fail, and name it.
    let answer = query(&server, &old[0]).await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "DATABASE_UNAVAILABLE", "{answer}");
    let message = answer["errors"][0]["message"].as_str().unwrap();
    assert!(message.contains("archive (") && message.contains(&name), "{message}");
    eventually("the month is reported", async || get(&server, "/readyz").await.contains(&degraded))
        .await;
    assert!(get(&server, "/readyz").await.starts_with("ready\n"));
    // A new server starts.
    let second = databases.serve(&[]);
    assert_eq!(
        data(&second, "{ callDetails(period: LAST_HOUR) { totalCount } }").await["callDetails"]["totalCount"],
        1003
    );
    second.kill();
    script(&["restart", "2"]);
    eventually("the month is there again", async || {
        query(&server, &old[0]).await["errors"].is_null()
    })
    .await;
    server.kill();
}

async fn interrupted(servers: Servers) {
    let databases = servers.create().await;
    databases.migrate();
    databases.insert(&format!("timestamp '{}'", month(3).start()), "0.01", 200_000).await;
    let (calls, errors) = (partition("t_request_log", 3), partition("t_error_logs", 3));
    let copied = |table: String| format!("SELECT COUNT(*) FROM {table}");
    let starts = async |table: &str| {
        let exists =
            format!("SELECT CASE WHEN to_regclass('{table}') IS NULL THEN 0 ELSE 1 END::BIGINT");
        eventually("the copy starts", async || {
            number(&databases.old, &exists).await == 1
                && number(&databases.old, &copied(table.to_owned())).await > 0
        })
        .await;
    };
    // The command dies.
    let mut first = databases.start_move(&calls);
    starts(&calls).await;
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(number(&databases.old, &copied(calls.clone())).await < 200_000);
    // A row that is copied changes, a late one arrives, and the copy has other rows.
    databases
        .execute(&format!(
            "UPDATE {calls} SET latency_ms = 7 WHERE id = 6; \
             INSERT INTO t_request_log (request_time, is_success) VALUES ('{}', TRUE)",
            month(3).start()
        ))
        .await;
    execute(&databases.old, &format!("DELETE FROM {calls} WHERE id = 9; INSERT INTO {calls} (id, is_success) VALUES (0, FALSE), (900000, FALSE)")).await;
    let content = "SELECT SUM(('x' || left(md5(t::text), 10))::bit(40)::bigint)::bigint FROM";
    let before = number(&databases.main, &format!("{content} {calls} AS t")).await;
    databases.move_month(&calls);
    assert_eq!(number(&databases.old, &format!("{content} {calls} AS t")).await, before);
    assert_eq!(number(&databases.main, "SELECT COUNT(*) FROM t_request_log").await, 0);
    // The other server dies.
    let mut second = databases.start_move(&errors);
    starts(&errors).await;
    script(&["signal", "2", "KILL"]);
    assert!(!second.wait().unwrap().success());
    script(&["restart", "2"]);
    assert_eq!(number(&databases.main, "SELECT COUNT(*) FROM t_error_logs").await, 50_000);
    databases.execute("DELETE FROM t_error_logs WHERE id IN (5, 49999)").await;
    // A transaction of another program has a late row.
    let mut writer = PgConnection::connect(&databases.main).await.unwrap();
    let late = format!(
        "BEGIN; INSERT INTO t_error_logs (request_time, error_log) VALUES ('{}', 'late')",
        month(3).start()
    );
    raw_sql(AssertSqlSafe(late)).execute(&mut writer).await.unwrap();
    let mut third = databases.start_move(&errors);
    assert!(
        timeout(Duration::from_secs(5), async {
            while third.try_wait().unwrap().is_none() {
                sleep(Duration::from_millis(50)).await
            }
        })
        .await
        .is_err(),
        "it waits"
    );
    raw_sql("COMMIT").execute(&mut writer).await.unwrap();
    assert!(third.wait().unwrap().success());
    let messages = format!(
        "SELECT COUNT(*) FROM {errors} WHERE error_log LIKE 'Quota exceeded%' OR error_log = 'late'"
    );
    assert_eq!(number(&databases.old, &messages).await, 49_999);
    assert_eq!(number(&databases.main, "SELECT COUNT(*) FROM t_error_logs").await, 0);
}

async fn expired(servers: Servers) {
    let databases = servers.create().await;
    databases.migrate();
    databases.fill(100).await;
    for table in TABLES {
        for ago in MOVED {
            databases.move_month(&partition(table, ago));
        }
    }
    let archived = || String::from_utf8(databases.run(&["partition", "list"]).stdout).unwrap();
    assert_eq!(archived().matches("archive").count(), 6, "{}", archived());
    // As after a process that died between the steps of a drop.
    execute(&databases.old, &format!("DROP TABLE {}", partition("t_error_logs", 5))).await;
    let name = partition("t_request_log", 5);
    let detach = |name: &str| format!("ALTER TABLE callscope_moved_calls DETACH PARTITION {name}");
    let mark = format!("COMMENT ON FOREIGN TABLE {name} IS 'callscope: 100 rows, to be dropped'");
    databases.execute(&format!("{}; {mark}", detach(&name))).await;
    // No row on this server is expired.
    let age = Clock::System.now().naive_utc() - month(3).start();
    let age = format!("{}d", age.num_days());
    let counted = ["prune", "--calls-older-than", &age, "--errors-older-than", &age, "--dry-run"];
    let counted = String::from_utf8(databases.run(&counted).stdout).unwrap();
    assert!(counted.contains("200 calls and 50 error logs"), "{counted}");
    let server = databases.serve(&["--keep-calls", &age, "--keep-errors", &age]);
    let months = [5, 4].map(|ago| TABLES.map(|table| partition(table, ago))).concat();
    // Retention starts after a minute.
    sleep(Duration::from_secs(50)).await;
    eventually("expired months are dropped", async || {
        let tables =
            format!("SELECT COUNT(*) FROM pg_class WHERE relname IN ('{}')", months.join("', '"));
        number(&databases.old, &tables).await == 0 && number(&databases.main, &tables).await == 0
    })
    .await;
    assert_eq!(archived().matches("archive").count(), 2, "{}", archived());
    // A month that an operator has detached is kept.
    let kept = partition("t_request_log", 3);
    databases.execute(&detach(&kept)).await;
    let all = ["prune", "--calls-older-than", "1d", "--errors-older-than", "1d", "--force"];
    assert!(databases.run(&all).status.success());
    assert_eq!(archived().matches("archive").count(), 0, "{}", archived());
    let tables = "SELECT COUNT(*) FROM pg_class WHERE relname LIKE 't\\_%' AND relkind = 'r'";
    assert_eq!(number(&databases.old, tables).await, 1);
    let old = format!("SELECT COUNT(*) FROM {}", partition("t_request_log", 3));
    assert_eq!(number(&databases.old, &old).await, 100);
    assert_eq!(number(&databases.main, "SELECT COUNT(*) FROM t_request_log").await, 1000);
    server.kill();
}

/// While a gateway and other programs write, rows of the months that are moved too, and two commands move a month at once.
async fn busy(servers: Servers) {
    let databases = servers.create().await;
    databases.migrate();
    databases.fill(4000).await;
    let server = databases.serve(&["--rollup-from-calls", "0"]);
    until_folded(&server).await;
    let stop = AtomicBool::new(false);
    let record = async || {
        let record =
            "mutation { recordCalls(input: { calls: [{ model: \"new\" }] }) { recorded } }";
        let mut calls = 0;
        while !stop.load(Ordering::Relaxed) {
            assert_eq!(data(&server, record).await["recordCalls"]["recorded"], 1);
            calls += 1;
            sleep(Duration::from_millis(20)).await;
        }
        calls
    };
    let change = async || {
        let (mut late, mut deleted) = (0, 0);
        let at = month(4).start();
        let mut writer = PgConnection::connect(&databases.main).await.unwrap();
        // The error logs of the month have these ids.
        for id in 1001..2000 {
            let insert = format!(
                "INSERT INTO t_request_log (request_time, is_success) VALUES ('{at}', TRUE); \
                 INSERT INTO t_error_logs (request_time, error_log) VALUES ('{at}', 'late')"
            );
            raw_sql(AssertSqlSafe(insert)).execute(&mut writer).await.unwrap();
            late += 1;
            let delete = format!("DELETE FROM t_error_logs WHERE id = {id}");
            let done = raw_sql(AssertSqlSafe(delete)).execute(&mut writer).await.unwrap();
            deleted += done.rows_affected() as i64;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            sleep(Duration::from_secs(1)).await;
        }
        (late, deleted)
    };
    let read = async || {
        let queries = old_queries(&server).await;
        while !stop.load(Ordering::Relaxed) {
            for query in &queries {
                data(&server, query).await;
            }
        }
    };
    let run = async || {
        for name in TABLES.map(|table| partition(table, 4)) {
            let both = [(); 2].map(|()| databases.start_move(&name));
            let ends =
                both.map(|mut child| tokio::task::spawn_blocking(move || child.wait().unwrap()));
            let ends = futures_util::future::join_all(ends).await;
            // They may stop each other.
            if !ends.into_iter().any(|end| end.unwrap().success()) {
                databases.move_month(&name);
            }
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (calls, (late, deleted), (), ()) = futures_util::join!(record(), change(), read(), run());
    let count = async |table: &str, moved: &str| {
        let all = format!("(SELECT id FROM {table} UNION ALL SELECT id FROM {moved}) AS ids");
        let (rows, ids) = (
            format!("SELECT COUNT(*) FROM {all}"),
            format!("SELECT COUNT(DISTINCT id) FROM {all}"),
        );
        (number(&databases.main, &rows).await, number(&databases.main, &ids).await)
    };
    let all_calls = 5 * 4000 + 1000 + calls + late;
    assert_eq!(count("t_request_log", "callscope_moved_calls").await, (all_calls, all_calls));
    let errors = 5 * 1000 + 250 + late - deleted;
    assert_eq!(count("t_error_logs", "callscope_moved_error_logs").await, (errors, errors));
    assert!(deleted > 0 && late > 0, "{deleted} {late}");
    let there = format!("SELECT COUNT(*) FROM {}", partition("t_request_log", 4));
    assert!(number(&databases.old, &there).await >= 4000);
    until_folded(&server).await;
    let days = format!(
        "between: {{ since: \"{}-01T00:00:00Z\", until: \"{}-01T00:00:00Z\" }}",
        month(4),
        month(3)
    );
    let groups = format!("{{ callGroups(by: [MODEL], {days}) {{ counts {{ total }} }} }}");
    assert_eq!(total(&data(&server, &groups).await), 4000 + late);
    server.kill();
}

async fn refused(servers: Servers) {
    let databases = servers.create().await;
    databases.migrate();
    databases.fill(100).await;
    let month_3 = partition("t_request_log", 3);
    let (main, port) = servers.main.rsplit_once('/').unwrap().0.rsplit_once(':').unwrap();
    assert!(main.contains("127.0.0.1"));
    let name = databases.main.rsplit('/').next().unwrap();
    // A server that is the same database: the month would be dropped.
    databases
        .execute(&format!(
            "CREATE SERVER itself FOREIGN DATA WRAPPER postgres_fdw \
             OPTIONS (host '127.0.0.1', port '{port}', dbname '{name}', connect_timeout '2', tcp_user_timeout '10000'); \
             CREATE USER MAPPING FOR CURRENT_USER SERVER itself OPTIONS (user 'callscope'); \
             CREATE SERVER hanging FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1')"
        ))
        .await;
    for (name, server, expected) in [
        (month_3.as_str(), "itself", "has another table"),
        (&month_3, "hanging", "OPTIONS (ADD connect_timeout '2')"),
        (&month_3, "missing", "postgres_fdw has no server `missing`"),
        (&month_3, "x'; DROP TABLE t_request_log; --", "lower-case letters"),
        (&partition("t_request_log", 0), "archive", "only a month that ended 32 days ago"),
        (&partition("t_request_log", 1), "archive", "only a month that ended 32 days ago"),
        ("t_request_log_default", "archive", "only a month can be"),
        ("t_request_log_1999_01", "archive", "the rows of 1999-01 are in t_request_log_before"),
        ("t_request_log_2099_01", "archive", "no table has the partition"),
    ] {
        let error = databases.move_refusal(name, server);
        assert!(error.contains(expected), "{name}, {server}: {error}");
    }
    execute(&databases.old, &format!("CREATE TABLE {month_3} (id BIGINT)")).await;
    let error = databases.move_refusal(&month_3, "archive");
    assert!(error.contains("has another table"), "{error}");
    // As of another gateway with the same server.
    execute(&databases.old, &format!("COMMENT ON TABLE {month_3} IS 'callscope: a month of 1 2'"))
        .await;
    let error = databases.move_refusal(&month_3, "archive");
    assert!(error.contains("has another table"), "{error}");
    let without_rollups = databases.run(&[
        "partition",
        "move",
        &partition("t_request_log", 4),
        "--to",
        "archive",
        "--rollups",
        "false",
    ]);
    let error = String::from_utf8(without_rollups.stderr).unwrap();
    assert!(error.contains("need rollups for their statistics"), "{error}");
    assert_eq!(number(&databases.main, "SELECT COUNT(*) FROM t_request_log").await, 1500);
    let month_5 = partition("t_error_logs", 5);
    databases.move_month(&month_5);
    let error = databases.move_refusal(&month_5, "archive");
    assert!(error.contains("is on the server archive"), "{error}");
    execute(&databases.main, "DROP EXTENSION dblink").await;
    let error = databases.move_refusal(&month_3, "archive");
    assert!(error.contains("CREATE EXTENSION"), "{error}");
}
