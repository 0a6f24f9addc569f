//! Dispatches the batches of the DataLoader once the request can make no other progress. A timer would
//! either delay a small query or split a batch. Here the task of the request drives its batches: keys
//! that can be loaded together share one batch, and no query waits for a timer.

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

/// The pending batches of one request, spawned by the DataLoader.
#[derive(Clone, Default)]
pub struct Batches(Arc<Inner>);

#[derive(Default)]
struct Inner {
    pending: Mutex<Vec<FutureObj<'static, ()>>>,
    held: AtomicUsize,
}

/// Delays the batches while a list is read: its items will load more keys.
pub struct BatchHold(Arc<Inner>);

impl Batches {
    pub fn hold(&self) -> BatchHold {
        self.0.held.fetch_add(1, Ordering::Relaxed);
        BatchHold(self.0.clone())
    }

    /// Runs a request. Whenever it waits, runs the pending batches.
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
                // The request yielded: it is polled again at once and may load more keys.
                if signal.woken.load(Ordering::Acquire) {
                    return Poll::Pending;
                }
                if self.0.held.load(Ordering::Relaxed) == 0 {
                    let mut pending = self.0.pending.lock().unwrap_or_else(PoisonError::into_inner);
                    running.extend(pending.drain(..));
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

impl Drop for BatchHold {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Spawn for Batches {
    fn spawn_obj(&self, batch: FutureObj<'static, ()>) -> Result<(), SpawnError> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
        Ok(())
    }
}

/// Records whether the request was woken and wakes the task.
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

/// The DataLoader spawns batches without a delay; [`Batches`] decides when they run.
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
    async fn keys_that_can_be_loaded_together_are_one_batch() {
        assert_eq!(batch_sizes(false).await, [2, 1]);
    }

    #[tokio::test]
    async fn a_batch_waits_for_a_list_that_is_being_read() {
        assert_eq!(batch_sizes(true).await, [3]);
    }
}
