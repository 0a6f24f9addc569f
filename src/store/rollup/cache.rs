//! The state of the rollups in memory.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::time::Instant;

use crate::domain::rollup::{Level, Micros};

/// With more calls to fold, queries do not use the cells: they would read these calls one by one.
pub(super) const SMALL_LAG: i64 = 20_000;

/// Whether queries may use the cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Most calls are not folded yet.
    First,
    Ready,
    /// A rebuild deletes the cells of existing calls.
    Clearing,
    /// A rebuild folds all calls again.
    Rebuilding,
    /// Too many calls cannot be folded, such as calls with unusual times.
    Unsuitable,
}

impl Phase {
    pub(super) const ALL: [Self; 5] =
        [Self::First, Self::Ready, Self::Clearing, Self::Rebuilding, Self::Unsuitable];

    pub(super) fn number(self) -> i64 {
        match self {
            Self::First => 0,
            Self::Ready => 1,
            Self::Clearing => 2,
            Self::Rebuilding => 3,
            Self::Unsuitable => 4,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first fold",
            Self::Ready => "ready",
            Self::Clearing => "rebuild: deleting cells",
            Self::Rebuilding => "rebuild: folding",
            Self::Unsuitable => "unsuitable",
        }
    }
}

/// The state of the rollups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RollupState {
    /// Increases with every change.
    pub(super) version: i64,
    /// Increases with every change that changes how queries use the cells.
    pub(super) epoch: i64,
    pub phase: Phase,
    /// Calls up to this id are folded, except for those in gaps.
    pub watermark: i64,
    /// The time of the call with this id.
    pub(super) watermark_time: Option<Micros>,
    /// A rebuild folds calls up to this id again.
    pub(super) rebuilt_until: i64,
    /// The number of folded calls.
    pub folded: i64,
    /// The number of cells of each level, in their order.
    pub cells: [i64; Level::ALL.len()],
    /// Cells of minutes exist from here on.
    pub(super) minutes_since: Option<Micros>,
    /// Cells of days without keys exist from here on; None if a server of an older version has folded last.
    pub(super) days_since: Option<Micros>,
    /// The time of the oldest call at the last fold.
    pub(super) oldest: Option<Micros>,
    /// The time of the newest folded call.
    pub(super) newest: Option<Micros>,
    /// Earlier calls may be deleted; only cells count them.
    pub kept_since: Option<Micros>,
}

impl RollupState {
    pub(super) fn new() -> Self {
        Self {
            version: 0,
            epoch: 0,
            phase: Phase::First,
            watermark: 0,
            watermark_time: None,
            rebuilt_until: 0,
            folded: 0,
            cells: [0; Level::ALL.len()],
            minutes_since: None,
            days_since: Some(Micros::MIN),
            oldest: None,
            newest: None,
            kept_since: None,
        }
    }

    /// The time of the first cells of a level.
    pub(super) fn since(&self, level: Level) -> Option<Micros> {
        match level {
            Level::Minute => self.minutes_since,
            Level::Day => Some(self.days_since.unwrap_or(Micros::MAX)),
            Level::Hour | Level::KeyHour | Level::KeyDay => None,
        }
    }

    /// The time before which calls may be deleted, if the oldest call is `oldest` now: calls that are
    /// gone since the last fold were deleted by another program.
    pub(super) fn kept_since_with(&self, oldest: Option<Micros>) -> Option<Micros> {
        let deleted_until = match (self.oldest, oldest) {
            (Some(before), Some(now)) => (now > before).then_some(now),
            (Some(_), None) => self.newest.map(|newest| newest + 1),
            (None, _) => None,
        };
        self.kept_since.max(deleted_until)
    }
}

/// The state that this server has read last, with an upper bound of the calls that were not folded then.
#[derive(Debug)]
pub(in crate::store) struct KnownState {
    pub state: RollupState,
    pub lag: i64,
    /// Since when this server has known this version of the state.
    pub since: Instant,
}

/// The last [`KnownState`]; None before the first.
#[derive(Debug, Default)]
pub(in crate::store) struct RollupCache(RwLock<Option<Arc<KnownState>>>);

impl RollupCache {
    pub(in crate::store) fn get(&self) -> Option<Arc<KnownState>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set(&self, mut known: Option<KnownState>) {
        let mut last = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let (Some(known), Some(last)) = (&mut known, &*last)
            && known.state.version == last.state.version
        {
            known.since = last.since;
        }
        *last = known.map(Arc::new);
    }
}
