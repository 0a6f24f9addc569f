//! Measures ceilings, resets, groups and usability on labelled traffic, and the time for a million calls.
//!
//! `cargo bench --workspace --bench usability` prints the tables of docs/DIAGNOSIS.md.

#[expect(dead_code, reason = "the diagnosis uses its labels")]
#[path = "../diagnosis/traffic.rs"]
mod faults;
#[path = "../support/gateway.rs"]
mod gateway;
mod score;
mod traffic;

use std::ops::Range;
use std::time::Instant;

use callscope::domain::diagnosis::{Outcome, Past, diagnose};
use callscope::domain::quota::{PoolQuotas, Refusal};

use score::{Ceilings, HOURS, Score, quantile};
use traffic::{Mix, Window, generate};

/// Gateways in each table, and times of each.
const MIXES: u64 = 30;
const TIMES: usize = 8;

fn main() {
    let count = std::env::args().skip(1).find_map(|it| it.parse().ok());
    let count = count.unwrap_or(MIXES);
    report("tuning", Mix::tuning, 0..count);
    report("held out", Mix::held_out, 40_000..40_000 + count);
    speed();
}

fn report(name: &str, mix: fn(u64) -> Mix, seeds: Range<u64>) {
    let mut score = Score::default();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        score.add(&generate(&mix(seed)), TIMES);
    }
    println!("\n## {name}: {count} gateways\n");
    println!("| ceiling of | projects | quotas | known | within 5 % | inside |\n|-|-|-|-|-|-|");
    for (index, window) in Window::ALL.iter().enumerate() {
        for is_stated in [true, false] {
            let Some(entry) = score.ceilings.get(&(index, is_stated)) else { continue };
            let Ceilings { count, known, near, inside } = *entry;
            let part = |part: usize| part as f64 / count.max(1) as f64;
            let projects = if is_stated { "stated" } else { "learnt" };
            println!(
                "| {window:?} | {projects} | {count} | {:.3} | {:.3} | {:.3} |",
                part(known),
                part(near),
                part(inside)
            );
        }
    }
    println!(
        "\n| reset of | cells | median s | 90 % s | within aim | stated: median s | within aim |\n|-|-|-|-|-|-|-|"
    );
    for (index, window) in Window::ALL.iter().enumerate() {
        let Some(errors) = score.resets.get(&index) else { continue };
        let aim = if window.is_minute() { 5.0 } else { 120.0 };
        let within = |errors: &[f64]| {
            errors.iter().filter(|error| **error <= aim).count() as f64 / errors.len().max(1) as f64
        };
        let stated = score.stated.get(&index).cloned().unwrap_or_default();
        println!(
            "| {window:?} | {} | {:.1} | {:.1} | {:.3} | {:.1} | {:.3} |",
            errors.len(),
            quantile(errors, 0.5),
            quantile(errors, 0.9),
            within(errors),
            quantile(&stated, 0.5),
            within(&stated),
        );
    }
    let rand = &score.rand;
    let perfect = rand.iter().filter(|it| **it >= 0.95).count();
    println!(
        "\ngroups: adjusted Rand index mean {:.3}, median {:.3}, 10 % {:.3}, at least 0.95 in {perfect} of {} gateways, {} keys",
        rand.iter().sum::<f64>() / rand.len().max(1) as f64,
        quantile(rand, 0.5),
        quantile(rand, 0.1),
        rand.len(),
        score.rand_keys,
    );
    println!("\n| Brier score | usability | 429 means 60 s | stated delay |\n|-|-|-|-|");
    for (name, it) in ["random time", "after a refusal", "an hour later"].iter().zip(&score.brier) {
        let part = |sum: f64| sum / it.count.max(1.0);
        println!(
            "| {name} | {:.4} | {:.4} | {:.4} |",
            part(it.model),
            part(it.minute_rule),
            part(it.stated_rule)
        );
    }
    println!("\n| state | cells | accepted |\n|-|-|-|");
    for (name, (cells, accepted)) in
        ["USABLE", "LIMITED", "UNUSABLE", "UNKNOWN"].iter().zip(&score.states)
    {
        println!("| {name} | {cells} | {:.3} |", accepted / cells.max(1.0));
    }
    println!("\n| forecast | mean error, part of the keys | 90 % |\n|-|-|-|");
    for (hour, errors) in HOURS.iter().zip(&score.forecast) {
        let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
        println!("| {hour} h | {mean:.3} | {:.3} |", quantile(errors, 0.9));
    }
    println!("\nlearn: median {:.1} ms", quantile(&score.learn_ms, 0.5));
}

/// A million calls of 1,000 keys in 24 hours.
fn speed() {
    let mix = faults::Mix {
        keys: 1_000,
        models: 12,
        requests_per_minute: 620.0,
        rotation: gateway::Rotation::RoundRobin,
        shape: faults::Shape::Bursts,
        incidents: 8,
        ..faults::Mix::tuning(1)
    };
    let traffic = faults::generate(&mix);
    let calls = &traffic.calls;
    let diagnoses = diagnose(calls, &Past::default(), traffic.as_of);
    let refusal = |call: usize| Refusal {
        call: call as u32,
        quotas: Vec::new(),
        retry_at: Some(calls.at[call] + 36 * gateway::SECOND),
        project: None,
    };
    let is_refused = |call: &usize| {
        calls.status[*call] == 429 && matches!(calls.outcome[*call], Outcome::Logged(_))
    };
    let refusals: Vec<Refusal> = (0..calls.len()).filter(is_refused).map(refusal).collect();
    let mut times = Vec::new();
    for _ in 0..20 {
        let start = Instant::now();
        std::hint::black_box(PoolQuotas::learn(calls, &refusals, &diagnoses, traffic.as_of));
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    println!(
        "\n{} calls, {} keys, {} refusals: shortest {:.1} ms, median {:.1} ms, longest {:.1} ms",
        calls.len(),
        mix.keys,
        refusals.len(),
        quantile(&times, 0.0),
        quantile(&times, 0.5),
        quantile(&times, 1.0),
    );
}
