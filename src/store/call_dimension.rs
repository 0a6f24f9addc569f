//! The dimensions of calls in SQL.

use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait};

use super::dialect::Dialect;
use super::filter::succeeded;
use crate::domain::bucket::Run;
use crate::domain::table::{API_KEY, MODEL, STATUS_CODE, TIME};

pub(super) const KEY: &str = "by_key";

/// A dimension that groups calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallDimension {
    ApiKey,
    Model,
    StatusCode,
    Success,
}

impl CallDimension {
    /// The expression to group by.
    pub(super) fn expression(self, dialect: Dialect) -> Expr {
        match self {
            Self::ApiKey => dialect.group_text(API_KEY),
            Self::Model => dialect.group_text(MODEL),
            Self::StatusCode => dialect.integer(STATUS_CODE),
            Self::Success => CaseStatement::new()
                .case(succeeded(), dialect.number(1))
                .finally(dialect.number(0))
                .into(),
        }
    }

    /// Its column in the inner statements.
    pub(super) fn alias(self) -> &'static str {
        match self {
            Self::ApiKey => KEY,
            Self::Model => "by_model",
            Self::StatusCode => "by_code",
            Self::Success => "by_success",
        }
    }

    /// The same for statements that find calls by id: a plain column would make SQLite read all calls in the
    /// order of an index.
    pub(super) fn unindexed(self, dialect: Dialect) -> Expr {
        match (dialect, self) {
            (Dialect::Sqlite, Self::ApiKey) => Expr::cust(format!("+{API_KEY}")),
            (Dialect::Sqlite, Self::Model) => Expr::cust(format!("+{MODEL}")),
            _ => self.expression(dialect),
        }
    }

    /// The value of a group.
    pub(super) fn label(self, dialect: Dialect) -> Expr {
        match self {
            Self::ApiKey => dialect.text(API_KEY),
            Self::Model => dialect.text(MODEL),
            Self::StatusCode | Self::Success => self.expression(dialect),
        }
    }

    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::ApiKey | Self::Model)
    }
}

/// The bucket number of a call: one division for each run of buckets.
pub(super) fn bucket_number(dialect: Dialect, runs: &[Run]) -> Expr {
    let number = |run: &Run| dialect.bucket(run);
    let [runs @ .., last] = runs else { return dialect.number(0) };
    let ends = runs.iter().skip(1).chain([last]).map(|next| dialect.range_end(next.start));
    let mut case = CaseStatement::new();
    for (run, end) in runs.iter().zip(ends) {
        case = case.case(Expr::col(TIME).lt(end), number(run));
    }
    if runs.is_empty() { number(last) } else { case.finally(number(last)).into() }
}
