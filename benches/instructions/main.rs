//! The instructions of the main paths, counted by callgrind and compared with `counts.tsv`. It fails if one of
//! them has grown by more than 5 %.
//!
//! `cargo bench --profile dev --workspace --bench instructions [-- --write]`. `--write` replaces the file.
//!
//! The counts are those of the dev profile, which CI builds anyway (docs/PERFORMANCE.md). They include SQLite and its
//! thread, and no client: requests are executed by the schema, without HTTP and without background jobs.

#![expect(clippy::panic, reason = "a benchmark that cannot run stops")]

mod callgrind;
mod counts;
mod paths;
#[expect(dead_code, reason = "the other benchmarks use the cases")]
#[path = "../support/mod.rs"]
mod support;

use anyhow::ensure;
use clap::Parser;

/// The allocator of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Args {
    /// Replaces the file with the new counts
    #[arg(long)]
    write: bool,

    /// Runs the paths on this file; set for the process that callgrind observes
    #[arg(long, hide = true)]
    database_url: Option<String>,

    /// Set by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if !args.bench {
        // `cargo test --benches` also runs this.
        println!("instructions: run it with cargo bench --profile dev");
        return Ok(());
    }
    // One thread, so that the order of tasks is always the same.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Some(url) = &args.database_url {
        return runtime.block_on(paths::run(url));
    }
    ensure!(cfg!(debug_assertions), "counts.tsv is of the dev profile: use --profile dev");
    let folder = tempfile::tempdir()?;
    let url = runtime.block_on(paths::prepare(folder.path()))?;
    let counted = callgrind::count(&url, folder.path(), &paths::names()?)?;
    match args.write {
        true => counts::write(&counted),
        false => counts::compare(&counted),
    }
}
