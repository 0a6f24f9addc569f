//! Validates documents against the schema and its limits without executing them.

use std::sync::Arc;

use async_graphql::async_trait::async_trait;
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextValidation};
use async_graphql::{Request, ServerError, ValidationResult};
use chrono::DateTime;

use super::limit::{CostContext, Limits};
use super::schema::{CallscopeSchema, builder, sdl};
use crate::config::GraphqlConfig;

/// Uses a separate schema: an extension slows down every list, so the schema of requests has none.
pub struct Checker {
    schema: CallscopeSchema,
    limits: Limits,
}

impl Checker {
    pub fn new(config: &GraphqlConfig) -> anyhow::Result<Self> {
        let schema = builder(config).extension(StopAfterValidation).finish();
        Ok(Self { schema, limits: Limits::new(config, &sdl())? })
    }

    /// Returns the reason why the document is invalid.
    pub async fn check(&self, document: &str) -> Result<(), String> {
        let mut request = Request::new(document);
        self.measure(&mut request).map_err(|error| error.message)?;
        let errors = self.schema.execute(request).await.errors;
        errors.into_iter().next().map_or(Ok(()), |error| Err(error.message))
    }

    /// Checks all limits except the cost, which depends on variables.
    fn measure(&self, request: &mut Request) -> Result<(), ServerError> {
        self.limits.check_text(&request.query)?;
        let (variables, density) = Default::default();
        let cost_context = CostContext { now: DateTime::UNIX_EPOCH, density: &density, db: None };
        self.limits.measure(request.parsed_query()?, None, &variables, &cost_context).map(|_| ())
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
        // An empty list of errors skips the execution.
        Err(Vec::new())
    }
}
