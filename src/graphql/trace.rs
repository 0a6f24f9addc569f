//! Trace spans of fields that query the database: root fields and lists. An extension slows down every
//! field, so the schema has it only while tracing is enabled.

use std::sync::Arc;

use async_graphql::extensions::{
    Extension, ExtensionContext, ExtensionFactory, NextResolve, ResolveInfo,
};
use async_graphql::{ServerResult, Value};

use crate::observe::Observer;

/// Creates the extension for each request.
pub struct FieldSpans(pub Arc<Observer>);

impl ExtensionFactory for FieldSpans {
    fn create(&self) -> Arc<dyn Extension> {
        Arc::new(Self(self.0.clone()))
    }
}

#[async_trait::async_trait]
impl Extension for FieldSpans {
    async fn resolve(
        &self,
        ctx: &ExtensionContext<'_>,
        info: ResolveInfo<'_>,
        next: NextResolve<'_>,
    ) -> ServerResult<Option<Value>> {
        if info.is_for_introspection || !queries_database(&info) {
            return next.run(ctx, info).await;
        }
        let span = self.0.field_span(info.parent_type, info.name);
        let resolved = span.during(next.run(ctx, info)).await;
        if resolved.is_err() {
            span.fail("GRAPHQL_ERROR");
        }
        resolved
    }
}

fn queries_database(info: &ResolveInfo<'_>) -> bool {
    let returned = info.return_type.trim_end_matches('!');
    matches!(info.parent_type, "Query" | "Subscription") || returned.ends_with("Connection")
}
