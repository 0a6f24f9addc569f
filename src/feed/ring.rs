//! The last rows of a table, numbered without end.

use std::collections::VecDeque;
use std::sync::Arc;

/// What a follower finds next.
pub enum Next<T> {
    Row {
        number: u64,
        row: Arc<T>,
    },
    /// So many rows are gone that were not looked at, whether they were wanted or not; it goes on
    /// with those that are still to come.
    Missed(u64),
}

pub(super) struct Ring<T> {
    rows: VecDeque<Arc<T>>,
    most: usize,
    next: u64,
}

impl<T> Ring<T> {
    pub(super) fn new(most: usize) -> Self {
        Self { rows: VecDeque::new(), most, next: 0 }
    }

    pub(super) fn push(&mut self, row: T) {
        if self.rows.len() >= self.most {
            self.rows.pop_front();
        }
        self.rows.push_back(Arc::new(row));
        self.next += 1;
    }

    /// The number of the next row.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn clear(&mut self) {
        self.rows = VecDeque::new();
    }

    /// As if a row had been added and dropped again.
    pub(super) fn lose(&mut self) {
        self.clear();
        self.next += 1;
    }

    /// The first row from number `at` on that is wanted; moves `at` behind what was looked at.
    pub(super) fn find(&self, at: &mut u64, wanted: &impl Fn(&T) -> bool) -> Option<Next<T>> {
        let first = self.next - self.rows.len() as u64;
        if *at < first {
            let missed = self.next - *at;
            *at = self.next;
            return Some(Next::Missed(missed));
        }
        let looked_at = usize::try_from(*at - first).unwrap_or(usize::MAX);
        for row in self.rows.iter().skip(looked_at) {
            let number = *at;
            *at += 1;
            if wanted(row) {
                return Some(Next::Row { number, row: Arc::clone(row) });
            }
        }
        None
    }
}
