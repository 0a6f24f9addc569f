//! Groups of error logs: their counts, first and last times, and latest error log.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use chrono::{DateTime, NaiveDateTime, Utc};
use futures_util::future::join_all;
use sea_orm::sea_query::{Condition, Expr, ExprTrait, Order, Query, SelectStatement, UnionType};

use super::call_dimension::bucket_number;
use super::classification;
use super::database::Database;
use super::dialect::Dialect;
use super::error_days;
use super::error_log::ErrorScope;
use super::failure::{self, Listed};
use super::page::{Tag, tagged, unions};
use super::rollup::stored;
use super::rows::{columns, int, row};
use super::source::Source;
use super::stored_time::StoredTime;
use crate::domain::bucket::runs;
use crate::domain::failure::FailureClass;
use crate::domain::rollup::Micros;
use crate::domain::table::{ERROR_CODE, ERROR_TYPE, GEMINI_KEY, LogTable, MODEL, TIME};
use crate::error::Result;

/// A dimension that groups error logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorDimension {
    ApiKey,
    Model,
    ErrorType,
    ErrorCode,
    FailureClass,
    MessageTemplate,
}

/// The dimensions, and their names in the result.
const DIMENSIONS: [(ErrorDimension, &str); 6] = [
    (ErrorDimension::ApiKey, "c_key"),
    (ErrorDimension::Model, "c_model"),
    (ErrorDimension::ErrorType, "c_error_type"),
    (ErrorDimension::ErrorCode, "c_error_code"),
    (ErrorDimension::FailureClass, "c_class"),
    (ErrorDimension::MessageTemplate, "c_template"),
];

impl ErrorDimension {
    fn expression(self, dialect: Dialect) -> Expr {
        let column = |name| dialect.read(LogTable::ErrorLogs, name);
        match self {
            Self::ApiKey => column(GEMINI_KEY),
            Self::Model => column(MODEL),
            Self::ErrorType => column(ERROR_TYPE),
            Self::ErrorCode => column(ERROR_CODE),
            // With the collation of the other texts, which a UNION needs.
            Self::FailureClass => dialect.text(failure::CLASS),
            Self::MessageTemplate => dialect.text(failure::TEMPLATE),
        }
    }

    /// Whether it is a column of the rows of `store/failure.rs`.
    fn is_joined(self) -> bool {
        matches!(self, Self::FailureClass | Self::MessageTemplate)
    }
}

row! {
    #[derive(Clone)]
    struct Group {
        key: Option<String>,
        model: Option<String>,
        error_type: Option<String>,
        error_code: Option<i64>,
        class: Option<String>,
        template: Option<String>,
        count: i64,
        first: StoredTime,
        last: StoredTime,
        first_id: Option<i64>,
    }
}

/// A group of error logs. Only the fields of the requested dimensions are set.
#[derive(Clone, Debug)]
pub struct ErrorGroupRow {
    pub key: Option<String>,
    pub model: Option<String>,
    pub error_type: Option<String>,
    pub error_code: Option<i32>,
    /// The name of a class; that of a newer version may be unknown here.
    pub class: Option<String>,
    /// The id of a template.
    pub template: Option<String>,
    pub count: i64,
    pub first_seen_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    last_stored: StoredTime,
}

/// A request for the largest groups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorGroupsQuery {
    pub scope: ErrorScope,
    pub by: Vec<ErrorDimension>,
    pub limit: u32,
}

impl ErrorGroupsQuery {
    /// Whether the groups of the other query are sums of those of this one. Groups by class or template have no error
    /// logs without a class.
    fn contains(&self, other: &Self) -> bool {
        self.scope == other.scope
            && self.is_joined() == other.is_joined()
            && other.by.iter().all(|dimension| self.by.contains(dimension))
    }

    fn is_joined(&self) -> bool {
        self.by.iter().any(|dimension| dimension.is_joined())
    }
}

/// The groups of each query, in the order of `queries`, the largest groups first. Of queries with the same filter,
/// one with more dimensions answers those with a part of them, unless it has more groups than its limit. Each
/// statement needs up to three more for the index of texts, two for missing classes and two for counted days, and is
/// repeated if these have changed.
pub async fn groups_many(
    db: &Database,
    queries: &[ErrorGroupsQuery],
) -> Vec<Result<Vec<ErrorGroupRow>>> {
    let mut order: Vec<usize> = (0..queries.len()).collect();
    order.sort_by_key(|index| Reverse((queries[*index].by.len(), queries[*index].limit)));
    let (mut leaders, mut others): (Vec<usize>, Vec<usize>) = (vec![], vec![]);
    for index in order {
        let is_contained = leaders.iter().any(|at| queries[*at].contains(&queries[index]));
        if is_contained { others.push(index) } else { leaders.push(index) }
    }
    let mut found: Vec<Option<Result<Vec<Group>>>> = queries.iter().map(|_| None).collect();
    let read = |indexes: Vec<usize>| async {
        let read = join_all(indexes.iter().map(|index| read(db, &queries[*index]))).await;
        indexes.into_iter().zip(read)
    };
    for (index, groups) in read(leaders.clone()).await {
        found[index] = Some(groups);
    }
    let mut rest = vec![];
    for index in others {
        let query = &queries[index];
        let leader = leaders.iter().find_map(|at| {
            let groups = found[*at].as_ref()?.as_ref().ok()?;
            let is_complete = groups.len() < queries[*at].limit as usize;
            (is_complete && queries[*at].contains(query)).then_some(groups)
        });
        match leader.map(|groups| merged(db.dialect(), groups, query)) {
            Some(groups) => found[index] = Some(Ok(groups)),
            None => rest.push(index),
        }
    }
    for (index, groups) in read(rest).await {
        found[index] = Some(groups);
    }
    let row = |group: Group| ErrorGroupRow {
        key: group.key,
        model: group.model,
        error_type: group.error_type,
        error_code: int(group.error_code),
        class: group.class,
        template: group.template,
        count: group.count,
        first_seen_at: db.zone().to_utc(group.first.at),
        last_seen_at: db.zone().to_utc(group.last.at),
        last_stored: group.last,
    };
    let rows = |groups: Vec<Group>| groups.into_iter().map(row).collect();
    found.into_iter().flatten().map(|groups| groups.map(rows)).collect()
}

/// The groups of a query from those of more dimensions.
fn merged(dialect: Dialect, groups: &[Group], query: &ErrorGroupsQuery) -> Vec<Group> {
    let mut merged: HashMap<Labels, Group> = HashMap::new();
    for group in groups {
        let group = group.only(&query.by);
        match merged.entry(group.labels()) {
            Entry::Vacant(entry) => {
                entry.insert(group);
            }
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                known.count += group.count;
                known.first_id = Ord::min(known.first_id, group.first_id);
                if group.first.order(&known.first).is_lt() {
                    known.first = group.first;
                }
                if group.last.order(&known.last).is_gt() {
                    known.last = group.last;
                }
            }
        }
    }
    let mut groups: Vec<Group> = merged.into_values().collect();
    groups.sort_by(|a, b| {
        let size = b.count.cmp(&a.count).then_with(|| b.last.order(&a.last));
        size.then_with(|| a.tie(dialect).cmp(&b.tie(dialect)))
    });
    groups.truncate(query.limit as usize);
    groups
}

type Labels = ([Option<String>; 3], Option<i64>, [Option<String>; 2]);

impl Group {
    fn labels(&self) -> Labels {
        let Self { key, model, error_type, error_code, class, template, .. } = self.clone();
        ([key, model, error_type], error_code, [class, template])
    }

    /// The order of groups with the same count and last time. Keys are sorted by the lowest id.
    fn tie(&self, dialect: Dialect) -> impl Ord {
        // PostgreSQL sorts NULL last.
        let text = |text: &Option<String>| {
            (text.is_none() == (dialect == Dialect::Postgres), text.clone())
        };
        let code = (self.error_code.is_none() == (dialect == Dialect::Postgres), self.error_code);
        let [model, error_type] = [&self.model, &self.error_type].map(text);
        let [class, template] = [&self.class, &self.template].map(text);
        (model, error_type, code, class, template, self.first_id)
    }

    /// This group with these dimensions only.
    fn only(&self, by: &[ErrorDimension]) -> Self {
        let mut group = self.clone();
        for (dimension, _) in DIMENSIONS.into_iter().filter(|(one, _)| !by.contains(one)) {
            match dimension {
                ErrorDimension::ApiKey => (group.key, group.first_id) = (None, None),
                ErrorDimension::Model => group.model = None,
                ErrorDimension::ErrorType => group.error_type = None,
                ErrorDimension::ErrorCode => group.error_code = None,
                ErrorDimension::FailureClass => group.class = None,
                ErrorDimension::MessageTemplate => group.template = None,
            }
        }
        group
    }
}

/// The groups of a query. Up to two statements more to find the days that are counted.
async fn read(db: &Database, query: &ErrorGroupsQuery) -> Result<Vec<Group>> {
    let scope = &query.scope;
    classification::complete(db, [scope], query.is_joined()).await?;
    if let Some(span) = error_days::counted_span(db, scope).await?
        && let Some(groups) = read_with_days(db, query, &span).await?
    {
        return Ok(groups);
    }
    let mut select = query.groups_of_rows(db, scope.fast_condition(db, false).await?);
    query.sort(&mut select);
    db.fetch("error_group.groups", &select).await
}

/// The same from the cells of the days of `span` and the rows of the rest of the time; None if the rows of these days
/// have changed.
async fn read_with_days(
    db: &Database,
    query: &ErrorGroupsQuery,
    span: &Range<Micros>,
) -> Result<Option<Vec<Group>>> {
    let dialect = db.dialect();
    let rest = |bound: Expr| {
        // SQLite searches for the first of two bounds.
        Condition::all().add(bound).add(query.scope.condition(db))
    };
    let bound = |at| dialect.range_end(stored(at));
    let mut parts = query.groups_of_cells(db, span);
    for rest in
        [rest(Expr::col(TIME).lt(bound(span.start))), rest(Expr::col(TIME).gte(bound(span.end)))]
    {
        parts.union(UnionType::All, query.groups_of_rows(db, rest));
    }
    let sum = Expr::cust(dialect.to_integer("SUM(c_count)"));
    let labels = DIMENSIONS.map(|(_, name)| Expr::col(name));
    let totals =
        [sum, Expr::col("c_first").min(), Expr::col("c_last").max(), Expr::col("c_first_id").min()];
    let mut groups = Query::select();
    columns::<Group>(&mut groups, labels.into_iter().chain(totals));
    groups.from_subquery(parts, "parts").add_group_by(DIMENSIONS.map(|(_, name)| Expr::col(name)));
    query.sort(&mut groups);
    let fingerprints = [
        error_days::stored_fingerprint(dialect, span),
        error_days::counted_fingerprint(dialect, span),
    ];
    let fingerprints = fingerprints.map(|([total, id_sum], mut select)| {
        let labels = DIMENSIONS.map(|(one, _)| dialect.null(one != ErrorDimension::ErrorCode));
        let totals = [total, dialect.any_time(), dialect.any_time(), id_sum];
        columns::<Group>(&mut select, labels.into_iter().chain(totals));
        select
    });
    let pages = tagged::<Group>(dialect, [groups].into_iter().chain(fingerprints));
    // Long lists in a filter do not fit three times.
    let [statement] = &unions(pages, 3)[..] else { return Ok(None) };
    let (mut groups, mut found) = (vec![], [None, None]);
    for (group, Tag { tag }) in
        db.fetch::<(Group, Tag)>("error_group.groups_days", statement).await?
    {
        match tag {
            0 => groups.push(group),
            1 => found[0] = Some((group.count, group.first_id)),
            _ => found[1] = Some((group.count, group.first_id)),
        }
    }
    let [of_rows, of_cells] = found;
    Ok((of_rows.is_some() && of_rows == of_cells).then_some(groups))
}

impl ErrorGroupsQuery {
    /// The groups of single rows.
    fn groups_of_rows(&self, db: &Database, condition: Condition) -> SelectStatement {
        let dialect = db.dialect();
        let time = || Expr::col(TIME);
        let totals = [Expr::cust("COUNT(*)"), time().min(), time().max()];
        let first_id = Expr::cust(dialect.to_integer("MIN(id)"));
        let mut select = self.select(dialect, totals, first_id);
        select.from(Source::All.of(LogTable::ErrorLogs, db)).cond_where(condition);
        if self.is_joined() {
            failure::join(dialect, &mut select);
        }
        select
    }

    /// The groups of the cells of some days.
    fn groups_of_cells(&self, db: &Database, span: &Range<Micros>) -> SelectStatement {
        let dialect = db.dialect();
        let total = Expr::cust(dialect.to_integer("SUM(total)"));
        let totals = [total, Expr::col("first_time").min(), Expr::col("last_time").max()];
        let mut select = self.select(dialect, totals, Expr::col("first_id").min());
        select.from(error_days::CELLS).cond_where(error_days::filtered(db, &self.scope, span));
        select
    }

    /// Selects and groups by the dimensions. `first_id` is used to sort keys.
    fn select(&self, dialect: Dialect, totals: [Expr; 3], first_id: Expr) -> SelectStatement {
        let dimensions = DIMENSIONS.map(|(dimension, _)| match self.by.contains(&dimension) {
            true => dimension.expression(dialect),
            false => dialect.null(dimension != ErrorDimension::ErrorCode),
        });
        let first_id = match self.by.contains(&ErrorDimension::ApiKey) {
            true => first_id,
            false => dialect.null(false),
        };
        let mut select = Query::select();
        columns::<Group>(&mut select, dimensions.into_iter().chain(totals).chain([first_id]));
        let by = DIMENSIONS.into_iter().filter(|(one, _)| self.by.contains(one));
        select.add_group_by(by.map(|(_, name)| Expr::col(name)));
        select
    }

    /// Sorts and limits a statement of groups.
    fn sort(&self, select: &mut SelectStatement) {
        select.order_by("c_count", Order::Desc).order_by("c_last", Order::Desc);
        for (dimension, name) in DIMENSIONS.into_iter().filter(|(one, _)| self.by.contains(one)) {
            // Ties between keys are sorted by the lowest id, as for calls.
            if dimension != ErrorDimension::ApiKey {
                select.order_by(name, Order::Asc);
            }
        }
        if self.by.contains(&ErrorDimension::ApiKey) {
            select.order_by("c_first_id", Order::Asc);
        }
        select.limit(self.limit.into());
    }
}

/// A request for the error logs over time: those of each bucket between two of `bounds`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ErrorSeriesQuery {
    pub scope: ErrorScope,
    pub bounds: Vec<DateTime<Utc>>,
}

impl ErrorSeriesQuery {
    /// The query without its failure classes, which one statement counts for all queries.
    fn without_classes(&self) -> Self {
        let scope = self.scope.without(&[ErrorDimension::FailureClass]);
        Self { scope, bounds: self.bounds.clone() }
    }

    fn has_classes(&self) -> bool {
        self.scope.classes.is_some() || !self.scope.exclude_classes.is_empty()
    }

    /// Whether the query selects error logs of a class.
    fn selects(&self, class: &str) -> bool {
        let is_in = |classes: &[FailureClass]| classes.iter().any(|one| one.to_string() == class);
        self.scope.classes.as_deref().is_none_or(is_in) && !is_in(&self.scope.exclude_classes)
    }
}

/// The error logs of each bucket of each query, in the order of `queries`. Queries that differ in their failure
/// classes only share a statement. It needs up to three more for the index of texts, and two for missing classes.
pub async fn series_many(db: &Database, queries: &[ErrorSeriesQuery]) -> Vec<Result<Vec<i64>>> {
    let mut shared: HashMap<ErrorSeriesQuery, Vec<usize>> = HashMap::new();
    for (index, query) in queries.iter().enumerate() {
        shared.entry(query.without_classes()).or_default().push(index);
    }
    let shared: Vec<_> = shared.into_iter().collect();
    let read = join_all(shared.iter().map(async |(query, indexes)| {
        let by_class = indexes.iter().any(|index| queries[*index].has_classes());
        series(db, query, by_class).await
    }))
    .await;
    let mut found: Vec<Option<Result<Vec<i64>>>> = queries.iter().map(|_| None).collect();
    for ((_, indexes), counted) in shared.into_iter().zip(read) {
        for index in indexes {
            let query = &queries[index];
            let sums = |counted: &Vec<Counted>| {
                let mut sums = vec![0; query.bounds.len().saturating_sub(1)];
                for Counted { bucket, class, count } in counted {
                    let is_selected = match class {
                        Some(class) => query.selects(class),
                        None => !query.has_classes(),
                    };
                    let bucket = bucket.and_then(|number| usize::try_from(number).ok());
                    if let Some(sum) = bucket.and_then(|number| sums.get_mut(number))
                        && is_selected
                    {
                        *sum += count;
                    }
                }
                sums
            };
            found[index] = Some(counted.as_ref().map(sums).map_err(Clone::clone));
        }
    }
    found.into_iter().flatten().collect()
}

row! {
    struct Counted { bucket: Option<i64>, class: Option<String>, count: i64 }
}

/// The error logs of each bucket, also by class if `by_class`.
async fn series(db: &Database, query: &ErrorSeriesQuery, by_class: bool) -> Result<Vec<Counted>> {
    let ErrorSeriesQuery { scope, bounds } = query;
    if bounds.len() < 2 {
        return Ok(vec![]);
    }
    classification::complete(db, [scope], by_class).await?;
    let dialect = db.dialect();
    let stored: Vec<NaiveDateTime> = bounds.iter().map(|at| db.zone().to_stored(*at)).collect();
    let number = bucket_number(dialect, &runs(&stored));
    let class = match by_class {
        true => Expr::col(failure::CLASS),
        false => dialect.null(true),
    };
    let mut select = Query::select();
    columns::<Counted>(&mut select, [number, class, Expr::cust("COUNT(*)")]);
    select
        .from(Source::All.of(LogTable::ErrorLogs, db))
        .cond_where(scope.fast_condition(db, false).await?)
        .group_by_col("c_bucket");
    if by_class {
        failure::left_join(dialect, &mut select);
        select.group_by_col("c_class");
    }
    db.fetch("error_group.series", &select).await
}

/// The id of the newest error log of each of `groups`, in their order: the highest id of its latest
/// time. One statement for 100 groups.
pub async fn latest(
    db: &Database,
    query: &ErrorGroupsQuery,
    groups: &[ErrorGroupRow],
) -> Result<Vec<Option<i64>>> {
    row! {
        struct Latest { number: i64, id: Option<i64> }
    }
    let ErrorGroupsQuery { scope, by, .. } = query;
    let mut latest = vec![None; groups.len()];
    let rest = scope.without(by);
    let branches = groups.iter().enumerate().map(|(index, group)| {
        let mut select = Query::select();
        let newest = db.dialect().to_integer("MAX(id)");
        columns::<Latest>(&mut select, [db.dialect().number(index), Expr::cust(newest)]);
        select
            .from(Source::All.of(LogTable::ErrorLogs, db))
            .and_where(Expr::col(TIME).eq(group.last_stored.value(db.dialect())))
            .cond_where(rest.condition(db))
            .cond_where(group.condition(db, by))
            .take()
    });
    for union in unions(branches, 100) {
        for Latest { number, id } in db.fetch::<Latest>("error_group.latest", &union).await? {
            latest[number as usize] = id;
        }
    }
    Ok(latest)
}

impl ErrorScope {
    /// This filter without the dimensions `by`: the values of a group have already passed it.
    fn without(&self, by: &[ErrorDimension]) -> Self {
        let mut rest = self.clone();
        for dimension in by {
            match dimension {
                ErrorDimension::ApiKey => {
                    rest.keys = None;
                    rest.exclude_keys = vec![];
                }
                ErrorDimension::Model => {
                    rest.models = None;
                    rest.exclude_models = vec![];
                }
                ErrorDimension::ErrorType => {
                    rest.error_types = None;
                    rest.exclude_error_types = vec![];
                }
                ErrorDimension::ErrorCode => {
                    rest.error_codes = None;
                    rest.exclude_error_codes = vec![];
                }
                ErrorDimension::FailureClass => {
                    rest.classes = None;
                    rest.exclude_classes = vec![];
                }
                ErrorDimension::MessageTemplate => {
                    rest.templates = None;
                    rest.exclude_templates = vec![];
                }
            }
        }
        rest
    }
}

impl ErrorGroupRow {
    fn condition(&self, db: &Database, by: &[ErrorDimension]) -> Condition {
        let dialect = db.dialect();
        let text = |column, value: &Option<String>| match value {
            Some(value) => dialect.text_in(column, [value]),
            None => Condition::all().add(Expr::col(column).is_null()),
        };
        let failed = |column, value: &Option<String>| {
            failure::value_in(dialect, column, value.as_deref(), Listed::Matches)
        };
        by.iter().fold(Condition::all(), |all, dimension| match dimension {
            ErrorDimension::ApiKey => all.add(text(GEMINI_KEY, &self.key)),
            ErrorDimension::Model => all.add(text(MODEL, &self.model)),
            ErrorDimension::ErrorType => all.add(text(ERROR_TYPE, &self.error_type)),
            ErrorDimension::ErrorCode => all.add(match self.error_code {
                Some(code) => Expr::col(ERROR_CODE).eq(code),
                None => dialect.integer(ERROR_CODE).is_null(),
            }),
            ErrorDimension::FailureClass => all.add(failed(failure::CLASS, &self.class)),
            ErrorDimension::MessageTemplate => all.add(failed(failure::TEMPLATE, &self.template)),
        })
    }
}
