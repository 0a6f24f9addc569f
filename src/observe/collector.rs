//! The connection to an OpenTelemetry collector. The SDK exports from a separate thread; this client sends
//! each batch on the server's runtime, and logs when the collector fails and recovers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use tokio::runtime::Handle;

/// The timeout of a request to the collector.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Responses of a collector are a few bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
    failing: AtomicBool,
}

impl Collector {
    /// Creates a client on the runtime of the calling task. Opens no connection yet.
    pub fn connect() -> anyhow::Result<Self> {
        let connector =
            HttpsConnectorBuilder::new().with_webpki_roots().https_or_http().enable_http1().build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            runtime: Handle::try_current()?,
            failing: AtomicBool::new(false),
        })
    }

    /// Logs only changes of the state, since a batch is sent every few seconds.
    fn log_change(&self, outcome: &Result<Response<Bytes>, HttpError>) {
        let failure = match outcome {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("status {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        let failing = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(failure) if !failing => {
                tracing::warn!(failure, "trace export failed; spans are lost");
            }
            None if failing => tracing::info!("trace export recovered"),
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchange = async move {
            let response = client.request(request.map(Full::new)).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await?;
            Ok::<_, HttpError>(Response::from_parts(head, body.to_bytes()))
        };
        let exchange = async { tokio::time::timeout(TIMEOUT, exchange).await? };
        let outcome = match self.runtime.spawn(exchange).await {
            Ok(outcome) => outcome,
            Err(stopped) => Err(stopped.into()),
        };
        self.log_change(&outcome);
        outcome
    }
}
