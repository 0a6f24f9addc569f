//! The tails of the two tables. A tail runs while its table has subscribers and serves all of them. It
//! polls for rows, since other programs write them too. It polls at once after a commit of this server,
//! or after a notification of another server of the same PostgreSQL database.

mod notifications;
mod poll_interval;
mod reader;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use self::notifications::Notifications;
use self::poll_interval::PollInterval;
use self::reader::TableReader;
use crate::config::ServerConfig;
use crate::error::{Error, Result};
use crate::feed::{Feed, Feeds, SubscribeRequest};
use crate::observe::Observer;
use crate::observe::redact::without_values;
use crate::store::Database;
use crate::store::call::CallRow;
use crate::store::error_log::ErrorLogRow;
use crate::store::tail::Tailed;
use crate::supervisor::{Job, supervise};

/// How long a table is polled after its last subscriber left: clients often reconnect at once.
const LINGER: Duration = Duration::from_secs(10);
/// The shortest pause between two polls, for any rate of commits.
const MIN_PAUSE: Duration = Duration::from_millis(5);

/// The tails of both tables.
pub struct Tails {
    calls: Tail<CallRow>,
    errors: Tail<ErrorLogRow>,
    notifications: Notifications,
    active: watch::Sender<u32>,
}

impl Tails {
    /// Creates the feeds and the tails that fill them.
    pub fn new(
        db: &Arc<Database>,
        config: &ServerConfig,
        observer: &Arc<Observer>,
    ) -> (Feeds, Self) {
        let (active, notified) = (watch::Sender::new(0), watch::Sender::new(()));
        let shared = Shared {
            db: db.clone(),
            observer: observer.clone(),
            max_interval: Duration::from_millis(config.follow_poll_ms),
            active: active.clone(),
            notified: notified.clone(),
        };
        let most = config.follow_rows as usize;
        let (calls, subscribers) = Feed::new(CallRow::TABLE, most, observer.clone());
        let call_tail = Tail::new("call_tail", calls.clone(), subscribers, shared.clone());
        let (errors, subscribers) = Feed::new(ErrorLogRow::TABLE, most, observer.clone());
        let error_tail = Tail::new("error_log_tail", errors.clone(), subscribers, shared);
        let notifications = Notifications { db: db.clone(), observer: observer.clone(), notified };
        let tails = Self { calls: call_tail, errors: error_tail, notifications, active };
        (Feeds { calls, errors }, tails)
    }

    /// Polls the tables that have subscribers until the server stops.
    pub async fn run(self, stopping: watch::Receiver<bool>) {
        let Self { mut calls, mut errors, notifications, active } = self;
        let observer = calls.shared.observer.clone();
        (calls.stopping, errors.stopping) = (Some(stopping.clone()), Some(stopping));
        let tails = async {
            futures_util::join!(supervise(observer.clone(), calls), supervise(observer, errors))
        };
        tokio::select! {
            _ = tails => {}
            () = notifications.run(active.subscribe()) => {}
        }
    }
}

#[derive(Clone)]
struct Shared {
    db: Arc<Database>,
    observer: Arc<Observer>,
    /// The longest time between two polls.
    max_interval: Duration,
    /// The number of tables with subscribers.
    active: watch::Sender<u32>,
    /// Changes with each notification of another server.
    notified: watch::Sender<()>,
}

/// The tail of one table.
struct Tail<T> {
    name: &'static str,
    feed: Arc<Feed<T>>,
    subscribers: UnboundedReceiver<SubscribeRequest>,
    shared: Shared,
    /// Becomes true when the server stops.
    stopping: Option<watch::Receiver<bool>>,
    /// True at a start after a panic: the rows read before are lost.
    is_reading: bool,
}

/// Why a tail stops polling.
#[derive(PartialEq)]
enum End {
    Stopping,
    NoSubscribers,
}

impl<T: Tailed> Job for Tail<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn run(&mut self) {
        // `Tails::run` sets the receiver.
        let Some(mut stopping) = self.stopping.clone() else { return };
        loop {
            let mut first = None;
            if self.is_reading {
                self.feed.mark_lost();
            } else {
                first = tokio::select! {
                    // An error means that the sender was dropped: the server has stopped.
                    _ = stopping.wait_for(|stopping| *stopping) => return,
                    first = self.subscribers.recv() => first,
                };
                if first.is_none() {
                    return;
                }
                self.is_reading = true;
                self.shared.active.send_modify(|active| *active += 1);
            }
            let end = self.run_while_subscribed(first, &mut stopping).await;
            self.is_reading = false;
            self.shared.active.send_modify(|active| *active -= 1);
            self.feed.clear();
            self.shared.observer.metrics.tail.set_gaps(T::TABLE, 0);
            if end == End::Stopping {
                return;
            }
        }
    }
}

impl<T: Tailed> Tail<T> {
    fn new(
        name: &'static str,
        feed: Arc<Feed<T>>,
        subscribers: UnboundedReceiver<SubscribeRequest>,
        shared: Shared,
    ) -> Self {
        Self { name, feed, subscribers, shared, stopping: None, is_reading: false }
    }

    async fn run_while_subscribed(
        &mut self,
        first: Option<SubscribeRequest>,
        stopping: &mut watch::Receiver<bool>,
    ) -> End {
        let mut commits = self.shared.db.commits();
        let mut notified = self.shared.notified.subscribe();
        let mut waiting: Vec<SubscribeRequest> = first.into_iter().collect();
        let mut poll_interval = PollInterval::new(self.shared.max_interval);
        let (mut reader, mut rows) = (None, 0);
        loop {
            if *stopping.borrow() {
                return End::Stopping;
            }
            // A change from here on triggers another poll.
            commits.borrow_and_update();
            notified.borrow_and_update();
            waiting.extend(std::iter::from_fn(|| self.subscribers.try_recv().ok()));
            match self.poll(&mut reader).await {
                // New subscribers wait until all earlier rows are read.
                Ok(polled) if polled.more => {
                    rows += polled.rows;
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(polled) => {
                    if poll_interval.succeeded(std::mem::take(&mut rows) + polled.rows) {
                        tracing::info!(table = T::TABLE, "tail read recovered");
                    }
                    let head = self.feed.head();
                    // A failed send means that the subscriber has left.
                    waiting.drain(..).for_each(|request| drop(request.send(Ok(head))));
                }
                Err(error) => {
                    self.shared.observer.metrics.tail.failed(T::TABLE);
                    if poll_interval.failed() {
                        log_failure(T::TABLE, &error);
                    }
                    waiting.drain(..).for_each(|request| drop(request.send(Err(error.clone()))));
                }
            }
            let has_subscribers = self.feed.has_subscribers();
            let due = reader.as_ref().and_then(TableReader::next_due);
            let Some(next) = poll_interval.next(Instant::now(), has_subscribers, due) else {
                return End::NoSubscribers;
            };
            sleep(MIN_PAUSE).await;
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return End::Stopping,
                () = sleep_until(next) => {}
                _ = commits.changed() => {}
                _ = notified.changed() => {}
                request = self.subscribers.recv() => waiting.extend(request),
            }
        }
    }

    /// Reads new rows and publishes them. An error leaves the read position unchanged.
    async fn poll(&self, reader: &mut Option<TableReader>) -> Result<PollResult> {
        let Some(reader) = reader else {
            *reader = Some(TableReader::start::<T>(self.shared.db.clone(), Instant::now()).await?);
            return Ok(PollResult { rows: 0, more: false });
        };
        let late = self.publish(reader.read_gaps(Instant::now()).await?);
        let new = reader.read_new(Instant::now()).await?;
        let result = PollResult { rows: late + self.publish(new.rows), more: new.more };
        let (gaps, dropped) = reader.gaps();
        let metrics = &self.shared.observer.metrics.tail;
        metrics.set_gaps(T::TABLE, gaps);
        if dropped > 0 {
            metrics.dropped_gaps(T::TABLE, dropped);
        }
        Ok(result)
    }

    fn publish(&self, rows: Vec<T>) -> usize {
        let count = rows.len();
        if count > 0 {
            self.shared.observer.metrics.tail.found(T::TABLE, count);
            self.feed.push(rows);
        }
        count
    }
}

/// The result of a poll.
struct PollResult {
    rows: usize,
    more: bool,
}

fn log_failure(table: &str, error: &Error) {
    let source = std::error::Error::source(error).map(|source| without_values(&source));
    tracing::warn!(table, %error, source, "tail read failed; retrying");
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, PoisonError};

    use clap::{Args, Command, FromArgMatches};
    use sea_orm::Order;
    use sea_orm::sea_query::Condition;

    use super::*;
    use crate::config::DatabaseConfig;
    use crate::feed::Next;

    /// The rows of a test table; the next read may panic.
    static ROWS: Mutex<Vec<i64>> = Mutex::new(vec![]);
    static PANICS: AtomicBool = AtomicBool::new(false);

    #[derive(Debug)]
    struct Row(i64);

    impl Tailed for Row {
        const TABLE: &'static str = "rows";

        fn id(&self) -> i64 {
            self.0
        }

        fn digest(&self) -> u64 {
            0
        }

        async fn read(_: &Database, _: Condition, _: Order, _: u64) -> Result<Vec<Self>> {
            assert!(!PANICS.swap(false, Ordering::Relaxed), "injected");
            let rows = ROWS.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(rows.iter().map(|id| Self(*id)).collect())
        }
    }

    fn config(url: &str) -> DatabaseConfig {
        let command = DatabaseConfig::augment_args(Command::new("test").no_binary_name(true));
        let found = command.try_get_matches_from(["--database-url", url]).unwrap();
        DatabaseConfig::from_arg_matches(&found).unwrap()
    }

    #[tokio::test]
    async fn a_tail_reports_lost_rows_after_a_panic_and_continues() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&format!("sqlite://{}", folder.path().join("t.db").display()));
        let db = Arc::new(Database::open(&config).await.unwrap());
        let observer: Arc<Observer> = Arc::default();
        let (feed, subscribers) = Feed::<Row>::new(Row::TABLE, 10, observer.clone());
        let shared = Shared {
            db,
            observer: observer.clone(),
            max_interval: Duration::from_millis(50),
            active: watch::Sender::new(0),
            notified: watch::Sender::new(()),
        };
        let active = shared.active.subscribe();
        let mut tail = Tail::new("tail", feed.clone(), subscribers, shared);
        let stop = watch::Sender::new(false);
        tail.stopping = Some(stop.subscribe());
        let running = tokio::spawn(supervise(observer.clone(), tail));
        let mut subscriber = feed.subscribe().await.unwrap();
        PANICS.store(true, Ordering::Relaxed);
        // How many rows it had read is unknown.
        assert!(matches!(subscriber.next(|_| true).await, Next::Missed(1)));
        ROWS.lock().unwrap().push(7);
        assert!(matches!(subscriber.next(|_| true).await, Next::Row { row, .. } if row.0 == 7));
        assert_eq!(*active.borrow(), 1);
        stop.send_replace(true);
        running.await.unwrap();
        assert_eq!(*active.borrow(), 0);
    }
}
