//! Who connects. A page cannot set headers of a WebSocket, so that a token comes in the first message.

use serde_json::Value;

use super::super::context::{RequestContext, bearer};
use super::super::router::AppState;
use super::message::Payload;
use crate::access::Credentials;

/// Whoever the payload of `connection_init` names; otherwise who asked for the connection. Nobody where
/// a token does not hold, or where none is needed but may do nothing.
pub(super) async fn identify(
    state: &AppState,
    context: &RequestContext,
    payload: &Payload,
) -> Option<RequestContext> {
    let mut known = context.clone();
    if let Some(token) = payload.as_ref().and_then(token) {
        let (db, now) = (&state.services.db, state.clock.now());
        let found = state.tokens.caller(db, Credentials::Token(token), now).await.ok()?;
        (known.caller, known.proof) = found;
    } else if known.proof.is_some() {
        // It may have ended since the connection was asked for.
        known.caller = state.callers.caller_still(known.proof.as_ref()).await.ok()?;
    }
    let may_nothing = known.caller.is_anonymous() && known.caller.scopes.is_empty();
    (!may_nothing).then_some(known)
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
