//! Rollups: counts and latencies of whole intervals of time, so that a window needs no single calls for
//! its inner part.

pub mod cover;
pub mod histogram;

/// Stored times, in microseconds since 1970 in the storage zone.
pub type Micros = i64;

const SECOND: Micros = 1_000_000;

/// A kind of cells: their interval, and whether they distinguish keys. All distinguish models and status
/// codes. Cells of minutes are kept for the latest days only, because there are many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    Minute,
    Hour,
    KeyHour,
    KeyDay,
    Day,
}

impl Level {
    pub const ALL: [Self; 5] = [Self::Minute, Self::Hour, Self::KeyHour, Self::KeyDay, Self::Day];

    /// Its place in [`Self::ALL`].
    pub fn index(self) -> usize {
        match self {
            Self::Minute => 0,
            Self::Hour => 1,
            Self::KeyHour => 2,
            Self::KeyDay => 3,
            Self::Day => 4,
        }
    }

    /// Its number in the database.
    pub fn number(self) -> i16 {
        self.index() as i16 + 1
    }

    pub fn has_keys(self) -> bool {
        matches!(self, Self::KeyHour | Self::KeyDay)
    }

    pub fn length(self) -> Micros {
        SECOND
            * match self {
                Self::Minute => 60,
                Self::Hour | Self::KeyHour => 3600,
                Self::KeyDay | Self::Day => 86_400,
            }
    }

    /// The start of the cell at `at`.
    pub fn floor(self, at: Micros) -> Micros {
        at - at.rem_euclid(self.length())
    }

    /// The first start of a cell at or after `at`.
    pub fn ceil(self, at: Micros) -> Micros {
        let floor = self.floor(at);
        if floor == at { at } else { floor.saturating_add(self.length()) }
    }
}
