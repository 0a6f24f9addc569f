//! Background jobs of the server. When the server stops, a job finishes its current step and returns.

pub mod failures;
pub mod index_build;
mod leader;
pub mod partitions;
pub mod replicas;
pub mod retention;
pub mod rollup;
pub mod tail;
pub mod text_index;
