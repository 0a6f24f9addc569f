//! The server itself.

use async_graphql::{ComplexObject, Context, SimpleObject};

use crate::config::{GraphqlConfig, ServerConfig};
use crate::domain::table::LogTable;
use crate::graphql::error::Result;
use crate::graphql::scalar::{BigInt, DateTime, Duration, TimeZone};
use crate::graphql::scope::reading;
use crate::graphql::types::storage::ServerStorage;
use crate::store::{space, storage};

/// What this server is and what it allows.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct ServerInfo {
    /// The version of Callscope.
    pub version: &'static str,
    /// The kind of the database: `SQLite`, `PostgreSQL` or `MySQL`, which MariaDB counts as.
    pub database: &'static str,
    /// The server's clock, which is the default of every `asOf`.
    pub now: DateTime,
    /// The zone of calendar months and series buckets where a query names none.
    pub time_zone: TimeZone,
    /// What a request may not exceed.
    pub limits: ServerLimits,
}

#[ComplexObject]
impl ServerInfo {
    /// What the database holds and takes. Nothing is read through for it, so that it may be asked for
    /// often; numbers that would cost more are estimates, and say so. Needs the scope READ.
    async fn storage(&self, ctx: &Context<'_>) -> Option<Result<ServerStorage>> {
        Some(find_storage(ctx).await)
    }
}

async fn find_storage(ctx: &Context<'_>) -> Result<ServerStorage> {
    let db = reading(ctx)?.db();
    let calls = storage::find(db, LogTable::Calls).await?;
    let error_logs = storage::find(db, LogTable::ErrorLogs).await?;
    Ok(ServerStorage::new(calls, error_logs, space::measure(db).await?))
}

/// What a request may not exceed; more is an error, never a shorter answer.
#[derive(SimpleObject)]
pub struct ServerLimits {
    /// The largest `first` or `last` of a list.
    max_page_size: i32,
    /// The items of a list where neither is given.
    default_page_size: i32,
    /// The largest body of a request, in bytes (`PAYLOAD_TOO_LARGE`).
    max_body_bytes: BigInt,
    /// GraphQL requests in one HTTP request, as an array; 1 where batches are refused.
    max_batch: i32,
    /// The longest document, in bytes (`DOCUMENT_TOO_LARGE`).
    max_document_bytes: i32,
    /// How many tokens a document may have (`TOO_MANY_TOKENS`).
    max_tokens: i32,
    /// How deep the brackets of a document may nest, and its selections where fragments are spread
    /// (`NESTING_TOO_DEEP`).
    max_nesting: i32,
    /// How many selections the operations and fragments of a document may have in all, each fragment
    /// counted wherever it is spread (`FRAGMENTS_TOO_LARGE`).
    max_expanded_selections: i32,
    /// How many directives a document may have in all (`TOO_MANY_DIRECTIVES`).
    max_directives: i32,
    /// How many fields an operation may have at its root (`TOO_MANY_ROOT_FIELDS`).
    max_root_fields: i32,
    /// How deep fields may nest (`DEPTH_EXCEEDED`).
    max_depth: i32,
    /// How much an operation may cost (`COST_EXCEEDED`), in units of 0.4 µs of a processor: 1 for each
    /// field of each item of a list, as many as `first` or `last` says, and for each SQL statement a
    /// number that grows with the rows that it is estimated to read. A request with the extension
    /// `cost: true` returns its cost in `extensions.cost`.
    max_complexity: i32,
    /// The largest answer to a request, a batch or an event, in bytes (`RESPONSE_TOO_LARGE`).
    max_response_bytes: BigInt,
    /// How many aliases an operation may use (`TOO_MANY_ALIASES`).
    max_aliases: i32,
    /// How long a request may take (`TIMEOUT`).
    timeout: Duration,
    /// How many requests are answered at the same time (`SERVER_BUSY`).
    max_concurrent_requests: i32,
    /// How many requests a token, or an address without one, may send in a minute (`RATE_LIMITED`);
    /// null where there is no limit.
    max_requests_per_minute: Option<i32>,
    /// How many subscriptions a token, or an address without one, may have at the same time
    /// (`TOO_MANY_SUBSCRIPTIONS`).
    max_subscriptions: i32,
    /// How many calls or errors one mutation may record.
    max_record_batch: i32,
    /// Whether the schema can be asked for (`INTROSPECTION_DISABLED`).
    introspection: bool,
    /// Whether nothing runs but the documents of a manifest and those of the page
    /// (`DOCUMENT_NOT_TRUSTED`); there is no GraphiQL then.
    trusted_documents_only: bool,
}

impl ServerLimits {
    pub fn new(config: &GraphqlConfig, server: &ServerConfig) -> Self {
        let int = |limit: u32| i32::try_from(limit).unwrap_or(i32::MAX);
        let long = |limit: u64| i64::try_from(limit).unwrap_or(i64::MAX / 1000);
        let per_minute = server.max_requests_per_minute;
        Self {
            max_page_size: int(config.max_page_size),
            default_page_size: int(config.default_page_size.min(config.max_page_size)),
            max_body_bytes: BigInt(long(server.max_body_bytes)),
            max_batch: int(server.http.max_batch),
            max_document_bytes: int(config.max_document_bytes),
            max_tokens: int(config.max_tokens),
            max_nesting: int(config.max_nesting),
            max_expanded_selections: int(config.max_expanded_selections),
            max_directives: int(config.max_directives),
            max_root_fields: int(config.max_root_fields),
            max_depth: int(config.max_depth),
            max_complexity: int(config.max_complexity),
            max_response_bytes: BigInt(long(server.memory.max_response_bytes)),
            max_aliases: int(config.max_aliases),
            timeout: Duration(chrono::TimeDelta::seconds(long(config.timeout_seconds))),
            max_concurrent_requests: int(server.max_concurrent_requests),
            max_requests_per_minute: (per_minute > 0).then(|| int(per_minute)),
            max_subscriptions: int(server.max_subscriptions),
            max_record_batch: int(config.max_record_batch),
            introspection: config.introspection,
            trusted_documents_only: server.http.trusted_documents.is_some(),
        }
    }
}
