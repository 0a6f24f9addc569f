//! One WebSocket connection. A single task reads, executes and writes in turn: while the client does not
//! read, no events are produced, and a write that exceeds its timeout ends the connection.

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
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::close::CloseReason;
use super::credentials::authenticate;
use super::message::{self, Id, Incoming};
use super::metered::{MAX_BEFORE_INIT, MeteredStream};
use super::operation::{Operation, OperationMessage, Stage};
use crate::domain::json::{MAX_VALUES, count_values};
use crate::error::Error;
use crate::http::context::RequestContext;
use crate::http::graphql::read::GraphqlRequest;
use crate::http::graphql::respond::error_response;
use crate::http::middleware::request_log::SocketStatus;
use crate::http::outcome::OperationStatus;
use crate::http::server::slots::ConnectionGuard;
use crate::http::state::AppState;
use crate::observe::RequestMarks;

type Socket = WebSocketStream<MeteredStream<TokioIo<Upgraded>>>;
type Operations = SelectAll<Abortable<BoxStream<'static, (Id, OperationMessage)>>>;

/// The buffer grows for longer messages. The default is 128 KiB per connection.
const READ_BUFFER: usize = 4 * 1024;
/// The same before `connection_init`, while bytes are read one by one and the buffer is cleared for each.
const READ_BUFFER_BEFORE_INIT: usize = 128;
/// Longest interval between two pings.
const PING: Duration = Duration::from_secs(20);
/// Limit of operations that wait for their first response; no message is read while it is reached.
const MAX_STARTING: usize = 32;
/// Time for a client to read and answer the close frame.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A close frame without a code (RFC 6455).
const NO_CODE: u16 = 1005;

pub(super) struct Connection {
    socket: Socket,
    state: AppState,
    context: RequestContext,
    status: Arc<SocketStatus>,
    operations: Operations,
    /// The operations that are not complete.
    open: HashMap<Id, OpenOperation>,
    start_permits: Arc<Semaphore>,
    operation_count: u64,
}

struct OpenOperation {
    status: Arc<OperationStatus>,
    abort: AbortHandle,
}

impl Connection {
    pub fn new(
        socket: Socket,
        state: AppState,
        context: RequestContext,
        status: Arc<SocketStatus>,
    ) -> Self {
        Self {
            socket,
            state,
            context,
            status,
            operations: Operations::new(),
            open: HashMap::new(),
            start_permits: Arc::new(Semaphore::new(MAX_STARTING)),
            operation_count: 0,
        }
    }

    /// Serves until the connection is closed or the server drops it.
    pub async fn serve(mut self, has_protocol: bool, guard: ConnectionGuard) {
        let serving = async {
            let reason = match has_protocol {
                true => match self.run().await {
                    Ok(never) => match never {},
                    Err(reason) => reason,
                },
                false => CloseReason::Subprotocol,
            };
            self.close(reason).await;
        };
        tokio::select! {
            () = serving => {}
            () = guard.terminated() => {}
        }
    }

    async fn run(&mut self) -> Result<Infallible, CloseReason> {
        self.initialise().await?;
        let mut stopped = pin!(self.state.stopped());
        let mut credentials = self.state.credential_checks.watch(self.context.proof.as_ref());
        let interval = PING.min(self.state.client_timeout);
        let mut pings = interval_at(Instant::now() + interval, interval);
        let mut is_alive = true;
        loop {
            tokio::select! {
                biased;
                () = &mut stopped => return Err(CloseReason::GoingAway),
                _ = credentials.revoked() => return self.reject_credentials().await,
                _ = pings.tick() => {
                    if !is_alive {
                        return Err(CloseReason::ByClient(None));
                    }
                    // Pongs are not read while all start permits are taken.
                    is_alive = self.start_permits.available_permits() == 0;
                    self.send(Message::Ping(Bytes::new())).await?;
                }
                received = receive(&mut self.socket, &self.start_permits) => {
                    is_alive = true;
                    let (message, permit) = received?;
                    if let Some(message) = message {
                        self.handle(message, permit).await?;
                    }
                }
                Some((id, message)) = self.operations.next(), if !self.operations.is_empty() => {
                    self.send_operation_message(id, message).await?;
                }
            }
        }
    }

    /// Waits for `connection_init`, authenticates the client and acknowledges it.
    async fn initialise(&mut self) -> Result<(), CloseReason> {
        let mut stopped = pin!(self.state.stopped());
        let deadline = Instant::now() + self.state.client_timeout;
        loop {
            let received = tokio::select! {
                biased;
                () = &mut stopped => return Err(CloseReason::GoingAway),
                () = sleep_until(deadline) => return Err(CloseReason::InitTimeout),
                received = receive(&mut self.socket, &self.start_permits) => received?.0,
            };
            match received {
                Some(Incoming::ConnectionInit(payload)) => {
                    self.context = authenticate(&self.state, &self.context, &payload).await?;
                    let memory = self.state.read.memory.share(self.context.client());
                    // Sends a pong that may be buffered.
                    self.socket.flush().await.map_err(|error| CloseReason::of(&error))?;
                    let stream = self.socket.get_mut().take_authenticated(memory);
                    let message_bytes = self.state.read.body_bytes;
                    self.socket = with_limits(stream, message_bytes, READ_BUFFER).await;
                    return self.send_text(message::ack()).await;
                }
                Some(Incoming::Subscribe(..)) => return Err(CloseReason::Unauthorized),
                Some(Incoming::Ping(payload)) => self.send_text(message::pong(payload)).await?,
                Some(Incoming::Pong | Incoming::Complete(_)) | None => {}
            }
        }
    }

    async fn handle(
        &mut self,
        message: Incoming,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), CloseReason> {
        match message {
            Incoming::ConnectionInit(_) => Err(CloseReason::TooManyInits),
            Incoming::Ping(payload) => self.send_text(message::pong(payload)).await,
            Incoming::Pong => Ok(()),
            Incoming::Subscribe(id, _) if self.open.contains_key(&id) => {
                Err(CloseReason::Exists(id))
            }
            Incoming::Subscribe(id, request) => {
                self.start(id, request, permit);
                Ok(())
            }
            Incoming::Complete(id) => {
                if let Some(operation) = self.open.remove(&id) {
                    operation.status.complete();
                    operation.abort.abort();
                }
                Ok(())
            }
        }
    }

    /// Starts an operation. It has its own request id, prefixed with the id of the connection.
    fn start(&mut self, id: Id, request: Box<GraphqlRequest>, permit: OwnedSemaphorePermit) {
        self.operation_count += 1;
        let mut context = self.context.clone();
        context.id = format!("{}.{}", self.context.id, self.operation_count).into();
        let marks = Arc::new(RequestMarks::new(Arc::clone(&context.id)));
        context.mark(&marks);
        let status = Arc::new(OperationStatus::default());
        let operation = Operation {
            state: self.state.clone(),
            context,
            line: self.status.operation(&marks, &status),
            marks,
            status: Arc::clone(&status),
            stage: Stage::Received(request, permit),
        };
        let (abort, registration) = AbortHandle::new_pair();
        let stream_id = id.clone();
        let messages = operation.into_stream().map(move |message| (stream_id.clone(), message));
        self.operations.push(Abortable::new(messages.boxed(), registration));
        self.open.insert(id, OpenOperation { status, abort });
    }

    /// Sends a message of an operation, unless the client has completed the operation.
    async fn send_operation_message(
        &mut self,
        id: Id,
        message: OperationMessage,
    ) -> Result<(), CloseReason> {
        if !self.open.contains_key(&id) {
            return Ok(());
        }
        if !matches!(message, OperationMessage::Next(_)) {
            self.open.remove(&id);
        }
        match message {
            OperationMessage::Next(json) => self.send_text(message::next(&id, &json)).await,
            OperationMessage::Complete => self.send_text(message::complete(&id)).await,
            OperationMessage::Error(errors) => self.send_text(message::error(&id, &errors)).await,
            OperationMessage::Unauthenticated(errors) => {
                self.send_text(message::error(&id, &errors)).await?;
                self.reject_credentials().await
            }
        }
    }

    /// Ends all operations with an error: the credentials were revoked.
    async fn reject_credentials<T>(&mut self) -> Result<T, CloseReason> {
        let response = error_response(&Error::Unauthenticated);
        let errors = json!(response.errors);
        for (id, operation) in std::mem::take(&mut self.open) {
            operation.status.add_codes(&response);
            operation.status.complete();
            self.send_text(message::error(&id, &errors)).await?;
        }
        Err(CloseReason::Forbidden)
    }

    async fn send_text(&mut self, text: String) -> Result<(), CloseReason> {
        self.send(Message::Text(text.into())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), CloseReason> {
        let mut stopped = pin!(self.state.stopped());
        tokio::select! {
            sent = self.socket.send(message) => sent.map_err(|error| CloseReason::of(&error)),
            () = &mut stopped => Err(CloseReason::GoingAway),
        }
    }

    async fn close(&mut self, reason: CloseReason) {
        let frame = reason.frame();
        match (&reason, &frame) {
            (CloseReason::ByClient(code), _) => self.status.closed(*code),
            (_, frame) => self.status.closed(frame.as_ref().map(|frame| frame.code.into())),
        }
        if matches!(reason, CloseReason::GoingAway) {
            self.open.values().for_each(|operation| operation.status.complete());
        }
        self.open.clear();
        self.operations.clear();
        if matches!(reason, CloseReason::ByClient(None)) {
            return;
        }
        let handshake = async {
            if let Some(frame) = frame {
                self.socket.send(Message::Close(Some(frame))).await.ok();
            }
            while let Some(Ok(_)) = self.socket.next().await {}
            // A client that is still writing would lose the frame if the connection was closed here.
            let mut rest = [0; 4096];
            let Ok(stream) = self.socket.get_mut().inner_mut() else { return };
            while matches!(stream.read(&mut rest).await, Ok(1..)) {}
        };
        let _ = timeout(CLOSE_TIMEOUT, handshake).await;
    }
}

/// A WebSocket with the limits before `connection_init`.
pub(super) async fn open(stream: MeteredStream<TokioIo<Upgraded>>) -> Socket {
    with_limits(stream, MAX_BEFORE_INIT, READ_BUFFER_BEFORE_INIT).await
}

async fn with_limits(
    stream: MeteredStream<TokioIo<Upgraded>>,
    message_bytes: usize,
    read_buffer: usize,
) -> Socket {
    let config = WebSocketConfig::default()
        .read_buffer_size(read_buffer)
        .write_buffer_size(0)
        .max_message_size(Some(message_bytes))
        .max_frame_size(Some(message_bytes));
    WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await
}

/// Receives a frame: the message, if it is one, and a permit for the operation that the message may start.
async fn receive(
    socket: &mut Socket,
    start_permits: &Arc<Semaphore>,
) -> Result<(Option<Incoming>, OwnedSemaphorePermit), CloseReason> {
    let permit = Arc::clone(start_permits).acquire_owned().await;
    let permit = permit.map_err(|_| CloseReason::GoingAway)?;
    let message = match socket.next().await {
        Some(Ok(message)) => {
            socket.get_mut().release(&message);
            message
        }
        Some(Err(error)) => return Err(CloseReason::of(&error)),
        None => return Err(CloseReason::ByClient(None)),
    };
    let message = match message {
        Message::Text(text) if count_values(text.as_bytes()) > MAX_VALUES => {
            return Err(CloseReason::TooLarge);
        }
        Message::Text(text) => Some(Incoming::parse(text.as_str()).ok_or(CloseReason::Invalid)?),
        Message::Binary(_) => return Err(CloseReason::Invalid),
        Message::Close(frame) => {
            let code = frame.map_or(NO_CODE, |frame| frame.code.into());
            return Err(CloseReason::ByClient(Some(code)));
        }
        _ => None,
    };
    Ok((message, permit))
}
