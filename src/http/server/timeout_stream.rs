//! A connection's stream with a write timeout and a lingering close, which hyper does not have.
//!
//! Write timeout: an unread response would stay in memory as long as the connection lives. Lingering close:
//! the rest of a rejected body is discarded before the connection is closed. Otherwise the unread bytes
//! cause a TCP reset, and a client that writes its whole body before it reads loses the response.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use super::activity::Activity;

/// Limits of the lingering close.
const LINGER_BYTES: usize = 8 << 20;
const LINGER: Duration = Duration::from_secs(5);
const LINGER_BUFFER: usize = 16 << 10;

/// A stream with a write timeout and a lingering close.
pub(crate) struct TimeoutStream<S> {
    stream: S,
    write_timeout: Duration,
    /// Runs while a write is pending.
    timer: Option<Pin<Box<Sleep>>>,
    activity: Arc<Activity>,
    linger_permits: Arc<Semaphore>,
    shutdown: Shutdown,
}

enum Shutdown {
    Open,
    Lingering(Linger),
    Closed,
}

/// Discards the rest of a body.
struct Linger {
    timer: Pin<Box<Sleep>>,
    bytes_left: usize,
    _permit: OwnedSemaphorePermit,
}

impl<S> TimeoutStream<S> {
    /// The close lingers if `activity` has an unread body and a permit is free.
    pub fn new(
        stream: S,
        write_timeout: Duration,
        activity: Arc<Activity>,
        linger_permits: Arc<Semaphore>,
    ) -> Self {
        let shutdown = Shutdown::Open;
        Self { stream, write_timeout, timer: None, activity, linger_permits, shutdown }
    }

    /// Adds the timeout to the result of a write.
    fn with_timeout<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.write_timeout)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TimeoutStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TimeoutStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.with_timeout(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.with_timeout(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.with_timeout(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &mut *self;
        if matches!(stream.shutdown, Shutdown::Open) {
            ready!(Pin::new(&mut stream.stream).poll_shutdown(cx))?;
            let permit = Arc::clone(&stream.linger_permits).try_acquire_owned();
            stream.shutdown = match permit.ok().filter(|_| stream.activity.is_unread()) {
                Some(permit) => Shutdown::Lingering(Linger::new(permit)),
                None => Shutdown::Closed,
            };
        }
        if let Shutdown::Lingering(linger) = &mut stream.shutdown {
            ready!(linger.poll_discard(&mut stream.stream, cx));
            stream.shutdown = Shutdown::Closed;
        }
        Poll::Ready(Ok(()))
    }
}

impl Linger {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        Self { timer: Box::pin(sleep(LINGER)), bytes_left: LINGER_BYTES, _permit: permit }
    }

    /// Discards until the stream ends or a limit is reached.
    fn poll_discard(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut bytes = [0; LINGER_BUFFER];
        while self.bytes_left > 0 && self.timer.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => break,
            }
            self.bytes_left = self.bytes_left.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(())
    }
}
