//! Ring buffer of the latest rows of a table, shared by all subscribers. Each subscriber has its own
//! read position; a slow subscriber is informed how many rows it missed. `jobs::tail` adds the rows.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};

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

/// Receives the number of the next row, once the tail has read all rows that were stored before.
pub type SubscribeRequest = oneshot::Sender<Result<u64>>;

/// The latest rows of a table, numbered in the order of their arrival.
pub struct Feed<T> {
    table: &'static str,
    ring: RwLock<Ring<T>>,
    /// The number of the next row.
    head: watch::Sender<u64>,
    subscribers: AtomicUsize,
    requests: UnboundedSender<SubscribeRequest>,
    observer: Arc<Observer>,
}

impl<T: Send + Sync + 'static> Feed<T> {
    /// Creates a feed that keeps the last `most` rows of a table, and the receiver of its subscribe
    /// requests.
    pub fn new(
        table: &'static str,
        most: usize,
        observer: Arc<Observer>,
    ) -> (Arc<Self>, UnboundedReceiver<SubscribeRequest>) {
        let (requests, receiver) = unbounded_channel();
        let feed = Self {
            table,
            ring: RwLock::new(Ring::new(most)),
            head: watch::Sender::new(0),
            subscribers: AtomicUsize::new(0),
            requests,
            observer,
        };
        (Arc::new(feed), receiver)
    }

    /// Subscribes to every row that is stored from now on, and to no earlier row.
    pub async fn subscribe(self: &Arc<Self>) -> Result<Subscriber<T>> {
        let stopped = || Error::internal("the tail of the table has stopped");
        self.subscribers.fetch_add(1, Ordering::Relaxed);
        let guard = SubscriberGuard(Arc::clone(self));
        let head = self.head.subscribe();
        let (request, reply) = oneshot::channel();
        self.requests.send(request).map_err(|_| stopped())?;
        let at = reply.await.map_err(|_| stopped())??;
        Ok(Subscriber { guard, head, at })
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

    pub fn has_subscribers(&self) -> bool {
        self.subscribers.load(Ordering::Relaxed) > 0
    }

    /// Drops all rows and reports one missed row to each subscriber: an unknown number of rows was lost.
    pub fn mark_lost(&self) {
        let next = {
            let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
            ring.mark_lost();
            ring.next()
        };
        self.head.send_replace(next);
    }

    /// Drops all rows once no subscriber is left.
    pub fn clear(&self) {
        self.ring.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Counts one subscriber until it is dropped.
struct SubscriberGuard<T>(Arc<Feed<T>>);

impl<T> Drop for SubscriberGuard<T> {
    fn drop(&mut self) {
        self.0.subscribers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One subscription to the rows of a table.
pub struct Subscriber<T> {
    guard: SubscriberGuard<T>,
    head: watch::Receiver<u64>,
    /// The number of the next row to read.
    at: u64,
}

impl<T> Subscriber<T> {
    /// Waits for the next row that `wanted` accepts, or for the number of missed rows. Cancellation
    /// safe: dropping the future loses no row.
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
        let feed = &self.guard.0;
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

/// The next item of a subscriber.
pub enum Next<T> {
    Row {
        number: u64,
        row: Arc<T>,
    },
    /// This many unread rows were overwritten, wanted or not. The subscriber continues with new rows.
    Missed(u64),
}

/// The last rows; their numbers never wrap around.
struct Ring<T> {
    rows: VecDeque<Arc<T>>,
    most: usize,
    next: u64,
}

impl<T> Ring<T> {
    fn new(most: usize) -> Self {
        Self { rows: VecDeque::new(), most, next: 0 }
    }

    fn push(&mut self, row: T) {
        if self.rows.len() >= self.most {
            self.rows.pop_front();
        }
        self.rows.push_back(Arc::new(row));
        self.next += 1;
    }

    /// The number of the next row.
    fn next(&self) -> u64 {
        self.next
    }

    fn clear(&mut self) {
        self.rows = VecDeque::new();
    }

    /// Counts one row as added and overwritten.
    fn mark_lost(&mut self) {
        self.clear();
        self.next += 1;
    }

    /// The first wanted row from number `at` on; moves `at` behind the last row read.
    fn find(&self, at: &mut u64, wanted: &impl Fn(&T) -> bool) -> Option<Next<T>> {
        let first = self.next - self.rows.len() as u64;
        if *at < first {
            let missed = self.next - *at;
            *at = self.next;
            return Some(Next::Missed(missed));
        }
        let offset = usize::try_from(*at - first).unwrap_or(usize::MAX);
        for row in self.rows.iter().skip(offset) {
            let number = *at;
            *at += 1;
            if wanted(row) {
                return Some(Next::Row { number, row: Arc::clone(row) });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn subscriber(
        feed: &Arc<Feed<u32>>,
        requests: &mut UnboundedReceiver<SubscribeRequest>,
    ) -> Subscriber<u32> {
        let accept = async { requests.recv().await.unwrap().send(Ok(feed.head())).unwrap() };
        futures_util::join!(feed.subscribe(), accept).0.unwrap()
    }

    fn row(next: Next<u32>) -> Option<u32> {
        match next {
            Next::Row { row, .. } => Some(*row),
            Next::Missed(_) => None,
        }
    }

    #[tokio::test]
    async fn each_subscriber_has_its_own_position() {
        let (feed, mut requests) = Feed::new("rows", 4, Arc::default());
        feed.push([1]);
        let mut first = subscriber(&feed, &mut requests).await;
        feed.push([2, 3]);
        let mut second = subscriber(&feed, &mut requests).await;
        feed.push([4]);
        assert_eq!(row(first.next(|_| true).await), Some(2));
        assert_eq!(row(second.next(|_| true).await), Some(4));
        assert_eq!(row(first.next(|row| row % 2 == 0).await), Some(4));
        assert!(feed.has_subscribers());
        drop((first, second));
        assert!(!feed.has_subscribers());
    }

    #[tokio::test]
    async fn lost_rows_are_reported_to_the_subscriber() {
        let (feed, mut requests) = Feed::new("rows", 4, Arc::default());
        let mut subscriber = subscriber(&feed, &mut requests).await;
        feed.mark_lost();
        assert!(matches!(subscriber.next(|_| true).await, Next::Missed(1)));
        feed.push([1]);
        assert_eq!(row(subscriber.next(|_| true).await), Some(1));
    }

    #[tokio::test]
    async fn a_slow_subscriber_misses_rows_and_continues_with_new_ones() {
        let (feed, mut requests) = Feed::new("rows", 4, Arc::default());
        let (mut slow, mut fast) =
            (subscriber(&feed, &mut requests).await, subscriber(&feed, &mut requests).await);
        for number in 0..6 {
            feed.push([number]);
            assert_eq!(row(fast.next(|_| true).await), Some(number));
        }
        assert!(matches!(slow.next(|_| true).await, Next::Missed(6)));
        feed.push([6]);
        assert_eq!(row(slow.next(|_| true).await), Some(6));
    }
}
