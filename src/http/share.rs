//! A bounded resource of the server, of which each sender may hold a part at most: the memory of bodies
//! that are being read, streams of rows. What is left stays free for other senders.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::rate::Sender;

/// A resource that senders share.
#[derive(Debug)]
pub struct Shares {
    total: usize,
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
    /// `total` units, of which one sender may hold `each`.
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
        let (own, total) = (own - self.amount + amount, held.total - self.amount + amount);
        if amount > self.amount && total > self.shares.total {
            return Err(Exhausted::Server);
        }
        if amount > self.amount && own > self.shares.each {
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
}
