//! Authentication of a WebSocket. A web page cannot set its headers, so the token is in the first message.

use serde_json::Value;

use super::close::CloseReason;
use super::message::Payload;
use crate::access::Credentials;
use crate::http::context::RequestContext;
use crate::http::middleware::authentication::bearer;
use crate::http::state::AppState;

/// Authenticates by the payload of `connection_init`, or else by the credentials of the upgrade request.
/// Forbidden if the token is invalid, or if an anonymous caller has no scopes.
pub(super) async fn authenticate(
    state: &AppState,
    context: &RequestContext,
    payload: &Payload,
) -> Result<RequestContext, CloseReason> {
    let mut context = context.clone();
    if let Some(token) = payload.as_ref().and_then(token) {
        let (db, now) = (&state.services.db, state.clock.now());
        let Ok(found) = state.tokens.caller(db, Credentials::Token(token), now).await else {
            return Err(match state.admission.check_failure_rate(context.address) {
                Ok(()) => CloseReason::Forbidden,
                Err(_) => CloseReason::TooManyInits,
            });
        };
        (context.caller, context.proof) = found;
    } else if context.proof.is_some() {
        // The credentials may have been revoked since the upgrade.
        let current = state.credential_checks.current_caller(context.proof.as_ref()).await;
        context.caller = current.map_err(|_| CloseReason::Forbidden)?;
    }
    let has_access = !context.caller.is_anonymous() || !context.caller.scopes.is_empty();
    if has_access { Ok(context) } else { Err(CloseReason::Forbidden) }
}

/// The token of `{"authorization": "Bearer …"}` or `{"token": "…"}`. Any other value yields an empty token,
/// which is rejected: a client that sends credentials must not be treated as anonymous.
fn token(payload: &serde_json::Map<String, Value>) -> Option<&str> {
    let mut tokens =
        payload.iter().filter(|(_, value)| !value.is_null()).filter_map(|(name, value)| {
            let text = value.as_str().unwrap_or_default();
            match name {
                name if name.eq_ignore_ascii_case("authorization") => Some(bearer(text)),
                name if name == "token" => Some(text),
                _ => None,
            }
        });
    let token = tokens.next()?;
    // Two different tokens are rejected.
    Some(if tokens.all(|other| other == token) { token } else { "" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_has_two_possible_names() {
        let found = |payload: Value| token(payload.as_object().unwrap()).map(str::to_owned);
        for payload in [
            json!({ "token": "a" }),
            json!({ "authorization": "Bearer a" }),
            json!({ "Authorization": "bearer  a", "token": null }),
            json!({ "AUTHORIZATION": "Bearer a", "token": "a", "other": 1 }),
        ] {
            assert_eq!(found(payload.clone()).as_deref(), Some("a"), "{payload}");
        }
        for payload in [json!({}), json!({ "Token": "a", "user": "b" }), json!({ "token": null })] {
            assert_eq!(found(payload.clone()), None, "{payload}");
        }
        for payload in [
            json!({ "token": "" }),
            json!({ "token": 1 }),
            json!({ "token": ["a"] }),
            json!({ "authorization": "a" }),
            json!({ "authorization": "Basic a" }),
            json!({ "authorization": "Bearer a", "token": "b" }),
            json!({ "authorization": "Bearer a", "Authorization": "Bearer b" }),
        ] {
            assert_eq!(found(payload.clone()).as_deref(), Some(""), "{payload}");
        }
    }
}
