//! Splits a stream into lines. A line that arrives in one part is not copied.

const BOM: &[u8] = b"\xef\xbb\xbf";

/// The lines of one stream.
pub struct Lines {
    limit: usize,
    /// The start of an incomplete line.
    held: Vec<u8>,
    is_too_long: bool,
    /// Whether `held` was returned as a line.
    is_returned: bool,
    number: u64,
}

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Counted from 1.
    pub number: u64,
    /// `None`: longer than the limit.
    pub text: Option<&'a [u8]>,
}

impl Lines {
    pub fn new(limit: usize) -> Self {
        Self { limit, held: Vec::new(), is_too_long: false, is_returned: false, number: 0 }
    }

    /// Removes the next complete line from `part`. Copies an incomplete rest, to continue with the next
    /// part.
    pub fn next<'a, 'b: 'a>(&'a mut self, part: &mut &'b [u8]) -> Option<Line<'a>> {
        self.clear_returned();
        let bytes: &'b [u8] = part;
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.hold(bytes);
            *part = &[];
            return None;
        };
        *part = &bytes[end + 1..];
        if self.held.is_empty() && !self.is_too_long {
            let text = Some(&bytes[..end]).filter(|text| text.len() <= self.limit);
            self.number += 1;
            let number = self.number;
            return Some(Line { number, text: text.map(|text| trim(text, number)) });
        }
        self.hold(&bytes[..end]);
        Some(self.take())
    }

    /// The last line, if the stream does not end with a line end.
    pub fn last(&mut self) -> Option<Line<'_>> {
        self.clear_returned();
        (!self.held.is_empty() || self.is_too_long).then(|| self.take())
    }

    fn hold(&mut self, bytes: &[u8]) {
        if self.is_too_long || self.held.len() + bytes.len() > self.limit {
            self.is_too_long = true;
            // Frees the memory: such long lines are rare.
            self.held = Vec::new();
        } else {
            self.held.extend_from_slice(bytes);
        }
    }

    fn take(&mut self) -> Line<'_> {
        self.is_returned = true;
        self.number += 1;
        let number = self.number;
        let text = (!self.is_too_long).then(|| trim(&self.held, number));
        Line { number, text }
    }

    fn clear_returned(&mut self) {
        if self.is_returned {
            self.held.clear();
            (self.is_returned, self.is_too_long) = (false, false);
        }
    }
}

/// Removes surrounding white space, and a byte order mark before the first line.
fn trim(line: &[u8], number: u64) -> &[u8] {
    let line = if number == 1 { line.strip_prefix(BOM).unwrap_or(line) } else { line };
    line.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(parts: &[&[u8]], limit: usize) -> Vec<(u64, Option<String>)> {
        let mut lines = Lines::new(limit);
        let mut found = vec![];
        let own = |line: Line<'_>| {
            (line.number, line.text.map(|text| String::from_utf8_lossy(text).into_owned()))
        };
        for part in parts {
            let mut part = *part;
            while let Some(line) = lines.next(&mut part) {
                found.push(own(line));
            }
        }
        found.extend(lines.last().map(own));
        found
    }

    #[test]
    fn lines_do_not_depend_on_the_parts() {
        let text = b"\xef\xbb\xbfone\r\n\ntoo long to keep\n four\nfive";
        let line = |number, text: &str| (number, Some(text.to_owned()));
        let expected =
            vec![line(1, "one"), line(2, ""), (3, None), line(4, "four"), line(5, "five")];
        for size in 1..=text.len() {
            let parts: Vec<&[u8]> = text.chunks(size).collect();
            assert_eq!(cut(&parts, 10), expected, "{size}");
        }
    }

    #[test]
    fn a_final_line_end_adds_no_line() {
        assert_eq!(cut(&[b"a\n"], 10), [(1, Some("a".into()))]);
        assert_eq!(cut(&[], 10), []);
        assert_eq!(cut(&[b"0123456789x"], 10), [(1, None)]);
    }
}
