//! Rate limit per client: the generic cell rate algorithm, which stores one instant per client. Memory is
//! bounded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::http::client::ClientKey;

/// Limit of buckets; further clients share one.
const MAX_BUCKETS: usize = 10_000;

/// The time in which an empty bucket is full again.
const PERIOD: Duration = Duration::from_secs(60);

/// Shortest interval between two removals of full buckets, each of which scans all buckets.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(1);

/// The buckets of all clients.
pub(crate) struct Rate {
    /// The time to refill one request.
    interval: Duration,
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    /// The time at which each bucket is full again.
    full_at: HashMap<ClientKey, Instant>,
    last_cleanup: Option<Instant>,
}

impl Rate {
    pub(crate) fn per_minute(requests: u32) -> Self {
        Self { interval: PERIOD / requests.max(1), buckets: Mutex::default() }
    }

    /// Takes one request from a bucket; if it is empty, returns the time until the next request.
    pub(crate) fn take(&self, client: ClientKey, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let client = if buckets.has_room_for(&client, now) { client } else { ClientKey::Others };
        let full_at = buckets.full_at.entry(client).or_insert(now);
        let after = (*full_at).max(now) + self.interval;
        let missing = after.duration_since(now);
        if missing > PERIOD {
            return Err(missing - PERIOD);
        }
        *full_at = after;
        Ok(())
    }
}

impl Buckets {
    fn has_room_for(&mut self, client: &ClientKey, now: Instant) -> bool {
        if self.full_at.len() < MAX_BUCKETS || self.full_at.contains_key(client) {
            return true;
        }
        if self.last_cleanup.is_none_or(|last| now.duration_since(last) >= CLEANUP_INTERVAL) {
            self.last_cleanup = Some(now);
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        self.full_at.len() < MAX_BUCKETS
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(number: u32) -> ClientKey {
        ClientKey::of(IpAddr::V4(number.into()))
    }

    #[test]
    fn a_bucket_allows_a_burst_and_refills_evenly() {
        let (rate, start) = (Rate::per_minute(3), Instant::now());
        let take = |seconds| rate.take(address(1), start + Duration::from_secs(seconds));
        assert!([0, 0, 0].into_iter().all(|at| take(at).is_ok()));
        assert_eq!(take(0), Err(Duration::from_secs(20)));
        assert_eq!(take(19), Err(Duration::from_secs(1)), "a rejection takes no request");
        assert_eq!((take(20), take(20)), (Ok(()), Err(Duration::from_secs(20))));
        assert!(rate.take(address(2), start).is_ok(), "each client has its own bucket");
        assert!([500, 500, 500].into_iter().all(|at| take(at).is_ok()));
        assert!(take(500).is_err(), "the burst is limited");
    }

    #[test]
    fn the_number_of_buckets_is_bounded() {
        let (rate, start) = (Rate::per_minute(2), Instant::now());
        let most = u32::try_from(MAX_BUCKETS).unwrap();
        assert!((0..most).all(|number| rate.take(address(number), start).is_ok()));
        // New clients share a bucket; known clients keep theirs.
        assert!(rate.take(address(most), start).is_ok());
        assert!(rate.take(address(most + 1), start).is_ok());
        assert!(rate.take(address(most + 2), start).is_err());
        assert!(rate.take(address(7), start).is_ok());
        assert!(rate.buckets.lock().unwrap().full_at.len() <= MAX_BUCKETS + 1);
        // Full buckets are removed.
        let later = start + Duration::from_secs(90);
        assert!(rate.take(address(most + 2), later).is_ok());
        assert_eq!(rate.buckets.lock().unwrap().full_at.len(), 1);
    }
}
