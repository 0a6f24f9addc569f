//! HTTP: the routes, and GraphQL over HTTP. The only floor that knows axum.

mod compress;
mod context;
mod cors;
mod csrf;
pub mod documents;
mod graphql;
mod health;
pub mod hosts;
mod negotiate;
mod page;
mod persisted;
mod problem;
pub mod read;
mod respond;
pub mod router;
pub mod server;
mod stall;
mod trusted;
