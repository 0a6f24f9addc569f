//! Histograms of latencies that can be merged. Each bucket is at most 1/64 as wide as its values, so that
//! its middle differs from each of them by at most 1/128. Values below 128 have a bucket each.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use crate::domain::counts::{LatencyStats, PERCENTILES, interpolate};

/// The most by which a percentile may differ from the exact one, relative to it.
pub const RELATIVE_ERROR: f64 = 1.0 / 128.0;

/// The binary digits of a bucket after the first.
const PRECISION: u32 = 6;
/// Values below are exact.
const EXACT: u64 = 2 << PRECISION;

/// The number of a bucket, in the order of the values. Negative values have negative numbers.
type Bucket = i32;

/// From so many pairs of buckets and counts on, they are counted instead of sorted.
const MANY_BUCKETS: usize = 2048;

/// The bucket of the highest value of 64 bits.
const LAST_BUCKET: Bucket = (((63 - PRECISION) << PRECISION) + (2 << PRECISION)) as Bucket;

fn bucket(value: i64) -> Bucket {
    let magnitude = value.unsigned_abs();
    let bucket = if magnitude < EXACT {
        magnitude as Bucket
    } else {
        let shift = magnitude.ilog2() - PRECISION;
        // The digits of the value, of which the first is set, behind those of all smaller values.
        ((shift << PRECISION) as u64 + (magnitude >> shift)) as Bucket
    };
    if value < 0 { -bucket } else { bucket }
}

/// The middle of the values of a bucket.
fn middle(bucket: Bucket) -> f64 {
    let number = bucket.unsigned_abs();
    let magnitude = if u64::from(number) < EXACT {
        f64::from(number)
    } else {
        let shift = (number >> PRECISION) - 1;
        let digits = number - (shift << PRECISION);
        let width = 2f64.powi(shift as i32);
        f64::from(digits) * width + (width - 1.0) / 2.0
    };
    if bucket < 0 { -magnitude } else { magnitude }
}

/// Latencies of a set of calls: exact count, sum and limits, and a histogram.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    pub count: i64,
    pub sum: i64,
    pub min: Option<i64>,
    pub max: Option<i64>,
    /// The number of latencies of each bucket, sorted by bucket.
    buckets: Vec<(Bucket, i64)>,
}

impl Latencies {
    /// Latencies that [`Self::encoded`] has written, without their buckets.
    pub fn new(count: i64, sum: i64, min: Option<i64>, max: Option<i64>) -> Self {
        Self { count, sum, min, max, buckets: vec![] }
    }

    /// Adds `count` calls with this latency.
    pub fn add(&mut self, value: i64, count: i64) {
        self.add_exact(&Self::new(count, value.saturating_mul(count), Some(value), Some(value)));
        self.add_bucket(bucket(value), count);
    }

    pub fn merge(&mut self, other: &Self) {
        self.add_exact(other);
        self.add_buckets(&other.buckets);
    }

    /// Adds count, sum and limits of other latencies.
    pub fn add_exact(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.min = [self.min, other.min].into_iter().flatten().min();
        self.max = self.max.max(other.max);
    }

    /// Adds the buckets of texts that [`Self::encoded`] has written, separated by spaces. None if one is
    /// something else.
    pub fn add_encoded<'a>(&mut self, texts: impl IntoIterator<Item = &'a str>) -> Option<()> {
        let mut found = vec![];
        for text in texts.into_iter().flat_map(str::split_ascii_whitespace) {
            decode(text, &mut found)?;
        }
        if found.len() > MANY_BUCKETS {
            // A counter for each bucket is faster than sorting.
            let mut counts = vec![0; 2 * LAST_BUCKET as usize + 1];
            for (bucket, count) in found {
                counts[(bucket + LAST_BUCKET) as usize] += count;
            }
            found = (-LAST_BUCKET..).zip(counts).filter(|(_, count)| *count > 0).collect();
        } else {
            found.sort_unstable_by_key(|(bucket, _)| *bucket);
            found.dedup_by(|(bucket, count), (kept, sum)| {
                let is_same = bucket == kept;
                *sum += if is_same { *count } else { 0 };
                is_same
            });
        }
        self.add_buckets(&found);
        Some(())
    }

    /// The buckets as a text without spaces: the distances of the buckets and their counts in a variable
    /// number of bytes, in base64.
    pub fn encoded(&self) -> String {
        let mut bytes = Vec::with_capacity(self.buckets.len() * 3);
        let mut last = 0;
        for (bucket, count) in &self.buckets {
            let distance = i64::from(bucket - last);
            // Zigzag: small negative numbers are short too.
            write(&mut bytes, ((distance << 1) ^ (distance >> 63)).cast_unsigned());
            write(&mut bytes, count.unsigned_abs());
            last = *bucket;
        }
        STANDARD_NO_PAD.encode(bytes)
    }

    pub fn stats(&self) -> LatencyStats {
        let int = |value: Option<i64>| value.and_then(|value| i32::try_from(value).ok());
        LatencyStats {
            count: self.count,
            avg: (self.count > 0).then(|| self.sum as f64 / self.count as f64),
            min: int(self.min),
            max: int(self.max),
            percentiles: self.percentiles(),
            relative_error: if self.count > 0 { RELATIVE_ERROR } else { 0.0 },
        }
    }

    fn percentiles(&self) -> [Option<f64>; 4] {
        PERCENTILES.map(|percent| {
            let rank = percent * (self.count - 1).max(0);
            let below = self.at_rank(rank / 100)?;
            let above = self.at_rank((rank + 99) / 100)?;
            Some(interpolate(percent, self.count, below, above))
        })
    }

    /// The value at a rank, from 0.
    fn at_rank(&self, rank: i64) -> Option<f64> {
        let mut upto = 0;
        let (bucket, _) = self.buckets.iter().find(|(_, count)| {
            upto += count;
            upto > rank
        })?;
        let (min, max) = (self.min? as f64, self.max? as f64);
        Some(middle(*bucket).clamp(min, max))
    }

    fn add_bucket(&mut self, bucket: Bucket, count: i64) {
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => self.buckets[at].1 += count,
            Err(at) => self.buckets.insert(at, (bucket, count)),
        }
    }

    fn add_buckets(&mut self, sorted: &[(Bucket, i64)]) {
        if self.buckets.is_empty() {
            self.buckets = sorted.to_vec();
            return;
        }
        let mut own = std::mem::take(&mut self.buckets).into_iter().peekable();
        let mut other = sorted.iter().copied().peekable();
        while let (Some(one), Some(two)) = (own.peek().copied(), other.peek().copied()) {
            if one.0 <= two.0 {
                own.next();
            }
            if two.0 <= one.0 {
                other.next();
            }
            self.buckets.push(match one.0.cmp(&two.0) {
                std::cmp::Ordering::Less => one,
                std::cmp::Ordering::Greater => two,
                std::cmp::Ordering::Equal => (one.0, one.1 + two.1),
            });
        }
        self.buckets.extend(own.chain(other));
    }
}

/// Adds the buckets of a text and their counts.
fn decode(text: &str, buckets: &mut Vec<(Bucket, i64)>) -> Option<()> {
    let bytes = STANDARD_NO_PAD.decode(text).ok()?;
    let (mut rest, mut last) = (bytes.as_slice(), 0i64);
    while !rest.is_empty() {
        let distance = read(&mut rest)?;
        let distance = (distance >> 1).cast_signed() ^ -(distance & 1).cast_signed();
        last = last.checked_add(distance)?;
        let bucket = i32::try_from(last).ok().filter(|bucket| bucket.abs() <= LAST_BUCKET)?;
        buckets.push((bucket, read(&mut rest)?.try_into().ok()?));
    }
    Some(())
}

/// Seven bits in each byte, the lowest first; the highest bit of a byte says that another follows.
fn write(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_sorted_and_narrow() {
        let values = (0..5000).chain((5000..1 << 40).step_by(1 << 31)).chain([i64::MAX, i64::MIN]);
        for value in values.flat_map(|value: i64| [value, value.saturating_neg()]) {
            let error = (middle(bucket(value)) - value as f64).abs();
            assert!(error <= value.unsigned_abs() as f64 * RELATIVE_ERROR, "{value}: {error}");
            if value < i64::MAX {
                assert!(bucket(value) <= bucket(value + 1), "{value}");
            }
        }
        assert!((-127..128).all(|value| middle(bucket(value)) == value as f64));
        assert_eq!((bucket(127), bucket(128), bucket(129), bucket(130)), (127, 128, 128, 129));
    }

    #[test]
    fn merged_texts_are_the_latencies_of_all() {
        let (mut all, mut merged) = (Latencies::default(), Latencies::default());
        let mut texts = vec![];
        for part in 0..5i64 {
            let mut latencies = Latencies::default();
            for number in 0..200 {
                let value = (number * number * 37 + part * 101) % 90_000 - 40;
                latencies.add(value, 1 + number % 3);
                all.add(value, 1 + number % 3);
            }
            texts.push(latencies.encoded());
            merged.add_exact(&latencies);
        }
        merged.add_encoded([texts.join(" ").as_str()]).unwrap();
        assert_eq!(merged, all);
        let mut by_merge = Latencies::new(0, 0, None, None);
        by_merge.merge(&all);
        by_merge.merge(&merged);
        assert_eq!(by_merge.count, 2 * all.count);
        assert_eq!(by_merge.stats().percentiles[0], all.stats().percentiles[0]);
    }

    #[test]
    fn percentiles_are_close_to_exact_ones() {
        let mut values: Vec<i64> = (0..1000).map(|number| number * number % 7919 * 3).collect();
        let mut latencies = Latencies::default();
        values.iter().for_each(|value| latencies.add(*value, 1));
        values.sort_unstable();
        let stats = latencies.stats();
        for (percent, found) in PERCENTILES.into_iter().zip(stats.percentiles) {
            let at = |hundredths: i64| values[(hundredths / 100) as usize] as f64;
            let rank = percent * 999;
            let exact = interpolate(percent, 1000, at(rank), at(rank + 99));
            let error = (found.unwrap() - exact).abs() / exact;
            assert!(error <= RELATIVE_ERROR, "{percent}: {error}");
        }
        assert_eq!(
            (stats.count, stats.min, stats.max),
            (1000, Some(0), values.last().map(|v| *v as i32))
        );
        assert_eq!(Latencies::default().stats(), LatencyStats::default());
    }

    #[test]
    fn damaged_texts_are_refused() {
        let mut latencies = Latencies::default();
        for text in ["*", "gA", "AA", "/////////////w8B", "AAH///////////8P"] {
            assert_eq!(latencies.add_encoded([text]), None, "{text}");
        }
        assert_eq!(latencies.add_encoded(["  ", ""]), Some(()));
    }
}
