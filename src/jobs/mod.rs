//! Background jobs of the server. When the server stops, a job finishes its current step and returns.

pub mod index_build;
pub mod retention;
pub mod rollup;
pub mod tail;
pub mod text_index;
