//! The state shared by all handlers.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::watch;

use super::body::ReadLimits;
use super::context::RequestContext;
use super::graphql::documents::Documents;
use super::graphql::parse::Parser;
use super::middleware::admission::Admission;
use super::middleware::hosts::Hosts;
use super::subscription::credential_checks::CredentialChecks;
use super::subscription::limits::Subscriptions;
use crate::access::TokenDirectory;
use crate::clock::Clock;
use crate::graphql::answer::{AnswerLimits, AnswerSize};
use crate::graphql::schema::CallscopeSchema;
use crate::graphql::scope::{RequestInfo, Services};
use crate::ingest::intake::Intake;

/// One pointer, since each layer of each request clones it.
#[derive(Clone)]
pub struct AppState(Arc<AppParts>);

impl From<AppParts> for AppState {
    fn from(shared: AppParts) -> Self {
        Self(Arc::new(shared))
    }
}

impl Deref for AppState {
    type Target = AppParts;

    fn deref(&self) -> &AppParts {
        &self.0
    }
}

/// The parts of [`AppState`].
pub struct AppParts {
    pub schema: CallscopeSchema,
    pub parser: Parser,
    pub admission: Arc<Admission>,
    pub subscriptions: Arc<Subscriptions>,
    pub credential_checks: Arc<CredentialChecks>,
    /// Becomes true when the server shuts down.
    pub stopping: watch::Receiver<bool>,
    pub services: Services,
    pub answers: AnswerLimits,
    pub intake: Arc<Intake>,
    pub otlp_key_attribute: Arc<str>,
    pub tokens: Arc<TokenDirectory>,
    pub clock: Clock,
    pub timeout: Duration,
    /// Timeout for a client that has to send or read the next part.
    pub client_timeout: Duration,
    pub sdl: Bytes,
    pub read: ReadLimits,
    pub documents: Arc<Documents>,
    pub hosts: Hosts,
    pub cors_origins: Arc<[String]>,
}

impl AppState {
    /// The context of a GraphQL execution that starts now.
    pub(crate) fn request_info(
        &self,
        context: &RequestContext,
        answer: &Arc<AnswerSize>,
    ) -> RequestInfo {
        RequestInfo {
            answer: Arc::clone(answer),
            services: self.services.clone(),
            now: self.clock.now(),
            caller: context.caller.clone(),
            address: context.address,
        }
    }

    /// Returns once the server shuts down.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + use<> {
        let mut stopping = self.stopping.clone();
        async move {
            // An error means that the sender is gone, which is a shutdown as well.
            let _ = stopping.wait_for(|stopping| *stopping).await;
        }
    }
}
