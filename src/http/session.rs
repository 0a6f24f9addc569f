//! The session of a browser: a token is exchanged for a cookie that no script can read, so that a
//! page never keeps the token. `POST /session` begins it, `GET` tells of it, `DELETE` ends it.

use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chrono::{DateTime, Utc};
use cookie::time::Duration;
use cookie::{Cookie, SameSite};
use serde::Deserialize;
use serde_json::json;

use super::address::is_https;
use super::context::{self, RequestContext};
use super::negotiate::is_json;
use super::problem::Problem;
use super::read::{self, ReadLimits};
use super::router::AppState;
use crate::domain::access::Caller;

/// A token and what is around it.
const MAX_LOGIN_BYTES: usize = 4096;

const NAME: &str = "callscope_session";

/// Exchanges `{"token": "…"}` for the cookie.
pub(super) async fn begin(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    request: Request,
) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    struct Login {
        token: String,
    }
    let malformed = || {
        let message = "the body must be JSON: {\"token\": \"…\"}";
        Problem::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", message)
    };
    // JSON alone: a form of another site can send none.
    if !is_json(request.headers()) {
        return Err(malformed());
    }
    let secure = is_https(request.headers(), state.services.server.trust_forwarded_for);
    let limits = ReadLimits { body_bytes: MAX_LOGIN_BYTES, ..state.read.clone() };
    let sender = context::sender_of(&request);
    let (body, _held) = read::bytes(request.into_body(), &limits, sender).await?;
    let login: Login = serde_json::from_slice(&body).map_err(|_| malformed())?;
    let now = state.clock.now();
    let session = state.tokens.begin_session(&state.services.db, &login.token, now).await;
    let session = match session {
        Ok(session) => session,
        Err(_) => {
            state.admission.count_failure(context.address)?;
            return Err(Problem::unauthenticated());
        }
    };
    let length = Duration::seconds((session.expires_at - now).num_seconds());
    let cookie = cookie(session.value, length, secure);
    Ok(answer(&session.caller, Some(session.expires_at), Some(cookie)))
}

/// Who the browser is logged in as, `anonymous` where it is not, and what it may do.
pub(super) async fn show(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
) -> Response {
    let value = session_cookie(&headers);
    let end = value.and_then(|value| state.tokens.session_end(&value, state.clock.now()));
    answer(&context.caller, end, None)
}

/// Makes the browser forget its cookie.
pub(super) async fn end(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let anonymous = Caller::anonymous(state.tokens.anonymous_scopes());
    let secure = is_https(&headers, state.services.server.trust_forwarded_for);
    answer(&anonymous, None, Some(cookie(String::new(), Duration::ZERO, secure)))
}

/// The value of the session's cookie.
pub(super) fn session_cookie(headers: &HeaderMap) -> Option<String> {
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = texts.flat_map(|text| Cookie::split_parse(text.to_owned())).flatten();
    cookies.find(|cookie| cookie.name() == NAME).map(|cookie| cookie.value().to_owned())
}

/// Sent back to this server alone, and by pages of its own alone.
fn cookie(value: String, length: Duration, secure: bool) -> Cookie<'static> {
    Cookie::build((NAME, value))
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(secure)
        .path("/")
        .max_age(length)
        .build()
}

fn answer(
    caller: &Caller,
    expires_at: Option<DateTime<Utc>>,
    cookie: Option<Cookie<'_>>,
) -> Response {
    let scopes: Vec<&str> = caller.scopes.iter().map(|scope| scope.name()).collect();
    let body = json!({ "name": caller.name, "scopes": scopes, "expiresAt": expires_at });
    let mut response = Json(body).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(cookie) = cookie.and_then(|cookie| cookie.to_string().parse().ok()) {
        headers.insert(SET_COOKIE, cookie);
    }
    response
}
