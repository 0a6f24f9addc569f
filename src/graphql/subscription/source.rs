//! Where the events of a subscription come from.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_graphql::Context;
use futures_util::stream;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::feed::{Follower, Next};
use crate::graphql::scope::KeySearch;
use crate::store::call::CallRow;
use crate::store::error_log::ErrorLogRow;
use crate::store::filter::Filter;
use crate::store::tail::Tailed;

/// Tells when the next event is due, and what it is about.
pub enum Source {
    Every(Interval),
    Calls(Box<(Follower<CallRow>, Filter)>),
    Errors(Box<(Follower<ErrorLogRow>, Filter, Option<KeySearch>)>),
}

/// What an event is about; its resolver finds this in the data of its request.
#[derive(Clone, Debug)]
pub enum Due {
    /// The moment.
    Moment,
    /// With the number by which its feed knows the row.
    Call(u64, Arc<CallRow>),
    ErrorLog(u64, Arc<ErrorLogRow>),
    /// So many rows, wanted or not, that came faster than they were read.
    Missed(u64),
}

impl Due {
    /// Which row it is about, of all that this server ever told.
    pub fn row(&self) -> Option<(&'static str, u64)> {
        match self {
            Self::Call(number, _) => Some((CallRow::TABLE, *number)),
            Self::ErrorLog(number, _) => Some((ErrorLogRow::TABLE, *number)),
            Self::Moment | Self::Missed(_) => None,
        }
    }
}

impl Source {
    /// The first at once, then one each `period`. What was missed is left out.
    pub fn every(period: Duration) -> Self {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self::Every(ticks)
    }

    /// Waits for the next event. A future that is dropped loses none.
    pub async fn next(&mut self) -> Due {
        match self {
            Self::Every(ticks) => {
                ticks.tick().await;
                Due::Moment
            }
            Self::Calls(calls) => {
                let (follower, filter) = &mut **calls;
                match follower.next(|call| filter.matches(call)).await {
                    Next::Row { number, row } => Due::Call(number, row),
                    Next::Missed(rows) => Due::Missed(rows),
                }
            }
            Self::Errors(errors) => {
                let (follower, filter, search) = &mut **errors;
                let of_key = |row: &ErrorLogRow| match (&search, &row.key) {
                    (Some(search), Some(key)) => search.finds(key),
                    (Some(_), None) => false,
                    (None, _) => true,
                };
                match follower.next(|row| of_key(row) && filter.matches(row)).await {
                    Next::Row { number, row } => Due::ErrorLog(number, row),
                    Next::Missed(rows) => Due::Missed(rows),
                }
            }
        }
    }
}

/// Stands in the data of a request that begins a subscription; takes what its resolver found.
#[derive(Clone, Default)]
pub struct Beginning(Arc<Mutex<Option<Source>>>);

impl Beginning {
    pub fn take(&self) -> Option<Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Where the events come from.
    pub fn put(&self, source: Source) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }
}

/// What the resolver of a subscription returns: nothing but its source where it begins, and the one
/// event where it is asked for that.
pub fn follow<T>(
    ctx: &Context<'_>,
    source: impl FnOnce() -> Source,
    event: T,
) -> stream::Iter<std::option::IntoIter<T>> {
    let event = match ctx.data_opt::<Beginning>() {
        Some(beginning) => {
            beginning.put(source());
            None
        }
        None => Some(event),
    };
    stream::iter(event)
}
