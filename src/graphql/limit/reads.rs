//! The cost of the rows that the statements of a field read. [`Density`] estimates the number of rows from
//! the window and the filter in the arguments. A field with an invalid window is charged for the whole
//! table; its resolver rejects it later.
//!
//! The unit is 0.4 µs of a processor. The numbers for each row were measured on SQLite with the
//! statements of the server over 1,000,000 calls and 50,000 error logs (docs/PERFORMANCE.md).

use async_graphql::ID;
use async_graphql::parser::types::Field;
use chrono::{DateTime, TimeDelta, Utc};

use super::arguments::Arguments;
use crate::domain::table::LogTable;
use crate::domain::window::{Period, Window};
use crate::graphql::id::NodeId;
use crate::graphql::query::diagnosis::MAX_END;
use crate::graphql::scalar::Duration;
use crate::store::classification::MOST_OF_QUERY;
use crate::store::contains::is_plain_text;
use crate::store::density::Density;
use crate::store::diagnosis::MOST_LOGS;
use crate::store::{Database, rollup};

/// The rows that the statements of a field read in addition to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    Nothing,
    /// Rows of the window of the enclosing list; its statement is charged for them.
    Part(Part),
    /// A page of calls: the whole window if a filter, an order or `totalCount` needs it.
    Calls,
    Series,
    Groups,
    /// Counts, percentiles and models of a key, for all keys of a list together.
    KeyCounts,
    KeyLatency,
    KeyModels,
    /// The same as [`Self::Calls`] for error logs.
    ErrorLogs,
    ErrorGroups,
    ErrorSeries,
    /// The selected windows of `UsageStats`.
    Usage,
    /// The calls and error logs of the window, but at least of the day before its end.
    Diagnosis,
    /// The same for each id of a diagnosis: at present, and for [`MAX_END`] from its start.
    Nodes,
}

/// The work that a field adds to the statement of its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `totalCount` of a connection.
    Total,
    /// `latency` of groups and buckets.
    Latency,
    /// A window of `UsageStats` of at most this length.
    Span(Span),
    /// The window of the argument `duration`.
    Duration,
}

/// Lengths of windows that end at the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Minute,
    Hour,
    EightHours,
    Day,
    Week,
    ThirtyOneDays,
    Year,
    All,
    /// The calendar month; its length depends on its end.
    Month,
}

const SPANS: usize = 9;

impl Span {
    const ALL: [Self; SPANS] = [
        Self::Minute,
        Self::Hour,
        Self::EightHours,
        Self::Day,
        Self::Week,
        Self::ThirtyOneDays,
        Self::Year,
        Self::All,
        Self::Month,
    ];

    fn length(self) -> Option<TimeDelta> {
        Some(match self {
            Self::Minute => TimeDelta::minutes(1),
            Self::Hour => TimeDelta::hours(1),
            Self::EightHours => TimeDelta::hours(8),
            Self::Day => TimeDelta::days(1),
            Self::Week => TimeDelta::days(7),
            Self::ThirtyOneDays => TimeDelta::days(31),
            Self::Year => TimeDelta::days(366),
            Self::All | Self::Month => return None,
        })
    }

    /// The shortest span of at least this length.
    fn around(length: TimeDelta) -> Self {
        let found = Self::ALL.into_iter().find(|span| span.length().is_some_and(|of| length <= of));
        found.unwrap_or(Self::All)
    }
}

/// The parts that the children of a field add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    total: bool,
    latency: bool,
    spans: [u32; SPANS],
}

impl Parts {
    /// The part that `field` adds to the statement of its parent.
    pub fn of(reads: Reads, field: &Field, arguments: &Arguments<'_>) -> Self {
        let mut parts = Self::default();
        let span = match reads {
            Reads::Part(Part::Total) => return Self { total: true, ..parts },
            Reads::Part(Part::Latency) => return Self { latency: true, ..parts },
            Reads::Part(Part::Span(span)) => span,
            Reads::Part(Part::Duration) => {
                let duration = arguments.get(field, "duration").and_then(|d| d.parse::<Duration>());
                duration.map_or(Span::All, |duration| Span::around(duration.0))
            }
            _ => return parts,
        };
        parts.spans[span as usize] = 1;
        parts
    }

    /// A total or percentiles that are selected twice are one statement. Each window of `UsageStats`
    /// counts, since windows may end at different instants.
    pub fn add(&mut self, other: Self) {
        self.total |= other.total;
        self.latency |= other.latency;
        for (span, more) in self.spans.iter_mut().zip(other.spans) {
            *span = span.saturating_add(more);
        }
    }
}

/// Cost of each row that is read, in thousandths of a unit.
mod row {
    /// Counted: 0.09 to 0.1 µs.
    pub const COUNT: u64 = 250;
    /// Compared with a filter: 0.1 to 0.24 µs.
    pub const FILTER: u64 = 400;
    /// Sorted by latency: 0.15 µs.
    pub const SORT: u64 = 400;
    /// Put into a bucket: 0.6 to 0.9 µs.
    pub const BUCKET: u64 = 2000;
    /// Grouped by one dimension, and by each further one: 0.7 to 0.8 µs, 1.9 µs for four.
    pub const GROUP: u64 = 2000;
    pub const DIMENSION: u64 = 1000;
    /// Percentiles, in addition: 2 to 4 µs in all for one dimension or buckets, 7.4 µs for more.
    pub const LATENCY: u64 = 6000;
    pub const LATENCY_OF_MORE: u64 = 15_000;
    /// A call read and diagnosed: 1.6 µs.
    pub const DIAGNOSIS: u64 = 4000;
    /// The text of an error log read and classified: 25 µs; its class and template also stored: 40 µs.
    pub const CLASSIFY: u64 = 60_000;
    pub const CLASSIFY_AND_STORE: u64 = 100_000;
    /// Its class or template looked up: 0.3 to 0.45 µs.
    pub const FAILURE: u64 = 1000;
    /// A text of usual length (1.6 KB) searched: 0.4 to 2 µs, on PostgreSQL 4 to 7 µs.
    pub const SEARCH: u64 = 10_000;
    /// The same for a text with letters outside of ASCII: 16 µs.
    pub const SEARCH_LETTERS: u64 = 40_000;
}

/// Estimates the cost of statements.
pub struct Estimates<'a> {
    pub density: &'a Density,
    pub db: Option<&'a Database>,
}

impl Estimates<'_> {
    /// The cost of the statements of a field in addition to its weight. They read the rows of one key if
    /// the field has the argument `key`, or if `of_one_key`.
    pub fn cost(
        &self,
        reads: Reads,
        field: &Field,
        arguments: &Arguments<'_>,
        selected: &Parts,
        of_one_key: bool,
    ) -> u64 {
        let of_one_key = of_one_key || arguments.get(field, "key").is_some();
        let calls = || self.calls(arguments.window(field), of_one_key);
        let summed = |is_keyed: bool| {
            let is_keyed = is_keyed
                || of_one_key
                || arguments.has_filter(field, "keys")
                || arguments.has_filter(field, "excludeKeys");
            let is_exact = arguments.has_filter(field, "minLatencyMs")
                || arguments.has_filter(field, "maxLatencyMs");
            match is_exact {
                true => calls(),
                false => self.summed(arguments.window(field), of_one_key, is_keyed),
            }
        };
        let latency = |dimensions: u64| {
            if dimensions > 1 { row::LATENCY_OF_MORE } else { row::LATENCY }
        };
        let group = |dimensions: u64| {
            row::GROUP + row::DIMENSION.saturating_mul(dimensions.saturating_sub(1))
        };
        match reads {
            Reads::Nothing | Reads::Part(_) => 0,
            Reads::Calls => {
                let filtered = is_filtered(field, arguments);
                let order = arguments.get(field, "orderBy");
                let sorted = order.is_some_and(|order| order.text() == Some("SLOWEST_FIRST"));
                let mut each = 0;
                if filtered {
                    each += row::FILTER;
                }
                if sorted {
                    each += row::SORT;
                }
                if selected.total {
                    each += if filtered { row::FILTER } else { row::COUNT };
                }
                if each == 0 { 0 } else { cost(calls(), each) }
            }
            Reads::Series => {
                cost(summed(false), row::BUCKET + if selected.latency { row::LATENCY } else { 0 })
            }
            Reads::Groups => {
                let dimensions = arguments.length(field, "by").min(4);
                let order = arguments.get(field, "orderBy");
                let ordered = order.is_some_and(|order| order.text() == Some("P95_LATENCY_DESC"));
                let percentiles = selected.latency || ordered;
                let more = if percentiles { latency(dimensions) } else { 0 };
                cost(summed(arguments.lists(field, "by", "API_KEY")), group(dimensions) + more)
            }
            Reads::KeyCounts => cost(summed(true), row::GROUP),
            Reads::KeyLatency => cost(summed(true), group(1) + latency(1)),
            Reads::KeyModels => {
                cost(summed(true), group(2) + if selected.latency { latency(2) } else { 0 })
            }
            Reads::ErrorLogs => {
                let rows = self.error_logs(field, arguments, of_one_key);
                let search = search(field, arguments);
                let filtered = search.is_some() || is_filtered(field, arguments);
                let each = search.unwrap_or(if filtered { row::FILTER } else { row::COUNT });
                let times = u64::from(filtered) + u64::from(selected.total);
                cost(rows, each.saturating_mul(times)).saturating_add(self.failures(
                    rows,
                    times,
                    filters_failures(field, arguments),
                ))
            }
            Reads::ErrorGroups => {
                let rows = self.error_logs(field, arguments, of_one_key);
                let search = search(field, arguments).unwrap_or(0);
                cost(rows, group(arguments.length(field, "by").min(6)) + search)
                    .saturating_add(self.failures(rows, 1, groups_failures(field, arguments)))
            }
            Reads::ErrorSeries => {
                let (since, until) =
                    arguments.window(field).map(|window| (window.since, window.until)).unzip();
                let rows = self.density.estimate(LogTable::ErrorLogs, since, until, of_one_key);
                let search = search(field, arguments).unwrap_or(0);
                cost(rows, row::BUCKET + search).saturating_add(self.failures(
                    rows,
                    1,
                    filters_failures(field, arguments),
                ))
            }
            Reads::Diagnosis => {
                let window = arguments.window(field);
                let until = window.map(|window| window.until).or_else(|| arguments.as_of(field));
                let until = until.map(|until| until.min(arguments.now));
                self.diagnosis(window.map(|window| window.since), until)
            }
            Reads::Nodes => {
                let ids =
                    arguments.texts(field, "id").into_iter().chain(arguments.texts(field, "ids"));
                let diagnoses = ids.filter_map(|id| match NodeId::parse(&ID(id))? {
                    NodeId::Diagnosis(name) => {
                        let since = name.since();
                        let end = since.and_then(|since| since.checked_add_signed(MAX_END));
                        Some(self.diagnosis(since, end.map(|end| end.min(arguments.now))))
                    }
                    _ => None,
                });
                let later: Vec<u64> = diagnoses.collect();
                let now =
                    if later.is_empty() { 0 } else { self.diagnosis(None, Some(arguments.now)) };
                later.into_iter().fold(now, u64::saturating_add)
            }
            Reads::Usage => {
                let rows = Span::ALL.into_iter().map(|span| {
                    let times = u64::from(selected.spans[span as usize]);
                    if times == 0 {
                        return 0;
                    }
                    self.of_span(span, field, arguments, of_one_key).saturating_mul(times)
                });
                cost(rows.fold(0, u64::saturating_add), row::COUNT)
            }
        }
    }

    /// The calls of a window, but at least of the day before its end. The same calls are read for every key.
    fn diagnosis(&self, since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> u64 {
        let day = until.and_then(|until| Window::last(TimeDelta::hours(25), until));
        let window = day.map(|day| match since {
            // Days are read as a whole.
            Some(since) if since < day.since + TimeDelta::hours(1) => {
                let since = since.checked_sub_signed(TimeDelta::hours(24)).unwrap_or(since);
                Window { since, ..day }
            }
            _ => day,
        });
        let (since, until) = window.map(|window| (window.since, window.until)).unzip();
        let days = window.map_or(i64::MAX, |window| window.length().num_days());
        let most = MOST_LOGS.saturating_mul(days.unsigned_abs());
        let all = self.density.estimate(LogTable::ErrorLogs, since, until, false);
        let logs = all.min(most);
        let counted = match days {
            0 | 1 => 0,
            _ => all.saturating_add(self.summed(window, false, false)),
        };
        cost(self.calls(window, false), row::DIAGNOSIS)
            .saturating_add(cost(logs, row::CLASSIFY))
            .saturating_add(cost(counted, row::BUCKET))
    }

    fn of_span(
        &self,
        span: Span,
        field: &Field,
        arguments: &Arguments<'_>,
        of_one_key: bool,
    ) -> u64 {
        let window = arguments.as_of(field).and_then(|until| match span {
            Span::Month => Window::of(Period::CurrentMonth, until, arguments.zone(field)?),
            span => Window::last(span.length()?, until),
        });
        self.summed(window, of_one_key, of_one_key)
    }

    /// The cells and the single calls that a statistic reads.
    fn summed(&self, window: Option<Window>, of_one_key: bool, is_keyed: bool) -> u64 {
        let calls = self.calls(window, of_one_key);
        let cells = self.db.zip(window).and_then(|(db, window)| {
            let cells = rollup::estimate_cells(db, window.since, window.until, is_keyed)?;
            let edges = rollup::edges(window.since, window.until)
                .map(|(since, until)| self.calls(Some(Window { since, until }), of_one_key));
            Some(edges.into_iter().fold(cells, u64::saturating_add))
        });
        cells.map_or(calls, |cells| cells.min(calls))
    }

    fn calls(&self, window: Option<Window>, of_one_key: bool) -> u64 {
        let (since, until) = window.map(|window| (window.since, window.until)).unzip();
        self.density.estimate(LogTable::Calls, since, until, of_one_key)
    }

    /// The classes and templates of error logs in a number of statements. If no job adds them, or not yet,
    /// one more statement looks for those that are missing.
    fn failures(&self, rows: u64, statements: u64, are_needed: bool) -> u64 {
        if !are_needed {
            return 0;
        }
        let is_complete = self.has_job() && !self.db.is_some_and(|db| db.failures().is_behind());
        let searches = statements.saturating_add(u64::from(!is_complete));
        cost(rows, row::FAILURE.saturating_mul(searches))
    }

    /// The cost of the error logs that the first field of a request classifies, if no job does. While the job
    /// runs, only those of the last moment have no class, and each of them is classified once.
    pub fn classification(&self, reads: Reads, field: &Field, arguments: &Arguments<'_>) -> u64 {
        let needs_failures = match reads {
            Reads::ErrorLogs | Reads::ErrorSeries => filters_failures(field, arguments),
            Reads::ErrorGroups => groups_failures(field, arguments),
            _ => false,
        };
        if !needs_failures || self.has_job() {
            return 0;
        }
        let rows = self.error_logs(field, arguments, false);
        cost(rows.min(MOST_OF_QUERY), row::CLASSIFY_AND_STORE)
    }

    fn has_job(&self) -> bool {
        self.db.is_some_and(Database::keeps_failure_classes)
    }

    fn error_logs(&self, field: &Field, arguments: &Arguments<'_>, of_one_key: bool) -> u64 {
        let filter = arguments.get(field, "filter");
        let end = |name| -> Option<DateTime<Utc>> { arguments.instant(filter?, name) };
        self.density.estimate(LogTable::ErrorLogs, end("since"), end("until"), of_one_key)
    }
}

fn cost(rows: u64, thousandths: u64) -> u64 {
    rows.saturating_mul(thousandths) / 1000
}

/// Whether an additional filter applies, so that a page may read the whole window of a key.
fn is_filtered(field: &Field, arguments: &Arguments<'_>) -> bool {
    arguments.get(field, "filter").is_some_and(|filter| arguments.has_fields(filter))
}

/// Whether the filter needs the class or the template of each row.
fn filters_failures(field: &Field, arguments: &Arguments<'_>) -> bool {
    let names =
        ["failureClasses", "excludeFailureClasses", "messageTemplates", "excludeMessageTemplates"];
    names.into_iter().any(|name| arguments.has_filter(field, name))
}

/// Whether groups need them.
fn groups_failures(field: &Field, arguments: &Arguments<'_>) -> bool {
    let is_dimension = |name: &str| arguments.lists(field, "by", name);
    is_dimension("FAILURE_CLASS")
        || is_dimension("MESSAGE_TEMPLATE")
        || filters_failures(field, arguments)
}

/// The cost of a row if the filter searches texts.
fn search(field: &Field, arguments: &Arguments<'_>) -> Option<u64> {
    let filter = arguments.get(field, "filter")?;
    let contains = arguments.field(filter, "contains")?;
    let is_plain = contains.text().is_some_and(is_plain_text);
    Some(if is_plain { row::SEARCH } else { row::SEARCH_LETTERS })
}
