//! A diagnosis: one cause of many failures.

use std::sync::Arc;

use async_graphql::{Context, Enum, ID, Object};

use super::api_key::ApiKey;
use super::error_log::ErrorLog;
use super::failure::Remedy;
use crate::diagnoses::{DiagnosedWindow, DiagnosisRef};
use crate::domain::diagnosis::{self, Language, Names};
use crate::domain::excerpt::excerpt;
use crate::domain::mask::mask;
use crate::error::Error;
use crate::graphql::args::page_size;
use crate::graphql::error::{Failure, Result};
use crate::graphql::id::DiagnosisName;
use crate::graphql::loader::diagnosis::DiagnosesAt;
use crate::graphql::loader::error_log::ErrorLogOf;
use crate::graphql::scalar::{BigInt, DateTime};
use crate::graphql::scope::{Scope, count_list, scope};

/// The cause of failures.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "diagnosis::Cause")]
pub enum Cause {
    /// The provider rejects one key: it is invalid, suspended or without permission.
    KeyDead,
    /// The account of one key has no credit.
    KeyUnpaid,
    /// The quota of one key, for one model or all, is used up until its reset.
    QuotaExhausted,
    /// One key gets more calls than its rate limit allows; some of them succeed.
    RateTooHigh,
    /// Most keys are out of quota for a model.
    PoolExhausted,
    /// The provider refuses most keys since the same time: it blocks the server's address or region.
    AddressBlocked,
    /// A model fails for all keys.
    ModelOutage,
    /// Most models fail for all keys.
    ProviderOutage,
    /// The requests are invalid, with all keys.
    ClientFault,
    /// The gateway does not reach the provider: network, timeouts, or errors of a gateway.
    GatewayFault,
    /// The latency of a model or key is far above the usual one of the model. These calls did not fail.
    Slow,
    /// A key, or all keys, have no calls where there should be some.
    Silent,
    /// More failures than usual, which no other cause explains.
    Unknown,
}

/// How urgent a diagnosis is.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "diagnosis::Severity")]
pub enum Severity {
    /// Ends by waiting, or affects one key a little.
    Info,
    /// Needs an operator, but most calls succeed.
    Warning,
    /// Most calls of a model, or of all models, fail.
    Critical,
}

/// The diagnoses of a field with an argument `asOf`.
pub async fn diagnosed(ctx: &Context<'_>, as_of: Option<DateTime>) -> Result<Arc<DiagnosedWindow>> {
    let at = DiagnosesAt(as_of.map(|as_of| as_of.0));
    let found = scope(ctx).loader().load_one(at).await?;
    found.ok_or_else(|| Error::internal("no diagnoses were loaded").into())
}

/// One of the diagnoses of a window.
#[derive(Clone)]
pub struct Diagnosis(pub DiagnosisRef);

/// One cause that explains many failed calls: which keys and models are affected, since when, and what to do.
/// Computed from the calls of the window, or of the 24 hours before its end if it is shorter; each failed call
/// is explained by at most one diagnosis.
#[Object]
impl Diagnosis {
    /// The global id: the same while it lasts, from every server, as long as its start is within the window, or
    /// within the 24 hours before its end, or it is a fault of one key.
    pub(super) async fn id(&self, ctx: &Context<'_>) -> ID {
        self.name(scope(ctx)).id()
    }

    /// The cause.
    async fn cause(&self) -> Cause {
        self.0.get().cause.into()
    }

    /// How urgent it is.
    async fn severity(&self) -> Severity {
        self.0.get().severity.into()
    }

    /// What ends it.
    async fn remedy(&self) -> Remedy {
        self.0.get().remedy.into()
    }

    /// The affected keys; empty: all keys.
    async fn keys(&self) -> Vec<ApiKey> {
        self.0.keys().map(|key| ApiKey::new(key)).collect()
    }

    /// The affected models; empty: all models.
    async fn models(&self, ctx: &Context<'_>) -> Result<Vec<String>> {
        let models: Vec<String> = self.0.models().cloned().collect();
        count_list(ctx, &models, String::len)?;
        Ok(models)
    }

    /// The first failure after the last success; for SLOW the first slow call, for SILENT the last call.
    async fn since(&self) -> DateTime {
        DateTime(self.0.get().since)
    }

    /// The first success after the last failure, or the last failure if no later calls are known; null while it
    /// lasts. One that `node` finds may have ended if it lasted more than two days and calls succeeded
    /// meanwhile.
    async fn until(&self) -> Option<DateTime> {
        self.0.until().map(DateTime)
    }

    /// The last success of its keys and models before `since`; null if the calls that were read have no such
    /// success, for SLOW and for SILENT. Of a key that fails since before these calls, that of up to 31 days
    /// before.
    async fn last_success_at(&self) -> Option<DateTime> {
        self.0.get().last_success.map(DateTime)
    }

    /// The failed calls that it explains; for SLOW the slow calls, which did not fail.
    async fn failures(&self) -> BigInt {
        BigInt(i64::try_from(self.0.get().failures).unwrap_or(i64::MAX))
    }

    /// `failures` divided by all failed calls of its time, 0 to 1; 0 for SLOW and SILENT.
    async fn share(&self) -> f64 {
        self.0.get().share
    }

    /// The probability that cause, keys and models are right, 0 to 1, as measured on generated traffic.
    async fn confidence(&self) -> f64 {
        self.0.get().confidence
    }

    /// Cause, keys, models, time, counts and what to do, in one sentence. Times are in UTC, keys are masked.
    async fn sentence(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "`en` or `zh`.", default_with = "Some(\"en\".to_owned())")]
        language: Option<String>,
    ) -> Result<String> {
        let language = match language.as_deref().unwrap_or("en") {
            "en" => Language::English,
            "zh" => Language::Chinese,
            other => {
                let message = format!("`language` must be `en` or `zh`, not `{}`", excerpt(other));
                return Err(Failure::bad_input("language", message));
            }
        };
        let names = Names {
            keys: self.0.keys().map(|key| mask(key)).collect(),
            models: self.0.models().cloned().collect(),
        };
        let sentence = self.0.get().sentence(&names, language);
        scope(ctx).answer.add_text(&sentence)?;
        Ok(sentence)
    }

    /// Typical error logs of the calls that it explains, at most 100, the earliest first. One SQL statement
    /// loads those of all diagnoses of a request.
    async fn evidence(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The number of error logs.", default = 5)] first: Option<i32>,
    ) -> Result<Vec<ErrorLog>> {
        let scope = scope(ctx);
        let count = page_size(scope, "first", first.unwrap_or(5))?;
        let ids = self.0.evidence(count as usize);
        let rows = scope.loader().load_many(ids.iter().map(|id| ErrorLogOf(*id))).await?;
        let logs: Vec<ErrorLog> =
            ids.iter().filter_map(|id| rows.get(&ErrorLogOf(*id)).cloned().map(ErrorLog)).collect();
        count_list(ctx, &logs, |_| 0)?;
        Ok(logs)
    }
}

impl Diagnosis {
    /// The diagnoses that `accept` accepts: the most severe first, of equal ones the newest.
    pub fn select(
        of: impl Iterator<Item = DiagnosisRef>,
        accept: impl Fn(&DiagnosisRef) -> bool,
    ) -> Vec<Self> {
        let mut found: Vec<DiagnosisRef> = of.filter(accept).collect();
        found.sort_by_key(|found| std::cmp::Reverse((found.get().severity, found.get().since)));
        found.into_iter().map(Self).collect()
    }

    pub fn name(&self, scope: &Scope) -> DiagnosisName {
        DiagnosisName {
            cause: self.0.get().cause.name().to_owned(),
            since: self.0.get().since.timestamp_micros(),
            key: self.0.keys().next().map(|key| scope.services.keys.id(key).to_string()),
            model: self.0.models().next().cloned(),
        }
    }
}
