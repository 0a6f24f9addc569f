//! The class of a failure: why a call failed and what an operator can do about it.
//!
//! [`classify`] reads a provider's text in any form (JSON, Python's or gRPC's representation, an SDK's
//! message, a proxy's page, cut or not) in three steps: `text` removes what the form adds, `facts` reads what the
//! text states (quotas, delays, the project), and the first rule of `rules.toml` that matches decides.

mod facts;
mod rules;
mod template;
mod text;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::de::IntoDeserializer;
use serde::de::value::Error as NameError;
use serde::{Deserialize, Serialize, Serializer};

pub use self::template::{Template, template};

/// The version of the rules and templates. **Increase it with each change of them**: stored classes of older
/// versions are computed again.
pub const VERSION: i32 = 3;

/// Why a call failed. Where several classes fit, a fault that waiting cannot end goes first, then a quota
/// of a day, then tokens of a minute, then requests of a minute.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailureClass {
    KeyInvalid,
    KeySuspended,
    KeyPermission,
    Billing,
    QuotaDay,
    QuotaTokens,
    QuotaMinute,
    QuotaOther,
    ProviderOverloaded,
    ProviderError,
    ModelNotFound,
    BadRequest,
    ContentFilter,
    ContextTooLong,
    RegionBlocked,
    IpBlocked,
    Timeout,
    Network,
    GatewayOther,
    Unknown,
}

/// What ends failures of a class.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Remedy {
    ReplaceKey,
    Pay,
    Wait,
    FixRequest,
    ChangeAddress,
    CheckGateway,
    None,
}

/// The name of the class in the API and in the database.
impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl FromStr for FailureClass {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        Self::deserialize(name.into_deserializer())
    }
}

impl FailureClass {
    fn remedy(self) -> Remedy {
        match self {
            Self::KeyInvalid | Self::KeySuspended | Self::KeyPermission => Remedy::ReplaceKey,
            Self::Billing => Remedy::Pay,
            Self::QuotaDay
            | Self::QuotaTokens
            | Self::QuotaMinute
            | Self::QuotaOther
            | Self::ProviderOverloaded
            | Self::ProviderError
            | Self::Timeout => Remedy::Wait,
            Self::ModelNotFound | Self::BadRequest | Self::ContentFilter | Self::ContextTooLong => {
                Remedy::FixRequest
            }
            Self::RegionBlocked | Self::IpBlocked => Remedy::ChangeAddress,
            Self::Network | Self::GatewayOther => Remedy::CheckGateway,
            Self::Unknown => Remedy::None,
        }
    }
}

/// Why a call failed, and what the text states about it.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub class: FailureClass,
    pub remedy: Remedy,
    /// The id of the rule of `rules.toml` that decided, or `status-NNN` or `none`.
    pub rule: &'static str,
    pub quotas: Vec<StatedQuota>,
    /// When the provider said to try again.
    pub retry: Option<Retry>,
    /// The provider's project or organization, as the text names it.
    pub project: Option<String>,
}

impl Failure {
    /// When the provider said to try again, for a failure that was logged at `at`.
    pub fn retry_at(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self.retry? {
            Retry::After(delay) => at.checked_add_signed(chrono::TimeDelta::from_std(delay).ok()?),
            Retry::At(time) => Some(time),
        }
    }
}

/// When to try again: after a delay from the failure on, or at a time.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Retry {
    #[serde(rename = "afterSeconds", serialize_with = "as_seconds")]
    After(Duration),
    At(DateTime<Utc>),
}

/// A quota as the text states it; what it leaves out is absent.
#[derive(Clone, PartialEq, Default, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatedQuota {
    pub id: Option<String>,
    pub metric: Option<QuotaMetric>,
    pub model: Option<String>,
    #[serde(rename = "windowSeconds", serialize_with = "optional_seconds")]
    pub window: Option<Duration>,
    pub limit: Option<u64>,
    pub used: Option<u64>,
    pub requested: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum QuotaMetric {
    Requests,
    InputTokens,
    OutputTokens,
    Tokens,
}

fn as_seconds<S: Serializer>(delay: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(delay.as_secs_f64())
}

fn optional_seconds<S: Serializer>(
    delay: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    delay.map(|delay| delay.as_secs()).serialize(serializer)
}

/// The class of a failure from its text, its HTTP status, and the gateway's error type. Pure; its cost does
/// not grow with the text, of which the first 4 KiB and the last 1 KiB are read.
pub fn classify(text: Option<&str>, status: Option<i32>, error_type: Option<&str>) -> Failure {
    let text = text::normalize(text.unwrap_or_default(), error_type.unwrap_or_default());
    let facts = facts::read(&text);
    // A status of 2xx is the gateway's: it passed an error on as an answer.
    let status = status.filter(|status| !(200..300).contains(status)).or(facts.status);
    let verdict = rules::decide(&text, status, &facts.quotas, facts.retry);
    Failure {
        class: verdict.class,
        remedy: verdict.remedy.unwrap_or(verdict.class.remedy()),
        rule: verdict.rule,
        quotas: facts.quotas,
        retry: facts.retry,
        project: facts.project,
    }
}
