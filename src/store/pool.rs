//! How the connections are used.

/// How many connections there are of a kind.
#[derive(Clone, Copy, Debug)]
pub struct PoolState {
    pub name: &'static str,
    pub most: u32,
    pub open: u32,
    pub idle: u32,
}
