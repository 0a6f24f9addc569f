//! Logs one line per request and sets `X-Request-Id`. It is the outermost layer, so that rejected requests
//! and panics are logged too. Bodies, headers and query strings are never logged.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;

use crate::http::outcome::{OperationStatus, Outcome};
use crate::observe::{Observer, RequestMarks, milliseconds};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_ID_LENGTH: usize = 64;

/// State of the layer.
#[derive(Clone, Debug)]
pub(crate) struct RequestLog {
    ids: Arc<RequestIds>,
    observer: Arc<Observer>,
}

impl RequestLog {
    pub fn new(observer: Arc<Observer>) -> Self {
        let ids = RequestIds { process: rand::random(), count: AtomicU64::new(0) };
        Self { ids: Arc::new(ids), observer }
    }
}

/// Generates ids that are unique across processes. A process id is not enough: in containers it repeats.
#[derive(Debug)]
struct RequestIds {
    process: u32,
    count: AtomicU64,
}

impl RequestIds {
    fn next(&self) -> String {
        format!("{:08x}-{:x}", self.process, self.count.fetch_add(1, Ordering::Relaxed))
    }
}

/// Middleware: assigns the request id and logs the result.
pub(crate) async fn record(
    State(log): State<RequestLog>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = received_id(request.headers()).map_or_else(|| log.ids.next(), str::to_owned);
    let marks = Arc::new(RequestMarks::new(id));
    let line = RequestLine::start(&request, marks.clone(), log.observer);
    request.extensions_mut().insert(marks.clone());
    let span = line.observer.request_span(&request, line.method, line.path(), &marks.id);
    let mut response = span.during(marks.clone().during(next.run(request))).await;
    span.set("http.response.status_code", i64::from(response.status().as_u16()));
    if response.status().is_server_error() {
        span.fail(response.status().as_str());
    }
    let operation = response.extensions_mut().remove::<Arc<OperationStatus>>();
    let socket = response.extensions_mut().remove::<Arc<SocketStatus>>();
    if let Some(operation) = operation {
        response = line.finish_with_stream(response, operation);
    } else if let Some(socket) = socket {
        line.finish_with_socket(&socket);
    } else {
        line.finish(&response);
    }
    if let Ok(id) = HeaderValue::from_str(&marks.id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The id that a proxy has assigned, so that both logs use the same id.
fn received_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    ((1..=MAX_ID_LENGTH).contains(&id.len()) && id.bytes().all(is_valid)).then_some(id)
}

/// The log line of one request. It is written on drop, also if the client disconnects before the response.
pub(crate) struct RequestLine {
    marks: Arc<RequestMarks>,
    observer: Arc<Observer>,
    method: &'static str,
    path: Option<MatchedPath>,
    started_at: Instant,
    finished: bool,
    continuation: Continuation,
}

/// The part of a request that continues after the response head.
enum Continuation {
    None,
    /// An event stream, and the time until its start.
    Stream(Arc<OperationStatus>, Duration),
    /// An operation of a WebSocket, and the time until its response or start.
    Operation(Arc<OperationStatus>, Option<Duration>),
    /// A WebSocket with its close code.
    Socket(Arc<OnceLock<u16>>),
}

/// The status of a WebSocket. It owns the log line of its request.
#[derive(Default)]
pub(crate) struct SocketStatus {
    line: OnceLock<RequestLine>,
    code: Arc<OnceLock<u16>>,
}

impl SocketStatus {
    /// The connection was closed with `code`; `None` if the client disconnected.
    pub fn closed(&self, code: Option<u16>) {
        if let Some(code) = code {
            self.code.get_or_init(|| code);
        }
    }

    /// The log line of one of its operations.
    pub fn operation(
        &self,
        marks: &Arc<RequestMarks>,
        status: &Arc<OperationStatus>,
    ) -> Option<RequestLine> {
        let socket = self.line.get()?;
        Some(RequestLine {
            marks: Arc::clone(marks),
            observer: Arc::clone(&socket.observer),
            method: socket.method,
            path: socket.path.clone(),
            started_at: Instant::now(),
            finished: false,
            continuation: Continuation::Operation(Arc::clone(status), None),
        })
    }
}

impl RequestLine {
    fn start(request: &Request, marks: Arc<RequestMarks>, observer: Arc<Observer>) -> Self {
        observer.metrics.request_started();
        Self {
            marks,
            observer,
            method: method_name(request.method()),
            path: request.extensions().get::<MatchedPath>().cloned(),
            started_at: Instant::now(),
            finished: false,
            continuation: Continuation::None,
        }
    }

    /// The route, not the path: an unknown path may contain anything.
    fn path(&self) -> &str {
        self.path.as_ref().map_or("unknown", MatchedPath::as_str)
    }

    fn finish(mut self, response: &Response) {
        self.finished = true;
        let unknown = Outcome::default();
        let outcome = response.extensions().get::<Outcome>().unwrap_or(&unknown);
        let (status, duration) = (Some(response.status().as_u16()), self.started_at.elapsed());
        self.count(status, duration);
        self.write(status, outcome, duration);
    }

    /// Writes the line when the stream ends. The metrics count the time until the stream starts: they
    /// measure how long clients wait.
    fn finish_with_stream(mut self, response: Response, status: Arc<OperationStatus>) -> Response {
        let duration = self.started_at.elapsed();
        self.count(Some(response.status().as_u16()), duration);
        self.continuation = Continuation::Stream(status, duration);
        let (head, body) = response.into_parts();
        let body = body.into_data_stream().inspect(move |_| {
            // The body owns the line, which is written when the body is dropped.
            let _ = &self;
        });
        Response::from_parts(head, Body::from_stream(body))
    }

    /// Writes the line when the WebSocket closes; the metrics count it now.
    fn finish_with_socket(mut self, socket: &SocketStatus) {
        self.count(Some(101), self.started_at.elapsed());
        self.continuation = Continuation::Socket(Arc::clone(&socket.code));
        socket.line.get_or_init(|| self);
    }

    /// The operation has its response, or its event stream has started.
    pub fn set_answered(&mut self) {
        if let Continuation::Operation(_, answered) = &mut self.continuation {
            *answered = Some(self.started_at.elapsed());
        }
    }

    fn count(&self, status: Option<u16>, duration: Duration) {
        let status = status.unwrap_or(0);
        self.observer.metrics.request_ended(self.path(), self.method, status, duration);
    }

    /// `answered` is the time until the response or the start of the stream.
    fn write(&self, status: Option<u16>, outcome: &Outcome, answered: Duration) {
        let duration = self.started_at.elapsed();
        let is_operation = match self.continuation {
            Continuation::Operation(..) => true,
            _ => matches!(self.path(), "/graphql" | "/graphql/stream"),
        };
        if is_operation {
            let (operation, codes) = (self.marks.operation(), &outcome.codes);
            self.observer.metrics.operation(operation, outcome.kind, codes, answered);
        }
        let close_code = match &self.continuation {
            Continuation::Socket(code) => code.get().copied(),
            _ => None,
        };
        let kind = Some(outcome.kind).filter(|kind| !kind.is_empty());
        let codes = Some(outcome.codes.join(",")).filter(|codes| !codes.is_empty());
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    // Part of the documented log filters.
                    target: "callscope::http::request_log",
                    request_id = &*self.marks.id,
                    method = self.method,
                    path = self.path(),
                    status,
                    operation = self.marks.operation(),
                    kind,
                    cost = outcome.cost,
                    duration_ms = milliseconds(duration),
                    codes,
                    caller = self.marks.caller(),
                    close_code,
                    gone = (!self.finished).then_some(true),
                    "request",
                )
            };
        }
        // Probes and scrapes every few seconds would fill the log.
        match self.path() {
            "/healthz" | "/readyz" | "/metrics" => line!(debug),
            _ => line!(info),
        }
    }
}

impl Drop for RequestLine {
    fn drop(&mut self) {
        let duration = self.started_at.elapsed();
        match &self.continuation {
            Continuation::None if self.finished => {}
            Continuation::None => {
                self.count(None, duration);
                self.write(None, &Outcome::default(), duration);
            }
            Continuation::Stream(operation, answered) => {
                self.finished = operation.is_completed();
                self.write(Some(200), &operation.outcome(), *answered);
            }
            Continuation::Operation(operation, answered) => {
                self.finished = operation.is_completed();
                self.write(None, &operation.outcome(), answered.unwrap_or(duration));
            }
            Continuation::Socket(code) => {
                self.finished = code.get().is_some();
                self.write(Some(101), &Outcome::default(), duration);
            }
        }
    }
}

/// A label of bounded cardinality: HTTP allows any word as a method.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_plain_ids_are_accepted() {
        let is_accepted = |id: &str| {
            let headers = HeaderMap::from_iter([(REQUEST_ID, id.parse().unwrap())]);
            received_id(&headers).is_some()
        };
        let longest = "x".repeat(MAX_ID_LENGTH);
        assert!(is_accepted("req_1.A-2") && is_accepted(&longest));
        for bad in ["", "a b", "a\"b", "a\tb", "a,b", "é", &format!("{longest}x")] {
            assert!(!is_accepted(bad), "{bad}");
        }
    }
}
