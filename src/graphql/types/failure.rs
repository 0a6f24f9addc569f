//! The class of a failure, as the API shows it.

use async_graphql::{Enum, SimpleObject};
use chrono::{TimeDelta, Utc};

use crate::domain::failure;
use crate::graphql::scalar::{BigInt, DateTime, Duration};

/// Why a call failed, by what must be done about it. Where several classes fit, a fault that waiting
/// cannot end goes first, then the quota of a day, then tokens of a minute, then requests of a minute.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "failure::FailureClass")]
pub enum FailureClass {
    /// The provider does not know the key, or the key has expired.
    KeyInvalid,
    /// The key, its project, organization or account is suspended, disabled, banned or reported as leaked.
    KeySuspended,
    /// The key is valid but may not do this: the API is off, the key is restricted, the model is not allowed.
    KeyPermission,
    /// Money: no credit, a payment overdue, a spending limit reached; whatever the status code is.
    Billing,
    /// The requests or tokens of a day, or of a longer window, are used up.
    QuotaDay,
    /// The tokens of a minute are used up.
    QuotaTokens,
    /// The requests of a minute, or of a shorter window, are used up.
    QuotaMinute,
    /// A rate limit whose window the text does not state, or a quota of zero.
    QuotaOther,
    /// The provider is out of capacity for all its customers; also with status 429.
    ProviderOverloaded,
    /// The provider's own fault, such as an internal error.
    ProviderError,
    /// The model does not exist, or no longer.
    ModelNotFound,
    /// The request is malformed or asks for what the model cannot do.
    BadRequest,
    /// The provider refused the content of the request or of its answer.
    ContentFilter,
    /// The request is longer than the model takes.
    ContextTooLong,
    /// The country of the gateway's address is not served.
    RegionBlocked,
    /// The gateway's address is blocked, challenged or throttled.
    IpBlocked,
    /// No answer in time.
    Timeout,
    /// No connection: DNS, TLS, refused or reset.
    Network,
    /// A gateway or proxy failed, and says so in its own words.
    GatewayOther,
    /// No rule matches the text, and the status code is missing or unusual.
    Unknown,
}

/// What ends failures of a class.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "failure::Remedy")]
pub enum Remedy {
    /// Use another key or account.
    ReplaceKey,
    /// Pay, raise a spending limit, or move to a paid tier.
    Pay,
    /// Try again later.
    Wait,
    /// Change the request or its model.
    FixRequest,
    /// Send from another address or country.
    ChangeAddress,
    /// Look at the gateway, the proxies and the network.
    CheckGateway,
    /// Nothing is known to help.
    None,
}

/// What a quota counts.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "failure::QuotaMetric")]
pub enum QuotaMetric {
    /// Requests.
    Requests,
    /// Tokens of prompts.
    InputTokens,
    /// Tokens of answers.
    OutputTokens,
    /// Tokens, of which kind is not stated.
    Tokens,
}

/// Why a call failed, and what ends such failures. Decided by rules from the provider's text, the status
/// code and the error type.
#[derive(SimpleObject, Clone, Debug)]
pub struct Failure {
    /// Why the call failed.
    class: FailureClass,
    /// What ends such failures.
    remedy: Remedy,
    /// The id of the rule that decided; stable. `status-NNN` where only the status code did, `none` where
    /// nothing did.
    rule: &'static str,
    /// The quotas that the text states, at most 16.
    quotas: Vec<StatedQuota>,
    /// When the provider said to try again: its delay is counted from the time of the error log. Often too
    /// early for the quota of a day.
    retry_at: Option<DateTime>,
    /// The provider's project or organization that the text names. Keys of one project share its quotas.
    project: Option<String>,
}

impl Failure {
    /// Of a failure that was logged at this time.
    pub fn new(failure: failure::Failure, at: chrono::DateTime<Utc>) -> Self {
        Self {
            retry_at: failure.retry_at(at).map(DateTime),
            class: failure.class.into(),
            remedy: failure.remedy.into(),
            rule: failure.rule,
            quotas: failure.quotas.into_iter().map(StatedQuota::new).collect(),
            project: failure.project,
        }
    }
}

/// A quota as the provider's text states it; what the text leaves out is null.
#[derive(SimpleObject, Clone, Debug)]
pub struct StatedQuota {
    /// The provider's id of the quota.
    id: Option<String>,
    /// What it counts.
    metric: Option<QuotaMetric>,
    /// The model that it is for.
    model: Option<String>,
    /// The window that it is counted over.
    window: Option<Duration>,
    /// The most that is allowed in the window.
    limit: Option<BigInt>,
    /// How much was used.
    used: Option<BigInt>,
    /// How much the failed request asked for.
    requested: Option<BigInt>,
}

impl StatedQuota {
    fn new(quota: failure::StatedQuota) -> Self {
        let big =
            |number: Option<u64>| number.and_then(|number| i64::try_from(number).ok()).map(BigInt);
        Self {
            id: quota.id,
            metric: quota.metric.map(Into::into),
            model: quota.model,
            window: quota.window.and_then(|window| TimeDelta::from_std(window).ok()).map(Duration),
            limit: big(quota.limit),
            used: big(quota.used),
            requested: big(quota.requested),
        }
    }
}
