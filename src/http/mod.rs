//! HTTP: the routes, and GraphQL over HTTP. The only floor that knows axum.

mod address;
pub mod admission;
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
mod rate;
pub mod read;
mod respond;
pub mod router;
pub mod server;
mod session;
mod stall;
mod trusted;
