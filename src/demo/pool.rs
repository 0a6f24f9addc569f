//! The 50 fake keys in rotation: some are used more, one is dead, one is throttled.

use chrono::{DateTime, TimeDelta, Utc};

use super::dice::{Dice, seconds};

pub const KEYS: usize = 50;
/// The prefix of every key, which no real key has.
pub const PREFIX: &str = "FakeSyDEMO";

const KEY_LENGTH: usize = 39;
const HEAVY_KEYS: usize = 7;
/// Turns of a heavy key per rotation; other keys have one.
const HEAVY_TURNS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Health {
    Healthy,
    /// All calls fail since this time: the provider suspended the key.
    Dead(DateTime<Utc>),
    /// Many calls fail with 429 since this time, the others succeed.
    Throttled(DateTime<Utc>),
}

pub struct Key {
    pub text: String,
    pub health: Health,
    /// Factor for the probability of exceeding the limit per minute.
    pub strain: f64,
}

pub struct Pool {
    pub keys: Vec<Key>,
    /// Key indexes in the order of use.
    rotation: Vec<usize>,
    turn: usize,
}

impl Pool {
    pub fn new(dice: &mut Dice, until: DateTime<Utc>) -> Self {
        let mut order: Vec<usize> = (0..KEYS).collect();
        dice.shuffle(&mut order);
        // The first ones are heavy; the next two are dead and throttled.
        let (dead, throttled) = (order[HEAVY_KEYS], order[HEAVY_KEYS + 1]);
        let heavy = &order[..HEAVY_KEYS];
        let keys = (0..KEYS)
            .map(|index| Key {
                text: fake_key(dice, index),
                health: Health::Healthy,
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

    /// The index of the next key.
    pub fn next(&mut self) -> usize {
        let key = self.rotation[self.turn];
        self.turn = (self.turn + 1) % self.rotation.len();
        key
    }
}

/// A key in the usual format, recognisable as fake.
fn fake_key(dice: &mut Dice, index: usize) -> String {
    const NOISE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = format!("{PREFIX}{index:03}");
    while text.len() < KEY_LENGTH {
        text.push(char::from(NOISE[dice.below(NOISE.len())]));
    }
    text
}
