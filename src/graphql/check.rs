//! Checks documents against the schema and its limits without running them.

use std::sync::Arc;

use async_graphql::async_trait::async_trait;
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextValidation};
use async_graphql::{Request, ServerError, ValidationResult};
use chrono::DateTime;

use super::limit::{Limits, Moment};
use super::schema::{CallscopeSchema, builder, sdl};
use crate::config::GraphqlConfig;

/// A schema of its own: an extension slows every list down, so the one that answers has none.
pub struct Checker {
    schema: CallscopeSchema,
    limits: Limits,
}

impl Checker {
    pub fn new(config: &GraphqlConfig) -> anyhow::Result<Self> {
        let schema = builder(config).extension(StopAfterValidation).finish();
        Ok(Self { schema, limits: Limits::new(config, &sdl())? })
    }

    /// The reason why the document could not run.
    pub async fn check(&self, document: &str) -> Result<(), String> {
        let mut request = Request::new(document);
        self.measure(&mut request).map_err(|error| error.message)?;
        let errors = self.schema.execute(request).await.errors;
        errors.into_iter().next().map_or(Ok(()), |error| Err(error.message))
    }

    /// All limits but that of the cost, which depends on variables.
    fn measure(&self, request: &mut Request) -> Result<(), ServerError> {
        self.limits.check_text(&request.query)?;
        let (variables, density) = Default::default();
        let moment = Moment { now: DateTime::UNIX_EPOCH, density: &density };
        self.limits.measure(request.parsed_query()?, None, &variables, &moment).map(|_| ())
    }
}

struct StopAfterValidation;

impl ExtensionFactory for StopAfterValidation {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self)
    }
}

#[async_trait]
impl Extension for StopAfterValidation {
    async fn validation(
        &self,
        ctx: &ExtensionContext<'_>,
        next: NextValidation<'_>,
    ) -> Result<ValidationResult, Vec<ServerError>> {
        next.run(ctx).await?;
        // A failure without any error: execution does not begin, and nothing is wrong.
        Err(Vec::new())
    }
}
