//! Fair shares of a bounded resource: request slots, stream slots, memory of request bodies.
//!
//! A client may take more only while it holds less than twice the free units. A single client gets two
//! thirds, and any number of greedy clients leave a part for others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::http::client::ClientKey;

/// A client may take more while it holds less than this multiple of the free units.
const FREE_MULTIPLE: usize = 2;

/// A resource shared by clients.
#[derive(Debug)]
pub struct FairShares {
    total: usize,
    /// Fixed limit per client, in addition to the rule above.
    per_client: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_client: HashMap<ClientKey, usize>,
}

/// The limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    Client,
    Server,
}

/// The units of one request, released on drop.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<FairShares>,
    client: ClientKey,
    amount: usize,
}

impl FairShares {
    /// `total` units, at most `per_client` of them for one client.
    pub fn new(total: usize, per_client: usize) -> Arc<Self> {
        Arc::new(Self { total, per_client, held: Mutex::default() })
    }

    /// An empty share for one request.
    pub(crate) fn share(self: &Arc<Self>, client: ClientKey) -> Share {
        Share { shares: Arc::clone(self), client, amount: 0 }
    }
}

impl Share {
    /// Grows or shrinks to `amount` units. A failure leaves the share unchanged.
    pub fn resize(&mut self, amount: usize) -> Result<(), Exhausted> {
        if amount == self.amount {
            return Ok(());
        }
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.by_client.get(&self.client).copied().unwrap_or(0);
        let is_greedy = own >= (self.shares.total - held.total) * FREE_MULTIPLE;
        let (own, total) = (own - self.amount + amount, held.total - self.amount + amount);
        if amount > self.amount && total > self.shares.total {
            return Err(Exhausted::Server);
        }
        if amount > self.amount && (is_greedy || own > self.shares.per_client) {
            return Err(Exhausted::Client);
        }
        held.total = total;
        match own {
            0 => {
                held.by_client.remove(&self.client);
            }
            own => {
                held.by_client.insert(self.client.clone(), own);
            }
        }
        drop(held);
        self.amount = amount;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Shrinking never fails.
        let _ = self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> ClientKey {
        ClientKey::of(std::net::IpAddr::V4(number.into()))
    }

    #[test]
    fn one_client_leaves_units_for_others() {
        let shares = FairShares::new(10, 4);
        let (mut one, mut two) = (shares.share(client(1)), shares.share(client(1)));
        assert_eq!((one.resize(3), two.resize(1)), (Ok(()), Ok(())));
        assert_eq!(two.resize(2), Err(Exhausted::Client));
        let mut others: Vec<Share> = (2..4).map(|number| shares.share(client(number))).collect();
        assert_eq!(others[0].resize(4), Ok(()));
        assert_eq!(others[1].resize(3), Err(Exhausted::Server));
        assert_eq!(others[1].resize(2), Ok(()));
        drop(one);
        assert_eq!((two.resize(4), others[1].resize(3)), (Ok(()), Err(Exhausted::Server)));
        drop((two, others));
        let held = shares.held.lock().unwrap();
        assert!(held.total == 0 && held.by_client.is_empty(), "{held:?}");
    }

    fn fill(shares: &Arc<FairShares>, number: u32) -> Vec<Share> {
        let take = || {
            let mut share = shares.share(client(number));
            share.resize(1).is_ok().then_some(share)
        };
        std::iter::from_fn(take).collect()
    }

    #[test]
    fn a_single_client_gets_two_thirds() {
        let held = [256, 2, 1].map(|total| fill(&FairShares::new(total, total), 1).len());
        assert_eq!(held, [171, 2, 1]);
    }

    #[test]
    fn greedy_clients_leave_units_for_others() {
        let shares = FairShares::new(256, 256);
        let mut held = vec![];
        // In turns, like concurrent clients.
        loop {
            let before = held.len();
            for number in 0..8 {
                let mut share = shares.share(client(number));
                held.extend(share.resize(1).is_ok().then_some(share));
            }
            if held.len() == before {
                break;
            }
        }
        assert!(shares.share(client(9)).resize(1).is_ok());
        drop(held);
        assert!(shares.held.lock().unwrap().by_client.is_empty());
    }
}
