//! The medians of a run as a Markdown table, from criterion's results.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::support::cases::Case;

pub fn print(cases: &[Case], calls: u64, started: SystemTime) -> anyhow::Result<()> {
    let median =
        |case: &Case, form: &str| median(&folder_of_results()?.join(case.name).join(form), started);
    println!("\n{calls} calls, medians in ms:\n");
    println!("| query | over HTTP | plain SQL | ratio | own statements | ratio |");
    println!("|---|---:|---:|---:|---:|---:|");
    for case in cases {
        let of = |form| median(case, form);
        let (Some(http), Some(plain), Some(own)) = (of("http")?, of("plain")?, of("own")?) else {
            continue;
        };
        let (to_plain, to_own) = (http / plain, http / own);
        println!(
            "| {} | {http:.2} | {plain:.2} | {to_plain:.2} | {own:.2} | {to_own:.2} |",
            case.what
        );
    }
    println!("\nThe same calls in tables of two sizes, over HTTP, medians in ms:\n");
    println!("| query | among {} calls | among {calls} calls | ratio |", calls / 10);
    println!("|---|---:|---:|---:|");
    // The small table does not fill a month.
    for case in cases.iter().filter(|case| case.name != "usage_month") {
        let (small, large) = (median(case, "http_small")?, median(case, "http")?);
        let (Some(small), Some(large)) = (small, large) else { continue };
        println!("| {} | {small:.2} | {large:.2} | {:.2} |", case.what, large / small);
    }
    Ok(())
}

/// In ms; `None` if this run did not measure it.
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
