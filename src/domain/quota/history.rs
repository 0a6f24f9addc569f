//! What each call shows about quotas, and the calls of each cell: a key and model, or a group of keys and a model.

use std::collections::HashMap;

use crate::domain::diagnosis::{Calls, Groups, NONE, Outcome};
use crate::domain::failure::FailureClass as Class;

use super::thresholds::{JITTER, LONG_REFUSALS, LONG_RUN, RUN_REFUSALS};

/// Which quota refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Requests of a minute.
    Minute,
    /// Tokens of a minute.
    Tokens,
    /// Requests or tokens of a day.
    Day,
}

impl Kind {
    pub const COUNT: usize = 3;

    pub fn is_day(self) -> bool {
        self == Self::Day
    }
}

/// What a call shows about the quotas of its key and model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    Accepted,
    /// The provider answered with a failure. Providers differ in whether such a call uses a quota.
    Failed,
    Refused(Kind),
    /// A refusal that names no quota.
    Unnamed,
    /// The call did not reach the quota.
    Nothing,
}

impl Answer {
    fn of(outcome: Outcome) -> Self {
        let class = match outcome {
            Outcome::Success => return Self::Accepted,
            Outcome::Logged(class) | Outcome::Unlogged(class) => class,
        };
        match class {
            Class::QuotaDay => Self::Refused(Kind::Day),
            Class::QuotaMinute => Self::Refused(Kind::Minute),
            Class::QuotaTokens => Self::Refused(Kind::Tokens),
            Class::QuotaOther => Self::Unnamed,
            Class::ProviderOverloaded
            | Class::ProviderError
            | Class::Timeout
            | Class::ContentFilter => Self::Failed,
            _ => Self::Nothing,
        }
    }

    fn is_refusal(self) -> bool {
        matches!(self, Self::Refused(_) | Self::Unnamed)
    }
}

pub(super) fn answers(calls: &Calls) -> Vec<Answer> {
    calls.outcome.iter().map(|outcome| Answer::of(*outcome)).collect()
}

/// The calls of each pair of owner (a key or a group of keys) and model.
pub(super) struct Cells {
    /// Owner and model of each cell.
    pub pairs: Vec<(u32, u32)>,
    rows: Groups,
}

/// More pairs are looked up in a map.
const LARGEST_TABLE: usize = 1 << 22;

impl Cells {
    /// `owner_of` has the owner of each key.
    pub fn new(calls: &Calls, owner_of: &[u32]) -> Self {
        let is_small = owner_of.len().saturating_mul(calls.models) <= LARGEST_TABLE;
        let mut table = vec![NONE; if is_small { owner_of.len() * calls.models } else { 0 }];
        let mut map: HashMap<(u32, u32), u32> = HashMap::new();
        let mut pairs = Vec::new();
        let cells = calls.key.iter().zip(&calls.model).map(|(key, model)| {
            let owner = owner_of.get(*key as usize).copied();
            let Some(owner) = owner.filter(|_| (*model as usize) < calls.models) else {
                return NONE;
            };
            let cell = if is_small {
                &mut table[owner as usize * calls.models + *model as usize]
            } else {
                map.entry((owner, *model)).or_insert(NONE)
            };
            if *cell == NONE {
                *cell = pairs.len() as u32;
                pairs.push((owner, *model));
            }
            *cell
        });
        let cells: Vec<u32> = cells.collect();
        let rows = Groups::new(&cells, pairs.len());
        Self { pairs, rows }
    }

    /// The calls of a cell in order of time.
    pub fn calls(&self, cell: usize) -> &[u32] {
        self.rows.of(cell as u32)
    }
}

/// Refusals of one kind without an accepted call between them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub kind: Kind,
    /// The last accepted call before.
    pub accepted: Option<i64>,
    pub first: i64,
    pub last: i64,
    /// The next accepted call.
    pub ends: Option<i64>,
}

/// The runs of a cell in order of time.
pub(super) fn runs(calls: &Calls, answers: &[Answer], rows: &[u32]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut accepted = None;
    // The first run since the last accepted call.
    let mut open = 0;
    for row in rows {
        let at = calls.at[*row as usize];
        match answers[*row as usize] {
            Answer::Accepted => {
                accepted = Some(at);
                for run in &mut runs[open..] {
                    run.ends = Some(at);
                }
                open = runs.len();
            }
            Answer::Refused(kind) => match runs[open..].last_mut() {
                Some(run) if run.kind == kind => run.last = at,
                _ => runs.push(Run { kind, accepted, first: at, last: at, ends: None }),
            },
            _ => {}
        }
    }
    runs
}

/// Gives each refusal that names no quota the kind of the named ones of its run, else of a day if no call is
/// accepted for longer than a quota of a minute lasts, else of a minute.
pub(super) fn name_refusals(calls: &Calls, answers: &mut [Answer], cells: &Cells) {
    let mut run: Vec<u32> = Vec::new();
    for cell in 0..cells.pairs.len() {
        run.clear();
        for row in cells.calls(cell) {
            match answers[*row as usize] {
                // A call that started before the first refusal may be logged after it.
                Answer::Accepted
                    if run.first().is_none_or(|first| {
                        calls.at[*row as usize] - calls.at[*first as usize] > JITTER
                    }) =>
                {
                    name_run(calls, answers, &run);
                    run.clear();
                }
                answer if answer.is_refusal() => run.push(*row),
                _ => {}
            }
        }
        name_run(calls, answers, &run);
    }
}

fn name_run(calls: &Calls, answers: &mut [Answer], run: &[u32]) {
    let [first, .., last] = run else {
        if let [only] = run
            && answers[*only as usize] == Answer::Unnamed
        {
            answers[*only as usize] = Answer::Refused(Kind::Minute);
        }
        return;
    };
    let duration = calls.at[*last as usize] - calls.at[*first as usize];
    let is_long = duration >= LONG_RUN && run.len() >= RUN_REFUSALS
        || duration >= 3 * LONG_RUN && run.len() >= LONG_REFUSALS;
    let default = if is_long { Kind::Day } else { Kind::Minute };
    // The named refusals before; at the start of the run, the first one after.
    let named = |row: &u32| match answers[*row as usize] {
        Answer::Refused(kind) => Some(kind),
        _ => None,
    };
    let mut current = run.iter().find_map(named).unwrap_or(default);
    for row in run {
        match answers[*row as usize] {
            Answer::Refused(kind) => current = kind,
            _ => answers[*row as usize] = Answer::Refused(current),
        }
    }
}
