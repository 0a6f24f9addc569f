//! Traces, as a collector receives them.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;

use crate::support::{CallRow, ErrorRow, Kind, TestApp, TestDatabase, settings};
use crate::tests;

tests! {
    a_request_is_traced_down_to_its_statements,
    a_request_is_part_of_the_trace_that_it_names.only(&[Kind::Sqlite]),
    failures_are_marked.only(&[Kind::Sqlite]),
    a_failing_collector_does_not_affect_requests.only(&[Kind::Sqlite]),
}

/// A collector on a free port, which stores what it receives.
struct Collector {
    endpoint: String,
    received: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    async fn start(status: StatusCode) -> Self {
        let received = Arc::new(Mutex::new(vec![]));
        let keep = move |State(received): State<Arc<Mutex<Vec<Bytes>>>>, body: Bytes| async move {
            received.lock().unwrap().push(body);
            status
        };
        let router = Router::new().route("/v1/traces", post(keep)).with_state(received.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, router).into_future());
        Self { endpoint, received }
    }

    async fn app(&self, database: &TestDatabase) -> TestApp {
        let endpoint = Some(self.endpoint.clone());
        TestApp::start_with(database, |config| {
            config.observe.otlp_endpoint = endpoint;
            let tokens = format!("tracer:ALL:{TOKEN}");
            config.access = settings(&["--tokens", &tokens, "--anonymous-scopes", "ALL"]);
        })
        .await
    }

    fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received
            .iter()
            .flat_map(|body| ExportTraceServiceRequest::decode(&body[..]).unwrap().resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

/// The token of every request here.
const TOKEN: &str = "Token-Marker-0123456789";

fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let attribute = span.attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Attribute::StringValue(text) => Some(text),
        _ => None,
    }
}

async fn a_request_is_traced_down_to_its_statements(database: TestDatabase) {
    let call = CallRow::at("2026-03-01T11:30:00Z").key("Key-Marker").model("Model-Marker");
    database.insert(&[call.status(429)]).await;
    let error = ErrorRow::at("2026-03-01T11:30:00Z").key("Key-Marker").log("Message-Marker");
    database.insert(&[error.request("{\"contents\": \"Prompt-Marker\"}")]).await;
    let collector = Collector::start(StatusCode::OK).await;
    let app = collector.app(&database).await;
    let query = r#"query Failures($key: String) {
        callDetails(period: LAST_HOUR, key: $key, filter: { models: ["Model-Marker"] }) {
            nodes { errorLog { message request } }
        }
    }"#;
    let body = json!({ "query": query, "variables": { "key": "Key-Marker" } });
    let sent = app.client().post(app.url("/graphql?key=Query-Marker"));
    let sent = sent.bearer_auth(TOKEN).json(&body).send();
    let answer = sent.await.unwrap().text().await.unwrap();
    assert!(answer.contains("Prompt-Marker"), "{answer}");
    app.shutdown().await;

    let spans = collector.spans();
    let path = ["POST /graphql", "query Failures", "Query.callDetails", "call.list"];
    for (parent, child) in path.iter().zip(&path[1..]) {
        let (parent, child) = (named(&spans, parent), named(&spans, child));
        assert_eq!(child.parent_span_id, parent.span_id, "{spans:#?}");
        assert_eq!(child.trace_id, parent.trace_id);
    }
    // The statement of a batch belongs to the whole operation.
    let batch = named(&spans, "error_match.rows");
    assert_eq!(batch.parent_span_id, named(&spans, "query Failures").span_id, "{spans:#?}");
    let statement = named(&spans, "call.list");
    assert!(text(statement, "db.query.text").unwrap().contains("t_request_log"), "{spans:#?}");
    let system = text(statement, "db.system.name");
    let expected = match database.kind() {
        Kind::Sqlite => "sqlite",
        Kind::Postgres => "postgresql",
        Kind::MariaDb => "mysql",
    };
    assert_eq!(system, Some(expected));
    let operation = named(&spans, "query Failures");
    assert_eq!(text(operation, "graphql.operation.name"), Some("Failures"));
    for body in collector.received.lock().unwrap().iter() {
        assert!(!String::from_utf8_lossy(body).contains("Marker"), "{spans:#?}");
    }
}

async fn a_request_is_part_of_the_trace_that_it_names(database: TestDatabase) {
    let collector = Collector::start(StatusCode::OK).await;
    let app = collector.app(&database).await;
    let get = app.get("/graphql").query(&[("query", "{ __typename }")]);
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    get.header("traceparent", trace).send().await.unwrap();
    app.get("/healthz").header("traceparent", "nonsense").send().await.unwrap();
    app.shutdown().await;
    let spans = collector.spans();
    let (named_one, other) = (named(&spans, "GET /graphql"), named(&spans, "GET /healthz"));
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&named_one.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&named_one.parent_span_id), "b7ad6b7169203331");
    assert!(other.parent_span_id.is_empty() && other.trace_id != named_one.trace_id);
}

async fn failures_are_marked(database: TestDatabase) {
    let collector = Collector::start(StatusCode::OK).await;
    let app = collector.app(&database).await;
    database.execute("DROP TABLE t_request_log").await;
    app.graphql("query Broken { callDetails(period: LAST_HOUR) { nodes { model } } }").await;
    app.shutdown().await;
    let spans = collector.spans();
    for (name, error) in [
        ("query Broken", "DATABASE_UNAVAILABLE"),
        ("Query.callDetails", "GRAPHQL_ERROR"),
        ("call.list", "SQL"),
    ] {
        let span = named(&spans, name);
        assert_eq!(span.status.as_ref().unwrap().code, 2, "{span:#?}");
        assert_eq!(text(span, "error.type"), Some(error), "{span:#?}");
    }
}

async fn a_failing_collector_does_not_affect_requests(database: TestDatabase) {
    let failing = Collector::start(StatusCode::BAD_REQUEST).await;
    for endpoint in [failing.endpoint.as_str(), "http://127.0.0.1:1", "https://127.0.0.1:1"] {
        let endpoint = Some(endpoint.to_owned());
        let app =
            TestApp::start_with(&database, |config| config.observe.otlp_endpoint = endpoint).await;
        app.data("{ usageStats { lastHour { total } } }").await;
        let start = std::time::Instant::now();
        app.shutdown().await;
        assert!(start.elapsed() < std::time::Duration::from_secs(10));
    }
    assert!(!failing.received.lock().unwrap().is_empty());
}
