//! Progress of an import, an export or a deletion: a bar on a terminal, otherwise a line every 10 s.

use std::io::IsTerminal;
use std::pin::pin;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use tokio::time::interval;

/// Interval of progress lines when standard error is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Interval of updates by [`Terminal::watch`].
const ADVANCE_EVERY: Duration = Duration::from_millis(200);

/// The operation in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reads it and checks every row.
    Check,
    /// Writes its rows.
    Write,
    /// Deletes rows.
    Delete,
    /// Writes rows to a file.
    Export,
}

/// Receives the progress of an operation.
pub trait Progress: Send + Sync {
    /// Starts a source of `size`: bytes of a file, ids of a table, or rows to write.
    fn start(&self, label: &str, phase: Phase, size: u64);
    /// Sets the finished part of the size.
    fn advance(&self, done: u64);
    /// The source is finished.
    fn finish(&self);
    /// Prints a line.
    fn say(&self, line: &str);
}

/// Progress on the standard error output.
pub struct Terminal {
    bar: ProgressBar,
    /// The phase, and when a line was printed.
    line: Mutex<(Phase, Instant)>,
}

impl Default for Terminal {
    fn default() -> Self {
        let bar = ProgressBar::no_length();
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        Self { bar, line: Mutex::new((Phase::Check, Instant::now())) }
    }
}

impl Terminal {
    /// Shows the progress of `work` by `done`.
    pub async fn watch<T>(&self, work: impl Future<Output = T>, done: impl Fn() -> u64) -> T {
        let mut work = pin!(work);
        let mut ticks = interval(ADVANCE_EVERY);
        let output = loop {
            tokio::select! {
                output = &mut work => break output,
                _ = ticks.tick() => self.advance(done()),
            }
        };
        self.finish();
        output
    }
}

impl Progress for Terminal {
    fn start(&self, label: &str, phase: Phase, size: u64) {
        let form = match phase {
            Phase::Check => "checking {msg} {wide_bar} {percent:>3} %  {eta} left",
            Phase::Write => {
                "writing {msg} {wide_bar} {human_pos}/{human_len} rows  {per_sec}  {eta} left"
            }
            Phase::Delete => {
                "deleting {msg} {wide_bar} {human_pos}/{human_len} rows  {per_sec}  {eta} left"
            }
            // Counting the rows first would take too long.
            Phase::Export => "exporting {msg}  {human_pos} rows  {per_sec}  {elapsed}",
        };
        let style = ProgressStyle::with_template(form);
        self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        self.bar.set_message(label.to_owned());
        self.bar.set_length(size);
        self.bar.reset();
        if let Ok(mut line) = self.line.lock() {
            *line = (phase, Instant::now());
        }
    }

    fn advance(&self, done: u64) {
        self.bar.set_position(done);
        let Ok(mut line) = self.line.lock() else { return };
        let (phase, printed_at) = &mut *line;
        if self.bar.is_hidden() && printed_at.elapsed() >= LINE_EVERY {
            *printed_at = Instant::now();
            eprintln!("{}", describe(&self.bar, *phase));
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }
}

/// One line in place of the bar.
fn describe(bar: &ProgressBar, phase: Phase) -> String {
    let (label, done, size) = (bar.message(), bar.position(), bar.length().unwrap_or(0));
    let left = HumanDuration(bar.eta());
    match phase {
        Phase::Check => {
            let percent = 100.0 * done as f64 / size.max(1) as f64;
            format!("{label}: checking, {percent:.0} %, {left} left")
        }
        Phase::Export => format!("{label}: {} rows", HumanCount(done)),
        Phase::Write | Phase::Delete => {
            let (done, size) = (HumanCount(done), HumanCount(size));
            let rate = HumanCount(bar.per_sec() as u64);
            format!("{label}: {done} of {size} rows, {rate} rows/s, {left} left")
        }
    }
}
