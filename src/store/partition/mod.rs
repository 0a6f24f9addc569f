//! Tables of PostgreSQL with a partition for each month: they are created for a new database, ahead of time by a
//! job, and dropped as a whole once all their rows are older than the retention.
//!
//! The first partition has all times before the first month, and the default partition has times after the last one,
//! those of dropped months, and rows without a time. Only tables that Callscope has partitioned are touched.

pub mod convert;
pub mod moved;
pub(super) mod tables;

pub use tables::NewPartitions;

use std::ops::Range;

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use sea_orm::{ConnectionTrait, Statement};
use tokio::time::{Duration, sleep};

use self::tables::{AHEAD, BOUND, bound, range, suffix};
use super::database::Database;
use super::inspect;
use super::rollup::{self, Deletable};
use super::transaction::Fault;
use crate::domain::id_range::IdRange;
use crate::domain::month::Month;
use crate::domain::table::{ID, LogTable, TIME};
use crate::error::{Error, Result};

/// A statement that waits longer for the lock of a table gives up: queries and inserts wait behind it.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '200ms'";
const ATTEMPTS: usize = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// The first partition is larger if rows were deleted from it: its indexes do not shrink.
const EMPTY_BYTES: i64 = 1 << 20;

/// With more missing months, the clock is probably wrong.
const MOST_MONTHS: usize = 60;

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub table: LogTable,
    pub name: String,
    pub times: Times,
    /// An estimate; exact on another server.
    pub rows: i64,
    /// Including indexes; 0 on another server.
    pub bytes: i64,
    /// The other server that has its rows.
    pub server: Option<String>,
}

/// Which rows a partition has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Half-open. Without a start, all earlier times.
    Range(Option<NaiveDateTime>, NaiveDateTime),
    Default,
    Other,
}

impl Times {
    /// From the text of the catalog.
    fn parse(bound: &str) -> Self {
        if bound == "DEFAULT" {
            return Self::Default;
        }
        let ends = bound.strip_prefix("FOR VALUES FROM (").and_then(|rest| rest.strip_suffix(')'));
        let Some((since, until)) = ends.and_then(|ends| ends.split_once(") TO (")) else {
            return Self::Other;
        };
        let time = |text: &str| NaiveDateTime::parse_from_str(text.trim_matches('\''), BOUND).ok();
        match (since, time(since), time(until)) {
            ("MINVALUE", _, Some(until)) => Self::Range(None, until),
            (_, Some(since), Some(until)) => Self::Range(Some(since), until),
            _ => Self::Other,
        }
    }
}

/// The partitions of a table on this server, in the order of their times.
pub async fn list(db: &Database, table: LogTable) -> Result<Vec<Partition>> {
    partitions_of(db, table, table.name()).await
}

/// The partitions of the parent table `parent`, which has rows of `table`.
async fn partitions_of(db: &Database, table: LogTable, parent: &str) -> Result<Vec<Partition>> {
    let sql = format!(
        "SELECT CAST(CAST(part.oid AS regclass) AS TEXT) AS name, \
         pg_get_expr(part.relpartbound, part.oid) AS bound, \
         COALESCE(CAST(substring(obj_description(part.oid, 'pg_class') FROM '^callscope: (\\d+) rows$') AS BIGINT), \
         CAST(GREATEST(part.reltuples, 0) AS BIGINT)) AS rows, \
         COALESCE(pg_total_relation_size(part.oid), 0) AS bytes, \
         (SELECT CAST(srvname AS TEXT) FROM pg_foreign_table \
         JOIN pg_foreign_server AS server ON server.oid = ftserver WHERE ftrelid = part.oid) AS server \
         FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid \
         WHERE inhparent = to_regclass('{parent}')"
    );
    let found =
        db.query_all_raw("partition.list", Statement::from_string(db.dialect().backend(), sql));
    let mut parts = vec![];
    for row in found.await? {
        let bound: Option<String> = row.try_get_by("bound")?;
        parts.push(Partition {
            table,
            name: row.try_get_by("name")?,
            times: Times::parse(&bound.unwrap_or_default()),
            rows: row.try_get_by("rows")?,
            bytes: row.try_get_by("bytes")?,
            server: row.try_get_by("server")?,
        });
    }
    parts.sort_by_key(|part| match part.times {
        Times::Range(since, _) => (0, since, part.name.clone()),
        Times::Default => (1, None, part.name.clone()),
        Times::Other => (2, None, part.name.clone()),
    });
    Ok(parts)
}

/// The months of a table on other servers, in the order of their times.
pub async fn moved_months(db: &Database, table: LogTable) -> Result<Vec<Partition>> {
    match db.has_partitions() {
        true => partitions_of(db, table, tables::moved_months(table)).await,
        false => Ok(vec![]),
    }
}

/// The months on other servers that are to be dropped: their names, servers and rows.
async fn detached_months(db: &Database, table: LogTable) -> Result<Vec<(String, String, u64)>> {
    let sql = format!(
        "SELECT CAST(CAST(ftrelid AS regclass) AS TEXT) || ' ' || srvname || ' ' || \
         substring(obj_description(ftrelid, 'pg_class') FROM '^callscope: (\\d+) rows, to be dropped$') \
         FROM pg_foreign_table JOIN pg_foreign_server AS server ON server.oid = ftserver \
         JOIN pg_class AS month ON month.oid = ftrelid \
         WHERE starts_with(relname, '{}_') AND NOT relispartition \
         AND relnamespace = CAST(current_schema() AS regnamespace)",
        table.name()
    );
    let parse = |text: String| {
        let mut words = text.split(' ').map(str::to_owned);
        Some((words.next()?, words.next()?, words.next()?.parse().ok()?))
    };
    Ok(inspect::texts(db, sql).await?.into_iter().filter_map(parse).collect())
}

/// The times of the months on other servers.
pub async fn moved_spans(db: &Database, table: LogTable) -> Result<Vec<Range<NaiveDateTime>>> {
    let span = |part: Partition| match part.times {
        Times::Range(Some(since), until) => Some(since..until),
        _ => None,
    };
    Ok(moved_months(db, table).await?.into_iter().filter_map(span).collect())
}

/// The rows of the months on other servers of which all are older than `at`, and those of the other months.
pub async fn moved_rows(db: &Database, table: LogTable, at: DateTime<Utc>) -> Result<(u64, u64)> {
    let end = db.zone().to_stored(at);
    let (mut older, mut newer) = (0, 0);
    if db.has_partitions() {
        older += detached_months(db, table).await?.iter().map(|(_, _, rows)| rows).sum::<u64>();
    }
    for part in moved_months(db, table).await? {
        match part.times {
            Times::Range(_, until) if until <= end => older += part.rows.unsigned_abs(),
            _ => newer += part.rows.unsigned_abs(),
        }
    }
    Ok((older, newer))
}

/// The end of the last month with a partition.
fn last_end(parts: &[Partition]) -> Option<NaiveDateTime> {
    let end = |part: &Partition| match part.times {
        Times::Range(_, until) => Some(until),
        Times::Default | Times::Other => None,
    };
    parts.iter().filter_map(end).max()
}

/// Creates the missing partitions up to some months after `now`, and moves their rows out of the default partition.
/// Writers wait meanwhile, also while the rest of the default partition is read: a month with more than `most_rows`, or
/// with a hundred times as many others, is left out. Returns why something was left out.
pub async fn create_ahead(
    db: &Database,
    now: DateTime<Utc>,
    most_rows: Option<u64>,
) -> Result<Option<String>> {
    let last = Month::of(db.zone().to_stored(now)).plus(AHEAD);
    for table in LogTable::ALL {
        let Some(end) = last_end(&list(db, table).await?) else { continue };
        let months = std::iter::successors(Some(Month::of(end)), |month| Some(month.plus(1)));
        let missing: Vec<Month> =
            months.take_while(|month| *month <= last).take(MOST_MONTHS + 1).collect();
        if missing.len() > MOST_MONTHS {
            return Ok(Some(format!(
                "the last partition of {} ends {end}, is the clock right?",
                table.name()
            )));
        }
        for month in missing {
            if let Some(most) = most_rows
                && (default_has_more(db, table, &in_month(month), most).await?
                    || default_has_more(db, table, "TRUE", 100 * most).await?)
            {
                return Ok(Some(format!(
                    "{}_default has more than {most} rows of {month}, or {} others: run `callscope partition \
                     create` when the gateway may wait",
                    table.name(),
                    100 * most
                )));
            }
            change(db, &attach_sql(table, month, true)).await?;
            tracing::info!(table = table.name(), %month, "created a partition");
        }
    }
    Ok(None)
}

/// Statements that attach a month, with its rows of the default partition. The table is created first: creating a
/// partition directly would lock the parent.
fn attach_sql(table: LogTable, month: Month, create: bool) -> Vec<String> {
    let (parent, values) = (table.name(), range(month));
    let name = format!("{parent}_{}", suffix(month));
    let mut statements = vec![];
    if create {
        // Its ids are those of the parent.
        statements
            .push(format!("CREATE TABLE {name} (LIKE {parent} INCLUDING ALL EXCLUDING IDENTITY)"));
    }
    statements.extend([
        // From now on, no row is added to it.
        format!("LOCK TABLE {parent}_default IN ACCESS EXCLUSIVE MODE"),
        format!(
            "WITH moved AS (DELETE FROM {parent}_default WHERE {} RETURNING *) \
             INSERT INTO {name} SELECT * FROM moved",
            in_month(month)
        ),
        format!("ALTER TABLE {parent} ATTACH PARTITION {name} {values}"),
    ]);
    statements
}

fn in_month(month: Month) -> String {
    format!("{TIME} >= '{}' AND {TIME} < '{}'", bound(month), bound(month.plus(1)))
}

/// Whether the default partition has more than `most` rows that match.
async fn default_has_more(
    db: &Database,
    table: LogTable,
    condition: &str,
    most: u64,
) -> Result<bool> {
    let table = table.name();
    let sql = format!("SELECT 'yes' FROM {table}_default WHERE {condition} LIMIT 1 OFFSET {most}");
    Ok(!inspect::texts(db, sql).await?.is_empty())
}

/// Removes a month from its table, and keeps it as a separate table. The statistics keep its calls.
pub async fn detach(db: &Database, name: &str, now: DateTime<Utc>) -> Result<()> {
    let part = find_month(db, name).await?;
    if let Some(deletable) = fold(db, &part, now).await?
        && !is_folded(db, &part.name, &deletable).await?
    {
        return Err(not_folded());
    }
    let (parent, name) = (part.table.name(), &part.name);
    change(db, &[format!("ALTER TABLE {parent} DETACH PARTITION {name}")]).await
}

/// The month with this name, unless it is the last one.
async fn find_month(db: &Database, name: &str) -> Result<Partition> {
    let refused = |message: &str| Err(Error::bad_input("name", message));
    let of_name = month_of(name);
    for table in LogTable::ALL {
        let parts = list(db, table).await?;
        let Some(part) = parts.iter().find(|part| part.name == name) else {
            if let Some((_, month)) = of_name.filter(|(of, _)| *of == table)
                && let Some(first) = parts.first()
                && matches!(first.times, Times::Range(None, until) if month.start() < until)
            {
                return refused(&format!(
                    "the rows of {month} are in {}, and only a month with its own partition can be detached or moved",
                    first.name
                ));
            }
            continue;
        };
        return match part.times {
            Times::Range(Some(_), until) if Some(until) == last_end(&parts) => {
                refused("the last month cannot be detached or moved")
            }
            Times::Range(Some(_), _) => Ok(part.clone()),
            _ => refused("only a month can be detached or moved"),
        };
    }
    for table in LogTable::ALL {
        let moved = moved_months(db, table).await?;
        if let Some(Partition { server: Some(server), .. }) =
            moved.iter().find(|it| it.name == name)
        {
            return refused(&format!(
                "{name} is on the server {server}, and cannot be moved again"
            ));
        }
    }
    Err(Error::NotFound(format!("no table has the partition `{name}`")))
}

/// Folds the calls of a month, so that the statistics keep them; None for error logs.
async fn fold(db: &Database, part: &Partition, now: DateTime<Utc>) -> Result<Option<Deletable>> {
    match part.times {
        Times::Range(_, until) if part.table == LogTable::Calls => {
            rollup::prepare_deletion(db, db.zone().to_utc(until), now, &|| false).await
        }
        _ => Ok(None),
    }
}

fn not_folded() -> Error {
    let message = "some calls of this month are not yet folded into the rollups: retry later";
    Error::NotReady(message.to_owned())
}

/// Whether all calls of a partition are folded, also those that may still appear between them.
async fn is_folded(db: &Database, name: &str, deletable: &Deletable) -> Result<bool> {
    let ids = ids_of(db, name).await?;
    Ok(ids.is_none_or(|(first, last)| {
        deletable.missing_within(first, last).is_some_and(|missing| missing.is_empty())
    }))
}

/// Whether a partition has calls that may not be deleted.
async fn has_unfolded(db: &Database, name: &str, deletable: &Deletable) -> Result<bool> {
    let Some((first, last)) = ids_of(db, name).await? else { return Ok(false) };
    let Some(missing) = deletable.missing_within(first, last) else { return Ok(true) };
    for ranges in missing.chunks(100) {
        let within = |range: &IdRange| {
            let IdRange { first, last, step } = range;
            format!("{ID} BETWEEN {first} AND {last} AND ({ID} - {first}) % {step} = 0")
        };
        let within: Vec<String> = ranges.iter().map(within).collect();
        let sql = format!("SELECT 'yes' FROM {name} WHERE {} LIMIT 1", within.join(" OR "));
        if !inspect::texts(db, sql).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds a detached month to its table again. Its error logs have to be classified again.
pub async fn attach(db: &Database, name: &str) -> Result<()> {
    let Some((table, month)) = month_of(name) else {
        let message = format!("`{name}` is not the name of a month such as t_request_log_2026_12");
        return Err(Error::BadInput { argument: "name", message });
    };
    change(db, &attach_sql(table, month, false)).await
}

/// The table and the month of a partition with this name.
fn month_of(name: &str) -> Option<(LogTable, Month)> {
    LogTable::ALL.into_iter().find_map(|table| {
        let text = name.strip_prefix(table.name())?.strip_prefix('_')?.replace('_', "-");
        let month: Month = text.parse().ok()?;
        (name == format!("{}_{}", table.name(), suffix(month))).then_some((table, month))
    })
}

/// Statements in one transaction, which is repeated if another one has a lock for long.
async fn change(db: &Database, statements: &[String]) -> Result<()> {
    for _ in 0..ATTEMPTS {
        if change_once(db, statements).await? == Change::Done {
            return Ok(());
        }
        sleep(PAUSE).await;
    }
    Err(Error::Busy)
}

/// The end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Done,
    /// Another transaction has a lock.
    Locked,
    /// A deadlock, or rows that have changed.
    Conflict,
}

/// Statements in one transaction.
async fn change_once(db: &Database, statements: &[String]) -> Result<Change> {
    let transaction = db.begin_transaction().await?;
    let inner = transaction.inner();
    let changed = async {
        inner.execute_unprepared(LOCK_TIMEOUT).await?;
        for sql in statements {
            inner.execute_unprepared(sql).await?;
        }
        Ok(Change::Done)
    };
    let changed = changed.await;
    let changed = transaction.end(changed).await.map_err(Fault::into_error);
    if let Err(error) = &changed {
        tracing::debug!(%error, "a change of partitions failed");
    }
    match changed {
        Err(error) if error.is_lock_timeout() => Ok(Change::Locked),
        Err(error) if error.is_conflict() => Ok(Change::Conflict),
        changed => changed,
    }
}

/// The default partitions with rows of times after the last month.
pub async fn with_misplaced_rows(db: &Database) -> Result<Vec<String>> {
    let mut found = vec![];
    for table in LogTable::ALL {
        let parts = list(db, table).await?;
        let default = parts.iter().find(|part| part.times == Times::Default);
        let (Some(default), Some(end)) = (default, last_end(&parts)) else { continue };
        let (name, end) = (&default.name, end.format(BOUND));
        let sql = format!("SELECT 'yes' FROM {name} WHERE {TIME} >= '{end}' LIMIT 1");
        if !inspect::texts(db, sql).await?.is_empty() {
            found.push(name.clone());
        }
    }
    Ok(found)
}

/// Drops the oldest partition if all its rows are older than `before` and may be deleted; returns the number of its
/// rows. The first partition is emptied, since only the default partition would take its times. None if there is no such
/// partition, or if `stopped` returned true.
pub async fn drop_oldest(
    db: &Database,
    table: LogTable,
    before: DateTime<Utc>,
    deletable: &Deletable,
    stopped: &(dyn Fn() -> bool + Sync),
) -> Result<Option<u64>> {
    let end = db.zone().to_stored(before);
    for part in list(db, table).await? {
        let Times::Range(since, until) = part.times else { continue };
        if until > end {
            return Ok(None);
        }
        let ids = ids_of(db, &part.name).await?;
        if since.is_none() && ids.is_none() && part.bytes < EMPTY_BYTES {
            continue;
        }
        if !is_folded(db, &part.name, deletable).await? {
            match since {
                // It can be emptied later: it does not keep the other months.
                None => continue,
                Some(_) => return Ok(None),
            }
        }
        let start = match since {
            Some(since) => since,
            None => earliest(db, &part.name).await?.unwrap_or(until),
        };
        let Some(rows) = count(db, table, start..until, stopped).await? else { return Ok(None) };
        match drop_unchanged(db, &part, ids).await {
            Err(Error::Busy) if since.is_none() => continue,
            dropped => dropped?,
        }
        tracing::info!(partition = part.name, rows, "dropped a partition");
        return Ok(Some(rows));
    }
    Ok(None)
}

/// Drops a partition, or empties the first one, unless it has a new row.
async fn drop_unchanged(db: &Database, part: &Partition, ids: Option<(i64, i64)>) -> Result<()> {
    let (parent, name) = (part.table.name(), &part.name);
    let ids = ids.map_or(String::new(), |(first, last)| format!("{first} {last}"));
    let (lock_parent, drop) = match part.times {
        Times::Range(None, _) => (None, format!("TRUNCATE {name}")),
        // In the order of other statements, which wait meanwhile.
        _ => {
            let lock = format!("LOCK TABLE ONLY {parent} IN ACCESS EXCLUSIVE MODE");
            (Some(lock), format!("DROP TABLE {name}"))
        }
    };
    let statements = lock_parent.into_iter().chain([
        format!("LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE"),
        // As if another transaction had the lock: the rows are counted again by the next deletion.
        format!(
            "DO $$ BEGIN IF (SELECT concat_ws(' ', MIN({ID}), MAX({ID})) FROM {name}) <> '{ids}' THEN \
             RAISE EXCEPTION 'a new row' USING ERRCODE = 'lock_not_available'; END IF; END $$"
        ),
        drop,
    ]);
    change(db, &statements.collect::<Vec<_>>()).await
}

/// The earliest time of a partition, by its index.
async fn earliest(db: &Database, name: &str) -> Result<Option<NaiveDateTime>> {
    let sql = format!("SELECT to_char(MIN({TIME}), 'YYYY-MM-DD HH24:MI:SS') FROM {name}");
    let found = inspect::texts(db, sql).await?.pop();
    Ok(found.and_then(|text| NaiveDateTime::parse_from_str(&text, BOUND).ok()))
}

/// The lowest and the highest id of a partition, by its index.
async fn ids_of(db: &Database, name: &str) -> Result<Option<(i64, i64)>> {
    let end = async |end: &str| {
        inspect::number(db, format!("SELECT CAST({end}({ID}) AS TEXT) FROM {name}")).await
    };
    Ok(end("MIN").await?.zip(end("MAX").await?))
}

/// Rows between two times, day by day: each statement is short. None if `stopped` returned true.
async fn count(
    db: &Database,
    table: LogTable,
    times: Range<NaiveDateTime>,
    stopped: &(dyn Fn() -> bool + Sync),
) -> Result<Option<u64>> {
    let (mut rows, mut day) = (0, times.start);
    while day < times.end && !stopped() {
        let next = Ord::min(day + TimeDelta::days(1), times.end);
        let of_day = db.dialect().time_range(Some(day), Some(next));
        rows += db.count("partition.count", table, of_day).await?;
        day = next;
    }
    Ok((day >= times.end && !stopped()).then_some(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_the_catalog_are_read() {
        let time = |text: &str| NaiveDateTime::parse_from_str(text, BOUND).unwrap();
        let (since, until) = (time("2026-12-01 00:00:00"), time("2027-01-01 00:00:00"));
        let month = "FOR VALUES FROM ('2026-12-01 00:00:00') TO ('2027-01-01 00:00:00')";
        assert_eq!(Times::parse(month), Times::Range(Some(since), until));
        let before = "FOR VALUES FROM (MINVALUE) TO ('2026-12-01 00:00:00')";
        assert_eq!(Times::parse(before), Times::Range(None, since));
        assert_eq!(Times::parse("DEFAULT"), Times::Default);
        for other in ["", "FOR VALUES WITH (modulus 4, remainder 0)", "FOR VALUES IN ('a')"] {
            assert_eq!(Times::parse(other), Times::Other, "{other}");
        }
        assert_eq!(Times::parse(&range("2026-12".parse().unwrap())), Times::parse(month));
    }
}
