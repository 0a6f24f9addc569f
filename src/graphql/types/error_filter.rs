//! Which error logs are meant.

use async_graphql::InputObject;

use crate::graphql::args::{check_list, check_text};
use crate::graphql::error::{Failure, Result};
use crate::graphql::scalar::DateTime;
use crate::graphql::scope::{KeySearch, Scope};
use crate::store::error_log::ErrorScope;

/// Which error logs are meant: every field that is given must hold. An empty list matches none; a list
/// has at most 5,000 values.
#[derive(InputObject, Clone, Debug, Default)]
pub struct ErrorLogFilter {
    /// Error logs of keys that hold this text anywhere; without the scope REVEAL_KEYS, of keys whose
    /// `masked` does. With that scope the audit log records the search. Letter case does not matter;
    /// `%`, `_` and `*` are plain characters.
    key_contains: Option<String>,
    /// Error logs of one of these keys, each a full key or an `ApiKey` id.
    keys: Option<Vec<String>>,
    /// Error logs of one of these models, by their exact names.
    models: Option<Vec<String>>,
    /// Error logs of one of these types, by their exact names.
    error_types: Option<Vec<String>>,
    /// Error logs with one of these codes.
    error_codes: Option<Vec<i32>>,
    /// Error logs whose type or message holds this text anywhere. Letter case does not matter; `%`,
    /// `_` and `*` are plain characters.
    contains: Option<String>,
    /// Error logs of this instant and later.
    since: Option<DateTime>,
    /// Error logs before this instant.
    until: Option<DateTime>,
}

/// The error logs that match `filter`.
pub async fn error_scope(scope: &Scope, filter: Option<ErrorLogFilter>) -> Result<ErrorScope> {
    let (mut errors, search) = error_search(scope, filter).await?;
    if let Some(search) = search {
        let mut found = scope.services.keys.list(scope.db()).await?;
        let keys = errors.keys.as_ref();
        found.retain(|key| search.finds(key) && keys.is_none_or(|keys| keys.contains(key)));
        scope.audit_search(&search, Some(found.len())).await?;
        errors.keys = Some(found);
    }
    Ok(errors)
}

/// The error logs that match `filter`, and of which keys they are if it searches for keys: also of such
/// that no row has yet.
pub async fn error_search(
    scope: &Scope,
    filter: Option<ErrorLogFilter>,
) -> Result<(ErrorScope, Option<KeySearch>)> {
    let filter = filter.unwrap_or_default();
    if let (Some(since), Some(until)) = (filter.since, filter.until)
        && since.0 >= until.0
    {
        return Err(Failure::bad_input("filter", "`since` must be before `until`"));
    }
    check_list(filter.keys.as_ref())?;
    check_list(filter.models.as_ref())?;
    check_list(filter.error_types.as_ref())?;
    check_list(filter.error_codes.as_ref())?;
    let needles = [&filter.key_contains, &filter.contains].into_iter().flatten();
    let names = [&filter.models, &filter.error_types].into_iter().flatten().flatten();
    for text in needles.chain(names) {
        check_text("filter", text)?;
    }
    let keys = match filter.keys {
        Some(texts) => Some(scope.keys(texts).await?),
        None => None,
    };
    let errors = ErrorScope {
        keys,
        models: filter.models,
        error_types: filter.error_types,
        error_codes: filter.error_codes,
        contains: filter.contains,
        since: filter.since.map(|since| since.0),
        until: filter.until.map(|until| until.0),
    };
    let search = |needle| scope.key_search("ErrorLogFilter.keyContains", needle);
    Ok((errors, filter.key_contains.map(search)))
}
