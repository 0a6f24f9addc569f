//! HTTP: the routes, and GraphQL over HTTP. The only floor that knows axum.

mod context;
mod graphql;
mod health;
mod negotiate;
mod page;
mod problem;
mod read;
mod respond;
pub mod router;
pub mod server;
