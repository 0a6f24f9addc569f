//! Server information and limits.

use async_graphql::{ComplexObject, Context, SimpleObject};

use crate::config::{GraphqlConfig, ServerConfig};
use crate::domain::table::LogTable;
use crate::graphql::error::Result;
use crate::graphql::scalar::{BigInt, DateTime, Duration, TimeZone};
use crate::graphql::scope::read_scope;
use crate::graphql::types::storage::ServerStorage;
use crate::store::{rollup, space, storage};

/// The version, database, clock and limits of this server.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct ServerInfo {
    /// The version of Callscope.
    pub version: &'static str,
    /// The kind of the database: `SQLite`, `PostgreSQL` or `MySQL` (also for MariaDB).
    pub database: &'static str,
    /// The server's clock: the default of every `asOf`.
    pub now: DateTime,
    /// The default time zone of calendar months and series buckets.
    pub time_zone: TimeZone,
    /// The limits of a request.
    pub limits: ServerLimits,
}

#[ComplexObject]
impl ServerInfo {
    /// The rows and the size of the database. No table is scanned, so that it can be queried often; numbers
    /// that would need a scan are estimates and marked as such. Requires the scope READ.
    async fn storage(&self, ctx: &Context<'_>) -> Option<Result<ServerStorage>> {
        Some(find_storage(ctx).await)
    }

    /// The rollups of the calls. Requires the scope READ.
    async fn rollups(&self, ctx: &Context<'_>) -> Result<Rollups> {
        find_rollups(ctx).await
    }
}

async fn find_rollups(ctx: &Context<'_>) -> Result<Rollups> {
    let db = read_scope(ctx)?.db();
    let found = if db.has_rollups() { rollup::summary(db).await? } else { None };
    let Some(found) = found else {
        return Ok(Rollups {
            enabled: false,
            since: None,
            lag_rows: BigInt(0),
            rows: BigInt(0),
            bytes: None,
        });
    };
    Ok(Rollups {
        enabled: found.is_used,
        since: found.since.map(DateTime),
        lag_rows: BigInt(found.lag),
        rows: BigInt(found.cells),
        bytes: found.bytes.map(BigInt),
    })
}

async fn find_storage(ctx: &Context<'_>) -> Result<ServerStorage> {
    let db = read_scope(ctx)?.db();
    let calls = storage::find(db, LogTable::Calls).await?;
    let error_logs = storage::find(db, LogTable::ErrorLogs).await?;
    Ok(ServerStorage::new(calls, error_logs, space::measure(db).await?))
}

/// Counts and latencies of whole minutes, hours and days, which statistics of long windows add up. They
/// include deleted calls.
#[derive(SimpleObject)]
pub struct Rollups {
    /// Whether queries use them; false with `--rollups false`, on a read-only server, while most calls are not
    /// folded yet, and during a rebuild.
    enabled: bool,
    /// The first instant that they cover; null without calls.
    since: Option<DateTime>,
    /// An upper bound of the stored calls that are not folded yet. Statistics count them one by one.
    lag_rows: BigInt,
    /// Their rows in the database.
    rows: BigInt,
    /// Their size in bytes; null if it takes too long to compute, as in a SQLite file of more than 64 MiB.
    bytes: Option<BigInt>,
}

/// The limits of a request. Exceeding one is an error; results are never truncated.
#[derive(SimpleObject)]
pub struct ServerLimits {
    /// The largest `first` or `last` of a list.
    max_page_size: i32,
    /// The page size without `first` and `last`.
    default_page_size: i32,
    /// The largest body of a request, in bytes (`PAYLOAD_TOO_LARGE`).
    max_body_bytes: BigInt,
    /// The most GraphQL requests in one HTTP request (JSON array); 1 if batches are disabled.
    max_batch: i32,
    /// The longest document, in bytes (`DOCUMENT_TOO_LARGE`).
    max_document_bytes: i32,
    /// The most tokens of a document (`TOO_MANY_TOKENS`).
    max_tokens: i32,
    /// The deepest nesting of brackets in a document, and of selections with fragments expanded
    /// (`NESTING_TOO_DEEP`).
    max_nesting: i32,
    /// The most selections of all operations and fragments of a document; a fragment counts at each spread
    /// (`FRAGMENTS_TOO_LARGE`).
    max_expanded_selections: i32,
    /// The most directives of a document (`TOO_MANY_DIRECTIVES`).
    max_directives: i32,
    /// The most root fields of an operation (`TOO_MANY_ROOT_FIELDS`).
    max_root_fields: i32,
    /// The deepest nesting of fields (`DEPTH_EXCEEDED`).
    max_depth: i32,
    /// The highest cost of an operation (`COST_EXCEEDED`), in units of 0.4 µs of a processor. Each field
    /// costs 1 for each item of a list (`first` or `last` items). Each SQL statement costs an amount that
    /// depends on the estimated number of rows that it reads. A request with the extension `cost: true`
    /// returns its cost in `extensions.cost`.
    max_complexity: i32,
    /// The largest response to a request, a batch or an event, in bytes (`RESPONSE_TOO_LARGE`).
    max_response_bytes: BigInt,
    /// The most aliases of an operation (`TOO_MANY_ALIASES`).
    max_aliases: i32,
    /// The timeout of a request (`TIMEOUT`).
    timeout: Duration,
    /// The most concurrent requests (`SERVER_BUSY`).
    max_concurrent_requests: i32,
    /// The most requests per minute of a token, or of an address without a token (`RATE_LIMITED`); null
    /// if there is no limit.
    max_requests_per_minute: Option<i32>,
    /// The most concurrent subscriptions of a token, or of an address without a token
    /// (`TOO_MANY_SUBSCRIPTIONS`).
    max_subscriptions: i32,
    /// The most calls or error logs of one recording mutation.
    max_record_batch: i32,
    /// Whether introspection is enabled (`INTROSPECTION_DISABLED`).
    introspection: bool,
    /// Whether the server executes only documents of a manifest and of its dashboard
    /// (`DOCUMENT_NOT_TRUSTED`). GraphiQL is disabled then.
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
