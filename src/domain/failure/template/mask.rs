//! Replaces what varies in a message by masks.

use super::words::*;
use super::{MASK, MAX_CHARS, MAX_ITEM};
use crate::domain::failure::text::normalize;

/// The text without escapes and without characters that are invisible or change the direction of others, with
/// single spaces.
pub(super) fn clean(text: &str) -> String {
    let text = normalize(text, "");
    let mut plain = String::with_capacity(text.len());
    for character in text.trim().chars() {
        if character.is_whitespace() {
            if !plain.ends_with(' ') {
                plain.push(' ');
            }
        } else if !invisible(character) {
            plain.push(character);
        }
    }
    plain
}

pub(super) fn invisible(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

/// Where hyphens are: in names of models and projects, or between the words of an error type.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Hyphens {
    InNames,
    BetweenWords,
}

/// The text with masks. The last word is masked where the end is missing: it may be the start of a secret.
pub(super) fn mask(text: &str, cut: bool, key: &str, hyphens: Hyphens) -> String {
    let text = if key.len() < MIN_FRAGMENT { text.to_owned() } else { without_key(text, key) };
    let mut masker = Masker { text: &text, cut, key, hyphens, pieces: Vec::new(), end: 0 };
    masker.read();
    masker.finish()
}

/// The text with two stars, which are masked, for each occurrence of the key.
fn without_key(text: &str, key: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut rest = String::with_capacity(text.len());
    let mut copied = 0;
    for (at, found) in lower.match_indices(&key.to_ascii_lowercase()) {
        rest.push_str(&text[copied..at]);
        rest.push_str("**");
        copied = at + found.len();
    }
    rest.push_str(&text[copied..]);
    rest
}

/// Shorter parts of the key are words by chance.
pub(super) const MIN_FRAGMENT: usize = 4;

/// A word or a mask, with what is between it and the one before.
struct Piece<'a> {
    gap: &'a str,
    text: &'a str,
    /// Characters up to here.
    length: usize,
}

impl Piece<'_> {
    fn is_mask(&self) -> bool {
        self.text == MASK
    }
}

struct Masker<'a> {
    text: &'a str,
    cut: bool,
    key: &'a str,
    hyphens: Hyphens,
    pieces: Vec<Piece<'a>>,
    /// Where the last piece ends in the text.
    end: usize,
}

impl<'a> Masker<'a> {
    fn read(&mut self) {
        let text = self.text;
        let mut at = 0;
        // Twice as much as is shown, so that a repeated sentence is found.
        while self.pieces.last().is_none_or(|piece| piece.length < 2 * MAX_CHARS) {
            let Some(first) = text[at..].chars().next() else { break };
            let before = text[..at].chars().next_back();
            let rest = &text[at..];
            let end = if let Some(length) = enclosed(rest, before) {
                self.mask(at, at + length);
                at + length
            } else if is_wide(first) {
                self.wide(at)
            } else if first == ' ' || is_separator(first) {
                at + first.len_utf8()
            } else {
                self.run(at, before)
            };
            at = end;
        }
    }

    /// Chinese, Japanese or Korean text, which has no spaces.
    fn wide(&mut self, start: usize) -> usize {
        let rest = &self.text[start..];
        let is_mark = |c: char| !c.is_alphanumeric();
        let first = rest.chars().next().map_or(1, char::len_utf8);
        if rest.starts_with(is_mark) {
            return start + first;
        }
        if self.pieces.last().is_some_and(Piece::is_mask)
            && self.text[self.end..start].trim().is_empty()
            && let Some(unit) = WIDE_UNITS.iter().find(|unit| rest.starts_with(**unit))
        {
            self.end = start + unit.len();
            return self.end;
        }
        let end = rest.find(|c| !is_wide(c) || is_mark(c)).unwrap_or(rest.len());
        if self.is_after_label(start, start + end) {
            self.mask(start, start + end);
        } else {
            self.push(&self.text[self.end..start], &rest[..end], start + end);
        }
        start + end
    }

    /// What is between spaces, separators and wide characters.
    fn run(&mut self, start: usize, before: Option<char>) -> usize {
        let rest = &self.text[start..];
        let mut end = run_end(rest, before);
        if rest[..end].contains("://") || rest.starts_with("www.") {
            end = rest.find(|c| c == ' ' || is_wide(c)).unwrap_or(rest.len());
        }
        let run = &rest[..end];
        let end = start + end;
        let is_edge = |c: char| !c.is_alphanumeric();
        let left = run.find(|c| !is_edge(c));
        let Some(left) = left else {
            // Stars alone are a masked key; one is the sign of a list.
            if run.matches(is_star).count() > 1 {
                self.mask(start, end);
            }
            return end;
        };
        let right = run.trim_end_matches(is_edge).len();
        let word = &run[left..right];
        let (from, to) = (start + left, start + right);
        let next = self.text[end..].trim_start().chars().next();
        let near_wide = next.is_some_and(is_wide)
            || self.text[..start].trim_end().chars().next_back().is_some_and(is_wide);
        let padded = run[right..].contains('=') && next.is_none_or(|c| closing(c).is_none());
        let path = run[..left].ends_with(['/', '@', '%', '$', '#', '_', '\\']);
        if near_wide
            || path
            || padded
            || run.contains(is_star)
            || run.contains("://")
            || self.is_after_label(from, to)
            || (self.cut && end == self.text.len())
        {
            self.mask(from, to);
        } else if let Some(at) = word.find([':', '='])
            && !self.is_variable(&word[..at])
        {
            self.word(from, from + at);
            self.mask(from + at + 1, to);
        } else if self.is_variable(word) {
            self.mask(from, to);
        } else {
            self.word(from, to);
        }
        end
    }

    /// Whether a label in front of the word says that it is a name or a secret.
    fn is_after_label(&self, start: usize, end: usize) -> bool {
        let word = &self.text[start..end];
        let gap = &self.text[self.end..start];
        let (before, last) = match &*self.pieces {
            [.., before, last] => (before.text, last),
            [last] => ("", last),
            [] => return false,
        };
        if last.is_mask() {
            // The other end of a key, or the rest of a secret that has spaces.
            let shortened = matches!(gap, " ... " | " … ");
            let open = last.gap.contains(ASSIGNS) && is_secret(before);
            return shortened || (open && !gap.contains(ENDS));
        }
        let assigned = gap.contains(ASSIGNS);
        let joined = word.contains(is_joint);
        let alone = !self.text[end..].starts_with(' ');
        last.text == "Basic"
            || is_one(last.text, " bearer ")
            || (is_secret(last.text) && assigned)
            || (ends_with_one(last.text, KEYS) && gap == " " && !is_one(word, AFTER_KEYS))
            || (ends_with_one(last.text, OWNERS) && (assigned || joined))
            || (ends_with_one(last.text, LABELS) && ((assigned && alone) || joined))
            || (is_one(last.text, " in with ")
                && is_one(before, EDGES)
                && !is_one(word, " a an the "))
    }

    fn word(&mut self, start: usize, end: usize) {
        let word = &self.text[start..end];
        let after_mask = self.pieces.last().is_some_and(Piece::is_mask)
            && self.text[self.end..start].trim().is_empty();
        if after_mask && (is_one(word, UNITS) || is_one(word, DATES)) {
            self.end = end;
        } else {
            self.push(&self.text[self.end..start], word, end);
        }
    }

    fn mask(&mut self, start: usize, end: usize) {
        let mut gap = &self.text[self.end.min(start)..start];
        // "Mon, 2 Mar": the names in front belong to the time.
        while let Some(date) = self.pieces.pop_if(|piece| is_one(piece.text, DATES)) {
            gap = date.gap;
        }
        if let [.., before, last] = &*self.pieces
            && before.is_mask()
            && is_one(last.text, CONNECTORS)
        {
            self.pieces.pop();
        }
        if self.pieces.last().is_some_and(Piece::is_mask) {
            self.end = end;
        } else {
            self.push(gap, MASK, end);
        }
    }

    /// Appends a word or a mask that ends at `end` in the text.
    fn push(&mut self, gap: &'a str, text: &'a str, end: usize) {
        self.end = end;
        let before = self.pieces.last().map_or(0, |piece| piece.length);
        let length = before + gap.chars().take(8).count() + text.chars().count();
        self.pieces.push(Piece { gap, text, length });
        self.drop_repeated();
    }

    /// Lists of any length have one template: a sentence with a mask that is repeated is written once.
    fn drop_repeated(&mut self) {
        let pieces = &self.pieces;
        let count = pieces.len();
        let is_repeated = |length: &usize| {
            let (before, last) = pieces[count - 2 * length..].split_at(*length);
            before
                .iter()
                .rev()
                .map(|piece| piece.text)
                .eq(last.iter().rev().map(|piece| piece.text))
                && last.iter().any(Piece::is_mask)
        };
        if let Some(length) = (1..=MAX_ITEM.min(count / 2)).find(is_repeated) {
            self.pieces.truncate(count - length);
        }
    }

    fn is_variable(&self, word: &str) -> bool {
        let joint = word.find(['-', '_']).map_or(0, |at| at + 1);
        let prefix = if joint < word.len() { &word[..joint] } else { "" };
        word.contains(is_special)
            || word.contains("..")
            || is_one(prefix, PREFIXES)
            || BARE_PREFIXES.iter().any(|prefix| word.starts_with(prefix))
            || self.is_of_key(word)
            || (self.hyphens == Hyphens::InNames
                && (is_one(prefix, MODELS)
                    || (word.matches('-').count() > 1 && !word.starts_with("x-"))))
            || is_path(word)
            || is_host(word)
            || word.split(['_', '-', '.', '/', '\'', '’']).any(is_strange)
            || (word.len() == 1 && !matches!(word, "a" | "A" | "I" | "s"))
    }

    fn is_of_key(&self, word: &str) -> bool {
        let key = self.key;
        let inside = word
            .split(is_joint)
            .chain([word])
            .any(|part| part.len() >= MIN_FRAGMENT && (key.contains(part) || is_end_of(key, part)));
        !key.is_empty() && (inside || word == key)
    }

    fn finish(self) -> String {
        let mut text = String::new();
        let mut chars = 0;
        let mut marks = String::new();
        let tail = Piece { gap: &self.text[self.end.min(self.text.len())..], text: "", length: 0 };
        for piece in self.pieces.iter().chain([&tail]) {
            marks.clear();
            for mark in piece.gap.chars().filter(|c| is_mark(*c)) {
                if !marks.ends_with(mark) {
                    marks.push(mark);
                }
            }
            if text.is_empty() {
                marks.retain(|mark| matches!(mark, '(' | '['));
            }
            let gap = &*marks;
            let more = gap.chars().count() + piece.text.chars().count();
            if chars + more >= MAX_CHARS {
                // A piece of Chinese text may be all of it.
                let room = MAX_CHARS - 1 - chars;
                if room > MAX_CHARS / 2 && !piece.is_mask() {
                    text.push_str(gap);
                    text.extend(piece.text.chars().take(room.saturating_sub(gap.chars().count())));
                }
                trim_end(&mut text);
                text.push('…');
                return text;
            }
            text.push_str(gap);
            text.push_str(piece.text);
            chars += more;
        }
        trim_end(&mut text);
        text
    }
}

/// Marks at the end differ where texts were cut.
fn trim_end(text: &mut String) {
    let is_end = |c: char| is_mark(c) && !matches!(c, ')' | ']' | '>' | '…');
    text.truncate(text.trim_end_matches(is_end).len());
}

const ASSIGNS: [char; 3] = [':', '=', '：'];
const ENDS: [char; 8] = ['.', ',', ';', '!', '?', ')', '。', '，'];

/// Marks that a template keeps; quotes and decoration are dropped.
fn is_mark(character: char) -> bool {
    " .,:;!?()[]/-=>&|…".contains(character) || is_wide_mark(character)
}

fn is_wide_mark(character: char) -> bool {
    is_wide(character) && !character.is_alphanumeric()
}

/// Marks between words that are in no word.
fn is_separator(character: char) -> bool {
    matches!(character, ',' | ';' | '(' | ')' | '[' | ']' | '{' | '}' | '<' | '>' | '\'' | '’')
        || closing(character).is_some()
        || matches!(character, '”' | '»' | '›')
}

fn closing(quote: char) -> Option<char> {
    Some(match quote {
        '"' | '\'' | '`' => quote,
        '“' | '„' | '‟' => '”',
        '‘' | '‚' => '’',
        '«' => '»',
        '‹' => '›',
        '「' => '」',
        '『' => '』',
        '《' => '》',
        '〈' => '〉',
        '【' => '】',
        '<' => '>',
        _ => return None,
    })
}

/// The length of a quoted value, a tag or structured data at the start of the text; up to its end if the
/// closing mark is missing.
fn enclosed(text: &str, before: Option<char>) -> Option<usize> {
    let first = text.chars().next()?;
    let inner = &text[first.len_utf8()..];
    match first {
        '{' => return Some(balanced(text)),
        '[' => {
            // Some clients write brackets around all of a message.
            let near = if before.is_none() { 1 } else { 64 };
            let mut near = inner.chars().take(near).take_while(|c| *c != ']');
            return near.any(|c| matches!(c, '{' | '"' | ':')).then(|| balanced(text));
        }
        '<' => {
            let end = inner.char_indices().take(256).find(|(_, c)| *c == '>')?.0;
            let is_tag = inner.starts_with(|c: char| c.is_alphabetic() || "/!*?".contains(c));
            return (is_tag || !inner[..end].contains(' ')).then_some(end + 2);
        }
        _ => {}
    }
    let close = closing(first)?;
    if matches!(first, '"' | '\'' | '`' | '‘')
        && (before.is_some_and(|c| c.is_alphanumeric() && !is_wide(c)) || inner.starts_with(' '))
    {
        return None;
    }
    let end = inner.match_indices(close).find(|(at, _)| {
        let after = inner[at + close.len_utf8()..].chars().next();
        let within = |c: char| c.is_alphanumeric() && !is_wide(c);
        !matches!(close, '\'' | '’') || !after.is_some_and(within)
    });
    Some(end.map_or(text.len(), |(end, close)| first.len_utf8() + end + close.len()))
}

/// The length of the brackets at the start of the text.
fn balanced(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 1 => return at + 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

/// The end of the run at the start of the text. An apostrophe between letters is in a word.
fn run_end(text: &str, before: Option<char>) -> usize {
    let mut last = before;
    for (at, character) in text.char_indices() {
        let apostrophe = matches!(character, '\'' | '’')
            && last.is_some_and(char::is_alphabetic)
            && text[at + character.len_utf8()..].starts_with(char::is_alphabetic);
        // "&#65;"
        let within = character == ';' && !text[at + 1..].starts_with(' ') && at + 1 < text.len();
        if character == ' '
            || is_wide(character)
            || (is_separator(character) && !apostrophe && !within)
        {
            return at;
        }
        last = Some(character);
    }
    text.len()
}
