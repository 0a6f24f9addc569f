//! Groups and buckets of calls.

use async_graphql::{Enum, SimpleObject};

use super::api_key::ApiKey;
use super::call::CallStatus;
use super::usage::{CallCounts, LatencyStats};
use crate::graphql::scalar::DateTime;
use crate::store::call_group::{self, GroupRow};

/// By what calls are grouped.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "call_group::CallDimension")]
pub enum CallDimension {
    /// The key that the call was made with.
    ApiKey,
    /// The model that was called.
    Model,
    /// The status code; calls without one are a group of their own.
    StatusCode,
    /// Whether the call succeeded.
    #[graphql(name = "STATUS")]
    Success,
}

/// The order of groups. Of groups that are equal in it, the one with more calls comes first.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "call_group::GroupOrder")]
pub enum CallGroupOrder {
    /// Most calls first.
    #[graphql(name = "TOTAL_DESC")]
    Total,
    /// Most failed calls first.
    #[graphql(name = "FAILURE_DESC")]
    Failure,
    /// The highest share of failed calls first.
    #[graphql(name = "FAILURE_RATE_DESC")]
    FailureRate,
    /// The highest 95th percentile of the latency first.
    #[graphql(name = "P95_LATENCY_DESC")]
    P95Latency,
}

/// The calls that agree in the dimensions grouped by. The fields of these are set (null where the
/// calls have no such value), those of other dimensions are null.
#[derive(SimpleObject)]
pub struct CallGroup {
    /// The key of the group, when grouped by `API_KEY`.
    api_key: Option<ApiKey>,
    /// The model of the group, when grouped by `MODEL`.
    model: Option<String>,
    /// The status code of the group, when grouped by `STATUS_CODE`.
    status_code: Option<i32>,
    /// Whether the calls of the group succeeded, when grouped by `STATUS`.
    status: Option<CallStatus>,
    /// How many calls the group has.
    counts: CallCounts,
    /// How long they took.
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

/// The calls of a span of time, half open: a call at `start` belongs to it, one at `end` does not.
#[derive(SimpleObject)]
pub struct CallBucket {
    /// The first instant of the bucket. The first bucket of a series starts with its window.
    pub start: DateTime,
    /// The first instant after the bucket. The last bucket of a series ends with its window.
    pub end: DateTime,
    /// How many calls there were; all zeros where there was none.
    pub counts: CallCounts,
    /// How long they took.
    pub latency: LatencyStats,
}
