//! Authentication: bearer tokens and browser sessions. Tokens are in the configuration and in the table
//! `callscope_tokens`, which all servers of a database share.

pub mod directory;
pub mod session;
pub mod token;

pub use directory::{Credentials, Proof, TokenDirectory};
