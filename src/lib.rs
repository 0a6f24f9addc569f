//! Callscope: a GraphQL API server over the call log of an LLM gateway.
//!
//! Layers, from top to bottom; a layer imports only from the layers below it:
//!
//! - [`cli`]: one file for each command
//! - [`app`]: dependency wiring, from the configuration to a running server
//! - [`http`]: routes, GraphQL over HTTP
//! - [`graphql`]: the schema, resolvers and loaders; [`jobs`]: background jobs
//! - [`ingest`]: the write path; [`prune`]: deletion; [`export`]; [`demo`]: generated data; [`access`]:
//!   authentication; [`feed`]: new rows for subscribers; [`diagnoses`]: why calls fail;
//!   [`doctor`]: checks of an installation
//! - [`store`]: all SQL; [`supervisor`]: restarts background jobs
//! - [`domain`], [`error`], [`clock`], [`cache`], [`config`], [`observe`]: pure rules, basic
//!   types, metrics and traces

pub mod access;
pub mod app;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod diagnoses;
pub mod doctor;
pub mod domain;
pub mod error;
pub mod export;
pub mod feed;
pub mod graphql;
pub mod http;
pub mod ingest;
pub mod jobs;
pub mod observe;
pub mod prune;
pub mod store;
pub mod supervisor;
