//! Limits of open connections, in total and per address. At a limit an idle connection is closed, which
//! costs its client only a reconnect.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

use super::activity::Activity;
use crate::http::client::network_of;

/// Interval of the search for an idle connection while all slots are in use.
const RECHECK: Duration = Duration::from_millis(100);

/// The connections of a server.
pub(crate) struct ConnectionSlots {
    permits: Arc<Semaphore>,
    /// `None` if one address may use all slots.
    per_address: Option<usize>,
    open: Mutex<HashMap<IpAddr, Vec<Arc<Activity>>>>,
}

/// The slot of one connection, released on drop.
pub(crate) struct ConnectionSlot {
    pub activity: Arc<Activity>,
    slots: Arc<ConnectionSlots>,
    address: IpAddr,
    _permit: Option<OwnedSemaphorePermit>,
}

impl ConnectionSlots {
    pub fn new(connections: usize, per_address: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(connections));
        let per_address = Some(per_address).filter(|limit| *limit < connections);
        Arc::new(Self { permits, per_address, open: Mutex::default() })
    }

    /// Whether an address may have one more connection. At its limit, closes one of its idle connections.
    pub fn admits(&self, address: IpAddr) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((limit, connections)) = self.per_address.zip(open.get(&network_of(address)))
        else {
            return true;
        };
        if count(connections) < limit {
            return true;
        }
        match longest_idle(connections) {
            Some(idle) => {
                idle.evict();
                true
            }
            None => false,
        }
    }

    /// Waits for a free slot and closes idle connections while it waits.
    pub async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                return Some(permit);
            }
            self.close_idle();
            if let Ok(permit) = timeout(RECHECK, Arc::clone(&self.permits).acquire_owned()).await {
                return permit.ok();
            }
        }
    }

    /// Closes an idle connection of the address with the most connections. Returns whether there was one.
    pub fn close_idle(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = open.values().filter_map(|connections| {
            longest_idle(connections).map(|idle| (count(connections), idle))
        });
        let Some((_, idle)) = idle.max_by_key(|(count, _)| *count) else { return false };
        idle.evict();
        true
    }

    /// Registers a connection. It has no permit if the server is shutting down.
    pub fn register(
        self: &Arc<Self>,
        address: IpAddr,
        permit: Option<OwnedSemaphorePermit>,
    ) -> ConnectionSlot {
        let (address, activity) = (network_of(address), Activity::new());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry(address).or_default().push(Arc::clone(&activity));
        ConnectionSlot { activity, slots: Arc::clone(self), address, _permit: permit }
    }

    /// Requests a graceful shutdown of all connections.
    pub fn close(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().flatten().for_each(|connection| connection.close());
    }
}

/// The connections that are not closing.
fn count(connections: &[Arc<Activity>]) -> usize {
    connections.iter().filter(|connection| !connection.is_closing()).count()
}

fn longest_idle(connections: &[Arc<Activity>]) -> Option<&Arc<Activity>> {
    let open = connections.iter().filter(|connection| !connection.is_closing());
    let idle = open.filter_map(|connection| Some((connection.idle_time()?, connection)));
    idle.max_by_key(|(time, _)| *time).map(|(_, connection)| connection)
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self.slots.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connections) = open.get_mut(&self.address) else { return };
        connections.retain(|connection| !Arc::ptr_eq(connection, &self.activity));
        if connections.is_empty() {
            open.remove(&self.address);
        }
    }
}

/// Held while a connection is in use. A request extension. A connection that was upgraded to WebSocket is
/// released by hyper, but still counts as open, and the server waits for it when it shuts down.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionGuard(mpsc::Sender<Infallible>);

/// All guards of one connection.
pub(crate) struct ConnectionGuards(mpsc::Receiver<Infallible>);

impl ConnectionGuard {
    pub fn new() -> (Self, ConnectionGuards) {
        let (guard, guards) = mpsc::channel(1);
        (Self(guard), ConnectionGuards(guards))
    }

    /// Returns once the server drops the connection.
    pub async fn terminated(&self) {
        self.0.closed().await;
    }
}

impl ConnectionGuards {
    /// Returns once all guards are dropped.
    pub async fn released(&mut self) {
        while self.0.recv().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn one_address_leaves_slots_for_others() {
        let slots = ConnectionSlots::new(4, 2);
        let connect = async |from: &str| {
            let from = address(from);
            assert!(slots.admits(from));
            let permit = slots.acquire().await;
            slots.register(from, permit)
        };
        // All in one IPv6 network, none of them idle.
        let first = connect("2001:db8::1").await;
        let _second = connect("2001:db8::2").await;
        assert!(!slots.admits(address("2001:db8::3")));
        let _other = connect("10.0.0.1").await;
        drop(first);
        let _third = connect("2001:db8::3").await;
        assert!(!slots.close_idle(), "a new connection is not idle");
    }
}
