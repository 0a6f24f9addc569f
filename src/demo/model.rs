//! The models: their share of calls, endpoints and latency.

use super::dice::Dice;

pub struct Model {
    pub name: &'static str,
    /// Percentage of all calls.
    share: f64,
    median_ms: f64,
    sigma: f64,
    /// The gateway's names of its endpoints, with weights.
    endpoints: &'static [(&'static str, f64)],
    /// Requests per day and key in the free tier.
    pub daily_quota: u32,
}

/// The gateway's timeout.
const LONGEST_MS: f64 = 300_000.0;

const CHAT: &[(&str, f64)] = &[
    ("openai-chat-stream", 36.0),
    ("openai-chat-non-stream", 22.0),
    ("gemini-chat-stream", 18.0),
    ("gemini-chat-non-stream", 11.0),
    // The gateway's spelling.
    ("openai-compatiable-stream", 6.0),
    ("openai-compatiable-non-stream", 5.0),
    ("gemini-count-tokens", 2.0),
];
const EMBEDDING: &[(&str, f64)] = &[("gemini-embed-single", 55.0), ("openai-embedding", 45.0)];

pub const MODELS: [Model; 6] = [
    chat("gemini-2.5-flash", 38.0, 2_600.0, 0.70, 250),
    chat("gemini-2.5-pro", 23.0, 13_500.0, 0.62, 100),
    chat("gemini-2.5-flash-lite", 14.0, 950.0, 0.50, 1_000),
    chat("gemini-2.0-flash", 11.0, 1_400.0, 0.55, 200),
    Model {
        name: "text-embedding-004",
        share: 11.0,
        median_ms: 210.0,
        sigma: 0.35,
        endpoints: EMBEDDING,
        daily_quota: 1_500,
    },
    chat("gemini-2.5-flash-image-preview", 3.0, 9_200.0, 0.40, 100),
];

/// The indexes of the model with the most calls, and of the one that exhausts its quota first.
pub const BUSIEST: usize = 0;
pub const SCARCEST: usize = 1;

const fn chat(
    name: &'static str,
    share: f64,
    median_ms: f64,
    sigma: f64,
    daily_quota: u32,
) -> Model {
    Model { name, share, median_ms, sigma, endpoints: CHAT, daily_quota }
}

impl Model {
    /// A random model index, by share.
    pub fn choose(dice: &mut Dice) -> usize {
        dice.weighted(MODELS.iter().map(|model| model.share))
    }

    pub fn choose_endpoint(&self, dice: &mut Dice) -> &'static str {
        let index = dice.weighted(self.endpoints.iter().map(|(_, weight)| *weight));
        self.endpoints[index].0
    }

    /// The latency of a successful call, multiplied by `slowdown` in an outage.
    pub fn latency_ms(&self, dice: &mut Dice, slowdown: f64) -> f64 {
        (dice.lognormal(self.median_ms, self.sigma) * slowdown).clamp(20.0, LONGEST_MS)
    }
}
