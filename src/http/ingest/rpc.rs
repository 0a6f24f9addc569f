//! Error responses of OTLP: a `google.rpc.Status` in the format of the request.

use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use prost::Message;
use serde_json::json;

use crate::http::body::is_utf8_of;
use crate::http::problem::Problem;

/// Encoding of the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Protobuf,
    Json,
}

impl Format {
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let is = |name: &str| is_utf8_of(headers, &[name]);
        match () {
            () if is("application/x-protobuf") => Some(Self::Protobuf),
            () if is("application/json") => Some(Self::Json),
            () => None,
        }
    }

    pub(super) fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        })
    }
}

/// `google.rpc.Status`, of which no other field is needed.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

pub(super) fn error_response(problem: Problem, format: Format) -> Response {
    let (code, message) = (rpc_code(problem.status()), problem.message().to_owned());
    let body = match format {
        Format::Protobuf => Status { code, message }.encode_to_vec(),
        Format::Json => json!({ "code": code, "message": message }).to_string().into_bytes(),
    };
    let mut response = problem.with_body(body);
    response.headers_mut().insert(CONTENT_TYPE, format.media_type());
    response
}

/// `google.rpc.Code`.
fn rpc_code(status: StatusCode) -> i32 {
    match status.as_u16() {
        401 => 16,
        403 => 7,
        408 | 504 => 4,
        413 | 429 => 8,
        503 => 14,
        400..=499 => 3,
        _ => 13,
    }
}
