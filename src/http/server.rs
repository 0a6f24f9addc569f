//! Accepts connections and serves them, HTTP/1.1 and HTTP/2 on one port. axum's own loop gives hyper
//! no timer and bounds nothing: a client that sends its headers a byte a minute would be served for
//! ever, and as many of them as the process has file descriptors.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response, Version};
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower_service::Service;

use super::stall::Impatient;

/// What a request's head may take; GET has its query in there.
const MAX_HEAD_BYTES: u32 = 64 * 1024;
/// How many requests of one HTTP/2 connection are worked on.
const MAX_STREAMS: u32 = 100;
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
        let began = Arc::new(AtomicBool::new(false));
        let service = {
            let (connections, began) = (Arc::clone(&self), Arc::clone(&began));
            service_fn(move |request| {
                began.store(true, Ordering::Relaxed);
                Arc::clone(&connections).answer(request, peer)
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
        // hyper counts the time of a head once it knows the protocol: a client that never says
        // enough to tell is not its concern.
        let silent = async {
            tokio::time::sleep(self.client_timeout).await;
            if began.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            // Faults of a connection are its client's: gone, too slow, or no HTTP.
            served = &mut connection => {
                if let Err(error) = served {
                    tracing::debug!(%error, "a connection failed");
                }
            }
            () = silent => tracing::debug!("a connection that sent no request was closed"),
        }
    }

    async fn answer(
        self: Arc<Self>,
        mut request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<Body>, Infallible> {
        request.extensions_mut().insert(ConnectInfo(peer));
        let old = request.version() < Version::HTTP_2;
        let mut response = self.router.clone().call(request).await?;
        if old && self.stopping.load(Ordering::Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}
