//! Runs this program under callgrind. It writes a file with the instructions of all threads since the last file
//! whenever the program enters `mark`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use super::paths::COUNTED;

/// Ends one part of the program and starts another.
#[inline(never)]
pub fn mark() {
    std::hint::black_box(());
}

/// The instructions of a request of each path: of several the fewest, since the others may include a timer's.
pub fn count(
    url: &str,
    folder: &Path,
    paths: &[&'static str],
) -> anyhow::Result<Vec<(&'static str, u64)>> {
    let files = folder.join("callgrind");
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--dump-before=*instructions::callgrind::mark"])
        .arg(format!("--callgrind-out-file={}", files.display()))
        .arg(std::env::current_exe()?)
        .args(["--bench", "--database-url", url])
        .status()
        .context("valgrind does not start; on Debian: apt-get install valgrind")?;
    ensure!(status.success(), "valgrind: {status}");
    let counted = paths.iter().enumerate().map(|(number, path)| {
        // The first file of a path is that of its requests before the counted ones.
        let first = number * (COUNTED + 1) + 1;
        let files = first + 1..=first + COUNTED;
        let counts = files.map(|file| instructions(&folder.join(format!("callgrind.{file}"))));
        let counts = counts.collect::<anyhow::Result<Vec<_>>>()?;
        Ok((*path, counts.into_iter().min().unwrap_or_default()))
    });
    counted.collect()
}

/// The total of a file, from its line `totals: 123`.
fn instructions(file: &Path) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let total = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
    Ok(total.with_context(|| format!("no total in {}", file.display()))?.trim().parse()?)
}
