//! Who may do what: bearer tokens and the sessions of browsers. Tokens come from the configuration
//! and from the table `callscope_tokens`, which all servers of a database share.

pub mod directory;
pub mod session;
pub mod token;

pub use directory::{Credentials, Proof, TokenDirectory};
