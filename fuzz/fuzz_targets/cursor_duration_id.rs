//! Texts that clients send back: every accepted text has one form, which parses to the same value.

#![no_main]

use callscope::domain::{duration, mask};
use callscope::graphql::cursor::{Cursor, KeyCursor};
use callscope::graphql::id::{NodeId, call_id, error_log_id};
use callscope::store::StoredTime;
use callscope::store::call::CallCursor;
use callscope::store::error_list::ErrorCursor;
use libfuzzer_sys::fuzz_target;

fn round<C: Cursor + PartialEq + std::fmt::Debug>(text: &str) {
    // The text as a client sends it, and decoded, which a fuzzer finds sooner.
    if let Some(cursor) = C::decode(text) {
        assert_eq!(cursor.encode(), text);
    }
    if let Some(cursor) = C::from_text(text) {
        if let Some(again) = C::decode(&cursor.encode()) {
            assert_eq!(again, cursor);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    round::<CallCursor>(text);
    round::<ErrorCursor>(text);
    round::<KeyCursor>(text);
    if let Ok(span) = duration::parse(text) {
        assert!(span > chrono::TimeDelta::zero());
        assert_eq!(duration::parse(&duration::format(span)), Ok(span), "{text}");
    }
    match NodeId::parse(text) {
        Some(NodeId::Call(id)) => assert_eq!(call_id(id).0, text),
        Some(NodeId::ErrorLog(id)) => assert_eq!(error_log_id(id).0, text),
        Some(NodeId::ApiKey(id)) => assert_eq!(id, text),
        Some(NodeId::Diagnosis(name)) => assert_eq!(name.id().0, text),
        None => {}
    }
    StoredTime::from_text(text);
    // At most half of a key is shown, with the dots.
    let shown = mask::mask(text).chars().count() - 3;
    assert!(shown <= 8 && shown * 2 <= text.chars().count(), "{text}");
});
