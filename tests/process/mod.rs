//! The program as a process that serves on a free port of 127.0.0.1.

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

/// The lines that a process writes after its address.
pub type Log = Lines<BufReader<ChildStderr>>;

/// Ends with its test.
pub struct Process {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub address: String,
}

/// `callscope serve` in `folder`, without settings from the environment.
pub fn serve(folder: &Path, database_url: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callscope"));
    command.arg("serve").env_clear().current_dir(folder);
    command.env("CALLSCOPE_DATABASE_URL", database_url);
    listen(&mut command);
    command
}

/// The system chooses the port, and the log has it: a port that a test chose could be taken before the
/// process binds it.
pub fn listen(command: &mut Command) {
    command.args(["--listen", "127.0.0.1:0", "--log-format", "json"]);
}

impl Process {
    /// Returns when the process accepts connections. Its log is read and dropped.
    pub fn start(command: &mut Command) -> Self {
        let (process, log) = Self::start_with_log(command);
        std::thread::spawn(move || log.map_while(Result::ok).for_each(drop));
        process
    }

    /// The same, for a caller that reads the rest of the log, or leaves it unread.
    pub fn start_with_log(command: &mut Command) -> (Self, Log) {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("callscope starts");
        let mut log = BufReader::new(child.stderr.take().expect("a log")).lines();
        let mut process = Self { child, address: String::new() };
        let mut lines = String::new();
        while process.address.is_empty() {
            let line = log.next().and_then(Result::ok);
            let line = line.unwrap_or_else(|| panic!("no address in the log:\n{lines}"));
            let address =
                line.split_once("http://").and_then(|(_, rest)| rest.split_once("/graphql"));
            process.address = address.map_or_else(String::new, |(address, _)| address.to_owned());
            lines = lines + &line + "\n";
        }
        (process, log)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of a process that got a signal to stop.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("ends")
    }

    /// SIGKILL: the process cannot finish or close anything.
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
