//! Medians and percentiles over exact samples: the runs are short enough to keep every one.

use serde::Serialize;

/// Percentiles of a set of durations, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Percentiles {
    /// Samples they stand for.
    pub count: usize,
    /// Median.
    pub p50_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// 99.9th percentile.
    pub p999_ms: f64,
    /// Largest.
    pub max_ms: f64,
}

impl Percentiles {
    /// Sorts `samples_ns` and reads the percentiles off (nearest rank).
    pub fn of(mut samples_ns: Vec<u64>) -> Self {
        samples_ns.sort_unstable();
        let at = |share: f64| {
            let rank = (share * samples_ns.len() as f64).ceil() as usize;
            let index = rank.clamp(1, samples_ns.len().max(1)) - 1;
            samples_ns.get(index).map_or(0.0, |&ns| ns as f64 / 1e6)
        };
        Self {
            count: samples_ns.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: at(1.0),
        }
    }
}

/// The middle value; of an even number, the mean of the middle two. Nothing for no values.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values
        .into_iter()
        .filter(|value| value.is_finite())
        .collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let found = Percentiles::of((1..=1000).rev().map(|ms| ms * 1_000_000).collect());
        assert_eq!(
            (found.p50_ms, found.p99_ms, found.p999_ms, found.max_ms),
            (500.0, 990.0, 999.0, 1000.0)
        );
        assert_eq!(Percentiles::of(Vec::new()).p99_ms, 0.0);
    }

    #[test]
    fn median_of_odd_even_and_none() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, f64::NAN, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }
}
