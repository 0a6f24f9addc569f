//! `POST /v1/traces`: OTLP over HTTP. Clients send again what is answered by 429, 502, 503 or 504, and
//! nothing else.

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

use super::may_record;
use super::rpc::{Format, refusal};
use super::unpack::{self, Encoding};
use crate::domain::json::{MAX_VALUES, count_values};
use crate::http::admission::sender;
use crate::http::context::RequestContext;
use crate::http::problem::Problem;
use crate::http::read;
use crate::http::router::AppState;
use crate::ingest::otlp::SpanReport;
use crate::ingest::otlp::size::{ExportSize, MAX_SPANS};

/// What a span and each of its values take when they are decoded.
const SPAN_BYTES: usize = 256;
const VALUE_BYTES: usize = 128;

pub(in crate::http) async fn traces(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: Request,
) -> Response {
    let format = Format::of(request.headers());
    match take(&state, &context, format, request).await {
        Ok((taken, format)) => answer(taken, format),
        Err(problem) => refusal(problem, format.unwrap_or(Format::Json)),
    }
}

async fn take(
    state: &AppState,
    context: &RequestContext,
    format: Option<Format>,
    request: Request,
) -> Result<(SpanReport, Format), Problem> {
    state.admission.count(context)?;
    may_record(context)?;
    let format = format.ok_or_else(|| {
        Problem::unsupported("traces are sent as application/x-protobuf or application/json")
    })?;
    let encoding = Encoding::of(request.headers())?;
    let of = |error| Problem::of(&error, &context.id);
    state.intake.check_writable().map_err(of)?;
    let reading = read::bytes(unpack::body(request, encoding), &state.read, sender(context));
    let (body, mut held) = reading.await?;
    let _room = state.admission.enter(context)?;
    // What is decoded can be a hundred times as large as the body: it is weighed first, and counts.
    let weight = weigh(&body, format)?;
    held.resize((body.len() + weight).div_ceil(1024)).map_err(read::no_room)?;
    let export = decode(&body, format)?;
    drop(body);
    let taken = state.intake.record_spans(export, &context.caller, &state.otlp_key_attribute);
    Ok((taken.await.map_err(of)?, format))
}

/// The memory that a decoded export takes, in bytes, roughly.
fn weigh(body: &[u8], format: Format) -> Result<usize, Problem> {
    let too_many = || {
        let message = format!("the export has more than {MAX_SPANS} spans or {MAX_VALUES} values");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", message)
    };
    let (spans, values) = match format {
        Format::Protobuf => {
            let size = ExportSize::of_protobuf(body).ok_or_else(not_an_export)?;
            (size.spans, size.messages)
        }
        // Each span has a bracket at least.
        Format::Json => (0, count_values(body)),
    };
    if spans > MAX_SPANS || values > MAX_VALUES {
        return Err(too_many());
    }
    Ok(spans * SPAN_BYTES + values * VALUE_BYTES)
}

fn not_an_export() -> Problem {
    Problem::bad_request("the body is no ExportTraceServiceRequest")
}

fn decode(body: &[u8], format: Format) -> Result<ExportTraceServiceRequest, Problem> {
    match format {
        Format::Protobuf => ExportTraceServiceRequest::decode(body).map_err(|_| not_an_export()),
        Format::Json => serde_json::from_slice(body).map_err(|_| not_an_export()),
    }
}

/// `partial_success` only where something could not be kept.
fn answer(taken: SpanReport, format: Format) -> Response {
    let rejected = taken.rejected > 0;
    let body = match format {
        Format::Protobuf => {
            let partial_success = rejected.then(|| ExportTracePartialSuccess {
                rejected_spans: i64::try_from(taken.rejected).unwrap_or(i64::MAX),
                error_message: taken.reasons(),
            });
            ExportTraceServiceResponse { partial_success }.encode_to_vec()
        }
        Format::Json if rejected => {
            let (spans, message) = (taken.rejected.to_string(), taken.reasons());
            let told = json!({ "rejectedSpans": spans, "errorMessage": message });
            json!({ "partialSuccess": told }).to_string().into_bytes()
        }
        Format::Json => b"{}".to_vec(),
    };
    ([(CONTENT_TYPE, format.media_type())], body).into_response()
}
