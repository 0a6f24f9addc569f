//! Progress of an import, an export or a deletion: a bar on a terminal, otherwise a line every 10 s.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};

/// Interval of progress lines when standard error is not a terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

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
    plain: Mutex<Option<Plain>>,
}

struct Plain {
    label: String,
    phase: Phase,
    size: u64,
    started_at: Instant,
    printed_at: Instant,
}

impl Default for Terminal {
    fn default() -> Self {
        let bar = ProgressBar::no_length();
        if !std::io::stderr().is_terminal() {
            bar.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        Self { bar, plain: Mutex::new(None) }
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
        let now = Instant::now();
        let plain =
            Plain { label: label.to_owned(), phase, size, started_at: now, printed_at: now };
        if let Ok(mut current) = self.plain.lock() {
            *current = Some(plain);
        }
    }

    fn advance(&self, done: u64) {
        self.bar.set_position(done);
        let Ok(mut plain) = self.plain.lock() else { return };
        if let Some(plain) = plain.as_mut()
            && self.bar.is_hidden()
            && plain.printed_at.elapsed() >= LINE_EVERY
        {
            plain.printed_at = Instant::now();
            eprintln!("{}", plain.line(done));
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| eprintln!("{line}"));
    }
}

impl Plain {
    fn line(&self, done: u64) -> String {
        let seconds = self.started_at.elapsed().as_secs_f64();
        let share = done as f64 / self.size.max(1) as f64;
        let left = if share > 0.0 { seconds / share - seconds } else { 0.0 };
        let left = HumanDuration(Duration::from_secs_f64(left.max(0.0)));
        match self.phase {
            Phase::Check => {
                format!("{}: checking, {:.0} %, {left} left", self.label, share * 100.0)
            }
            Phase::Export => format!("{}: {} rows", self.label, HumanCount(done)),
            Phase::Write | Phase::Delete => format!(
                "{}: {} of {} rows, {} rows/s, {left} left",
                self.label,
                HumanCount(done),
                HumanCount(self.size),
                HumanCount((done as f64 / seconds.max(0.001)) as u64),
            ),
        }
    }
}
