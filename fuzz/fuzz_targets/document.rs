//! A document and, after a NUL, its variables: the path of a request from the check of its limits
//! to the response, over a database with a few rows.

#![no_main]

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use async_graphql::{Pos, Request, Variables};
use callscope::app::{App, Config};
use callscope::clock::Clock;
use callscope::domain::access::{Caller, Scopes};
use callscope::domain::record::{CallRecord, ErrorRecord};
use callscope::graphql::answer::AnswerLimits;
use callscope::graphql::error_class::ErrorClassifier;
use callscope::graphql::limit::{CostContext, Limits};
use callscope::graphql::schema::{self, CallscopeSchema};
use callscope::graphql::scope::RequestInfo;
use callscope::ingest;
use callscope::store::write::Batch;
use chrono::DateTime;
use clap::Args;
use libfuzzer_sys::fuzz_target;

struct Server {
    runtime: tokio::runtime::Runtime,
    schema: CallscopeSchema,
    limits: Limits,
    info: RequestInfo,
    _app: App,
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
        let config = Config {
            database: settings(&["--database-url", &url, "--database-connections", "1"]),
            server: settings(&["--listen", "127.0.0.1:0"]),
            access: settings(&[]),
            graphql: settings(&[]),
            record: settings(&[]),
            keep: settings(&[]),
            replicas: settings(&[]),
            observe: settings(&[]),
            clock: Clock::fixed(now),
        };
        let app = runtime.block_on(App::open(config.clone())).expect("opens");
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
        let services = app.services().clone();
        let batch = Batch { calls: vec![call.clone(), call], errors: vec![error], claim: None };
        runtime.block_on(ingest::record(&services.db, &batch)).expect("writes");
        let schema = schema::build(&config.graphql, services.observer.clone());
        let limits = Limits::new(&config.graphql, &schema::sdl()).expect("limits");
        let caller = Arc::new(Caller::anonymous(Scopes::all()));
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let answer = AnswerLimits::new(16 << 20, 256 << 10).start();
        let info = RequestInfo { services, now, caller, address, answer };
        Self { runtime, schema, limits, info, _app: app, _folder: folder }
    }
}

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (query, variables) = text.split_once('\0').unwrap_or((text, "{}"));
    let variables = serde_json::from_str(variables).map(Variables::from_json).unwrap_or_default();
    SERVER.with_borrow_mut(|server| {
        let server = server.get_or_insert_with(Server::start);
        if server.limits.check_text(query).is_err() {
            return;
        }
        let mut request = Request::new(query);
        let Ok(document) = request.parsed_query() else { return };
        let cost_context =
            CostContext { now: server.info.now, density: &server.info.services.density, db: None };
        let Ok(cost) = server.limits.measure(document, None, &variables, &cost_context) else {
            return;
        };
        if cost.is_some_and(|cost| server.limits.check_cost(&cost).is_err()) {
            return;
        }
        let request = request.variables(variables);
        let answer = AnswerLimits::new(16 << 20, 256 << 10).start();
        let info = RequestInfo { answer, ..server.info.clone() };
        let answer = schema::execute(&server.schema, info, request);
        let answer = server.runtime.block_on(answer);
        let classifier = ErrorClassifier::new(query);
        for error in &answer.errors {
            assert!(!error.message.contains("internal error"), "{error:?}");
            for place in &error.locations {
                classifier.argument_at(*place);
            }
        }
        classifier.argument_at(Pos { line: 1, column: 1 + data.len() % 80 });
        serde_json::to_string(&answer).expect("JSON");
    });
});
