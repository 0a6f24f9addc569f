//! The medians of a run as a Markdown table, from what criterion wrote of it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::support::cases::Case;

/// Cases whose windows are as full in a table of any size.
pub fn is_of_a_day(case: &Case) -> bool {
    case.name != "usage_month"
}

pub fn print(cases: &[Case], calls: u64, started: SystemTime) -> anyhow::Result<()> {
    let median = |case: &Case, folder: &str, form: &str| {
        let group = format!("{}_{folder}", case.name);
        median(&folder_of_results()?.join(group).join(form), started)
    };
    println!("\n{calls} calls, medians in ms:\n");
    println!("| query | over HTTP | plain SQL | ratio | own statements alone | ratio |");
    println!("|---|---:|---:|---:|---:|---:|");
    for case in cases {
        let of = |form| median(case, "large", form);
        let (Some(http), Some(plain), Some(own)) = (of("http")?, of("plain")?, of("own")?) else {
            continue;
        };
        let (to_plain, to_own) = (http / plain, http / own);
        println!(
            "| {} | {http:.2} | {plain:.2} | {to_plain:.2} | {own:.2} | {to_own:.2} |",
            case.what
        );
    }
    println!("\nThe same windows, over HTTP, in ms:\n");
    println!("| query | among {} calls | among {calls} calls | ratio |", calls / 10);
    println!("|---|---:|---:|---:|");
    for case in cases.iter().filter(|case| is_of_a_day(case)) {
        let of = |folder| median(case, folder, "http");
        let (Some(small), Some(large)) = (of("small")?, of("large")?) else { continue };
        println!("| {} | {small:.2} | {large:.2} | {:.2} |", case.what, large / small);
    }
    Ok(())
}

/// In ms; nothing where this run did not measure it.
fn median(folder: &Path, started: SystemTime) -> anyhow::Result<Option<f64>> {
    let file = folder.join("new/estimates.json");
    let fresh = file.metadata().and_then(|file| file.modified()).is_ok_and(|at| at >= started);
    if !fresh {
        return Ok(None);
    }
    let estimates: serde_json::Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let nanoseconds = estimates.pointer("/median/point_estimate").and_then(|value| value.as_f64());
    Ok(nanoseconds.map(|nanoseconds| nanoseconds / 1e6))
}

fn folder_of_results() -> anyhow::Result<PathBuf> {
    if let Some(folder) = std::env::var_os("CRITERION_HOME") {
        return Ok(folder.into());
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    Ok(target.ok_or_else(|| anyhow::anyhow!("no target folder"))?.join("criterion"))
}
