//! Places for what the server works on at the same time, shared by its clients.
//!
//! A client takes no more than twice as many places as are still free: alone it has two thirds of them, and
//! however many clients take all that they can, a part is left for the others.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::rate::Sender;

/// So many times the free places may one client have.
const SHARE: usize = 2;

pub(super) struct Room {
    places: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    by_sender: HashMap<Sender, usize>,
}

/// A place; free again when it is dropped.
pub(super) struct Place {
    room: Arc<Room>,
    sender: Sender,
}

impl Room {
    pub fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places, taken: Mutex::default() })
    }

    /// None where no place is left for this client.
    pub fn enter(self: &Arc<Self>, sender: Sender) -> Option<Place> {
        let mut taken = self.taken();
        let free = self.places.saturating_sub(taken.all);
        let own = taken.by_sender.get(&sender).copied().unwrap_or(0);
        if own >= free * SHARE {
            return None;
        }
        taken.all += 1;
        *taken.by_sender.entry(sender.clone()).or_default() += 1;
        Some(Place { room: Arc::clone(self), sender })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.room.taken();
        taken.all -= 1;
        if let Some(own) = taken.by_sender.get_mut(&self.sender) {
            *own -= 1;
            if *own == 0 {
                taken.by_sender.remove(&self.sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(room: &Arc<Room>, name: &str) -> Vec<Place> {
        std::iter::from_fn(|| room.enter(Sender::Token(name.to_owned()))).collect()
    }

    #[test]
    fn one_client_has_two_thirds() {
        assert_eq!(fill(&Room::new(256), "a").len(), 171);
        assert_eq!(fill(&Room::new(2), "a").len(), 2);
        assert_eq!(fill(&Room::new(1), "a").len(), 1);
    }

    #[test]
    fn clients_that_take_all_they_can_leave_room() {
        let room = Room::new(256);
        // In turns, as they would come at the same time.
        let mut places = vec![];
        let names: Vec<String> = (0..8).map(|name| name.to_string()).collect();
        loop {
            let before = places.len();
            let entered = names.iter().filter_map(|name| room.enter(Sender::Token(name.clone())));
            places.extend(entered);
            if places.len() == before {
                break;
            }
        }
        assert!(room.enter(Sender::Token("another".into())).is_some());
        drop(places);
        assert!(room.taken().by_sender.len() <= 1);
    }
}
