//! The state of the rollups: the one row of `callscope_rollup_state`.

use sea_orm::ConnectionTrait;
use sea_orm::sea_query::{Expr, ExprTrait, Func, OnConflict, Query, SelectStatement};
use tokio::time::{Duration, Instant, sleep};

use super::cache::{KnownState, Phase, RollupState};
use super::{STATE, micros};
use crate::domain::rollup::Micros;
use crate::domain::table::{ID, LogTable, TIME};
use crate::error::{Error, Result};
use crate::observe::request;
use crate::store::database::Database;
use crate::store::rows::{Row, columns, field, row};
use crate::store::stored_time::StoredTime;
use crate::store::transaction::{Fault, WriteTransaction, retry};

/// Attempts of a change while a server folds, and the pause in between.
const ATTEMPTS: usize = 50;
const PAUSE: Duration = Duration::from_millis(50);

/// The key of the row.
const NAME: &str = "calls";

row! {
    struct StoredState {
        version: i64,
        epoch: i64,
        phase: i64,
        watermark: i64,
        watermark_time: Option<i64>,
        rebuilt_until: i64,
        folded: i64,
        minute_cells: i64,
        hour_cells: i64,
        key_hour_cells: i64,
        key_day_cells: i64,
        minutes_since: Option<i64>,
        day_cells: Option<i64>,
        days_since: Option<i64>,
        days_version: Option<i64>,
        oldest: Option<i64>,
        newest: Option<i64>,
        kept_since: Option<i64>,
    }
}

row! {
    /// The calls at the moment of the statement.
    struct Present {
        highest: Option<i64>,
        first: Option<StoredTime>,
        last: Option<StoredTime>,
        mark: Option<StoredTime>,
    }
}

impl RollupState {
    fn of(stored: StoredState) -> Result<Self> {
        let phase = Phase::ALL.into_iter().find(|phase| phase.number() == stored.phase);
        Ok(Self {
            version: stored.version,
            epoch: stored.epoch,
            phase: phase.ok_or_else(|| Error::internal(format!("{STATE} has an unknown phase")))?,
            watermark: stored.watermark,
            watermark_time: stored.watermark_time,
            rebuilt_until: stored.rebuilt_until,
            folded: stored.folded,
            cells: [
                stored.minute_cells,
                stored.hour_cells,
                stored.key_hour_cells,
                stored.key_day_cells,
                stored.day_cells.unwrap_or(0),
            ],
            minutes_since: stored.minutes_since,
            days_since: stored.days_since.filter(|_| stored.days_version == Some(stored.version)),
            oldest: stored.oldest,
            newest: stored.newest,
            kept_since: stored.kept_since,
        })
    }

    /// Stores a state that was derived from the state with `version`. Fails with a conflict if another
    /// server has changed it.
    pub(super) async fn store(
        &self,
        transaction: &impl ConnectionTrait,
        version: i64,
    ) -> Result<()> {
        let mut update = Query::update();
        update
            .table(STATE)
            .value("version", version + 1)
            .value("epoch", self.epoch)
            .value("phase", self.phase.number())
            .value("watermark", self.watermark)
            .value("watermark_time", self.watermark_time)
            .value("rebuilt_until", self.rebuilt_until)
            .value("folded", self.folded)
            .value("minute_cells", self.cells[0])
            .value("hour_cells", self.cells[1])
            .value("key_hour_cells", self.cells[2])
            .value("key_day_cells", self.cells[3])
            .value("minutes_since", self.minutes_since)
            .value("day_cells", self.cells[4])
            .value("days_since", self.days_since)
            .value("days_version", version + 1)
            .value("oldest", self.oldest)
            .value("newest", self.newest)
            .value("kept_since", self.kept_since)
            .and_where(Expr::col("name").eq(NAME))
            .and_where(Expr::col("version").eq(version));
        match transaction.execute(&update).await?.rows_affected() {
            1 => Ok(()),
            _ => Err(Error::Busy),
        }
    }
}

/// The state, and what is to be folded.
#[derive(Clone, Debug)]
pub struct Observed {
    pub state: RollupState,
    /// The highest id of a call.
    pub highest: i64,
    /// The time of the oldest call.
    pub(super) oldest: Option<Micros>,
    /// The time of the newest call.
    pub(super) newest: Option<Micros>,
    /// The time of the call at the watermark.
    pub(super) mark: Option<Micros>,
}

impl Observed {
    /// An upper bound of the calls above the watermark.
    pub fn lag(&self) -> i64 {
        Ord::max(self.highest - self.state.watermark, 0)
    }
}

fn scalar(select: SelectStatement) -> Expr {
    Expr::SubQuery(None, Box::new(select.into()))
}

/// The time of the oldest call.
pub(super) fn oldest_call(db: &Database) -> Expr {
    let mut select = Query::select();
    select.expr(Expr::col(TIME).min()).from(LogTable::Calls.name());
    scalar(select.cond_where(db.dialect().time_range(None, None)).take())
}

/// The epoch of the state; -1 without a state, or if cells of days are needed and a server of an older version has
/// folded last.
pub(super) fn epoch(needs_days: bool) -> Expr {
    let mut select = Query::select();
    select.column("epoch").from(STATE).and_where(Expr::col("name").eq(NAME));
    if needs_days {
        select.and_where(Expr::col("days_version").equals("version"));
    }
    Func::coalesce([scalar(select.take()), Expr::cust("-1")]).into()
}

/// Whether a call is above the watermark.
pub(super) fn is_above_watermark() -> Expr {
    Expr::col(ID).gt(watermark())
}

/// The watermark of the state. It does not refer to a row of an outer query: Citus refuses that.
fn watermark() -> Expr {
    let mut select = Query::select();
    select.column("watermark").from(STATE).and_where(Expr::col("name").eq(NAME));
    scalar(select.take())
}

/// Reads the state. None if the database has no state yet. One statement.
pub async fn observe(db: &Database) -> Result<Option<Observed>> {
    let dialect = db.dialect();
    let mut select = Query::select();
    let calls =
        |expression: Expr| Query::select().expr(expression).from(LogTable::Calls.name()).take();
    let highest = Expr::cust(dialect.to_integer("MAX(id)"));
    let mut mark = calls(Expr::col(TIME));
    mark.and_where(Expr::col(ID).eq(watermark()));
    let own = StoredState::columns().into_iter().map(|name| Expr::col((STATE, field(name))));
    let mut last = calls(Expr::col(TIME).max());
    last.cond_where(dialect.time_range(None, None));
    let present = [scalar(calls(highest)), oldest_call(db), scalar(last), scalar(mark)];
    columns::<(StoredState, Present)>(&mut select, own.chain(present));
    select.from(STATE).and_where(Expr::col((STATE, "name")).eq(NAME));
    let found = db.fetch::<(StoredState, Present)>("rollup.state", &select).await?.pop();
    let Some((stored, present)) = found else { return Ok(None) };
    let time = |stored: Option<StoredTime>| stored.map(|stored| micros(stored.at));
    Ok(Some(Observed {
        state: RollupState::of(stored)?,
        highest: present.highest.unwrap_or(0),
        oldest: time(present.first),
        newest: time(present.last),
        mark: time(present.mark),
    }))
}

/// The state, which is created if it is missing.
pub(super) async fn observe_or_create(db: &Database) -> Result<Observed> {
    if let Some(found) = observe(db).await? {
        return Ok(found);
    }
    let new = RollupState::new();
    let insert = Query::insert()
        .into_table(STATE)
        .columns([
            "name",
            "version",
            "epoch",
            "phase",
            "watermark",
            "rebuilt_until",
            "folded",
            "minute_cells",
            "hour_cells",
            "key_hour_cells",
            "key_day_cells",
            "day_cells",
            "days_since",
            "days_version",
        ])
        .values_panic([
            NAME.into(),
            new.version.into(),
            new.epoch.into(),
            new.phase.number().into(),
            new.watermark.into(),
            new.rebuilt_until.into(),
            new.folded.into(),
            new.cells[0].into(),
            new.cells[1].into(),
            new.cells[2].into(),
            new.cells[3].into(),
            new.cells[4].into(),
            new.days_since.into(),
            new.version.into(),
        ])
        .on_conflict(OnConflict::column("name").do_nothing_on(["name"]).to_owned())
        .take();
    db.execute("rollup_state_insert", &insert).await?;
    observe(db).await?.ok_or_else(|| Error::internal(format!("{STATE} has no row")))
}

/// Changes the state in a separate transaction, again if a server folds at the same time. `change` returns
/// whether it changed anything.
async fn change(db: &Database, change: impl Fn(&mut RollupState) -> bool) -> Result<()> {
    for _ in 0..ATTEMPTS {
        match try_change(db, &change).await {
            Err(Error::Busy) => sleep(PAUSE).await,
            changed => {
                changed?;
                return refresh(db).await.map(|_| ());
            }
        }
    }
    Err(Error::Busy)
}

async fn try_change(db: &Database, change: &impl Fn(&mut RollupState) -> bool) -> Result<()> {
    let changed = retry(|| async move {
        let Some(observed) = observe(db).await.map_err(Fault::Refused)? else { return Ok(()) };
        let (mut state, version) = (observed.state.clone(), observed.state.version);
        if !change(&mut state) {
            return Ok(());
        }
        state.epoch += 1;
        let transaction: WriteTransaction = db.begin_transaction().await.map_err(Fault::Refused)?;
        let stored = state.store(&transaction.inner(), version).await;
        transaction.end(stored).await
    });
    changed.await.map_err(Fault::into_error)
}

/// Reads the state for queries of this server from the primary, and returns it. Calls that are gone since the last fold
/// count as deleted.
pub async fn refresh(db: &Database) -> Result<Option<Observed>> {
    request::read_primary();
    let observed = observe(db).await?;
    let known = observed.as_ref().map(|observed| {
        let state = RollupState {
            kept_since: observed.state.kept_since_with(observed.oldest),
            oldest: observed.oldest.or(observed.state.oldest),
            ..observed.state.clone()
        };
        KnownState { state, lag: observed.lag(), since: Instant::now() }
    });
    db.rollups().set(known);
    Ok(observed)
}

/// From now on, cells count the calls before `before`, which are going to be deleted.
pub(super) async fn keep_before(db: &Database, before: Micros) -> Result<()> {
    change(db, |state| {
        let is_new = state.kept_since.is_none_or(|since| since < before);
        if is_new {
            state.kept_since = Some(before);
        }
        is_new && state.folded > 0
    })
    .await
}

/// Requests that all calls are folded again. Cells of deleted calls are kept.
pub async fn request_rebuild(db: &Database) -> Result<()> {
    change(db, |state| {
        state.phase = Phase::Clearing;
        true
    })
    .await
}
