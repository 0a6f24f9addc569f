//! The filters of lists, applied to a row in memory. A row matches if and only if SQL would find it:
//! a subscription with a filter sends the rows that a list with this filter has.

use std::collections::HashSet;

use sea_orm::Value;

use super::call::CallScope;
use super::database::Database;
use super::error_log::{ErrorLogRow, ErrorScope};
use super::stored_time::{StoredTime, sqlite_text};
use super::tail::TailedCall;
use super::text_pattern::TextPattern;

/// A [`CallScope`] without its window.
pub struct CallMatcher {
    keys: Option<HashSet<String>>,
    models: Option<HashSet<String>>,
    success: Option<bool>,
    status_codes: Option<HashSet<i32>>,
    min_latency_ms: Option<i64>,
    max_latency_ms: Option<i64>,
}

impl CallMatcher {
    pub fn new(scope: CallScope) -> Self {
        Self {
            keys: set(scope.keys),
            models: set(scope.models),
            success: scope.success,
            status_codes: set(scope.status_codes),
            min_latency_ms: scope.min_latency_ms.map(i64::from),
            max_latency_ms: scope.max_latency_ms.map(i64::from),
        }
    }

    pub fn matches(&self, call: &TailedCall) -> bool {
        let row = &call.row;
        let latency = |holds: &dyn Fn(i64) -> bool| call.latency_ms.is_some_and(holds);
        has(&self.keys, row.key.as_ref())
            && has(&self.models, row.model.as_ref())
            && self.success.is_none_or(|success| success == row.is_success())
            && has(&self.status_codes, row.status_code.as_ref())
            && self.min_latency_ms.is_none_or(|least| latency(&|latency| latency >= least))
            && self.max_latency_ms.is_none_or(|most| latency(&|latency| latency <= most))
    }
}

/// An [`ErrorScope`], prepared for many rows.
pub struct ErrorLogMatcher {
    keys: Option<HashSet<String>>,
    models: Option<HashSet<String>>,
    error_types: Option<HashSet<String>>,
    error_codes: Option<HashSet<i32>>,
    contains: Option<TextPattern>,
    /// As [`Dialect::range_end`] binds them.
    since: Option<Value>,
    until: Option<Value>,
}

impl ErrorLogMatcher {
    pub fn new(db: &Database, scope: ErrorScope) -> Self {
        let dialect = db.dialect();
        let end = |at: Option<_>| at.map(|at| dialect.range_end(db.zone().to_stored(at)));
        Self {
            keys: set(scope.keys),
            models: set(scope.models),
            error_types: set(scope.error_types),
            error_codes: set(scope.error_codes),
            contains: scope.contains.map(|text| TextPattern::new(dialect, &text)),
            since: end(scope.since),
            until: end(scope.until),
        }
    }

    pub fn matches(&self, row: &ErrorLogRow) -> bool {
        has(&self.keys, row.key.as_ref())
            && has(&self.models, row.model.as_ref())
            && has(&self.error_types, row.error_type.as_ref())
            && has(&self.error_codes, row.error_code.as_ref())
            && self.since.as_ref().is_none_or(|since| !is_before(&row.stored, since))
            && self.until.as_ref().is_none_or(|until| is_before(&row.stored, until))
            && self.contains.as_ref().is_none_or(|pattern| {
                let texts = [&row.error_type, &row.message];
                texts.into_iter().flatten().any(|text| pattern.is_found_in(text))
            })
    }
}

fn set<T: std::hash::Hash + Eq>(values: Option<Vec<T>>) -> Option<HashSet<T>> {
    values.map(|values| values.into_iter().collect())
}

/// NULL matches no list of values, as in SQL.
fn has<T: std::hash::Hash + Eq>(wanted: &Option<HashSet<T>>, value: Option<&T>) -> bool {
    wanted.as_ref().is_none_or(|wanted| value.is_some_and(|value| wanted.contains(value)))
}

/// Whether a stored time is before a bound of a range. SQLite compares texts.
fn is_before(stored: &StoredTime, end: &Value) -> bool {
    match end {
        Value::String(Some(end)) => match &stored.text {
            Some(text) => text.as_ref() < end.as_str(),
            None => sqlite_text(stored.at).as_str() < end.as_str(),
        },
        Value::ChronoDateTime(Some(end)) => stored.at < *end,
        _ => false,
    }
}
