//! Browser sessions: `POST /session` exchanges a token for a cookie that scripts cannot read, so that the
//! page does not store the token. `GET` shows the session, `DELETE` ends it.

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

use super::body::{self, ReadLimits, is_json};
use super::client::is_https;
use super::context::{RequestContext, client_of};
use super::problem::Problem;
use super::state::AppState;
use crate::domain::access::Caller;

/// Limit of the body with the token.
const MAX_LOGIN_BYTES: usize = 4096;

const NAME: &str = "callscope_session";

/// Exchanges `{"token": "…"}` for the cookie.
pub(crate) async fn start(
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
    // Only JSON: a form of another site cannot send it.
    if !is_json(request.headers()) {
        return Err(malformed());
    }
    let secure = is_https(request.headers(), state.services.server.trust_forwarded_for);
    let limits = ReadLimits { body_bytes: MAX_LOGIN_BYTES, ..state.read.clone() };
    let client = client_of(&request);
    let (body, _memory) = body::read(request.into_body(), &limits, client).await?;
    let login: Login = serde_json::from_slice(&body).map_err(|_| malformed())?;
    let now = state.clock.now();
    let session = state.tokens.start_session(&state.services.db, &login.token, now).await;
    let session = match session {
        Ok(session) => session,
        Err(_) => {
            state.admission.check_failure_rate(context.address)?;
            return Err(Problem::unauthenticated());
        }
    };
    let length = Duration::seconds((session.expires_at - now).num_seconds());
    let cookie = cookie(session.value, length, secure);
    Ok(respond(&session.caller, Some(session.expires_at), Some(cookie)))
}

/// The caller (`anonymous` without a session) and its scopes.
pub(crate) async fn show(
    State(state): State<AppState>,
    Extension(context): Extension<RequestContext>,
    headers: HeaderMap,
) -> Response {
    let value = session_cookie(&headers);
    let end = value.and_then(|value| state.tokens.session_end(&value, state.clock.now()));
    respond(&context.caller, end, None)
}

/// Deletes the browser's cookie.
pub(crate) async fn end(State(state): State<AppState>, headers: HeaderMap) -> Response {
    let anonymous = Caller::anonymous(state.tokens.anonymous_scopes());
    let secure = is_https(&headers, state.services.server.trust_forwarded_for);
    respond(&anonymous, None, Some(cookie(String::new(), Duration::ZERO, secure)))
}

/// The value of the session cookie.
pub(crate) fn session_cookie(headers: &HeaderMap) -> Option<String> {
    let texts = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = texts.flat_map(|text| Cookie::split_parse(text.to_owned())).flatten();
    cookies.find(|cookie| cookie.name() == NAME).map(|cookie| cookie.value().to_owned())
}

/// `SameSite=Strict`: only pages of this server send it.
fn cookie(value: String, length: Duration, secure: bool) -> Cookie<'static> {
    Cookie::build((NAME, value))
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(secure)
        .path("/")
        .max_age(length)
        .build()
}

fn respond(
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
