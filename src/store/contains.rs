//! The search for a text in a column: literal, ignoring case in every script. Its SQL and its check in memory
//! have the same result.
//!
//! The exact comparison of a database, with both cases of each letter, is slow in SQLite and PostgreSQL. The
//! comparison that knows only the case of ASCII is faster (in SQLite 40 times). It is exact for ASCII and for
//! characters without case (`is_plain`). For other patterns it finds the candidates of the exact comparison:
//! the rows with the longest plain part of the pattern.

use sea_orm::sea_query::{Condition, Expr};

use super::dialect::Dialect;

/// A text to search for.
pub(super) struct TextPattern {
    dialect: Dialect,
    text: String,
    /// The characters of the text, each in both cases.
    characters: Vec<(char, char)>,
}

impl TextPattern {
    pub(super) fn new(dialect: Dialect, text: &str) -> Self {
        let both = |character| match cases(character) {
            Some((lower, _)) if dialect == Dialect::MySql => (lower, lower),
            Some(both) => both,
            None => (character, character),
        };
        Self { dialect, text: text.to_owned(), characters: text.chars().map(both).collect() }
    }

    /// Rows that contain the pattern in a column.
    pub(super) fn condition(&self, column: &'static str) -> Condition {
        let part = plain_part(&self.text);
        let is_exact = part.len() == self.text.len();
        let candidates = (is_exact || !part.is_empty()).then(|| self.plain(column, part));
        Condition::all().add_option(candidates).add_option((!is_exact).then(|| self.exact(column)))
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
                // MySQL lower-cases the searched text; the others compare with both cases.
                let character = match cases(character) {
                    Some((lower, _)) if self.dialect == Dialect::MySql => lower,
                    _ => character,
                };
                character == *lower || character == *upper
            })
        })
    }
}

impl TextPattern {
    /// Rows that contain a part of the pattern without other characters than plain ones.
    fn plain(&self, column: &'static str, part: &str) -> Condition {
        let all = Condition::all();
        match self.dialect {
            Dialect::Sqlite => {
                let like = |part: &str| {
                    let condition = format!("{column} LIKE ? ESCAPE '!'");
                    Expr::cust_with_values(condition, [like(part)])
                };
                let rare = rare_end(part);
                all.add_option((rare != part).then(|| like(rare))).add(like(part))
            }
            // In the collation "C", lower() converts only ASCII, in every encoding.
            Dialect::Postgres => all.add(Expr::cust_with_values(
                format!("strpos(lower({column} COLLATE \"C\"), $1) > 0"),
                [part.to_ascii_lowercase()],
            )),
            Dialect::MySql => {
                all.add(Expr::cust_with_values(format!("{column} REGEXP ?"), [mysql_regex(part)]))
            }
        }
    }

    /// Rows that contain the pattern in one of the columns, by the exact comparison.
    pub(super) fn exact_in(&self, columns: &[&'static str]) -> Condition {
        columns.iter().fold(Condition::any(), |any, column| any.add(self.exact(column)))
    }

    /// Rows that contain the pattern.
    fn exact(&self, column: &'static str) -> Expr {
        let text = self.text.as_str();
        match self.dialect {
            // LIKE ignores case only for ASCII, so the pattern has both cases of each letter.
            Dialect::Sqlite => Expr::cust_with_values(format!("{column} GLOB ?"), [glob(text)]),
            // lower() supports only the letters of the database's locale; in "C" that is ASCII.
            Dialect::Postgres => Expr::cust_with_values(format!("{column} ~ $1"), [regex(text)]),
            Dialect::MySql => Expr::cust_with_values(
                format!(
                    "LOCATE(LOWER(CONVERT(? USING utf8mb4)) COLLATE utf8mb4_bin, \
                     LOWER(CONVERT({column} USING utf8mb4)) COLLATE utf8mb4_bin) > 0"
                ),
                [text],
            ),
        }
    }
}

/// Whether a search for `text` is fast on every database.
pub fn is_plain_text(text: &str) -> bool {
    text.chars().all(is_plain)
}

/// Whether a comparison that knows only the case of ASCII is exact for a character.
fn is_plain(character: char) -> bool {
    let has_case = |character: char| {
        cases(character).is_some() || character.is_lowercase() || character.is_uppercase()
    };
    character.is_ascii() || !has_case(character)
}

/// The longest part of plain characters.
fn plain_part(text: &str) -> &str {
    let parts = text.split(|character| !is_plain(character));
    parts.max_by_key(|part| part.len()).unwrap_or(text)
}

/// Each three characters in a row of the plain parts of a text.
pub(super) fn trigrams(text: &str) -> Vec<String> {
    let mut trigrams = vec![];
    for part in text.split(|character| !is_plain(character)) {
        let characters: Vec<char> = part.chars().collect();
        trigrams.extend(characters.windows(3).map(|three| three.iter().collect()));
    }
    trigrams
}

/// The most frequent characters of error logs, first the most frequent one.
const FREQUENT: &str = " etaoinsrlcdumphg\"fy,.:_0123456789-w/bkv";

/// The end of a text from its rarest character on. LIKE skips to the first character of its pattern, and
/// compares the rest each time that it finds one.
fn rare_end(text: &str) -> &str {
    let rank =
        |character: char| FREQUENT.find(character.to_ascii_lowercase()).unwrap_or(FREQUENT.len());
    let rarest = text.char_indices().rev().max_by_key(|(_, character)| rank(*character));
    rarest.map_or(text, |(at, _)| &text[at..])
}

/// A pattern of LIKE: `%100!% of a!_b%` for `100% of a_b`.
fn like(text: &str) -> String {
    let mut pattern = String::from("%");
    for character in text.chars() {
        if matches!(character, '%' | '_' | '!') {
            pattern.push('!');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

/// A regular expression of MySQL and MariaDB with the characters that LOWER converts to the same one:
/// `(?-i)[aA]\*\x{914d}` for `a*配`. It is ASCII, so that it can be compared with any character set.
fn mysql_regex(text: &str) -> String {
    let mut pattern = String::from("(?-i)");
    for character in text.chars() {
        let (lower, upper) = (character.to_ascii_lowercase(), character.to_ascii_uppercase());
        match lower {
            'i' => pattern.push_str("[iI\\x{130}]"),
            'k' => pattern.push_str("[kK\\x{212a}]"),
            'a'..='z' => pattern.extend(['[', lower, upper, ']']),
            '0'..='9' => pattern.push(lower),
            '\0'..='\x7f' => pattern.extend(['\\', lower]),
            _ => pattern.push_str(&format!("\\x{{{:x}}}", u32::from(lower))),
        }
    }
    pattern
}

/// A GLOB pattern: `*[aA][bB][*]*` for `ab*`.
fn glob(text: &str) -> String {
    let mut pattern = String::from("*");
    for character in text.chars() {
        match (character, cases(character)) {
            // These two need an escape only inside of brackets.
            (']' | '^', _) => pattern.push(character),
            (_, Some((lower, upper))) => pattern.extend(['[', lower, upper, ']']),
            (_, None) => pattern.extend(['[', character, ']']),
        }
    }
    pattern.push('*');
    pattern
}

/// A regular expression of PostgreSQL: `[aA][bB]\*` for `ab*`.
fn regex(text: &str) -> String {
    let mut pattern = String::new();
    for character in text.chars() {
        match cases(character) {
            Some((lower, upper)) => pattern.extend(['[', lower, upper, ']']),
            None if character.is_ascii_punctuation() => pattern.extend(['\\', character]),
            None => pattern.push(character),
        }
    }
    pattern
}

/// The lower and upper case of a letter. None without two cases of one character each.
fn cases(character: char) -> Option<(char, char)> {
    let single = |mut cases: Box<dyn Iterator<Item = char>>| match (cases.next(), cases.next()) {
        (Some(only), None) => only,
        _ => character,
    };
    let lower = single(Box::new(character.to_lowercase()));
    let upper = single(Box::new(character.to_uppercase()));
    (lower != upper).then_some((lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_every_character_literally() {
        assert_eq!(like("aB*!%_[1"), "%aB*!!!%!_[1%");
        assert_eq!(mysql_regex("aK*i1\\ 配"), r"(?-i)[aA][kK\x{212a}]\*[iI\x{130}]1\\\ \x{914d}");
        assert_eq!(glob("aB*?[]é1"), "*[aA][bB][*][?][[]][éÉ][1]*");
        assert_eq!(regex("aB*?[]é1_ \\"), r"[aA][bB]\*\?\[\][éÉ]1\_ \\");
    }

    #[test]
    fn the_longest_plain_part_is_found() {
        for (text, part) in [
            ("no quota", "no quota"),
            ("über die Straße", "ber die Stra"),
            ("配额 ÄÖ", "配额 "),
            ("ΣΑΣ", ""),
            ("", ""),
            ("İ1ı22ſ3", "22"),
        ] {
            assert_eq!(plain_part(text), part, "{text}");
        }
    }

    #[test]
    fn trigrams_are_of_plain_parts() {
        assert_eq!(trigrams("abcdéfg hi"), ["abc", "bcd", "fg ", "g h", " hi"]);
        assert_eq!(trigrams("配额不足"), ["配额不", "额不足"]);
        assert!(trigrams("ab").is_empty() && trigrams("éabéé").is_empty());
    }

    #[test]
    fn a_search_starts_with_the_rarest_character() {
        for (text, end) in [("no such text", "xt"), ("quota", "quota"), ("ee", "ee"), ("", "")] {
            assert_eq!(rare_end(text), end);
        }
    }

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
