//! Finds the message within a body: JSON, Python's representation of an object, or a page.

use super::{MAX_NESTING, Part};

/// Members with a message for humans, the best first.
const TEXTS: &str =
    "message detail error_message errormessage error_description msg errmsg error errors err";

/// Members that are read where nothing else is: they also explain a message in front of the body.
const OTHERS: &str = "details description reason blockreason block_reason title code error_code status type \
    error_type finishreason";

/// The message within a text, still with its escapes: a member of a JSON object or of Python's representation of
/// one, also within a string of another, or the title of a page; else all of the text. For objects without a
/// message the names of their members.
pub(super) fn find_message(text: Part<'_>) -> (Part<'_>, Option<String>) {
    let mut found = text;
    for _ in 0..MAX_NESTING {
        let body = Body::read(found);
        let page = title(found).filter(|page| body.as_ref().is_none_or(|body| page.at < body.at));
        let inner = match (page, body) {
            (Some(page), _) => page.part,
            (None, Some(Body { best: Some((_, inner)), .. })) => inner,
            (None, Some(body)) if body.bare => return (found, Some(body.names.join(" "))),
            (None, _) => break,
        };
        found = inner;
    }
    (found, None)
}

struct Page<'a> {
    at: usize,
    part: Part<'a>,
}

/// The title of an HTML page, else its heading.
fn title(text: Part<'_>) -> Option<Page<'_>> {
    let at = text.text.find('<')?;
    let lower = text.text.to_ascii_lowercase();
    let tag = lower.find("<title").or_else(|| {
        (lower.contains("<html") || lower.trim_start().starts_with('<')).then_some(())?;
        lower.find("<h1")
    })?;
    let start = tag + lower[tag..].find('>')? + 1;
    let end = lower[start..].find('<').map(|end| start + end);
    let part = Part { text: &text.text[start..end.unwrap_or(lower.len())], cut: end.is_none() };
    (!part.text.trim().is_empty()).then_some(Page { at, part })
}

/// What is read of a body: an object of JSON or Python, complete or not, at any level of escapes.
struct Body<'a> {
    at: usize,
    /// No words are in front of it.
    bare: bool,
    /// The message, with its place in the order of preference.
    best: Option<((usize, usize, usize), Part<'a>)>,
    names: Vec<&'a str>,
}

impl<'a> Body<'a> {
    fn read(text: Part<'a>) -> Option<Self> {
        let bytes = text.text.as_bytes();
        let mut at = text.text.find('{')?;
        let bare = !text.text[..at].contains(char::is_alphabetic);
        let mut body = Self { at, bare, best: None, names: Vec::new() };
        let mut depth = 0_usize;
        let mut name = None;
        let mut escapes = 0;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'{' => (depth, name) = (depth + 1, None),
                b'[' => depth += 1,
                b'}' | b']' => (depth, name) = (depth.saturating_sub(1), None),
                b',' => name = None,
                b'"' | b'\'' if byte == b'"' || !bytes[at - 1].is_ascii_alphanumeric() => {
                    let string = string(text, at, escapes);
                    at = string.end;
                    escapes = 0;
                    let next = after_spaces(&text.text[at..]);
                    if name.is_none() && next.starts_with(':') {
                        name = Some(string.part.text);
                        if depth <= 2 {
                            body.names.push(string.part.text);
                        }
                    } else if let Some(name) = name.take() {
                        body.member(name, depth, string.part);
                    }
                    continue;
                }
                _ => {}
            }
            escapes = if byte == b'\\' { escapes + 1 } else { 0 };
            at += 1;
        }
        body.names.sort_unstable();
        body.names.dedup();
        (body.best.is_some() || !body.names.is_empty()).then_some(body)
    }

    fn member(&mut self, name: &str, depth: usize, value: Part<'a>) {
        let place = |names: &str| names.split(' ').position(|one| name.eq_ignore_ascii_case(one));
        let text = value.text.trim();
        if text.is_empty() || text == "None" || text == "null" {
            return;
        }
        let sentence = text.contains(' ') || !text.is_ascii();
        let order = match (place(TEXTS), place(OTHERS)) {
            (Some(place), _) => (usize::from(!sentence), depth, place),
            (None, Some(place)) if self.bare => (2, place, depth),
            _ => return,
        };
        if self.best.as_ref().is_none_or(|(best, _)| order < *best) {
            self.best = Some((order, value));
        }
    }
}

struct Quoted<'a> {
    part: Part<'a>,
    end: usize,
}

/// The string that starts with the quote at `open`, after `escapes` backslashes: a string within strings. The
/// closing quote has as many, after any escaped backslashes.
fn string(text: Part<'_>, open: usize, escapes: usize) -> Quoted<'_> {
    let bytes = text.text.as_bytes();
    let mut run = 0;
    for at in open + 1..bytes.len() {
        if bytes[at] == b'\\' {
            run += 1;
            continue;
        }
        // With fewer backslashes it closes a string around this one, which is cut.
        let closes = run <= escapes || run % (2 * (escapes + 1)) == escapes;
        if bytes[at] == bytes[open] && closes && is_end_of_string(&text.text[at + 1..]) {
            let part =
                Part { text: &text.text[open + 1..at - run.min(escapes)], cut: run < escapes };
            return Quoted { part, end: at + 1 };
        }
        run = 0;
    }
    Quoted { part: Part { text: &text.text[open + 1..], cut: true }, end: bytes.len() }
}

/// Quotes within a string have no escapes where a gateway wrote them as they are.
fn is_end_of_string(rest: &str) -> bool {
    let rest = after_spaces(rest);
    rest.is_empty() || rest.starts_with([',', ':', '}', ']', ')', ';', '"', '\'', '\\'])
}

fn after_spaces(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        let escaped = text.trim_start_matches('\\');
        match escaped.strip_prefix(['n', 'r', 't']) {
            Some(rest) if escaped.len() < text.len() => text = rest,
            _ => return text,
        }
    }
}
