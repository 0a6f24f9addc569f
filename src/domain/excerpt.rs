//! What an error repeats of a text that a client sent, which may be as long as a request.

use std::borrow::Cow;

/// Characters that are enough to find the text again.
const MAX: usize = 100;

/// A text, or the beginning of a long one.
pub fn excerpt(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(excerpt("täxt"), "täxt");
        assert_eq!(excerpt(&"ä".repeat(100)), "ä".repeat(100));
        assert_eq!(excerpt(&"ä".repeat(101)), format!("{}…", "ä".repeat(100)));
    }
}
