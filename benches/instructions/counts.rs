//! The file of counts.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Growth above this share fails.
const MOST_PERCENT: f64 = 5.0;

const NOTE: &str = "# Instructions of one request: cargo bench --profile dev --workspace --bench instructions -- --write\n";

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/counts.tsv")
}

pub fn write(counted: &[(&str, u64)]) -> anyhow::Result<()> {
    let mut text = NOTE.to_owned();
    for (path, count) in counted {
        writeln!(text, "{path}\t{count}")?;
    }
    Ok(std::fs::write(file(), text)?)
}

pub fn compare(counted: &[(&str, u64)]) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file())?;
    let kept = |path: &str| -> anyhow::Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(path)?.strip_prefix('\t'));
        Ok(line.with_context(|| format!("counts.tsv has no {path}"))?.parse()?)
    };
    let mut grown = vec![];
    println!("{:<16}{:>14}{:>14}{:>9}", "", "counts.tsv", "now", "change");
    for (path, count) in counted {
        let kept = kept(path)?;
        let percent = (*count as f64 / kept as f64 - 1.0) * 100.0;
        println!("{path:<16}{kept:>14}{count:>14}{percent:>+8.1}%");
        if percent > MOST_PERCENT {
            grown.push(format!("{path} by {percent:.1} %"));
        }
    }
    if grown.is_empty() {
        return Ok(());
    }
    bail!(
        "more instructions than in benches/instructions/counts.tsv: {}. At most {MOST_PERCENT} % are allowed. Make it \
         cheaper, or accept the new counts with `cargo bench --profile dev --workspace --bench instructions -- \
         --write` and give the reason in the commit",
        grown.join(", ")
    )
}
