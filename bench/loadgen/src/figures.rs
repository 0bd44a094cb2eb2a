//! Latency histograms: three significant digits from 1 µs to 60 s, and their JSON.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

const LOWEST_NS: u64 = 1_000;
const HIGHEST_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;
/// Steps of the percentile curve for each halving of what is left above.
const CURVE_STEPS: u32 = 8;

/// Latencies.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Latencies {
    /// None yet.
    ///
    /// # Errors
    /// Never for these constants.
    pub fn new() -> Result<Self, String> {
        Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS)
            .map(Self)
            .map_err(|error| error.to_string())
    }

    /// Takes one; what is beyond 60 s counts as 60 s.
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// Takes all of another.
    ///
    /// # Errors
    /// Never: all have the same bounds.
    pub fn merge(&mut self, other: &Self) -> Result<(), String> {
        self.0.add(&other.0).map_err(|error| error.to_string())
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A percentile in microseconds; 0 of none.
    #[must_use]
    pub fn percentile_us(&self, percent: f64) -> f64 {
        if self.is_empty() {
            return 0.0;
        }
        us(self.0.value_at_percentile(percent))
    }

    /// p50, p90, p99, p99.9, max and mean, in microseconds.
    #[must_use]
    pub fn summary(&self) -> Value {
        json!({
            "p50": self.percentile_us(50.0),
            "p90": self.percentile_us(90.0),
            "p99": self.percentile_us(99.0),
            "p99.9": self.percentile_us(99.9),
            "max": if self.is_empty() { 0.0 } else { us(self.0.max()) },
            "mean": self.0.mean() / 1000.0,
        })
    }

    /// `[value in µs, how many at or below it]` along the percentile curve; the last is all.
    #[must_use]
    pub fn histogram(&self) -> Value {
        self.0
            .iter_quantiles(CURVE_STEPS)
            .map(|step| {
                let count = self.0.count_between(0, step.value_iterated_to());
                json!([us(step.value_iterated_to()), count])
            })
            .collect()
    }
}

#[expect(clippy::cast_precision_loss, reason = "at most 60 s in nanoseconds")]
fn us(ns: u64) -> f64 {
    (ns as f64 / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::new().expect("bounds");
        for value in values {
            latencies.record(value);
        }
        latencies
    }

    #[test]
    fn merging_is_as_if_one_had_taken_all() {
        let mut left = of((1..=500).map(|n| n * 1000));
        let right = of((501..=1000).map(|n| n * 1000));
        let all = of((1..=1000).map(|n| n * 1000));
        left.merge(&right).expect("same bounds");
        assert_eq!(left.len(), 1000);
        assert_eq!(left.summary(), all.summary());
        assert_eq!(left.histogram(), all.histogram());
    }

    #[test]
    fn percentiles_are_within_a_thousandth() {
        let latencies = of((1..=10_000).map(|n| n * 1000));
        for (percent, right) in [(50.0, 5_000.0), (99.0, 9_900.0), (99.9, 9_990.0)] {
            let found = latencies.percentile_us(percent);
            assert!((found - right).abs() <= right / 500.0, "{percent}: {found}");
        }
    }

    #[test]
    fn the_curve_ends_with_everything_and_never_falls() {
        let curve = of([5_000, 7_000, 7_000, 90_000_000_000]).histogram();
        let counts: Vec<u64> = curve
            .as_array()
            .expect("a list")
            .iter()
            .map(|point| point[1].as_u64().expect("a count"))
            .collect();
        assert!(counts.is_sorted());
        assert_eq!(counts.last(), Some(&4));
    }

    #[test]
    fn none_is_no_fault() {
        let none = of([]);
        assert!(none.is_empty());
        assert_eq!(none.summary()["p99"], 0.0);
    }
}
