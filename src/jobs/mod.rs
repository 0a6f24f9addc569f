//! What goes on beside requests.

pub mod tail;
