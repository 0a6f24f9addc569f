//! Kinds of failures: their status code, latency and retries.

use super::dice::Dice;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The daily quota is exhausted.
    DailyQuota,
    /// Too many requests in one minute.
    MinuteQuota,
    /// The provider has suspended the key.
    Suspended,
    /// The request is invalid, with any key.
    BadRequest,
    Overloaded,
    Internal,
    /// The connection failed: no status code.
    Disconnected,
    /// The gateway's timeout expired: no status code.
    TimedOut,
}

/// The usual failures, as fractions of all calls.
const ORDINARY: [(Fault, f64); 6] = [
    (Fault::MinuteQuota, 0.014),
    (Fault::Overloaded, 0.008),
    (Fault::Internal, 0.004),
    (Fault::BadRequest, 0.003),
    (Fault::Disconnected, 0.002),
    (Fault::TimedOut, 0.0007),
];

impl Fault {
    /// A random usual failure; `strain` scales the probability of the limit per minute.
    pub fn ordinary(dice: &mut Dice, strain: f64) -> Option<Self> {
        let mut left = dice.unit();
        for (fault, part) in ORDINARY {
            left -= if fault == Self::MinuteQuota { part * strain } else { part };
            if left < 0.0 {
                return Some(fault);
            }
        }
        None
    }

    /// `None` if the provider did not respond.
    pub fn status_code(self) -> Option<i32> {
        match self {
            Self::DailyQuota | Self::MinuteQuota => Some(429),
            Self::Suspended => Some(403),
            Self::BadRequest => Some(400),
            Self::Overloaded => Some(503),
            Self::Internal => Some(500),
            Self::Disconnected | Self::TimedOut => None,
        }
    }

    pub fn latency_ms(self, dice: &mut Dice) -> f64 {
        match self {
            Self::DailyQuota | Self::MinuteQuota => dice.lognormal(230.0, 0.35),
            Self::Suspended | Self::BadRequest => dice.lognormal(160.0, 0.30),
            Self::Overloaded => dice.lognormal(1_300.0, 0.80),
            Self::Internal => dice.lognormal(2_200.0, 0.90),
            Self::Disconnected => dice.lognormal(420.0, 1.10),
            Self::TimedOut => 60_000.0 + dice.exponential(180.0),
        }
    }

    /// The probability that the gateway retries with another key.
    pub fn retry_chance(self) -> f64 {
        match self {
            Self::BadRequest => 0.25,
            Self::TimedOut => 0.4,
            Self::Overloaded | Self::Internal | Self::Disconnected => 0.75,
            Self::DailyQuota | Self::MinuteQuota => 0.8,
            Self::Suspended => 0.9,
        }
    }
}
