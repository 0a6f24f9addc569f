//! Groups and buckets of calls.

use async_graphql::{Enum, SimpleObject};

use super::api_key::ApiKey;
use super::call::CallStatus;
use super::usage::{CallCounts, LatencyStats};
use crate::graphql::scalar::DateTime;
use crate::store::call_dimension;
use crate::store::call_group::{self, GroupRow};

/// A dimension to group calls by.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "call_dimension::CallDimension")]
pub enum CallDimension {
    /// The key of the call.
    ApiKey,
    /// The model that was called.
    Model,
    /// The status code; calls without one are a separate group.
    StatusCode,
    /// Whether the call succeeded.
    #[graphql(name = "STATUS")]
    Success,
}

/// The order of groups. Equal groups are ordered by the number of calls.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "call_group::GroupOrder")]
pub enum CallGroupOrder {
    /// Most calls first.
    #[graphql(name = "TOTAL_DESC")]
    Total,
    /// Most failed calls first.
    #[graphql(name = "FAILURE_DESC")]
    Failure,
    /// The highest ratio of failed calls first.
    #[graphql(name = "FAILURE_RATE_DESC")]
    FailureRate,
    /// The highest 95th percentile of the latency first.
    #[graphql(name = "P95_LATENCY_DESC")]
    P95Latency,
}

/// Calls with the same values in all dimensions of `by`. Their fields are set (null for calls without a
/// value); the fields of other dimensions are null.
#[derive(SimpleObject)]
pub struct CallGroup {
    /// The key of the group, if grouped by `API_KEY`.
    api_key: Option<ApiKey>,
    /// The model of the group, if grouped by `MODEL`.
    model: Option<String>,
    /// The status code of the group, if grouped by `STATUS_CODE`.
    status_code: Option<i32>,
    /// Whether the calls of the group succeeded, if grouped by `STATUS`.
    status: Option<CallStatus>,
    /// The number of calls of the group.
    counts: CallCounts,
    /// Their latencies.
    latency: LatencyStats,
}

impl From<GroupRow> for CallGroup {
    fn from(row: GroupRow) -> Self {
        Self {
            api_key: row.key.as_deref().map(ApiKey::new),
            model: row.model,
            status_code: row.status_code,
            status: row.success.map(CallStatus::of),
            counts: CallCounts(row.stats.counts),
            latency: row.stats.latency.into(),
        }
    }
}

/// The calls of a time interval: `start` is inclusive, `end` is exclusive.
#[derive(SimpleObject)]
pub struct CallBucket {
    /// The start of the bucket. The first bucket of a series starts with the window.
    pub start: DateTime,
    /// The end of the bucket. The last bucket of a series ends with the window.
    pub end: DateTime,
    /// The number of calls; zero in an interval without calls.
    pub counts: CallCounts,
    /// Their latencies.
    pub latency: LatencyStats,
}
