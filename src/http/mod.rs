//! HTTP: the server, the routes and their handlers. Only this layer and `app` use axum.
//!
//! `server` accepts connections, `router` lists the routes with their `middleware`, and the handlers are
//! in `graphql`, `subscription`, `ingest`, `session`, `assets` and `monitoring`. They share
//! `state`. `context`, `client`, `body`, `problem` and `outcome` describe one request.

mod assets;
pub(crate) mod body;
mod client;
mod context;
pub(crate) mod graphql;
mod ingest;
pub(crate) mod middleware;
mod monitoring;
mod outcome;
mod problem;
pub(crate) mod router;
pub(crate) mod server;
mod session;
pub(crate) mod state;
pub(crate) mod subscription;
