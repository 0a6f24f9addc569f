//! Filter of calls.

use async_graphql::InputObject;

use super::call::CallStatus;
use crate::domain::window::Window;
use crate::graphql::args::{check_excluded, check_list, check_text};
use crate::graphql::error::{Failure, Result};
use crate::graphql::scope::Scope;
use crate::store::call::CallScope;

/// Selects calls that match every given field. An empty list matches no call; a list has at most 5,000
/// values. An `exclude` list leaves out the calls with one of its values: an empty one leaves out none, calls
/// without a value are never left out, and it has at most 500 values.
#[derive(InputObject, Clone, Debug, Default)]
pub struct CallFilter {
    /// Calls with one of these keys, each a full key or an `ApiKey` id.
    keys: Option<Vec<String>>,
    /// Calls with one of these models (exact names).
    models: Option<Vec<String>>,
    /// Only calls that succeeded, or only calls that failed.
    status: Option<CallStatus>,
    /// Calls with one of these status codes.
    status_codes: Option<Vec<i32>>,
    /// Calls with none of these keys, each a full key or an `ApiKey` id.
    exclude_keys: Option<Vec<String>>,
    /// Calls with none of these models (exact names).
    exclude_models: Option<Vec<String>>,
    /// Calls with none of these status codes.
    exclude_status_codes: Option<Vec<i32>>,
    /// Calls that took at least this many milliseconds.
    min_latency_ms: Option<i32>,
    /// Calls that took at most this many milliseconds.
    max_latency_ms: Option<i32>,
}

/// Builds the selection of calls in `window` that match `key`, if given, and `filter`.
pub async fn call_scope(
    scope: &Scope,
    window: Window,
    key: Option<String>,
    filter: Option<CallFilter>,
) -> Result<CallScope> {
    let filter = filter.unwrap_or_default();
    if let (Some(least), Some(most)) = (filter.min_latency_ms, filter.max_latency_ms)
        && least > most
    {
        return Err(Failure::bad_input("filter", "`minLatencyMs` must not exceed `maxLatencyMs`"));
    }
    check_list(filter.keys.as_ref())?;
    check_list(filter.models.as_ref())?;
    check_list(filter.status_codes.as_ref())?;
    check_excluded(filter.exclude_keys.as_ref())?;
    check_excluded(filter.exclude_models.as_ref())?;
    check_excluded(filter.exclude_status_codes.as_ref())?;
    for model in [&filter.models, &filter.exclude_models].into_iter().flatten().flatten() {
        check_text("filter", model)?;
    }
    let mut keys = match filter.keys {
        Some(texts) => Some(scope.keys(texts).await?),
        None => None,
    };
    let exclude_keys = scope.keys(filter.exclude_keys.unwrap_or_default()).await?;
    if let Some(key) = key {
        let key = scope.key(&key).await?.to_string();
        let allowed = keys.is_none_or(|keys| keys.contains(&key));
        keys = Some(if allowed { vec![key] } else { vec![] });
    }
    Ok(CallScope {
        window,
        keys,
        models: filter.models,
        success: filter.status.map(|status| status == CallStatus::Success),
        status_codes: filter.status_codes,
        exclude_keys,
        exclude_models: filter.exclude_models.unwrap_or_default(),
        exclude_status_codes: filter.exclude_status_codes.unwrap_or_default(),
        min_latency_ms: filter.min_latency_ms,
        max_latency_ms: filter.max_latency_ms,
    })
}
