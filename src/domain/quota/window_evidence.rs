//! Which windows explain the refusals of a model best.

use super::cell::{CellReading, Observed};
use super::thresholds::{DAY, JITTER, MINUTE, MOST_VIOLATIONS, OTHER_MODELS};
use super::window::{Calendar, Window, Windows};

/// The evidence of some cells for each kind of window.
#[derive(Clone, Copy, Default)]
pub(super) struct WindowEvidence {
    /// Refusals by a quota of a minute, and their distance from the largest accepted use.
    refusals: f64,
    fixed: f64,
    sliding: f64,
    /// The spread of the use at refusals, without and with failed calls.
    without_failed: f64,
    with_failed: f64,
    /// For days that start at midnight in California and in UTC; a sliding day has 0.
    pacific: f64,
    utc: f64,
}

impl WindowEvidence {
    /// The minutes of a group of keys.
    pub fn add(&mut self, reading: &CellReading) {
        let refusals = reading.fixed.uses.len() as f64;
        if refusals >= 3.0 {
            self.refusals += refusals;
            self.fixed += reading.fixed.distance() * refusals;
            self.sliding += reading.sliding.distance() * refusals;
            let best = match reading.fixed.distance() < reading.sliding.distance() {
                true => &reading.fixed,
                false => &reading.sliding,
            };
            let (without, with) = best.spreads();
            self.without_failed += without * refusals;
            self.with_failed += with * refusals;
        }
    }

    /// The days of a key.
    pub fn add_days(&mut self, reading: &CellReading, calendar: &Calendar) {
        self.pacific += evidence_of_day(Window::PacificDay, reading, calendar);
        self.utc += evidence_of_day(Window::UtcDay, reading, calendar);
    }

    pub fn merge(&mut self, other: &Self, weight: f64) {
        self.refusals += other.refusals * weight;
        self.fixed += other.fixed * weight;
        self.sliding += other.sliding * weight;
        self.without_failed += other.without_failed * weight;
        self.with_failed += other.with_failed * weight;
        self.pacific += other.pacific * weight;
        self.utc += other.utc * weight;
    }

    /// The windows that explain the refusals of a model best; `pool`: the evidence of all models.
    pub fn windows(mut self, pool: &Self) -> Windows {
        self.merge(pool, OTHER_MODELS);
        let minute =
            if self.sliding < self.fixed { Window::SlidingMinute } else { Window::FixedMinute };
        // Without evidence, the day of the most frequent provider.
        let days = [(Window::PacificDay, self.pacific + 0.2), (Window::UtcDay, self.utc + 0.1)];
        let mut day = (Window::SlidingDay, 0.0);
        for candidate in days {
            if candidate.1 > day.1 {
                day = candidate;
            }
        }
        let failed = match (self.without_failed, self.with_failed) {
            (without, with) if with < 0.8 * without => 1.0,
            (without, with) if without < 0.8 * with => 0.0,
            _ => 0.5,
        };
        Windows { minute, day: day.0, failed }
    }
}

impl Observed {
    /// The mean distance of the use at refusals from the largest accepted use, as a part of it.
    fn distance(&self) -> f64 {
        let most = f64::from(self.most.max(1));
        let distance = |it: &(u32, u32)| {
            let nearest = f64::from(it.0).max(most.min(f64::from(it.1)));
            ((nearest - most).abs() / most).min(1.0)
        };
        self.uses.iter().map(distance).sum::<f64>() / self.uses.len().max(1) as f64
    }

    /// The mean distance from the median, without and with failed calls.
    fn spreads(&self) -> (f64, f64) {
        let spread = |of: fn(&(u32, u32)) -> u32| {
            let mut uses: Vec<u32> = self.uses.iter().map(of).collect();
            uses.sort_unstable();
            let median = uses.get(uses.len() / 2).copied().unwrap_or(0);
            let sum: f64 = uses.iter().map(|it| f64::from(it.abs_diff(median))).sum();
            sum / uses.len().max(1) as f64 / f64::from(median.max(1))
        };
        (spread(|it| it.0), spread(|it| it.1))
    }
}

/// Positive if the refusals end at the start of a day and at no other time.
fn evidence_of_day(window: Window, reading: &CellReading, calendar: &Calendar) -> f64 {
    let (refused, accepted) = (&reading.day, &reading.accepted);
    let Some(mut next) = refused.first().copied() else { return 0.0 };
    let mut evidence = 0.0;
    loop {
        let (start, end) = (calendar.start(window, next), calendar.end(window, next));
        let index = |times: &[i64], at: i64| times.partition_point(|time| *time < at);
        // Accepted calls after the first refusals of a day. The very first may have another cause.
        let refusals = index(refused, start)..index(refused, end);
        let since = refused[refusals.start + refusals.len() / 10].max(next) + JITTER;
        let late = index(accepted, end - JITTER).saturating_sub(index(accepted, since));
        evidence -= f64::from(MOST_VIOLATIONS.min(late as u32));
        // Refusals that continue over the start of the day.
        let last_accepted = index(accepted, next).checked_sub(1).map(|index| accepted[index]);
        let last_refused = index(refused, start - JITTER).checked_sub(1).map(|it| refused[it]);
        if next > start + JITTER && last_refused.is_some() && last_refused > last_accepted {
            evidence -= 3.0;
        }
        // Refusals that end with the day: the shorter the time in which they ended, the less by chance.
        let last = refused[index(refused, end) - 1];
        let first_accepted = accepted.get(index(accepted, end - JITTER));
        let following = refused.get(index(refused, end + JITTER));
        if let Some(accepted) = first_accepted
            && following.is_none_or(|refused| refused > accepted)
            && late == 0
        {
            evidence +=
                (DAY as f64 / (accepted - last).max(MINUTE) as f64 / 4.0).ln().clamp(0.0, 3.0);
        }
        match following {
            Some(refused) => next = *refused,
            None => return evidence,
        }
    }
}
