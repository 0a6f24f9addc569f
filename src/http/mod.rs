//! HTTP: the routes, and GraphQL over HTTP. The only floor that knows axum.

mod address;
pub mod admission;
mod context;
mod graphql;
mod health;
mod negotiate;
mod page;
mod problem;
mod rate;
mod read;
mod respond;
pub mod router;
mod session;
