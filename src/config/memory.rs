//! How much memory clients may make the server hold, and what of it is for what.

use clap::Args;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Memory")]
pub struct MemoryConfig {
    /// MiB that requests may make the server hold in all: bodies that are read, answers until they are
    /// sent, rows that wait to be recorded. The server itself and its connections to the database take
    /// up to 200 MiB in addition
    #[arg(
        long,
        env = "CALLSCOPE_MAX_MEMORY",
        value_name = "MIB",
        default_value_t = 512,
        value_parser = clap::value_parser!(u32).range(64..=1_048_576)
    )]
    pub max_memory: u32,

    /// The largest answer to a request, a batch or an event, in bytes
    #[arg(
        long,
        env = "CALLSCOPE_MAX_RESPONSE_BYTES",
        value_name = "BYTES",
        default_value_t = 16_777_216,
        value_parser = clap::value_parser!(u64).range(65_536..=1_073_741_824)
    )]
    pub max_response_bytes: u64,
}

/// The shares of `--max-memory`, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShares {
    /// A half: answers, from the rows that are read for them until they are sent.
    pub answers: usize,
    /// A quarter: the bodies of requests while they are read and answered.
    pub bodies: usize,
    /// An eighth: rows of mutations and spans that wait to be recorded.
    pub recorder: usize,
    /// An eighth: rows of streams that wait to be recorded.
    pub streams: usize,
}

impl MemoryConfig {
    pub fn shares(&self) -> MemoryShares {
        let all = self.max_memory as usize * 1024;
        MemoryShares { answers: all / 2, bodies: all / 4, recorder: all / 8, streams: all / 8 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_the_whole() {
        let config = MemoryConfig { max_memory: 512, max_response_bytes: 1 };
        let MemoryShares { answers, bodies, recorder, streams } = config.shares();
        assert_eq!(answers + bodies + recorder + streams, 512 * 1024);
        assert_eq!(recorder, 64 * 1024);
    }
}
