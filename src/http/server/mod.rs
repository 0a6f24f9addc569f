//! Accepts and serves connections, HTTP/1.1 and HTTP/2 on one port. `axum::serve` sets no timeouts and no
//! limits: clients that send a byte of their headers per minute would hold all file descriptors.

mod activity;
pub(crate) mod slots;
mod timeout_stream;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, Request, Response, Version};
use futures_util::{FutureExt, StreamExt};
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower_service::Service;

use activity::Activity;
use slots::{ConnectionGuard, ConnectionSlot, ConnectionSlots};
use timeout_stream::TimeoutStream;

/// Limit of a request head, which contains the query of a GET.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// Limit of concurrent requests of one HTTP/2 connection.
const MAX_STREAMS: u32 = 32;
/// Flow-control windows of HTTP/2, for one body and for all bodies of a connection: hyper buffers that much
/// before a body is read. The default of both is 1 MiB.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;
/// An unread HTTP/1.1 body up to this length does not close its connection.
const SHORT_BODY: u64 = 16 * 1024;
/// Idle connections to close together when the process has no file descriptor left.
const EVICTION_BATCH: usize = 32;
/// Limit of connections that discard the rest of a rejected body; others are closed at once.
const MAX_LINGERING: usize = 32;
/// Interval and timeout of HTTP/2 pings.
const PING: Duration = Duration::from_secs(20);
/// Delay after a failed `accept` (no file descriptors or memory).
const ACCEPT_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Time in which requests that are in transit at shutdown are still answered.
const SHUTDOWN_DRAIN: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    pub connections: usize,
    pub connections_per_address: usize,
    /// Timeout for a request head, and for a client that does not read its response.
    pub client_timeout: Duration,
    /// Time for requests in flight at shutdown.
    pub shutdown_grace: Duration,
}

/// State shared by the connections of a server.
struct Connections {
    router: Router,
    builder: Builder<TokioExecutor>,
    client_timeout: Duration,
    /// Permits to discard the rest of a rejected body.
    linger_permits: Arc<Semaphore>,
    /// Whether each response closes its connection.
    stopping: AtomicBool,
}

/// Serves until `shutdown` completes, and then until the requests in flight have finished.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    shutdown: impl Future<Output = ()>,
) {
    let connections = Arc::new(Connections::new(router, limits.client_timeout));
    let slots = ConnectionSlots::new(limits.connections, limits.connections_per_address);
    let mut tasks = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = &mut shutdown => break,
        };
        while tasks.try_join_next().is_some() {}
        if !slots.admits(peer.ip()) {
            tracing::debug!(address = %peer.ip(), "connection closed: too many connections of this address");
            continue;
        }
        // Further connections wait in the listen queue.
        let permit = tokio::select! {
            permit = slots.acquire() => permit,
            () = &mut shutdown => {
                let slot = slots.register(peer.ip(), None);
                tasks.spawn(Arc::clone(&connections).run(stream, peer, slot));
                break;
            }
        };
        let slot = slots.register(peer.ip(), permit);
        tasks.spawn(Arc::clone(&connections).run(stream, peer, slot));
    }
    connections.stopping.store(true, Ordering::Relaxed);
    // Connections in the listen queue are served too.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        let slot = slots.register(peer.ip(), None);
        tasks.spawn(Arc::clone(&connections).run(stream, peer, slot));
    }
    drop(listener);
    let finish = async {
        while tasks.try_join_next().is_some() {}
        // Closing a connection between two requests can lose the second one, which the client may have
        // sent already. Connections in use end with `Connection: close`; only idle ones are closed.
        if !tasks.is_empty() {
            let all = async { while tasks.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(SHUTDOWN_DRAIN, all).await;
        }
        slots.close();
        // WebSockets close by `AppState::stopped`.
        while tasks.join_next().await.is_some() {}
    };
    if tokio::time::timeout(limits.shutdown_grace, finish).await.is_err() {
        let seconds = limits.shutdown_grace.as_secs();
        tracing::warn!("requests in flight did not finish in {seconds} s");
    }
    tasks.shutdown().await;
}

/// The next connection. Errors of `accept` are retried after a delay.
async fn accept(listener: &TcpListener, slots: &ConnectionSlots) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Responses are written at once; Nagle's algorithm would only delay them.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) if is_of_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                // Idle connections hold file descriptors.
                let evicted = (0..EVICTION_BATCH).take_while(|_| slots.close_idle()).count();
                tracing::debug!(evicted, "closed idle connections");
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
            }
        }
    }
}

/// Whether the error concerns only the client, which has disconnected.
fn is_of_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

impl Connections {
    fn new(router: Router, client_timeout: Duration) -> Self {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(client_timeout)
            .max_buf_size(MAX_HEAD_BYTES as usize);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .max_concurrent_streams(MAX_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD_BYTES);
        let linger_permits = Arc::new(Semaphore::new(MAX_LINGERING));
        Self { router, builder, client_timeout, linger_permits, stopping: AtomicBool::new(false) }
    }

    async fn run(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, slot: ConnectionSlot) {
        let (guard, mut guards) = ConnectionGuard::new();
        let activity = Arc::clone(&slot.activity);
        // Boxed, so that the memory of HTTP is freed when a WebSocket takes over.
        Box::pin(self.serve_http(stream, peer, &activity, guard)).await;
        // A WebSocket is never idle.
        let _busy = activity.busy(false);
        guards.released().await;
    }

    async fn serve_http(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        activity: &Arc<Activity>,
        guard: ConnectionGuard,
    ) {
        let service = {
            let (connections, activity) = (Arc::clone(&self), Arc::clone(activity));
            service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                request.extensions_mut().insert(guard.clone());
                Arc::clone(&connections).answer(request, Arc::clone(&activity))
            })
        };
        let (activity_of_stream, permits) =
            (Arc::clone(activity), Arc::clone(&self.linger_permits));
        let stream = TimeoutStream::new(stream, self.client_timeout, activity_of_stream, permits);
        let connection =
            self.builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let mut connection = pin!(connection);
        let mut idle = pin!(activity.idle_for(self.client_timeout));
        let served = tokio::select! {
            served = &mut connection => served,
            () = &mut idle => return tracing::debug!("idle connection closed"),
            () = activity.closing() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    served = &mut connection => served,
                    () = &mut idle => return,
                    () = activity.evicted() => return,
                }
            }
        };
        // The client has disconnected, was too slow, or sent no HTTP.
        if let Err(error) = served {
            tracing::debug!(%error, "connection failed");
        }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        activity: Arc<Activity>,
    ) -> Result<Response<Body>, Infallible> {
        let is_http1 = request.version() < Version::HTTP_2;
        let busy = activity.busy(!is_http1);
        let has_short_body = is_short(request.body());
        let accepts_body = request.method() == Method::POST;
        let request = request.map(|body| {
            activity.set_unread(is_http1 && !body.is_end_stream());
            match (accepts_body, activity.is_unread()) {
                // Dropped now; otherwise it stays in memory until the response.
                (false, _) => Body::empty(),
                (true, true) => Body::new(TrackedBody { body, activity: Arc::clone(&activity) }),
                (true, false) => Body::new(body),
            }
        });
        let mut response = self.router.clone().call(request).await?;
        if is_stream(&response) {
            // The connection stays busy until the stream ends.
            response = response.map(|body| {
                let frames = body.into_data_stream().inspect(move |_| busy.touch());
                Body::from_stream(frames)
            });
        }
        let is_rejected = activity.is_unread() && !has_short_body;
        if is_http1 && (is_rejected || self.stopping.load(Ordering::Relaxed)) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

fn is_stream(response: &Response<Body>) -> bool {
    response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// Whether hyper reads the rest of the body with the head, or soon after.
fn is_short(body: &Incoming) -> bool {
    body.size_hint().upper().is_some_and(|bytes| bytes <= SHORT_BODY)
}

/// An HTTP/1.1 body that reports when it was read to its end.
struct TrackedBody {
    body: Incoming,
    activity: Arc<Activity>,
}

impl hyper::body::Body for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.activity.set_unread(false);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
