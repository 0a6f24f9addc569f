//! A floor of the accuracy of the diagnosis, on a few days of generated traffic. `cargo bench --bench diagnosis`
//! measures more of them, and prints the tables of docs/DIAGNOSIS.md.

#[path = "../benches/support/gateway.rs"]
mod gateway;
#[path = "../benches/diagnosis/score.rs"]
#[expect(dead_code, reason = "the benchmark prints more figures")]
mod score;
#[path = "../benches/diagnosis/traffic.rs"]
#[expect(dead_code, reason = "the benchmark generates more traffic")]
mod traffic;

use score::{Score, quantile};
use traffic::{Mix, generate};

#[test]
fn most_failures_have_the_right_cause_and_scope() {
    let mut score = Score::default();
    for seed in 0..12 {
        score.add(seed, &generate(&small(seed)));
    }
    assert!(score.failures > 20_000 && score.incidents >= 15, "{} failures", score.failures);
    assert!(score.accuracy() >= 0.95, "{}", score.accuracy());
    assert!(score.found * 10 >= score.incidents * 9, "{} of {}", score.found, score.incidents);
    let wrong = &score.false_diagnoses;
    assert!(wrong.len() * 20 <= score.right_diagnoses, "{wrong:?}");
    assert!(quantile(&score.error_of_since, 0.5) <= 1.0);
}

/// A random mix with few calls.
fn small(seed: u64) -> Mix {
    let mix = Mix::tuning(seed);
    let requests_per_minute = mix.requests_per_minute.min(30.0);
    Mix { keys: mix.keys.min(50), requests_per_minute, incidents: 3, ..mix }
}
