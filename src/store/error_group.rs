//! Groups of error logs: their counts, first and last times, and latest error log.

use chrono::{DateTime, Utc};
use entity::error_log::{Column, Entity};
use sea_orm::sea_query::{Condition, Expr, ExprTrait, Order, Query};

use super::database::Database;
use super::error_log::ErrorScope;
use super::page::unions;
use super::rows::{columns, int};
use super::stored_time::StoredTime;
use crate::error::Result;

/// A dimension that groups error logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorDimension {
    ApiKey,
    Model,
    ErrorType,
    ErrorCode,
}

/// A group of error logs. Only the fields of the requested dimensions are set.
#[derive(Clone, Debug)]
pub struct ErrorGroupRow {
    pub key: Option<String>,
    pub model: Option<String>,
    pub error_type: Option<String>,
    pub error_code: Option<i32>,
    pub count: i64,
    pub first_seen_at: DateTime<Utc>,
    pub last_seen_at: DateTime<Utc>,
    last_stored: StoredTime,
}

/// The largest groups first. One statement.
pub async fn groups(
    db: &Database,
    scope: &ErrorScope,
    by: &[ErrorDimension],
    limit: u32,
) -> Result<Vec<ErrorGroupRow>> {
    type Columns =
        (Option<String>, Option<String>, Option<String>, Option<i64>, i64, StoredTime, StoredTime);
    let dialect = db.dialect();
    let mut select = Query::select();
    let dimension = |dimension, column: Expr, of_text| {
        if by.contains(&dimension) { column } else { dialect.null(of_text) }
    };
    let width = columns(
        &mut select,
        [
            dimension(ErrorDimension::ApiKey, dialect.text(Column::GeminiKey), true),
            dimension(ErrorDimension::Model, dialect.text(Column::ModelName), true),
            dimension(ErrorDimension::ErrorType, dialect.text(Column::ErrorType), true),
            dimension(ErrorDimension::ErrorCode, dialect.integer(Column::ErrorCode), false),
            Expr::cust("COUNT(*)"),
            Expr::col(Column::RequestTime).min(),
            Expr::col(Column::RequestTime).max(),
        ],
    );
    select.from(Entity).cond_where(scope.condition(db));
    let grouped = [
        (ErrorDimension::ApiKey, "c0"),
        (ErrorDimension::Model, "c1"),
        (ErrorDimension::ErrorType, "c2"),
        (ErrorDimension::ErrorCode, "c3"),
    ];
    select.order_by("c4", Order::Desc).order_by("c6", Order::Desc);
    for (dimension, name) in grouped {
        if by.contains(&dimension) {
            select.group_by_col(name);
        }
        // Ties between keys are sorted by the lowest id, as for calls.
        if by.contains(&dimension) && dimension != ErrorDimension::ApiKey {
            select.order_by(name, Order::Asc);
        }
    }
    if by.contains(&ErrorDimension::ApiKey) {
        select.order_by_expr(Expr::col(Column::Id).min(), Order::Asc);
    }
    select.limit(limit.into());
    let rows = db.fetch::<Columns>("error_group.groups", &select, width).await?;
    Ok(rows
        .into_iter()
        .map(|(key, model, error_type, code, count, first, last)| ErrorGroupRow {
            key,
            model,
            error_type,
            error_code: int(code),
            count,
            first_seen_at: db.zone().to_utc(first.at),
            last_seen_at: db.zone().to_utc(last.at),
            last_stored: last,
        })
        .collect())
}

/// The id of the newest error log of each of `groups`, in their order: the highest id of its latest
/// time. One statement for 100 groups.
pub async fn latest(
    db: &Database,
    scope: &ErrorScope,
    by: &[ErrorDimension],
    groups: &[ErrorGroupRow],
) -> Result<Vec<Option<i64>>> {
    let mut latest = vec![None; groups.len()];
    let rest = scope.without(by);
    let branches = groups.iter().enumerate().map(|(index, group)| {
        let mut select = Query::select();
        let newest = db.dialect().to_integer("MAX(id)");
        columns(&mut select, [db.dialect().number(index), Expr::cust(newest)]);
        select
            .from(Entity)
            .and_where(Expr::col(Column::RequestTime).eq(group.last_stored.value(db.dialect())))
            .cond_where(rest.condition(db))
            .cond_where(group.condition(db, by))
            .take()
    });
    for union in unions(branches, 100) {
        for (index, id) in db.fetch::<(i64, Option<i64>)>("error_group.latest", &union, 2).await? {
            latest[index as usize] = id;
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
                ErrorDimension::ApiKey => rest.keys = None,
                ErrorDimension::Model => rest.models = None,
                ErrorDimension::ErrorType => rest.error_types = None,
                ErrorDimension::ErrorCode => rest.error_codes = None,
            }
        }
        rest
    }
}

impl ErrorGroupRow {
    fn condition(&self, db: &Database, by: &[ErrorDimension]) -> Condition {
        let dialect = db.dialect();
        let text = |column: Column, value: &Option<String>| match value {
            Some(value) => dialect.text_in(column, [value]),
            None => Condition::all().add(Expr::col(column).is_null()),
        };
        by.iter().fold(Condition::all(), |all, dimension| match dimension {
            ErrorDimension::ApiKey => all.add(text(Column::GeminiKey, &self.key)),
            ErrorDimension::Model => all.add(text(Column::ModelName, &self.model)),
            ErrorDimension::ErrorType => all.add(text(Column::ErrorType, &self.error_type)),
            ErrorDimension::ErrorCode => all.add(match self.error_code {
                Some(code) => Expr::col(Column::ErrorCode).eq(code),
                None => dialect.integer(Column::ErrorCode).is_null(),
            }),
        })
    }
}
