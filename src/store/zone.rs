//! The storage time zone: rows hold naive times, everything above the store is UTC.

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

/// The zone whose wall clock the `request_time` columns show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageZone(pub Tz);

impl StorageZone {
    /// A stored time in UTC. A time that the zone's clock showed twice is taken as the first, one
    /// that it skipped as an hour later, as clocks did.
    pub fn to_utc(self, stored: NaiveDateTime) -> DateTime<Utc> {
        if self.0 == Tz::UTC {
            return stored.and_utc();
        }
        match self.0.from_local_datetime(&stored) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.to_utc(),
            LocalResult::None => {
                let before = self.0.from_local_datetime(&(stored - TimeDelta::hours(3))).earliest();
                before.map_or(stored.and_utc(), |at| at.to_utc() + TimeDelta::hours(3))
            }
        }
    }

    /// An instant as the zone's wall clock showed it.
    pub fn to_stored(self, at: DateTime<Utc>) -> NaiveDateTime {
        at.with_timezone(&self.0).naive_local()
    }
}
