//! The bytes of a WebSocket that wait for the end of their message. A client that has not sent
//! `connection_init` may send few, and no long frame: the WebSocket reserves memory for a whole frame
//! when its header arrives. Later they count as the body of a request does.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::Message;

use super::super::share::Share;

/// What a client may send before its `connection_init` is accepted, in all.
pub(super) const BEFORE_INIT: usize = 16 << 10;

/// What is read at a time, so that little is read ahead of a message that is complete.
const READ_BYTES: usize = 4 << 10;

/// What a frame of a client has before its payload, if that is short: a header and a mask.
const SHORT_HEAD: usize = 6;

/// A stream whose incoming bytes are counted.
pub(super) struct Metered<S> {
    /// None once it was taken over.
    stream: Option<S>,
    /// Bytes that the WebSocket was not given yet. Before the initialisation it gets one at a time, and so
    /// holds none behind a message when it is replaced by one without these limits.
    ahead: BytesMut,
    /// The memory for the message that is being read, in KiB.
    room: Share,
    /// Bytes that were read since the last whole message.
    unread: usize,
    /// What may still come before the initialisation.
    left: Option<usize>,
}

/// Why no more is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("too many bytes before connection_init")]
    BeforeInit,
    #[error("no memory for a message")]
    NoRoom,
}

impl Refused {
    /// The reason where it is one of these.
    pub fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl<S> Metered<S> {
    pub fn new(stream: S, room: Share) -> Self {
        let (stream, ahead) = (Some(stream), BytesMut::new());
        Self { stream, ahead, room, unread: 0, left: Some(BEFORE_INIT) }
    }

    /// The stream of a client that is known: its bytes count against `room`, the share of its token or
    /// address.
    pub fn take_over(&mut self, room: Share) -> Self {
        let (stream, ahead) = (self.stream.take(), std::mem::take(&mut self.ahead));
        let unread = ahead.len();
        Self { stream, ahead, room, unread, left: None }
    }

    /// A message came whole. Control frames come between the parts of another message, which still
    /// waits.
    pub fn release(&mut self, message: &Message) {
        self.unread = match message {
            Message::Text(_) | Message::Binary(_) => 0,
            control => self.unread.saturating_sub(SHORT_HEAD + control.len()),
        };
        // A share that shrinks is never refused.
        let _ = self.room.resize(self.unread.div_ceil(1024));
    }

    /// The stream itself, for bytes that are thrown away.
    pub fn inner_mut(&mut self) -> io::Result<&mut S> {
        self.stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    fn take(&mut self, bytes: usize) -> Result<(), Refused> {
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(bytes).ok_or(Refused::BeforeInit)?;
        }
        self.unread += bytes;
        self.room.resize(self.unread.div_ceil(1024)).map_err(|_| Refused::NoRoom)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            let mut part = [0; READ_BYTES];
            let mut part = ReadBuf::new(&mut part);
            ready!(Pin::new(self.inner_mut()?).poll_read(cx, &mut part))?;
            self.take(part.filled().len()).map_err(io::Error::other)?;
            self.ahead = BytesMut::from(part.filled());
        }
        let most = if self.left.is_some() { 1 } else { buffer.remaining() };
        let most = most.min(self.ahead.len());
        buffer.put_slice(&self.ahead.split_to(most));
        if self.ahead.is_empty() {
            self.ahead = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
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
