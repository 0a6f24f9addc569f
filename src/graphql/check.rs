//! Checks documents against the schema and its limits without running them.

use std::sync::Arc;

use async_graphql::async_trait::async_trait;
use async_graphql::extensions::{Extension, ExtensionContext, ExtensionFactory, NextValidation};
use async_graphql::{Request, ServerError, ValidationResult};

use super::nesting::is_too_deep;
use super::schema::{CallscopeSchema, builder};
use crate::config::GraphqlConfig;

/// A schema of its own: an extension slows every list down, so the one that answers has none.
pub struct Checker(CallscopeSchema);

impl Checker {
    pub fn new(config: &GraphqlConfig) -> Self {
        Self(builder(config).extension(StopAfterValidation).finish())
    }

    /// The reason why the document could not run.
    pub async fn check(&self, document: &str) -> Result<(), String> {
        if is_too_deep(document) {
            return Err("it nests too deeply to be read".to_owned());
        }
        let errors = self.0.execute(Request::new(document)).await.errors;
        errors.into_iter().next().map_or(Ok(()), |error| Err(error.message))
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
