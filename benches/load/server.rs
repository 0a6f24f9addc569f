//! The program itself, in a process of its own.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::Context;

use crate::MAX_PAGE_SIZE;

pub struct Server {
    child: Child,
    pub url: String,
}

impl Server {
    /// On a free port, which its log tells.
    pub fn start(database_url: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callscope"));
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .args(["--max-page-size", MAX_PAGE_SIZE])
            // No setting comes from outside.
            .env_clear()
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .env("CALLSCOPE_DATABASE_URL", database_url)
            .stderr(Stdio::piped());
        let mut child = command.spawn().context("callscope does not start")?;
        let log = child.stderr.take().context("no log")?;
        let mut lines = BufReader::new(log).lines();
        loop {
            let Some(line) = lines.next().transpose()? else {
                anyhow::bail!("callscope stopped: {}", child.wait()?);
            };
            let address =
                line.split_once("http://").and_then(|(_, rest)| rest.split_once("/graphql"));
            if let Some((address, _)) = address {
                let url = format!("http://{address}");
                // Read to its end, so that the server never waits for its log.
                std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
                return Ok(Self { child, url });
            }
            eprintln!("{line}");
        }
    }

    /// Ends it; tells the most memory that it ever had, in MB.
    pub fn stop(mut self) -> anyhow::Result<f64> {
        let peak = peak_memory(self.child.id());
        self.child.kill()?;
        self.child.wait()?;
        peak
    }
}

/// `VmHWM`, which Linux alone tells.
fn peak_memory(process: u32) -> anyhow::Result<f64> {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{process}/status")) else {
        return Ok(f64::NAN);
    };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()).context("no VmHWM")?;
    Ok(kilobytes.parse::<f64>()? / 1024.0)
}
