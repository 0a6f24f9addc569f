//! Searches in the texts of error logs: the same rows on every database, with and without an index.

use callscope::config::DatabaseConfig;
use callscope::store::Database;
use callscope::store::error_list::{self, ErrorListQuery};
use callscope::store::error_log::{ErrorLogRow, ErrorScope};
use callscope::store::page::PageRequest;
use callscope::store::text_index::{self, Step};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::support::{ErrorRow, Kind, TestApp, TestDatabase, eventually};
use crate::tests;

tests! {
    a_search_finds_what_the_check_in_memory_finds,
    a_search_finds_what_the_exact_comparison_finds,
    the_index_finds_what_the_check_in_memory_finds.only(&[Kind::Sqlite]),
    an_index_of_postgresql_is_used.only(&[Kind::Postgres]),
    the_index_is_exact_after_every_change.only(&[Kind::Sqlite]),
    rows_that_another_program_changed_are_indexed_again.only(&[Kind::Sqlite]),
    long_texts_are_searched_without_the_index.only(&[Kind::Sqlite]),
    a_frequent_text_is_searched_without_the_index.only(&[Kind::Sqlite]),
    the_job_keeps_the_index.only(&[Kind::Sqlite]),
    a_read_only_server_uses_the_index.only(&[Kind::Sqlite]),
    a_view_of_error_logs_has_no_index.only(&[Kind::Sqlite]),
}

/// ASCII, the special characters of patterns, characters without case.
const PLAIN: &str = "aAbBkKsSiIzZ019 %_!*?[]^\\'\"$.-:@\n配额🔑";
/// Letters with unusual cases. The second part has letters that MariaDB does not convert as
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
    let page = PageRequest { limit: 100_000, backward: false, after: None, before: None };
    let scope = ErrorScope { contains: contains.map(str::to_owned), ..ErrorScope::default() };
    let query = ErrorListQuery { scope: scope.clone(), newest_first: false, page };
    let rows = error_list::list(db, &query, &|_| Ok(())).await.expect("lists").rows;
    let count = error_list::count_many(db, &[scope]).await.expect("counts");
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
        database.delete("t_error_logs", "TRUE").await;
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
        let source = database.all_rows("t_error_logs");
        let expected = format!("SELECT id FROM {source} WHERE {condition} ORDER BY id");
        let expected = database.query(&expected).await;
        let expected: Vec<i64> = expected.iter().map(|row| row[0].as_i64().unwrap()).collect();
        assert_eq!(ids(&rows(&db, Some(&needle)).await), expected, "{needle:?}");
    }
    db.close().await.expect("closes");
}

fn with_index(database: &TestDatabase) -> DatabaseConfig {
    DatabaseConfig { text_index: true, ..database.config() }
}

async fn open_with_index(database: &TestDatabase) -> Database {
    let db = Database::open(&with_index(database)).await.expect("opens");
    assert!(db.has_text_index());
    db
}

/// Runs steps of the job until there is nothing to do.
async fn index_all(db: &Database) {
    while let Some(step) = text_index::next_step(db).await.expect("reads") {
        text_index::run(db, &step).await.expect("indexes");
    }
}

/// One whole sweep.
async fn sweep(db: &Database) {
    let mut next = Some(i64::MIN);
    while let Some(first) = next {
        let (changed, after) = text_index::find_changed(db, first).await.expect("reads");
        text_index::run(db, &Step::Replace(changed)).await.expect("indexes");
        next = after;
    }
}

/// Whether the statements of a search use the index.
async fn uses_index(db: &Database, contains: &str) -> bool {
    db.record();
    rows(db, Some(contains)).await;
    let statements = db.record();
    statements.iter().any(|sql| sql.contains("IN (SELECT rowid FROM callscope_text_index"))
}

async fn the_index_finds_what_the_check_in_memory_finds(database: TestDatabase) {
    let (texts, needles) = texts_and_needles(&format!("{PLAIN}{CASED}{UNEQUAL}"), 4);
    store(&database, &texts).await;
    let db = open_with_index(&database).await;
    index_all(&db).await;
    let indexed = database.count("callscope_text_rows").await;
    assert!((200..=300).contains(&indexed), "{indexed} of 300 rows are indexed");
    compare_with_memory(&db, &needles).await;
    // A needle with a letter that the index does not compare, next to plain ones.
    assert!(!uses_index(&db, "1é%a").await && uses_index(&db, "abcé").await);
    db.close().await.expect("closes");
}

async fn an_index_of_postgresql_is_used(database: TestDatabase) {
    let (texts, needles) = texts_and_needles(&format!("{PLAIN}{CASED}{UNEQUAL}"), 6);
    store(&database, &texts).await;
    let create = "CREATE INDEX callscope_error_logs_text ON t_error_logs \
                  USING gin (error_type gin_trgm_ops, error_log gin_trgm_ops)";
    database.execute(&format!("CREATE EXTENSION pg_trgm; {create}; ANALYZE t_error_logs")).await;
    let db = open_with_index(&database).await;
    compare_with_memory(&db, &needles).await;
    db.record();
    rows(&db, Some("quota")).await;
    for sql in db.record() {
        let plan = database
            .query(&format!("SET enable_seqscan = off; SET enable_indexscan = off; EXPLAIN {sql}"))
            .await;
        let uses_index =
            plan.iter().any(|row| row[0].to_string().contains("callscope_error_logs_text"));
        assert!(uses_index, "{sql} {plan:?}");
    }
    db.close().await.expect("closes");
}

/// Random changes by other programs and steps of the job, in any order.
async fn the_index_is_exact_after_every_change(database: TestDatabase) {
    let db = open_with_index(&database).await;
    let mut random = StdRng::seed_from_u64(5);
    let words = ["quota", "limit", "key", "error"];
    let mut number = 0;
    for _ in 0..150 {
        match random.random_range(0..10) {
            0..=2 => {
                let count = random.random_range(1..150);
                let texts: Vec<String> = (0..count)
                    .map(|_| {
                        number += 1;
                        format!("{} {number} exceeded", words.choose(&mut random).unwrap())
                    })
                    .collect();
                let row = |text: &String| ErrorRow::at("2026-03-01T11:00:00Z").log(text.as_str());
                // Without ids: SQLite uses those of deleted last rows again.
                database.insert_unwatched(&texts.iter().map(row).collect::<Vec<_>>()).await;
            }
            3 | 4 => {
                let count = random.random_range(1..200);
                database
                    .execute(&format!(
                        "DELETE FROM t_error_logs WHERE id IN \
                         (SELECT id FROM t_error_logs ORDER BY id DESC LIMIT {count})"
                    ))
                    .await;
            }
            5 => {
                let part = random.random_range(2..9);
                database.execute(&format!("DELETE FROM t_error_logs WHERE id % {part} = 0")).await;
            }
            6 if random.random_bool(0.2) => database.execute("DELETE FROM t_error_logs").await,
            6 => sweep(&db).await,
            _ => {
                for _ in 0..random.random_range(1..5) {
                    let Some(step) = text_index::next_step(&db).await.unwrap() else { break };
                    text_index::run(&db, &step).await.unwrap();
                }
            }
        }
        for needle in [words[number % 4], " exceeded", &format!(" {} ex", number - number % 3)] {
            let sql = format!(
                "SELECT id FROM t_error_logs WHERE instr(error_log, '{needle}') ORDER BY id"
            );
            let expected: Vec<i64> =
                database.query(&sql).await.iter().map(|row| row[0].as_i64().unwrap()).collect();
            let mut found = ids(&rows(&db, Some(needle)).await);
            found.sort_unstable();
            assert_eq!(found, expected, "{needle}");
        }
    }
    // Entries of deleted rows are removed.
    index_all(&db).await;
    sweep(&db).await;
    let stale = "SELECT COUNT(*) FROM callscope_text_rows WHERE id NOT IN \
                 (SELECT id FROM t_error_logs)";
    assert_eq!(database.value(stale).await, 0);
    database.delete("t_error_logs", "TRUE").await;
    index_all(&db).await;
    sweep(&db).await;
    assert_eq!(database.count("callscope_text_rows").await, 0);
    assert_eq!(database.count("callscope_text_index_docsize").await, 0);
    db.close().await.expect("closes");
}

async fn rows_that_another_program_changed_are_indexed_again(database: TestDatabase) {
    let row = |id: i32| ErrorRow::at("2026-03-01T11:00:00Z").id(id).log(format!("text {id:03}"));
    database.insert(&(101..=400).map(row).collect::<Vec<_>>()).await;
    let db = open_with_index(&database).await;
    index_all(&db).await;
    database.execute("UPDATE t_error_logs SET error_log = 'a changed text' WHERE id = 150").await;
    database.insert(&[row(50)]).await;
    sweep(&db).await;
    assert_eq!(ids(&rows(&db, Some("changed")).await), [150]);
    assert_eq!(ids(&rows(&db, Some("text 050")).await), [50]);
    assert_eq!(ids(&rows(&db, Some("text 150")).await), [0; 0]);
    // The digests are those of the rows again.
    assert_eq!(text_index::find_changed(&db, i64::MIN).await.unwrap(), (vec![], None));
    db.close().await.expect("closes");
}

async fn long_texts_are_searched_without_the_index(database: TestDatabase) {
    let row = |id: i32| ErrorRow::at("2026-03-01T11:00:00Z").id(id).log(format!("text {id:03}"));
    let mut all: Vec<ErrorRow> = (1..=200).map(row).collect();
    all[9] = row(10).log("long ".repeat(80_000) + "needle");
    database.insert_unwatched(&all).await;
    let db = open_with_index(&database).await;
    index_all(&db).await;
    let long = "SELECT id FROM callscope_text_rows WHERE digest IS NULL";
    assert_eq!(database.value(long).await, 10);
    assert_eq!(ids(&rows(&db, Some("NEEDLE")).await), [10]);
    db.close().await.expect("closes");
}

async fn a_frequent_text_is_searched_without_the_index(database: TestDatabase) {
    let row = |id: i32| {
        let text = if id % 100 == 0 { "a rare text" } else { "quota exceeded" };
        ErrorRow::at("2026-03-01T11:00:00Z").id(id).log(format!("{text} {id}"))
    };
    database.insert_unwatched(&(1..=3000).map(row).collect::<Vec<_>>()).await;
    database.execute("UPDATE t_error_logs SET model_name = 'pro' WHERE id <= 90").await;
    let db = open_with_index(&database).await;
    index_all(&db).await;
    for (contains, models, is_page, expected) in [
        ("rare", None, false, true),
        ("rare", None, true, true),
        ("quota", None, false, true),
        // The page is full after 20 rows.
        ("quota", None, true, false),
        // Few rows of a model: the index finds more.
        ("quota", Some("pro"), false, false),
        ("rare", Some("pro"), false, true),
        ("quota", Some("model"), false, false),
    ] {
        let scope = ErrorScope {
            contains: Some(contains.to_owned()),
            models: models.map(|model| vec![model.to_owned()]),
            ..ErrorScope::default()
        };
        db.record();
        if is_page {
            let page = PageRequest { limit: 20, backward: false, after: None, before: None };
            let query = ErrorListQuery { scope, newest_first: true, page };
            assert_eq!(error_list::list(&db, &query, &|_| Ok(())).await.unwrap().rows.len(), 20);
        } else {
            error_list::count_many(&db, &[scope]).await.unwrap();
        }
        let statements = db.record();
        let uses_index =
            statements.iter().any(|sql| sql.contains("IN (SELECT rowid FROM callscope_text_index"));
        assert_eq!(uses_index, expected, "{contains} {models:?} {is_page}");
    }
    db.close().await.expect("closes");
}

/// Starts without rows, so that the job polls for them.
async fn the_job_keeps_the_index(database: TestDatabase) {
    let app = TestApp::start_with(&database, |config| {
        config.database.text_index = true;
    })
    .await;
    let row = |id: i32| ErrorRow::at("2026-03-01T11:00:00Z").id(id).log(format!("text {id:03}"));
    database.insert(&(1..=200).map(row).collect::<Vec<_>>()).await;
    eventually("the rows are indexed", async || database.count("callscope_text_rows").await >= 137)
        .await;
    let search = "{ errorLogs(filter: { contains: \"EXT 07\" }) { totalCount } }";
    assert_eq!(app.data(search).await["errorLogs"]["totalCount"], 10);
    database.execute("DELETE FROM t_error_logs WHERE id BETWEEN 71 AND 80").await;
    assert_eq!(app.data(search).await["errorLogs"]["totalCount"], 1);
    eventually("entries of deleted rows are removed", async || {
        let left = "SELECT COUNT(*) FROM callscope_text_rows WHERE id BETWEEN 71 AND 80";
        database.value(left).await == 0
    })
    .await;
    assert!(app.metrics().await.contains("callscope_job_running{job=\"text_index\"} 1\n"));
    app.shutdown().await;

    // Turned off, the index is deleted, and turned on again, rebuilt.
    TestApp::start(&database).await.shutdown().await;
    assert_eq!(database.count("callscope_text_rows").await, 0);
    assert_eq!(database.count("callscope_text_index_docsize").await, 0);
    let db = open_with_index(&database).await;
    assert_eq!(rows(&db, Some("EXT 07")).await.len(), 1);
    index_all(&db).await;
    assert!(uses_index(&db, "EXT 07").await);
    db.close().await.expect("closes");
}

async fn a_read_only_server_uses_the_index(database: TestDatabase) {
    let row = |id: i32| ErrorRow::at("2026-03-01T11:00:00Z").id(id).log(format!("text {id:03}"));
    database.insert(&(1..=200).map(row).collect::<Vec<_>>()).await;
    let db = open_with_index(&database).await;
    index_all(&db).await;
    db.close().await.expect("closes");
    // Rows that no server indexes.
    database.insert(&(201..=250).map(row).collect::<Vec<_>>()).await;
    let config = DatabaseConfig { read_only: true, ..with_index(&database) };
    let db = Database::open(&config).await.expect("opens");
    assert!(uses_index(&db, "TEXT 2").await);
    assert_eq!(rows(&db, Some("TEXT 24")).await.len(), 10);
    db.close().await.expect("closes");
}

async fn a_view_of_error_logs_has_no_index(database: TestDatabase) {
    database
        .execute(
            "ALTER TABLE t_error_logs RENAME TO logs; \
             CREATE VIEW t_error_logs AS SELECT * FROM logs",
        )
        .await;
    let db = Database::open(&with_index(&database)).await.expect("opens");
    assert!(!db.has_text_index());
    db.close().await.expect("closes");
}
