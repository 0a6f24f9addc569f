//! Redacts the texts of errors and panics. These texts can contain values: PostgreSQL and MySQL quote
//! invalid input, serde quotes unexpected values, and a failed string slice quotes the whole text.

use std::any::Any;
use std::fmt::Display;

use crate::domain::table::{ID, LogTable};

/// Quoted words that are not values, in addition to the gateway's tables and columns: columns of Callscope's
/// own tables and parts of SQL statements. A test compares them with the columns of a migrated database.
const NAMES: [&str; 76] = [
    "name",
    "value",
    "source",
    "rows_done",
    "shift_micros",
    "finished",
    "missing",
    "digest",
    "error_id",
    "logged_at",
    "class",
    "template",
    "rules",
    "day",
    "id_sum",
    "cells",
    "cell",
    "next_id",
    "scopes",
    "created_at",
    "expires_at",
    "revoked_at",
    "at",
    "caller",
    "address",
    "action",
    "subject",
    "deletion_id",
    "outcome",
    "deleted_calls",
    "deleted_error_logs",
    "ended_at",
    "content",
    "call_ids",
    "error_ids",
    "version",
    "applied_at",
    "epoch",
    "phase",
    "watermark",
    "watermark_time",
    "rebuilt_until",
    "folded",
    "minute_cells",
    "hour_cells",
    "key_hour_cells",
    "key_day_cells",
    "day_cells",
    "days_since",
    "days_version",
    "minutes_since",
    "oldest",
    "newest",
    "kept_since",
    "first_id",
    "last_id",
    "expires",
    "step",
    "first_time",
    "last_time",
    "level",
    "start",
    "series",
    "total",
    "success",
    "latency_count",
    "latency_sum",
    "latency_min",
    "latency_max",
    "latencies",
    "field list",
    "where clause",
    "group statement",
    "order clause",
    "SELECT",
    "UTF8",
];

/// The prefix of the names of Callscope's own tables and indexes.
const OWN_PREFIX: &str = "callscope_";

/// Whether a quoted text is a database name, not a value. It may have a schema prefix:
/// `gateway.t_request_log`.
fn is_name(quoted: &str) -> bool {
    let name = quoted.rsplit('.').next().unwrap_or(quoted);
    let own = name
        .strip_prefix(OWN_PREFIX)
        .is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'));
    let of_gateway = |table: LogTable| {
        name == table.name() || table.columns().iter().any(|column| column.name == name)
    };
    own || name == ID || NAMES.contains(&name) || LogTable::ALL.into_iter().any(of_gateway)
}

/// The text of an error without quoted values; quoted names stay.
pub fn without_values(error: &impl Display) -> String {
    let text = error.to_string();
    let quotes = quotes(&text);
    let (Some(first), Some(last)) = (quotes.first().copied(), quotes.last().copied()) else {
        return text;
    };
    let mut quoted = quotes.chunks(2).map(|pair| match *pair {
        [from, to] => &text[from + 1..to],
        _ => "",
    });
    if quoted.all(is_name) {
        return text;
    }
    // A value may contain quotes, so that only the outermost quotes are reliable.
    format!("{}…{}", &text[..=first], &text[last..])
}

/// The positions of quotes. An apostrophe within a word does not count.
fn quotes(text: &str) -> Vec<usize> {
    let bytes = text.as_bytes();
    let is_letter =
        |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphabetic);
    let within_word = |at: usize| is_letter(at.checked_sub(1)) && is_letter(Some(at + 1));
    let is_quote = |(at, byte): (usize, &u8)| match byte {
        b'"' => Some(at),
        b'\'' if !within_word(at) => Some(at),
        _ => None,
    };
    bytes.iter().enumerate().filter_map(is_quote).collect()
}

/// The text of a panic if it is a constant; a formatted text may contain data.
pub fn panic_text(payload: &(dyn Any + Send)) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(text omitted: it may contain data)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_redacted_and_names_stay() {
        for (text, redacted) in [
            ("no such column: error_log", "no such column: error_log"),
            (
                "relation \"t_request_log\" does not exist",
                "relation \"t_request_log\" does not exist",
            ),
            (
                "Table 'gateway.t_request_log' doesn't exist",
                "Table 'gateway.t_request_log' doesn't exist",
            ),
            (
                "Unknown column 'error_log' in 'field list'",
                "Unknown column 'error_log' in 'field list'",
            ),
            (
                "invalid input syntax for type integer: \"AIza\"",
                "invalid input syntax for type integer: \"…\"",
            ),
            (
                "invalid type: string \"a\\\"b\", expected i64",
                "invalid type: string \"…\", expected i64",
            ),
            (
                "Incorrect DATETIME value: 'it's' for column",
                "Incorrect DATETIME value: '…' for column",
            ),
            ("one quote \" alone", "one quote \"…\" alone"),
            ("Duplicate entry 'AIza-id' for key 'name'", "Duplicate entry '…'"),
            ("Table 'g.callscope_audit' doesn't exist", "Table 'g.callscope_audit' doesn't exist"),
            ("near \"callscope_AIza\"", "near \"…\""),
        ] {
            assert_eq!(without_values(&text), redacted);
        }
    }

    #[test]
    fn only_constant_panic_texts_are_logged() {
        let text =
            |panic: fn()| panic_text(&*std::panic::catch_unwind(panic).unwrap_err()).to_owned();
        assert_eq!(text(|| panic!("of the code")), "of the code");
        let key = || panic!("{}", std::hint::black_box("AIzaSecret"));
        assert!(!text(key).contains("AIza"));
    }
}
