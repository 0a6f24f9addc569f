//! A call.

use std::sync::Arc;

use async_graphql::parser::types::Field;
use async_graphql::resolver_utils::enum_value;
use async_graphql::{Context, Enum, ID, Object, ScalarType, Value};

use super::api_key::{ApiKey, is_shared_key, load_shared_keys};
use super::error_log::ErrorLog;
use super::failure::Failure;
use crate::domain::failure::classify;
use crate::domain::matching::Probe;
use crate::graphql::connection::Item;
use crate::graphql::cursor::Cursor;
use crate::graphql::error::Result;
use crate::graphql::id::call_id;
use crate::graphql::rows::{Read, Row};
use crate::graphql::scalar::{BigInt, DateTime};
use crate::graphql::scope::{Scope, count_text, scope};
use crate::store::call::{self, CallCursor, CallRow, CallScope};

/// The largest distance between a failed call and its error log.
const ERROR_LOG_WINDOW: chrono::TimeDelta = chrono::TimeDelta::seconds(300);

/// Whether a call succeeded.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStatus {
    /// The status code is 200 to 299.
    Success,
    /// Any other status code, or no status code.
    Failure,
}

impl CallStatus {
    pub fn of(success: bool) -> Self {
        if success { Self::Success } else { Self::Failure }
    }
}

/// The order of a list of calls; equal calls are ordered by id.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "call::CallOrder")]
pub enum CallOrder {
    /// By time, the latest call first.
    NewestFirst,
    /// By time, the earliest call first.
    OldestFirst,
    /// By latency, the longest first; calls without a latency are last.
    SlowestFirst,
}

/// A row, shared with the loader caches of the request.
#[derive(Clone)]
pub struct Call(pub Arc<CallRow>);

/// One call that the gateway sent to the provider. Each retry is a separate call.
#[Object]
impl Call {
    /// The global id, for `node`.
    pub(super) async fn id(&self) -> ID {
        call_id(self.0.id)
    }

    /// The id of the row in `t_request_log`.
    async fn database_id(&self) -> BigInt {
        BigInt(self.0.id)
    }

    /// When the call was sent. A stored time that cannot be read is returned as 1970.
    async fn timestamp(&self) -> DateTime {
        DateTime(self.0.timestamp)
    }

    /// The key of the call; null if no key was recorded.
    async fn api_key(&self) -> Option<ApiKey> {
        self.0.key.as_deref().map(ApiKey::new)
    }

    /// The model that was called.
    async fn model(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        count_text(ctx, &self.0.model)
    }

    /// Whether the call succeeded.
    async fn status(&self) -> CallStatus {
        CallStatus::of(self.0.is_success())
    }

    /// The HTTP status of the provider's response; null without a response.
    async fn status_code(&self) -> Option<i32> {
        self.0.status_code
    }

    /// The duration of the call in milliseconds.
    async fn latency_ms(&self) -> Option<i32> {
        self.0.latency_ms
    }

    /// The error log of a failed call: the nearest in time of the same key within 300 seconds. Error logs
    /// with the status code of the call are preferred. Null for a successful call, and if there is no match.
    /// One SQL statement matches all calls of a request.
    async fn error_log(&self, ctx: &Context<'_>) -> Option<Result<ErrorLog>> {
        let loader = scope(ctx).loader();
        match loader.load_one(self.probe()?).await {
            Ok(found) => found.map(ErrorLog).map(Ok),
            Err(error) => Some(Err(error.into())),
        }
    }

    /// Why the call failed and what ends such failures: from `errorLog` where there is one, else from the
    /// status code alone. Null for a call that succeeded. All of a request together cost one SQL statement.
    async fn failure(&self, ctx: &Context<'_>) -> Option<Result<Failure>> {
        let row = &self.0;
        if row.is_success() {
            return None;
        }
        let found = match self.probe() {
            Some(probe) => scope(ctx).loader().load_one(probe).await,
            None => Ok(None),
        };
        Some(match found {
            Ok(Some(log)) => Ok(ErrorLog(log).classify(row.status_code)),
            Ok(None) => Ok(Failure::new(classify(None, row.status_code, None), row.timestamp)),
            Err(error) => Err(error.into()),
        })
    }
}

impl Call {
    /// The search for its error log; `None` for a call that succeeded or has no key.
    fn probe(&self) -> Option<Probe> {
        let row = &self.0;
        (!row.is_success()).then_some(())?;
        Some(Probe {
            key: row.key.clone()?,
            at: row.stored.at,
            code: row.status_code,
            window: ERROR_LOG_WINDOW,
        })
    }
}

impl Row for Call {
    type Related = ErrorLog;

    fn is_related(field: &str) -> bool {
        field == "errorLog"
    }

    async fn related(scope: &Scope, calls: &[Self]) -> Result<Vec<Option<ErrorLog>>> {
        let probes: Vec<Option<Probe>> = calls.iter().map(Self::probe).collect();
        let found = scope.loader().load_many(probes.iter().flatten().cloned()).await?;
        let error_log = |probe: Option<Probe>| found.get(&probe?).cloned().map(ErrorLog);
        Ok(probes.into_iter().map(error_log).collect())
    }

    fn column(field: &str) -> Option<Read<Self>> {
        Some(match field {
            "id" => |call| Value::String(call_id(call.0.id).0),
            "databaseId" => |call| BigInt(call.0.id).to_value(),
            "timestamp" => |call| DateTime(call.0.timestamp).to_value(),
            "model" => |call| call.0.model.clone().into(),
            "status" => |call| enum_value(CallStatus::of(call.0.is_success())),
            "statusCode" => |call| call.0.status_code.into(),
            "latencyMs" => |call| call.0.latency_ms.into(),
            _ => return None,
        })
    }

    fn is_null(&self, field: &str) -> bool {
        match field {
            "errorLog" | "failure" => self.0.is_success(),
            "apiKey" => self.0.key.is_none(),
            _ => false,
        }
    }

    fn shared(&self, field: &Field) -> Option<&str> {
        self.0.key.as_deref().filter(|_| is_shared_key(field))
    }

    async fn load_shared(scope: &Scope, field: &Field, calls: &[Self]) -> bool {
        load_shared_keys(scope, field, calls.iter().filter_map(|call| call.0.key.as_deref())).await
    }
}

/// The arguments that selected a list of calls.
pub struct CallList {
    pub scope: CallScope,
    pub order: call::CallOrder,
}

impl Item for Call {
    type List = CallList;

    fn cursor(&self, list: &CallList) -> String {
        CallCursor::of(&self.0, list.order).encode()
    }

    async fn count(scope: &Scope, list: &CallList) -> Result<i64> {
        Ok(scope.loader().load_one(list.scope.clone()).await?.unwrap_or(0))
    }
}
