//! Error logs and groups of error logs.

use std::sync::Arc;

use async_graphql::parser::types::Field;
use async_graphql::{
    ComplexObject, Context, Enum, ID, Json, Object, ScalarType, SimpleObject, Value,
};

use super::api_key::{ApiKey, is_shared_key, load_shared_keys};
use super::failure::{Failure, FailureClass};
use crate::domain::access::AccessScope;
use crate::domain::failure::{self, Template, classify};
use crate::error::Error;
use crate::graphql::connection::Item;
use crate::graphql::cursor::Cursor;
use crate::graphql::error::Result;
use crate::graphql::id::error_log_id;
use crate::graphql::loader::error_log::RequestOf;
use crate::graphql::rows::{Read, Row};
use crate::graphql::scalar::{BigInt, DateTime};
use crate::graphql::scope::{Scope, count_text, scope};
use crate::store::error_group::{self, ErrorGroupRow};
use crate::store::error_list::ErrorCursor;
use crate::store::error_log::{ErrorLogRow, ErrorScope};
use crate::store::filter::Cells;

/// The order of a list of error logs; error logs at the same instant are ordered by id.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorLogOrder {
    /// The latest first.
    NewestFirst,
    /// The earliest first.
    OldestFirst,
}

/// A row, shared with the loader caches of the request.
#[derive(Clone)]
pub struct ErrorLog(pub Arc<ErrorLogRow>);

/// The error of a failed call, as reported by the provider or the gateway.
#[Object]
impl ErrorLog {
    /// The global id, for `node`.
    pub(super) async fn id(&self) -> ID {
        error_log_id(self.0.id)
    }

    /// The id of the row in `t_error_logs`.
    async fn database_id(&self) -> BigInt {
        BigInt(self.0.id)
    }

    /// When the failure was logged: at the time of the call or later, by up to its latency. A stored time
    /// that cannot be read is returned as 1970.
    async fn timestamp(&self) -> DateTime {
        DateTime(self.0.timestamp)
    }

    /// The key of the failed call.
    async fn api_key(&self) -> Option<ApiKey> {
        self.0.key.as_deref().map(ApiKey::new)
    }

    /// The model that was called.
    async fn model(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        count_text(ctx, &self.0.model)
    }

    /// The component of the gateway that failed, in the gateway's terms.
    async fn error_type(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        count_text(ctx, &self.0.error_type)
    }

    /// The status code of the failure.
    async fn error_code(&self) -> Option<i32> {
        self.0.error_code
    }

    /// The provider's error message, often JSON (the column `error_log`).
    async fn message(&self, ctx: &Context<'_>) -> Result<Option<&str>> {
        count_text(ctx, &self.0.message)
    }

    /// Why the call failed and what ends such failures, from the message, the code and the error type.
    async fn failure(&self) -> Failure {
        self.classify(None)
    }

    /// The form of the message, or of the error type where there is no message.
    async fn message_template(&self) -> MessageTemplate {
        let Template { id, text } = self.0.template();
        MessageTemplate { id: ID(id), text: Some(text) }
    }

    /// The request that failed (the column `request_msg`), including prompts; null if it was not stored.
    /// A stored text that is not JSON is returned as a string. Requires the scope READ_REQUESTS.
    async fn request(&self, ctx: &Context<'_>) -> Option<Result<Json<serde_json::Value>>> {
        if let Err(error) = scope(ctx).require(AccessScope::ReadRequests) {
            return Some(Err(error));
        }
        match scope(ctx).loader().load_one(RequestOf(self.0.id)).await {
            Ok(request) => request.map(|request| {
                scope(ctx).answer.add_json(&request)?;
                Ok(Json(request))
            }),
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl ErrorLog {
    /// Why the call failed; `status_code` is the call's, for an error log without a code.
    pub(super) fn classify(&self, status_code: Option<i32>) -> Failure {
        let row = &self.0;
        let code = row.error_code.or(status_code);
        let failure = classify(row.message.as_deref(), code, row.error_type.as_deref());
        Failure::new(failure, row.timestamp)
    }
}

impl Row for ErrorLog {
    /// It has no related rows.
    type Related = Self;

    fn column(field: &str) -> Option<Read<Self>> {
        Some(match field {
            "id" => |log| Value::String(error_log_id(log.0.id).0),
            "databaseId" => |log| BigInt(log.0.id).to_value(),
            "timestamp" => |log| DateTime(log.0.timestamp).to_value(),
            "model" => |log| log.0.model.clone().into(),
            "errorType" => |log| log.0.error_type.clone().into(),
            "errorCode" => |log| log.0.error_code.into(),
            "message" => |log| log.0.message.clone().into(),
            _ => return None,
        })
    }

    fn is_null(&self, field: &str) -> bool {
        field == "apiKey" && self.0.key.is_none()
    }

    fn shared(&self, field: &Field) -> Option<&str> {
        self.0.key.as_deref().filter(|_| is_shared_key(field))
    }

    async fn load_shared(scope: &Scope, field: &Field, logs: &[Self]) -> bool {
        load_shared_keys(scope, field, logs.iter().filter_map(|log| log.0.key.as_deref())).await
    }
}

impl Item for ErrorLog {
    type List = ErrorScope;

    fn cursor(&self, _: &ErrorScope) -> String {
        ErrorCursor { stored: self.0.stored.clone(), id: self.0.id }.encode()
    }

    async fn count(scope: &Scope, list: &ErrorScope) -> Result<i64> {
        Ok(scope.loader().load_one(list.clone()).await?.unwrap_or(0))
    }
}

/// The form of messages: what stays the same where numbers, ids, keys, names and times differ.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct MessageTemplate {
    /// Its id, the same on every server. A later version of the server may give other ids.
    id: ID,
    /// That of a group is loaded if it is selected.
    #[graphql(skip)]
    text: Option<String>,
}

#[ComplexObject]
impl MessageTemplate {
    /// The message with `<*>` in place of what differs; up to 200 characters. It contains no key.
    async fn text(&self) -> Result<&str> {
        let text = self.text.as_deref();
        text.ok_or_else(|| Error::internal("the text of a template was not loaded").into())
    }
}

/// The error logs of an interval.
#[derive(SimpleObject)]
pub struct ErrorBucket {
    /// The start of the interval.
    pub start: DateTime,
    /// The first instant after it.
    pub end: DateTime,
    /// The number of error logs.
    pub count: BigInt,
}

/// A dimension to group error logs by.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "error_group::ErrorDimension")]
pub enum ErrorDimension {
    /// The key of the failed call.
    ApiKey,
    /// The model that was called.
    Model,
    /// The component of the gateway that failed.
    ErrorType,
    /// The status code of the failure.
    ErrorCode,
    /// Why the call failed.
    FailureClass,
    /// The form of the message: messages of a form differ only in numbers, ids, names and times.
    MessageTemplate,
}

/// Error logs with the same values in all dimensions of `by`. Their fields are set (null for error logs
/// without a value); the fields of other dimensions are null.
#[derive(SimpleObject)]
#[graphql(complex)]
pub struct ErrorGroup {
    /// The key of the group, if grouped by `API_KEY`.
    api_key: Option<ApiKey>,
    /// The model of the group, if grouped by `MODEL`.
    model: Option<String>,
    /// The error type of the group, if grouped by `ERROR_TYPE`.
    error_type: Option<String>,
    /// The error code of the group, if grouped by `ERROR_CODE`.
    error_code: Option<i32>,
    /// Why the calls of the group failed, if grouped by `FAILURE_CLASS`.
    failure_class: Option<FailureClass>,
    /// The number of error logs of the group.
    count: BigInt,
    /// The time of the first error log.
    first_seen_at: DateTime,
    /// The time of the last error log.
    last_seen_at: DateTime,
    #[graphql(skip)]
    template: Option<String>,
    /// Loaded if it is selected.
    #[graphql(skip)]
    latest: Option<ErrorLog>,
}

#[ComplexObject]
impl ErrorGroup {
    /// The form of the messages of the group, if grouped by `MESSAGE_TEMPLATE`.
    async fn message_template(&self) -> Option<MessageTemplate> {
        let text = self.latest.as_ref().map(|latest| latest.0.template().text);
        Some(MessageTemplate { id: ID(self.template.clone()?), text })
    }

    /// The last error log; of several at the same time, the one with the highest id.
    async fn latest(&self) -> Result<&ErrorLog> {
        let latest = self.latest.as_ref();
        latest.ok_or_else(|| Error::internal("the latest error log was not loaded").into())
    }
}

impl ErrorGroup {
    /// Whether the current field selects what needs the latest error log of each group.
    pub fn needs_latest(ctx: &Context<'_>) -> bool {
        let group = ctx.look_ahead();
        group.field("latest").exists() || group.field("messageTemplate").field("text").exists()
    }

    pub fn new(row: ErrorGroupRow, latest: Option<ErrorLog>) -> Self {
        Self {
            api_key: row.key.as_deref().map(ApiKey::new),
            model: row.model,
            error_type: row.error_type,
            error_code: row.error_code,
            failure_class: row
                .class
                .map(|name| name.parse().unwrap_or(failure::FailureClass::Unknown).into()),
            template: row.template,
            count: BigInt(row.count),
            first_seen_at: DateTime(row.first_seen_at),
            last_seen_at: DateTime(row.last_seen_at),
            latest,
        }
    }
}
