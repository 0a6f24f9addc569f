//! Which keys use up a quota of a minute together. When a quota refuses, its use is its ceiling: the less one key of
//! a group has used, the more the others have. So at the refusals of a key, its own use falls by one with each call
//! of a key of its group, and does not depend on the calls of other keys. A linear regression shows it.

use std::collections::HashMap;

use crate::domain::diagnosis::Calls;

use super::history::{Answer, Cells, Kind, Run};
use super::thresholds::{
    COMPARED_KEYS, COMPARED_USES, LEAST_USES, LEAST_VARIANCE, MINUTE, SHRINK, USES_OF_KEY,
};

/// The latest refusals of a cell by a quota of a minute, with minutes that do not overlap.
pub(super) fn compared(runs: &[Run]) -> Vec<i64> {
    let mut compared: Vec<i64> = Vec::new();
    for run in runs.iter().rev().filter(|run| run.kind == Kind::Minute && run.accepted.is_some()) {
        if compared.last().is_none_or(|next| run.first <= next - MINUTE) {
            compared.push(run.first);
        }
        if compared.len() == COMPARED_USES {
            break;
        }
    }
    compared
}

/// By pair of keys, the evidence that they share a quota. It is never negative: if a key of the group is not among
/// the compared ones, the use falls less with the calls of the others. `refusals`: of each cell.
pub(super) fn evidence(
    calls: &Calls,
    answers: &[Answer],
    cells: &Cells,
    refusals: &[Vec<i64>],
) -> HashMap<(u32, u32), f64> {
    let mut cells_of_model: Vec<Vec<usize>> = vec![Vec::new(); calls.models];
    for (cell, (_, model)) in cells.pairs.iter().enumerate() {
        if refusals[cell].len() >= LEAST_USES {
            cells_of_model[*model as usize].push(cell);
        }
    }
    let mut accepted: Vec<Vec<u32>> = vec![Vec::new(); calls.models];
    if cells_of_model.iter().any(|cells| !cells.is_empty()) {
        for (row, model) in calls.model.iter().enumerate() {
            let is_read = cells_of_model.get(*model as usize).is_some_and(|it| !it.is_empty());
            let has_key = (calls.key[row] as usize) < calls.keys;
            if is_read && has_key && answers[row] == Answer::Accepted {
                accepted[*model as usize].push(row as u32);
            }
        }
    }
    let mut evidence = HashMap::new();
    let mut uses = [(); 2].map(|()| Uses::new(calls.keys));
    for (cells_of_model, accepted) in cells_of_model.iter().zip(&accepted) {
        let mut fits = [Vec::new(), Vec::new()];
        for cell in cells_of_model {
            let key = cells.pairs[*cell].0;
            count(calls, accepted, &refusals[*cell], &mut uses);
            for (fits, uses) in fits.iter_mut().zip(&mut uses) {
                fits.push(uses.fit(key, refusals[*cell].len()));
                uses.clear();
            }
        }
        // The model has the kind of minute that explains more.
        let [fixed, sliding] = &fits;
        let fits = if unexplained(sliding) < unexplained(fixed) { sliding } else { fixed };
        for fit in fits {
            for (other, of_key) in fit.evidence.iter().filter(|it| it.1 > 0.0) {
                let pair = (fit.key.min(*other), fit.key.max(*other));
                *evidence.entry(pair).or_default() += of_key;
            }
        }
    }
    evidence
}

fn unexplained(fits: &[Fit]) -> f64 {
    let total: f64 = fits.iter().map(|fit| fit.total).sum();
    fits.iter().map(|fit| fit.left).sum::<f64>() / total.max(1.0)
}

/// Counts the accepted calls of all keys in the fixed and in the sliding minute of each refusal.
fn count(calls: &Calls, accepted: &[u32], refusals: &[i64], [fixed, sliding]: &mut [Uses; 2]) {
    for (refusal, at) in refusals.iter().enumerate() {
        let until = accepted.partition_point(|row| calls.at[*row as usize] <= *at);
        let minute = at.div_euclid(MINUTE) * MINUTE;
        for row in accepted[..until].iter().rev() {
            let (key, called_at) = (calls.key[*row as usize], calls.at[*row as usize]);
            if called_at <= at - MINUTE {
                break;
            }
            sliding.add(key, refusal);
            if called_at >= minute {
                fixed.add(key, refusal);
            }
        }
    }
}

/// The calls of each key in the minutes of the refusals of a cell.
struct Uses {
    /// By key and refusal.
    counts: Vec<u16>,
    /// The keys with calls.
    keys: Vec<u32>,
    is_used: Vec<bool>,
}

/// How the calls of other keys explain the use of a key.
struct Fit {
    key: u32,
    /// The sum of squares of the use, and the part of it that is left.
    total: f64,
    left: f64,
    /// The keys that explain most, and the evidence that they share the quota.
    evidence: Vec<(u32, f64)>,
}

impl Uses {
    fn new(keys: usize) -> Self {
        Self { counts: vec![0; keys * COMPARED_USES], keys: Vec::new(), is_used: vec![false; keys] }
    }

    fn add(&mut self, key: u32, refusal: usize) {
        if !std::mem::replace(&mut self.is_used[key as usize], true) {
            self.keys.push(key);
        }
        let count = &mut self.counts[key as usize * COMPARED_USES + refusal];
        *count = count.saturating_add(1);
    }

    fn clear(&mut self) {
        for key in self.keys.drain(..) {
            self.is_used[key as usize] = false;
            self.counts[key as usize * COMPARED_USES..][..COMPARED_USES].fill(0);
        }
    }

    /// The difference of the use of a key from its mean.
    fn deviations(&self, key: u32, refusals: usize) -> Vec<f64> {
        let counts = &self.counts[key as usize * COMPARED_USES..][..refusals];
        let mean = counts.iter().map(|it| f64::from(*it)).sum::<f64>() / refusals as f64;
        counts.iter().map(|it| f64::from(*it) - mean).collect()
    }

    fn fit(&self, key: u32, refusals: usize) -> Fit {
        let own = self.deviations(key, refusals);
        let total = product(&own, &own);
        let mut fit = Fit { key, total, left: total, evidence: Vec::new() };
        if total <= 0.0 {
            return fit;
        }
        let correlation = |other: &u32| {
            let counts = &self.counts[*other as usize * COMPARED_USES..][..refusals];
            let (mut sum, mut squares, mut product) = (0.0, 0.0, 0.0);
            for (count, own) in counts.iter().zip(&own) {
                let count = f64::from(*count);
                sum += count;
                squares += count * count;
                product += count * own;
            }
            let squares = squares - sum * sum / refusals as f64;
            let is_compared = *other != key && squares > 0.0 && product < 0.0;
            is_compared.then(|| (product / squares.sqrt(), *other))
        };
        let mut others: Vec<(f64, u32)> = self.keys.iter().filter_map(correlation).collect();
        others.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        others.truncate(COMPARED_KEYS.min(refusals / USES_OF_KEY));
        let columns: Vec<Vec<f64>> =
            others.iter().map(|other| self.deviations(other.1, refusals)).collect();
        let (slopes, inverse) = least_squares(&columns, &own);
        let mut rest = own;
        for (column, slope) in columns.iter().zip(&slopes) {
            rest.iter_mut().zip(column).for_each(|(rest, count)| *rest -= slope * count);
        }
        fit.left = product(&rest, &rest);
        let variance = fit.left / (refusals - others.len()) as f64 + LEAST_VARIANCE;
        // The logarithm of two probabilities of the slope: -1 for a key of the group, 0 for another.
        let evidence = |(slope, inverse): (&f64, &f64)| -(slope + 0.5) / (variance * inverse);
        let evidence = slopes.iter().zip(&inverse).map(evidence);
        fit.evidence = others.iter().map(|other| other.1).zip(evidence).collect();
        fit
    }
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The slopes of a linear regression, and the diagonal of the inverse of its matrix.
fn least_squares(columns: &[Vec<f64>], own: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let count = columns.len();
    // Rows with the matrix, the right side and the unit matrix, solved by Gauss and Jordan. No pivot is zero, since
    // the matrix is positive definite.
    let mut rows: Vec<Vec<f64>> = columns
        .iter()
        .map(|column| {
            let mut row: Vec<f64> = columns.iter().map(|other| product(column, other)).collect();
            row.push(product(column, own));
            row.resize(2 * count + 1, 0.0);
            row
        })
        .collect();
    for (index, row) in rows.iter_mut().enumerate() {
        row[index] += SHRINK;
        row[count + 1 + index] = 1.0;
    }
    for index in 0..count {
        let mut pivot = std::mem::take(&mut rows[index]);
        let scale = 1.0 / pivot[index];
        pivot.iter_mut().for_each(|it| *it *= scale);
        for row in rows.iter_mut().filter(|row| !row.is_empty()) {
            let factor = row[index];
            row.iter_mut().zip(&pivot).for_each(|(it, pivot)| *it -= factor * pivot);
        }
        rows[index] = pivot;
    }
    let slopes = rows.iter().map(|row| row[count]).collect();
    let inverse = rows.iter().enumerate().map(|(index, row)| row[count + 1 + index]).collect();
    (slopes, inverse)
}
