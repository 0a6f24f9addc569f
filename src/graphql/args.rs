//! Arguments that many fields have: a window of time, a page, a bounded number.

use async_graphql::{Enum, InputObject};

use super::cursor::Cursor;
use super::error::{Failure, Result};
use super::scalar::{DateTime, TimeZone};
use super::scope::Scope;
use crate::domain::excerpt::excerpt;
use crate::domain::window::{self, Window};
use crate::store::page::PageRequest;

/// A window of time that ends at `asOf`, by default now. Every window is half open: a call at its
/// start belongs to it, one at its end does not.
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

/// A window between two instants, half open: `since` belongs to it, `until` does not.
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
    /// The window that is meant by exactly one of `period` and `between`.
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
                "`asOf` is the end of a `period`; `between` names its own end",
            )),
            (None, Some(range)) => between(range),
            (Some(period), None) => {
                let until = self.as_of.map_or(scope.now, |as_of| as_of.0);
                Window::of(period.into(), until, self.zone(scope)).ok_or_else(too_early)
            }
        }
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

/// The error of a window that would begin before the year 1.
pub fn too_early() -> Failure {
    Failure::bad_input("asOf", "the window would begin before the year 1")
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
                Failure::bad_input(name, format!("`{cursor}` is no cursor of this list and order"))
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

/// A number of items, 1 to the largest page.
pub fn page_size(scope: &Scope, argument: &'static str, number: i32) -> Result<u32> {
    let most = scope.config().max_page_size;
    let size = u32::try_from(number).ok().filter(|number| (1..=most).contains(number));
    size.ok_or_else(|| {
        Failure::bad_input(argument, format!("`{argument}` must be 1 to {most}, not {number}"))
    })
}

/// The longest text that is looked for, in characters: longer than any key or name that is stored.
const MAX_TEXT: usize = 500;

/// The most values of a list of a filter: several of these lists fit into one statement.
const MAX_LIST: usize = 5000;

/// Refuses a list of a filter that is too long.
pub fn check_list<T>(list: Option<&Vec<T>>) -> Result<()> {
    match list.map_or(0, Vec::len) {
        0..=MAX_LIST => Ok(()),
        length => {
            let message = format!("a list of a filter has at most {MAX_LIST} values, not {length}");
            Err(Failure::bad_input("filter", message))
        }
    }
}

/// Refuses a text that cannot be looked for in every database.
pub fn check_text(argument: &'static str, text: &str) -> Result<()> {
    if text.chars().count() > MAX_TEXT {
        let message = format!("a text to look for has at most {MAX_TEXT} characters");
        return Err(Failure::bad_input(argument, message));
    }
    if text.contains('\0') {
        return Err(Failure::bad_input(argument, "a text to look for holds no NUL character"));
    }
    Ok(())
}
