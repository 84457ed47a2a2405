//! The log-linear bins of histograms: two significant decimal digits, as Envoy's histograms
//! (OpenHistogram) have them, so that quantiles agree with Envoy's.
//!
//! Zero has a bin of its own; 1 to 9 have bins a tenth of a unit wide; every decade above has 90.

/// Bins in each decade: 10 to 99 of its unit, first slot is 10.
pub(super) const BINS_PER_DECADE: usize = 90;
/// Decades of a `u64`: 0 holds the values 0 to 9, 19 holds what begins with 10^19.
pub(super) const DECADES: usize = 20;

const POWERS: [u64; DECADES] = {
    let mut powers = [1; DECADES];
    let mut at = 1;
    while at < DECADES {
        powers[at] = powers[at - 1] * 10;
        at += 1;
    }
    powers
};

/// One bin. The order of bins is the order of the values in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bin(u16);

impl Bin {
    /// The bin that `value` falls into.
    #[inline]
    pub(super) fn of(value: u64) -> Bin {
        if value < 10 {
            return Bin(value as u16);
        }
        let decade = value.ilog10() as usize;
        let mantissa = value / POWERS[decade - 1];
        Bin((decade * BINS_PER_DECADE) as u16 + (mantissa - 10) as u16)
    }

    /// The bin stored at `slot` of `decade`.
    pub(super) fn at(decade: usize, slot: usize) -> Bin {
        Bin((decade * BINS_PER_DECADE + slot) as u16)
    }

    /// Power of ten of the bin's values.
    #[inline]
    pub(super) fn decade(self) -> usize {
        usize::from(self.0) / BINS_PER_DECADE
    }

    /// Place among the cells of its decade.
    #[inline]
    pub(super) fn slot(self) -> usize {
        usize::from(self.0) % BINS_PER_DECADE
    }

    /// Smallest value of the bin.
    pub(super) fn low(self) -> f64 {
        match self.decade() {
            0 => self.slot() as f64,
            decade => (self.slot() as f64 + 10.0) * POWERS[decade - 1] as f64,
        }
    }

    /// How far the bin reaches above [`Bin::low`].
    pub(super) fn width(self) -> f64 {
        match (self.decade(), self.slot()) {
            (0, 0) => 0.0,
            (0, _) => 0.1,
            (decade, _) => POWERS[decade - 1] as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_hold_their_values_and_keep_order() {
        let mut last = Bin::of(0);
        for value in (0..2_000).chain([99_999, 100_000, 1 << 40, u64::MAX]) {
            let bin = Bin::of(value);
            assert!(bin >= last, "{value}");
            assert!(bin.low() <= value as f64, "{value} in {bin:?}");
            assert!(
                value < 10 || (value as f64) < (bin.low() + bin.width()) * 1.000_001,
                "{value} in {bin:?}"
            );
            assert_eq!(Bin::at(bin.decade(), bin.slot()), bin);
            assert!(bin.decade() < DECADES);
            last = bin;
        }
        assert_eq!((Bin::of(457).low(), Bin::of(457).width()), (450.0, 10.0));
    }
}
