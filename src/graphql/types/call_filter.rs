//! Filter of calls.

use async_graphql::InputObject;

use super::call::CallStatus;
use crate::domain::window::Window;
use crate::graphql::args::{check_list, check_text};
use crate::graphql::error::{Failure, Result};
use crate::graphql::scope::Scope;
use crate::store::call::CallScope;

/// Selects calls that match every given field. An empty list matches no call; a list has at most 5,000
/// values.
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
    for model in filter.models.iter().flatten() {
        check_text("filter", model)?;
    }
    let mut keys = match filter.keys {
        Some(texts) => Some(scope.keys(texts).await?),
        None => None,
    };
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
        min_latency_ms: filter.min_latency_ms,
        max_latency_ms: filter.max_latency_ms,
    })
}
