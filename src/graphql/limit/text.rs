//! Checks the text of a document before it is parsed: its length, its tokens and the nesting of its
//! brackets. The parser is recursive: a few kilobytes of nested literals would overflow its stack and
//! abort the process.

use async_graphql::ServerError;

use super::refusal::{DOCUMENT_TOO_LARGE, NAME_TOO_LONG, NESTING_TOO_DEEP, TOO_MANY_TOKENS};
use crate::config::GraphqlConfig;

/// The longest name, in bytes. Errors repeat names, up to thousands of times.
const MAX_NAME: usize = 200;

/// Rejects a text that is too expensive to parse or validate.
pub fn check(document: &str, config: &GraphqlConfig) -> Result<(), ServerError> {
    DOCUMENT_TOO_LARGE.check(config.max_document_bytes, document.len())?;
    let found = scan(document.as_bytes(), config.max_nesting as usize);
    NESTING_TOO_DEEP.check(config.max_nesting, found.nesting)?;
    TOO_MANY_TOKENS.check(config.max_tokens, found.tokens)?;
    NAME_TOO_LONG.check(MAX_NAME, found.longest_name)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    tokens: usize,
    nesting: usize,
    longest_name: usize,
}

/// Reads the tokens; stops at the first bracket that exceeds `max_nesting`.
fn scan(text: &[u8], max_nesting: usize) -> Found {
    let (mut found, mut depth) = (Found::default(), 0usize);
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        found.tokens += 1;
        rest = match first {
            b' ' | b'\t' | b'\n' | b'\r' | b',' => {
                found.tokens -= 1;
                tail
            }
            b'#' => {
                found.tokens -= 1;
                after_line(tail)
            }
            b'"' => after_string(rest),
            b'{' | b'[' | b'(' => {
                depth += 1;
                found.nesting = found.nesting.max(depth);
                if depth > max_nesting {
                    return found;
                }
                tail
            }
            b'}' | b']' | b')' => {
                depth = depth.saturating_sub(1);
                tail
            }
            b'.' => rest.strip_prefix(b"...").unwrap_or(tail),
            first if is_name(*first) => {
                let (name, after) = rest.split_at(word_length(rest));
                found.longest_name = found.longest_name.max(name.len());
                after
            }
            _ => tail,
        };
    }
    found
}

/// Whether a byte is part of a name or a number: a letter, a digit or `_`.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The length of the name or number at the start of `text`.
fn word_length(text: &[u8]) -> usize {
    // A dot belongs to a number only: after a name it starts a spread.
    let number = text.first().is_some_and(u8::is_ascii_digit);
    let end = text.iter().enumerate().position(|(place, byte)| {
        let fraction = || *byte == b'.' && text.get(place + 1).is_some_and(u8::is_ascii_digit);
        !(is_name(*byte) || number && fraction())
    });
    end.unwrap_or(text.len())
}

fn after_line(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    end.map_or(&[], |end| &text[end..])
}

/// The text after the string literal at the start of `text`.
fn after_string(text: &[u8]) -> &[u8] {
    let (quote, mut rest): (&[u8], _) = match text {
        [b'"', b'"', b'"', rest @ ..] => (b"\"\"\"", rest),
        [_, rest @ ..] => (b"\"", rest),
        [] => return text,
    };
    while let [first, tail @ ..] = rest {
        if let Some(after) = rest.strip_prefix(quote) {
            return after;
        }
        // An escape includes its character; a line break ends an unclosed string.
        rest = match (first, quote.len()) {
            (b'\\', _) => tail.get(1..).unwrap_or_default(),
            (b'\n' | b'\r', 1) => return tail,
            _ => tail,
        };
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nesting(document: &str) -> usize {
        scan(document.as_bytes(), 100).nesting
    }

    fn tokens(document: &str) -> usize {
        scan(document.as_bytes(), 100).tokens
    }

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        let nested = |open: &str, close: &str, times| {
            format!("{{ a(x: {}1{}) }}", open.repeat(times), close.repeat(times))
        };
        assert_eq!(nesting(&nested("[", "]", 98)), 100);
        assert_eq!(nesting(&nested("[", "]", 99)), 101);
        assert_eq!(nesting(&nested("{x:", "}", 5000)), 101, "it stops at the limit");
        assert_eq!(nesting(&format!("{{ a(x: \"\\\"{}\") }}", "[".repeat(500))), 2);
        assert_eq!(nesting(&format!("{{ a(x: \"\"\" \"{}\"\"\") }}", "[".repeat(500))), 2);
        assert_eq!(nesting(&format!("# {}\n{{ a }}", "[".repeat(500))), 1);
        assert_eq!(nesting(&format!("\"\" {}", "[".repeat(500))), 101);
        assert_eq!(nesting(&"[]".repeat(5000)), 1);
    }

    #[test]
    fn tokens_are_counted_as_in_the_specification() {
        assert_eq!(tokens("query Q($a: [Int!]! = 1) { a(x: $a) @b ... on C { d } }"), 31);
        assert_eq!(tokens("{a,,,,b # c d e\n c}"), 5);
        assert_eq!(tokens("1.5e3 \"a \\\" b\" \"\"\"c \" d\"\"\" ...A"), 5);
        assert_eq!(tokens("a...b...c"), 5);
        assert_eq!(tokens(""), 0);
        assert_eq!(scan(b"{ ab: abcde(x: \"abcdefgh\") }", 9).longest_name, 5);
    }
}
