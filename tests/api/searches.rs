//! Searches in the texts of error logs: the same rows on every database, with and without an index.

use callscope::store::Database;
use callscope::store::error_log::{self, ErrorListQuery, ErrorLogRow, ErrorScope};
use callscope::store::page::PageRequest;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::support::{ErrorRow, Kind, TestDatabase};
use crate::tests;

tests! {
    a_search_finds_what_the_check_in_memory_finds,
    a_search_finds_what_the_exact_comparison_finds,
}

/// ASCII, the special characters of patterns, characters without case.
const PLAIN: &str = "aAbBkKsSiIzZ019 %_!*?[]^\\'\"$.-:@\n配额🔑";
/// Letters whose cases differ in unusual ways. The second part has letters that MariaDB does not convert as
/// the check in memory does.
const CASED: &str = "éÉßıſΣσςǅǆǄ\u{212a}åÅ\u{212b}жЖ";
const UNEQUAL: &str = "İẞაᲐᎠꭰ";

/// Random texts, and parts of them in other cases, so that many of them are found.
fn texts_and_needles(letters: &str, seed: u64) -> (Vec<String>, Vec<String>) {
    let mut random = StdRng::seed_from_u64(seed);
    let letters: Vec<char> = letters.chars().collect();
    let text = |random: &mut StdRng, length: usize| -> String {
        (0..length).map(|_| *letters.choose(random).unwrap()).collect()
    };
    let texts: Vec<String> = (0..300)
        .map(|_| {
            let length = random.random_range(0..24);
            text(&mut random, length)
        })
        .collect();
    let mut needles: Vec<String> = (0..80)
        .map(|_| {
            let of: Vec<char> = texts.choose(&mut random).unwrap().chars().collect();
            let from = random.random_range(0..=of.len());
            let to = random.random_range(from..=of.len().min(from + 8));
            let part: String = of[from..to].iter().collect();
            match random.random_range(0..3) {
                0 => part,
                1 => part.to_lowercase(),
                _ => part.to_uppercase(),
            }
        })
        .collect();
    needles.extend((0..20).map(|length| text(&mut random, length / 4)));
    needles.extend(letters.iter().map(char::to_string));
    (texts, needles)
}

/// Stores the texts in error logs with ascending ids.
async fn store(database: &TestDatabase, texts: &[String]) {
    let row = |(text, id): (&String, i32)| {
        ErrorRow::at("2026-03-01T11:00:00Z").id(id).log(text.as_str()).error_type("Error Type")
    };
    let rows: Vec<ErrorRow> = texts.iter().zip(1..).map(row).collect();
    database.insert_unwatched(&rows).await;
}

async fn rows(db: &Database, contains: Option<&str>) -> Vec<ErrorLogRow> {
    let page = PageRequest { limit: 1000, backward: false, after: None, before: None };
    let scope = ErrorScope { contains: contains.map(str::to_owned), ..ErrorScope::default() };
    let query = ErrorListQuery { scope: scope.clone(), newest_first: false, page };
    let rows = error_log::list(db, &query, &|_| Ok(())).await.expect("lists").rows;
    let count = error_log::count_many(db, &[scope]).await.expect("counts");
    assert_eq!(count, [rows.len() as i64], "{contains:?}");
    rows
}

fn ids(rows: &[ErrorLogRow]) -> Vec<i64> {
    rows.iter().map(|row| row.id).collect()
}

/// Compares each search with the check of subscriptions.
async fn compare_with_memory(db: &Database, needles: &[String]) {
    let all = rows(db, None).await;
    let mut found = 0;
    for needle in needles {
        let scope = ErrorScope { contains: Some(needle.clone()), ..ErrorScope::default() };
        let filter = scope.row_filter(db);
        let expected: Vec<i64> =
            all.iter().filter(|row| filter.matches(*row)).map(|row| row.id).collect();
        assert_eq!(ids(&rows(db, Some(needle)).await), expected, "{needle:?}");
        found += usize::from(!expected.is_empty());
    }
    assert!(found > needles.len() / 2, "{found} of {} searches found rows", needles.len());
}

async fn a_search_finds_what_the_check_in_memory_finds(database: TestDatabase) {
    let more = if database.kind() == Kind::MariaDb { "" } else { UNEQUAL };
    for (letters, seed) in [(PLAIN.to_owned(), 1), (format!("{PLAIN}{CASED}{more}"), 2)] {
        let (texts, needles) = texts_and_needles(&letters, seed);
        database.execute("DELETE FROM t_error_logs").await;
        store(&database, &texts).await;
        let db = Database::open(&database.config()).await.expect("opens");
        compare_with_memory(&db, &needles).await;
        db.close().await.expect("closes");
    }
}

/// The comparison of each database that a search uses for all letters.
fn exact_comparison(kind: Kind, needle: &str) -> String {
    let cases = |character: char| -> String {
        let one = |mut cases: Box<dyn Iterator<Item = char>>| match (cases.next(), cases.next()) {
            (Some(only), None) => only,
            _ => character,
        };
        let lower = one(Box::new(character.to_lowercase()));
        let upper = one(Box::new(character.to_uppercase()));
        match (kind, character) {
            (Kind::Sqlite, ']' | '^') => character.to_string(),
            (Kind::Sqlite, _) => format!("[{lower}{upper}]"),
            (_, character) if character.is_ascii_punctuation() => format!("\\{character}"),
            _ => format!("[{lower}{upper}]"),
        }
    };
    let pattern: String = needle.chars().map(cases).collect();
    let (pattern, text) = (pattern.replace('\'', "''"), needle.replace('\'', "''"));
    match kind {
        Kind::Sqlite => format!("error_log GLOB '*{pattern}*'"),
        Kind::Postgres => format!("error_log ~ '{pattern}'"),
        Kind::MariaDb => format!(
            "LOCATE(LOWER(CONVERT('{}' USING utf8mb4)) COLLATE utf8mb4_bin, \
             LOWER(CONVERT(error_log USING utf8mb4)) COLLATE utf8mb4_bin) > 0",
            text.replace('\\', "\\\\")
        ),
    }
}

async fn a_search_finds_what_the_exact_comparison_finds(database: TestDatabase) {
    let (texts, needles) = texts_and_needles(&format!("{PLAIN}{CASED}{UNEQUAL}"), 3);
    store(&database, &texts).await;
    let db = Database::open(&database.config()).await.expect("opens");
    for needle in needles {
        // A part of "Error Type".
        if "error type".contains(&needle.to_lowercase()) {
            continue;
        }
        let condition = exact_comparison(database.kind(), &needle);
        let expected = database
            .query(&format!("SELECT id FROM t_error_logs WHERE {condition} ORDER BY id"))
            .await;
        let expected: Vec<i64> = expected.iter().map(|row| row[0].as_i64().unwrap()).collect();
        assert_eq!(ids(&rows(&db, Some(&needle)).await), expected, "{needle:?}");
    }
    db.close().await.expect("closes");
}
