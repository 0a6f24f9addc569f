//! Opaque cursors: the position of a row in a list, as base64 of a short text. A cursor of another list
//! or order is rejected.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Datelike};

use crate::store::StoredTime;
use crate::store::call::{CallCursor, CallRank};
use crate::store::error_list::ErrorCursor;

/// A position in a list that clients send back.
pub trait Cursor: Sized {
    /// Distinguishes the kinds of lists.
    const KIND: &'static str;

    fn to_text(&self) -> String;
    fn from_text(text: &str) -> Option<Self>;

    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}:{}", Self::KIND, self.to_text()))
    }

    fn decode(cursor: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let position = Self::from_text(text.strip_prefix(Self::KIND)?.strip_prefix(':')?)?;
        // Only the canonical text of a position is valid.
        (position.encode() == cursor).then_some(position)
    }
}

impl Cursor for CallCursor {
    const KIND: &'static str = "call";

    fn to_text(&self) -> String {
        match &self.rank {
            CallRank::Time(stored) => format!("{}:{}", self.id, time_text(stored)),
            CallRank::Latency(latency) => format!("{}:l{latency}", self.id),
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        let (id, rank) = text.split_once(':')?;
        let rank = match rank.strip_prefix('l') {
            Some(latency) => CallRank::Latency(latency.parse().ok()?),
            None => CallRank::Time(parse_time(rank)?),
        };
        Some(Self { rank, id: id.parse().ok()? })
    }
}

impl Cursor for ErrorCursor {
    const KIND: &'static str = "error";

    fn to_text(&self) -> String {
        format!("{}:{}", self.id, time_text(&self.stored))
    }

    fn from_text(text: &str) -> Option<Self> {
        let (id, stored) = text.split_once(':')?;
        Some(Self { stored: parse_time(stored)?, id: id.parse().ok()? })
    }
}

/// The id of an API key, which reveals nothing about the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCursor(pub String);

impl Cursor for KeyCursor {
    const KIND: &'static str = "key";

    fn to_text(&self) -> String {
        self.0.clone()
    }

    fn from_text(text: &str) -> Option<Self> {
        crate::domain::key_id::is_key_id(text).then(|| Self(text.to_owned()))
    }
}

/// Microseconds, or the text stored in SQLite if it has another format.
fn time_text(stored: &StoredTime) -> String {
    match &stored.text {
        Some(text) => format!("r{text}"),
        None => format!("t{}", stored.at.and_utc().timestamp_micros()),
    }
}

fn parse_time(text: &str) -> Option<StoredTime> {
    let stored = match text.strip_prefix('r') {
        Some(raw) => StoredTime::from_text(raw),
        None => {
            let micros = text.strip_prefix('t')?.parse().ok()?;
            StoredTime::new(DateTime::from_timestamp_micros(micros)?.naive_utc())
        }
    };
    // No list contains other times, and some databases reject them.
    (1..=9999).contains(&stored.at.year()).then_some(stored)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_survives_encoding_and_decoding(
            micros in -60_000_000_000_000_000i64..250_000_000_000_000_000,
            id in any::<i64>(),
            latency in any::<i64>(),
        ) {
            let stored = StoredTime::new(DateTime::from_timestamp_micros(micros).unwrap().naive_utc());
            let error = ErrorCursor { stored: stored.clone(), id };
            prop_assert_eq!(ErrorCursor::decode(&error.encode()), Some(error));
            for rank in [CallRank::Time(stored), CallRank::Latency(latency)] {
                let call = CallCursor { rank, id };
                prop_assert_eq!(CallCursor::decode(&call.encode()), Some(call));
            }
        }

        #[test]
        fn any_text_is_decoded_without_a_panic(text in ".*") {
            let _ = CallCursor::decode(&text);
            let _ = ErrorCursor::from_text(&text);
            let _ = KeyCursor::decode(&text);
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_rejected() {
        let call = CallCursor { rank: CallRank::Latency(5), id: 1 }.encode();
        assert_eq!(ErrorCursor::decode(&call), None);
        assert_eq!(CallCursor::decode("call:1:l5"), None);
        assert_eq!(CallCursor::decode(&format!("{call}A")), None);
        assert_eq!(CallCursor::decode(&URL_SAFE_NO_PAD.encode("call:+1:l5")), None);
    }
}
