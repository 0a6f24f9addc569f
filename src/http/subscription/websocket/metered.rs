//! Counts the buffered bytes of incomplete WebSocket messages. Before `connection_init` a client may send
//! few bytes and no long frame, since the WebSocket reserves memory for a frame when its header arrives.
//! After it the bytes count against the memory of request bodies.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::Message;

use crate::http::middleware::fair_share::Share;

/// Limit of all bytes before `connection_init` is accepted.
pub(super) const MAX_BEFORE_INIT: usize = 16 << 10;

/// Bytes per read; small, to read little beyond a complete message.
const READ_BYTES: usize = 4 << 10;

/// Length of header and mask of a short frame from a client.
const SHORT_HEAD: usize = 6;

/// A stream that counts its incoming bytes.
pub(super) struct MeteredStream<S> {
    /// `None` after [`Self::take_authenticated`].
    stream: Option<S>,
    /// Bytes that were read but not yet passed to the WebSocket. Before `connection_init` it gets one byte
    /// at a time, so that it has no bytes after the message when it is replaced.
    buffer: BytesMut,
    /// Memory of the message that is being read, in KiB.
    memory: Share,
    /// Bytes read since the last complete message.
    pending: usize,
    /// Bytes left before `connection_init`.
    left: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MeterError {
    #[error("too many bytes before connection_init")]
    BeforeInit,
    #[error("no memory for a message")]
    NoMemory,
}

impl MeterError {
    /// The cause of an I/O error, if it is one of these.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl<S> MeteredStream<S> {
    pub fn new(stream: S, memory: Share) -> Self {
        let (stream, buffer) = (Some(stream), BytesMut::new());
        Self { stream, buffer, memory, pending: 0, left: Some(MAX_BEFORE_INIT) }
    }

    /// The stream of an authenticated client; its bytes count against the client's `memory`.
    pub fn take_authenticated(&mut self, memory: Share) -> Self {
        let (stream, buffer) = (self.stream.take(), std::mem::take(&mut self.buffer));
        let pending = buffer.len();
        Self { stream, buffer, memory, pending, left: None }
    }

    /// Releases the memory of a complete message. Control frames arrive between the frames of another
    /// message, which is still incomplete.
    pub fn release(&mut self, message: &Message) {
        self.pending = match message {
            Message::Text(_) | Message::Binary(_) => 0,
            control => self.pending.saturating_sub(SHORT_HEAD + control.len()),
        };
        // Shrinking never fails.
        let _ = self.memory.resize(self.pending.div_ceil(1024));
    }

    /// The inner stream, to discard bytes.
    pub fn inner_mut(&mut self) -> io::Result<&mut S> {
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn count(&mut self, bytes: usize) -> Result<(), MeterError> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(bytes).ok_or(MeterError::BeforeInit)?;
        }
        self.pending += bytes;
        self.memory.resize(self.pending.div_ceil(1024)).map_err(|_| MeterError::NoMemory)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for MeteredStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            let mut part = [0; READ_BYTES];
            let mut part = ReadBuf::new(&mut part);
            ready!(Pin::new(self.inner_mut()?).poll_read(cx, &mut part))?;
            self.count(part.filled().len()).map_err(io::Error::other)?;
            self.buffer = BytesMut::from(part.filled());
        }
        let limit = if self.left.is_some() { 1 } else { buffer.remaining() };
        let length = limit.min(self.buffer.len());
        buffer.put_slice(&self.buffer.split_to(length));
        if self.buffer.is_empty() {
            // Frees the memory of an idle connection.
            self.buffer = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for MeteredStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.inner_mut()?).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.inner_mut()?).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.inner_mut()?).poll_shutdown(cx)
    }
}
