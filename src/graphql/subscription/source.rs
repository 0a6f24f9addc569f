//! Where the events of a subscription come from.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_graphql::Context;
use futures_util::stream;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Tells when the next event is due.
pub struct Source(Interval);

impl Source {
    /// The first at once, then one each `period`. What was missed is left out.
    pub fn every(period: Duration) -> Self {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self(ticks)
    }

    /// Waits for the next event.
    pub async fn next(&mut self) {
        self.0.tick().await;
    }
}

/// Stands in the data of a request that begins a subscription; takes what its resolver found.
#[derive(Clone, Default)]
pub struct Beginning(Arc<Mutex<Option<Source>>>);

impl Beginning {
    pub fn take(&self) -> Option<Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, source: Source) {
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
