//! Text search in memory with the rules of [`Dialect::contains`](super::dialect::Dialect::contains).

use super::dialect::{Dialect, cases};

/// The characters of a text, each in both cases.
pub(super) struct TextPattern {
    characters: Vec<(char, char)>,
    /// MySQL lower-cases the searched text; the others compare with both cases.
    lowers: bool,
}

impl TextPattern {
    pub(super) fn new(dialect: Dialect, text: &str) -> Self {
        let lowers = dialect == Dialect::MySql;
        let both = |character| match cases(character) {
            Some((lower, _)) if lowers => (lower, lower),
            Some(both) => both,
            None => (character, character),
        };
        Self { characters: text.chars().map(both).collect(), lowers }
    }

    /// Whether `text` contains the pattern.
    pub(super) fn is_found_in(&self, text: &str) -> bool {
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        starts.map(|at| &text[at..]).any(|rest| self.is_prefix_of(rest))
    }

    fn is_prefix_of(&self, text: &str) -> bool {
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
    fn a_search_ignores_case_and_has_no_wildcards() {
        for dialect in [Dialect::Sqlite, Dialect::Postgres, Dialect::MySql] {
            let found =
                |pattern: &str, text: &str| TextPattern::new(dialect, pattern).is_found_in(text);
            assert!(found("QuoTa", "the quota is gone") && found("é%", "CAFÉ% au lait"));
            assert!(found("", "") && found("", "a") && found("gone", "all gone"));
            assert!(!found("a_c", "abc") && !found("gone!", "all gone") && !found("a", ""));
        }
    }
}
