//! What the server tells about itself: metrics, traces, slow statements, and the request that they
//! belong to. Names, numbers and texts of statements alone; never a value, a key or a token.

pub mod redact;
pub mod request;

pub use request::RequestMarks;
