//! The graph: types, root fields, loaders. A resolver is two hops from SQL: it asks a function of
//! the store, or a loader that asks one for all items of a list together.

pub mod answer;
pub mod args;
pub mod batch;
pub mod blame;
pub mod check;
pub mod connection;
pub mod cursor;
pub mod edges;
pub mod error;
pub mod id;
pub mod limit;
pub mod loader;
pub mod mutation;
pub mod query;
pub mod request_key;
pub mod rows;
pub mod scalar;
pub mod schema;
pub mod scope;
pub mod subscription;
pub mod trace;
pub mod types;
