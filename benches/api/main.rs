//! Every root query in three forms in one run: through the server over HTTP, as plain SQL on the same database, and
//! as the server's own statements; on SQLite and on the servers whose URLs are set.
//!
//! `cargo bench --workspace --bench api [-- --calls 100000,1000000,10000000 --case calls]` prints the medians;
//! `--write` also puts them into docs/PERFORMANCE.md. `cargo test --benches` runs each form once on few calls.

#![expect(clippy::panic, reason = "a benchmark that cannot run stops")]

mod plain;
mod report;
mod subject;
#[expect(dead_code, reason = "the other benchmarks use empty databases")]
#[path = "../support/mod.rs"]
mod support;

use clap::Parser;
use report::{Measured, Report};
use subject::Subject;
use support::engine::Engine;
use support::{CALLS, cases, data};

/// The allocator of the server.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Longer logs have more calls a day.
const MOST_DAYS: i64 = 31;

#[derive(Parser)]
struct Args {
    /// Calls of each database
    #[arg(long, value_delimiter = ',', default_values_t = [CALLS / 10, CALLS],
        value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    calls: Vec<u64>,

    /// Only cases with this in their name
    #[arg(long, default_value = "", hide_default_value = true)]
    case: String,

    /// Without the index of the texts of error logs
    #[arg(long, conflicts_with = "write")]
    no_text_index: bool,

    /// Replaces the tables of docs/PERFORMANCE.md
    #[arg(long, conflicts_with = "case")]
    write: bool,

    /// Set by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = Args::parse();
    if !args.bench {
        args.calls = vec![5_000];
    }
    let engines = Engine::all();
    let mut report = Report::new(&engines)?;
    print!("{}", report.text);
    for calls in args.calls.clone() {
        let step = data::STEP_MICROS.min(MOST_DAYS * 86_400_000_000 / i64::try_from(calls)?);
        let mut measured = Measured::new(calls, step)?;
        for engine in &engines {
            eprintln!("{}, {calls} calls", engine.name);
            let database = engine.filled(calls, step).await?;
            let times = measure(&database, &args, &mut measured).await;
            database.drop().await?;
            times?;
        }
        print!("{}", report.add(&measured)?);
    }
    if args.write { report.write() } else { Ok(()) }
}

async fn measure(
    database: &support::engine::Database,
    args: &Args,
    measured: &mut Measured,
) -> anyhow::Result<()> {
    let subject = Subject::open(database, !args.no_text_index).await?;
    measured.folded.push(subject.fold().await?);
    subject.has_case_of_each_query().await?;
    for (row, case) in cases::all()?.iter().enumerate() {
        if case.name.contains(&args.case) {
            measured.times[row].push(subject.times(case, args.bench).await?);
        }
    }
    subject.verify(measured.calls).await?;
    subject.close().await
}
