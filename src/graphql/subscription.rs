//! Subscriptions. A subscription is executed once at the start, which checks its permissions and returns
//! its event source. It is executed again for each event: an event is a separate request with its own time,
//! caller and batches.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration as Period;

use async_graphql::{Context, Subscription as SubscriptionRoot};
use chrono::TimeDelta;
use futures_util::stream::{self, Stream};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::error::{Failure, Result};
use super::scalar::{Duration, TimeZone};
use super::scope::{KeySearch, Scope, read_scope};
use super::types::call::Call;
use super::types::call_filter::{CallFilter, call_scope};
use super::types::diagnosis::Diagnosis;
use super::types::error_filter::{ErrorLogFilter, error_search};
use super::types::error_log::ErrorLog;
use super::types::usage::UsageStats;
use crate::diagnoses::{DiagnosisChanges, DiagnosisRef};
use crate::domain::window::Window;
use crate::error::Error;
use crate::feed::{Next, Subscriber};
use crate::store::call::CallRow;
use crate::store::error_log::ErrorLogRow;
use crate::store::filter::Filter;
use crate::store::tail::Tailed;

/// The windows of `usageStats` hardly change within a shorter period.
const SHORTEST: Period = Period::from_millis(500);
const LONGEST: Period = Period::from_secs(3600);
const DEFAULT: Duration = Duration(TimeDelta::seconds(1));

pub struct Subscription;

/// Subscriptions, over server-sent events at `/graphql/stream` (distinct connections mode of the
/// graphql-sse protocol) or over WebSocket at `/graphql/ws`. Each event is one result. An event with errors
/// does not end the subscription, except for the code `UNAUTHENTICATED`: the token or session has expired.
#[SubscriptionRoot]
impl Subscription {
    /// Each new call, exactly once, in the order of ids. Calls that are recorded through this server arrive
    /// at once, calls that another program writes into the table within a second. Calls stored before the
    /// subscription are not sent. The calls of a late transaction arrive after its commit, even if their ids
    /// are lower than earlier ones. `errorLog` is the match at the time of the event. A client that reads
    /// too slowly receives an event with `data: null` and an error with the code `EVENTS_MISSED`; its
    /// extension `missed` counts all skipped calls, matching or not. The subscription then continues with
    /// new calls.
    async fn call_recorded(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only calls of this key: a full key or an `ApiKey` id.")] key: Option<
            String,
        >,
        #[graphql(desc = "Selects the calls; all by default.")] filter: Option<CallFilter>,
    ) -> Result<impl Stream<Item = Call> + use<>> {
        let event = event(ctx, async |scope| {
            // The filter ignores the window.
            let now = Window { since: scope.now, until: scope.now };
            let filter = call_scope(scope, now, key, filter).await?.row_filter(scope.db());
            let subscriber = scope.services.feeds.calls.subscribe().await?;
            Ok(EventSource::Calls(Box::new((subscriber, filter))))
        });
        Ok(stream::iter(match event.await? {
            Some(SourceEvent::Call(_, row)) => Some(Call(row)),
            _ => None,
        }))
    }

    /// Each new error log, with the same guarantees as `callRecorded`. `since` and `until` of the filter
    /// are compared with the time of an error log; they do not start or end the subscription.
    async fn error_recorded(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Selects the error logs; all by default.")] filter: Option<ErrorLogFilter>,
    ) -> Result<impl Stream<Item = ErrorLog> + use<>> {
        let event = event(ctx, async |scope| {
            let (errors, search) = error_search(scope, filter).await?;
            if let Some(search) = &search {
                scope.audit_search(search, None).await?;
            }
            let filter = errors.row_filter(scope.db());
            let subscriber = scope.services.feeds.errors.subscribe().await?;
            Ok(EventSource::Errors(Box::new((subscriber, filter, search))))
        });
        Ok(stream::iter(match event.await? {
            Some(SourceEvent::ErrorLog(_, row)) => Some(ErrorLog(row)),
            _ => None,
        }))
    }

    /// Each diagnosis that starts or ends; `until` is null at its start. A diagnosis with other keys or models
    /// is another one: the first ends. Those that last when the subscription starts are not sent: query
    /// `diagnoses` after the start. Computed every ten seconds, or more rarely if that takes long. While it
    /// fails there is one event with the error.
    async fn diagnosis_changed(
        &self,
        ctx: &Context<'_>,
    ) -> Result<impl Stream<Item = Diagnosis> + use<>> {
        let event = event(ctx, async |scope| {
            Ok(EventSource::Diagnoses(Box::new(scope.services.diagnoses.subscribe().await?)))
        });
        Ok(stream::iter(match event.await? {
            Some(SourceEvent::Diagnosis(diagnosis)) => Some(Diagnosis(diagnosis)),
            _ => None,
        }))
    }

    /// The current usage statistics, at once and then periodically. Each event counts the selected windows
    /// up to its own time, in one SQL statement. A client that reads slowly receives fewer events.
    async fn usage_stats(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only calls of this key: a full key or an `ApiKey` id.")] key: Option<
            String,
        >,
        #[graphql(desc = "The time zone of the calendar month; the server's by default.")]
        time_zone: Option<TimeZone>,
        #[graphql(
            desc = "The interval between two events: `PT0.5S` to `PT1H`.",
            default_with = "Some(DEFAULT)"
        )]
        every: Option<Duration>,
    ) -> Result<impl Stream<Item = UsageStats> + use<>> {
        let scope = read_scope(ctx)?;
        let every = period(every.unwrap_or(DEFAULT))?;
        let key = match key {
            Some(key) => Some(scope.key(&key).await?),
            None => None,
        };
        let zone = time_zone.map_or(scope.config().time_zone, |zone| zone.0);
        let stats = UsageStats { as_of: scope.now, zone, key };
        let event = event(ctx, async |_| Ok(EventSource::every(every))).await?;
        Ok(stream::iter(matches!(event, Some(SourceEvent::Tick)).then_some(stats)))
    }
}

/// The current event; `None` at the start of the subscription, when `start` creates the
/// event source.
async fn event(
    ctx: &Context<'_>,
    start: impl AsyncFnOnce(&Scope) -> Result<EventSource>,
) -> Result<Option<SourceEvent>> {
    let scope = read_scope(ctx)?;
    if let Some(slot) = ctx.data_opt::<SourceSlot>() {
        slot.put(start(scope).await?);
        return Ok(None);
    }
    match ctx.data_opt::<SourceEvent>() {
        Some(SourceEvent::Missed(rows)) => Err(Error::EventsMissed(*rows).into()),
        Some(SourceEvent::Failed(error)) => Err(error.clone().into()),
        event => Ok(event.cloned()),
    }
}

fn period(every: Duration) -> Result<Period> {
    let period = every.0.to_std().ok().filter(|every| (SHORTEST..=LONGEST).contains(every));
    period.ok_or_else(|| Failure::bad_input("every", "`every` must be PT0.5S to PT1H"))
}

/// Yields the events of a subscription.
pub enum EventSource {
    Every(Interval),
    Calls(Box<(Subscriber<CallRow>, Filter)>),
    Errors(Box<(Subscriber<ErrorLogRow>, Filter, Option<KeySearch>)>),
    Diagnoses(Box<DiagnosisChanges>),
}

/// An event. The resolver reads it from the data of its request.
#[derive(Clone, Debug)]
pub enum SourceEvent {
    /// A tick of the interval.
    Tick,
    /// A call and its number in the feed.
    Call(u64, Arc<CallRow>),
    ErrorLog(u64, Arc<ErrorLogRow>),
    /// A diagnosis that has started or ended.
    Diagnosis(DiagnosisRef),
    /// The number of rows, wanted or not, that were overwritten before they were read.
    Missed(u64),
    /// The source has no events now; it continues.
    Failed(Error),
}

impl SourceEvent {
    /// The table and the feed number of the row, unique in this server.
    pub fn row(&self) -> Option<(&'static str, u64)> {
        match self {
            Self::Call(number, _) => Some((CallRow::TABLE, *number)),
            Self::ErrorLog(number, _) => Some((ErrorLogRow::TABLE, *number)),
            Self::Tick | Self::Diagnosis(_) | Self::Missed(_) | Self::Failed(_) => None,
        }
    }
}

impl EventSource {
    /// An event at once and then every `period`. Missed ticks are skipped.
    pub fn every(period: Period) -> Self {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self::Every(ticks)
    }

    /// Waits for the next event. Cancellation safe: dropping the future loses no event.
    pub async fn next(&mut self) -> SourceEvent {
        match self {
            Self::Every(ticks) => {
                ticks.tick().await;
                SourceEvent::Tick
            }
            Self::Calls(calls) => {
                let (subscriber, filter) = &mut **calls;
                match subscriber.next(|call| filter.matches(call)).await {
                    Next::Row { number, row } => SourceEvent::Call(number, row),
                    Next::Missed(rows) => SourceEvent::Missed(rows),
                }
            }
            Self::Errors(errors) => {
                let (subscriber, filter, search) = &mut **errors;
                let of_key = |row: &ErrorLogRow| match (&search, &row.key) {
                    (Some(search), Some(key)) => search.finds(key),
                    (Some(_), None) => false,
                    (None, _) => true,
                };
                match subscriber.next(|row| of_key(row) && filter.matches(row)).await {
                    Next::Row { number, row } => SourceEvent::ErrorLog(number, row),
                    Next::Missed(rows) => SourceEvent::Missed(rows),
                }
            }
            Self::Diagnoses(changes) => {
                changes.next().await.map_or_else(SourceEvent::Failed, SourceEvent::Diagnosis)
            }
        }
    }
}

/// Receives the event source. It is in the data of a request that starts a subscription.
#[derive(Clone, Default)]
pub struct SourceSlot(Arc<Mutex<Option<EventSource>>>);

impl SourceSlot {
    pub fn take(&self) -> Option<EventSource> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Stores the event source.
    pub fn put(&self, source: EventSource) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
    }
}
