//! The messages of graphql-transport-ws. Any other message is invalid and ends the connection.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::http::graphql::read::GraphqlRequest;

/// Limit of an operation id, which is repeated in each event.
const MAX_ID_BYTES: usize = 256;

/// The client's id of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(Arc<str>);

pub(super) type Payload = Option<Map<String, Value>>;

/// A message of the client. No `Debug`: a payload may contain a token.
pub(super) enum Incoming {
    ConnectionInit(Payload),
    Ping(Payload),
    Pong,
    Subscribe(Id, Box<GraphqlRequest>),
    Complete(Id),
}

impl Incoming {
    /// `None` if the text is not a valid message.
    pub fn parse(text: &str) -> Option<Self> {
        let Value::Object(mut fields) = serde_json::from_str(text).ok()? else { return None };
        let kind = fields.remove("type")?;
        let payload = fields.remove("payload");
        Some(match kind.as_str()? {
            "connection_init" => Self::ConnectionInit(optional(payload)?),
            "ping" => Self::Ping(optional(payload)?),
            "pong" => {
                optional(payload)?;
                Self::Pong
            }
            "subscribe" => {
                let payload = payload.filter(Value::is_object)?;
                let request: GraphqlRequest = serde_json::from_value(payload).ok()?;
                if !has_document(&request) {
                    return None;
                }
                Self::Subscribe(Id::of(fields)?, Box::new(request))
            }
            "complete" => Self::Complete(Id::of(fields)?),
            _ => return None,
        })
    }
}

/// The protocol requires `query`; persisted and trusted documents have a hash or id instead.
fn has_document(request: &GraphqlRequest) -> bool {
    request.query.is_some()
        || request.document_id.is_some()
        || request.extensions.contains_key("persistedQuery")
}

/// An object, null or missing; `None` for any other value.
fn optional(payload: Option<Value>) -> Option<Payload> {
    match payload {
        None | Some(Value::Null) => Some(None),
        Some(Value::Object(payload)) => Some(Some(payload)),
        Some(_) => None,
    }
}

impl Id {
    fn of(mut message: Map<String, Value>) -> Option<Self> {
        match message.remove("id")? {
            Value::String(id) if (1..=MAX_ID_BYTES).contains(&id.len()) => Some(Self(id.into())),
            _ => None,
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

pub(super) fn ack() -> String {
    json!({ "type": "connection_ack" }).to_string()
}

/// The answer to a ping, with the same payload.
pub(super) fn pong(payload: Payload) -> String {
    match payload {
        Some(payload) => json!({ "type": "pong", "payload": payload }).to_string(),
        None => json!({ "type": "pong" }).to_string(),
    }
}

/// `response` is JSON.
pub(super) fn next(id: &Id, response: &str) -> String {
    format!(r#"{{"id":{},"type":"next","payload":{response}}}"#, json!(&*id.0))
}

pub(super) fn error(id: &Id, errors: &Value) -> String {
    json!({ "id": &*id.0, "type": "error", "payload": errors }).to_string()
}

pub(super) fn complete(id: &Id) -> String {
    json!({ "id": &*id.0, "type": "complete" }).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_message(text: &str) -> bool {
        Incoming::parse(text).is_some()
    }

    #[test]
    fn messages_of_the_protocol_are_accepted() {
        for text in [
            r#"{"type":"connection_init"}"#,
            r#"{"type":"connection_init","payload":null,"more":1}"#,
            r#"{"payload":{"token":"x"},"type":"connection_init"}"#,
            r#"{"type":"ping","payload":{}}"#,
            r#"{"type":"pong"}"#,
            r#"{"id":"1","type":"complete"}"#,
            r#"{"id":"1","type":"subscribe","payload":{"query":"{ a }"}}"#,
            r#"{"id":"1","type":"subscribe","payload":{"query":"","operationName":null,
                "variables":null,"extensions":null}}"#,
            r#"{"id":"1","type":"subscribe","payload":{"documentId":"a"}}"#,
            r#"{"id":"1","type":"subscribe","payload":{"extensions":{"persistedQuery":{}}}}"#,
        ] {
            assert!(is_message(text), "{text}");
        }
    }

    #[test]
    fn everything_else_is_invalid() {
        let long = "x".repeat(MAX_ID_BYTES + 1);
        let long = json!({ "id": long, "type": "complete" }).to_string();
        for text in [
            "",
            "{",
            "null",
            "[]",
            r#"["ping", null]"#,
            r#""ping""#,
            "{}",
            r#"{"type":1}"#,
            r#"{"type":"PING"}"#,
            r#"{"type":"start"}"#,
            r#"{"type":"connection_ack"}"#,
            r#"{"id":"1","type":"next","payload":{}}"#,
            r#"{"id":"1","type":"error","payload":[]}"#,
            r#"{"type":"connection_init","payload":[]}"#,
            r#"{"type":"ping","payload":"x"}"#,
            r#"{"type":"pong","payload":0}"#,
            r#"{"type":"complete"}"#,
            r#"{"id":"","type":"complete"}"#,
            r#"{"id":1,"type":"complete"}"#,
            r#"{"id":"1","type":"subscribe"}"#,
            r#"{"id":"1","type":"subscribe","payload":{}}"#,
            r#"{"id":"1","type":"subscribe","payload":["{ a }",null,null,{},{}]}"#,
            r#"{"id":"1","type":"subscribe","payload":{"query":1}}"#,
            r#"{"id":"1","type":"subscribe","payload":{"query":"{ a }","variables":[]}}"#,
            r#"{"id":"1","type":"subscribe","payload":{"query":"{ a }","operationName":1}}"#,
            r#"{"id":"1","type":"subscribe","payload":{"query":"{ a }","extensions":"x"}}"#,
            r#"{"type":"subscribe","payload":{"query":"{ a }"}}"#,
            &long,
        ] {
            assert!(!is_message(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_message_or_none(text in any::<String>()) {
            is_message(&text);
        }

        #[test]
        fn any_id_is_sent_back(id in ".{1,40}", query in any::<String>()) {
            let sent = json!({
                "type": "subscribe", "id": id, "payload": { "query": query },
            });
            let Some(Incoming::Subscribe(id_read, request)) = Incoming::parse(&sent.to_string())
            else {
                return Err(TestCaseError::fail("no message"));
            };
            prop_assert_eq!(request.query, Some(query));
            let messages = [
                next(&id_read, "{}"),
                error(&id_read, &json!([])),
                complete(&id_read),
            ];
            for message in messages {
                let message: Value = serde_json::from_str(&message).unwrap();
                prop_assert_eq!(&message["id"], &json!(id));
            }
        }
    }
}
