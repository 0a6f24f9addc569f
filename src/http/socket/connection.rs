//! One connection: its beginning, its operations and its end. One task reads, answers and writes, in
//! turn: while the client takes nothing nothing is produced, and a write that waits too long ends it.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable};
use futures_util::stream::{BoxStream, SelectAll};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::super::context::RequestContext;
use super::super::following::OperationEnd;
use super::super::lease::Lease;
use super::super::read::Asked;
use super::super::request_log::SocketEnd;
use super::super::respond::failed;
use super::super::router::AppState;
use super::close::Close;
use super::credentials::identify;
use super::message::{self, Id, Incoming};
use super::operation::{Operation, Stage, Told};
use crate::domain::json::{MAX_VALUES, count_values};
use crate::error::Error;
use crate::observe::RequestMarks;

type Socket = WebSocketStream<TokioIo<Upgraded>>;
type Operations = SelectAll<Abortable<BoxStream<'static, (Id, Told)>>>;

/// The longest time between two looks whether the client is still there.
const PING: Duration = Duration::from_secs(20);
/// Operations that wait for their first answer; no more is read while there are so many.
const MAX_WAITING: usize = 32;
/// What a client is given to take the close frame and to answer it.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Stands for a close frame without a code.
const NO_CODE: u16 = 1005;

pub(super) struct Connection {
    socket: Socket,
    state: AppState,
    context: RequestContext,
    end: Arc<SocketEnd>,
    operations: Operations,
    /// Those of them that the client may complete.
    open: HashMap<Id, Open>,
    turns: Arc<Semaphore>,
    begun: u64,
}

struct Open {
    end: Arc<OperationEnd>,
    abort: AbortHandle,
}

impl Connection {
    pub fn new(
        socket: Socket,
        state: AppState,
        context: RequestContext,
        end: Arc<SocketEnd>,
    ) -> Self {
        Self {
            socket,
            state,
            context,
            end,
            operations: Operations::new(),
            open: HashMap::new(),
            turns: Arc::new(Semaphore::new(MAX_WAITING)),
            begun: 0,
        }
    }

    /// To the end of the connection, or until the server gives it up.
    pub async fn serve(mut self, is_spoken: bool, lease: Lease) {
        let serving = async {
            let close = match is_spoken {
                true => match self.run().await {
                    Ok(never) => match never {},
                    Err(close) => close,
                },
                false => Close::Subprotocol,
            };
            self.close(close).await;
        };
        tokio::select! {
            () = serving => {}
            () = lease.terminated() => {}
        }
    }

    async fn run(&mut self) -> Result<Infallible, Close> {
        self.initialise().await?;
        let mut stopped = pin!(self.state.stopped());
        let mut caller = self.state.callers.watch(self.context.proof.as_ref());
        let beat = PING.min(self.state.client_timeout);
        let mut beats = interval_at(Instant::now() + beat, beat);
        let mut was_heard = true;
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => return Err(Close::GoingAway),
                _ = caller.ended() => return self.forbid().await,
                _ = beats.tick() => {
                    if !was_heard {
                        return Err(Close::ByClient(None));
                    }
                    // Nobody is heard while nothing is read.
                    was_heard = self.turns.available_permits() == 0;
                    self.send(Message::Ping(Bytes::new())).await?;
                }
                received = receive(&mut self.socket, &self.turns) => {
                    was_heard = true;
                    let (message, turn) = received?;
                    if let Some(message) = message {
                        self.take(message, turn).await?;
                    }
                }
                Some((id, told)) = self.operations.next(), if !self.operations.is_empty() => {
                    self.tell(id, told).await?;
                }
            }
        }
    }

    /// Waits for `connection_init` and answers it.
    async fn initialise(&mut self) -> Result<(), Close> {
        let mut stopped = pin!(self.state.stopped());
        let deadline = Instant::now() + self.state.client_timeout;
        loop {
            let received = tokio::select! {
                biased;
                () = &mut stopped => return Err(Close::GoingAway),
                () = sleep_until(deadline) => return Err(Close::InitTimeout),
                received = receive(&mut self.socket, &self.turns) => received?.0,
            };
            match received {
                Some(Incoming::ConnectionInit(payload)) => {
                    let known = identify(&self.state, &self.context, &payload).await;
                    self.context = known.ok_or(Close::Forbidden)?;
                    return self.send_text(message::ack()).await;
                }
                Some(Incoming::Subscribe(..)) => return Err(Close::Unauthorized),
                Some(Incoming::Ping(payload)) => self.send_text(message::pong(payload)).await?,
                Some(Incoming::Pong | Incoming::Complete(_)) | None => {}
            }
        }
    }

    async fn take(&mut self, message: Incoming, turn: OwnedSemaphorePermit) -> Result<(), Close> {
        match message {
            Incoming::ConnectionInit(_) => Err(Close::TooManyInits),
            Incoming::Ping(payload) => self.send_text(message::pong(payload)).await,
            Incoming::Pong => Ok(()),
            Incoming::Subscribe(id, _) if self.open.contains_key(&id) => Err(Close::Exists(id)),
            Incoming::Subscribe(id, asked) => {
                self.begin(id, asked, turn);
                Ok(())
            }
            Incoming::Complete(id) => {
                if let Some(open) = self.open.remove(&id) {
                    open.end.complete();
                    open.abort.abort();
                }
                Ok(())
            }
        }
    }

    /// An operation is a request of its own, with an id that begins with the connection's.
    fn begin(&mut self, id: Id, asked: Box<Asked>, turn: OwnedSemaphorePermit) {
        self.begun += 1;
        let mut context = self.context.clone();
        context.id = format!("{}.{}", self.context.id, self.begun).into();
        let marks = Arc::new(RequestMarks::new(Arc::clone(&context.id)));
        context.mark(&marks);
        let end = Arc::new(OperationEnd::default());
        let operation = Operation {
            state: self.state.clone(),
            context,
            line: self.end.operation(&marks, &end),
            marks,
            end: Arc::clone(&end),
            stage: Stage::Asked(asked, turn),
        };
        let (abort, registration) = AbortHandle::new_pair();
        let named = id.clone();
        let told = operation.into_stream().map(move |told| (named.clone(), told)).boxed();
        self.operations.push(Abortable::new(told, registration));
        self.open.insert(id, Open { end, abort });
    }

    /// What an operation tells, unless its client completed it meanwhile.
    async fn tell(&mut self, id: Id, told: Told) -> Result<(), Close> {
        if !self.open.contains_key(&id) {
            return Ok(());
        }
        if !matches!(told, Told::Next(_)) {
            self.open.remove(&id);
        }
        match told {
            Told::Next(json) => self.send_text(message::next(&id, &json)).await,
            Told::Complete => self.send_text(message::complete(&id)).await,
            Told::Error(errors) => self.send_text(message::error(&id, &errors)).await,
            Told::Unauthenticated(errors) => {
                self.send_text(message::error(&id, &errors)).await?;
                self.forbid().await
            }
        }
    }

    /// The caller may not ask any more: each operation is told so.
    async fn forbid<T>(&mut self) -> Result<T, Close> {
        let response = failed(&Error::Unauthenticated);
        let errors = json!(response.errors);
        for (id, open) in std::mem::take(&mut self.open) {
            open.end.add_codes(&response);
            open.end.complete();
            self.send_text(message::error(&id, &errors)).await?;
        }
        Err(Close::Forbidden)
    }

    async fn send_text(&mut self, text: String) -> Result<(), Close> {
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Close> {
        let mut stopped = pin!(self.state.stopped());
        tokio::select! {
            sent = self.socket.send(message) => sent.map_err(|error| Close::of(&error)),
            () = &mut stopped => Err(Close::GoingAway),
        }
    }

    async fn close(&mut self, close: Close) {
        let frame = close.frame();
        match (&close, &frame) {
            (Close::ByClient(code), _) => self.end.closed(*code),
            (_, frame) => self.end.closed(frame.as_ref().map(|frame| frame.code.into())),
        }
        if matches!(close, Close::GoingAway) {
            self.open.values().for_each(|open| open.end.complete());
        }
        self.open.clear();
        self.operations.clear();
        if matches!(close, Close::ByClient(None)) {
            return;
        }
        let ending = async {
            if let Some(frame) = frame {
                self.socket.send(Message::Close(Some(frame))).await.ok();
            }
            while let Some(Ok(_)) = self.socket.next().await {}
            // A client that is still writing would lose the frame if the connection were cut here.
            let mut rest = [0; 4096];
            while matches!(self.socket.get_mut().read(&mut rest).await, Ok(1..)) {}
        };
        // Whoever takes longer is cut.
        let _ = timeout(LAST_WORDS, ending).await;
    }
}

/// The next message, with the turn of the operation that it may begin; none where there was a frame
/// that is no message.
async fn receive(
    socket: &mut Socket,
    turns: &Arc<Semaphore>,
) -> Result<(Option<Incoming>, OwnedSemaphorePermit), Close> {
    let turn = Arc::clone(turns).acquire_owned().await.map_err(|_| Close::GoingAway)?;
    let message = match socket.next().await {
        Some(Ok(Message::Text(text))) if count_values(text.as_bytes()) > MAX_VALUES => {
            return Err(Close::TooLarge);
        }
        Some(Ok(Message::Text(text))) => {
            Some(Incoming::parse(text.as_str()).ok_or(Close::Invalid)?)
        }
        Some(Ok(Message::Binary(_))) => return Err(Close::Invalid),
        Some(Ok(Message::Close(frame))) => {
            let code = frame.map_or(NO_CODE, |frame| frame.code.into());
            return Err(Close::ByClient(Some(code)));
        }
        Some(Ok(_)) => None,
        Some(Err(error)) => return Err(Close::of(&error)),
        None => return Err(Close::ByClient(None)),
    };
    Ok((message, turn))
}
