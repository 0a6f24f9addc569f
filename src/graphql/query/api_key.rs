//! `apiKeys`, `apiKey`.

use async_graphql::{Context, Object};

use crate::domain::key_id::is_key_id;
use crate::graphql::args::{PageArgs, check_text};
use crate::graphql::connection::Connection;
use crate::graphql::cursor::KeyCursor;
use crate::graphql::error::{Failure, Result};
use crate::graphql::loader::api_key::AllKeys;
use crate::graphql::scope::{Scope, reading};
use crate::graphql::types::api_key::{ApiKey, KeyList};

#[derive(Default)]
pub struct ApiKeyQuery;

#[Object]
impl ApiKeyQuery {
    /// The keys that calls were made with, page by page, in a lasting order.
    async fn api_keys(
        &self,
        ctx: &Context<'_>,
        #[graphql(
            desc = "Only keys that hold this text anywhere; without the scope REVEAL_KEYS, only those \
                    whose `masked` does. Letter case does not matter; `%` and `_` are plain \
                    characters."
        )]
        search: Option<String>,
        #[graphql(desc = "The first so many keys.")] first: Option<i32>,
        #[graphql(desc = "Only keys behind this cursor.")] after: Option<String>,
        #[graphql(desc = "The last so many keys.")] last: Option<i32>,
        #[graphql(desc = "Only keys in front of this cursor.")] before: Option<String>,
    ) -> Result<Connection<ApiKey>> {
        let scope = reading(ctx)?;
        if let Some(needle) = &search {
            check_text("search", needle)?;
        }
        let request = PageArgs { first, after, last, before }.request(scope, |_| true)?;
        let all = all_keys(scope).await?;
        let found = || {
            all.iter()
                .filter(|key| search.as_ref().is_none_or(|needle| scope.finds_key(key, needle)))
        };
        let after = position(scope, "after", request.after.as_ref()).await?;
        let before = position(scope, "before", request.before.as_ref()).await?;
        let between = found()
            .filter(|key| after.as_ref().is_none_or(|after| *key > after))
            .filter(|key| before.as_ref().is_none_or(|before| *key < before));
        let wanted = request.limit as usize + 1;
        let rows: Vec<ApiKey> = if request.backward {
            let mut rows: Vec<&String> = between.collect();
            rows.reverse();
            rows.into_iter().take(wanted).map(|key| ApiKey::new(key)).collect()
        } else {
            between.take(wanted).map(|key| ApiKey::new(key)).collect()
        };
        let count = i64::try_from(found().count()).unwrap_or(i64::MAX);
        let list = KeyList { services: scope.services.clone(), count };
        Ok(Connection::new(request.page(rows), list))
    }

    /// One key; null where no call was made with it.
    async fn api_key(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "A full key or an `ApiKey` id.")] key: String,
    ) -> Option<Result<ApiKey>> {
        let found = async {
            check_text("key", &key)?;
            find(reading(ctx)?, &key).await
        };
        found.await.transpose()
    }
}

async fn all_keys(scope: &Scope) -> Result<std::sync::Arc<[String]>> {
    Ok(scope.loader.load_one(AllKeys).await?.unwrap_or_default())
}

/// The key that a text means, if the database knows it.
pub async fn find(scope: &Scope, text: &str) -> Result<Option<ApiKey>> {
    if is_key_id(text)
        && let Some(key) = scope.services.keys.find(scope.db(), text).await?
    {
        return Ok(Some(ApiKey::new(&key)));
    }
    let all = all_keys(scope).await?;
    let found = all.binary_search_by(|key| key.as_str().cmp(text));
    Ok(found.ok().map(|_| ApiKey::new(text)))
}

/// The key at a cursor.
async fn position(
    scope: &Scope,
    argument: &'static str,
    cursor: Option<&KeyCursor>,
) -> Result<Option<String>> {
    let Some(KeyCursor(id)) = cursor else { return Ok(None) };
    let key = scope.services.keys.find(scope.db(), id).await?;
    let unknown = || Failure::bad_input(argument, "the key of this cursor is gone; start again");
    Ok(Some(key.ok_or_else(unknown)?.to_string()))
}
