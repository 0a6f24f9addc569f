//! Rollups: statistics from cells equal those of the calls, at every moment and for every writer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use callscope::domain::window::Window;
use callscope::prune::{self, Cutoffs, Pace, Tally};
use callscope::store::call::CallScope;
use callscope::store::call_dimension::CallDimension;
use callscope::store::call_group::{self, GroupOrder, GroupQuery};
use callscope::store::rollup::{self, Folder, Phase};
use callscope::store::usage::{self, CountQuery};
use callscope::store::{Database, call_count};
use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::support::{CallRow, Kind, NULL, TestDatabase};
use crate::tests;

tests! {
    sums_equal_a_plain_count_at_every_moment,
}

const KEYS: [Option<&str>; 4] = [Some("key-a"), Some("KEY-A"), Some("密钥"), None];
const MODELS: [Option<&str>; 3] = [Some("pro"), Some("flash"), None];
const CODES: [Option<i32>; 5] = [Some(200), Some(299), Some(429), Some(500), None];

/// A call as the test remembers it.
#[derive(Clone, Debug)]
struct Call {
    id: i32,
    at: DateTime<Utc>,
    key: Option<&'static str>,
    model: Option<&'static str>,
    code: Option<i32>,
    latency: Option<i32>,
    is_deleted: bool,
}

impl Call {
    fn is_success(&self) -> bool {
        self.code.is_some_and(|code| (200..300).contains(&code))
    }

    fn row(&self) -> CallRow {
        CallRow::at_stored(self.at)
            .id(self.id)
            .key(self.key.map_or(NULL, Into::into))
            .model(self.model.map_or(NULL, Into::into))
            .status(self.code.map_or(NULL, Into::into))
            .latency(self.latency.map_or(NULL, Into::into))
    }
}

/// A database with a gateway that writes, two servers that fold, and what they should find.
struct World<'a> {
    database: &'a TestDatabase,
    servers: [Arc<Database>; 2],
    folders: [Folder; 2],
    random: StdRng,
    calls: Vec<Call>,
    /// Calls whose ids are taken and which are committed later.
    late: Vec<Call>,
    next_id: i32,
    now: DateTime<Utc>,
    /// Earlier calls are deleted.
    deleted_before: DateTime<Utc>,
    /// Windows that end or begin before are rounded: all calls before were deleted at some time.
    exact_from: DateTime<Utc>,
}

/// The seeds of a run, and the number of steps of each: more with these variables, for long runs.
fn runs() -> (u64, u64, u32) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("CALLSCOPE_TEST_ROLLUP_SEED").unwrap_or(1);
    let seeds = number("CALLSCOPE_TEST_ROLLUP_SEEDS").unwrap_or(3);
    (first, seeds, 60)
}

async fn sums_equal_a_plain_count_at_every_moment(database: TestDatabase) {
    let mut config = database.config();
    (config.rollups, config.rollup_from_calls) = (true, 0);
    let servers = [
        Arc::new(Database::open(&config).await.unwrap()),
        Arc::new(Database::open(&config).await.unwrap()),
    ];
    let (first, seeds, steps) = runs();
    for seed in first..first + seeds {
        for table in [
            "t_request_log",
            "callscope_rollup_state",
            "callscope_rollup_gaps",
            "callscope_rollup_cells",
            "callscope_rollup_series",
        ] {
            database.execute(&format!("DELETE FROM {table}")).await;
        }
        let mut world = World {
            database: &database,
            servers: servers.clone(),
            folders: [Folder::default(), Folder::default()],
            random: StdRng::seed_from_u64(seed),
            calls: vec![],
            late: vec![],
            next_id: 1,
            now: "2026-03-10T12:00:00Z".parse().unwrap(),
            deleted_before: DateTime::UNIX_EPOCH,
            exact_from: DateTime::UNIX_EPOCH,
        };
        for step in 0..steps {
            world.step().await;
            world.check(&format!("seed {seed}, step {step}")).await;
        }
        world.fold_all().await;
        let verified = rollup::verify(&servers[0], None, world.now).await.unwrap();
        assert!(verified.differences.is_empty(), "seed {seed}: {:?}", verified.differences);
        for server in &servers {
            let observed = rollup::refresh(server).await.unwrap().unwrap();
            assert!(matches!(observed.state.phase, Phase::Ready | Phase::First));
        }
    }
    for server in servers {
        server.close().await.unwrap();
    }
}

impl World<'_> {
    async fn step(&mut self) {
        self.now += TimeDelta::seconds(self.random.random_range(1..60));
        match self.random.random_range(0..20) {
            0..7 => self.insert().await,
            7..9 => self.commit_late().await,
            9..14 => self.fold().await,
            14..16 => self.kill_a_fold().await,
            16 => self.prune().await,
            17 => self.clean_up().await,
            18 => self.rebuild().await,
            _ => self.fold_all().await,
        }
    }

    fn server(&mut self) -> Arc<Database> {
        self.servers.choose(&mut self.random).unwrap().clone()
    }

    /// Some calls, mostly new ones; some ids are committed later.
    async fn insert(&mut self) {
        let has_late = self.database.kind() != Kind::Sqlite;
        let mut rows = vec![];
        for _ in 0..self.random.random_range(1..60) {
            let age = match self.random.random_range(0..10) {
                0 => TimeDelta::days(self.random.random_range(0..400)),
                1 | 2 => TimeDelta::hours(self.random.random_range(0..100)),
                _ => TimeDelta::zero(),
            };
            let at = self.now - age - TimeDelta::milliseconds(self.random.random_range(0..100_000));
            let call = Call {
                id: self.next_id,
                at: at.max(self.deleted_before),
                key: *KEYS.choose(&mut self.random).unwrap(),
                model: *MODELS.choose(&mut self.random).unwrap(),
                code: *CODES.choose(&mut self.random).unwrap(),
                latency: self.random.random_bool(0.9).then(|| self.random.random_range(-5..90_000)),
                is_deleted: false,
            };
            self.next_id += 1;
            if has_late && self.random.random_bool(0.1) {
                self.late.push(call);
            } else {
                rows.push(call.row());
                self.calls.push(call);
            }
        }
        self.database.insert_unwatched(&rows).await;
    }

    async fn commit_late(&mut self) {
        let late = std::mem::take(&mut self.late);
        let (now, later): (Vec<Call>, Vec<Call>) =
            late.into_iter().partition(|_| self.random.random_bool(0.5));
        let rows: Vec<CallRow> = now.iter().map(Call::row).collect();
        self.database.insert_unwatched(&rows).await;
        self.calls.extend(now);
        self.late = later;
    }

    fn stored_now(&self) -> i64 {
        self.now.timestamp_micros()
    }

    async fn fold(&mut self) {
        let most = self.random.random_range(1..80);
        self.fold_most(most).await;
    }

    /// A step of one of the servers; returns whether there is more.
    async fn fold_most(&mut self, most: u64) -> bool {
        let (now, one) = (self.stored_now(), self.random.random_range(0..2));
        self.folders[one].fold(&self.servers[one], now, most).await.unwrap().more
    }

    async fn fold_all(&mut self) {
        while self.fold_most(500).await {}
    }

    /// A fold that is dropped at any await.
    async fn kill_a_fold(&mut self) {
        let limit = Duration::from_micros(self.random.random_range(0..8000));
        let (now, one) = (self.stored_now(), self.random.random_range(0..2));
        let fold = self.folders[one].fold(&self.servers[one], now, 80);
        if let Ok(folded) = tokio::time::timeout(limit, fold).await {
            folded.unwrap();
        }
    }

    async fn prune(&mut self) {
        let before = self.cutoff();
        let cutoffs = Cutoffs { now: self.now, calls: Some(before), error_logs: None };
        let (server, tally) = (self.server(), Tally::default());
        let pace = Pace::foreground(&server);
        assert!(prune::prune(&server, cutoffs, pace, &tally, &|| false).await.unwrap());
        self.forget(before).await;
    }

    /// The gateway deletes old calls, which are folded already.
    async fn clean_up(&mut self) {
        self.fold_all().await;
        let before = self.cutoff();
        let text = before.format("%Y-%m-%d %H:%M:%S%.6f");
        self.database
            .execute(&format!("DELETE FROM t_request_log WHERE request_time < '{text}'"))
            .await;
        self.forget(before).await;
        if self.calls.iter().max_by_key(|call| call.id).is_some_and(|last| last.is_deleted) {
            // Its id may be used again: the rollups are rebuilt.
            self.fold_all().await;
        }
    }

    fn cutoff(&mut self) -> DateTime<Utc> {
        let age = TimeDelta::seconds(self.random.random_range(0..40 * 86_400));
        (self.now - age).max(self.deleted_before)
    }

    /// Calls before were deleted, except for the one with the highest folded id.
    async fn forget(&mut self, before: DateTime<Utc>) {
        self.deleted_before = before;
        let ids = self.database.ids("t_request_log").await;
        for call in &mut self.calls {
            call.is_deleted = !ids.contains(&call.id.into());
            assert!(!call.is_deleted || call.at < before);
        }
        let is_old = |call: &&Call| call.at < before && !call.is_deleted;
        assert!(self.calls.iter().filter(is_old).count() <= 1);
        let left = self.calls.iter().filter(|call| !call.is_deleted).map(|call| call.at).min();
        self.exact_from = self.exact_from.max(left.unwrap_or(self.now)).max(before);
        // A call of a deleted time would change a cell that the windows of the test cut.
        self.late.iter_mut().for_each(|call| call.at = call.at.max(before));
    }

    async fn rebuild(&mut self) {
        self.fold_all().await;
        let server = self.server();
        rollup::request_rebuild(&server).await.unwrap();
        self.fold_all().await;
        for server in &self.servers {
            rollup::refresh(server).await.unwrap();
        }
    }

    /// A window whose ends are days, or times from which all calls exist.
    fn window(&mut self) -> Window {
        let mut end = || {
            let age =
                TimeDelta::microseconds(self.random.random_range(0..500 * 86_400 * 1_000_000));
            let age = if self.random.random_bool(0.5) { age / 100 } else { age };
            let at = self.now - age;
            let day = at.date_naive().and_time(chrono::NaiveTime::MIN).and_utc();
            if at < self.exact_from || self.random.random_bool(0.3) { day } else { at }
        };
        let (one, other) = (end(), end());
        Window { since: one.min(other), until: one.max(other) }
    }

    async fn check(&mut self, step: &str) {
        let server = self.server();
        // The job of a server does this every second.
        if self.random.random_bool(0.5) {
            rollup::refresh(&server).await.unwrap();
        }
        let windows = [self.window(), self.window(), self.window()];
        let key = KEYS.choose(&mut self.random).unwrap().map(str::to_owned);
        let queries: Vec<CountQuery> =
            windows.iter().map(|window| CountQuery { window: *window, key: key.clone() }).collect();
        let counts = usage::counts(&server, &queries).await.unwrap();
        for (query, counts) in queries.iter().zip(counts) {
            let expected = self.expected(query.window, |call| {
                query.key.is_none() || call.key == query.key.as_deref()
            });
            let found = (counts.total, counts.success);
            assert_eq!(found, expected, "{step}: {query:?}, exact from {}", self.exact_from);
        }
        self.check_groups(&server, windows[0], step).await;
        self.check_series(&server, windows[1], step).await;
        self.check_list(&server, windows[2], step).await;
    }

    fn expected(&self, window: Window, filter: impl Fn(&Call) -> bool) -> (i64, i64) {
        let inside = |call: &&Call| (window.since..window.until).contains(&call.at) && filter(call);
        let calls: Vec<&Call> = self.calls.iter().filter(inside).collect();
        let success = calls.iter().filter(|call| call.is_success()).count();
        (calls.len() as i64, success as i64)
    }

    async fn check_groups(&mut self, server: &Database, window: Window, step: &str) {
        let all = [CallDimension::ApiKey, CallDimension::Model, CallDimension::StatusCode];
        let by: Vec<CallDimension> =
            all.into_iter().filter(|_| self.random.random_bool(0.5)).collect();
        let by = if by.is_empty() { vec![CallDimension::Success] } else { by };
        let models = self.random.random_bool(0.3).then(|| vec!["pro".to_owned()]);
        let latency = self.random.random_bool(0.5);
        let query = GroupQuery {
            scope: CallScope { models: models.clone(), ..CallScope::of(window) },
            by: by.clone(),
            order: GroupOrder::Total,
            limit: 1000,
            latency,
        };
        let has = |dimension| by.contains(&dimension);
        let mut expected: BTreeMap<_, (i64, i64, i64, i64)> = BTreeMap::new();
        for call in &self.calls {
            let is_model = models.is_none() || call.model == Some("pro");
            if !(window.since..window.until).contains(&call.at) || !is_model {
                continue;
            }
            let group = (
                call.key.filter(|_| has(CallDimension::ApiKey)).map(str::to_owned),
                call.model.filter(|_| has(CallDimension::Model)).map(str::to_owned),
                call.code.filter(|_| has(CallDimension::StatusCode)),
                has(CallDimension::Success).then_some(call.is_success()),
            );
            let sums = expected.entry(group).or_default();
            sums.0 += 1;
            sums.1 += i64::from(call.is_success());
            if latency && let Some(latency) = call.latency {
                sums.2 += 1;
                sums.3 += i64::from(latency);
            }
        }
        let groups = call_group::groups(server, &query).await.unwrap();
        let mut found = BTreeMap::new();
        let mut last = i64::MAX;
        for group in groups {
            let counts = group.stats.counts;
            assert!(counts.total <= last, "{step}: groups are sorted");
            last = counts.total;
            let latencies = group.stats.latency;
            let sum = latencies.avg.map_or(0.0, |avg| avg * latencies.count as f64).round() as i64;
            let label = (group.key, group.model, group.status_code, group.success);
            found.insert(label, (counts.total, counts.success, latencies.count, sum));
        }
        assert_eq!(found, expected, "{step}: groups of {query:?}");
    }

    async fn check_series(&mut self, server: &Database, window: Window, step: &str) {
        let length = *[TimeDelta::hours(1), TimeDelta::days(1), TimeDelta::minutes(7)]
            .choose(&mut self.random)
            .unwrap();
        let since = window.since.max(self.exact_from).date_naive().and_time(chrono::NaiveTime::MIN);
        let mut bounds = vec![since.and_utc()];
        while bounds.len() < 100 && bounds[bounds.len() - 1] < window.until {
            bounds.push(bounds[bounds.len() - 1] + length);
        }
        let is_cut = length < TimeDelta::hours(1) && since.and_utc() < self.exact_from;
        if bounds.len() < 2 || is_cut {
            return;
        }
        let whole = Window { since: bounds[0], until: bounds[bounds.len() - 1] };
        let stats =
            call_group::series(server, &CallScope::of(whole), &bounds, false).await.unwrap();
        for (ends, stats) in bounds.windows(2).zip(stats) {
            let bucket = Window { since: ends[0], until: ends[1] };
            // The day of the first deletion has calls of both sides.
            let has_both = (bucket.since..bucket.until).contains(&self.exact_from);
            if has_both && length < TimeDelta::days(1) {
                continue;
            }
            let found = (stats.counts.total, stats.counts.success);
            assert_eq!(found, self.expected(bucket, |_| true), "{step}: {bucket:?}");
        }
    }

    async fn check_list(&mut self, server: &Database, window: Window, step: &str) {
        let scopes = [
            CallScope::of(window),
            CallScope { keys: Some(vec!["key-a".to_owned()]), ..CallScope::of(window) },
        ];
        let found = call_count::count_many(server, &scopes).await.unwrap();
        let expected = [None, Some("key-a")].map(|key| {
            self.expected(window, |call| !call.is_deleted && (key.is_none() || call.key == key)).0
        });
        assert_eq!(found, expected, "{step}: the list of {window:?}");
    }
}
