//! The class and the template of each error log, in a table of Callscope's own, so that lists and groups by them
//! read no texts. `store/classification.rs` fills it.
//!
//! A row belongs to the error log with its id and its time: SQLite uses the ids of deleted error logs again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use sea_orm::sea_query::{Condition, Expr, ExprTrait, JoinType, Query, SelectStatement};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::dialect::Dialect;
use crate::domain::failure::VERSION;
use crate::domain::table::{ID, LogTable};

pub(super) const TABLE: &str = "callscope_failures";
pub(super) const ERROR_ID: &str = "error_id";
pub(super) const CLASS: &str = "class";
pub(super) const TEMPLATE: &str = "template";

/// How far the job has checked the rows, and the lock of requests that add some.
#[derive(Debug)]
pub struct Progress {
    /// The id up to which all error logs have a class, and since when it is known.
    checked: RwLock<(i64, Instant)>,
    is_behind: AtomicBool,
    has_days: AtomicBool,
    turn: Mutex<()>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            checked: RwLock::new((i64::MIN, Instant::now())),
            is_behind: AtomicBool::new(false),
            has_days: AtomicBool::new(false),
            turn: Mutex::default(),
        }
    }
}

impl Progress {
    /// Up to this id, all error logs have a class. The job is behind if many others may have none.
    pub fn set(&self, id: i64, is_behind: bool) {
        let mut checked = self.checked.write().unwrap_or_else(PoisonError::into_inner);
        if checked.0 != id {
            *checked = (id, Instant::now());
        }
        self.is_behind.store(is_behind, Ordering::Relaxed);
    }

    pub(super) fn checked(&self) -> (i64, Instant) {
        *self.checked.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the job still has to add the rows of many error logs. Then queries add none.
    pub fn is_behind(&self) -> bool {
        self.is_behind.load(Ordering::Relaxed)
    }

    /// Whether some days are counted (`store/error_days.rs`).
    pub fn has_days(&self) -> bool {
        self.has_days.load(Ordering::Relaxed)
    }

    pub fn set_has_days(&self, has_days: bool) {
        self.has_days.store(has_days, Ordering::Relaxed);
    }

    /// Waits until no other request of this server adds rows.
    pub(super) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
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

/// Error logs with a row that fulfils a condition.
fn has_row(dialect: Dialect, condition: Expr) -> Expr {
    let mut select = Query::select();
    select.expr(Expr::cust("1")).from(TABLE).cond_where(belongs(dialect)).and_where(condition);
    Expr::exists(select)
}

/// Error logs that need no classification: those without a readable time are in no list.
pub(super) fn is_classified(dialect: Dialect) -> Condition {
    Condition::any()
        .add(dialect.has_time().not())
        .add(has_row(dialect, Expr::col("rules").gte(VERSION)))
}

/// Error logs with one of these classes or templates, or with another one. Those without a row are neither.
pub(super) fn value_in<'a>(
    dialect: Dialect,
    column: &'static str,
    values: impl IntoIterator<Item = &'a str>,
    listed: Listed,
) -> Condition {
    let is_listed = Expr::col(column).is_in(values);
    Condition::all().add(match listed {
        Listed::Matches => has_row(dialect, is_listed),
        Listed::IsExcluded => has_row(dialect, is_listed.not()),
    })
}

/// Adds the rows to a statement about error logs. Error logs without a row are left out.
pub(super) fn join(dialect: Dialect, select: &mut SelectStatement) {
    select.join(JoinType::InnerJoin, TABLE, belongs(dialect));
}

/// The same, also for error logs without a class.
pub(super) fn left_join(dialect: Dialect, select: &mut SelectStatement) {
    select.join(JoinType::LeftJoin, TABLE, belongs(dialect));
}

/// Whether a listed value matches, or any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    Matches,
    IsExcluded,
}
