//! Filter of error logs.

use async_graphql::{ID, InputObject};

use crate::graphql::args::{check_excluded, check_list, check_text};
use crate::graphql::error::{Failure, Result};
use crate::graphql::scalar::DateTime;
use crate::graphql::scope::{KeySearch, Scope};
use crate::graphql::types::failure::FailureClass;
use crate::store::error_log::ErrorScope;

/// Selects error logs that match every given field. An empty list matches none; a list has at most 5,000
/// values. An `exclude` list leaves out the error logs with one of its values: an empty one leaves out none,
/// error logs without a value are never left out, and it has at most 500 values.
#[derive(InputObject, Clone, Debug, Default)]
pub struct ErrorLogFilter {
    /// Error logs of keys that contain this text; without the scope REVEAL_KEYS, of keys with a `masked`
    /// that contains it. With that scope the audit log records the search. Case insensitive; `%`, `_` and
    /// `*` are plain characters.
    key_contains: Option<String>,
    /// Error logs with one of these keys, each a full key or an `ApiKey` id.
    keys: Option<Vec<String>>,
    /// Error logs with one of these models (exact names).
    models: Option<Vec<String>>,
    /// Error logs with one of these types (exact names).
    error_types: Option<Vec<String>>,
    /// Error logs with one of these codes.
    error_codes: Option<Vec<i32>>,
    /// Error logs with none of these keys, each a full key or an `ApiKey` id.
    exclude_keys: Option<Vec<String>>,
    /// Error logs with none of these models (exact names).
    exclude_models: Option<Vec<String>>,
    /// Error logs with none of these types (exact names).
    exclude_error_types: Option<Vec<String>>,
    /// Error logs with none of these codes.
    exclude_error_codes: Option<Vec<i32>>,
    /// Error logs that failed for one of these reasons.
    failure_classes: Option<Vec<FailureClass>>,
    /// Error logs that failed for none of these reasons.
    exclude_failure_classes: Option<Vec<FailureClass>>,
    /// Error logs with a message of one of these forms, each the `id` of a `MessageTemplate`.
    message_templates: Option<Vec<ID>>,
    /// Error logs with a message of another form than these, each the `id` of a `MessageTemplate`.
    exclude_message_templates: Option<Vec<ID>>,
    /// Error logs that contain this text in their type or message. Case insensitive; `%`, `_` and `*` are
    /// plain characters.
    contains: Option<String>,
    /// Error logs at or after this instant.
    since: Option<DateTime>,
    /// Error logs before this instant.
    until: Option<DateTime>,
}

/// Builds the selection of error logs that match `filter`.
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

/// Builds the selection of error logs that match `filter`, and its key search separately: a subscription
/// also matches keys that no row has yet.
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
    check_excluded(filter.exclude_keys.as_ref())?;
    check_excluded(filter.exclude_models.as_ref())?;
    check_excluded(filter.exclude_error_types.as_ref())?;
    check_excluded(filter.exclude_error_codes.as_ref())?;
    check_list(filter.failure_classes.as_ref())?;
    check_excluded(filter.exclude_failure_classes.as_ref())?;
    check_list(filter.message_templates.as_ref())?;
    check_excluded(filter.exclude_message_templates.as_ref())?;
    let texts = [&filter.key_contains, &filter.contains].into_iter().flatten();
    let names =
        [&filter.models, &filter.error_types, &filter.exclude_models, &filter.exclude_error_types];
    let templates = [&filter.message_templates, &filter.exclude_message_templates];
    let ids = templates.into_iter().flatten().flatten().map(|id| &id.0);
    for text in texts.chain(names.into_iter().flatten().flatten()).chain(ids) {
        check_text("filter", text)?;
    }
    let keys = match filter.keys {
        Some(texts) => Some(scope.keys(texts).await?),
        None => None,
    };
    let texts = |ids: Vec<ID>| ids.into_iter().map(|id| id.0).collect();
    let classes = |classes: Vec<FailureClass>| classes.into_iter().map(Into::into).collect();
    let errors = ErrorScope {
        keys,
        models: filter.models,
        error_types: filter.error_types,
        error_codes: filter.error_codes,
        exclude_keys: scope.keys(filter.exclude_keys.unwrap_or_default()).await?,
        exclude_models: filter.exclude_models.unwrap_or_default(),
        exclude_error_types: filter.exclude_error_types.unwrap_or_default(),
        exclude_error_codes: filter.exclude_error_codes.unwrap_or_default(),
        classes: filter.failure_classes.map(classes),
        exclude_classes: classes(filter.exclude_failure_classes.unwrap_or_default()),
        templates: filter.message_templates.map(texts),
        exclude_templates: texts(filter.exclude_message_templates.unwrap_or_default()),
        contains: filter.contains,
        since: filter.since.map(|since| since.0),
        until: filter.until.map(|until| until.0),
    };
    let search = |text| scope.key_search("ErrorLogFilter.keyContains", text);
    Ok((errors, filter.key_contains.map(search)))
}
