//! The values of statistics at one moment, as listings and sinks use them.

use std::sync::Arc;

use crate::stats::handles::Unit;
use crate::stats::histogram::Distribution;

/// Statistics at one moment. Each list is sorted by name.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Counters, per-code counters among them.
    pub counters: Vec<CounterValue>,
    /// Gauges.
    pub gauges: Vec<GaugeValue>,
    /// Histograms.
    pub histograms: Vec<HistogramValue>,
    /// Text readouts.
    pub texts: Vec<TextValue>,
}

/// A counter at one moment.
#[derive(Debug, Clone)]
pub struct CounterValue {
    /// Full name.
    pub name: Arc<str>,
    /// Since the start, or since the last reset.
    pub value: u64,
    /// Whether it was ever written.
    pub used: bool,
}

/// A gauge at one moment.
#[derive(Debug, Clone)]
pub struct GaugeValue {
    /// Full name.
    pub name: Arc<str>,
    /// Sum over all threads. Below zero only for an instant, while threads are read in turn.
    pub value: i128,
    /// Whether it was ever written.
    pub used: bool,
}

/// A histogram at one moment.
#[derive(Debug, Clone)]
pub struct HistogramValue {
    /// Full name.
    pub name: Arc<str>,
    /// What the values are.
    pub unit: Unit,
    /// Whether anything was ever recorded.
    pub used: bool,
    /// Values of the last interval that ended; none before one ended.
    pub interval: Option<Arc<Distribution>>,
    /// Values since the start.
    pub cumulative: Distribution,
}

/// A text readout.
#[derive(Debug, Clone)]
pub struct TextValue {
    /// Full name.
    pub name: Arc<str>,
    /// Its text.
    pub text: Arc<str>,
}

impl Snapshot {
    /// Leaves only what was ever written. Text readouts stay unless empty.
    pub fn retain_used(&mut self) {
        self.counters.retain(|counter| counter.used);
        self.gauges.retain(|gauge| gauge.used);
        self.histograms.retain(|histogram| histogram.used);
        self.texts.retain(|text| !text.text.is_empty());
    }
}
