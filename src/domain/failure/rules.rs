//! The table of rules, `rules.toml`: in its order, the first rule that matches decides.

use std::sync::LazyLock;
use std::time::Duration;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use serde::Deserialize;

use super::facts::{DAY, MINUTE};
use super::{FailureClass, QuotaMetric, Remedy, Retry, StatedQuota};

const TABLE: &str = include_str!("rules.toml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    rule: Vec<Rule>,
}

/// All conditions that a rule states must hold. Phrases ignore the case of ASCII letters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    id: String,
    class: FailureClass,
    /// Where it is another than the class's.
    remedy: Option<Remedy>,
    /// One of these phrases is in the text,
    #[serde(default)]
    text: Vec<String>,
    /// one of these as well,
    #[serde(default)]
    and: Vec<String>,
    /// and none of these.
    #[serde(default)]
    not: Vec<String>,
    /// One of these is the status code.
    #[serde(default)]
    status: Vec<i32>,
    /// None of these is.
    #[serde(default)]
    status_not: Vec<i32>,
    /// The text states quotas of this kind.
    quota: Option<QuotaKind>,
    /// The text says to wait at least so long.
    retry_hours: Option<u64>,
    #[cfg_attr(not(test), expect(dead_code, reason = "tests and documents read them"))]
    examples: Vec<String>,
}

/// The kind of the stated quotas together, by their longest window; between a minute and a day there is none.
#[derive(Clone, Copy, PartialEq, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum QuotaKind {
    Zero,
    Day,
    Tokens,
    Minute,
}

impl QuotaKind {
    fn of(quotas: &[StatedQuota]) -> Option<Self> {
        if !quotas.is_empty() && quotas.iter().all(|quota| quota.limit == Some(0)) {
            return Some(Self::Zero);
        }
        let windows = || quotas.iter().filter_map(|quota| Some((quota.window?, quota.metric)));
        let longest = windows().map(|(window, _)| window).max()?;
        if longest >= DAY {
            Some(Self::Day)
        } else if longest > MINUTE {
            None
        } else if windows()
            .any(|(_, metric)| metric.is_some_and(|metric| metric != QuotaMetric::Requests))
        {
            Some(Self::Tokens)
        } else {
            Some(Self::Minute)
        }
    }
}

/// The rules, and an automaton that finds all their phrases in one pass.
struct Rules {
    rules: Vec<Compiled>,
    phrases: AhoCorasick,
    count: usize,
}

struct Compiled {
    rule: Rule,
    text: Vec<usize>,
    and: Vec<usize>,
    not: Vec<usize>,
}

#[expect(clippy::expect_used, reason = "the table is a constant, which a test reads")]
static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let table: Table = toml::from_str(TABLE).expect("a table of rules");
    let mut phrases: Vec<String> = Vec::new();
    let mut number = |texts: &[String]| -> Vec<usize> {
        let number = |text: &String| {
            let text = text.to_ascii_lowercase();
            phrases.iter().position(|phrase| *phrase == text).unwrap_or_else(|| {
                phrases.push(text);
                phrases.len() - 1
            })
        };
        texts.iter().map(number).collect()
    };
    let rules = table.rule.into_iter().map(|rule| Compiled {
        text: number(&rule.text),
        and: number(&rule.and),
        not: number(&rule.not),
        rule,
    });
    let rules = rules.collect();
    let automaton = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .kind(Some(AhoCorasickKind::DFA))
        .build(&phrases);
    Rules { rules, phrases: automaton.expect("an automaton"), count: phrases.len() }
});

pub(super) struct Verdict {
    pub class: FailureClass,
    pub rule: &'static str,
    pub remedy: Option<Remedy>,
}

pub(super) fn decide(
    text: &str,
    status: Option<i32>,
    quotas: &[StatedQuota],
    retry: Option<Retry>,
) -> Verdict {
    let rules = &*RULES;
    let mut found = vec![false; rules.count];
    for phrase in rules.phrases.find_overlapping_iter(text) {
        found[phrase.pattern()] = true;
    }
    let quota = QuotaKind::of(quotas);
    let delay = match retry {
        Some(Retry::After(delay)) => delay,
        _ => Duration::ZERO,
    };
    let matches = |compiled: &&Compiled| {
        let Compiled { rule, text, and, not } = compiled;
        let any = |phrases: &[usize]| phrases.iter().any(|phrase| found[*phrase]);
        let known = |codes: &[i32]| status.is_some_and(|status| codes.contains(&status));
        (text.is_empty() || any(text))
            && (and.is_empty() || any(and))
            && !any(not)
            && (rule.status.is_empty() || known(&rule.status))
            && !known(&rule.status_not)
            && (rule.quota.is_none() || rule.quota == quota)
            && rule.retry_hours.is_none_or(|hours| delay.as_secs() >= hours * 3600)
    };
    match rules.rules.iter().find(matches) {
        Some(Compiled { rule, .. }) => {
            Verdict { class: rule.class, rule: &rule.id, remedy: rule.remedy }
        }
        None => Verdict { class: FailureClass::Unknown, rule: "none", remedy: None },
    }
}

#[cfg(test)]
mod tests {
    use super::super::classify;
    use super::*;

    #[test]
    fn each_rule_decides_its_two_examples() {
        let table: Table = toml::from_str(TABLE).expect("a table");
        let mut wrong = Vec::new();
        for rule in table.rule {
            assert_eq!(rule.examples.len(), 2, "{}", rule.id);
            for example in rule.examples {
                let failure = classify(Some(&example), None, None);
                if (failure.rule, failure.class) != (&*rule.id, rule.class) {
                    wrong.push(format!("{}: {} decides {example}", rule.id, failure.rule));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
