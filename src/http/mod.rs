//! HTTP: the routes, and GraphQL over HTTP. The only floor that knows axum.

mod context;
mod graphql;
mod health;
mod metrics;
mod negotiate;
mod page;
mod problem;
mod read;
mod request_log;
mod respond;
pub mod router;
