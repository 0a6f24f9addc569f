//! `apiKeys`, `apiKey`.

use std::sync::Arc;

use async_graphql::{Context, Object};

use crate::domain::access::AccessScope;
use crate::domain::key_id::is_key_id;
use crate::graphql::args::{PageArgs, check_text};
use crate::graphql::connection::Connection;
use crate::graphql::cursor::KeyCursor;
use crate::graphql::error::{Failure, Result};
use crate::graphql::loader::api_key::AllKeys;
use crate::graphql::scope::{Scope, read_scope};
use crate::graphql::types::api_key::{ApiKey, KeyList};

#[derive(Default)]
pub struct ApiKeyQuery;

#[Object]
impl ApiKeyQuery {
    /// The keys of all recorded calls, as pages in a stable order.
    async fn api_keys(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "Only keys that contain this text; without the scope REVEAL_KEYS, only keys with a \
                    `masked` that contains it. With that scope the audit log records the search. Case \
                    insensitive; `%` and `_` are plain characters."
        )]
        search: Option<String>,
        #[graphql(desc = "The number of keys from the start of the list.")] first: Option<i32>,
        #[graphql(desc = "Only keys after this cursor.")] after: Option<String>,
        #[graphql(desc = "The number of keys from the end of the list.")] last: Option<i32>,
        #[graphql(desc = "Only keys before this cursor.")] before: Option<String>,
    ) -> Result<Connection<ApiKey>> {
        let scope = read_scope(ctx)?;
        if let Some(text) = &search {
            check_text("search", text)?;
        }
        let request = PageArgs { first, after, last, before }.request(scope, |_| true)?;
        let all = all_keys(scope).await?;
        let order = KeyOrder::of(scope);
        let search = search.map(|text| scope.key_search("apiKeys.search", text));
        let matches = |key: &&String| search.as_ref().is_none_or(|search| search.finds(key));
        let mut found: Vec<(Arc<str>, &String)> =
            all.iter().filter(matches).map(|key| (order.rank(scope, key), key)).collect();
        if let Some(search) = &search {
            scope.audit_search(search, Some(found.len())).await?;
        }
        found.sort_unstable();
        let after = order.position(scope, "after", request.after.as_ref()).await?;
        let before = order.position(scope, "before", request.before.as_ref()).await?;
        let between = found
            .iter()
            .filter(|(rank, _)| after.as_ref().is_none_or(|after| rank > after))
            .filter(|(rank, _)| before.as_ref().is_none_or(|before| rank < before))
            .map(|(_, key)| ApiKey::new(key));
        let wanted = request.limit as usize + 1;
        let rows: Vec<ApiKey> = match request.backward {
            true => between.rev().take(wanted).collect(),
            false => between.take(wanted).collect(),
        };
        let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
        let list = KeyList { services: scope.services.clone(), count };
        Ok(Connection::new(request.page(rows), list))
    }

    /// One key; null if no call was made with it.
    async fn api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A full key or an `ApiKey` id.")] key: String,
    ) -> Option<Result<ApiKey>> {
        let found = async {
            check_text("key", &key)?;
            find(read_scope(ctx)?, &key).await
        };
        found.await.transpose()
    }
}

async fn all_keys(scope: &Scope) -> Result<Arc<[String]>> {
    Ok(scope.loader().load_one(AllKeys).await?.unwrap_or_default())
}

/// Finds a key by its text or its id, if the database has it.
pub async fn find(scope: &Scope, text: &str) -> Result<Option<ApiKey>> {
    if is_key_id(text)
        && let Some(key) = scope.find_key(text).await?
    {
        return Ok(Some(ApiKey::new(&key)));
    }
    let all = all_keys(scope).await?;
    let found = all.binary_search_by(|key| key.as_str().cmp(text));
    Ok(found.ok().map(|_| ApiKey::new(text)))
}

/// The order of a list of keys. Sorting by key would leak keys: a caller without REVEAL_KEYS could record
/// a call with a chosen key and see which keys are listed before it.
enum KeyOrder {
    ByKey,
    ById,
}

impl KeyOrder {
    fn of(scope: &Scope) -> Self {
        match scope.caller.scopes.has(AccessScope::RevealKeys) {
            true => Self::ByKey,
            false => Self::ById,
        }
    }

    fn rank(&self, scope: &Scope, key: &str) -> Arc<str> {
        match self {
            Self::ByKey => key.into(),
            Self::ById => scope.services.keys.id(key),
        }
    }

    /// The rank of a cursor.
    async fn position(
        &self,
        scope: &Scope,
        argument: &'static str,
        cursor: Option<&KeyCursor>,
    ) -> Result<Option<Arc<str>>> {
        let Some(KeyCursor(id)) = cursor else { return Ok(None) };
        match self {
            Self::ById => Ok(Some(id.as_str().into())),
            Self::ByKey => {
                let missing = "the key of this cursor no longer exists; start from the first page";
                let key = scope.find_key(id).await?;
                key.map(Some).ok_or_else(|| Failure::bad_input(argument, missing))
            }
        }
    }
}
