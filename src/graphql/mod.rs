//! The GraphQL schema: types, root fields, loaders. A resolver calls a store function, or a loader that
//! calls one store function for all items of a list.

pub mod answer;
pub mod args;
pub mod batch;
pub mod check;
pub mod connection;
pub mod cursor;
pub mod edges;
pub mod error;
pub mod error_class;
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
