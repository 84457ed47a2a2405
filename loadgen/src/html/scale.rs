//! From values to places on an axis, and where its labels stand.

use std::time::Duration;

use crate::document::readable;

/// What an axis counts, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Seconds, evenly, from 0.
    Seconds,
    /// A number, evenly, from 0.
    Count,
    /// Nanoseconds by their logarithm.
    LogTime,
    /// Quantiles from 0 to below 1, by how many nines they have.
    Nines,
}

/// A scale with its bounds.
#[derive(Debug, Clone)]
pub struct Axis {
    scale: Scale,
    /// In the scale's own measure.
    low: f64,
    high: f64,
}

impl Scale {
    /// The axis for these values.
    pub fn fit(self, values: impl Iterator<Item = f64>) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.map(|value| self.measure(value)).filter(|value| value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = match self {
                Scale::LogTime => (5.0, 6.0),
                _ => (0.0, 1.0),
            };
        }
        match self {
            Scale::Seconds | Scale::Nines => low = 0.0,
            Scale::Count => (low, high) = (0.0, high * 1.08),
            Scale::LogTime => (low, high) = (low - 0.1, high + 0.1),
        }
        if high - low < 1e-9 {
            high = low + 1.0;
        }
        Axis { scale: self, low, high }
    }

    fn measure(self, value: f64) -> f64 {
        match self {
            Scale::Seconds | Scale::Count => value,
            Scale::LogTime => value.max(1.0).log10(),
            Scale::Nines => -(1.0 - value).max(1e-12).log10(),
        }
    }
}

impl Axis {
    /// Where a value lies, 0 to 1.
    pub fn place(&self, value: f64) -> f64 {
        ((self.scale.measure(value) - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// Labels with their places.
    pub fn labels(&self) -> Vec<(f64, String)> {
        let inside = |(value, text): (f64, String)| {
            let measure = self.scale.measure(value);
            let within = measure >= self.low - 1e-9 && measure <= self.high + 1e-9;
            within.then(|| (self.place(value), text))
        };
        match self.scale {
            Scale::Seconds => {
                self.even(8).filter_map(|value| inside((value, format!("{} s", plain(value))))).collect()
            }
            Scale::Count => self.even(5).filter_map(|value| inside((value, short(value)))).collect(),
            Scale::LogTime => self.times().into_iter().filter_map(inside).collect(),
            Scale::Nines => [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999_999, 0.999_999_9]
                .into_iter()
                .zip([
                    "0",
                    "50 %",
                    "90 %",
                    "99 %",
                    "99.9 %",
                    "99.99 %",
                    "99.999 %",
                    "99.9999 %",
                    "99.99999 %",
                ])
                .filter_map(|(value, text)| inside((value, text.to_owned())))
                .collect(),
        }
    }

    /// About `count` even values.
    fn even(&self, count: usize) -> impl Iterator<Item = f64> {
        let rough = (self.high - self.low) / count as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 2.5, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough).max(1e-9);
        let last = (self.high / step) as u64;
        (0..=last).map(move |n| n as f64 * step)
    }

    /// 1, 2 and 5 of each power of ten, or only the powers if there are many.
    fn times(&self) -> Vec<(f64, String)> {
        let factors: &[f64] = match self.high - self.low {
            ..1.3 => &[1.0, 1.5, 2.0, 3.0, 5.0, 7.0],
            ..3.0 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let powers = self.low.floor() as i32..=self.high.ceil() as i32;
        let values = powers.flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)));
        values.map(|value| (value, time_label(value))).collect()
    }
}

/// Without the digits that a round time does not need.
fn time_label(nanos: f64) -> String {
    let text = readable(Duration::from_nanos(nanos.round() as u64));
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text.replace("1000 µs", "1 ms").replace("1000 ms", "1 s"),
    }
}

fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn short(value: f64) -> String {
    match value {
        ..1e3 => plain(value),
        ..1e6 => format!("{}k", plain(value / 1e3)),
        _ => format!("{}M", plain(value / 1e6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nines_are_spread_evenly() {
        let axis = Scale::Nines.fit([0.0, 0.9999].into_iter());
        assert!((axis.place(0.9) - 0.25).abs() < 1e-6 && (axis.place(0.99) - 0.5).abs() < 1e-6);
        let labels: Vec<String> = axis.labels().into_iter().map(|(_, text)| text).collect();
        assert_eq!(labels, ["0", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }

    #[test]
    fn even_labels_are_round() {
        let labels = |high| -> Vec<String> {
            Scale::Count.fit([high].into_iter()).labels().into_iter().map(|l| l.1).collect()
        };
        assert_eq!(labels(52_000.0), ["0", "20k", "40k"]);
        assert_eq!(labels(0.0).len(), 6);
        let seconds = Scale::Seconds.fit([9.9].into_iter()).labels();
        assert_eq!(seconds.last().map(|label| label.1.as_str()), Some("8 s"));
    }

    #[test]
    fn times_by_powers() {
        let axis = Scale::LogTime.fit([40_000.0, 2_500_000.0].into_iter());
        let labels: Vec<String> = axis.labels().into_iter().map(|(_, text)| text).collect();
        assert_eq!(labels, ["50 µs", "100 µs", "200 µs", "500 µs", "1 ms", "2 ms"]);
    }

    #[test]
    fn nothing_at_all_is_an_axis_too() {
        for scale in [Scale::Seconds, Scale::Count, Scale::LogTime, Scale::Nines] {
            let axis = scale.fit(std::iter::empty());
            assert!(axis.place(0.0).is_finite() && !axis.labels().is_empty());
        }
    }
}
