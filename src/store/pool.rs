//! The state of a connection pool.

/// The number of connections of a pool.
#[derive(Clone, Debug)]
pub struct PoolState {
    pub name: String,
    pub most: u32,
    pub open: u32,
    pub idle: u32,
}
