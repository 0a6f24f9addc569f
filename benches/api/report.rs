//! The results as Markdown, with the commit and the machine.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use callscope::clock::Clock;

use crate::subject::{Folded, Times};
use crate::support::cases;
use crate::support::engine::Engine;

const FIRST_LINE: &str = "<!-- written by cargo bench --workspace --bench api -- --write -->\n";
const LAST_LINE: &str = "<!-- end of what the benchmark writes -->\n";

/// What was measured on databases of one size: for each engine, and for each case and engine.
pub struct Measured {
    pub calls: u64,
    step_micros: i64,
    pub folded: Vec<Folded>,
    pub times: Vec<Vec<Times>>,
}

impl Measured {
    pub fn new(calls: u64, step_micros: i64) -> anyhow::Result<Self> {
        let times = cases::all()?.iter().map(|_| vec![]).collect();
        Ok(Self { calls, step_micros, folded: vec![], times })
    }
}

pub struct Report {
    engines: Vec<&'static str>,
    pub text: String,
}

impl Report {
    pub fn new(engines: &[Engine]) -> anyhow::Result<Self> {
        let engines: Vec<_> = engines.iter().map(|engine| engine.name).collect();
        let mut text = format!(
            "{}, commit {}; {}. Load of the machine at the start: {}.",
            Clock::System.now().format("%F"),
            commit()?,
            machine()?,
            first_word("/proc/loadavg")?,
        );
        for name in Engine::NAMES.iter().filter(|name| !engines.contains(*name)) {
            write!(text, " {name} was not measured: no URL was given.")?;
        }
        text.push('\n');
        Ok(Self { engines, text })
    }

    /// Returns the new part.
    pub fn add(&mut self, measured: &Measured) -> anyhow::Result<&str> {
        let start = self.text.len();
        let text = &mut self.text;
        let days = measured.step_micros as f64 * measured.calls as f64 / 86.4e9;
        writeln!(text, "\n#### {} calls in {days:.1} days\n", grouped(measured.calls))?;
        let engines = self.engines.iter().map(|name| format!(" {name} | plain | own |"));
        writeln!(text, "| medians in ms |{}", engines.collect::<String>())?;
        writeln!(text, "|---|{}", "---:|---:|---:|".repeat(self.engines.len()))?;
        for (case, times) in cases::all()?.iter().zip(&measured.times) {
            if times.is_empty() {
                continue;
            }
            write!(text, "| {} |", case.what)?;
            for Times { http, plain, own } in times {
                let [http, plain, own] = [Some(*http), *plain, *own].map(milliseconds);
                write!(text, " {http} | {plain} | {own} |")?;
            }
            text.push('\n');
        }
        text.push('\n');
        for (name, folded) in self.engines.iter().zip(&measured.folded) {
            let rate = grouped((measured.calls as f64 / folded.seconds) as u64);
            let cells = grouped(folded.cells.unsigned_abs());
            let bytes =
                folded.bytes.map_or(String::new(), |bytes| format!(", {} MB", bytes / 1_000_000));
            writeln!(
                text,
                "{name}: folded in {:.1} s ({rate} calls/s) into {cells} cells{bytes}; verified.",
                folded.seconds
            )?;
        }
        Ok(&self.text[start..])
    }

    /// Replaces the part of docs/PERFORMANCE.md between the two lines.
    pub fn write(&self) -> anyhow::Result<()> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/PERFORMANCE.md");
        let document = std::fs::read_to_string(&file)?;
        let (before, rest) = document.split_once(FIRST_LINE).context("no line to write after")?;
        let (_, after) = rest.split_once(LAST_LINE).context("no line to write before")?;
        let document = format!("{before}{FIRST_LINE}\n{}\n{LAST_LINE}{after}", self.text);
        Ok(std::fs::write(&file, document)?)
    }
}

fn milliseconds(time: Option<f64>) -> String {
    match time {
        None => "–".to_owned(),
        Some(time) if time < 10.0 => format!("{time:.2}"),
        Some(time) if time < 100.0 => format!("{time:.1}"),
        Some(time) => grouped(time.round() as u64),
    }
}

/// With commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let parts = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    parts.collect::<Vec<_>>().join(",")
}

fn commit() -> anyhow::Result<String> {
    let git = |args: &[&str]| -> anyhow::Result<String> {
        let folder = env!("CARGO_MANIFEST_DIR");
        let ran = Command::new("git").args(args).current_dir(folder).output().context("no git")?;
        ensure!(ran.status.success(), "git: {}", String::from_utf8_lossy(&ran.stderr));
        Ok(String::from_utf8(ran.stdout)?.trim().to_owned())
    };
    let changed =
        match git(&["status", "--porcelain", "--untracked-files=no", "src", "Cargo.lock"])?
            .is_empty()
        {
            true => "",
            false => " with changes",
        };
    Ok(git(&["rev-parse", "--short", "HEAD"])? + changed)
}

/// Cores, processor and memory. Only Linux reports the last two.
fn machine() -> anyhow::Result<String> {
    let value = |file: &str, name: &str| -> anyhow::Result<String> {
        let text = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
        let line = text.lines().find(|line| line.starts_with(name)).context("no such line")?;
        Ok(line.split_once(':').context("no value")?.1.trim().to_owned())
    };
    let cores = std::thread::available_parallelism()?;
    let processor = value("/proc/cpuinfo", "model name")?;
    let memory: u64 = value("/proc/meminfo", "MemTotal")?.trim_end_matches(" kB").parse()?;
    Ok(format!("{cores} cores of {processor}, {} GB of memory", memory / 1_000_000))
}

fn first_word(file: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
    Ok(text.split_whitespace().next().unwrap_or_default().to_owned())
}
