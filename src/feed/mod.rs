//! What is handed to those who follow a table: its latest rows, kept once for all of them. Each follower
//! has its own place among them, and one that reads too slowly is told how many rows it missed. Where
//! the rows come from is no concern of this module; `jobs::tail` brings them.

mod ring;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

pub use self::ring::Next;
use self::ring::Ring;
use crate::error::{Error, Result};
use crate::observe::Observer;
use crate::store::call::CallRow;
use crate::store::error_log::ErrorLogRow;

/// The feeds of both tables.
#[derive(Clone)]
pub struct Feeds {
    pub calls: Arc<Feed<CallRow>>,
    pub errors: Arc<Feed<ErrorLogRow>>,
}

/// Waits for the number of the next row that is to come, once all that was stored before is known.
pub type Beginning = oneshot::Sender<Result<u64>>;

/// The latest rows of a table, numbered as they came.
pub struct Feed<T> {
    table: &'static str,
    ring: RwLock<Ring<T>>,
    /// The number of the next row.
    head: watch::Sender<u64>,
    followers: AtomicUsize,
    beginnings: UnboundedSender<Beginning>,
    observer: Arc<Observer>,
}

impl<T: Send + Sync + 'static> Feed<T> {
    /// A feed that keeps the last `most` rows of a table, and those who want to begin to follow it.
    pub fn new(
        table: &'static str,
        most: usize,
        observer: Arc<Observer>,
    ) -> (Arc<Self>, UnboundedReceiver<Beginning>) {
        let (beginnings, begun) = unbounded_channel();
        let feed = Self {
            table,
            ring: RwLock::new(Ring::new(most)),
            head: watch::Sender::new(0),
            followers: AtomicUsize::new(0),
            beginnings,
            observer,
        };
        (Arc::new(feed), begun)
    }

    /// Begins to follow: every row that is stored from now on, and none that was stored before.
    pub async fn follow(self: &Arc<Self>) -> Result<Follower<T>> {
        let stopped = || Error::internal("nothing reads the table any more");
        self.followers.fetch_add(1, Ordering::Relaxed);
        let place = Place(Arc::clone(self));
        let head = self.head.subscribe();
        let (beginning, begun) = oneshot::channel();
        self.beginnings.send(beginning).map_err(|_| stopped())?;
        let at = begun.await.map_err(|_| stopped())??;
        Ok(Follower { place, head, at })
    }

    /// Adds rows at the end.
    pub fn push(&self, rows: impl IntoIterator<Item = T>) {
        let next = {
            let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
            rows.into_iter().for_each(|row| ring.push(row));
            ring.next()
        };
        self.head.send_if_modified(|head| std::mem::replace(head, next) != next);
    }

    /// The number of the next row.
    pub fn head(&self) -> u64 {
        *self.head.borrow()
    }

    pub fn has_followers(&self) -> bool {
        self.followers.load(Ordering::Relaxed) > 0
    }

    /// Frees the rows and reports a missed one to each subscriber: an unknown number of rows was lost.
    pub fn lose(&self) {
        let next = {
            let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
            ring.lose();
            ring.next()
        };
        self.head.send_replace(next);
    }

    /// Frees the rows, which nobody follows.
    pub fn clear(&self) {
        self.ring.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Counts one follower until it is dropped.
struct Place<T>(Arc<Feed<T>>);

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        self.0.followers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One who follows a table.
pub struct Follower<T> {
    place: Place<T>,
    head: watch::Receiver<u64>,
    /// The number of the row that is looked at next.
    at: u64,
}

impl<T> Follower<T> {
    /// Waits for the next row that `wanted` takes, or for word of those that were missed. A future
    /// that is dropped loses none.
    pub async fn next(&mut self, wanted: impl Fn(&T) -> bool) -> Next<T> {
        loop {
            self.head.borrow_and_update();
            if let Some(next) = self.look(&wanted) {
                return next;
            }
            if self.head.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn look(&mut self, wanted: &impl Fn(&T) -> bool) -> Option<Next<T>> {
        let feed = &self.place.0;
        let next = {
            let ring = feed.ring.read().unwrap_or_else(PoisonError::into_inner);
            ring.find(&mut self.at, wanted)
        };
        if let Some(Next::Missed(rows)) = &next {
            feed.observer.metrics.tail.missed(feed.table, *rows);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn follower(
        feed: &Arc<Feed<u32>>,
        begun: &mut UnboundedReceiver<Beginning>,
    ) -> Follower<u32> {
        let begin = async { begun.recv().await.unwrap().send(Ok(feed.head())).unwrap() };
        futures_util::join!(feed.follow(), begin).0.unwrap()
    }

    fn row(next: Next<u32>) -> Option<u32> {
        match next {
            Next::Row { row, .. } => Some(*row),
            Next::Missed(_) => None,
        }
    }

    #[tokio::test]
    async fn each_follower_has_its_own_place() {
        let (feed, mut begun) = Feed::new("rows", 4, Arc::default());
        feed.push([1]);
        let mut first = follower(&feed, &mut begun).await;
        feed.push([2, 3]);
        let mut second = follower(&feed, &mut begun).await;
        feed.push([4]);
        assert_eq!(row(first.next(|_| true).await), Some(2));
        assert_eq!(row(second.next(|_| true).await), Some(4));
        assert_eq!(row(first.next(|row| row % 2 == 0).await), Some(4));
        assert!(feed.has_followers());
        drop((first, second));
        assert!(!feed.has_followers());
    }

    #[tokio::test]
    async fn a_follower_is_told_of_lost_rows() {
        let (feed, mut begun) = Feed::new("rows", 4, Arc::default());
        let mut follower = follower(&feed, &mut begun).await;
        feed.lose();
        assert!(matches!(follower.next(|_| true).await, Next::Missed(1)));
        feed.push([1]);
        assert_eq!(row(follower.next(|_| true).await), Some(1));
    }

    #[tokio::test]
    async fn a_slow_follower_is_told_and_goes_on_with_the_present() {
        let (feed, mut begun) = Feed::new("rows", 4, Arc::default());
        let (mut slow, mut fast) =
            (follower(&feed, &mut begun).await, follower(&feed, &mut begun).await);
        for number in 0..6 {
            feed.push([number]);
            assert_eq!(row(fast.next(|_| true).await), Some(number));
        }
        assert!(matches!(slow.next(|_| true).await, Next::Missed(6)));
        feed.push([6]);
        assert_eq!(row(slow.next(|_| true).await), Some(6));
    }
}
