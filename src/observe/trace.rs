//! Traces: spans of requests, operations, lists and statements, exported to an OpenTelemetry collector.
//! Without an exporter a span is empty. Spans contain only names, codes and texts of statements without
//! values: no arguments, headers or documents.

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

/// The timeout of the last export when the server stops.
const FLUSH: Duration = Duration::from_secs(5);

/// The exporter of spans.
#[derive(Debug)]
pub struct Tracing {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    /// OpenTelemetry's name of the database system.
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

    fn start(
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

/// The service name is `callscope` unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES set another.
fn resource() -> Resource {
    let name = opentelemetry::Key::from_static_str("service.name");
    let given = Resource::builder().build().get(&name);
    let given = given.map(|name| name.to_string()).filter(|name| !name.starts_with("unknown"));
    Resource::builder()
        .with_service_name(given.unwrap_or_else(|| "callscope".to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build()
}

/// A span that ends when it is dropped; empty if tracing is disabled.
#[derive(Debug, Default)]
pub struct TraceSpan(Option<Context>);

impl TraceSpan {
    /// Runs `work` within the span; spans started meanwhile become its children.
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

    /// Marks the span as failed with this code.
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
    /// The span of an HTTP request; its parent is the header `traceparent`, if any.
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
        tracing.start(&parent, format!("{method} {route}"), SpanKind::Server, attributes)
    }

    /// The span of a GraphQL operation.
    pub fn operation_span(&self, kind: &'static str, name: Option<&str>) -> TraceSpan {
        let Some(tracing) = &self.tracing else { return TraceSpan::default() };
        let mut attributes = vec![KeyValue::new("graphql.operation.type", kind)];
        attributes
            .extend(name.map(|name| KeyValue::new("graphql.operation.name", name.to_owned())));
        let name = name.map_or(Cow::from(kind), |name| format!("{kind} {name}").into());
        tracing.start(&Context::current(), name, SpanKind::Internal, attributes)
    }

    /// The span of a field: `Query.callDetails`.
    pub fn field_span(&self, parent: &str, field: &str) -> TraceSpan {
        let Some(tracing) = &self.tracing else { return TraceSpan::default() };
        let name = format!("{parent}.{field}");
        tracing.start(&Context::current(), name, SpanKind::Internal, vec![])
    }

    pub(super) fn statement_span(&self, name: &'static str, text: &str) -> TraceSpan {
        let Some(tracing) = &self.tracing else { return TraceSpan::default() };
        let attributes = vec![
            KeyValue::new("db.system.name", tracing.database),
            KeyValue::new("db.query.summary", name),
            KeyValue::new("db.query.text", text.to_owned()),
        ];
        tracing.start(&Context::current(), name, SpanKind::Client, attributes)
    }

    /// Exports the remaining spans before the server stops.
    pub async fn flush(&self) {
        let Some(tracing) = &self.tracing else { return };
        let provider = tracing.provider.clone();
        // `spawn_blocking`: the exporter thread needs tasks of this runtime to complete.
        let sent = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH)).await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::warn!("the last spans were not exported");
        }
    }
}
