//! Common arguments: time windows, pages and bounded numbers.

use async_graphql::{Enum, InputObject};
use chrono::Utc;

use super::cursor::Cursor;
use super::error::{Failure, Result};
use super::scalar::{DateTime, Duration, TimeZone};
use super::scope::Scope;
use crate::domain::bucket::{self, MAX_BUCKETS};
use crate::domain::duration;
use crate::domain::excerpt::excerpt;
use crate::domain::window::{self, Window};
use crate::store::page::PageRequest;

/// A time window that ends at `asOf`, by default now. In every window the start is inclusive and the end
/// is exclusive.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "window::Period")]
pub enum Period {
    /// The 60 seconds before `asOf`.
    LastMinute,
    /// The 60 minutes before `asOf`.
    LastHour,
    /// The 8 hours before `asOf`.
    #[graphql(name = "LAST_8_HOURS")]
    Last8Hours,
    /// The 24 hours before `asOf`.
    #[graphql(name = "LAST_24_HOURS")]
    Last24Hours,
    /// The 7 times 24 hours before `asOf`.
    #[graphql(name = "LAST_7_DAYS")]
    Last7Days,
    /// The 30 times 24 hours before `asOf`.
    #[graphql(name = "LAST_30_DAYS")]
    Last30Days,
    /// From the start of the calendar month of `asOf` in `timeZone` up to `asOf`.
    CurrentMonth,
}

/// A time window between two instants: `since` is inclusive, `until` is exclusive.
#[derive(InputObject, Clone, Copy, Debug)]
pub struct TimeRange {
    /// The first instant of the window.
    pub since: DateTime,
    /// The first instant after the window, later than `since`.
    pub until: DateTime,
}

/// The arguments `period`, `between`, `asOf` and `timeZone` of a field.
pub struct WindowArgs {
    pub period: Option<Period>,
    pub between: Option<TimeRange>,
    pub as_of: Option<DateTime>,
    pub time_zone: Option<TimeZone>,
}

impl WindowArgs {
    /// The window of `period` or `between`. Exactly one of them must be given.
    pub fn window(&self, scope: &Scope) -> Result<Window> {
        match (self.period, self.between) {
            (Some(_), Some(_)) => {
                Err(Failure::bad_input("period", "give one of `period` and `between`, not both"))
            }
            (None, None) => Err(Failure::bad_input(
                "period",
                "give either `period`, such as LAST_24_HOURS, or `between` with `since` and `until`",
            )),
            (None, Some(_)) if self.as_of.is_some() => Err(Failure::bad_input(
                "asOf",
                "`asOf` applies to `period` only; `between` has its own end",
            )),
            (None, Some(range)) => between(range),
            (Some(period), None) => {
                let until = self.as_of.map_or(scope.now, |as_of| as_of.0);
                Window::of(period.into(), until, self.zone(scope)).ok_or_else(too_early)
            }
        }
    }

    /// The window, and the ends of its buckets of `interval`.
    pub fn buckets(
        &self,
        scope: &Scope,
        interval: Option<Duration>,
    ) -> Result<(Window, Vec<chrono::DateTime<Utc>>)> {
        let window = self.window(scope)?;
        let interval = match interval {
            Some(Duration(span)) if span.subsec_nanos() != 0 => {
                let message = "`interval` must be a whole number of seconds";
                return Err(Failure::bad_input("interval", message));
            }
            Some(Duration(span)) => span,
            None => bucket::default_interval(window),
        };
        let bounds = bucket::bounds(window, interval, self.zone(scope));
        let bounds = bounds.ok_or_else(|| {
            let interval = duration::format(interval);
            let message = format!(
                "`{interval}` gives more than {MAX_BUCKETS} buckets; choose a longer interval or a shorter window"
            );
            Failure::bad_input("interval", message)
        })?;
        Ok((window, bounds))
    }

    pub fn zone(&self, scope: &Scope) -> chrono_tz::Tz {
        self.time_zone.map_or(scope.config().time_zone, |zone| zone.0)
    }
}

fn between(TimeRange { since, until }: TimeRange) -> Result<Window> {
    if since.0 >= until.0 {
        return Err(Failure::bad_input("between", "`since` must be before `until`"));
    }
    Ok(Window { since: since.0, until: until.0 })
}

/// The error of a window that would start before the year 1.
pub fn too_early() -> Failure {
    Failure::bad_input("asOf", "the window would start before the year 1")
}

/// The arguments `first`, `after`, `last` and `before` of a list.
pub struct PageArgs {
    pub first: Option<i32>,
    pub after: Option<String>,
    pub last: Option<i32>,
    pub before: Option<String>,
}

impl PageArgs {
    pub fn request<C: Cursor>(
        self,
        scope: &Scope,
        belongs: impl Fn(&C) -> bool,
    ) -> Result<PageRequest<C>> {
        if self.first.is_some() && self.last.is_some() {
            return Err(Failure::bad_input("first", "give one of `first` and `last`, not both"));
        }
        let backward = self.last.is_some();
        let (name, number) = if backward { ("last", self.last) } else { ("first", self.first) };
        let limit = match number {
            Some(number) => page_size(scope, name, number)?,
            None => scope.config().default_page_size.min(scope.config().max_page_size),
        };
        let position = |name, cursor: Option<String>| {
            let Some(cursor) = cursor else { return Ok(None) };
            let position = C::decode(&cursor).filter(&belongs);
            position.map(Some).ok_or_else(|| {
                let cursor = excerpt(&cursor);
                Failure::bad_input(
                    name,
                    format!("`{cursor}` is not a cursor of this list and order"),
                )
            })
        };
        Ok(PageRequest {
            limit,
            backward,
            after: position("after", self.after)?,
            before: position("before", self.before)?,
        })
    }
}

/// A page size, 1 to the largest page.
pub fn page_size(scope: &Scope, argument: &'static str, number: i32) -> Result<u32> {
    let most = scope.config().max_page_size;
    let size = u32::try_from(number).ok().filter(|number| (1..=most).contains(number));
    size.ok_or_else(|| {
        Failure::bad_input(argument, format!("`{argument}` must be 1 to {most}, not {number}"))
    })
}

/// The longest search text, in characters: longer than any stored key or name.
const MAX_TEXT: usize = 500;

/// The most values of a filter list: several such lists fit into one statement.
const MAX_LIST: usize = 5000;

/// The same of a list of exclusions, which are in the statement in addition.
const MAX_EXCLUDED: usize = 500;

/// Rejects a filter list that is too long.
pub fn check_list<T>(list: Option<&Vec<T>>) -> Result<()> {
    check_length("a filter list", list, MAX_LIST)
}

/// Rejects a list of exclusions that is too long.
pub fn check_excluded<T>(list: Option<&Vec<T>>) -> Result<()> {
    check_length("a list of exclusions", list, MAX_EXCLUDED)
}

fn check_length<T>(what: &str, list: Option<&Vec<T>>, most: usize) -> Result<()> {
    let length = list.map_or(0, Vec::len);
    if length <= most {
        return Ok(());
    }
    let message = format!("{what} has at most {most} values, not {length}");
    Err(Failure::bad_input("filter", message))
}

/// Rejects a search text that some database does not support.
pub fn check_text(argument: &'static str, text: &str) -> Result<()> {
    if text.chars().count() > MAX_TEXT {
        let message = format!("a search text has at most {MAX_TEXT} characters");
        return Err(Failure::bad_input(argument, message));
    }
    if text.contains('\0') {
        return Err(Failure::bad_input(argument, "a search text must not contain a NUL character"));
    }
    Ok(())
}
