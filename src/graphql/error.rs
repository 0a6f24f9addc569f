//! From our error to GraphQL's. [`Failure`] has no `Display` on purpose: async-graphql turns
//! whatever has one into an error with its text, and so a driver's text would reach clients. This
//! way a bare `DbErr?` in a resolver does not compile.

use std::sync::Arc;

use async_graphql::ErrorExtensionValues;

use crate::error::Error;

/// The error of every resolver.
#[derive(Clone, Debug)]
pub struct Failure {
    error: Error,
    /// Numbers for `extensions`: what was done before the error.
    done: Done,
}

/// A name in `extensions` and its number.
pub type Done = Vec<(&'static str, u64)>;

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, done: Done::new() }
    }
}

impl Failure {
    pub fn bad_input(argument: &'static str, message: impl Into<String>) -> Self {
        Error::bad_input(argument, message).into()
    }

    /// Adds to `extensions` what was done before the error.
    pub fn after(self, done: Done) -> Self {
        Self { done, ..self }
    }
}

impl From<Failure> for async_graphql::Error {
    fn from(Failure { error, done }: Failure) -> Self {
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", error.code());
        match &error {
            Error::BadInput { argument, .. } => extensions.set("argument", *argument),
            Error::EventsMissed(rows) => extensions.set("missed", *rows),
            _ => {}
        }
        done.iter().for_each(|(name, count)| extensions.set(*name, *count));
        // The source travels to the edge, which logs it; it is never part of the response.
        Self {
            message: error.to_string(),
            source: Some(Arc::new(error)),
            extensions: Some(extensions),
        }
    }
}
