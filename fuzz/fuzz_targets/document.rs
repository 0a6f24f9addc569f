//! A document and, behind a NUL, its variables: the path of a request from the check of its nesting
//! to the answer, over a database with a few rows.

#![no_main]

use std::cell::RefCell;
use std::sync::Arc;

use async_graphql::{Pos, Request, Variables};
use callscope::config::{DatabaseConfig, GraphqlConfig};
use callscope::domain::record::{CallRecord, ErrorRecord};
use callscope::graphql::blame::argument_at;
use callscope::graphql::nesting::is_too_deep;
use callscope::graphql::schema::{self, CallscopeSchema};
use callscope::graphql::scope::Services;
use callscope::store::{Database, key_directory::KeyDirectory, write};
use chrono::{DateTime, Utc};
use clap::Args;
use libfuzzer_sys::fuzz_target;

struct Server {
    runtime: tokio::runtime::Runtime,
    schema: CallscopeSchema,
    services: Services,
    now: DateTime<Utc>,
    _folder: tempfile::TempDir,
}

fn settings<T: Args>(args: &[&str]) -> T {
    let command = T::augment_args(clap::Command::new("fuzz").no_binary_name(true));
    let found = command.mut_args(|arg| arg.env(None::<&str>)).get_matches_from(args);
    T::from_arg_matches(&found).expect("settings")
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}/calls.db", folder.path().display());
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let now = DateTime::from_timestamp(1_772_366_400, 0).expect("an instant");
        let config: GraphqlConfig = settings(&[]);
        let services = runtime.block_on(async {
            let database: DatabaseConfig =
                settings(&["--database-url", &url, "--database-connections", "1"]);
            let db = Arc::new(Database::open(&database).await.expect("opens"));
            let keys = KeyDirectory::open(&db, None).await.expect("has keys");
            let call = CallRecord {
                timestamp: now - chrono::TimeDelta::seconds(30),
                key: Some("key".into()),
                model: Some("model".into()),
                status_code: Some(429),
                latency_ms: Some(7),
            };
            let error = ErrorRecord {
                timestamp: call.timestamp,
                key: call.key.clone(),
                model: call.model.clone(),
                error_type: Some("type".into()),
                error_code: Some(429),
                message: Some("quota".into()),
                request: None,
            };
            write::insert(&db, &[call.clone(), call], &[error], None).await.expect("writes");
            Services { db, keys: Arc::new(keys), config: Arc::new(config.clone()) }
        });
        Self { runtime, schema: schema::build(&config), services, now, _folder: folder }
    }
}

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (query, variables) = text.split_once('\0').unwrap_or((text, "{}"));
    if is_too_deep(query) {
        return;
    }
    let mut request = Request::new(query);
    if let Ok(json) = serde_json::from_str(variables) {
        request = request.variables(Variables::from_json(json));
    }
    if request.parsed_query().is_err() {
        return;
    }
    SERVER.with_borrow_mut(|server| {
        let server = server.get_or_insert_with(Server::start);
        let answer = schema::execute(&server.schema, &server.services, server.now, request);
        let answer = server.runtime.block_on(answer);
        for error in &answer.errors {
            assert!(!error.message.contains("internal error"), "{error:?}");
            for place in &error.locations {
                argument_at(query, *place);
            }
        }
        argument_at(query, Pos { line: 1, column: 1 + data.len() % 80 });
        serde_json::to_string(&answer).expect("JSON");
    });
});
