//! HTTP: the routes, and GraphQL over HTTP. The only floor that knows axum.

mod graphql;
mod health;
mod negotiate;
mod page;
mod problem;
pub mod router;
