//! A bounded resource of the server that its senders share: places for requests, streams of rows, the
//! memory of bodies that are being read.
//!
//! A sender takes more only while it holds less than twice of what is free: alone it has two thirds, and
//! however many senders take all that they can, a part is left for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::rate::Sender;

/// So many times the free units may a sender hold before it takes more.
const FREE_TIMES: usize = 2;

/// A resource that senders share.
#[derive(Debug)]
pub struct Shares {
    total: usize,
    /// What a sender may hold at most, in addition to the rule above.
    each: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_sender: HashMap<Sender, usize>,
}

/// What is exhausted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exhausted {
    /// The part of this sender.
    Sender,
    /// The resource itself.
    Server,
}

/// What one request holds of a resource. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    sender: Sender,
    amount: usize,
}

impl Shares {
    /// `total` units, of which one sender may hold no more than `each`.
    pub fn new(total: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { total, each, held: Mutex::default() })
    }

    /// The share of one request, empty at first.
    pub(super) fn share(self: &Arc<Self>, sender: Sender) -> Share {
        Share { shares: Arc::clone(self), sender, amount: 0 }
    }
}

impl Share {
    /// Grows or shrinks to `amount` units. A share that cannot grow keeps what it has.
    pub fn resize(&mut self, amount: usize) -> Result<(), Exhausted> {
        if amount == self.amount {
            return Ok(());
        }
        let mut held = self.shares.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.by_sender.get(&self.sender).copied().unwrap_or(0);
        let is_greedy = own >= (self.shares.total - held.total) * FREE_TIMES;
        let (own, total) = (own - self.amount + amount, held.total - self.amount + amount);
        if amount > self.amount && total > self.shares.total {
            return Err(Exhausted::Server);
        }
        if amount > self.amount && (is_greedy || own > self.shares.each) {
            return Err(Exhausted::Sender);
        }
        held.total = total;
        match own {
            0 => {
                held.by_sender.remove(&self.sender);
            }
            own => {
                held.by_sender.insert(self.sender.clone(), own);
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

    fn sender(number: u32) -> Sender {
        Sender::of(std::net::IpAddr::V4(number.into()))
    }

    #[test]
    fn one_sender_leaves_room_for_the_others() {
        let shares = Shares::new(10, 4);
        let (mut one, mut two) = (shares.share(sender(1)), shares.share(sender(1)));
        assert_eq!((one.resize(3), two.resize(1)), (Ok(()), Ok(())));
        assert_eq!(two.resize(2), Err(Exhausted::Sender));
        let mut others: Vec<Share> = (2..4).map(|number| shares.share(sender(number))).collect();
        assert_eq!(others[0].resize(4), Ok(()));
        assert_eq!(others[1].resize(3), Err(Exhausted::Server));
        assert_eq!(others[1].resize(2), Ok(()));
        drop(one);
        assert_eq!((two.resize(4), others[1].resize(3)), (Ok(()), Err(Exhausted::Server)));
        drop((two, others));
        let held = shares.held.lock().unwrap();
        assert!(held.total == 0 && held.by_sender.is_empty(), "{held:?}");
    }

    fn fill(shares: &Arc<Shares>, number: u32) -> Vec<Share> {
        let take = || {
            let mut share = shares.share(sender(number));
            share.resize(1).is_ok().then_some(share)
        };
        std::iter::from_fn(take).collect()
    }

    #[test]
    fn a_sender_alone_has_two_thirds() {
        let held = [256, 2, 1].map(|total| fill(&Shares::new(total, total), 1).len());
        assert_eq!(held, [171, 2, 1]);
    }

    #[test]
    fn senders_that_take_all_they_can_leave_a_part() {
        let shares = Shares::new(256, 256);
        let mut held = vec![];
        // In turns, as they would come at the same time.
        loop {
            let before = held.len();
            for number in 0..8 {
                let mut share = shares.share(sender(number));
                held.extend(share.resize(1).is_ok().then_some(share));
            }
            if held.len() == before {
                break;
            }
        }
        assert!(shares.share(sender(9)).resize(1).is_ok());
        drop(held);
        assert!(shares.held.lock().unwrap().by_sender.is_empty());
    }
}
