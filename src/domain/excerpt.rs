//! The part of a client's text that an error repeats. The text may be as long as a request.

use std::borrow::Cow;

/// Enough characters to recognize the text.
const MAX: usize = 100;

/// A text, or the first characters of a long one.
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
