//! A text that is looked for in others, as [`Dialect::contains`](super::dialect::Dialect::contains) does
//! it in SQL.

use super::dialect::{Dialect, cases};

/// The characters of a text, each in its two cases.
pub(super) struct Needle {
    characters: Vec<(char, char)>,
    /// MySQL lowers the text in which it looks; the others look for both cases.
    lowers: bool,
}

impl Needle {
    pub(super) fn new(dialect: Dialect, text: &str) -> Self {
        let lowers = dialect == Dialect::MySql;
        let both = |character| match cases(character) {
            Some((lower, _)) if lowers => (lower, lower),
            Some(both) => both,
            None => (character, character),
        };
        Self { characters: text.chars().map(both).collect(), lowers }
    }

    /// Whether a text holds it anywhere.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        ends.map(|at| &text[at..]).any(|rest| self.begins(rest))
    }

    fn begins(&self, text: &str) -> bool {
        let mut found = text.chars();
        self.characters.iter().all(|(lower, upper)| {
            found.next().is_some_and(|character| {
                let character = match cases(character) {
                    Some((lower, _)) if self.lowers => lower,
                    _ => character,
                };
                character == *lower || character == *upper
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_found_in_both_cases_and_nothing_is_a_wildcard() {
        for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::MySql] {
            let found = |needle: &str, text: &str| Needle::new(dialect, needle).is_in(text);
            assert!(found("QuoTa", "the quota is gone") && found("é%", "CAFÉ% au lait"));
            assert!(found("", "") && found("", "a") && found("gone", "all gone"));
            assert!(!found("a_c", "abc") && !found("gone!", "all gone") && !found("a", ""));
        }
    }
}
