//! Folds calls: adds them to their cells and moves the watermark.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use sea_orm::sea_query::{Condition, Expr, ExprTrait, Order, Query, SelectStatement};

use super::cache::{Phase, RollupState, SMALL_LAG};
use super::cells::{self, CellKey, Cells};
use super::gaps::Gaps;
use super::micros;
use super::series::{self, Extent, KnownSeries, Labels, Series};
use super::state::{Observed, observe_or_create};
use crate::domain::id_range::IdRange;
use crate::domain::rollup::{Level, Micros};
use crate::domain::table::{ID, LogTable};
use crate::error::Result;
use crate::store::database::Database;
use crate::store::dialect::{Dialect, earliest, latest};
use crate::store::rows::{VALUE, row, select_from};
use crate::store::stored_time::StoredTime;
use crate::store::tail::{id_step, id_within};
use crate::store::transaction::Fault;

/// The calls of one step: a write transaction of some ten milliseconds.
pub const FOLD_MOST: u64 = 8192;

/// Ids below the first call that may still appear.
const IDS_BEFORE_FIRST: i64 = 256;
const GAPS_PER_STATEMENT: usize = 200;

const DAY: Micros = 86_400 * 1_000_000;
/// Cells of minutes are kept for so long, and deleted once a day.
const MINUTES_KEPT: Micros = 3 * DAY;

row! {
    struct FoldRow {
        id: i64,
        request_time: Option<StoredTime>,
        api_key: Option<String>,
        model_name: Option<String>,
        status_code: Option<i64>,
        latency_ms: Option<i64>,
        unfoldable: i64,
    }
}

/// What a step has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    pub calls: usize,
    /// There may be more to fold now.
    pub more: bool,
    /// The time of the write transaction.
    pub wrote: Duration,
}

/// Folds calls. It remembers what it stored last, for as long as no other program changes it.
#[derive(Debug, Default)]
pub struct Folder {
    version: i64,
    series: KnownSeries,
    cells: Cells,
}

impl Folder {
    /// Folds at most `most` calls, with one short write transaction. `now` is the stored time of the clock.
    /// Fails with [`Error::Busy`](crate::error::Error::Busy), and changes nothing, if another server folds at
    /// the same time.
    pub async fn fold(&mut self, db: &Database, now: Micros, most: u64) -> Result<Folded> {
        // Dropped half-way, nothing is remembered.
        let mut known = std::mem::take(self);
        let observed = observe_or_create(db).await?;
        if observed.state.version != known.version {
            known = Self::default();
        }
        let folded = fold(db, &observed, now, most, &mut known).await?;
        *self = known;
        Ok(folded)
    }
}

async fn fold(
    db: &Database,
    observed: &Observed,
    now: Micros,
    most: u64,
    known: &mut Folder,
) -> Result<Folded> {
    let mut state = observed.state.clone();
    let interrupted = interrupted(observed);
    if let Some(phase) = interrupted {
        state.phase = phase;
    }
    state.kept_since = state.kept_since_with(observed.oldest);
    state.oldest = observed.oldest.or(state.oldest);
    match state.phase {
        Phase::Unsuitable => return Ok(Folded::default()),
        Phase::Clearing => return clear(db, observed, state).await,
        Phase::First | Phase::Ready | Phase::Rebuilding => {}
    }
    let gaps = Gaps::read(db).await?;
    let mut batch = Batch::new(state, gaps.clone(), now);
    if interrupted == Some(Phase::First) {
        batch.start_again();
    }
    batch.keep_minutes(observed);
    batch.start_days();
    if batch.gaps.has_missing() {
        for row in read_missing(db, &batch.gaps, most).await? {
            batch.gaps.remove(row.id);
            batch.add(row);
        }
    }
    let rows = read_new(db, batch.state.watermark, most).await?;
    let more = rows.len() as u64 == most;
    let step = if rows.is_empty() { 1 } else { id_step(db).await? };
    for row in rows {
        batch.pass(db.dialect(), row.id, step);
        batch.add(row);
    }
    batch.gaps.expire(now);
    if batch.gaps.has_too_many_unfoldable() {
        batch.gaps.retain_unfoldable(&existing(db, batch.gaps.unfoldable()).await?);
    }
    batch.advance(observed);
    let calls = batch.calls;
    let mut wrote = Duration::ZERO;
    if batch.state != observed.state || batch.gaps != gaps || calls > 0 {
        wrote = batch.store(db, &observed.state, &gaps, known).await?;
    }
    Ok(Folded { calls, more, wrote })
}

/// The next phase if calls at the watermark were deleted or replaced: ids may be used again.
fn interrupted(observed: &Observed) -> Option<Phase> {
    let state = &observed.state;
    if state.watermark == 0 || matches!(state.phase, Phase::Clearing | Phase::Unsuitable) {
        return None;
    }
    if observed.highest == 0 {
        // An empty table: all later calls are new.
        return Some(Phase::First);
    }
    let is_same = observed.mark == state.watermark_time;
    let is_gone = observed.mark.is_none() && observed.highest > state.watermark;
    (!is_same && !is_gone).then_some(Phase::Clearing)
}

/// Deletes the cells that a rebuild folds again: those without deleted calls.
async fn clear(db: &Database, observed: &Observed, mut state: RollupState) -> Result<Folded> {
    let gaps = Gaps::read(db).await?;
    let transaction = db.begin_transaction().await?;
    let cleared = async {
        for level in Level::ALL {
            let inner = transaction.inner();
            let deleted = cells::delete(&inner, level, state.kept_since, None).await?;
            state.cells[level.index()] -= deleted.cast_signed();
        }
        Gaps::default().store(&transaction.inner(), &gaps).await?;
        state.phase = Phase::Rebuilding;
        state.epoch += 1;
        // Days that are folded again have cells.
        let first = state.kept_since.map_or(Micros::MIN, |since| Level::Day.ceil(since));
        state.days_since = Some(state.days_since.map_or(first, |since| Ord::min(since, first)));
        // These are in the cells that are kept.
        state.rebuilt_until = state.watermark;
        (state.watermark, state.watermark_time, state.folded) = (0, None, 0);
        state.store(&transaction.inner(), observed.state.version).await
    };
    let cleared = cleared.await;
    transaction.end(cleared).await.map_err(Fault::into_error)?;
    Ok(Folded { more: true, ..Folded::default() })
}

/// The calls above the watermark, by id.
async fn read_new(db: &Database, watermark: i64, most: u64) -> Result<Vec<FoldRow>> {
    let mut select = select(db.dialect());
    select.and_where(Expr::col(ID).gt(watermark)).order_by(ID, Order::Asc).limit(most);
    db.fetch("rollup.new", &select).await
}

/// Those of the ids that have a call.
async fn existing(db: &Database, ids: Vec<i64>) -> Result<Vec<i64>> {
    let mut found = vec![];
    for ids in ids.chunks(1000) {
        let mut select = Query::select();
        select
            .expr_as(db.dialect().integer(ID), VALUE)
            .from(LogTable::Calls.name())
            .and_where(Expr::col(ID).is_in(ids.iter().copied()));
        found.extend(db.fetch_values::<i64>("rollup.existing", &select).await?);
    }
    Ok(found)
}

/// Calls in gaps. One statement for 200 gaps.
async fn read_missing(db: &Database, gaps: &Gaps, most: u64) -> Result<Vec<FoldRow>> {
    let missing: Vec<IdRange> = gaps.missing().collect();
    let mut rows = vec![];
    for ranges in missing.chunks(GAPS_PER_STATEMENT) {
        let is_inside =
            ranges.iter().fold(Condition::any(), |any, range| any.add(id_within(range)));
        let mut select = select(db.dialect());
        select.cond_where(is_inside).order_by(ID, Order::Asc).limit(most);
        rows.extend(db.fetch::<FoldRow>("rollup.missing", &select).await?);
    }
    Ok(rows)
}

fn select(dialect: Dialect) -> SelectStatement {
    let unfoldable = match dialect {
        // Values that the texts of the series would change.
        Dialect::Sqlite => "CASE WHEN typeof(api_key) = 'blob' OR typeof(model_name) = 'blob' \
             OR typeof(status_code) = 'real' THEN 1 ELSE 0 END"
            .to_owned(),
        Dialect::MySql => {
            "CAST(DAY(request_time) = 0 OR MONTH(request_time) = 0 AS SIGNED)".to_owned()
        }
        Dialect::Postgres => dialect.to_integer("0"),
    };
    let unfoldable = format!("COALESCE({unfoldable}, 0)");
    select_from::<FoldRow>(dialect, LogTable::Calls, &[("unfoldable", Expr::cust(unfoldable))])
}

/// Calls that are folded together.
struct Batch {
    state: RollupState,
    gaps: Gaps,
    now: Micros,
    /// The number of each series in `extents`.
    numbers: HashMap<Labels, usize>,
    extents: Vec<Extent>,
    /// By the number of the series instead of its id.
    cells: Cells,
    calls: usize,
}

impl Batch {
    fn new(state: RollupState, gaps: Gaps, now: Micros) -> Self {
        let (numbers, extents, cells) = (HashMap::new(), vec![], Cells::new());
        Self { state, gaps, now, numbers, extents, cells, calls: 0 }
    }

    /// Starts with the first id again: the table is empty, and ids may be used again.
    fn start_again(&mut self) {
        (self.state.watermark, self.state.watermark_time) = (0, None);
        self.state.epoch += 1;
        self.gaps = Gaps::default();
    }

    /// Moves the start of the cells of minutes once a day, with the newest call up to now.
    fn keep_minutes(&mut self, observed: &Observed) {
        let latest = observed.newest.map_or(self.now, |newest| Ord::min(newest, self.now));
        let since = Level::KeyDay.floor(latest - MINUTES_KEPT);
        if self.state.minutes_since.is_none_or(|before| before < since) {
            self.state.minutes_since = Some(since);
            self.state.epoch += 1;
        }
    }

    /// Starts with cells of days where an older version has folded calls.
    fn start_days(&mut self) {
        if self.state.days_since.is_none() {
            let since = self.state.newest.map_or(Micros::MIN, |newest| Level::Day.ceil(newest + 1));
            self.state.days_since = Some(since);
            self.state.epoch += 1;
        }
    }

    /// Passes the id of a new call and records the ids that it skips. `step` is that of new ids.
    fn pass(&mut self, dialect: Dialect, id: i64, step: i64) {
        let next = match self.state.watermark {
            0 => Ord::max(id - IDS_BEFORE_FIRST, 1),
            watermark => watermark + 1,
        };
        // SQLite has one writer at a time, so that ids are committed in order.
        if dialect != Dialect::Sqlite {
            let now = self.now;
            IdRange::between(next, id - 1, step).for_each(|ids| self.gaps.add_missing(ids, now));
        }
        self.state.watermark = id;
        self.state.watermark_time = None;
    }

    fn add(&mut self, row: FoldRow) {
        self.calls += 1;
        // Calls without a readable time are in no window.
        let Some(time) = row.request_time else { return };
        if row.id == self.state.watermark {
            self.state.watermark_time = Some(micros(time.at));
        }
        if row.unfoldable != 0 || !time.is_ordinary() {
            return self.gaps.add_unfoldable(row.id);
        }
        if !(earliest()..latest()).contains(&time.at) {
            return;
        }
        let at = micros(time.at);
        self.state.newest = Ord::max(self.state.newest, Some(at));
        // It may have been committed after the oldest call was read, and be deleted before it is read again.
        self.state.oldest = Some(self.state.oldest.map_or(at, |oldest| Ord::min(oldest, at)));
        let extent = Extent { first_id: row.id, first: at, last: at };
        let labels =
            Labels { keyed: true, key: row.api_key, model: row.model_name, code: row.status_code };
        let without_key = Labels { keyed: false, key: None, ..labels.clone() };
        let numbers = [labels, without_key].map(|labels| self.number(labels, extent));
        let is_success = row.status_code.is_some_and(|code| (200..=299).contains(&code));
        for level in Level::ALL {
            if !self.has_cell(level, row.id, at) {
                continue;
            }
            let [keyed, without_key] = numbers;
            let series = if level.has_keys() { keyed } else { without_key };
            let cell = self.cells.entry(CellKey::at(level, at, series as i64)).or_default();
            cell.total += 1;
            cell.success += i64::from(is_success);
            if let Some(latency) = row.latency_ms {
                cell.latencies.add(latency, 1);
            }
        }
    }

    fn number(&mut self, labels: Labels, extent: Extent) -> usize {
        let next = self.extents.len();
        let number = *self.numbers.entry(labels).or_insert(next);
        match self.extents.get_mut(number) {
            Some(known) => *known = known.and(extent),
            None => self.extents.push(extent),
        }
        number
    }

    /// Whether a call is added to its cell of this level.
    fn has_cell(&self, level: Level, id: i64, at: Micros) -> bool {
        let is_kept = self.state.kept_since.is_some_and(|since| level.floor(at) < since);
        let is_counted =
            is_kept && self.state.phase == Phase::Rebuilding && id <= self.state.rebuilt_until;
        let exists = self.state.since(level).is_none_or(|since| at >= since);
        exists && !is_counted
    }

    /// The state after the batch.
    fn advance(&mut self, observed: &Observed) {
        let state = &mut self.state;
        state.folded += self.calls as i64;
        let lag = observed.highest - state.watermark;
        // The last calls that are folded again may be deleted.
        let again = Ord::min(state.rebuilt_until, observed.highest);
        let is_caught_up = lag <= SMALL_LAG && state.watermark >= again;
        match state.phase {
            Phase::First | Phase::Rebuilding if is_caught_up => state.phase = Phase::Ready,
            _ => {}
        }
        if self.gaps.has_too_many_unfoldable() {
            state.phase = Phase::Unsuitable;
        }
        let before = &observed.state;
        let uses = |state: &RollupState| (state.phase, state.oldest, state.kept_since);
        if uses(state) != uses(before) {
            state.epoch += 1;
        }
    }

    /// Stores the batch and returns the time of the write transaction.
    async fn store(
        self,
        db: &Database,
        before: &RollupState,
        old_gaps: &Gaps,
        known: &mut Folder,
    ) -> Result<Duration> {
        let Self { mut state, gaps, numbers, extents, cells, .. } = self;
        let mut found: Vec<(usize, Labels)> =
            numbers.into_iter().map(|(labels, number)| (number, labels)).collect();
        found.sort_unstable_by_key(|(number, _)| *number);
        let found = found.into_iter().zip(extents).map(|((_, labels), extent)| (labels, extent));
        let series: Vec<Series> = series::resolve(db, found.collect(), &mut known.series).await?;
        let mut cells: Cells = cells
            .into_iter()
            .map(|(key, cell)| (key.of_series(series[key.number()].id), cell))
            .collect();
        let new = cells::add_stored(db, &mut cells, &known.cells).await?;
        state.cells.iter_mut().zip(new).for_each(|(cells, new)| *cells += new);
        let transaction = db.begin_transaction().await?;
        let started = Instant::now();
        let stored = async {
            if state.minutes_since != before.minutes_since {
                // A day later than queries stop to read them: their state may be older.
                let until = state.minutes_since.map(|since| since - DAY);
                let inner = transaction.inner();
                let deleted = cells::delete(&inner, Level::Minute, None, until).await?;
                state.cells[Level::Minute.index()] -= deleted.cast_signed();
            }
            state.store(&transaction.inner(), before.version).await?;
            series::store(&transaction.inner(), &series).await?;
            cells::store(&transaction.inner(), &cells).await?;
            gaps.store(&transaction.inner(), old_gaps).await
        };
        let stored = stored.await;
        transaction.end(stored).await.map_err(Fault::into_error)?;
        known.version = before.version + 1;
        series::remember(series, &mut known.series);
        cells::remember(cells, &mut known.cells);
        Ok(started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fold by fold, the oldest call may be deleted before the next one.
    #[test]
    fn a_folded_call_that_was_not_yet_read_as_the_oldest_is_missed_when_it_is_deleted() {
        let at = |text| StoredTime::from_text(text);
        let row = |id, text| FoldRow {
            id,
            request_time: Some(at(text)),
            api_key: None,
            model_name: None,
            status_code: Some(200),
            latency_ms: None,
            unfoldable: 0,
        };
        // The table was empty when the state was read.
        let mut batch = Batch::new(RollupState::new(), Gaps::default(), 0);
        batch.add(row(1, "2026-02-05 10:15:00"));
        batch.add(row(2, "2026-01-05 10:15:00"));
        batch.add(row(3, "2026-03-01 11:00:00"));
        let left = Some(micros(at("2026-03-01 11:00:00").at));
        assert_eq!(batch.state.oldest, Some(micros(at("2026-01-05 10:15:00").at)));
        assert_eq!(batch.state.kept_since_with(left), left);
    }
}
