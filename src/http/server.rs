//! Accepts connections and serves them, HTTP/1.1 and HTTP/2 on one port. axum's own loop gives hyper
//! no timer and bounds nothing: a client that sends its headers a byte a minute would be served for
//! ever, and as many of them as the process has file descriptors.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::{CONNECTION, CONTENT_TYPE};
use axum::http::{HeaderValue, Request, Response, Version};
use futures_util::{FutureExt, StreamExt};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower_service::Service;

use super::lease::Lease;
use super::stall::Impatient;

/// What a request's head may take; GET has its query in there.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// How many requests of one HTTP/2 connection are worked on.
const MAX_STREAMS: u32 = 32;
/// An HTTP/2 connection is asked this often whether its other end is still there, and given up when
/// no answer comes in as long.
const PING: Duration = Duration::from_secs(20);
/// Before a new attempt where accepting failed for want of file descriptors or memory.
const AFTER_ACCEPT_FAILED: Duration = Duration::from_secs(1);
/// What is on its way when the server stops still comes in this time, and is answered.
const LAST_REQUESTS: Duration = Duration::from_millis(200);

/// Between two looks at a connection that may be idle.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);

/// How connections are dealt with.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    pub connections: usize,
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
    let slots = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut tasks = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        // The system keeps the connections that nobody accepts yet.
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (accept(&listener).await, slot)
        };
        let ((stream, peer), slot) = tokio::select! {
            accepted = accepted => accepted,
            () = &mut shutdown => break,
        };
        while tasks.try_join_next().is_some() {}
        let serving = Arc::clone(&connections).run(stream, peer, graceful.watcher());
        tasks.spawn(serving.map(|()| drop(slot)));
    }
    connections.stopping.store(true, Ordering::Relaxed);
    // Connections that were made before now are served, too.
    while let Some(Ok((stream, peer))) = listener.accept().now_or_never() {
        tasks.spawn(Arc::clone(&connections).run(stream, peer, graceful.watcher()));
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
        graceful.shutdown().await;
        // Those that went over to WebSocket were told, and close.
        while tasks.join_next().await.is_some() {}
    };
    if tokio::time::timeout(limits.shutdown_grace, finish).await.is_err() {
        let seconds = limits.shutdown_grace.as_secs();
        tracing::warn!("requests in flight did not finish in {seconds} s");
    }
    tasks.shutdown().await;
}

/// The next connection. Faults are waited out: the server outlives them, and does not spin.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
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
            .max_header_list_size(MAX_HEAD_BYTES);
        Self { router, builder, client_timeout, stopping: AtomicBool::new(false) }
    }

    async fn run(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        let (lease, mut leases) = Lease::new();
        // In memory of its own, which is given back where something else goes on.
        Box::pin(self.serve_http(stream, peer, watcher, lease)).await;
        leases.end().await;
    }

    async fn serve_http(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        watcher: Watcher,
        lease: Lease,
    ) {
        let activity = Arc::new(Activity::default());
        let service = {
            let (connections, activity) = (Arc::clone(&self), Arc::clone(&activity));
            service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(ConnectInfo(peer));
                request.extensions_mut().insert(lease.clone());
                Arc::clone(&connections).answer(request, Arc::clone(&activity))
            })
        };
        let connection = self
            .builder
            .serve_connection_with_upgrades(
                TokioIo::new(Impatient::new(stream, self.client_timeout)),
                service,
            )
            .into_owned();
        let mut connection = pin!(watcher.watch(connection));
        let idle = activity.idle_for(self.client_timeout);
        tokio::select! {
            // Faults of a connection are its client's: gone, too slow, or no HTTP.
            served = &mut connection => {
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection failed");
                }
            }
            () = idle => tracing::debug!("a connection that asks nothing was closed"),
        }
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        activity: Arc<Activity>,
    ) -> Result<Response<Body>, Infallible> {
        let old = request.version() < Version::HTTP_2;
        let busy = activity.busy(!old);
        let mut response = self.router.clone().call(request).await?;
        if is_stream(&response) {
            // Its answer goes on for as long as it is read.
            response = response.map(|body| {
                let frames = body.into_data_stream().inspect(move |_| busy.go_on());
                Body::from_stream(frames)
            });
        }
        if old && self.stopping.load(Ordering::Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

fn is_stream(response: &Response<Body>) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream")
}

/// What a connection is asked. Hyper closes one of HTTP/1.1 that stays silent between two requests, but
/// neither one whose protocol is not known yet, nor one of HTTP/2: that could take an answer and never
/// read it, and stay for ever. An answer that is ready must be read in the time of a silence.
#[derive(Default)]
struct Activity {
    running: AtomicUsize,
    is_h2: AtomicBool,
    last: Mutex<Option<Instant>>,
}

/// A request that is being answered.
struct Busy(Arc<Activity>);

impl Activity {
    fn busy(self: &Arc<Self>, is_h2: bool) -> Busy {
        self.is_h2.store(is_h2, Ordering::Relaxed);
        self.running.fetch_add(1, Ordering::Relaxed);
        self.touch();
        Busy(Arc::clone(self))
    }

    fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Ends when nothing was asked, or begun to be asked, for so long.
    async fn idle_for(&self, patience: Duration) {
        let began = Instant::now();
        loop {
            let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let silent = last.unwrap_or(began).elapsed();
            let asks = self.running.load(Ordering::Relaxed) > 0;
            // Between two requests of HTTP/1.1 hyper counts the time.
            let counts = last.is_none() || self.is_h2.load(Ordering::Relaxed);
            if !asks && counts && silent >= patience {
                return;
            }
            let wait = if asks || !counts { patience } else { patience.saturating_sub(silent) };
            tokio::time::sleep(wait.max(SHORTEST_WAIT)).await;
        }
    }
}

impl Busy {
    fn go_on(&self) {
        self.0.touch();
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.touch();
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}
