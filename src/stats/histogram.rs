//! What a histogram's cells add up to: counts by bin, quantiles, counts by bucket.

use std::collections::BTreeMap;

use crate::stats::bins::Bin;

/// Upper bounds of the buckets in which listings and Prometheus show histograms (Envoy's defaults).
pub const DEFAULT_BUCKETS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1_000.0,
    2_500.0,
    5_000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// The quantiles that listings show.
pub const QUANTILES: [f64; 10] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0];

/// Values by bin.
#[derive(Debug, Clone, Default)]
pub struct Distribution {
    bins: BTreeMap<Bin, u64>,
    sum: u64,
}

impl Distribution {
    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.bins.values().sum()
    }

    /// Sum of all values, exact.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The value at rank `ceil(quantile * count)` (the first at least), values of one bin being
    /// spread evenly inside it; none if nothing was recorded.
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let rank = ((quantile.clamp(0.0, 1.0) * self.count() as f64).ceil() as u64).max(1);
        let mut below = 0;
        for (bin, count) in &self.bins {
            if rank <= below + count {
                let place = (rank - below) as f64 / (count + 1) as f64;
                return Some(bin.low() + place * bin.width());
            }
            below += count;
        }
        None
    }

    /// For each of `bounds`, how many values lie in bins that begin at or below it.
    pub fn cumulative_counts<'a>(&'a self, bounds: &'a [f64]) -> impl Iterator<Item = u64> + 'a {
        let mut bins = self.bins.iter().peekable();
        let mut below = 0;
        bounds.iter().map(move |bound| {
            while let Some((_, count)) = bins.next_if(|(bin, _)| bin.low() <= *bound) {
                below += count;
            }
            below
        })
    }

    /// Each occupied bin: lower bound, width, count.
    pub fn occupied(&self) -> impl Iterator<Item = (f64, f64, u64)> {
        self.bins.iter().map(|(bin, count)| (bin.low(), bin.width(), *count))
    }

    pub(super) fn add(&mut self, bin: Bin, count: u64) {
        if count > 0 {
            *self.bins.entry(bin).or_default() += count;
        }
    }

    pub(super) fn add_sum(&mut self, sum: u64) {
        self.sum = self.sum.wrapping_add(sum);
    }

    /// What came since `earlier`, an older state of the same histogram.
    pub(super) fn since(&self, earlier: &Distribution) -> Distribution {
        let mut later = Distribution { bins: BTreeMap::new(), sum: self.sum.wrapping_sub(earlier.sum) };
        for (bin, count) in &self.bins {
            later.add(*bin, count.saturating_sub(earlier.bins.get(bin).copied().unwrap_or(0)));
        }
        later
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[u64]) -> Distribution {
        let mut distribution = Distribution::default();
        for value in values {
            distribution.add(Bin::of(*value), 1);
            distribution.add_sum(*value);
        }
        distribution
    }

    /// The expected figures were printed by Envoy 1.40 for the same values.
    #[test]
    fn quantiles_are_envoys() {
        let quantiles = |values| QUANTILES.map(|quantile| of(values).quantile(quantile));
        let one_three_five = quantiles(&[1, 1, 1, 5]);
        let expected = [1.025, 1.025, 1.05, 1.075, 5.05, 5.05, 5.05, 5.05, 5.05, 5.05];
        for (got, expected) in one_three_five.iter().zip(expected) {
            assert!((got.unwrap() - expected).abs() < 1e-9, "{got:?} {expected}");
        }
        assert_eq!(of(&[0, 0, 1, 4]).quantile(0.5), Some(0.0));
        assert_eq!(of(&[10]).quantile(0.0), Some(10.5));
        assert_eq!(of(&[]).quantile(0.5), None);
    }

    #[test]
    fn buckets_take_bins_that_begin_at_their_bound() {
        let counts: Vec<u64> =
            of(&[0, 1, 5, 10, 11, 99_999_999]).cumulative_counts(&DEFAULT_BUCKETS).collect();
        assert_eq!(counts[..6], [1, 2, 3, 4, 5, 5]);
        assert_eq!(counts[18], 5);
        assert_eq!(of(&[3, 4]).sum(), 7);
    }
}
