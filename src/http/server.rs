//! Accepts connections and serves them, HTTP/1.1 and HTTP/2 on one port. axum's own loop gives hyper
//! no timer and bounds nothing: a client that sends its headers a byte a minute would be served for
//! ever, and as many of them as the process has file descriptors.

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

use super::activity::Activity;
use super::lease::Lease;
use super::slots::{Slot, Slots};
use super::stall::Impatient;

/// What a request's head may take; GET has its query in there.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// How many requests of one HTTP/2 connection are worked on.
const MAX_STREAMS: u32 = 32;
/// What a client of HTTP/2 may send of one body, and of all bodies of a connection, before it is read:
/// hyper keeps it in memory. By default both would be a mebibyte.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;
/// A body of HTTP/1.1 up to this length does not end its connection when it is left unread.
const SHORT_BODY: u64 = 16 * 1024;
/// Idle connections that are closed at once where the process has no descriptor left.
const EVICTED_AT_ONCE: usize = 32;
/// Connections that discard the rest of a refused body at the same time; further ones are cut.
const MAX_LINGERING: usize = 32;
/// An HTTP/2 connection is asked this often whether its other end is still there, and given up when
/// no answer comes in as long.
const PING: Duration = Duration::from_secs(20);
/// Before a new attempt where accepting failed for want of file descriptors or memory.
const AFTER_ACCEPT_FAILED: Duration = Duration::from_secs(1);
/// What is on its way when the server stops still comes in this time, and is answered.
const LAST_REQUESTS: Duration = Duration::from_millis(200);

/// How connections are dealt with.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    pub connections: usize,
    pub connections_per_address: usize,
    /// How long a client may take to send the head of a request, or to take a part of an answer.
    pub client_timeout: Duration,
    /// What requests in flight are given to finish once the server stops.
    pub shutdown_grace: Duration,
}

/// What the connections of a server share.
struct Connections {
    router: Router,
    builder: Builder<TokioExecutor>,
    client_timeout: Duration,
    /// Turns to discard the rest of a refused body.
    lingering: Arc<Semaphore>,
    /// Whether each answer is the last of its connection.
    stopping: AtomicBool,
}

/// Serves until `shutdown` ends, and then for as long as the requests in flight take.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    shutdown: impl Future<Output = ()>,
) {
    let connections = Arc::new(Connections::new(router, limits.client_timeout));
    let slots = Slots::new(limits.connections, limits.connections_per_address);
    let mut tasks = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = &mut shutdown => break,
        };
        while tasks.try_join_next().is_some() {}
        if !slots.admits(peer.ip()) {
            tracing::debug!(address = %peer.ip(), "connection closed: too many of this address");
            continue;
        }
        // The system keeps further connections until this one has its place.
        let room = tokio::select! {
            room = slots.room() => room,
            () = &mut shutdown => {
                tasks.spawn(Arc::clone(&connections).run(stream, peer, slots.enter(peer.ip(), None)));
                break;
            }
        };
        let slot = slots.enter(peer.ip(), room);
        tasks.spawn(Arc::clone(&connections).run(stream, peer, slot));
    }
    connections.stopping.store(true, Ordering::Relaxed);
    // Connections that were made before now are served, too.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        tasks.spawn(Arc::clone(&connections).run(stream, peer, slots.enter(peer.ip(), None)));
    }
    drop(listener);
    let finish = async {
        while tasks.try_join_next().is_some() {}
        // A connection that is closed between two requests may lose the second, which its client
        // has sent already. Those in use end with an answer that says so; only the idle are closed.
        if !tasks.is_empty() {
            let all = async { while tasks.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(LAST_REQUESTS, all).await;
        }
        slots.close();
        // WebSockets close when the server starts to stop.
        while tasks.join_next().await.is_some() {}
    };
    if tokio::time::timeout(limits.shutdown_grace, finish).await.is_err() {
        let seconds = limits.shutdown_grace.as_secs();
        tracing::warn!("requests in flight did not finish in {seconds} s");
    }
    tasks.shutdown().await;
}

/// The next connection. Faults are waited out: the server outlives them, and does not spin.
async fn accept(listener: &TcpListener, slots: &Slots) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are written whole; waiting to fill a packet would only delay them.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            // Of that one client, which is gone.
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                // Idle ones hold the descriptors that are missing.
                let evicted = (0..EVICTED_AT_ONCE).take_while(|_| slots.close_idle()).count();
                tracing::debug!(evicted, "closed idle connections");
                tokio::time::sleep(AFTER_ACCEPT_FAILED).await;
            }
        }
    }
}

fn is_of_connection(error: &io::Error) -> bool {
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
        let lingering = Arc::new(Semaphore::new(MAX_LINGERING));
        Self { router, builder, client_timeout, lingering, stopping: AtomicBool::new(false) }
    }

    async fn run(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, slot: Slot) {
        let (lease, mut leases) = Lease::new();
        let activity = Arc::clone(&slot.activity);
        // In memory of its own, which is given back where something else goes on.
        Box::pin(self.serve_http(stream, peer, &activity, lease)).await;
        // A WebSocket is not idle, whatever goes over it.
        let _busy = activity.busy(false);
        leases.end().await;
    }

    async fn serve_http(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        activity: &Arc<Activity>,
        lease: Lease,
    ) {
        let service = {
            let (connections, activity) = (Arc::clone(&self), Arc::clone(activity));
            service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                request.extensions_mut().insert(lease.clone());
                Arc::clone(&connections).answer(request, Arc::clone(&activity))
            })
        };
        let lingering = Arc::clone(&self.lingering);
        let stream = Impatient::new(stream, self.client_timeout, Arc::clone(activity), lingering);
        let connection =
            self.builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let mut connection = pin!(connection);
        let mut idle = pin!(activity.idle_for(self.client_timeout));
        let served = tokio::select! {
            served = &mut connection => served,
            () = &mut idle => return tracing::debug!("a connection that asks nothing was closed"),
            () = activity.closing() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    served = &mut connection => served,
                    () = &mut idle => return,
                    () = activity.evicted() => return,
                }
            }
        };
        // Faults of a connection are its client's: gone, too slow, or no HTTP.
        if let Err(error) = served {
            tracing::debug!(%error, "a connection failed");
        }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        activity: Arc<Activity>,
    ) -> Result<Response<Body>, Infallible> {
        let old = request.version() < Version::HTTP_2;
        let busy = activity.busy(!old);
        let has_short_body = is_short(request.body());
        let takes_body = request.method() == Method::POST;
        let request = request.map(|body| {
            activity.set_unread(old && !body.is_end_stream());
            match (takes_body, activity.is_unread()) {
                // It would stay in memory until the answer.
                (false, _) => Body::empty(),
                (true, true) => Body::new(Noticed { body, activity: Arc::clone(&activity) }),
                (true, false) => Body::new(body),
            }
        });
        let mut response = self.router.clone().call(request).await?;
        if is_stream(&response) {
            // Its answer goes on for as long as it is read.
            response = response.map(|body| {
                let frames = body.into_data_stream().inspect(move |_| busy.go_on());
                Body::from_stream(frames)
            });
        }
        let is_refused = activity.is_unread() && !has_short_body;
        if old && (is_refused || self.stopping.load(Ordering::Relaxed)) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

fn is_stream(response: &Response<Body>) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream")
}

/// Whether the rest of a body is so short that hyper reads it with the head, or soon after.
fn is_short(body: &Incoming) -> bool {
    body.size_hint().upper().is_some_and(|bytes| bytes <= SHORT_BODY)
}

/// A body of HTTP/1.1 that notices when it was read to its end.
struct Noticed {
    body: Incoming,
    activity: Arc<Activity>,
}

impl hyper::body::Body for Noticed {
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
