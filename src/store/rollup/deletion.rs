//! Deletes only calls that the cells count.

use chrono::{DateTime, Utc};
use tokio::time::{Duration, sleep};

use super::cache::Phase;
use super::fold::{FOLD_MOST, Folder};
use super::gaps::Gaps;
use super::micros;
use super::state::{keep_before, observe};
use crate::domain::id_range::IdRange;
use crate::error::{Error, Result};
use crate::store::database::Database;

/// The pause while another server folds.
const PAUSE: Duration = Duration::from_millis(100);

/// The calls that may be deleted.
#[derive(Debug)]
pub enum Deletable {
    All,
    Folded(FoldedCalls),
}

/// The calls up to an id, except for those in gaps that may still be folded.
#[derive(Debug)]
pub struct FoldedCalls {
    watermark: i64,
    missing: Vec<IdRange>,
}

impl Deletable {
    /// The ids from `first` to `last` that may not be deleted; None if all above some id may not.
    pub fn missing_within(&self, first: i64, last: i64) -> Option<Vec<IdRange>> {
        match self {
            Self::All => Some(vec![]),
            Self::Folded(folded) if last <= folded.watermark => {
                let is_within = |range: &&IdRange| range.first <= last && range.last >= first;
                Some(folded.missing.iter().filter(is_within).copied().collect())
            }
            Self::Folded(_) => None,
        }
    }

    pub fn contains(&self, id: i64) -> bool {
        match self {
            Self::All => true,
            Self::Folded(folded) => id <= folded.watermark && !folded.is_missing(id),
        }
    }
}

impl FoldedCalls {
    fn is_missing(&self, id: i64) -> bool {
        self.missing.iter().any(|range| range.contains(id))
    }
}

/// Folds all calls, so that the statistics keep those before `before`, which may be deleted then. None if
/// `stopped` returned true.
pub async fn prepare_deletion(
    db: &Database,
    before: DateTime<Utc>,
    now: DateTime<Utc>,
    stopped: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Deletable>> {
    if !db.has_rollups() {
        return Ok(Some(Deletable::All));
    }
    let stored = |at| micros(db.zone().to_stored(at));
    let mut folder = Folder::default();
    loop {
        if stopped() {
            return Ok(None);
        }
        match folder.fold(db, stored(now), FOLD_MOST).await {
            Ok(folded) if folded.more => {}
            Ok(_) => break,
            // Another server folds.
            Err(Error::Busy) => sleep(PAUSE).await,
            Err(error) => return Err(error),
        }
    }
    keep_before(db, stored(before)).await?;
    let Some(observed) = observe(db).await? else { return Ok(Some(Deletable::All)) };
    if observed.state.phase == Phase::Unsuitable {
        return Ok(Some(Deletable::All));
    }
    let missing = Gaps::read(db).await?.missing().collect();
    let watermark = observed.state.watermark;
    Ok(Some(Deletable::Folded(FoldedCalls { watermark, missing })))
}
