//! What the simulated gateways of labelled traffic share: their keys, the order in which they use them, and their
//! log.

use callscope::demo::dice::Dice;
use callscope::domain::diagnosis::{Calls, Outcome};
use callscope::domain::failure::FailureClass as Class;

pub const SECOND: i64 = 1_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;

/// 2026-03-02T00:00:00Z, a Monday.
pub const START: i64 = 1_772_409_600 * SECOND;

/// Calls with the same key, with `Rotation::Sticky`.
const STICKY_CALLS: u32 = 20;

/// How the gateway chooses the next key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rotation {
    RoundRobin,
    Random,
    /// The same key until it fails, or after 20 calls.
    Sticky,
}

/// The order in which the gateway uses its keys.
pub struct KeyOrder {
    rotation: Rotation,
    keys: Vec<u32>,
    turn: usize,
    /// Calls with the present key.
    used: u32,
}

impl KeyOrder {
    pub fn new(rotation: Rotation, keys: u32, dice: &mut Dice) -> Self {
        let mut keys: Vec<u32> = (0..keys).collect();
        dice.shuffle(&mut keys);
        Self { rotation, keys, turn: 0, used: 0 }
    }

    pub fn next(&mut self, dice: &mut Dice) -> u32 {
        match self.rotation {
            Rotation::RoundRobin => self.turn += 1,
            Rotation::Random => self.turn = dice.below(self.keys.len()),
            Rotation::Sticky => {
                self.used += 1;
                if self.used > STICKY_CALLS {
                    self.failed();
                }
            }
        }
        self.keys[self.turn % self.keys.len()]
    }

    /// A call with the present key failed.
    pub fn failed(&mut self) {
        if self.rotation == Rotation::Sticky {
            (self.used, self.turn) = (0, self.turn + 1);
        }
    }

    /// The present key was removed.
    pub fn leave(&mut self) {
        self.used = STICKY_CALLS;
    }
}

/// The project of each key: 1 to 5 keys share one.
pub fn projects(keys: u32, dice: &mut Dice) -> Vec<u32> {
    let mut projects = Vec::new();
    let mut project = 0;
    while projects.len() < keys as usize {
        let size = 1 + dice.below(5);
        projects.extend(std::iter::repeat_n(project, size));
        project += 1;
    }
    projects.truncate(keys as usize);
    projects
}

/// A call in the log of the gateway.
#[derive(Clone)]
pub struct LoggedCall {
    pub at: i64,
    pub key: u32,
    pub model: u32,
    /// What the provider's text states; `None` for a success.
    pub class: Option<Class>,
    pub status: u16,
    pub latency_ms: u32,
    /// Whether a failure has an error log.
    pub is_logged: bool,
}

impl LoggedCall {
    pub fn add_to(&self, calls: &mut Calls) {
        calls.at.push(self.at);
        calls.key.push(self.key);
        calls.model.push(self.model);
        calls.status.push(self.status);
        calls.latency_ms.push(self.latency_ms);
        calls.outcome.push(match self.class {
            None => Outcome::Success,
            Some(class) if self.is_logged => Outcome::Logged(class),
            Some(_) => Outcome::Unlogged(class_of_status(self.status)),
        });
    }
}

/// What the status code alone shows, as in `rules.toml`.
fn class_of_status(status: u16) -> Class {
    match status {
        400 => Class::BadRequest,
        401 => Class::KeyInvalid,
        402 => Class::Billing,
        403 => Class::KeyPermission,
        404 => Class::ModelNotFound,
        429 => Class::QuotaOther,
        500 | 502 => Class::ProviderError,
        503 => Class::ProviderOverloaded,
        _ => Class::Unknown,
    }
}
