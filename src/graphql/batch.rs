//! When the batches of the DataLoader go out: at the moment at which the request can do nothing
//! else. A timer would either delay a small query or split a batch; here the request's own task
//! drives its batches, so that all that a request can ask for together is asked for together, and
//! a query that has nothing to wait for waits for nothing.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use async_graphql::runtime::Timer;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::task::{AtomicWaker, FutureObj, Spawn, SpawnError};

/// The batches of one request that are due: what the DataLoader spawns.
#[derive(Clone, Default)]
pub struct Batches(Arc<Inner>);

#[derive(Default)]
struct Inner {
    due: Mutex<Vec<FutureObj<'static, ()>>>,
    held: AtomicUsize,
}

/// Keeps the batches back while a list is being read whose items will ask for more.
pub struct Hold(Arc<Inner>);

impl Batches {
    pub fn hold(&self) -> Hold {
        self.0.held.fetch_add(1, Ordering::Relaxed);
        Hold(self.0.clone())
    }

    /// Runs a request and, whenever it waits, the batches that are due.
    pub async fn run<T>(&self, request: impl Future<Output = T>) -> T {
        let mut request = pin!(request);
        let mut running = FuturesUnordered::new();
        let signal = Arc::new(Signal::default());
        let waker = Waker::from(signal.clone());
        poll_fn(|context| {
            signal.task.register(context.waker());
            loop {
                signal.woken.store(false, Ordering::Release);
                let mut request_context = std::task::Context::from_waker(&waker);
                if let Poll::Ready(output) = request.as_mut().poll(&mut request_context) {
                    return Poll::Ready(output);
                }
                // It only paused: it will be polled again at once, and may ask for more.
                if signal.woken.load(Ordering::Acquire) {
                    return Poll::Pending;
                }
                if self.0.held.load(Ordering::Relaxed) == 0 {
                    let mut due = self.0.due.lock().unwrap_or_else(PoisonError::into_inner);
                    running.extend(due.drain(..));
                }
                let mut answered = false;
                while let Poll::Ready(Some(())) = running.poll_next_unpin(context) {
                    answered = true;
                }
                if !answered {
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Spawn for Batches {
    fn spawn_obj(&self, batch: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.0.due.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
        Ok(())
    }
}

/// Tells whether the request asked to be polled again, and passes it on.
#[derive(Default)]
struct Signal {
    woken: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

/// [`Batches`] know when; the DataLoader need not wait.
pub struct NoDelay;

impl Timer for NoDelay {
    fn delay(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn batch_sizes(holding: bool) -> Vec<usize> {
        let batches = Batches::default();
        let (asked, sizes) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(vec![])));
        let ask = async |slow: bool| {
            let hold = holding.then(|| batches.hold());
            if slow {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            drop(hold);
            let (tx, rx) = tokio::sync::oneshot::channel();
            asked.fetch_add(1, Ordering::Relaxed);
            let (asked, sizes) = (asked.clone(), sizes.clone());
            let answer = async move {
                let size = asked.swap(0, Ordering::Relaxed);
                sizes.lock().unwrap().push(size);
                tx.send(()).unwrap();
            };
            batches.spawn_obj(FutureObj::new(Box::new(answer))).unwrap();
            rx.await.unwrap();
        };
        batches.run(async { futures_util::join!(ask(false), ask(true), ask(false)) }).await;
        sizes.lock().unwrap().iter().copied().filter(|size| *size > 0).collect()
    }

    #[tokio::test]
    async fn what_can_be_asked_together_is_one_batch() {
        assert_eq!(batch_sizes(false).await, [2, 1]);
    }

    #[tokio::test]
    async fn a_list_that_is_being_read_holds_the_batch_back() {
        assert_eq!(batch_sizes(true).await, [3]);
    }
}
