//! Who calls: 50 made-up keys in rotation, some of them heavier, one dead, one throttled lately.

use chrono::{DateTime, TimeDelta, Utc};

use super::dice::{Dice, seconds};

pub const KEYS: usize = 50;
/// What every key begins with: no real key does.
pub const PREFIX: &str = "FakeSyDEMO";

const KEY_LENGTH: usize = 39;
const HEAVY_KEYS: usize = 7;
/// How often a heavy key has its turn while another has one.
const HEAVY_TURNS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Health {
    Well,
    /// Every call since fails: the provider has suspended the key, and nobody took it out.
    Dead(DateTime<Utc>),
    /// Many calls since fail with 429, the others succeed.
    Throttled(DateTime<Utc>),
}

pub struct Key {
    pub text: String,
    pub health: Health,
    /// How often it runs into the limit of requests per minute, against other keys.
    pub strain: f64,
}

pub struct Pool {
    pub keys: Vec<Key>,
    /// Indexes of keys, in the order of their turns.
    rotation: Vec<usize>,
    turn: usize,
}

impl Pool {
    pub fn new(dice: &mut Dice, until: DateTime<Utc>) -> Self {
        let mut order: Vec<usize> = (0..KEYS).collect();
        dice.shuffle(&mut order);
        // The first of `order` are heavy; the two that are not well are plain ones behind them.
        let (dead, throttled) = (order[HEAVY_KEYS], order[HEAVY_KEYS + 1]);
        let heavy = &order[..HEAVY_KEYS];
        let keys = (0..KEYS)
            .map(|index| Key {
                text: invent(dice, index),
                health: Health::Well,
                strain: if heavy.contains(&index) { 1.8 } else { dice.between(0.4, 1.3) },
            })
            .collect();
        let mut rotation: Vec<usize> = (0..KEYS).collect();
        for _ in 1..HEAVY_TURNS {
            rotation.extend(heavy);
        }
        dice.shuffle(&mut rotation);
        let mut pool = Self { keys, rotation, turn: 0 };
        let days_dead = dice.between(8.0, 11.0);
        pool.keys[dead].health = Health::Dead(until - seconds(days_dead * 86_400.0));
        pool.keys[throttled].health = Health::Throttled(until - TimeDelta::hours(5));
        pool
    }

    /// The key whose turn it is.
    pub fn next(&mut self) -> usize {
        let key = self.rotation[self.turn];
        self.turn = (self.turn + 1) % self.rotation.len();
        key
    }
}

/// A key that looks like a key, and like a fake.
fn invent(dice: &mut Dice, index: usize) -> String {
    const NOISE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = format!("{PREFIX}{index:03}");
    while text.len() < KEY_LENGTH {
        text.push(char::from(NOISE[dice.below(NOISE.len())]));
    }
    text
}
