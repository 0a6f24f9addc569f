//! The real server on a free port, for one test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use callscope::app::{App, Config, Running};
use callscope::clock::Clock;
use callscope::config::Secret;
use callscope::graphql::scope::Services;
use callscope::store::Database;
use reqwest::{RequestBuilder, Response};
use serde_json::{Value, json};

use super::{TestDatabase, eventually, settings};

/// The time of a test's clock until the test moves it.
pub const NOW: &str = "2026-03-01T12:00:00Z";

/// Parts of the statements that read only moved months, under the names of the tables.
const MOVED: [&str; 2] =
    ["FROM \"callscope_moved_calls\" AS", "FROM \"callscope_moved_error_logs\" AS"];

pub struct TestApp {
    running: Running,
    client: reqwest::Client,
    pub clock: Clock,
    _counted: Counted,
}

/// The servers of all tests, and those of which a standby answered statements.
pub static SERVERS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Counts a server when its test ends.
struct Counted(Arc<Database>);

impl Drop for Counted {
    fn drop(&mut self) {
        let mut standbys = self.0.replicas().reports().into_iter();
        let is_answered = standbys.any(|standby| standby.statements > standby.failed);
        for (count, is_one) in SERVERS.iter().zip([true, is_answered]) {
            count.fetch_add(is_one.into(), Ordering::Relaxed);
        }
    }
}

impl TestApp {
    /// A server with the default settings, at `NOW`.
    pub async fn start(database: &TestDatabase) -> Self {
        Self::start_with(database, |_| {}).await
    }

    /// `change` sets the settings that matter to the test: `|config| config.graphql.max_depth = 5`.
    pub async fn start_with(database: &TestDatabase, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Self::config(database);
        let clock = config.clock.clone();
        change(&mut config);
        let running = App::start(config).await.expect("starts");
        let db = running.services.db.clone();
        eventually("the standby answers", async || {
            db.replicas().iter().all(|standby| db.replicas().problem_of(standby).is_none())
        })
        .await;
        Self { running, client: reqwest::Client::new(), clock, _counted: Counted(db) }
    }

    /// With these tokens: `name:SCOPES:token`, separated by spaces.
    pub async fn start_with_tokens(database: &TestDatabase, tokens: &str) -> Self {
        Self::start_with(database, |config| config.access = settings(&["--tokens", tokens])).await
    }

    /// A read-only server. It needs a secret for its ids, which it cannot create.
    pub async fn start_read_only(database: &TestDatabase) -> Self {
        Self::start_with(database, |config| {
            config.database.read_only = true;
            config.database.id_key = Some(Secret::new("a secret of the tests"));
        })
        .await
    }

    /// The default settings on a free port, at `NOW`.
    pub fn config(database: &TestDatabase) -> Config {
        Config {
            database: database.config(),
            server: settings(&["--listen", "127.0.0.1:0"]),
            access: settings(&[]),
            graphql: settings(&[]),
            record: settings(&[]),
            keep: settings(&[]),
            replicas: database.standby(),
            observe: settings(&[]),
            clock: Clock::fixed(NOW.parse().expect("an instant")),
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.address)
    }

    /// The server's connections to the database.
    pub fn db(&self) -> &callscope::store::Database {
        &self.running.services.db
    }

    /// The diagnoses that the server's requests share.
    pub fn diagnoses(&self) -> &callscope::diagnoses::CurrentDiagnoses {
        &self.running.services.diagnoses
    }

    /// How many SQL statements the server has sent so far.
    pub fn sent(&self) -> u64 {
        self.running.services.db.statements()
    }

    /// How many SQL statements the server sent for `query`, which must succeed. Look-ups of ids in moved months do not count:
    /// they are additional.
    pub async fn statements(&self, query: &str) -> u64 {
        let before = self.sent();
        let is_moved = |sql: &&String| MOVED.iter().any(|moved| sql.contains(moved));
        let moved = self.sql(query).await.iter().filter(is_moved).count();
        self.sent() - before - moved as u64
    }

    /// The SQL statements, values included, that the server sends for `query`, which must succeed.
    pub async fn sql(&self, query: &str) -> Vec<String> {
        self.running.services.db.record();
        self.data(query).await;
        self.running.services.db.record()
    }

    /// The text of `/metrics`.
    pub async fn metrics(&self) -> String {
        let sent = self.get("/metrics").send().await;
        sent.expect("an answer").text().await.expect("a text")
    }

    /// The status and the text of `/readyz`.
    pub async fn readiness(&self) -> (u16, String) {
        let answer = self.get("/readyz").send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    }

    pub fn services(&self) -> &Services {
        &self.running.services
    }

    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// A GET of a path.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    /// A GraphQL request by POST.
    pub fn post(&self, body: &Value) -> RequestBuilder {
        self.client.post(self.url("/graphql")).json(body)
    }

    /// The whole response to a query: `data`, `errors`, `extensions`.
    pub async fn graphql(&self, query: &str) -> Value {
        self.graphql_with(query, json!({})).await
    }

    pub async fn graphql_with(&self, query: &str, variables: Value) -> Value {
        let body = json!({ "query": query, "variables": variables });
        self.post(&body).send().await.expect("an answer").json().await.expect("JSON")
    }

    /// The whole response to a query that is sent with a token.
    pub async fn graphql_as(&self, token: &str, query: &str) -> Value {
        let body = json!({ "query": query });
        let sent = self.post(&body).bearer_auth(token).send().await;
        sent.expect("an answer").json().await.expect("JSON")
    }

    /// The data of a query that must succeed.
    pub async fn data(&self, query: &str) -> Value {
        let response = self.graphql(query).await;
        assert!(response.get("errors").is_none(), "errors in {response:#}");
        response["data"].clone()
    }

    /// Waits until the server has stopped and its connections are closed.
    pub async fn shutdown(self) {
        self.running.shutdown().await.expect("stops");
    }
}

pub fn request_id(response: &Response) -> String {
    response.headers()["X-Request-Id"].to_str().expect("a text").to_owned()
}

/// The code of the first error of a response, or an empty text.
pub fn error_code(response: &Value) -> &str {
    response["errors"][0]["extensions"]["code"].as_str().unwrap_or_default()
}
