//! How deep the brackets of a document nest. The parser is recursive: a few kilobytes of nested
//! literals would overflow its stack and end the process, so they are counted before it runs.

/// Far more than any query of ours needs, far less than the parser's stack takes.
const MAX_NESTING: usize = 100;

/// Whether the brackets of a document nest deeper than can be parsed safely.
pub fn is_too_deep(document: &str) -> bool {
    let mut depth = 0usize;
    let mut rest = document.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = match first {
            b'#' => after_line(tail),
            b'"' => after_string(rest),
            b'{' | b'[' | b'(' => {
                depth += 1;
                if depth > MAX_NESTING {
                    return true;
                }
                tail
            }
            b'}' | b']' | b')' => {
                depth = depth.saturating_sub(1);
                tail
            }
            _ => tail,
        };
    }
    false
}

fn after_line(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    end.map_or(&[], |end| &text[end..])
}

/// What follows a string, of which `text` begins with the quote.
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
        // An escape takes its character with it; a line ends a string that nothing closed.
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

    #[test]
    fn only_brackets_of_the_document_itself_count() {
        let nested = |open: &str, close: &str, times| {
            format!("{{ a(x: {}1{}) }}", open.repeat(times), close.repeat(times))
        };
        assert!(!is_too_deep(&nested("[", "]", 98)));
        assert!(is_too_deep(&nested("[", "]", 99)));
        assert!(is_too_deep(&nested("{x:", "}", 5000)));
        assert!(!is_too_deep(&format!("{{ a(x: \"\\\"{}\") }}", "[".repeat(500))));
        assert!(!is_too_deep(&format!("{{ a(x: \"\"\" \"{}\"\"\") }}", "[".repeat(500))));
        assert!(!is_too_deep(&format!("# {}\n{{ a }}", "[".repeat(500))));
        assert!(is_too_deep(&format!("\"\" {}", "[".repeat(500))));
        assert!(!is_too_deep(&"[]".repeat(5000)));
    }
}
