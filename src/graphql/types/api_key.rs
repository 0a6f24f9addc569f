//! An API key and its statistics.

use std::collections::HashSet;
use std::sync::Arc;

use async_graphql::parser::types::{Field, Selection};
use async_graphql::{Context, ID, Object, Positioned, Value};

use super::call::{Call, CallList, CallOrder};
use super::call_filter::{CallFilter, call_scope};
use super::call_group::CallGroup;
use super::diagnosis::{Diagnosis, diagnosed};
use super::error_filter::{ErrorLogFilter, error_scope};
use super::error_log::{ErrorLog, ErrorLogOrder};
use super::usability::{KeyQuota, QuotaGroup, Usability};
use super::usage::{CallCounts, LatencyStats};
use crate::domain::access::AccessScope;
use crate::domain::mask::mask;
use crate::graphql::args::{PageArgs, Period, TimeRange, WindowArgs, check_text};
use crate::graphql::connection::{Connection, Item};
use crate::graphql::cursor::{Cursor, KeyCursor};
use crate::graphql::error::{Failure, Result};
use crate::graphql::loader::api_key::SeenOf;
use crate::graphql::loader::audit::SecretOf;
use crate::graphql::loader::statistics::{LatencyOf, ModelsOf};
use crate::graphql::query::call::{call_list_query, has_latency};
use crate::graphql::query::error_log::error_list_query;
use crate::graphql::rows::{Read, Row};
use crate::graphql::scalar::{DateTime, TimeZone};
use crate::graphql::scope::{Scope, count_list, scope};
use crate::store::api_key::KeyActivity;
use crate::store::usage::CountQuery;

/// Holds the key only; other fields are loaded when they are selected.
#[derive(Clone, Debug)]
pub struct ApiKey {
    key: Arc<str>,
}

impl ApiKey {
    pub fn new(key: &str) -> Self {
        Self { key: key.into() }
    }
}

/// A key of the pool. A field costs one SQL statement for all keys of a list together.
#[Object]
impl ApiKey {
    /// The global id: the same on every server of this database. It reveals nothing about the key, and every
    /// argument that takes a key accepts it.
    pub(super) async fn id(&self, ctx: &Context<'_>) -> ID {
        ID(scope(ctx).services.keys.id(&self.key).to_string())
    }

    /// The first four and the last four characters of the key; fewer of a short key.
    async fn masked(&self) -> String {
        mask(&self.key)
    }

    /// The full key. Requires the scope REVEAL_KEYS; the audit log records the caller and the key.
    async fn secret(&self, ctx: &Context<'_>) -> Option<Result<String>> {
        let scope = scope(ctx);
        if let Err(error) = scope.require(AccessScope::RevealKeys) {
            return Some(Err(error));
        }
        let revealed = scope.loader().load_one(SecretOf(self.key.clone())).await;
        revealed.map_err(Failure::from).map(|key| key.map(|key| key.to_string())).transpose()
    }

    /// The time of its first call or error log.
    async fn first_seen_at(&self, ctx: &Context<'_>) -> Option<Result<DateTime>> {
        self.seen(ctx, |seen| seen.first).await
    }

    /// The time of its last call or error log.
    async fn last_seen_at(&self, ctx: &Context<'_>) -> Option<Result<DateTime>> {
        self.seen(ctx, |seen| seen.last).await
    }

    /// The number of its successful and failed calls in a window.
    async fn counts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A window that ends at `asOf`. Give this or `between`.")] period: Option<
            Period,
        >,
        #[graphql(desc = "A window between two instants. Give this or `period`.")] between: Option<
            TimeRange,
        >,
        #[graphql(desc = "The end of `period`; now by default.")] as_of: Option<DateTime>,
        #[graphql(desc = "The time zone of calendar months; the server's by default.")]
        time_zone: Option<TimeZone>,
    ) -> Result<CallCounts> {
        let window = WindowArgs { period, between, as_of, time_zone }.window(scope(ctx))?;
        let query = CountQuery { window, key: Some(self.key.to_string()) };
        Ok(CallCounts(scope(ctx).loader().load_one(query).await?.unwrap_or_default()))
    }

    /// The latencies of its calls in a window.
    async fn latency(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A window that ends at `asOf`. Give this or `between`.")] period: Option<
            Period,
        >,
        #[graphql(desc = "A window between two instants. Give this or `period`.")] between: Option<
            TimeRange,
        >,
        #[graphql(desc = "The end of `period`; now by default.")] as_of: Option<DateTime>,
        #[graphql(desc = "The time zone of calendar months; the server's by default.")]
        time_zone: Option<TimeZone>,
    ) -> Result<LatencyStats> {
        let window = WindowArgs { period, between, as_of, time_zone }.window(scope(ctx))?;
        let query = LatencyOf { window, key: self.key.to_string() };
        Ok(scope(ctx).loader().load_one(query).await?.unwrap_or_default().into())
    }

    /// Its calls in a window, grouped by model, most calls first. Calls without a model are one group with
    /// `model: null`.
    async fn models(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A window that ends at `asOf`. Give this or `between`.")] period: Option<
            Period,
        >,
        #[graphql(desc = "A window between two instants. Give this or `period`.")] between: Option<
            TimeRange,
        >,
        #[graphql(desc = "The end of `period`; now by default.")] as_of: Option<DateTime>,
        #[graphql(desc = "The time zone of calendar months; the server's by default.")]
        time_zone: Option<TimeZone>,
    ) -> Result<Vec<CallGroup>> {
        let window = WindowArgs { period, between, as_of, time_zone }.window(scope(ctx))?;
        let latency = has_latency(ctx);
        let query = ModelsOf { window, key: self.key.to_string(), latency };
        let groups = scope(ctx).loader().load_one(query).await?.unwrap_or_default();
        count_list(ctx, &groups, |group| group.model.as_ref().map_or(0, String::len))?;
        Ok(groups.into_iter().map(CallGroup::from).collect())
    }

    /// What is wrong with it at `asOf`, also as one of many keys: the diagnoses of it and of all keys that last
    /// then, the most severe first. All keys of a list together cost the same as `Query.diagnoses`.
    async fn diagnoses(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The time; by default the last ten seconds, as in `Query.diagnoses`.")]
        as_of: Option<DateTime>,
    ) -> Result<Vec<Diagnosis>> {
        let found = Diagnosis::select(diagnosed(ctx, as_of).await?.all(), |diagnosis| {
            let is_of_all = diagnosis.get().keys.is_empty();
            diagnosis.until().is_none()
                && (is_of_all || diagnosis.keys().any(|key| **key == *self.key))
        });
        count_list(ctx, &found, |_| 0)?;
        Ok(found)
    }

    /// Whether it can be used now, learnt from the calls of the last 24 hours. All keys of a list together cost the
    /// same as `Query.diagnoses`.
    async fn usability(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "For this model; for any model by default.")] model: Option<String>,
        #[graphql(desc = "The time; by default the last ten seconds, as in `Query.diagnoses`.")]
        as_of: Option<DateTime>,
    ) -> Result<Usability> {
        model.as_ref().map_or(Ok(()), |model| check_text("model", model))?;
        let of = diagnosed(ctx, as_of).await?;
        Ok(Usability::of(&of, &self.key, model.as_deref()))
    }

    /// Its quotas: those that the provider's texts state, and those learnt from accepted and refused calls of the
    /// last 24 hours. Of keys that share a quota, the use of all.
    async fn quotas(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "For this model; for all models by default.")] model: Option<String>,
        #[graphql(desc = "The time; by default the last ten seconds, as in `Query.diagnoses`.")]
        as_of: Option<DateTime>,
    ) -> Result<Vec<KeyQuota>> {
        model.as_ref().map_or(Ok(()), |model| check_text("model", model))?;
        let of = diagnosed(ctx, as_of).await?;
        let found = of.quotas(&self.key, model.as_deref());
        let found: Vec<KeyQuota> = found.iter().map(|quota| KeyQuota::of(&of, quota)).collect();
        count_list(ctx, &found, |_| 0)?;
        Ok(found)
    }

    /// The keys that share its quota; null while nothing shows that it shares one.
    async fn quota_group(&self, ctx: &Context<'_>) -> Result<Option<QuotaGroup>> {
        let of = diagnosed(ctx, None).await?;
        of.group(&self.key).map_or(Ok(None), |group| QuotaGroup::of(ctx, &of, group))
    }

    /// Its calls in a window, as pages.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the contract")]
    async fn calls(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A window that ends at `asOf`. Give this or `between`.")] period: Option<
            Period,
        >,
        #[graphql(desc = "A window between two instants. Give this or `period`.")] between: Option<
            TimeRange,
        >,
        #[graphql(desc = "The end of `period`; now by default.")] as_of: Option<DateTime>,
        #[graphql(desc = "The time zone of calendar months; the server's by default.")]
        time_zone: Option<TimeZone>,
        #[graphql(desc = "Selects the calls; all by default.")] filter: Option<CallFilter>,
        #[graphql(desc = "The order of the list.", default_with = "Some(CallOrder::NewestFirst)")]
        order_by: Option<CallOrder>,
        #[graphql(desc = "The number of calls from the start of the list.")] first: Option<i32>,
        #[graphql(desc = "Only calls after this cursor.")] after: Option<String>,
        #[graphql(desc = "The number of calls from the end of the list.")] last: Option<i32>,
        #[graphql(desc = "Only calls before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Call>> {
        let scope = scope(ctx);
        let window = WindowArgs { period, between, as_of, time_zone }.window(scope)?;
        let calls = call_scope(scope, window, Some(self.key.to_string()), filter).await?;
        let page = PageArgs { first, after, last, before };
        let query =
            call_list_query(scope, calls, order_by.unwrap_or(CallOrder::NewestFirst), page)?;
        let list = CallList { scope: query.scope.clone(), order: query.order };
        let page = scope.loader().load_one(query).await?.unwrap_or_default();
        Ok(Connection::new(page.map(Call), list))
    }

    /// Its error logs, as pages.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the contract")]
    async fn error_logs(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Selects the error logs; all by default.")] filter: Option<ErrorLogFilter>,
        #[graphql(
            desc = "The order of the list.",
            default_with = "Some(ErrorLogOrder::NewestFirst)"
        )]
        order_by: Option<ErrorLogOrder>,
        #[graphql(desc = "The number of error logs from the start of the list.")] first: Option<
            i32,
        >,
        #[graphql(desc = "Only error logs after this cursor.")] after: Option<String>,
        #[graphql(desc = "The number of error logs from the end of the list.")] last: Option<i32>,
        #[graphql(desc = "Only error logs before this cursor.")] before: Option<String>,
    ) -> Result<Connection<ErrorLog>> {
        let scope = scope(ctx);
        let mut errors = error_scope(scope, filter).await?;
        let own = self.key.to_string();
        let allowed = errors.keys.is_none_or(|keys| keys.contains(&own));
        errors.keys = Some(if allowed { vec![own] } else { vec![] });
        let page = PageArgs { first, after, last, before };
        let query =
            error_list_query(scope, errors, order_by.unwrap_or(ErrorLogOrder::NewestFirst), page)?;
        let list = query.scope.clone();
        let page = scope.loader().load_one(query).await?.unwrap_or_default();
        Ok(Connection::new(page.map(ErrorLog), list))
    }
}

impl ApiKey {
    async fn seen(
        &self,
        ctx: &Context<'_>,
        end: impl Fn(KeyActivity) -> chrono::DateTime<chrono::Utc>,
    ) -> Option<Result<DateTime>> {
        match scope(ctx).loader().load_one(SeenOf(self.key.to_string())).await {
            Ok(seen) => seen.map(|seen| Ok(DateTime(end(seen)))),
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl Row for ApiKey {
    /// It has no related rows.
    type Related = Self;

    fn column(field: &str) -> Option<Read<Self>> {
        Some(match field {
            "masked" => |key| Value::String(mask(&key.key)),
            _ => return None,
        })
    }
}

/// Whether a field is an `apiKey` that selects only fields without arguments: all rows with the same key then share
/// one value. `secret` may fail; [`load_shared_keys`] loads it before.
pub fn is_shared_key(field: &Field) -> bool {
    let plain = ["id", "masked", SECRET, "__typename"];
    field.name.node == "apiKey"
        && field.selection_set.node.items.iter().all(|item| match &item.node {
            Selection::Field(field) => plain.contains(&field.node.name.node.as_str()),
            _ => false,
        })
}

const SECRET: &str = "secret";

/// Writes the audit entries of a shared key field of rows with these keys. Returns whether it succeeded.
pub async fn load_shared_keys(
    scope: &Scope,
    field: &Field,
    keys: impl Iterator<Item = &str> + Send,
) -> bool {
    let selects_secret = |item: &Positioned<Selection>| match &item.node {
        Selection::Field(field) => field.node.name.node == SECRET,
        _ => false,
    };
    if !is_shared_key(field) || !field.selection_set.node.items.iter().any(selects_secret) {
        return true;
    }
    let keys: HashSet<&str> = keys.collect();
    let keys = keys.into_iter().map(|key| SecretOf(key.into()));
    scope.require(AccessScope::RevealKeys).is_ok() && scope.loader().load_many(keys).await.is_ok()
}

impl Item for ApiKey {
    /// The number of keys of the list.
    type List = KeyList;

    fn cursor(&self, list: &KeyList) -> String {
        KeyCursor(list.services.keys.id(&self.key).to_string()).encode()
    }

    async fn count(_: &Scope, list: &KeyList) -> Result<i64> {
        Ok(list.count)
    }
}

/// The keys that match a search.
pub struct KeyList {
    pub services: crate::graphql::scope::Services,
    pub count: i64,
}
