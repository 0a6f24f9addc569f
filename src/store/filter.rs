//! Filters of rows. Each criterion has its SQL and its check in memory side by side: a subscription with a
//! filter sends the rows that a list with this filter has.

use chrono::{DateTime, Utc};
use sea_orm::Value;
use sea_orm::sea_query::{Condition, Expr, ExprTrait};

use super::contains::TextPattern;
use super::database::Database;
use super::dialect::{Dialect, earliest, latest};
use super::failure::{self, Listed};
use super::stored_time::{StoredTime, sqlite_text};
use super::zone::StorageZone;
use crate::domain::failure::{FailureClass, Template};
use crate::domain::table::{STATUS_CODE, TIME};

/// The criteria that a row must match.
pub struct Filter {
    dialect: Dialect,
    zone: StorageZone,
    criteria: Vec<Criterion>,
}

enum Criterion {
    /// As [`Dialect::range_end`] binds the bounds.
    Since(Value),
    Until(Value),
    Texts(&'static str, Vec<String>),
    Numbers(&'static str, Vec<i32>),
    /// None of these values, or no value.
    OtherTexts(&'static str, Vec<String>),
    OtherNumbers(&'static str, Vec<i32>),
    /// From the least to the most, where given.
    Between(&'static str, Option<i32>, Option<i32>),
    Success(bool),
    /// A part of the text of one of these columns.
    Contains(&'static [&'static str], TextPattern),
    /// One of these failure classes, or none of them.
    Classes(Vec<FailureClass>, Listed),
    Templates(Vec<String>, Listed),
}

/// A row in memory.
pub trait Cells {
    fn time(&self) -> &StoredTime;

    /// The value of a column. NULL matches only exclusions.
    fn cell(&self, column: &'static str) -> Cell<'_>;

    /// The failure class and the template of an error log.
    fn class(&self) -> FailureClass {
        FailureClass::Unknown
    }

    fn template(&self) -> Template {
        Template::default()
    }
}

/// A value of a row.
pub enum Cell<'a> {
    Text(Option<&'a str>),
    Number(Option<i64>),
}

impl<'a> Cell<'a> {
    fn text(self) -> Option<&'a str> {
        if let Self::Text(text) = self { text } else { None }
    }

    fn number(self) -> Option<i64> {
        if let Self::Number(number) = self { number } else { None }
    }
}

impl Filter {
    pub(super) fn new(db: &Database) -> Self {
        Self { dialect: db.dialect(), zone: db.zone(), criteria: vec![] }
    }

    /// Rows with a readable time in `[since, until)`.
    pub(super) fn time(self, since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> Self {
        let (dialect, zone) = (self.dialect, self.zone);
        let since = since.map_or_else(earliest, |since| zone.to_stored(since));
        let until = until.map_or_else(latest, |until| zone.to_stored(until));
        self.with(Some(Criterion::Since(dialect.range_end(since))))
            .with(Some(Criterion::Until(dialect.range_end(until))))
    }

    /// The same for rows that are known to have a readable time.
    pub(super) fn bounds(self, since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> Self {
        let (dialect, zone) = (self.dialect, self.zone);
        let bound = |at: DateTime<Utc>| dialect.range_end(zone.to_stored(at));
        self.with(since.map(|since| Criterion::Since(bound(since))))
            .with(until.map(|until| Criterion::Until(bound(until))))
    }

    pub(super) fn texts(self, column: &'static str, values: Option<&Vec<String>>) -> Self {
        self.with(values.map(|values| Criterion::Texts(column, values.clone())))
    }

    pub(super) fn numbers(self, column: &'static str, values: Option<&Vec<i32>>) -> Self {
        self.with(values.map(|values| Criterion::Numbers(column, values.clone())))
    }

    /// Rows without one of these values in a column.
    pub(super) fn other_texts(self, column: &'static str, values: &[String]) -> Self {
        let is_given = !values.is_empty();
        self.with(is_given.then(|| Criterion::OtherTexts(column, values.to_vec())))
    }

    pub(super) fn other_numbers(self, column: &'static str, values: &[i32]) -> Self {
        let is_given = !values.is_empty();
        self.with(is_given.then(|| Criterion::OtherNumbers(column, values.to_vec())))
    }

    pub(super) fn between(self, column: &'static str, [least, most]: [Option<i32>; 2]) -> Self {
        let is_bounded = least.or(most).is_some();
        self.with(is_bounded.then_some(Criterion::Between(column, least, most)))
    }

    pub(super) fn success(self, success: Option<bool>) -> Self {
        self.with(success.map(Criterion::Success))
    }

    /// Rows that contain `text` in one of `columns`, ignoring case.
    pub(super) fn contains(self, columns: &'static [&'static str], text: Option<&str>) -> Self {
        let dialect = self.dialect;
        self.with(text.map(|text| Criterion::Contains(columns, TextPattern::new(dialect, text))))
    }

    /// Error logs with one of these classes, or with another one.
    pub(super) fn classes(self, classes: Option<&[FailureClass]>, listed: Listed) -> Self {
        self.with(classes.map(|classes| Criterion::Classes(classes.to_vec(), listed)))
    }

    pub(super) fn templates(self, templates: Option<&[String]>, listed: Listed) -> Self {
        self.with(templates.map(|templates| Criterion::Templates(templates.to_vec(), listed)))
    }

    fn with(mut self, criterion: Option<Criterion>) -> Self {
        self.criteria.extend(criterion);
        self
    }

    pub(super) fn condition(&self) -> Condition {
        let criteria = self.criteria.iter();
        criteria.fold(Condition::all(), |all, criterion| all.add(criterion.condition(self.dialect)))
    }

    /// Sorts the lists, which [`Self::matches`] needs.
    pub(super) fn for_rows(mut self) -> Self {
        for criterion in &mut self.criteria {
            match criterion {
                Criterion::Texts(_, values) | Criterion::OtherTexts(_, values) => {
                    values.sort_unstable();
                }
                Criterion::Numbers(_, values) | Criterion::OtherNumbers(_, values) => {
                    values.sort_unstable();
                }
                _ => {}
            }
        }
        self
    }

    /// Whether SQL would find the row.
    pub fn matches(&self, row: &impl Cells) -> bool {
        self.criteria.iter().all(|criterion| criterion.matches(row))
    }
}

impl Criterion {
    fn condition(&self, dialect: Dialect) -> Condition {
        let all = Condition::all();
        match self {
            Self::Since(since) => all.add(Expr::col(TIME).gte(since.clone())),
            Self::Until(until) => all.add(Expr::col(TIME).lt(until.clone())),
            Self::Texts(column, values) => dialect.text_in(column, values),
            Self::Numbers(column, values) => all.add(number_in(column, values)),
            Self::OtherTexts(column, values) => other(column, dialect.text_in(column, values)),
            Self::OtherNumbers(column, values) => other(column, all.add(number_in(column, values))),
            Self::Between(column, least, most) => all
                .add_option(least.map(|least| dialect.integer(column).gte(least)))
                .add_option(most.map(|most| dialect.integer(column).lte(most))),
            Self::Success(true) => all.add(succeeded()),
            Self::Success(false) => all.add(failed()),
            Self::Contains(columns, pattern) => {
                columns.iter().fold(Condition::any(), |any, name| any.add(pattern.condition(name)))
            }
            Self::Classes(classes, listed) => {
                let names: Vec<String> = classes.iter().map(FailureClass::to_string).collect();
                let names = names.iter().map(String::as_str);
                failure::value_in(dialect, failure::CLASS, names, *listed)
            }
            Self::Templates(templates, listed) => {
                let ids = templates.iter().map(String::as_str);
                failure::value_in(dialect, failure::TEMPLATE, ids, *listed)
            }
        }
    }

    fn matches(&self, row: &impl Cells) -> bool {
        let text = |column: &'static str| row.cell(column).text();
        let number = |column: &'static str| row.cell(column).number();
        match self {
            Self::Since(since) => !is_before(row.time(), since),
            Self::Until(until) => is_before(row.time(), until),
            Self::Texts(column, values) => is_text_in(text(column), values),
            Self::Numbers(column, values) => is_number_in(number(column), values),
            Self::OtherTexts(column, values) => !is_text_in(text(column), values),
            Self::OtherNumbers(column, values) => !is_number_in(number(column), values),
            Self::Between(column, least, most) => number(column).is_some_and(|number| {
                least.is_none_or(|least| number >= least.into())
                    && most.is_none_or(|most| number <= most.into())
            }),
            Self::Success(success) => {
                *success == number(STATUS_CODE).is_some_and(|code| (200..=299).contains(&code))
            }
            Self::Contains(columns, pattern) => {
                columns.iter().filter_map(|name| text(name)).any(|text| pattern.is_found_in(text))
            }
            Self::Classes(classes, listed) => {
                classes.contains(&row.class()) == (*listed == Listed::Matches)
            }
            Self::Templates(templates, listed) => {
                templates.contains(&row.template().id) == (*listed == Listed::Matches)
            }
        }
    }
}

fn number_in(column: &'static str, values: &[i32]) -> Expr {
    Expr::col(column).is_in(values.iter().copied())
}

/// Rows with another value in a column than the listed ones, or with none.
fn other(column: &'static str, listed: Condition) -> Condition {
    Condition::any().add(Expr::col(column).is_null()).add(listed.not())
}

/// Whether the sorted `values` contain a text.
fn is_text_in(text: Option<&str>, values: &[String]) -> bool {
    let is_in = |text| values.binary_search_by(|value| value.as_str().cmp(text)).is_ok();
    text.is_some_and(is_in)
}

fn is_number_in(number: Option<i64>, values: &[i32]) -> bool {
    let is_in = |number| values.binary_search_by(|value| i64::from(*value).cmp(&number)).is_ok();
    number.is_some_and(is_in)
}

/// A status code of 200 to 299. SQLite sorts text after every number.
pub(super) fn succeeded() -> Expr {
    Expr::col(STATUS_CODE).between(200, 299)
}

fn failed() -> Expr {
    let code = || Expr::col(STATUS_CODE);
    code().is_null().or(code().lt(200)).or(code().gt(299))
}

/// Whether a stored time is before a bound of a range. SQLite compares texts.
fn is_before(stored: &StoredTime, bound: &Value) -> bool {
    match bound {
        Value::String(Some(bound)) => match &stored.text {
            Some(text) => text.as_ref() < bound.as_str(),
            None => sqlite_text(stored.at).as_str() < bound.as_str(),
        },
        Value::ChronoDateTime(Some(bound)) => stored.at < *bound,
        _ => false,
    }
}
