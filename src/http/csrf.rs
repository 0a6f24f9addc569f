//! Requests that a web page of somebody else can make a browser send. A browser asks first (by a
//! preflight, which CORS answers) unless the request is a simple one: a form, a text, a GET with the
//! usual headers alone. POST takes nothing but JSON, NDJSON and protobuf, which are not simple. What is
//! left are GETs: the page could not read the answer, but the work would be done, and what is written
//! down about it would name the wrong person.

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};

use super::negotiate::is_json;
use super::problem::Problem;

/// Headers that no simple request has: ours, those of Apollo's clients, and what other servers ask
/// for.
const SIGNS: [&str; 5] = [
    "x-callscope-client",
    "apollo-require-preflight",
    "x-apollo-operation-name",
    "graphql-preflight",
    "x-requested-with",
];

/// Refuses a request without a body that a browser sends without asking first.
pub(super) fn refuse_simple(headers: &HeaderMap) -> Result<(), Problem> {
    let signed = SIGNS.iter().any(|sign| headers.get(*sign).is_some_and(|value| !value.is_empty()));
    // A browser adds what it knows of `Basic` by itself, a bearer's token never.
    let bearer = headers.get(AUTHORIZATION).is_some_and(|value| {
        value.as_bytes().get(..7).is_some_and(|start| start.eq_ignore_ascii_case(b"Bearer "))
    });
    if signed || bearer || is_json(headers) {
        return Ok(());
    }
    let message = "a GET needs a header that no other web site can set: X-Callscope-Client with the \
                   name of your client, for example";
    Err(Problem::new(StatusCode::FORBIDDEN, "CSRF_PREVENTED", message))
}
