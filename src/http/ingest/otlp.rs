//! `POST /v1/traces`: OTLP over HTTP. Clients retry only after status 429, 502, 503 or 504.

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use serde_json::json;

use super::rpc::{Format, error_response};
use crate::domain::access::AccessScope;
use crate::domain::json::{MAX_VALUES, count_values};
use crate::http::body::{self, Encoding};
use crate::http::context::RequestContext;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::ingest::otlp::SpanReport;
use crate::ingest::otlp::size::{ExportSize, MAX_SPANS};

/// Estimated memory of a decoded span and of each of its values.
const SPAN_BYTES: usize = 256;
const VALUE_BYTES: usize = 128;

pub(crate) async fn traces(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: Request,
) -> Response {
    let format = Format::of(request.headers());
    match record_spans(&state, &context, format, request).await {
        Ok((report, format)) => respond(report, format),
        Err(problem) => error_response(problem, format.unwrap_or(Format::Json)),
    }
}

async fn record_spans(
    state: &AppState,
    context: &RequestContext,
    format: Option<Format>,
    request: Request,
) -> Result<(SpanReport, Format), Problem> {
    state.admission.check_rate(context)?;
    context.require_scope(AccessScope::Record)?;
    let format = format.ok_or_else(|| {
        Problem::unsupported("send traces as application/x-protobuf or application/json")
    })?;
    let encoding = Encoding::of(request.headers())?;
    let problem = |error| Problem::of(&error, &context.id);
    state.intake.check_writable().map_err(problem)?;
    let body = body::decompress(request, encoding);
    let (body, mut memory) = body::read(body, &state.read, context.client()).await?;
    let _slot = state.admission.acquire_request(context)?;
    // A decoded export can be a hundred times as large as the body, so it is estimated before decoding.
    let decoded_bytes = decoded_bytes(&body, format)?;
    memory.resize((body.len() + decoded_bytes).div_ceil(1024)).map_err(body::no_memory)?;
    let export = decode(&body, format)?;
    drop(body);
    let report = state.intake.record_spans(export, &context.caller, &state.otlp_key_attribute);
    Ok((report.await.map_err(problem)?, format))
}

/// Estimated memory of the decoded export, in bytes.
fn decoded_bytes(body: &[u8], format: Format) -> Result<usize, Problem> {
    let too_many = || {
        let message = format!("more than {MAX_SPANS} spans or {MAX_VALUES} values in the export");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message)
    };
    let (spans, values) = match format {
        Format::Protobuf => {
            let size = ExportSize::of_protobuf(body).ok_or_else(not_an_export)?;
            (size.spans, size.messages)
        }
        // Spans are values too.
        Format::Json => (0, count_values(body)),
    };
    if spans > MAX_SPANS || values > MAX_VALUES {
        return Err(too_many());
    }
    Ok(spans * SPAN_BYTES + values * VALUE_BYTES)
}

fn not_an_export() -> Problem {
    Problem::bad_request("the body is not an ExportTraceServiceRequest")
}

fn decode(body: &[u8], format: Format) -> Result<ExportTraceServiceRequest, Problem> {
    match format {
        Format::Protobuf => ExportTraceServiceRequest::decode(body).map_err(|_| not_an_export()),
        Format::Json => serde_json::from_slice(body).map_err(|_| not_an_export()),
    }
}

/// `partial_success` is set only if spans were rejected.
fn respond(report: SpanReport, format: Format) -> Response {
    let rejected = report.rejected > 0;
    let body = match format {
        Format::Protobuf => {
            let partial_success = rejected.then(|| ExportTracePartialSuccess {
                rejected_spans: i64::try_from(report.rejected).unwrap_or(i64::MAX),
                error_message: report.reasons(),
            });
            ExportTraceServiceResponse { partial_success }.encode_to_vec()
        }
        Format::Json if rejected => {
            let (spans, message) = (report.rejected.to_string(), report.reasons());
            let partial = json!({ "rejectedSpans": spans, "errorMessage": message });
            json!({ "partialSuccess": partial }).to_string().into_bytes()
        }
        Format::Json => b"{}".to_vec(),
    };
    ([(CONTENT_TYPE, format.media_type())], body).into_response()
}
