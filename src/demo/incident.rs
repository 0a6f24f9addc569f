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
        let storms = storms.into_iter().map(|reset| Storm::new(dice, reset)).collect();
        // Each outage is within one of these spans, in days relative to `until`.
        let recent = Outage::new(dice, until, (-22.0 / 24.0, -2.0 / 24.0), BUSIEST);
        let mut outages = vec![recent];
        for span in [(-29.0, -22.0), (-19.0, -13.0), (-9.0, -3.0), (2.0, 12.0), (15.0, 30.0)] {
            let model = dice.below(MODELS.len());
            outages.push(Outage::new(dice, until, span, model));
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
        let start = reset - seconds(dice.between(40.0, 85.0) * 60.0);
        let exhausted_at = std::array::from_fn(|_| {
            let is_spared = dice.chance(0.12);
            let after = seconds(dice.between(0.0, 15.0) * 60.0);
            (!is_spared).then_some(start + after)
        });
        Self { model, reset, exhausted_at }
    }
}

impl Outage {
    /// An outage at a busy time within `span`, in days relative to `until`.
    fn new(dice: &mut Dice, until: DateTime<Utc>, span: (f64, f64), model: usize) -> Self {
        let starts: [_; 3] =
            std::array::from_fn(|_| until + seconds(dice.between(span.0, span.1) * 86_400.0));
        let by_rate = |a: &&_, b: &&_| rhythm::usual(**a).total_cmp(&rhythm::usual(**b));
        let start = starts.iter().max_by(by_rate).copied().unwrap_or(until);
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
