//! The program itself, in a process that can be killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

pub struct Process {
    child: Child,
    pub address: String,
}

impl Process {
    /// On a free port, which its log tells.
    pub fn start(database_url: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_callscope"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json"])
            .env_clear()
            .env("CALLSCOPE_DATABASE_URL", database_url)
            .current_dir(env!("CARGO_TARGET_TMPDIR"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("callscope starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a log")).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("http://")?;
            Some(rest.split_once("/graphql")?.0.to_owned())
        });
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, address: address.expect("it tells where it listens") }
    }

    /// SIGKILL: nothing is finished, nothing is closed.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}
