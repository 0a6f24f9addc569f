//! Incidents: quota storms, in which many keys exhaust their daily quota, and outages of a model for
//! 40 minutes.

use chrono::{DateTime, Days, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::America::Los_Angeles;

use super::dice::{Dice, seconds};
use super::model::{BUSIEST, MODELS, SCARCEST};
use super::pool::KEYS;
use super::{HISTORY_DAYS, rhythm};

/// Days after the history for which incidents are generated.
const FUTURE_DAYS: i64 = 31;
const OUTAGE_MINUTES: i64 = 40;
/// The longest time from the start of a storm to its reset.
const LONGEST_STORM: f64 = 85.0;
/// Between an outage and a storm of the same model, so that each is visible.
const APART_MINUTES: i64 = 30;
/// Attempts to place an outage apart from the storms: far more than it takes.
const ATTEMPTS: usize = 100;

/// Keys exhaust the daily quota of one model, until midnight in California.
pub struct Storm {
    pub model: usize,
    pub reset: DateTime<Utc>,
    /// When each key exhausts its quota; `None` for some.
    exhausted_at: [Option<DateTime<Utc>>; KEYS],
}

/// Most calls to one model fail.
pub struct Outage {
    pub model: usize,
    pub start: DateTime<Utc>,
    pub end: DateTime<Utc>,
}

pub struct Incidents {
    pub storms: Vec<Storm>,
    pub outages: Vec<Outage>,
}

impl Incidents {
    /// The incidents before and after `until`. The last reset before `until` always ends a storm, and one
    /// outage is always within the last 24 hours.
    pub fn new(dice: &mut Dice, until: DateTime<Utc>) -> Self {
        let resets = resets(until);
        let last = resets.iter().copied().filter(|reset| *reset <= until).max();
        let storms = resets
            .into_iter()
            .filter(|reset| dice.chance(0.4) || Some(*reset) == last)
            .collect::<Vec<_>>();
        let storms: Vec<_> = storms.into_iter().map(|reset| Storm::new(dice, reset)).collect();
        // Each outage is within one of these spans, in days relative to `until`.
        let recent = Outage::new(dice, until, (-22.0 / 24.0, -2.0 / 24.0), BUSIEST, &storms);
        let mut outages = vec![recent];
        for span in [(-29.0, -22.0), (-19.0, -13.0), (-9.0, -3.0), (2.0, 12.0), (15.0, 30.0)] {
            let model = dice.below(MODELS.len());
            outages.push(Outage::new(dice, until, span, model, &storms));
        }
        Self { storms, outages }
    }

    pub fn is_exhausted(&self, at: DateTime<Utc>, key: usize, model: usize) -> bool {
        self.storms.iter().any(|storm| {
            storm.model == model
                && at < storm.reset
                && storm.exhausted_at[key].is_some_and(|exhausted| exhausted <= at)
        })
    }

    pub fn is_down(&self, at: DateTime<Utc>, model: usize) -> bool {
        self.outages
            .iter()
            .any(|outage| outage.model == model && outage.start <= at && at < outage.end)
    }
}

impl Storm {
    fn new(dice: &mut Dice, reset: DateTime<Utc>) -> Self {
        let model = if dice.chance(0.75) { SCARCEST } else { BUSIEST };
        let start = reset - seconds(dice.between(40.0, LONGEST_STORM) * 60.0);
        let exhausted_at = std::array::from_fn(|_| {
            let is_spared = dice.chance(0.12);
            let after = seconds(dice.between(0.0, 15.0) * 60.0);
            (!is_spared).then_some(start + after)
        });
        Self { model, reset, exhausted_at }
    }

    /// Whether an outage from `start` on would be near it.
    fn is_near(&self, start: DateTime<Utc>) -> bool {
        let apart = TimeDelta::minutes(APART_MINUTES);
        start < self.reset + apart
            && start + TimeDelta::minutes(OUTAGE_MINUTES) + apart
                > self.reset - seconds(LONGEST_STORM * 60.0)
    }
}

impl Outage {
    /// An outage at a busy time within `span`, in days relative to `until`, apart from the storms of its model.
    fn new(
        dice: &mut Dice,
        until: DateTime<Utc>,
        span: (f64, f64),
        model: usize,
        storms: &[Storm],
    ) -> Self {
        let by_rate = |a: &_, b: &_| rhythm::usual(*a).total_cmp(&rhythm::usual(*b));
        let start = (0..ATTEMPTS).find_map(|_| {
            let starts: [_; 3] =
                std::array::from_fn(|_| until + seconds(dice.between(span.0, span.1) * 86_400.0));
            let is_apart =
                |start: &_| !storms.iter().any(|it| it.model == model && it.is_near(*start));
            starts.into_iter().filter(is_apart).max_by(by_rate)
        });
        let start = start.unwrap_or(until);
        Self { model, start, end: start + TimeDelta::minutes(OUTAGE_MINUTES) }
    }
}

/// The midnights in California since the start of the history.
fn resets(until: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let first = (until - TimeDelta::days(HISTORY_DAYS)).with_timezone(&Los_Angeles).date_naive();
    (1..=HISTORY_DAYS + FUTURE_DAYS)
        .filter_map(|day| first.checked_add_days(Days::new(day.unsigned_abs())))
        .filter_map(|day| Los_Angeles.from_local_datetime(&day.and_time(NaiveTime::MIN)).earliest())
        .map(|reset| reset.to_utc())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At any hour of a day: the page shows each of them.
    #[test]
    fn outages_are_apart_from_the_storms_of_their_model() {
        let noon: DateTime<Utc> = "2026-03-01T12:00:00Z".parse().unwrap();
        for quarter in 0..4 * 24 {
            let until = noon + TimeDelta::minutes(15 * quarter);
            for seed in 0..20 {
                let Incidents { storms, outages } = Incidents::new(&mut Dice::new(seed), until);
                let recent = &outages[0];
                let ago = until - recent.start;
                assert!((TimeDelta::hours(2)..=TimeDelta::hours(22)).contains(&ago), "{ago}");
                for storm in storms.iter().filter(|storm| storm.model == recent.model) {
                    let start = storm.exhausted_at.iter().flatten().min().copied();
                    let is_over = recent.end < start.unwrap_or(storm.reset);
                    assert!(is_over || recent.start > storm.reset, "{seed}, {until}");
                }
            }
        }
    }
}
