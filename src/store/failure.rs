//! The class and the template of each error log, in a table of Callscope's own, so that lists and groups by them
//! read no texts. `store/classification.rs` fills it.
//!
//! A row belongs to the error log with its id and its time: SQLite uses the ids of deleted error logs again.

use std::sync::atomic::{AtomicI64, Ordering};

use sea_orm::sea_query::{Condition, Expr, ExprTrait, JoinType, Query, SelectStatement};

use super::dialect::Dialect;
use crate::domain::failure::{FailureClass, VERSION};
use crate::domain::table::{ID, LogTable, TIME};

pub(super) const TABLE: &str = "callscope_failures";
pub(super) const ERROR_ID: &str = "error_id";
pub(super) const CLASS: &str = "class";
pub(super) const TEMPLATE: &str = "template";

/// How far the job has checked the rows.
#[derive(Debug)]
pub struct Progress(AtomicI64);

impl Default for Progress {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Progress {
    /// Up to this id, all error logs have a class.
    pub fn set(&self, id: i64) {
        self.0.store(id, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The row of an error log.
fn belongs(dialect: Dialect) -> Condition {
    let same_time = match dialect {
        Dialect::Sqlite => "callscope_failures.logged_at IS t_error_logs.request_time",
        Dialect::Postgres => {
            "callscope_failures.logged_at IS NOT DISTINCT FROM t_error_logs.request_time"
        }
        Dialect::MySql => "callscope_failures.logged_at <=> t_error_logs.request_time",
    };
    Condition::all()
        .add(Expr::col((TABLE, ERROR_ID)).equals((LogTable::ErrorLogs.name(), ID)))
        .add(Expr::cust(same_time))
}

/// Error logs whose row fulfils a condition.
fn has_row(dialect: Dialect, condition: Option<Expr>) -> Expr {
    let mut select = Query::select();
    select.expr(Expr::cust("1")).from(TABLE).cond_where(belongs(dialect));
    select.cond_where(Condition::all().add_option(condition));
    Expr::exists(select)
}

/// Error logs that need no classification: those without a time are in no list.
pub(super) fn is_classified(dialect: Dialect) -> Condition {
    Condition::any()
        .add(Expr::col(TIME).is_null())
        .add(has_row(dialect, Some(Expr::col("rules").gte(VERSION))))
}

/// Error logs of one of these classes. Those without a row are UNKNOWN.
pub(super) fn class_in(dialect: Dialect, classes: &[FailureClass]) -> Condition {
    let names = classes.iter().map(FailureClass::to_string);
    let found = has_row(dialect, Some(Expr::col(CLASS).is_in(names)));
    let is_unknown = classes.contains(&FailureClass::Unknown);
    Condition::any().add(found).add_option(is_unknown.then(|| has_row(dialect, None).not()))
}

/// Error logs with one of these templates.
pub(super) fn template_in(dialect: Dialect, templates: &[String]) -> Condition {
    let templates = templates.iter().map(String::as_str);
    Condition::all().add(has_row(dialect, Some(Expr::col(TEMPLATE).is_in(templates))))
}

/// Adds the rows to a statement about error logs.
pub(super) fn join(dialect: Dialect, select: &mut SelectStatement) {
    select.join(JoinType::LeftJoin, TABLE, belongs(dialect));
}

/// The class of a joined row.
pub(super) fn class_of_join() -> Expr {
    Expr::col(CLASS).if_null(FailureClass::Unknown.to_string())
}

/// The template of a joined row, NULL without one.
pub(super) fn template_of_join() -> Expr {
    Expr::col(TEMPLATE)
}
