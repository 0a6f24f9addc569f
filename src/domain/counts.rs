//! Counts and latencies of a set of calls.

/// The number of calls, and how many of them have a status code of 200 to 299.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallCounts {
    pub total: i64,
    pub success: i64,
}

impl CallCounts {
    /// All other calls, including those without a status code.
    pub fn failure(self) -> i64 {
        self.total - self.success
    }

    /// From 0 to 1; None without calls.
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

/// The computed percentiles, in percent.
pub const PERCENTILES: [i64; 4] = [50, 90, 95, 99];

/// Milliseconds, of the calls with a latency.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LatencyStats {
    pub count: i64,
    pub avg: Option<f64>,
    pub min: Option<i32>,
    pub max: Option<i32>,
    /// At [`PERCENTILES`].
    pub percentiles: [Option<f64>; 4],
    /// The most by which a percentile may differ from the exact one, relative to it; 0 if they are exact.
    pub relative_error: f64,
}

/// The `percent`th percentile of `count` sorted values by linear interpolation between the two
/// closest ranks (SQL's PERCENTILE_CONT), given the values `below` and `above` at these ranks.
pub fn interpolate(percent: i64, count: i64, below: f64, above: f64) -> f64 {
    let hundredths = percent * (count - 1) % 100;
    below + (above - below) * hundredths as f64 / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_lies_between_its_two_ranks() {
        assert_eq!(interpolate(50, 3, 20.0, 20.0), 20.0);
        assert_eq!(interpolate(50, 4, 20.0, 30.0), 25.0);
        assert_eq!(interpolate(99, 2, 10.0, 20.0), 19.9);
    }

    #[test]
    fn no_calls_have_no_rate() {
        assert_eq!(CallCounts::default().success_rate(), None);
        assert_eq!(CallCounts { total: 4, success: 3 }.success_rate(), Some(0.75));
    }
}
