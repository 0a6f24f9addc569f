//! Converts our errors to GraphQL errors. [`Failure`] has no `Display` on purpose: async-graphql turns
//! any type with `Display` into an error with that text, and the text of a database driver would reach
//! clients. Without it, a bare `DbErr?` in a resolver does not compile.

use std::sync::Arc;

use async_graphql::ErrorExtensionValues;

use crate::error::Error;

/// The error of every resolver.
#[derive(Clone, Debug)]
pub struct Failure {
    error: Error,
    /// Numbers for `extensions`: the work that was done before the error.
    progress: Progress,
}

/// A name in `extensions` and its number.
pub type Progress = Vec<(&'static str, u64)>;

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, progress: Progress::new() }
    }
}

impl Failure {
    pub fn bad_input(argument: &'static str, message: impl Into<String>) -> Self {
        Error::bad_input(argument, message).into()
    }

    /// Adds to `extensions` the work that was done before the error.
    pub fn with_progress(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }
}

impl From<Failure> for async_graphql::Error {
    fn from(Failure { error, progress }: Failure) -> Self {
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", error.code());
        match &error {
            Error::BadInput { argument, .. } => extensions.set("argument", *argument),
            Error::EventsMissed(rows) => extensions.set("missed", *rows),
            _ => {}
        }
        progress.iter().for_each(|(name, count)| extensions.set(*name, *count));
        // The HTTP layer logs the source; it is never part of the response.
        Self {
            message: error.to_string(),
            source: Some(Arc::new(error)),
            extensions: Some(extensions),
        }
    }
}
