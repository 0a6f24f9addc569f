//! Which keys share their quotas: those of one project, those with refusals that start together, and those that use
//! up a quota together.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::domain::diagnosis::{Calls, NONE};

use super::history::{Answer, Cells, Run, runs};
use super::thresholds::{
    COMMON_STARTS, COMPARED_RUNS, HOUR, JITTER, MEAN_SHARED, MINUTE, NEAR_STARTS, NEXT_WITHIN,
    REFUSED_FOR, REFUSED_TOGETHER, RELATIVE_MEAN, SECOND, SHARED,
};
use super::uses;
use super::{Basis, QuotaGroup, Refusal};

pub(super) struct Groups {
    pub groups: Vec<QuotaGroup>,
    pub of_key: Vec<u32>,
}

pub(super) fn find(
    calls: &Calls,
    refusals: &[Refusal],
    answers: &[Answer],
    cells: &Cells,
) -> Groups {
    let mut sets = Sets::new(calls.keys);
    let projects = projects(calls, refusals);
    let mut first_of: HashMap<u32, u32> = HashMap::new();
    for (key, project) in projects.iter().enumerate() {
        if let Some(project) = project {
            let first = *first_of.entry(*project).or_insert(key as u32);
            sets.join(first, key as u32);
        }
    }
    let mut is_learnt = vec![false; calls.keys];
    let pairs = Pairs::new(calls, answers, cells, &projects);
    let mut members = sets.members();
    let (shared, best) = pairs.shared(&projects);
    for (a, b) in shared {
        let (a, b) = (sets.root(a), sets.root(b));
        if a == b {
            continue;
        }
        // All keys of both sets must fit: one wrong pair does not join them.
        let of = |root: u32| members.get(&root).map_or(&[][..], Vec::as_slice);
        if pairs.are_shared(of(a), of(b), &best) {
            let joined = [of(a), of(b)].concat();
            for key in &joined {
                is_learnt[*key as usize] = true;
            }
            sets.join(a, b);
            members.remove(&a.max(b));
            members.insert(a.min(b), joined);
        }
    }
    let mut groups: Vec<QuotaGroup> = Vec::new();
    for mut keys in members.into_values().filter(|keys| keys.len() > 1) {
        keys.sort_unstable();
        let is_stated = keys.iter().all(|key| !is_learnt[*key as usize]);
        groups.push(QuotaGroup {
            keys,
            basis: if is_stated { Basis::Stated } else { Basis::Learnt },
        });
    }
    groups.sort_by_key(|group| group.keys.first().copied());
    let mut of_key = vec![NONE; calls.keys];
    for (index, group) in groups.iter().enumerate() {
        for key in &group.keys {
            of_key[*key as usize] = index as u32;
        }
    }
    Groups { groups, of_key }
}

fn projects(calls: &Calls, refusals: &[Refusal]) -> Vec<Option<u32>> {
    let mut projects = vec![None; calls.keys];
    for refusal in refusals.iter().filter(|refusal| refusal.project.is_some()) {
        let key = calls.key.get(refusal.call as usize);
        if let Some(project) = key.and_then(|key| projects.get_mut(*key as usize)) {
            *project = refusal.project;
        }
    }
    projects
}

struct Sets(Vec<u32>);

impl Sets {
    fn new(keys: usize) -> Self {
        Self((0..keys as u32).collect())
    }

    fn root(&mut self, key: u32) -> u32 {
        let mut root = key;
        while self.0[root as usize] != root {
            self.0[root as usize] = self.0[self.0[root as usize] as usize];
            root = self.0[root as usize];
        }
        root
    }

    fn members(&mut self) -> HashMap<u32, Vec<u32>> {
        let mut members: HashMap<u32, Vec<u32>> = HashMap::new();
        for key in 0..self.0.len() as u32 {
            members.entry(self.root(key)).or_default().push(key);
        }
        members
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b) as usize] = a.min(b);
    }
}

struct Start {
    cell: u32,
    key: u32,
    is_day: bool,
    after: i64,
    at: i64,
}

struct Pairs<'a> {
    calls: &'a Calls,
    answers: &'a [Answer],
    cells: &'a Cells,
    /// By model, in order of time.
    starts: Vec<Vec<Start>>,
    /// The cell of each key and model.
    cell_of: HashMap<(u32, u32), u32>,
    /// The numbers of the starts of each cell.
    starts_of: Vec<Vec<u32>>,
    /// The cells of each model.
    cells_of_model: Vec<u32>,
    /// The share of refused calls by model and tenth second.
    refused: Vec<Vec<(u16, u16)>>,
    from: i64,
    /// The evidence of the uses at refusals, by pair of keys.
    uses: HashMap<(u32, u32), f64>,
    /// The evidence that is known.
    known: RefCell<HashMap<(u32, u32), PairEvidence>>,
}

/// The evidence for one group, and the starts that show it.
#[derive(Clone, Copy, Default)]
struct PairEvidence {
    sum: f64,
    count: u32,
    /// That of the uses at refusals.
    uses: f64,
}

impl PairEvidence {
    fn total(&self) -> f64 {
        self.sum + self.uses
    }

    /// Whether the uses alone are enough, or the starts with a mean that is large enough.
    fn is_enough(&self, enough: f64, least: f64) -> bool {
        self.total() >= enough && (self.mean() >= least || self.uses >= enough)
    }

    fn mean(&self) -> f64 {
        self.sum / f64::from(self.count.max(1))
    }
}

const SLOT: i64 = 10 * SECOND;

impl<'a> Pairs<'a> {
    fn new(
        calls: &'a Calls,
        answers: &'a [Answer],
        cells: &'a Cells,
        projects: &[Option<u32>],
    ) -> Self {
        let from = calls.at.first().copied().unwrap_or(0);
        let mut starts: Vec<Vec<Start>> = Vec::new();
        starts.resize_with(calls.models, Vec::new);
        let mut cells_of_model = vec![0; calls.models];
        let mut refusals: Vec<Vec<i64>> = Vec::with_capacity(cells.pairs.len());
        for (cell, (key, model)) in cells.pairs.iter().enumerate() {
            cells_of_model[*model as usize] += 1;
            let mut runs = runs(calls, answers, cells.calls(cell));
            // The project of a key is stated or learnt.
            let is_stated = projects.get(*key as usize).is_some_and(Option::is_some);
            refusals.push(if is_stated { Vec::new() } else { uses::compared(&runs) });
            let mut last_day: Option<i64> = None;
            runs.retain(|run| {
                let ended = if run.kind.is_day() { last_day.replace(run.last) } else { None };
                // A sliding day accepts single calls while it is used up.
                run.accepted.is_some_and(|it| ended.is_none_or(|ended| it - ended >= HOUR))
            });
            let start = |run: &Run| Start {
                cell: cell as u32,
                key: *key,
                is_day: run.kind.is_day(),
                after: run.accepted.unwrap_or(run.first),
                at: run.first,
            };
            starts[*model as usize].extend(runs.iter().rev().take(COMPARED_RUNS).map(start));
        }
        for starts in &mut starts {
            starts.sort_by_key(|start| (start.at, start.cell));
        }
        let mut starts_of = vec![Vec::new(); cells.pairs.len()];
        for (number, start) in starts.iter().flat_map(|starts| starts.iter().enumerate()) {
            starts_of[start.cell as usize].push(number as u32);
        }
        let numbered = cells.pairs.iter().enumerate();
        let mut pairs = Self {
            calls,
            answers,
            cells,
            starts,
            cell_of: numbered.map(|(cell, pair)| (*pair, cell as u32)).collect(),
            starts_of,
            cells_of_model,
            refused: Vec::new(),
            from,
            uses: uses::evidence(calls, answers, cells, &refusals),
            known: RefCell::default(),
        };
        pairs.count_refused();
        pairs
    }

    fn count_refused(&mut self) {
        let slots = self.calls.at.last().map_or(0, |last| self.slot(*last) + 1);
        // Only for models with refusals: a log may have many names.
        let counts = |starts: &Vec<Start>| vec![(0, 0); if starts.is_empty() { 0 } else { slots }];
        self.refused = self.starts.iter().map(counts).collect();
        for (call, answer) in self.answers.iter().enumerate() {
            let slot = self.slot(self.calls.at[call]);
            let model = self.refused.get_mut(self.calls.model[call] as usize);
            let Some(counts) = model.and_then(|model| model.get_mut(slot)) else { continue };
            match answer {
                Answer::Accepted => counts.1 = counts.1.saturating_add(1),
                Answer::Refused(_) => counts.0 = counts.0.saturating_add(1),
                _ => {}
            }
        }
    }

    fn slot(&self, at: i64) -> usize {
        ((at - self.from).max(0) / SLOT) as usize
    }

    /// The pairs of keys that may share their quotas, the most certain first, and the largest mean evidence of
    /// each key.
    fn shared(&self, projects: &[Option<u32>]) -> (Vec<(u32, u32)>, Vec<f64>) {
        let is_stated = |key: u32| projects.get(key as usize).copied().flatten().is_some();
        let mut candidates: HashMap<(u32, u32), u32> = HashMap::new();
        for starts in &self.starts {
            for (index, start) in starts.iter().enumerate() {
                for other in self.together(starts, index) {
                    let pair = (start.key.min(other.key), start.key.max(other.key));
                    if !(is_stated(pair.0) && is_stated(pair.1)) {
                        *candidates.entry(pair).or_default() += if start.is_day { 2 } else { 1 };
                    }
                }
            }
        }
        let enough = self.enough();
        for pair in self.uses.keys().filter(|pair| !(is_stated(pair.0) && is_stated(pair.1))) {
            *candidates.entry(*pair).or_default() += 2;
        }
        let often = candidates.into_iter().filter(|(_, count)| *count >= 2);
        let evidence = often.map(|(pair, _)| (self.evidence(pair), pair));
        let mut found: Vec<(PairEvidence, (u32, u32))> =
            evidence.filter(|(it, _)| it.is_enough(enough, MEAN_SHARED)).collect();
        found.sort_by(|a, b| b.0.total().total_cmp(&a.0.total()).then(a.1.cmp(&b.1)));
        let mut best = vec![0.0_f64; self.calls.keys];
        for (evidence, (a, b)) in &found {
            for key in [a, b] {
                best[*key as usize] = best[*key as usize].max(evidence.mean());
            }
        }
        (found.into_iter().map(|(_, pair)| pair).collect(), best)
    }

    /// Most pairs of keys are in different groups.
    fn enough(&self) -> f64 {
        SHARED + (self.calls.keys.max(1) as f64).ln()
    }

    /// Whether two sets share their quotas, by the mean of their pairs.
    fn are_shared(&self, a: &[u32], b: &[u32], best: &[f64]) -> bool {
        let mut all = PairEvidence::default();
        for a in a {
            for b in b {
                let of_pair = self.evidence((*a, *b));
                all.sum += of_pair.sum;
                all.count += of_pair.count;
                all.uses += of_pair.uses;
            }
        }
        let enough = self.enough() / 2.0 * (a.len() * b.len()) as f64;
        // Keys of other groups may be refused at the same times, but less often.
        let best_of = |keys: &[u32]| keys.iter().map(|key| best[*key as usize]).fold(0.0, f64::max);
        let least = best_of(a).min(best_of(b)) * RELATIVE_MEAN;
        all.is_enough(enough, least.max(MEAN_SHARED))
    }

    /// The later starts with an overlapping time since the last accepted call.
    fn together<'s>(&self, starts: &'s [Start], index: usize) -> Vec<&'s Start> {
        let start = &starts[index];
        let within = NEXT_WITHIN[usize::from(start.is_day)];
        let near = starts[index + 1..].iter().take(NEAR_STARTS);
        let near = near.take_while(|other| other.at - start.at <= within);
        let same = near.filter(|other| {
            other.is_day == start.is_day
                && other.after <= start.at + JITTER
                && other.key != start.key
        });
        let same: Vec<&Start> = same.take(COMMON_STARTS + 1).collect();
        if same.len() > COMMON_STARTS { Vec::new() } else { same }
    }

    /// The logarithm of how much more probable the refusals of two keys are if they share their quotas.
    fn evidence(&self, (a, b): (u32, u32)) -> PairEvidence {
        let pair = (a.min(b), a.max(b));
        let known = self.known.borrow().get(&pair).copied();
        known.unwrap_or_else(|| {
            let evidence = self.read_evidence(pair);
            self.known.borrow_mut().insert(pair, evidence);
            evidence
        })
    }

    fn read_evidence(&self, (a, b): (u32, u32)) -> PairEvidence {
        let uses = self.uses.get(&(a, b)).copied().unwrap_or_default();
        let mut evidence = PairEvidence { uses, ..PairEvidence::default() };
        for model in 0..self.calls.models as u32 {
            let cells = (self.cell_of.get(&(a, model)), self.cell_of.get(&(b, model)));
            let (Some(a), Some(b)) = cells else { continue };
            for (cell, other) in [(*a, *b), (*b, *a)] {
                let rows = self.cells.calls(other as usize);
                for number in &self.starts_of[cell as usize] {
                    let start = &self.starts[model as usize][*number as usize];
                    let of_start = match start.is_day {
                        true => self.evidence_of_day(start, rows, model),
                        false => self.evidence_of_minute(start, rows, model),
                    };
                    if let Some(of_start) = of_start {
                        evidence.sum += of_start;
                        evidence.count += 1;
                    }
                }
            }
        }
        evidence
    }

    fn next<'r>(&'r self, rows: &'r [u32], at: i64) -> impl Iterator<Item = (i64, Answer)> + 'r {
        let next = rows.partition_point(|row| self.calls.at[*row as usize] < at);
        let known = |row: &u32| {
            let answer = self.answers[*row as usize];
            let is_known = matches!(answer, Answer::Accepted | Answer::Refused(_));
            is_known.then_some((self.calls.at[*row as usize], answer))
        };
        rows[next..].iter().filter_map(known)
    }

    /// The next call of the other key, compared with the other calls of that time.
    fn evidence_of_minute(&self, start: &Start, rows: &[u32], model: u32) -> Option<f64> {
        let (at, answer) = self.next(rows, start.at).next()?;
        let after = at - start.at;
        if after > NEXT_WITHIN[0] || at.div_euclid(MINUTE) != start.at.div_euclid(MINUTE) {
            return None;
        }
        let (refused, accepted) = self.refused[model as usize][self.slot(at)];
        let is_refused = answer != Answer::Accepted;
        // Without this call and the first refusal.
        let refused = (f64::from(refused) - f64::from(u8::from(is_refused)) - 1.0).max(0.0);
        let accepted = (f64::from(accepted) - f64::from(u8::from(!is_refused))).max(0.0);
        let usual = ((refused + 0.3) / (refused + accepted + 1.0)).clamp(0.05, 0.95);
        // The calls of a sliding minute leave it one by one.
        let lasts = (-(after as f64) / REFUSED_FOR as f64).exp();
        let shared = usual + (REFUSED_TOGETHER - usual).max(0.0) * lasts;
        Some(compare(is_refused, usual, shared))
    }

    /// Whether the other key was accepted until about the same time, and refused after it.
    fn evidence_of_day(&self, start: &Start, rows: &[u32], model: u32) -> Option<f64> {
        let is_day = |answer: Answer| matches!(answer, Answer::Refused(kind) if kind.is_day());
        let until = start.at + JITTER;
        let mut after =
            self.next(rows, until).filter(|it| it.1 == Answer::Accepted || is_day(it.1));
        let (at, answer) = after.next()?;
        if at - start.at > NEXT_WITHIN[1] {
            return None;
        }
        let before =
            rows.partition_point(|row| self.calls.at[*row as usize] < start.after - JITTER);
        let known = rows[..before].iter().rev().map(|row| self.answers[*row as usize]);
        let before = known.filter(|it| *it == Answer::Accepted || is_day(*it)).take(1).next();
        let starts_together = is_day(answer) && before == Some(Answer::Accepted);
        // The keys that start to be refused in this time, of all of the model.
        let starts = &self.starts[model as usize];
        let first = starts.partition_point(|other| other.at < start.after);
        let last = starts.partition_point(|other| other.at < start.at + NEXT_WITHIN[1]);
        let overlapping = starts[first..last.max(first)]
            .iter()
            .filter(|other| other.is_day && other.after <= start.at)
            .count();
        let usual = overlapping.saturating_sub(4) as f64 + 1.0;
        let usual = usual / f64::from(self.cells_of_model[model as usize]).max(2.0);
        let by_chance = (start.at - start.after) as f64 / (8 * HOUR) as f64;
        let usual = usual.max(by_chance).clamp(0.02, 0.9);
        Some(compare(starts_together, usual, REFUSED_TOGETHER))
    }
}

fn compare(is_seen: bool, usual: f64, shared: f64) -> f64 {
    match is_seen {
        true => (shared / usual).ln(),
        false => ((1.0 - shared) / (1.0 - usual)).ln(),
    }
}
