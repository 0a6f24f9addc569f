//! The tails of the two tables: one each for the whole server, while somebody follows it. A tail looks
//! for rows by the clock, since other programs write them; at once when this server has committed some,
//! or another one of the same PostgreSQL tells that it has.

mod gaps;
mod neighbours;
mod pace;
mod seen;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use self::neighbours::Neighbours;
use self::pace::Pace;
use self::walk::Walk;
use crate::config::ServerConfig;
use crate::error::{Error, Result};
use crate::feed::{Beginning, Feed, Feeds};
use crate::observe::Observer;
use crate::observe::redact::without_values;
use crate::store::Database;
use crate::store::call::CallRow;
use crate::store::error_log::ErrorLogRow;
use crate::store::tail::Tailed;
use crate::supervisor::{Job, supervise};

/// How long a table is read on after its last follower has gone: others often come at once.
const LINGER: Duration = Duration::from_secs(10);
/// Between two looks, however often somebody commits.
const PAUSE: Duration = Duration::from_millis(5);

/// The tails of both tables.
pub struct Tails {
    calls: Tail<CallRow>,
    errors: Tail<ErrorLogRow>,
    neighbours: Neighbours,
    active: watch::Sender<u32>,
}

impl Tails {
    /// The feeds, and what brings their rows once it runs.
    pub fn new(
        db: &Arc<Database>,
        config: &ServerConfig,
        observer: &Arc<Observer>,
    ) -> (Feeds, Self) {
        let (active, heard) = (watch::Sender::new(0), watch::Sender::new(()));
        let shared = Shared {
            db: db.clone(),
            observer: observer.clone(),
            longest: Duration::from_millis(config.follow_poll_ms),
            active: active.clone(),
            heard: heard.clone(),
        };
        let most = config.follow_rows as usize;
        let (calls, followers) = Feed::new(CallRow::TABLE, most, observer.clone());
        let call_tail = Tail::new("call_tail", calls.clone(), followers, shared.clone());
        let (errors, followers) = Feed::new(ErrorLogRow::TABLE, most, observer.clone());
        let error_tail = Tail::new("error_log_tail", errors.clone(), followers, shared);
        let neighbours = Neighbours { db: db.clone(), observer: observer.clone(), heard };
        let tails = Self { calls: call_tail, errors: error_tail, neighbours, active };
        (Feeds { calls, errors }, tails)
    }

    /// Reads whatever is followed until the server stops.
    pub async fn run(self, stopping: watch::Receiver<bool>) {
        let Self { mut calls, mut errors, neighbours, active } = self;
        let observer = calls.shared.observer.clone();
        (calls.stopping, errors.stopping) = (Some(stopping.clone()), Some(stopping));
        let tails = async {
            futures_util::join!(supervise(observer.clone(), calls), supervise(observer, errors))
        };
        tokio::select! {
            _ = tails => {}
            () = neighbours.run(active.subscribe()) => {}
        }
    }
}

#[derive(Clone)]
struct Shared {
    db: Arc<Database>,
    observer: Arc<Observer>,
    /// The longest time between two looks.
    longest: Duration,
    /// Counts the tables that are followed.
    active: watch::Sender<u32>,
    /// Changes whenever another server told of rows.
    heard: watch::Sender<()>,
}

/// The tail of one table.
struct Tail<T> {
    name: &'static str,
    feed: Arc<Feed<T>>,
    followers: UnboundedReceiver<Beginning>,
    shared: Shared,
    /// Becomes true when the server stops.
    stopping: Option<watch::Receiver<bool>>,
    /// Still true when it starts after a panic: what it had read is lost.
    is_reading: bool,
}

/// Why a tail reads no further.
#[derive(PartialEq)]
enum End {
    Stopping,
    NobodyFollows,
}

impl<T: Tailed> Job for Tail<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn run(&mut self) {
        // Without a receiver nothing stops it.
        let Some(mut stopping) = self.stopping.clone() else { return };
        loop {
            let mut first = None;
            if self.is_reading {
                self.feed.lose();
            } else {
                first = tokio::select! {
                    // An error: the sender is gone, and so is the server.
                    _ = stopping.wait_for(|stopping| *stopping) => return,
                    first = self.followers.recv() => first,
                };
                if first.is_none() {
                    return;
                }
                self.is_reading = true;
                self.shared.active.send_modify(|active| *active += 1);
            }
            let end = self.follow(first, &mut stopping).await;
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
        followers: UnboundedReceiver<Beginning>,
        shared: Shared,
    ) -> Self {
        Self { name, feed, followers, shared, stopping: None, is_reading: false }
    }

    async fn follow(
        &mut self,
        first: Option<Beginning>,
        stopping: &mut watch::Receiver<bool>,
    ) -> End {
        let mut commits = self.shared.db.commits();
        let mut heard = self.shared.heard.subscribe();
        let mut waiting: Vec<Beginning> = first.into_iter().collect();
        let mut pace = Pace::new(self.shared.longest);
        let (mut walk, mut rows) = (None, 0);
        loop {
            if *stopping.borrow() {
                return End::Stopping;
            }
            // Whatever comes from here on may be too late for this look.
            commits.borrow_and_update();
            heard.borrow_and_update();
            waiting.extend(std::iter::from_fn(|| self.followers.try_recv().ok()));
            match self.look(&mut walk).await {
                // Those who begin wait for the end of what was there before.
                Ok(look) if look.more => {
                    rows += look.rows;
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(look) => {
                    if pace.found(std::mem::take(&mut rows) + look.rows) {
                        tracing::info!(table = T::TABLE, "a table that is followed is read again");
                    }
                    let head = self.feed.head();
                    // One who does not wait any more has gone.
                    waiting.drain(..).for_each(|begun| drop(begun.send(Ok(head))));
                }
                Err(error) => {
                    self.shared.observer.metrics.tail.failed(T::TABLE);
                    if pace.failed() {
                        tell_failure(T::TABLE, &error);
                    }
                    waiting.drain(..).for_each(|begun| drop(begun.send(Err(error.clone()))));
                }
            }
            let followed = self.feed.has_followers();
            let due = walk.as_ref().and_then(Walk::next_due);
            let Some(next) = pace.next(Instant::now(), followed, due) else {
                return End::NobodyFollows;
            };
            sleep(PAUSE).await;
            tokio::select! {
                _ = stopping.wait_for(|stopping| *stopping) => return End::Stopping,
                () = sleep_until(next) => {}
                _ = commits.changed() => {}
                _ = heard.changed() => {}
                begun = self.followers.recv() => waiting.extend(begun),
            }
        }
    }

    /// Looks for rows and hands on what it finds; an error leaves the place where it was.
    async fn look(&self, walk: &mut Option<Walk>) -> Result<Look> {
        let Some(walk) = walk else {
            *walk = Some(Walk::begin::<T>(self.shared.db.clone(), Instant::now()).await?);
            return Ok(Look { rows: 0, more: false });
        };
        let late = self.hand_on(walk.late(Instant::now()).await?);
        let ahead = walk.ahead(Instant::now()).await?;
        let look = Look { rows: late + self.hand_on(ahead.rows), more: ahead.more };
        let (gaps, dropped) = walk.gaps();
        let metrics = &self.shared.observer.metrics.tail;
        metrics.set_gaps(T::TABLE, gaps);
        if dropped > 0 {
            metrics.dropped_gaps(T::TABLE, dropped);
        }
        Ok(look)
    }

    fn hand_on(&self, rows: Vec<T>) -> usize {
        let count = rows.len();
        if count > 0 {
            self.shared.observer.metrics.tail.found(T::TABLE, count);
            self.feed.push(rows);
        }
        count
    }
}

/// What came of a look.
struct Look {
    rows: usize,
    more: bool,
}

fn tell_failure(table: &str, error: &Error) {
    let source = std::error::Error::source(error).map(|source| without_values(&source));
    tracing::warn!(table, %error, source, "a table that is followed cannot be read; trying on");
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

    /// The rows of a table of its own, whose next reading may panic.
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
    async fn a_tail_that_panics_tells_its_followers_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&format!("sqlite://{}", folder.path().join("t.db").display()));
        let db = Arc::new(Database::open(&config).await.unwrap());
        let observer: Arc<Observer> = Arc::default();
        let (feed, followers) = Feed::<Row>::new(Row::TABLE, 10, observer.clone());
        let shared = Shared {
            db,
            observer: observer.clone(),
            longest: Duration::from_millis(50),
            active: watch::Sender::new(0),
            heard: watch::Sender::new(()),
        };
        let active = shared.active.subscribe();
        let mut tail = Tail::new("tail", feed.clone(), followers, shared);
        let stop = watch::Sender::new(false);
        tail.stopping = Some(stop.subscribe());
        let running = tokio::spawn(supervise(observer.clone(), tail));
        let mut follower = feed.follow().await.unwrap();
        PANICS.store(true, Ordering::Relaxed);
        // Of what it may have read before, nothing else is known.
        assert!(matches!(follower.next(|_| true).await, Next::Missed(1)));
        ROWS.lock().unwrap().push(7);
        assert!(matches!(follower.next(|_| true).await, Next::Row { row, .. } if row.0 == 7));
        assert_eq!(*active.borrow(), 1);
        stop.send_replace(true);
        running.await.unwrap();
        assert_eq!(*active.borrow(), 0);
    }
}
