//! What is counted of a set of calls.

/// Calls of a window: `total` of them, `success` of these with a status code of 200 to 299.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCounts {
    pub total: i64,
    pub success: i64,
}

impl CallCounts {
    /// Everything that did not succeed, a missing status code included.
    pub fn failure(self) -> i64 {
        self.total - self.success
    }

    /// From 0 to 1; nothing where there was no call.
    pub fn success_rate(self) -> Option<f64> {
        (self.total > 0).then(|| self.success as f64 / self.total as f64)
    }
}

impl std::ops::AddAssign for CallCounts {
    fn add_assign(&mut self, other: Self) {
        self.total += other.total;
        self.success += other.success;
    }
}

/// The percentiles that are computed, in percent.
pub const PERCENTILES: [i64; 4] = [50, 90, 95, 99];

/// Milliseconds over the calls that have a latency.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LatencyStats {
    pub count: i64,
    pub avg: Option<f64>,
    pub min: Option<i32>,
    pub max: Option<i32>,
    /// At [`PERCENTILES`].
    pub percentiles: [Option<f64>; 4],
}

/// The `percent`th percentile of `count` sorted values by linear interpolation between the two
/// closest ranks (SQL's PERCENTILE_CONT), given the values `below` and `above` at these ranks.
pub fn interpolate(percent: i64, count: i64, below: i64, above: i64) -> f64 {
    let hundredths = percent * (count - 1) % 100;
    below as f64 + (above - below) as f64 * hundredths as f64 / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_lies_between_its_two_ranks() {
        assert_eq!(interpolate(50, 3, 20, 20), 20.0);
        assert_eq!(interpolate(50, 4, 20, 30), 25.0);
        assert_eq!(interpolate(99, 2, 10, 20), 19.9);
    }

    #[test]
    fn no_calls_have_no_rate() {
        assert_eq!(CallCounts::default().success_rate(), None);
        assert_eq!(CallCounts { total: 4, success: 3 }.success_rate(), Some(0.75));
    }
}
