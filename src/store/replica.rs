//! Standbys of PostgreSQL that answer queries.
//!
//! A standby is compared with the primary by positions in the write-ahead log. The position of the primary is read
//! several times per second; once a standby has replayed it, the standby has everything that was committed before the
//! instant of that reading. So no statement is needed after a write or before a query: a query may use a standby if that
//! instant is not older than the maximal lag, the last write of the client, and what this server has read from the
//! primary (docs/adr/0026).

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use prometheus_client::metrics::counter::Counter;
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement};
use tokio::sync::watch;
use tokio::time::Instant;

use super::connect::Access;
use super::connections::Connections;
use super::dialect::Dialect;
use super::fair_queue::QueueError;
use super::hosts::{Hosts, host};
use super::pool::PoolState;
use crate::config::{DatabaseConfig, ReplicaConfig};
use crate::error::{Error, Result};
use crate::observe::RequestMarks;

/// The last writes of so many clients are kept; with more, the last write of any client counts for all.
const MOST_WRITERS: usize = 10_000;

/// The earlier positions that are kept.
const MOST_EARLIER: usize = 1000;

/// The columns of [`Position`], on the primary and on a standby.
pub(super) const PRIMARY_POSITION: &str = "SELECT \
    CAST(pg_current_wal_insert_lsn() - CAST('0/0' AS pg_lsn) AS BIGINT) AS position, \
    (SELECT system_identifier FROM pg_control_system()) AS cluster, \
    (SELECT CAST(oid AS BIGINT) FROM pg_database WHERE datname = current_database()) AS database, \
    CAST(CAST(CAST('x' || SUBSTR(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) AS BIT(32)) AS INT) AS BIGINT) \
        AS timeline, \
    FALSE AS is_standby, TRUE AS is_readable";
/// The receiver is hidden from ordinary users; without it, the timeline is that of the last restart point.
pub(super) const REPLICA_POSITION: &str = "SELECT \
    COALESCE(CAST(pg_last_wal_replay_lsn() - CAST('0/0' AS pg_lsn) AS BIGINT), 0) AS position, \
    (SELECT system_identifier FROM pg_control_system()) AS cluster, \
    (SELECT CAST(oid AS BIGINT) FROM pg_database WHERE datname = current_database()) AS database, \
    CAST(GREATEST((SELECT timeline_id FROM pg_control_checkpoint()), \
        (SELECT received_tli FROM pg_stat_wal_receiver)) AS BIGINT) AS timeline, \
    pg_is_in_recovery() AS is_standby, \
    (SELECT COALESCE(BOOL_AND(has_table_privilege(oid, 'SELECT')), FALSE) FROM pg_class \
        WHERE pg_table_is_visible(oid) AND relkind IN ('r', 'p') \
        AND (relname IN ('t_request_log', 't_error_logs') OR relname LIKE 'callscope\\_%')) AS is_readable";

/// A position in the write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub position: i64,
    /// Identifies a primary and its standbys.
    pub cluster: i64,
    /// Identifies a database of the cluster.
    pub database: i64,
    /// Changes with a promotion.
    pub timeline: i64,
    pub is_standby: bool,
    /// The user may read all tables.
    pub is_readable: bool,
}

impl Position {
    pub(super) fn of(rows: &[QueryResult]) -> Result<Self> {
        let row = rows.first().ok_or_else(|| Error::internal("a server reports no position"))?;
        Ok(Self {
            position: row.try_get_by("position")?,
            cluster: row.try_get_by("cluster")?,
            database: row.try_get_by("database")?,
            timeline: row.try_get_by("timeline")?,
            is_standby: row.try_get_by("is_standby")?,
            is_readable: row.try_get_by("is_readable")?,
        })
    }
}

/// The standbys of a server. Empty for most servers.
#[derive(Debug)]
pub struct Replicas {
    replicas: Vec<Replica>,
    max_lag: Duration,
    /// Migrations of this server are older.
    opened_at: Instant,
    history: Mutex<History>,
    writes: Mutex<Writes>,
    /// Connections to the primary for its position.
    primary: Option<Arc<Connections>>,
}

/// When each client has written last, and when any client that is not in the map did.
#[derive(Debug, Default)]
struct Writes {
    by_client: HashMap<Arc<str>, Instant>,
    by_others: Option<Instant>,
}

impl Writes {
    fn add(&mut self, client: &Arc<str>, now: Instant, max_lag: Duration) {
        self.by_client.insert(client.clone(), now);
        if self.by_client.len() > MOST_WRITERS {
            self.by_client.retain(|_, at| now - *at <= max_lag);
        }
        if self.by_client.len() > MOST_WRITERS {
            self.by_client.clear();
            self.by_others = Some(now);
        }
    }

    fn last(&self, client: &Arc<str>) -> Option<Instant> {
        self.by_client.get(client).copied().max(self.by_others)
    }
}

/// A standby.
#[derive(Debug)]
pub struct Replica {
    /// Its host and port.
    name: String,
    connections: Arc<Connections>,
    probe: Arc<Connections>,
    state: watch::Sender<ReplicaState>,
    statements: Counter,
    failed: Counter,
}

/// What is known about a standby.
#[derive(Clone, Debug)]
struct ReplicaState {
    /// It has everything that was committed before.
    fresh_at: Option<Instant>,
    problem: Option<Problem>,
}

/// Why a standby answers no queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    Unchecked,
    Unavailable,
    /// It was promoted, or it is the primary.
    NotAStandby,
    OtherCluster,
    OtherDatabase,
    Unreadable,
    /// It has not followed a promotion, or does not show it.
    OtherTimeline,
    /// The position of the primary is unknown.
    NoPrimary,
    /// By how much; None if it is more than the maximal lag.
    Behind(Option<Duration>),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unchecked => "not yet checked",
            Self::Unavailable => "unavailable",
            Self::NotAStandby => "not a standby",
            Self::OtherCluster => "a standby of another primary",
            Self::OtherDatabase => "another database",
            Self::Unreadable => "its user may not read all tables",
            Self::OtherTimeline => "not yet on the timeline of the primary",
            Self::NoPrimary => "the position of the primary is unknown",
            Self::Behind(Some(lag)) => return write!(f, "{:.1} s behind", lag.as_secs_f64()),
            Self::Behind(None) => "too far behind",
        })
    }
}

/// A standby, for metrics and health checks.
#[derive(Debug)]
pub struct ReplicaReport {
    pub name: String,
    /// How old its data is, at most.
    pub lag: Option<Duration>,
    pub problem: Option<Problem>,
    pub statements: u64,
    /// Statements that the primary had to answer.
    pub failed: u64,
}

/// Positions of the primary on its current timeline, with the instants before they were read.
#[derive(Debug, Default)]
struct History {
    latest: Option<Position>,
    positions: VecDeque<(Instant, i64)>,
    /// Earlier ones, far apart, for the lag of a standby that is too late.
    earlier: VecDeque<(Instant, i64)>,
}

impl History {
    fn add(&mut self, at: Instant, found: Position, max_lag: Duration) {
        let is_same =
            |latest: Position| (latest.cluster, latest.timeline) == (found.cluster, found.timeline);
        if !self.latest.is_some_and(is_same) {
            self.positions.clear();
            self.earlier.clear();
        }
        self.latest = Some(found);
        self.positions.push_back((at, found.position));
        while let Some(first) = self.positions.pop_front_if(|(first, _)| at - *first > max_lag) {
            if self.earlier.back().is_none_or(|(last, _)| first.0 - *last >= max_lag) {
                self.earlier.push_back(first);
            }
        }
        if self.earlier.len() > MOST_EARLIER {
            self.earlier.pop_front();
        }
    }

    /// The last instant before which every commit is replayed at a position.
    fn replayed_until(&self, position: i64) -> Option<Instant> {
        let last = |positions: &VecDeque<(Instant, i64)>| {
            let replayed = positions.partition_point(|(_, primary)| *primary <= position);
            positions.get(replayed.checked_sub(1)?).map(|(at, _)| *at)
        };
        last(&self.positions).or_else(|| last(&self.earlier))
    }

    fn state_of(&self, replica: Position) -> ReplicaState {
        let Some(primary) = self.latest else { return ReplicaState::of(Problem::NoPrimary) };
        if !replica.is_standby {
            return ReplicaState::of(Problem::NotAStandby);
        }
        if replica.cluster != primary.cluster {
            return ReplicaState::of(Problem::OtherCluster);
        }
        if replica.database != primary.database {
            return ReplicaState::of(Problem::OtherDatabase);
        }
        if !replica.is_readable {
            return ReplicaState::of(Problem::Unreadable);
        }
        // Its positions would be those of other commits.
        if replica.timeline != primary.timeline {
            return ReplicaState::of(Problem::OtherTimeline);
        }
        ReplicaState { fresh_at: self.replayed_until(replica.position), problem: None }
    }
}

impl ReplicaState {
    fn of(problem: Problem) -> Self {
        Self { fresh_at: None, problem: Some(problem) }
    }
}

impl Replicas {
    pub(super) fn none() -> Self {
        Self {
            replicas: vec![],
            max_lag: Duration::ZERO,
            opened_at: Instant::now(),
            history: Mutex::default(),
            writes: Mutex::default(),
            primary: None,
        }
    }

    /// Connects to no standby yet: the server starts without them too.
    pub(super) async fn open(
        database: &DatabaseConfig,
        config: &ReplicaConfig,
        hosts: &Arc<Hosts>,
        statement_limit: Option<Duration>,
    ) -> Result<Self, DbErr> {
        if config.read_database_url.is_empty() {
            return Ok(Self::none());
        }
        let is_postgres = Dialect::of_url(database.database_url.expose()) == Dialect::Postgres;
        if !is_postgres {
            let error = "--read-database-url needs a PostgreSQL database";
            return Err(DbErr::Custom(error.to_owned()));
        }
        let mut replicas = vec![];
        for url in &config.read_database_url {
            let database =
                DatabaseConfig { database_url: url.clone(), read_only: true, ..database.clone() };
            replicas.push(Replica::open(&database, statement_limit).await?);
        }
        let primary =
            Connections::open(database, hosts, Access::Probe, statement_limit, true).await?;
        let primary = Some(Arc::new(primary));
        Ok(Self { replicas, max_lag: config.max_lag(), primary, ..Self::none() })
    }

    pub fn is_empty(&self) -> bool {
        self.replicas.is_empty()
    }

    pub(super) fn primary(&self) -> Option<&Arc<Connections>> {
        self.primary.as_ref()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter()
    }

    /// The standby for the next statement of the current request; None for the primary. A request uses one
    /// standby at most, so that a later statement reads no earlier state. So does a client, as long as its standby
    /// can be used.
    pub(super) fn of_request(&self) -> Option<&Replica> {
        if self.replicas.is_empty() {
            return None;
        }
        let request = RequestMarks::current()?;
        let index = request.replica(|chosen, after| {
            let written = request.share().and_then(|share| lock(&self.writes).last(share));
            let after = Ord::max(written, after).max(Some(self.opened_at));
            let is_usable = |index: &usize| {
                let replica = self.replicas.get(*index);
                replica.is_some_and(|replica| self.problem(replica, after).is_none())
            };
            match chosen {
                Some(index) => Some(index).filter(is_usable),
                None => {
                    let count = self.replicas.len();
                    let first = request.share().map_or(0, |share| first_of(share, count));
                    (0..count).map(|number| (first + number) % count).find(is_usable)
                }
            }
        })?;
        self.replicas.get(index)
    }

    /// Why a standby answers no queries.
    pub fn problem_of(&self, replica: &Replica) -> Option<Problem> {
        self.problem(replica, Some(self.opened_at))
    }

    /// Why a standby cannot answer a query that needs everything that was committed before `after`.
    fn problem(&self, replica: &Replica, after: Option<Instant>) -> Option<Problem> {
        let state = replica.state.borrow();
        if state.problem.is_some() {
            return state.problem;
        }
        let now = Instant::now();
        let is_fresh =
            |at: Instant| now - at <= self.max_lag && after.is_none_or(|after| at >= after);
        match state.fresh_at.is_some_and(is_fresh) {
            true => None,
            false => Some(Problem::Behind(state.fresh_at.map(|at| now - at))),
        }
    }

    /// From now on, queries of a client find what it has written.
    pub fn note_write(&self, client: &Arc<str>) {
        if !self.replicas.is_empty() {
            lock(&self.writes).add(client, Instant::now(), self.max_lag);
        }
    }

    /// Takes a position of the primary that was read after `at`.
    pub(super) fn set_primary(&self, at: Instant, found: Position) {
        lock(&self.history).add(at, found, self.max_lag);
    }

    /// The state of each standby.
    pub fn reports(&self) -> Vec<ReplicaReport> {
        let report = |replica: &Replica| ReplicaReport {
            name: replica.name.clone(),
            lag: replica.state.borrow().fresh_at.map(|at| at.elapsed()),
            problem: self.problem_of(replica),
            statements: replica.statements.get(),
            failed: replica.failed.get(),
        };
        self.replicas.iter().map(report).collect()
    }

    pub(super) fn pools(&self) -> impl Iterator<Item = PoolState> {
        let state =
            |replica: &Replica| replica.connections.state(format!("replica {}", replica.name));
        self.replicas.iter().map(state)
    }

    /// All at once: each of them may wait for a server that does not answer.
    pub(super) async fn close(&self) -> Result<(), DbErr> {
        let of_replicas = self.replicas.iter().flat_map(|one| [&one.connections, &one.probe]);
        let closing = of_replicas.chain(&self.primary).map(|connections| connections.close());
        join_all(closing).await.into_iter().collect()
    }
}

impl Replica {
    async fn open(
        config: &DatabaseConfig,
        statement_limit: Option<Duration>,
    ) -> Result<Self, DbErr> {
        let hosts = Arc::new(Hosts::of(config)?);
        let open = async |access| {
            let opened = Connections::open(config, &hosts, access, statement_limit, true);
            opened.await.map(Arc::new)
        };
        Ok(Self {
            name: host(config.database_url.expose()).to_owned(),
            connections: open(Access::Read).await?,
            probe: open(Access::Probe).await?,
            state: watch::Sender::new(ReplicaState::of(Problem::Unchecked)),
            statements: Counter::default(),
            failed: Counter::default(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn probe(&self) -> &Arc<Connections> {
        &self.probe
    }

    /// Takes its position.
    pub(super) fn set_position(&self, replicas: &Replicas, found: Position) {
        self.state.send_replace(lock(&replicas.history).state_of(found));
    }

    /// Ends its statements; queries do not use it until it reports a position.
    pub fn set_unavailable(&self) {
        self.state.send_replace(ReplicaState::of(Problem::Unavailable));
    }

    /// The rows of a statement. Ends with an error once the standby is found to be unavailable, also if the
    /// statement still runs.
    pub(super) async fn read(&self, statement: Statement) -> Result<Vec<QueryResult>> {
        self.statements.inc();
        let mut state = self.state.subscribe();
        let is_unavailable = |state: &ReplicaState| state.problem == Some(Problem::Unavailable);
        tokio::select! {
            rows = self.send(statement) => rows,
            _ = state.wait_for(is_unavailable) => {
                Err(Error::DatabaseUnavailable(Arc::new(DbErr::from(QueueError::Timeout))))
            }
        }
    }

    async fn send(&self, statement: Statement) -> Result<Vec<QueryResult>> {
        let mut lease = self.connections.lease().await.map_err(|reason| match reason {
            QueueError::Timeout => Error::Busy,
            QueueError::Closed => DbErr::from(reason).into(),
        })?;
        let rows = lease.connection()?.query_all_raw(statement).await;
        lease.finish_after(&rows);
        Ok(rows?)
    }

    /// Counts a statement that the primary has to answer instead.
    pub(super) fn failed(&self) {
        self.failed.inc();
    }
}

/// The number of the standby that a client uses first.
fn first_of(client: &str, count: usize) -> usize {
    let sum =
        client.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    sum % count.max(1)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAG: Duration = Duration::from_secs(5);

    fn position(position: i64, timeline: i64) -> Position {
        let (cluster, database, is_readable) = (7, 5, true);
        Position { position, cluster, database, timeline, is_standby: false, is_readable }
    }

    fn standby(position: i64, timeline: i64) -> Position {
        Position { is_standby: true, ..self::position(position, timeline) }
    }

    #[test]
    fn a_standby_is_as_fresh_as_the_last_position_that_it_has_replayed() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut history = History::default();
        assert_eq!(history.state_of(standby(9, 1)).problem, Some(Problem::NoPrimary));
        for (second, found) in [(0, 10), (1, 10), (2, 30), (3, 40)] {
            history.add(at(second), position(found, 1), LAG);
        }
        assert_eq!(history.replayed_until(9), None);
        assert_eq!(history.replayed_until(10), Some(at(1)));
        assert_eq!(history.replayed_until(29), Some(at(1)));
        assert_eq!(history.replayed_until(30), Some(at(2)));
        assert_eq!(history.replayed_until(99), Some(at(3)));
        assert_eq!(history.state_of(standby(30, 1)).fresh_at, Some(at(2)));
        let other = Position { cluster: 8, ..standby(30, 1) };
        assert_eq!(history.state_of(other).problem, Some(Problem::OtherCluster));
        assert_eq!(history.state_of(position(30, 1)).problem, Some(Problem::NotAStandby));
        let other = Position { database: 8, ..standby(30, 1) };
        assert_eq!(history.state_of(other).problem, Some(Problem::OtherDatabase));
        let other = Position { is_readable: false, ..standby(30, 1) };
        assert_eq!(history.state_of(other).problem, Some(Problem::Unreadable));
    }

    #[test]
    fn positions_of_an_earlier_timeline_are_not_compared() {
        let start = Instant::now();
        let mut history = History::default();
        history.add(start, position(100, 1), LAG);
        // Promoted at 90: the old primary had more.
        history.add(start + LAG, position(95, 2), LAG);
        assert_eq!(history.state_of(standby(100, 1)).problem, Some(Problem::OtherTimeline));
        assert_eq!(history.replayed_until(94), None);
        assert_eq!(history.state_of(standby(95, 2)).fresh_at, Some(start + LAG));
    }

    #[test]
    fn the_last_writes_of_clients_are_bounded() {
        let start = Instant::now();
        let mut writes = Writes::default();
        let client = |number: u32| Arc::from(number.to_string().as_str());
        for number in 0..25_000 {
            writes.add(&client(number), start, LAG);
            assert!(writes.by_client.len() <= MOST_WRITERS);
            assert_eq!(writes.last(&client(number)), Some(start));
        }
        // A client that is not in the map may be one that was removed.
        assert_eq!(writes.last(&client(0)), Some(start));
        let later = start + 2 * LAG;
        writes.add(&client(1), later, LAG);
        assert_eq!(writes.last(&client(1)), Some(later));
        assert_eq!(writes.last(&client(2)), Some(start));
    }

    #[test]
    fn the_history_is_as_long_as_the_maximal_lag() {
        let start = Instant::now();
        let mut history = History::default();
        for tick in 0..10_000_u32 {
            history.add(start + Duration::from_millis(200) * tick, position(tick.into(), 1), LAG);
        }
        assert!(history.positions.len() <= 27, "{}", history.positions.len());
        assert!((395..=400).contains(&history.earlier.len()), "{}", history.earlier.len());
        // A standby that has stopped half an hour ago.
        let at = history.replayed_until(1000).unwrap();
        assert!(at - start <= Duration::from_secs(200) && at - start > Duration::from_secs(190));
        for tick in 10_000..100_000_u32 {
            history.add(start + Duration::from_millis(200) * tick, position(tick.into(), 1), LAG);
        }
        assert_eq!(history.earlier.len(), MOST_EARLIER);
    }
}
