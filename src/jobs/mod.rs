//! What the server does by itself, beside its requests. A job ends when the server stops, after what
//! it has in hand.

pub mod index_build;
pub mod retention;
pub mod tail;
