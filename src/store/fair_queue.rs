//! Decides which waiting statement gets the next free connection.
//!
//! Each caller has a share. The next connection goes to the caller with the fewest running statements,
//! then to the one that used the least database time lately. Heavy statements never take the last
//! connection, so that cheap ones always find one that becomes free soon. Statements of the server itself
//! (tails, jobs, token look-ups) go first.

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sea_orm::{ConnAcquireErr, DbErr};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout_at;

/// A budget that was used up is full again after this time.
const PERIOD: Duration = Duration::from_secs(60);

/// Shares of idle callers are removed once there are this many shares.
const TIDY_ABOVE: usize = 256;

/// The caller that a statement is charged to; none for the server itself.
pub(super) type CallerName = Option<Arc<str>>;

/// A statement that needs a connection.
#[derive(Debug, Default)]
pub(super) struct Claim {
    pub caller: CallerName,
    /// It belongs to a request that reads many rows.
    pub heavy: bool,
    /// One of the connections that its request may hold; released with the permit.
    pub of_request: Option<OwnedSemaphorePermit>,
}

/// Why a statement got no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueueError {
    Closed,
    Timeout,
}

#[derive(Debug)]
pub(super) struct FairQueue {
    /// Connections that heavy statements may hold together.
    most_heavy: usize,
    /// How much longer a second of database time takes to be paid back.
    price: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    closed: bool,
    free: usize,
    /// Connections that heavy statements hold.
    heavy: usize,
    arrivals: u64,
    shares: HashMap<CallerName, Share>,
}

#[derive(Debug)]
struct Share {
    running: usize,
    light: VecDeque<Waiting>,
    heavy: VecDeque<Waiting>,
    /// When the database time that the caller used is paid back.
    paid_at: Instant,
}

#[derive(Debug)]
struct Waiting {
    arrival: u64,
    claim: Claim,
    grant: oneshot::Sender<Permit>,
}

/// The right to use one connection, released on drop.
#[derive(Debug)]
pub(super) struct Permit {
    queue: Arc<FairQueue>,
    claim: Claim,
    started: Instant,
}

impl From<QueueError> for DbErr {
    fn from(reason: QueueError) -> Self {
        Self::ConnectionAcquire(match reason {
            QueueError::Closed => ConnAcquireErr::ConnectionClosed,
            QueueError::Timeout => ConnAcquireErr::Timeout,
        })
    }
}

impl Permit {
    /// Lets the request of the statement hold another connection, although this one is still in use.
    pub(super) fn leave_request(&mut self) {
        self.claim.of_request = None;
    }
}

impl FairQueue {
    /// For so many `connections`; each caller may use `seconds_per_minute` of database time before its
    /// statements yield to those of other callers. 0 is no budget.
    pub(super) fn new(connections: usize, most_heavy: usize, seconds_per_minute: u32) -> Arc<Self> {
        let price = match seconds_per_minute {
            0 => 0.0,
            seconds => PERIOD.as_secs_f64() / f64::from(seconds),
        };
        let state = State {
            closed: false,
            free: connections,
            heavy: 0,
            arrivals: 0,
            shares: HashMap::new(),
        };
        Arc::new(Self { most_heavy, price, state: Mutex::new(state) })
    }

    /// Waits for a connection until `deadline`.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        claim: Claim,
        deadline: tokio::time::Instant,
    ) -> Result<Permit, QueueError> {
        let caller = claim.caller.clone();
        let granted = self.enqueue(claim).ok_or(QueueError::Closed)?;
        self.dispatch();
        let mut waiter = Waiter { queue: self, caller, granted, left_queue: false };
        match timeout_at(deadline, &mut waiter.granted).await {
            Ok(granted) => {
                waiter.left_queue = true;
                granted.map_err(|_| QueueError::Closed)
            }
            Err(_) => Err(QueueError::Timeout),
        }
    }

    /// Grants nothing from now on, and refuses the statements that wait.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        let waiting: Vec<Waiting> =
            state.shares.values_mut().flat_map(Share::take_waiting).collect();
        drop(state);
        drop(waiting);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enqueue(&self, claim: Claim) -> Option<oneshot::Receiver<Permit>> {
        let (grant, granted) = oneshot::channel();
        let mut state = self.state();
        if state.closed {
            return None;
        }
        let now = Instant::now();
        if state.shares.len() > TIDY_ABOVE {
            state.shares.retain(|_, share| !share.is_idle(now));
        }
        state.arrivals += 1;
        let arrival = state.arrivals;
        let share = state.shares.entry(claim.caller.clone()).or_insert_with(|| Share::new(now));
        let queue = if claim.heavy { &mut share.heavy } else { &mut share.light };
        queue.push_back(Waiting { arrival, claim, grant });
        Some(granted)
    }

    /// Gives free connections to the statements that are next.
    fn dispatch(self: &Arc<Self>) {
        loop {
            // The lock ends with this statement: a grant that is returned takes it again.
            let next = self.state().next(self.most_heavy, Instant::now());
            let Some(Waiting { claim, grant, .. }) = next else { return };
            let permit = Permit { queue: Arc::clone(self), claim, started: Instant::now() };
            // A statement that was cancelled drops its permit, which releases it.
            drop(grant.send(permit));
        }
    }

    fn give_back(self: &Arc<Self>, claim: Claim, used: Duration) {
        let mut state = self.state();
        state.free += 1;
        if claim.heavy {
            state.heavy -= 1;
        }
        if let Some(share) = state.shares.get_mut(&claim.caller) {
            share.running -= 1;
            // The server itself has no budget.
            if claim.caller.is_some() {
                share.paid_at = share.paid_at.max(Instant::now()) + used.mul_f64(self.price);
            }
        }
        drop(state);
        self.dispatch();
    }
}

impl State {
    /// Takes the statement that is next out of its queue, and a connection for it.
    fn next(&mut self, most_heavy: usize, now: Instant) -> Option<Waiting> {
        if self.free == 0 {
            return None;
        }
        let heavy_fits = self.heavy < most_heavy;
        let candidates = self.shares.iter_mut().filter_map(|(caller, share)| {
            let rank = share.rank(heavy_fits, now)?;
            Some(((caller.is_some(), rank), share))
        });
        let (_, share) = candidates.min_by_key(|(rank, _)| *rank)?;
        let waiting = match share.light.pop_front() {
            Some(waiting) => waiting,
            None => share.heavy.pop_front()?,
        };
        share.running += 1;
        self.free -= 1;
        self.heavy += usize::from(waiting.claim.heavy);
        Some(waiting)
    }
}

/// The order of callers: the least is next. Over its budget, running statements, debt, arrival.
type Rank = (bool, usize, Instant, u64);

impl Share {
    fn new(now: Instant) -> Self {
        Self { running: 0, light: VecDeque::new(), heavy: VecDeque::new(), paid_at: now }
    }

    /// None where nothing of this caller may run now.
    fn rank(&self, heavy_fits: bool, now: Instant) -> Option<Rank> {
        let over_budget = self.paid_at > now + PERIOD;
        if over_budget && self.running > 0 {
            return None;
        }
        let heavy = self.heavy.front().filter(|_| heavy_fits);
        let first = self.light.front().or(heavy)?;
        Some((over_budget, self.running, self.paid_at.max(now), first.arrival))
    }

    fn is_idle(&self, now: Instant) -> bool {
        let waits = !self.light.is_empty() || !self.heavy.is_empty();
        self.running == 0 && !waits && self.paid_at <= now
    }

    fn take_waiting(&mut self) -> impl Iterator<Item = Waiting> {
        mem::take(&mut self.light).into_iter().chain(mem::take(&mut self.heavy))
    }
}

/// A statement that waits. Dropped, it leaves the queue.
struct Waiter<'a> {
    queue: &'a Arc<FairQueue>,
    caller: CallerName,
    granted: oneshot::Receiver<Permit>,
    left_queue: bool,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        if self.left_queue {
            return;
        }
        self.granted.close();
        let mut state = self.queue.state();
        if let Some(share) = state.shares.get_mut(&self.caller) {
            share.light.retain(|waiting| !waiting.grant.is_closed());
            share.heavy.retain(|waiting| !waiting.grant.is_closed());
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let claim = mem::take(&mut self.claim);
        self.queue.give_back(claim, self.started.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use futures_util::future::BoxFuture;

    use super::*;

    fn claim(caller: &str, heavy: bool) -> Claim {
        let caller = (!caller.is_empty()).then(|| caller.into());
        Claim { caller, heavy, of_request: None }
    }

    /// A statement that waits for a connection.
    struct PendingPermit(BoxFuture<'static, Result<Permit, QueueError>>);

    impl PendingPermit {
        fn new(queue: &Arc<FairQueue>, claim: Claim) -> Self {
            let queue = Arc::clone(queue);
            let deadline = tokio::time::Instant::now() + Duration::from_secs(3600);
            let mut pending = Self(Box::pin(async move { queue.acquire(claim, deadline).await }));
            assert!(pending.granted().is_none_or(|_| false), "no connection is free");
            pending
        }

        fn granted(&mut self) -> Option<Permit> {
            match self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(permit) => Some(permit.unwrap()),
                Poll::Pending => None,
            }
        }
    }

    async fn take(queue: &Arc<FairQueue>, caller: &str, heavy: bool) -> Permit {
        queue.acquire(claim(caller, heavy), tokio::time::Instant::now()).await.unwrap()
    }

    #[tokio::test]
    async fn heavy_statements_leave_a_connection() {
        let queue = FairQueue::new(3, 2, 0);
        let _heavy = [take(&queue, "a", true).await, take(&queue, "b", true).await];
        let mut third = PendingPermit::new(&queue, claim("c", true));
        let cheap = take(&queue, "d", false).await;
        drop(cheap);
        assert!(third.granted().is_none(), "the free connection is for cheap statements");
        let [first, _second] = _heavy;
        drop(first);
        assert!(third.granted().is_some());
    }

    #[tokio::test]
    async fn connections_alternate_between_callers() {
        let queue = FairQueue::new(1, 1, 0);
        let running = take(&queue, "greedy", true).await;
        let mut greedy: Vec<_> =
            (0..50).map(|_| PendingPermit::new(&queue, claim("greedy", true))).collect();
        let mut modest = PendingPermit::new(&queue, claim("modest", true));
        let mut own = PendingPermit::new(&queue, claim("", false));
        drop(running);
        let of_server = own.granted().expect("the server itself goes first");
        drop(of_server);
        // Of two callers without a running statement, the first to arrive is next.
        let first = greedy[0].granted().expect("it arrived first");
        assert!(modest.granted().is_none());
        drop(first);
        assert!(greedy[1].granted().is_some() || modest.granted().is_some());
    }

    #[tokio::test]
    async fn a_caller_with_a_running_statement_yields() {
        let queue = FairQueue::new(2, 2, 0);
        let _running = take(&queue, "greedy", false).await;
        let other = take(&queue, "other", false).await;
        let mut greedy = PendingPermit::new(&queue, claim("greedy", false));
        let mut modest = PendingPermit::new(&queue, claim("modest", false));
        drop(other);
        assert!(modest.granted().is_some());
        assert!(greedy.granted().is_some(), "the connection is free again");
    }

    #[tokio::test]
    async fn used_database_time_is_a_debt() {
        let queue = FairQueue::new(1, 1, 1);
        let mut running = take(&queue, "greedy", false).await;
        running.started = running.started.checked_sub(Duration::from_secs(2)).unwrap();
        let mut greedy = [0, 1].map(|_| PendingPermit::new(&queue, claim("greedy", false)));
        let mut modest = PendingPermit::new(&queue, claim("modest", false));
        drop(running);
        let permit = modest.granted().expect("the caller without debt is next");
        drop(permit);
        let permit = greedy[0].granted().expect("without other callers a debt causes no delay");
        drop(permit);
        assert!(greedy[1].granted().is_some());
    }

    #[tokio::test]
    async fn a_caller_over_its_budget_has_one_connection() {
        let queue = FairQueue::new(2, 2, 1);
        let mut permit = take(&queue, "greedy", false).await;
        permit.started = permit.started.checked_sub(Duration::from_secs(2)).unwrap();
        drop(permit);
        let first = take(&queue, "greedy", false).await;
        let mut second = PendingPermit::new(&queue, claim("greedy", false));
        assert!(second.granted().is_none());
        let _modest = take(&queue, "modest", false).await;
        drop(first);
        assert!(second.granted().is_some());
    }

    #[tokio::test]
    async fn a_cancelled_statement_leaves_the_queue() {
        let queue = FairQueue::new(1, 1, 0);
        let running = take(&queue, "a", false).await;
        let given_up = PendingPermit::new(&queue, claim("b", false));
        let mut next = PendingPermit::new(&queue, claim("c", false));
        drop(given_up);
        assert!(queue.state().shares[&Some("b".into())].light.is_empty());
        drop(running);
        drop(next.granted().expect("the next one gets the connection"));
        assert_eq!(queue.state().free, 1);
        // A permit that is never received is released.
        let running = take(&queue, "a", false).await;
        let unseen = PendingPermit::new(&queue, claim("b", false));
        drop(running);
        assert_eq!(queue.state().free, 0);
        drop(unseen);
        assert_eq!(queue.state().free, 1);
    }

    #[tokio::test]
    async fn a_closed_queue_grants_nothing() {
        let queue = FairQueue::new(1, 1, 0);
        let running = take(&queue, "a", false).await;
        let waiting = queue.acquire(claim("b", false), tokio::time::Instant::now() + PERIOD);
        let close = async { queue.close() };
        let (refused, ()) = tokio::join!(waiting, close);
        assert_eq!(refused.unwrap_err(), QueueError::Closed);
        drop(running);
        let refused = queue.acquire(claim("b", false), tokio::time::Instant::now()).await;
        assert_eq!(refused.unwrap_err(), QueueError::Closed);
    }

    #[tokio::test]
    async fn shares_of_idle_callers_are_removed() {
        let queue = FairQueue::new(1, 1, 0);
        for caller in 0..10 * TIDY_ABOVE {
            drop(take(&queue, &caller.to_string(), false).await);
        }
        assert!(queue.state().shares.len() <= TIDY_ABOVE + 1);
    }
}
