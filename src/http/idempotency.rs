//! The header `Idempotency-Key`: under which key a request records, once.

use axum::http::{HeaderMap, StatusCode};

use super::problem::Problem;
use crate::ingest::claim::check_key;

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all("Idempotency-Key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bad = |message: String| Problem::new(StatusCode::BAD_REQUEST, "BAD_USER_INPUT", message);
    let text = std::str::from_utf8(value.as_bytes()).ok().filter(|_| values.next().is_none());
    let text = text.ok_or_else(|| bad("one Idempotency-Key, in UTF-8, is taken".into()))?;
    check_key(text).map_err(|error| bad(error.to_string()))?;
    Ok(Some(text.to_owned()))
}
