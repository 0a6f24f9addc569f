//! The stream of a connection, with what hyper does not do. A write that waits too long fails: an answer
//! that is not read would stay in memory for as long as the connection lives. And where the body of a
//! request was refused, the rest of it is discarded before the connection is closed: closing it with unread
//! bytes resets it, and a client that writes its whole body before it reads would lose the answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

use super::activity::Activity;

/// How much of a refused body is discarded, and for how long.
const LINGER_BYTES: usize = 8 << 20;
const LINGER: Duration = Duration::from_secs(5);
/// What is discarded at a time.
const DISCARDED: usize = 16 << 10;

/// A stream that fails once a write has waited for `limit`.
pub(super) struct Impatient<S> {
    stream: S,
    limit: Duration,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
    activity: Arc<Activity>,
    turns: Arc<Semaphore>,
    end: End,
}

/// How far the stream is closed.
enum End {
    Open,
    Lingering(Linger),
    Closed,
}

/// The rest of a body, which is discarded.
struct Linger {
    time: Pin<Box<Sleep>>,
    bytes_left: usize,
    _turn: OwnedSemaphorePermit,
}

impl<S> Impatient<S> {
    /// A body that `activity` says was left unread is discarded when the stream is closed, where there
    /// is a turn.
    pub fn new(stream: S, limit: Duration, activity: Arc<Activity>, turns: Arc<Semaphore>) -> Self {
        Self { stream, limit, waiting: None, activity, turns, end: End::Open }
    }

    /// What became of a write; an error where it has waited for too long.
    fn wait<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wait(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wait(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.wait(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = &mut *self;
        if matches!(stream.end, End::Open) {
            ready!(Pin::new(&mut stream.stream).poll_shutdown(cx))?;
            let turn = Arc::clone(&stream.turns).try_acquire_owned();
            stream.end = match turn.ok().filter(|_| stream.activity.is_unread()) {
                Some(turn) => End::Lingering(Linger::new(turn)),
                None => End::Closed,
            };
        }
        if let End::Lingering(linger) = &mut stream.end {
            ready!(linger.poll_discard(&mut stream.stream, cx));
            stream.end = End::Closed;
        }
        Poll::Ready(Ok(()))
    }
}

impl Linger {
    fn new(turn: OwnedSemaphorePermit) -> Self {
        Self { time: Box::pin(sleep(LINGER)), bytes_left: LINGER_BYTES, _turn: turn }
    }

    /// Ends with the stream, with its time, or with the bytes that are discarded.
    fn poll_discard(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut discarded = [0; DISCARDED];
        while self.bytes_left > 0 && self.time.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut discarded);
            match ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => break,
            }
            self.bytes_left = self.bytes_left.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(())
    }
}
