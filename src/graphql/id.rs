//! Global ids: `call_7`, `error_7`, `key_…`, `diagnosis_…`. Opaque to clients, readable for debugging.

use async_graphql::ID;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::domain::key_id::is_key_id;

/// The object that a global id refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeId {
    Call(i64),
    ErrorLog(i64),
    /// The hashed id of a key.
    ApiKey(String),
    Diagnosis(DiagnosisName),
}

/// What identifies a diagnosis while it lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiagnosisName {
    pub cause: String,
    /// Microseconds since 1970.
    pub since: i64,
    /// The id of its key.
    pub key: Option<String>,
    pub model: Option<String>,
}

const DIAGNOSIS: &str = "diagnosis_";

impl DiagnosisName {
    pub fn id(&self) -> ID {
        // Texts and numbers always serialise.
        ID(format!(
            "{DIAGNOSIS}{}",
            URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
        ))
    }

    /// A time at which an ended diagnosis is found: 23 hours after its start.
    pub fn later(&self) -> Option<DateTime<Utc>> {
        self.since()?.checked_add_signed(TimeDelta::hours(23))
    }

    pub fn since(&self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.since)
    }

    fn parse(id: &str) -> Option<Self> {
        let json = URL_SAFE_NO_PAD.decode(id.strip_prefix(DIAGNOSIS)?).ok()?;
        let name: Self = serde_json::from_slice(&json).ok()?;
        (name.id().0 == id).then_some(name)
    }
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
            .or_else(|| DiagnosisName::parse(id).map(Self::Diagnosis))
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
        let model = Some("a model".to_owned());
        let name = DiagnosisName { cause: "MODEL_OUTAGE".to_owned(), since: 7, key: None, model };
        assert_eq!(NodeId::parse(&name.id()), Some(NodeId::Diagnosis(name)));
        for id in [
            "diagnosis_",
            "diagnosis_e30",
            "call_07",
            "call_+7",
            "call_",
            "7",
            "error_x",
            "key_short",
            "Call_7",
            "",
        ] {
            assert_eq!(NodeId::parse(id), None, "{id}");
        }
    }
}
