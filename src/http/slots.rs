//! The open connections: how many there may be in all and of one address, and which idle one is closed
//! when there are too many. Closing idle ones costs a client no more than a new connection.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::activity::Activity;
use super::rate::network_of;

/// How soon an idle connection is looked for again while there is no room for a new one.
const RECHECK: Duration = Duration::from_millis(100);

/// The connections of a server.
pub(super) struct Slots {
    room: Arc<Semaphore>,
    /// None where one address may have all of them.
    per_address: Option<usize>,
    open: Mutex<HashMap<IpAddr, Vec<Arc<Activity>>>>,
}

/// The place of one connection; it is free again when this is dropped.
pub(super) struct Slot {
    pub activity: Arc<Activity>,
    slots: Arc<Slots>,
    address: IpAddr,
    _room: Option<OwnedSemaphorePermit>,
}

impl Slots {
    pub fn new(connections: usize, per_address: usize) -> Arc<Self> {
        let room = Arc::new(Semaphore::new(connections));
        let per_address = Some(per_address).filter(|limit| *limit < connections);
        Arc::new(Self { room, per_address, open: Mutex::default() })
    }

    /// Whether an address may have one more connection. Where it has as many as it may have, an idle one
    /// of them is closed for the new one.
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

    /// Waits for room for one more connection, and closes idle ones meanwhile.
    pub async fn room(&self) -> Option<OwnedSemaphorePermit> {
        loop {
            if let Ok(room) = Arc::clone(&self.room).try_acquire_owned() {
                return Some(room);
            }
            self.close_idle();
            // An error means that the semaphore is closed, which it never is.
            if let Ok(room) = timeout(RECHECK, Arc::clone(&self.room).acquire_owned()).await {
                return room.ok();
            }
        }
    }

    /// Closes an idle connection of the address that has the most; tells whether there was one.
    pub fn close_idle(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = open.values().filter_map(|connections| {
            longest_idle(connections).map(|idle| (count(connections), idle))
        });
        let Some((_, idle)) = idle.max_by_key(|(count, _)| *count) else { return false };
        idle.evict();
        true
    }

    /// Enters a connection, which has `room` unless the server stops.
    pub fn enter(self: &Arc<Self>, address: IpAddr, room: Option<OwnedSemaphorePermit>) -> Slot {
        let (address, activity) = (network_of(address), Activity::new());
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.entry(address).or_default().push(Arc::clone(&activity));
        Slot { activity, slots: Arc::clone(self), address, _room: room }
    }

    /// Asks all connections to close after the requests that they answer.
    pub fn close(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.values().flatten().for_each(|connection| connection.close());
    }
}

/// Those that are not about to close.
fn count(connections: &[Arc<Activity>]) -> usize {
    connections.iter().filter(|connection| !connection.is_closing()).count()
}

fn longest_idle(connections: &[Arc<Activity>]) -> Option<&Arc<Activity>> {
    let open = connections.iter().filter(|connection| !connection.is_closing());
    let idle = open.filter_map(|connection| Some((connection.idle_time()?, connection)));
    idle.max_by_key(|(time, _)| *time).map(|(_, connection)| connection)
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut open = self.slots.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(connections) = open.get_mut(&self.address) else { return };
        connections.retain(|connection| !Arc::ptr_eq(connection, &self.activity));
        if connections.is_empty() {
            open.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn one_address_leaves_room_for_the_others() {
        let slots = Slots::new(4, 2);
        let enter = async |from: &str| {
            let from = address(from);
            assert!(slots.admits(from));
            let room = slots.room().await;
            slots.enter(from, room)
        };
        // All of one network of IPv6; none of them idle.
        let first = enter("2001:db8::1").await;
        let _second = enter("2001:db8::2").await;
        assert!(!slots.admits(address("2001:db8::3")));
        let _other = enter("10.0.0.1").await;
        drop(first);
        let _third = enter("2001:db8::3").await;
        assert!(!slots.close_idle(), "a new connection is not idle");
    }
}
