//! What a subscription asks, again for each event.

use async_graphql::parser::types::{ExecutableDocument, Selection};
use async_graphql::{Request, ServerError, Variables};

use super::shared::Sharing;
use crate::graphql::limit;

/// A subscription as it was sent and parsed.
pub(super) struct Template {
    text: String,
    document: ExecutableDocument,
    operation_name: Option<String>,
    variables: Variables,
    pub sharing: Sharing,
}

impl Template {
    /// Of a subscription; one with several root fields is none, by the specification.
    pub fn of(request: &mut Request) -> Result<Self, ServerError> {
        let document = request.parsed_query()?.clone();
        let operation = limit::chosen(&document, request.operation_name.as_deref());
        let roots = operation.map(|operation| &operation.node.selection_set.node.items);
        if let Some(roots) = roots
            && !matches!(roots.as_slice(), [root] if matches!(root.node, Selection::Field(_)))
        {
            let message = "a subscription has one field at its root, and no fragment";
            return Err(ServerError::new(message, operation.map(|operation| operation.pos)));
        }
        Ok(Self {
            sharing: Sharing::of(request, &document),
            text: request.query.clone(),
            document,
            operation_name: request.operation_name.clone(),
            variables: request.variables.clone(),
        })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn request(&self) -> Request {
        let mut request = Request::new(&self.text).variables(self.variables.clone());
        request.operation_name.clone_from(&self.operation_name);
        request.set_parsed_query(self.document.clone());
        request
    }
}
