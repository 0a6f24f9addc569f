//! The program as a separate process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use crate::MAX_PAGE_SIZE;

/// Bytes of the log that are read at once.
const LOG_BYTES: usize = 64 << 10;

pub struct Server {
    child: Child,
    pub url: String,
}

impl Server {
    /// Starts on a free port, which the log has, with these flags.
    pub fn start(database_url: &str, flags: &[(&str, &str)]) -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callscope"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .args(["--max-page-size", MAX_PAGE_SIZE])
            .args(flags.iter().flat_map(|(flag, value)| [flag, value]))
            // Ignore settings of the environment.
            .env_clear()
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .env("CALLSCOPE_DATABASE_URL", database_url)
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("callscope does not start")?;
        let log = child.stderr.take().context("no log")?;
        let mut log = BufReader::with_capacity(LOG_BYTES, log);
        let mut line = String::new();
        loop {
            line.clear();
            if log.read_line(&mut line)? == 0 {
                anyhow::bail!("callscope stopped: {}", child.wait()?);
            }
            let address =
                line.split_once("http://").and_then(|(_, rest)| rest.split_once("/graphql"));
            if let Some((address, _)) = address {
                let url = format!("http://{address}");
                // Reads the log to its end, so that the server never waits for its log.
                std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
                return Ok(Self { child, url });
            }
            eprint!("{line}");
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Stops it and returns its memory.
    pub fn stop(self) -> anyhow::Result<Memory> {
        Memory::of(self.id())
    }
}

impl Drop for Server {
    /// No server is left behind after a failed measurement.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The memory of a process in MB; NaN except on Linux, the only system that reports it.
pub struct Memory {
    /// The peak. The pages of a database file count for each connection that maps
    /// them, though they are in memory once and are freed when memory is short.
    pub peak: f64,
    /// The memory at the end, without files.
    pub own: f64,
}

impl Memory {
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{process}/status")) else {
            return Ok(Self { peak: f64::NAN, own: f64::NAN });
        };
        let megabytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.and_then(|line| line.split_whitespace().next());
            let kilobytes = kilobytes.with_context(|| format!("no {name} of the server"))?;
            anyhow::Ok(kilobytes.parse::<f64>()? / 1024.0)
        };
        Ok(Self { peak: megabytes("VmHWM:")?, own: megabytes("RssAnon:")? })
    }
}
