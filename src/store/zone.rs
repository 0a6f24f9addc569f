//! The storage time zone: rows have naive times, everything above the store uses UTC.

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

/// The time zone of the `request_time` columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageZone(pub Tz);

impl StorageZone {
    /// Converts a stored time to UTC. Of a time that occurs twice, it takes the first; a skipped time
    /// is an hour later, as on clocks.
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

    /// Converts an instant to the local time of the zone.
    pub fn to_stored(self, at: DateTime<Utc>) -> NaiveDateTime {
        at.with_timezone(&self.0).naive_local()
    }
}
