//! Pages of a list that changes meanwhile: a row that exists throughout is returned exactly once and in
//! order; no row is returned twice.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::support::{CallRow, ErrorRow, TestApp, TestDatabase};
use crate::tests;

tests! {
    calls_that_stay_are_seen_once,
    error_logs_that_stay_are_seen_once,
}

const CASES: usize = 8;

/// A row: its minute and its latency, with few values, so that many are equal; and its fate.
#[derive(Clone, Debug)]
struct Entry {
    minute: u32,
    latency: i32,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Stays,
    /// Is deleted after this number of pages.
    GoesAfter(usize),
    /// Is inserted after this number of pages.
    ComesAfter(usize),
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let fate = prop_oneof![
        3 => Just(Fate::Stays),
        1 => (1..6usize).prop_map(Fate::GoesAfter),
        1 => (1..6usize).prop_map(Fate::ComesAfter),
    ];
    let entry = (0..6u32, 0..4i32, fate);
    let entry = entry.prop_map(|(minute, latency, fate)| Entry { minute, latency, fate });
    proptest::collection::vec(entry, 5..40)
}

/// A list: its field with the arguments that select the rows of one key, and its orders.
struct List {
    table: &'static str,
    field: fn(&str) -> String,
    orders: &'static [&'static str],
}

const CALLS: List = List {
    table: "t_request_log",
    field: |key| {
        format!(
            "callDetails(between: {{ since: \"2026-02-01T00:00:00Z\", until: \"2026-04-01T00:00:00Z\" }}, key: \"{key}\""
        )
    },
    orders: &["NEWEST_FIRST", "OLDEST_FIRST", "SLOWEST_FIRST"],
};

const ERROR_LOGS: List = List {
    table: "t_error_logs",
    field: |key| format!("errorLogs(filter: {{ keys: [\"{key}\"] }}"),
    orders: &["NEWEST_FIRST", "OLDEST_FIRST"],
};

async fn insert(database: &TestDatabase, list: &List, key: &str, entries: &[(i32, Entry)]) {
    let time = |entry: &Entry| format!("2026-03-01T11:{:02}:00Z", entry.minute);
    if list.table == CALLS.table {
        let row = |(id, entry): &(i32, Entry)| {
            CallRow::at(&time(entry)).id(*id).key(key).latency(entry.latency)
        };
        database.insert(&entries.iter().map(row).collect::<Vec<_>>()).await;
    } else {
        let row = |(id, entry): &(i32, Entry)| ErrorRow::at(&time(entry)).id(*id).key(key);
        database.insert(&entries.iter().map(row).collect::<Vec<_>>()).await;
    }
}

/// The sort key of a list, smallest first.
fn rank(order: &str, (id, entry): &(i32, Entry)) -> (i64, i32) {
    match order {
        "NEWEST_FIRST" => (-i64::from(entry.minute), -id),
        "OLDEST_FIRST" => (i64::from(entry.minute), *id),
        _ => (-i64::from(entry.latency), -id),
    }
}

async fn assert_seen_once(
    (app, database): (&TestApp, &TestDatabase),
    list: &List,
    (order, backward, size): (&str, bool, usize),
    (key, first_id): (&str, i32),
    entries: &[Entry],
) {
    let rows: Vec<(i32, Entry)> = (first_id..).zip(entries.iter().cloned()).collect();
    let now: Vec<_> =
        rows.iter().filter(|row| !matches!(row.1.fate, Fate::ComesAfter(_))).cloned().collect();
    if !now.is_empty() {
        insert(database, list, key, &now).await;
    }
    let (number, position, end, more) = match backward {
        true => ("last", "before", "startCursor", "hasPreviousPage"),
        false => ("first", "after", "endCursor", "hasNextPage"),
    };
    let (mut seen, mut cursor, mut pages) = (Vec::<i32>::new(), Value::Null, 0);
    loop {
        let query = format!(
            "{{ list: {}, orderBy: {order}, {number}: {size}, {position}: {cursor}) \
             {{ nodes {{ databaseId }} pageInfo {{ startCursor endCursor hasNextPage hasPreviousPage }} }} }}",
            (list.field)(key)
        );
        let data = app.data(&query).await;
        let ids = data["list"]["nodes"].as_array().unwrap().iter().map(|node| {
            let id = &node["databaseId"];
            id.as_str().map_or_else(|| id.to_string(), str::to_owned).parse().unwrap()
        });
        let page: Vec<i32> = ids.collect();
        assert!(page.len() <= size, "{page:?}");
        let at = if backward { 0 } else { seen.len() };
        seen.splice(at..at, page);
        let info = &data["list"]["pageInfo"];
        if info[more] == json!(false) {
            break;
        }
        cursor = info[end].clone();
        pages += 1;
        let coming: Vec<_> =
            rows.iter().filter(|row| row.1.fate == Fate::ComesAfter(pages)).cloned().collect();
        if !coming.is_empty() {
            insert(database, list, key, &coming).await;
        }
        for (id, _) in rows.iter().filter(|row| row.1.fate == Fate::GoesAfter(pages)) {
            database.execute(&format!("DELETE FROM {} WHERE id = {id}", list.table)).await;
        }
    }
    let story = || format!("{order}, backward: {backward}, by {size}: {seen:?} of {rows:?}");
    let once: BTreeSet<i32> = seen.iter().copied().collect();
    assert_eq!(once.len(), seen.len(), "seen twice: {}", story());
    for (id, entry) in &rows {
        assert!(entry.fate != Fate::Stays || once.contains(id), "{id} is missing: {}", story());
    }
    let ranks: Vec<_> =
        seen.iter().map(|id| rank(order, &rows[usize::try_from(id - first_id).unwrap()])).collect();
    assert!(ranks.is_sorted(), "out of order: {}", story());
}

async fn assert_list(database: &TestDatabase, list: &List) {
    let app = TestApp::start(database).await;
    let mut runner = TestRunner::deterministic();
    let case = (entries(), 1..8usize, any::<bool>());
    let mut first_id = 1;
    for number in 0..CASES {
        for order in list.orders {
            let (entries, size, backward) = case.new_tree(&mut runner).unwrap().current();
            let key = format!("key-{number}-{order}");
            let way = (*order, backward, size);
            assert_seen_once((&app, database), list, way, (&key, first_id), &entries).await;
            first_id += 1000;
        }
    }
}

async fn calls_that_stay_are_seen_once(database: TestDatabase) {
    assert_list(&database, &CALLS).await;
}

async fn error_logs_that_stay_are_seen_once(database: TestDatabase) {
    assert_list(&database, &ERROR_LOGS).await;
}
