//! `POST /v1/traces`: OTLP over HTTP. Clients send again what is answered by 429, 502, 503 or 504, and
//! nothing else.

use axum::Extension;
use axum::extract::{Request, State};
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
use crate::http::context::RequestContext;
use crate::http::problem::Problem;
use crate::http::read;
use crate::http::router::AppState;
use crate::ingest::otlp::Taken;

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
) -> Result<(Taken, Format), Problem> {
    state.admission.count(context)?;
    may_record(context)?;
    let format = format.ok_or_else(|| {
        Problem::unsupported("traces are sent as application/x-protobuf or application/json")
    })?;
    let encoding = Encoding::of(request.headers())?;
    let of = |error| Problem::of(&error, &context.id);
    state.intake.check_writable().map_err(of)?;
    let body = read::bytes(unpack::body(request, encoding), &state.read).await?;
    let _room = state.admission.enter(context)?;
    let export = decode(&body, format)?;
    drop(body);
    let taken = state.intake.take_spans(export, &context.caller, &state.otlp_key_attribute);
    Ok((taken.await.map_err(of)?, format))
}

fn decode(body: &[u8], format: Format) -> Result<ExportTraceServiceRequest, Problem> {
    let bad = || Problem::bad_request("the body is no ExportTraceServiceRequest");
    match format {
        Format::Protobuf => ExportTraceServiceRequest::decode(body).map_err(|_| bad()),
        Format::Json if count_values(body) > MAX_VALUES => Err(Problem::too_large()),
        Format::Json => serde_json::from_slice(body).map_err(|_| bad()),
    }
}

/// `partial_success` only where something could not be kept.
fn answer(taken: Taken, format: Format) -> Response {
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
