//! Callscope: a GraphQL API server over the call log of an LLM gateway.
//!
//! Floors, from the top; a floor calls only what lies below it:
//!
//! - [`cli`]: one file per command
//! - [`app`]: the only wiring, configuration to running server
//! - [`http`]: routes and GraphQL over HTTP
//! - [`graphql`]: the schema; thin resolvers and their loaders; beside it [`jobs`], what runs by itself
//! - [`ingest`]: the one write path; beside it [`prune`] and [`export`], [`demo`], made-up traffic,
//!   [`access`], tokens, [`feed`], the rows that are followed, and [`doctor`]
//! - [`store`]: all SQL; beside it [`supervisor`], which restarts background jobs
//! - [`domain`], [`error`], [`clock`], [`kept`], [`config`], [`observe`]: pure rules, plain
//!   values, and what the server reports about itself

pub mod access;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod domain;
pub mod error;
pub mod export;
pub mod feed;
pub mod graphql;
pub mod http;
pub mod ingest;
pub mod jobs;
pub mod kept;
pub mod observe;
pub mod prune;
pub mod store;
pub mod supervisor;
