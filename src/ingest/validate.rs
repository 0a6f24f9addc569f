//! Validation of records: each of the three databases must be able to store them unchanged. A reason
//! names the field and never its value, which may be a key.

use chrono::{DateTime, Datelike, Utc};

use crate::domain::record::{CallRecord, ErrorRecord};
use crate::error::{Error, Result};
use crate::store::dialect::Dialect;
use crate::store::write::Batch;

const KEY_CHARACTERS: usize = 100;
const MODEL_CHARACTERS: usize = 100;
const ERROR_TYPE_CHARACTERS: usize = 50;
/// MySQL's TEXT.
const MYSQL_TEXT_BYTES: usize = 65_535;
/// Every JSON reader accepts this depth; MariaDB's column checks accept less.
const JSON_DEPTH: usize = 100;
const MYSQL_JSON_DEPTH: usize = 30;
/// The years of MySQL's DATETIME, less a margin for time zones.
const YEARS: std::ops::RangeInclusive<i32> = 1001..=9998;

/// Rejects a batch with an invalid record; the error has its index and the reason.
pub fn batch(batch: &Batch, dialect: Dialect) -> Result<()> {
    for (index, record) in batch.calls.iter().enumerate() {
        call(record)
            .map_err(|reason| Error::bad_input("calls", format!("calls[{index}]: {reason}")))?;
    }
    for (index, record) in batch.errors.iter().enumerate() {
        error(record, dialect)
            .map_err(|reason| Error::bad_input("errors", format!("errors[{index}]: {reason}")))?;
    }
    Ok(())
}

/// Checks a call; an error says why it cannot be stored.
pub fn call(call: &CallRecord) -> Result<(), String> {
    time("timestamp", call.timestamp)?;
    text("key", call.key.as_deref(), KEY_CHARACTERS)?;
    text("model", call.model.as_deref(), MODEL_CHARACTERS)
}

/// Checks an error log for a database of this kind.
pub fn error(error: &ErrorRecord, dialect: Dialect) -> Result<(), String> {
    time("timestamp", error.timestamp)?;
    text("key", error.key.as_deref(), KEY_CHARACTERS)?;
    text("model", error.model.as_deref(), MODEL_CHARACTERS)?;
    text("error_type", error.error_type.as_deref(), ERROR_TYPE_CHARACTERS)?;
    error.request.as_deref().map_or(Ok(()), |text| request(text, dialect))?;
    let message = error.message.as_deref();
    text("message", message, usize::MAX)?;
    match message {
        Some(message) if dialect == Dialect::MySql && message.len() > MYSQL_TEXT_BYTES => {
            Err(format!("message has {} bytes, MySQL keeps {MYSQL_TEXT_BYTES}", message.len()))
        }
        _ => Ok(()),
    }
}

fn request(text: &str, dialect: Dialect) -> Result<(), String> {
    if text.contains('\0') {
        return Err("request contains a NUL character, which PostgreSQL cannot store".into());
    }
    let deepest = if dialect == Dialect::MySql { MYSQL_JSON_DEPTH } else { JSON_DEPTH };
    if depth(text) > deepest {
        return Err(format!("request nests deeper than {deepest} levels"));
    }
    Ok(())
}

/// The maximum depth of brackets outside of strings.
fn depth(json: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                open += 1;
                most = most.max(open);
            }
            b']' | b'}' if !in_text => open = open.saturating_sub(1),
            _ => {}
        }
    }
    most
}

fn time(field: &str, at: DateTime<Utc>) -> Result<(), String> {
    if YEARS.contains(&at.year()) {
        return Ok(());
    }
    Err(format!(
        "{field} is in the year {}, out of {} to {}",
        at.year(),
        YEARS.start(),
        YEARS.end()
    ))
}

fn text(field: &str, value: Option<&str>, most: usize) -> Result<(), String> {
    let Some(value) = value else { return Ok(()) };
    if value.contains('\0') {
        return Err(format!("{field} contains a NUL character, which PostgreSQL cannot store"));
    }
    // The byte length is known, and never less than the number of characters.
    if value.len() > most {
        let characters = value.chars().count();
        if characters > most {
            return Err(format!("{field} has {characters} characters, at most {most} are stored"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> ErrorRecord {
        ErrorRecord {
            timestamp: DateTime::UNIX_EPOCH,
            key: None,
            model: None,
            error_type: None,
            error_code: None,
            message: None,
            request: None,
        }
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        let fits = ErrorRecord { error_type: Some("é".repeat(50)), ..sample() };
        assert_eq!(error(&fits, Dialect::Sqlite), Ok(()));
        let long = ErrorRecord { error_type: Some("é".repeat(51)), ..sample() };
        let reason = error(&long, Dialect::Sqlite).unwrap_err();
        assert_eq!(reason, "error_type has 51 characters, at most 50 are stored");
    }

    #[test]
    fn a_nul_character_is_rejected_and_the_key_not_shown() {
        let record = ErrorRecord { key: Some("secret\0".into()), ..sample() };
        let reason = error(&record, Dialect::Sqlite).unwrap_err();
        assert!(reason.starts_with("key contains a NUL"), "{reason}");
        assert!(!reason.contains("secret"));
    }

    #[test]
    fn mysql_keeps_64_kb_of_text() {
        let record = ErrorRecord { message: Some("x".repeat(65_536)), ..sample() };
        assert_eq!(error(&record, Dialect::Postgres), Ok(()));
        assert!(error(&record, Dialect::MySql).unwrap_err().contains("65535"));
    }

    #[test]
    fn a_request_that_nests_too_deep_is_rejected() {
        let nested = |levels| {
            let request = "[".repeat(levels) + &"]".repeat(levels);
            ErrorRecord { request: Some(request), ..sample() }
        };
        assert_eq!(error(&nested(30), Dialect::MySql), Ok(()));
        assert!(error(&nested(31), Dialect::MySql).unwrap_err().contains("30 levels"));
        assert_eq!(error(&nested(100), Dialect::Sqlite), Ok(()));
        assert!(error(&nested(101), Dialect::Postgres).is_err());
    }

    #[test]
    fn depth_ignores_brackets_in_strings() {
        for (text, expected) in
            [("5", 0), ("[{\"a\": [1]}, 2]", 3), ("\"[[[\\\"[[\"", 0), ("]]{", 1)]
        {
            assert_eq!(depth(text), expected, "{text}");
        }
        assert!(request(&"[".repeat(31), Dialect::MySql).unwrap_err().contains("30 levels"));
        assert_eq!(request(&"[".repeat(100), Dialect::Sqlite), Ok(()));
        assert!(request("a\0", Dialect::Sqlite).unwrap_err().contains("NUL"));
    }

    #[test]
    fn a_year_outside_mysqls_range_is_rejected() {
        let record = ErrorRecord { timestamp: DateTime::<Utc>::MIN_UTC, ..sample() };
        assert!(error(&record, Dialect::Sqlite).is_err());
    }
}
