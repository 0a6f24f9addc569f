//! Who connects. A page cannot set headers of a WebSocket, so that a token comes in the first message.

use serde_json::Value;

use super::super::context::{RequestContext, bearer};
use super::super::router::AppState;
use super::close::Close;
use super::message::Payload;
use crate::access::Credentials;

/// The caller that the payload of `connection_init` names, or else the one that asked for the connection.
/// Forbidden where a token is not valid, or where a caller without one may do nothing.
pub(super) async fn identify(
    state: &AppState,
    context: &RequestContext,
    payload: &Payload,
) -> Result<RequestContext, Close> {
    let mut known = context.clone();
    if let Some(token) = payload.as_ref().and_then(token) {
        let (db, now) = (&state.services.db, state.clock.now());
        let Ok(found) = state.tokens.caller(db, Credentials::Token(token), now).await else {
            let counted = state.admission.count_failure(context.address);
            return Err(if counted.is_ok() { Close::Forbidden } else { Close::TooManyInits });
        };
        (known.caller, known.proof) = found;
    } else if known.proof.is_some() {
        // It may have ended since the connection was asked for.
        let still = state.callers.caller_still(known.proof.as_ref()).await;
        known.caller = still.map_err(|_| Close::Forbidden)?;
    }
    let may_nothing = known.caller.is_anonymous() && known.caller.scopes.is_empty();
    if may_nothing { Err(Close::Forbidden) } else { Ok(known) }
}

/// The token of `{"authorization": "Bearer …"}` or `{"token": "…"}`; an empty one where something else
/// stands there, since whoever sends it believes to have shown who they are.
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
    // Two that differ show nobody.
    Some(if tokens.all(|other| other == token) { token } else { "" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_has_two_names() {
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
