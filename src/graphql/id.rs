//! Global ids: `call_7`, `error_7`, `key_…`. Opaque to clients, readable for debugging.

use async_graphql::ID;

use crate::domain::key_id::is_key_id;

/// The object that a global id refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeId {
    Call(i64),
    ErrorLog(i64),
    /// The hashed id of a key.
    ApiKey(String),
}

impl NodeId {
    pub fn parse(id: &str) -> Option<Self> {
        let number = |prefix| {
            let digits: &str = id.strip_prefix(prefix)?;
            digits.parse().ok().filter(|number: &i64| number.to_string() == digits)
        };
        number("call_")
            .map(Self::Call)
            .or_else(|| number("error_").map(Self::ErrorLog))
            .or_else(|| is_key_id(id).then(|| Self::ApiKey(id.to_owned())))
    }
}

pub fn call_id(id: i64) -> ID {
    ID(format!("call_{id}"))
}

pub fn error_log_id(id: i64) -> ID {
    ID(format!("error_{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_form() {
        assert_eq!(NodeId::parse("call_7"), Some(NodeId::Call(7)));
        assert_eq!(NodeId::parse("error_12"), Some(NodeId::ErrorLog(12)));
        for id in ["call_07", "call_+7", "call_", "7", "error_x", "key_short", "Call_7", ""] {
            assert_eq!(NodeId::parse(id), None, "{id}");
        }
    }
}
