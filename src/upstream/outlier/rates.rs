//! Comparing success rates: mean and ejection threshold of the hosts that have enough requests.

/// Mean success rate of hosts and the rate below which a host is an outlier, per cent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// The mean.
    pub average: f64,
    /// May be negative; then no host is an outlier.
    pub ejection: f64,
}

/// The mean of `rates` (per cent, not empty) and the mean less `stdev_factor` (in thousandths) standard deviations
/// of the population.
pub fn threshold(rates: &[f64], stdev_factor: u32) -> Threshold {
    let count = rates.len() as f64;
    let average = rates.iter().sum::<f64>() / count;
    let variance = rates.iter().map(|rate| (rate - average).powi(2)).sum::<f64>() / count;
    Threshold { average, ejection: average - f64::from(stdev_factor) / 1000.0 * variance.sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_threshold_lies_some_deviations_below_the_mean() {
        let found = threshold(&[50.0, 100.0, 100.0, 100.0, 100.0], 1900);
        assert_eq!((found.average, found.ejection), (90.0, 52.0));
        let same = threshold(&[99.0; 5], 1900);
        assert_eq!((same.average, same.ejection), (99.0, 99.0), "nobody is below the mean");
    }
}
