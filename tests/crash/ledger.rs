//! The sent and the acknowledged batches, compared with the rows in the database.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use sea_orm::{ConnectionTrait, Database, Statement};

use super::producer::{Acknowledgement, Batch, client};

#[derive(Default)]
pub struct Ledger(Mutex<Vec<Entry>>);

#[derive(Clone)]
struct Entry {
    batch: Batch,
    acknowledged: bool,
}

/// The number of rows of each model in each table.
pub struct Stored {
    calls: HashMap<String, usize>,
    errors: HashMap<String, usize>,
}

impl Stored {
    pub async fn read(url: &str) -> Self {
        let connection = Database::connect(url).await.expect("connects");
        let backend = connection.get_database_backend();
        let mut tables = vec![];
        for table in ["t_request_log", "t_error_logs"] {
            let select = format!("SELECT model_name FROM {table}");
            let rows = connection.query_all_raw(Statement::from_string(backend, select)).await;
            let mut counts = HashMap::new();
            for row in rows.expect("reads") {
                *counts.entry(row.try_get_by_index(0).expect("a model")).or_insert(0) += 1;
            }
            tables.push(counts);
        }
        connection.close().await.expect("closes");
        let errors = tables.pop().expect("error logs");
        Self { calls: tables.pop().expect("calls"), errors }
    }

    /// The number of all calls.
    pub fn calls(&self) -> usize {
        self.calls.values().sum()
    }
}

impl Ledger {
    pub fn enter(&self, batch: Batch, acknowledged: bool) {
        self.entries().push(Entry { batch, acknowledged });
    }

    pub fn acknowledged(&self) -> usize {
        self.entries().iter().filter(|entry| entry.acknowledged).count()
    }

    pub fn refused(&self) -> usize {
        self.entries().iter().filter(|entry| !entry.acknowledged).count()
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends again, with their keys, the batches without an acknowledgement, and the last ones with it.
    pub async fn retry(&self, address: &str, last: usize) {
        let http = client();
        let entries = self.entries().clone();
        let keyed = entries.iter().enumerate().filter(|(_, entry)| entry.batch.keyed);
        let (sure, unsure): (Vec<_>, Vec<_>) = keyed.partition(|(_, entry)| entry.acknowledged);
        for (index, entry) in unsure {
            let answer = entry.batch.send(&http, address).await;
            assert_ne!(answer, Acknowledgement::None, "{:?}", entry.batch);
            self.entries()[index].acknowledged = true;
        }
        for (_, entry) in sure.iter().rev().take(last) {
            let answer = entry.batch.send(&http, address).await;
            assert_eq!(answer, Acknowledgement::Duplicate, "{:?}", entry.batch);
        }
    }

    /// Panics unless every acknowledged batch is stored once, and every other batch once or not at all, completely.
    pub fn check(&self, stored: &Stored) {
        let (mut calls, mut errors) = (0, 0);
        for Entry { batch, acknowledged } in self.entries().iter() {
            let count = |table: &HashMap<String, usize>| -> Vec<usize> {
                batch.models().map(|model| table.get(&model).copied().unwrap_or(0)).collect()
            };
            let of_calls = count(&stored.calls);
            let times = of_calls[0];
            assert!(
                times == 1 || !acknowledged,
                "{batch:?} was acknowledged, and is there {times} times"
            );
            assert!(times <= 1, "{batch:?} is stored {times} times");
            assert!(
                of_calls.iter().all(|count| *count == times),
                "half of {batch:?}: {of_calls:?}"
            );
            let expected = if batch.failed { times } else { 0 };
            let of_errors = count(&stored.errors);
            assert!(of_errors.iter().all(|count| *count == expected), "{batch:?}: {of_errors:?}");
            calls += times * batch.calls;
            errors += expected * batch.calls;
        }
        // And no row that was never sent.
        assert_eq!(calls, stored.calls.values().sum::<usize>());
        assert_eq!(errors, stored.errors.values().sum::<usize>());
    }

    pub fn summary(&self) -> String {
        let entries = self.entries();
        let sure: Vec<_> = entries.iter().filter(|entry| entry.acknowledged).collect();
        let calls: usize = sure.iter().map(|entry| entry.batch.calls).sum();
        format!("{} of {} requests acknowledged, {calls} calls", sure.len(), entries.len())
    }
}
