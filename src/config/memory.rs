//! The memory limit of requests, and its shares.

use clap::Args;

use super::{u32_in, u64_in};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Memory")]
pub struct MemoryConfig {
    /// MiB that all requests together may use: request bodies, responses until they are sent, and rows
    /// that wait to be recorded. The server and its database connections use up to 200 MiB in addition
    #[arg(
        long,
        env,
        value_name = "MIB",
        default_value_t = 512,
        value_parser = u32_in(64..=1_048_576)
    )]
    pub max_memory: u32,

    /// The maximum size of a response, of a batch of responses or of an event, in bytes
    #[arg(
        long,
        env,
        value_name = "BYTES",
        default_value_t = 16_777_216,
        value_parser = u64_in(65_536..=1_073_741_824)
    )]
    pub max_response_bytes: u64,
}

/// The shares of `--max-memory`, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryShares {
    /// One half: responses, from reading their rows until they are sent.
    pub answers: usize,
    /// One quarter: request bodies, until the response is ready.
    pub bodies: usize,
    /// One eighth: queued rows of mutations and spans.
    pub recorder: usize,
    /// One eighth: queued rows of streams.
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
