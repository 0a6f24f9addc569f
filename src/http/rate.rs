//! How often each caller may come: a bucket of requests that fills evenly (the generic cell rate
//! algorithm, which remembers one instant for each). Memory is bounded, whoever comes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Buckets that are kept; callers beyond these share one.
const MAX_BUCKETS: usize = 10_000;

/// The time in which an empty bucket is full again.
const PERIOD: Duration = Duration::from_secs(60);

/// How often full buckets are thrown away where there are too many, which looks at all of them.
const TIDY: Duration = Duration::from_secs(1);

/// Whose bucket it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sender {
    Token(String),
    Address(IpAddr),
    /// All for whom there is no bucket left.
    Others,
}

impl Sender {
    /// One network of IPv6 is one sender: whoever has an address there has 2^64.
    pub(super) fn of(address: IpAddr) -> Self {
        Self::Address(match address {
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
            v4 => v4,
        })
    }

    /// A name for it that no other sender has.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Token(name) => format!("token {name}"),
            Self::Address(address) => format!("address {address}"),
            Self::Others => "others".to_owned(),
        }
    }
}

/// The buckets of all senders.
pub(super) struct Rate {
    /// The time in which a bucket gains one request.
    interval: Duration,
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    /// When each is full again.
    full_at: HashMap<Sender, Instant>,
    tidied: Option<Instant>,
}

impl Rate {
    pub(super) fn per_minute(requests: u32) -> Self {
        Self { interval: PERIOD / requests.max(1), buckets: Mutex::default() }
    }

    /// Takes a request out of a bucket; if that is empty, tells how long until it is not.
    pub(super) fn take(&self, sender: Sender, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = if buckets.has_room_for(&sender, now) { sender } else { Sender::Others };
        let full_at = buckets.full_at.entry(sender).or_insert(now);
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
    fn has_room_for(&mut self, sender: &Sender, now: Instant) -> bool {
        if self.full_at.len() < MAX_BUCKETS || self.full_at.contains_key(sender) {
            return true;
        }
        if self.tidied.is_none_or(|tidied| now.duration_since(tidied) >= TIDY) {
            self.tidied = Some(now);
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        self.full_at.len() < MAX_BUCKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> Sender {
        Sender::of(IpAddr::V4(number.into()))
    }

    #[test]
    fn a_bucket_is_emptied_at_once_and_fills_evenly() {
        let (rate, start) = (Rate::per_minute(3), Instant::now());
        let take = |seconds| rate.take(address(1), start + Duration::from_secs(seconds));
        assert!([0, 0, 0].into_iter().all(|at| take(at).is_ok()));
        assert_eq!(take(0), Err(Duration::from_secs(20)));
        assert_eq!(take(19), Err(Duration::from_secs(1)), "a refusal costs nothing");
        assert_eq!((take(20), take(20)), (Ok(()), Err(Duration::from_secs(20))));
        assert!(rate.take(address(2), start).is_ok(), "each has a bucket of its own");
        assert!([500, 500, 500].into_iter().all(|at| take(at).is_ok()));
        assert!(take(500).is_err(), "it never holds more");
    }

    #[test]
    fn a_network_of_ipv6_is_one_sender() {
        let of = |text: &str| Sender::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
    }

    #[test]
    fn callers_without_number_take_no_memory_without_bound() {
        let (rate, start) = (Rate::per_minute(2), Instant::now());
        let most = u32::try_from(MAX_BUCKETS).unwrap();
        assert!((0..most).all(|number| rate.take(address(number), start).is_ok()));
        // Those that come too late share a bucket; those that are known keep theirs.
        assert!(rate.take(address(most), start).is_ok());
        assert!(rate.take(address(most + 1), start).is_ok());
        assert!(rate.take(address(most + 2), start).is_err());
        assert!(rate.take(address(7), start).is_ok());
        assert!(rate.buckets.lock().unwrap().full_at.len() <= MAX_BUCKETS + 1);
        // When buckets are full again they make room.
        let later = start + Duration::from_secs(90);
        assert!(rate.take(address(most + 2), later).is_ok());
        assert_eq!(rate.buckets.lock().unwrap().full_at.len(), 1);
    }
}
