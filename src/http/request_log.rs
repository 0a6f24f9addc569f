//! One line in the log for each request, and its id in `X-Request-Id`. The outermost layer: what
//! others refuse, and what panics, is told too. Bodies, headers and query strings never are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt;

use super::following::OperationEnd;
use super::respond::Outcome;
use crate::observe::{Observer, RequestMarks, milliseconds};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_ID_LENGTH: usize = 64;

/// What the layer needs.
#[derive(Clone, Debug)]
pub(super) struct RequestLog {
    ids: Arc<RequestIds>,
    observer: Arc<Observer>,
}

impl RequestLog {
    pub fn new(observer: Arc<Observer>) -> Self {
        let ids = RequestIds { process: rand::random(), count: AtomicU64::new(0) };
        Self { ids: Arc::new(ids), observer }
    }
}

/// Ids that no other process gives, though each may be the first of its container.
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

/// Gives the request its id and tells how it went.
pub(super) async fn record(
    State(log): State<RequestLog>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = given_id(request.headers()).map_or_else(|| log.ids.next(), str::to_owned);
    let marks = Arc::new(RequestMarks::new(id));
    let line = Line::begin(&request, marks.clone(), log.observer);
    request.extensions_mut().insert(marks.clone());
    let span = line.observer.request_span(&request, line.method, line.path(), &marks.id);
    let mut response = span.during(marks.clone().during(next.run(request))).await;
    span.set("http.response.status_code", i64::from(response.status().as_u16()));
    if response.status().is_server_error() {
        span.fail(response.status().as_str());
    }
    let end = response.extensions_mut().remove::<Arc<OperationEnd>>();
    let socket = response.extensions_mut().remove::<Arc<SocketEnd>>();
    if let Some(end) = end {
        response = line.finish_with_stream(response, end);
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

/// The id that a proxy gave, so that its log and ours tell of the same request.
fn given_id(headers: &HeaderMap) -> Option<&str> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    ((1..=MAX_ID_LENGTH).contains(&id.len()) && id.bytes().all(fits)).then_some(id)
}

/// The line of one request. A client that goes away ends its request in the middle: what is dropped
/// without an answer is told as well.
pub(super) struct Line {
    marks: Arc<RequestMarks>,
    observer: Arc<Observer>,
    method: &'static str,
    path: Option<MatchedPath>,
    began: Instant,
    finished: bool,
    goes_on: GoesOn,
}

/// What of a request is not over when it is answered.
enum GoesOn {
    Nothing,
    /// A stream that began after so long.
    Stream(Arc<OperationEnd>, Duration),
    /// An operation of a WebSocket, which was answered or begun after so long.
    Operation(Arc<OperationEnd>, Option<Duration>),
    /// A WebSocket, which is closed with a code.
    Socket(Arc<OnceLock<u16>>),
}

/// The end of a WebSocket. The line of its request is told with it.
#[derive(Default)]
pub(super) struct SocketEnd {
    line: OnceLock<Line>,
    code: Arc<OnceLock<u16>>,
}

impl SocketEnd {
    /// With which code it was closed; without one its client went away.
    pub fn closed(&self, code: Option<u16>) {
        if let Some(code) = code {
            self.code.get_or_init(|| code);
        }
    }

    /// The line of one of its operations, which is told when that is dropped.
    pub fn operation(&self, marks: &Arc<RequestMarks>, end: &Arc<OperationEnd>) -> Option<Line> {
        let socket = self.line.get()?;
        Some(Line {
            marks: Arc::clone(marks),
            observer: Arc::clone(&socket.observer),
            method: socket.method,
            path: socket.path.clone(),
            began: Instant::now(),
            finished: false,
            goes_on: GoesOn::Operation(Arc::clone(end), None),
        })
    }
}

impl Line {
    fn begin(request: &Request, marks: Arc<RequestMarks>, observer: Arc<Observer>) -> Self {
        observer.metrics.request_began();
        Self {
            marks,
            observer,
            method: method_name(request.method()),
            path: request.extensions().get::<MatchedPath>().cloned(),
            began: Instant::now(),
            finished: false,
            goes_on: GoesOn::Nothing,
        }
    }

    /// The route rather than the path: of an unknown path nobody knows what is in it.
    fn path(&self) -> &str {
        self.path.as_ref().map_or("unknown", MatchedPath::as_str)
    }

    fn finish(mut self, response: &Response) {
        self.finished = true;
        let unknown = Outcome::default();
        let outcome = response.extensions().get::<Outcome>().unwrap_or(&unknown);
        let (status, took) = (Some(response.status().as_u16()), self.began.elapsed());
        self.count(status, took);
        self.tell(status, outcome, took);
    }

    /// Tells of a stream when it has ended. For the metrics it was answered when it began: they tell
    /// how long clients wait.
    fn finish_with_stream(mut self, response: Response, end: Arc<OperationEnd>) -> Response {
        let took = self.began.elapsed();
        self.count(Some(response.status().as_u16()), took);
        self.goes_on = GoesOn::Stream(end, took);
        let (head, body) = response.into_parts();
        let body = body.into_data_stream().inspect(move |_| {
            // Whatever drops the stream drops its line, which is told then.
            let _ = &self;
        });
        Response::from_parts(head, Body::from_stream(body))
    }

    /// Tells of a WebSocket when it has ended; it counts as answered now.
    fn finish_with_socket(mut self, socket: &SocketEnd) {
        self.count(Some(101), self.began.elapsed());
        self.goes_on = GoesOn::Socket(Arc::clone(&socket.code));
        socket.line.get_or_init(|| self);
    }

    /// The operation was answered, or goes on from here.
    pub fn set_answered(&mut self) {
        if let GoesOn::Operation(_, answered) = &mut self.goes_on {
            *answered = Some(self.began.elapsed());
        }
    }

    fn count(&self, status: Option<u16>, took: Duration) {
        let status = status.unwrap_or(0);
        self.observer.metrics.request_ended(self.path(), self.method, status, took);
    }

    /// `answered` is how long the client waited.
    fn tell(&self, status: Option<u16>, outcome: &Outcome, answered: Duration) {
        let took = self.began.elapsed();
        let is_operation = match self.goes_on {
            GoesOn::Operation(..) => true,
            _ => matches!(self.path(), "/graphql" | "/graphql/stream"),
        };
        if is_operation {
            let (operation, codes) = (self.marks.operation(), &outcome.codes);
            self.observer.metrics.operation(operation, outcome.kind, codes, answered);
        }
        let close_code = match &self.goes_on {
            GoesOn::Socket(code) => code.get().copied(),
            _ => None,
        };
        let kind = Some(outcome.kind).filter(|kind| !kind.is_empty());
        let codes = Some(outcome.codes.join(",")).filter(|codes| !codes.is_empty());
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    request_id = &*self.marks.id,
                    method = self.method,
                    path = self.path(),
                    status,
                    operation = self.marks.operation(),
                    kind,
                    cost = outcome.cost,
                    duration_ms = milliseconds(took),
                    codes,
                    caller = self.marks.caller(),
                    close_code,
                    gone = (!self.finished).then_some(true),
                    "request",
                )
            };
        }
        // What asks every few seconds would hide what people ask.
        match self.path() {
            "/healthz" | "/readyz" | "/metrics" => line!(debug),
            _ => line!(info),
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        match &self.goes_on {
            GoesOn::Nothing if self.finished => {}
            GoesOn::Nothing => {
                let took = self.began.elapsed();
                self.count(None, took);
                self.tell(None, &Outcome::default(), took);
            }
            GoesOn::Stream(end, answered) => {
                self.finished = end.is_completed();
                self.tell(Some(200), &end.outcome(), *answered);
            }
            GoesOn::Operation(end, answered) => {
                self.finished = end.is_completed();
                self.tell(None, &end.outcome(), answered.unwrap_or_else(|| self.began.elapsed()));
            }
            GoesOn::Socket(code) => {
                self.finished = code.get().is_some();
                self.tell(Some(101), &Outcome::default(), self.began.elapsed());
            }
        }
    }
}

/// A method may be any word of the client's.
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
    fn only_short_plain_ids_are_taken_over() {
        let given = |id: &str| {
            let headers = HeaderMap::from_iter([(REQUEST_ID, id.parse().unwrap())]);
            given_id(&headers).is_some()
        };
        let longest = "x".repeat(MAX_ID_LENGTH);
        assert!(given("req_1.A-2") && given(&longest));
        for bad in ["", "a b", "a\"b", "a\tb", "a,b", "é", &format!("{longest}x")] {
            assert!(!given(bad), "{bad}");
        }
    }
}
