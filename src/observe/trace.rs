//! Traces: spans of requests, operations, lists and statements, sent to an OpenTelemetry collector.
//! Off, a span is nothing at all. Names, codes and texts of statements without values are all that
//! spans hold: no argument, no header, no document.

use std::borrow::Cow;
use std::time::Duration;

use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    FutureExt, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_http::{HeaderExtractor, Request};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};

use super::Observer;
use super::collector::Collector;

/// How long the last spans may take to be sent when the server stops.
const FLUSH: Duration = Duration::from_secs(5);

/// Where spans go.
#[derive(Debug)]
pub struct Tracing {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// OpenTelemetry's name of the database's kind.
    database: &'static str,
}

impl Tracing {
    /// Sends spans to the collector at `endpoint`, such as `http://127.0.0.1:4318`. Sampling,
    /// batches and headers follow OpenTelemetry's own environment variables.
    pub fn to(endpoint: &str, database: &'static str) -> anyhow::Result<Self> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::connect()?)
            .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
            .build()?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_resource(resource())
            .build();
        let tracer = provider.tracer("callscope");
        Ok(Self { provider, tracer, database })
    }

    fn begin(
        &self,
        parent: &Context,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        attributes: Vec<KeyValue>,
    ) -> TraceSpan {
        let span = SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes);
        let span = self.tracer.build_with_context(span, parent);
        TraceSpan(Some(parent.with_span(span)))
    }
}

/// `callscope`, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say otherwise.
fn resource() -> Resource {
    let name = opentelemetry::Key::from_static_str("service.name");
    let given = Resource::builder().build().get(&name);
    let given = given.map(|name| name.to_string()).filter(|name| !name.starts_with("unknown"));
    Resource::builder()
        .with_service_name(given.unwrap_or_else(|| "callscope".to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// A span, from its making to its end; nothing where no traces are wanted.
#[derive(Debug, Default)]
pub struct TraceSpan(Option<Context>);

impl TraceSpan {
    /// Does `work` within the span: what begins meanwhile is part of it.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.0 {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        }
    }

    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(key, value));
        }
    }

    /// It failed, with this code.
    pub fn fail(&self, code: &str) {
        if let Some(context) = &self.0 {
            context.span().set_status(Status::error(""));
            context.span().set_attribute(KeyValue::new("error.type", code.to_owned()));
        }
    }
}

impl Drop for TraceSpan {
    fn drop(&mut self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

impl Observer {
    /// An HTTP request, which may be part of the trace that its `traceparent` names.
    pub fn request_span<B>(
        &self,
        request: &Request<B>,
        method: &'static str,
        route: &str,
        id: &str,
    ) -> TraceSpan {
        let Some(tracing) = &self.tracing else { return TraceSpan::default() };
        let parent = TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &HeaderExtractor(request.headers()));
        let attributes = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("http.route", route.to_owned()),
            KeyValue::new("callscope.request_id", id.to_owned()),
        ];
        tracing.begin(&parent, format!("{method} {route}"), SpanKind::Server, attributes)
    }

    /// The operation of a GraphQL request.
    pub fn operation_span(&self, kind: &'static str, name: Option<&str>) -> TraceSpan {
        let Some(tracing) = &self.tracing else { return TraceSpan::default() };
        let mut attributes = vec![KeyValue::new("graphql.operation.type", kind)];
        attributes
            .extend(name.map(|name| KeyValue::new("graphql.operation.name", name.to_owned())));
        let name = name.map_or(Cow::from(kind), |name| format!("{kind} {name}").into());
        tracing.begin(&Context::current(), name, SpanKind::Internal, attributes)
    }

    /// A field that is resolved: `Query.callDetails`.
    pub fn field_span(&self, parent: &str, field: &str) -> TraceSpan {
        let Some(tracing) = &self.tracing else { return TraceSpan::default() };
        let name = format!("{parent}.{field}");
        tracing.begin(&Context::current(), name, SpanKind::Internal, vec![])
    }

    pub(super) fn statement_span(&self, name: &'static str, text: &str) -> TraceSpan {
        let Some(tracing) = &self.tracing else { return TraceSpan::default() };
        let attributes = vec![
            KeyValue::new("db.system.name", tracing.database),
            KeyValue::new("db.query.summary", name),
            KeyValue::new("db.query.text", text.to_owned()),
        ];
        tracing.begin(&Context::current(), name, SpanKind::Client, attributes)
    }

    /// Sends what is left to send; the server is about to end.
    pub async fn flush(&self) {
        let Some(tracing) = &self.tracing else { return };
        let provider = tracing.provider.clone();
        // It waits for a thread that waits for tasks of this runtime.
        let sent = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH)).await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::warn!("the last spans were not sent");
        }
    }
}
