//! Work that must end in time. Other than with tokio's `timeout` a timer is made only where the work has
//! to wait, which most of it never does; and it stands apart, since a future that holds one is large
//! and aligned to 128 bytes, and is moved and allocated by every request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// Ends with `work`, or once `deadline` has come. Work that is `!Unpin` is given as `pin!(work)`.
pub fn within<F: Future + Unpin>(deadline: Instant, work: F) -> Within<F> {
    Within { work, deadline, timer: None }
}

/// The work did not end in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late;

/// Made by [`within`].
pub struct Within<F> {
    work: F,
    deadline: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<F: Future + Unpin> Future for Within<F> {
    type Output = Result<F::Output, Late>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let within = &mut *self;
        if let Poll::Ready(done) = Pin::new(&mut within.work).poll(context) {
            return Poll::Ready(Ok(done));
        }
        let deadline = within.deadline;
        let timer = within.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(Late))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::time::Duration;

    use tokio::time::sleep;

    use super::*;

    #[tokio::test]
    async fn work_ends_in_time_or_is_late() {
        let (begin, patience) = (Instant::now(), Duration::from_millis(20));
        assert_eq!(within(begin + patience, pending::<()>()).await, Err(Late));
        assert!(begin.elapsed() >= patience);
        // What is ready is taken, however late it is.
        assert_eq!(within(begin, ready(1)).await, Ok(1));
        let later = begin + Duration::from_secs(60);
        assert_eq!(within(later, pin!(sleep(patience))).await, Ok(()));
    }
}
