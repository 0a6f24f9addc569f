//! Measures the diagnosis on labelled traffic, and its time for a million calls.
//!
//! `cargo bench --workspace --bench diagnosis` prints the tables of docs/DIAGNOSIS.md.

#[path = "../support/gateway.rs"]
mod gateway;
mod score;
mod traffic;

use std::time::Instant;

use callscope::domain::diagnosis::{Cause, Outcome, Past, diagnose};

use gateway::Rotation;
use score::{OfCause, Score, minutes_to_detect, quantile};
use traffic::{Mix, Shape, generate};

/// Days of a gateway in each table.
const MIXES: u64 = 100;
/// Incidents of each cause in the table of times.
const SAMPLES: u64 = 12;

fn main() {
    report("tuning", &Mix::tuning, 0..MIXES);
    report("held out", &Mix::held_out, 20_000..20_000 + MIXES);
    detection();
    speed();
}

/// The time until each cause is found, with about 10 calls a minute on the thing that fails.
fn detection() {
    println!("\nminutes to detect at 10 calls a minute");
    let mut all = Vec::new();
    for cause in Cause::ALL {
        let minutes = (0..SAMPLES)
            .filter_map(|seed| minutes_to_detect(&generate(&Mix::detection(cause, 500 + seed)), 0));
        let minutes: Vec<f64> = minutes.collect();
        if !minutes.is_empty() {
            let (median, late) = (quantile(&minutes, 0.5), quantile(&minutes, 0.9));
            let found = minutes.len();
            println!(
                "{:18} median {median:.1}, 90 % {late:.1} (n = {found} of {SAMPLES})",
                cause.name()
            );
        }
        // Slow calls are no failures.
        if cause != Cause::Slow {
            all.extend(minutes);
        }
    }
    println!("all failures: median {:.1}, 90 % {:.1}", quantile(&all, 0.5), quantile(&all, 0.9));
}

fn report(name: &str, mix: &dyn Fn(u64) -> Mix, seeds: std::ops::Range<u64>) {
    let mut score = Score::default();
    for seed in seeds {
        let traffic = generate(&mix(seed));
        score.add(seed, &traffic);
        score.add_confidence(&traffic);
    }
    println!("\n{name}: {} failures of incidents, {} incidents", score.failures, score.incidents);
    println!("right cause and scope: {:.3} of failures", score.accuracy());
    println!("incidents found: {:.3}", score.found as f64 / score.incidents as f64);
    println!(
        "false diagnoses: {} in {:.0} key-months, {:.3} per key-month; right {}, repeated {}",
        score.false_diagnoses.len(),
        score.key_months,
        score.false_per_key_month(),
        score.right_diagnoses,
        score.repeated,
    );
    let spread = |values: &[f64]| {
        let at = |part| quantile(values, part);
        format!("median {:.2}, 90 % {:.2} (n = {})", at(0.5), at(0.9), values.len())
    };
    println!("error of since, minutes: {}", spread(&score.error_of_since));
    println!("error of until, minutes: {}", spread(&score.error_of_until));
    let mut stated: Vec<f64> = score.confidence.iter().map(|it| it.0).collect();
    stated.sort_by(f64::total_cmp);
    stated.dedup();
    for confidence in stated {
        let bin: Vec<_> = score.confidence.iter().filter(|it| it.0 == confidence).collect();
        let right = bin.iter().filter(|it| it.1).count() as f64 / bin.len() as f64;
        println!("confidence {confidence:.2}: {right:.3} right (n = {})", bin.len());
    }
    println!("{:18} {:>9} {:>7} {:>9} {:>7}", "cause", "failures", "right", "incidents", "found");
    score.by_cause.sort_by_key(|entry| entry.cause);
    for OfCause { cause, failures, right, incidents, found } in &score.by_cause {
        let part = *right as f64 / (*failures as f64).max(1.0);
        println!("{:18} {failures:9} {part:7.3} {incidents:9} {found:7}", cause.name());
    }
    let mut causes: Vec<_> = score.false_diagnoses.iter().map(|(_, cause)| cause.name()).collect();
    causes.sort_unstable();
    let groups = causes.chunk_by(|a, b| a == b);
    let groups: Vec<String> = groups.map(|group| format!("{} {}", group[0], group.len())).collect();
    println!("false: {}", groups.join(", "));
}

/// A million calls of 1,000 keys in 24 hours.
fn speed() {
    let mix = Mix {
        keys: 1_000,
        models: 12,
        requests_per_minute: 620.0,
        rotation: Rotation::RoundRobin,
        shape: Shape::Bursts,
        incidents: 8,
        ..Mix::tuning(1)
    };
    let traffic = generate(&mix);
    let is_failure = |outcome: &&Outcome| **outcome != Outcome::Success;
    let failures = traffic.calls.outcome.iter().filter(is_failure).count();
    let mut times = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        std::hint::black_box(diagnose(&traffic.calls, &Past::default(), traffic.as_of));
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    println!(
        "\n{} calls, {} keys, {failures} failures: shortest {:.1} ms, median {:.1} ms, longest {:.1} ms",
        traffic.calls.len(),
        mix.keys,
        quantile(&times, 0.0),
        quantile(&times, 0.5),
        quantile(&times, 1.0),
    );
}
