//! Listings of statistics as text and as JSON, as Envoy's `/stats` writes them.

use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::stats::histogram::{Distribution, QUANTILES};
use crate::stats::snapshot::{HistogramValue, Snapshot};

/// How histograms appear in a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HistogramBuckets {
    /// Quantiles: `P50(interval,cumulative)`.
    #[default]
    Summary,
    /// Counts at or below each bound: `B10(interval,cumulative)`.
    Cumulative,
    /// Counts between each bound and the one before.
    Disjoint,
    /// Every occupied bin, and the quantiles.
    Detailed,
}

/// Upper bounds of the buckets of a histogram, by its name.
pub type BucketBounds<'a> = &'a dyn Fn(&str) -> Arc<[f64]>;

/// Appends `name: value` lines: text readouts, then counters and gauges by name, then histograms.
pub fn write_text(snapshot: &Snapshot, style: HistogramBuckets, bounds: BucketBounds<'_>, out: &mut String) {
    for text in &snapshot.texts {
        let _ = writeln!(out, "{}: \"{}\"", text.name, text.text);
    }
    for (name, value) in numbers(snapshot) {
        let _ = writeln!(out, "{name}: {value}");
    }
    for histogram in &snapshot.histograms {
        write_histogram(histogram, style, bounds, out);
    }
}

/// The same as one JSON object `{"stats": [...]}`; all histograms are one element of the list.
pub fn to_json(snapshot: &Snapshot, style: HistogramBuckets, bounds: BucketBounds<'_>) -> Value {
    let texts = snapshot.texts.iter().map(|text| json!({"name": &*text.name, "value": &*text.text}));
    let numbers = numbers(snapshot).into_iter().map(|(name, value)| json!({"name": name, "value": value}));
    let mut stats: Vec<Value> = texts.chain(numbers).collect();
    if !snapshot.histograms.is_empty() {
        let percents: Vec<Value> = QUANTILES.iter().map(|quantile| number(quantile * 100.0)).collect();
        let each = |render: &dyn Fn(&HistogramValue) -> Value| -> Vec<Value> {
            snapshot.histograms.iter().map(render).collect()
        };
        let histograms = match style {
            HistogramBuckets::Summary => json!({
                "supported_quantiles": percents,
                "computed_quantiles": each(&|histogram| {
                    json!({"name": &*histogram.name, "values": quantiles_json(histogram)})
                }),
            }),
            HistogramBuckets::Detailed => json!({
                "supported_percentiles": percents,
                "details": each(&detailed_json),
            }),
            HistogramBuckets::Cumulative | HistogramBuckets::Disjoint => {
                Value::Array(each(&|histogram| buckets_json(histogram, style, bounds)))
            }
        };
        stats.push(json!({ "histograms": histograms }));
    }
    json!({ "stats": stats })
}

/// Counters and gauges together, by name.
fn numbers(snapshot: &Snapshot) -> Vec<(&str, i128)> {
    let counters = snapshot.counters.iter().map(|counter| (&*counter.name, i128::from(counter.value)));
    let gauges = snapshot.gauges.iter().map(|gauge| (&*gauge.name, gauge.value));
    let mut all: Vec<_> = counters.chain(gauges).collect();
    all.sort_by_key(|(name, _)| *name);
    all
}

fn write_histogram(
    histogram: &HistogramValue,
    style: HistogramBuckets,
    bounds: BucketBounds<'_>,
    out: &mut String,
) {
    let name = &histogram.name;
    match style {
        HistogramBuckets::Summary => {
            let _ = write!(out, "{name}: ");
            write_quantiles(histogram, out);
            out.push('\n');
        }
        HistogramBuckets::Detailed => {
            let _ = write!(out, "{name}:\n  totals=");
            write_bins(&histogram.cumulative, out);
            out.push_str("\n  intervals=");
            histogram.interval.iter().for_each(|interval| write_bins(interval, out));
            out.push_str("\n  summary=");
            write_quantiles(histogram, out);
            out.push('\n');
        }
        HistogramBuckets::Cumulative | HistogramBuckets::Disjoint => {
            let _ = write!(out, "{name}:");
            for (bound, interval, cumulative) in buckets(histogram, style, &bounds(name)) {
                let _ = write!(out, " B{}({interval},{cumulative})", short(bound));
            }
            out.push('\n');
        }
    }
}

fn write_quantiles(histogram: &HistogramValue, out: &mut String) {
    if !histogram.used {
        out.push_str("No recorded values");
        return;
    }
    for (at, quantile) in QUANTILES.into_iter().enumerate() {
        let space = if at == 0 { "" } else { " " };
        let (interval, cumulative) = values_at(histogram, quantile);
        let text = |value: Option<f64>| value.map_or_else(|| "nan".to_owned(), |value| value.to_string());
        let percent = quantile * 100.0;
        let _ = write!(out, "{space}P{percent}({},{})", text(interval), text(cumulative));
    }
}

fn write_bins(distribution: &Distribution, out: &mut String) {
    for (at, (low, width, count)) in distribution.occupied().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let _ = write!(out, "{comma}{low},{width}:{count}");
    }
}

/// Bound, count in the interval, count since the start.
fn buckets(histogram: &HistogramValue, style: HistogramBuckets, bounds: &[f64]) -> Vec<(f64, u64, u64)> {
    let counts = |distribution: &Distribution| -> Vec<u64> {
        let mut counts: Vec<u64> = distribution.cumulative_counts(bounds).collect();
        if style == HistogramBuckets::Disjoint {
            for at in (1..counts.len()).rev() {
                counts[at] -= counts[at - 1];
            }
        }
        counts
    };
    let interval = histogram.interval.as_deref().map_or_else(|| vec![0; bounds.len()], counts);
    let cumulative = counts(&histogram.cumulative);
    bounds.iter().zip(interval).zip(cumulative).map(|((bound, one), two)| (*bound, one, two)).collect()
}

fn buckets_json(histogram: &HistogramValue, style: HistogramBuckets, bounds: BucketBounds<'_>) -> Value {
    let buckets: Vec<Value> = buckets(histogram, style, &bounds(&histogram.name))
        .into_iter()
        .map(|(bound, interval, cumulative)| {
            json!({"upper_bound": number(bound), "interval": interval, "cumulative": cumulative})
        })
        .collect();
    json!({"name": &*histogram.name, "buckets": buckets})
}

fn detailed_json(histogram: &HistogramValue) -> Value {
    let bins = |distribution: &Distribution| -> Vec<Value> {
        let bin =
            |(low, width, count)| json!({"lower_bound": number(low), "width": number(width), "count": count});
        distribution.occupied().map(bin).collect()
    };
    json!({
        "name": &*histogram.name,
        "totals": bins(&histogram.cumulative),
        "intervals": histogram.interval.as_deref().map(bins).unwrap_or_default(),
        "percentiles": quantiles_json(histogram),
    })
}

fn quantiles_json(histogram: &HistogramValue) -> Vec<Value> {
    let value = |value: Option<f64>| value.map_or(Value::Null, number);
    let pair = |quantile| {
        let (interval, cumulative) = values_at(histogram, quantile);
        json!({"cumulative": value(cumulative), "interval": value(interval)})
    };
    QUANTILES.into_iter().map(pair).collect()
}

fn values_at(histogram: &HistogramValue, quantile: f64) -> (Option<f64>, Option<f64>) {
    let interval = histogram.interval.as_deref().and_then(|interval| interval.quantile(quantile));
    (interval, histogram.cumulative.quantile(quantile))
}

/// A whole number without a fraction, as Envoy prints it.
fn number(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 9.0e15 { Value::from(value as i64) } else { Value::from(value) }
}

/// Six significant digits, like C's `%g`: bucket bounds in text are printed so.
fn short(value: f64) -> String {
    if value < 1_000_000.0 {
        return value.to_string();
    }
    let exponent = value.log10().floor();
    let mantissa = (value / 10_f64.powf(exponent) * 100_000.0).round() / 100_000.0;
    format!("{mantissa}e+{exponent:02}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{DEFAULT_BUCKETS, Registry, Unit};

    fn bounds(_: &str) -> Arc<[f64]> {
        Arc::from(DEFAULT_BUCKETS.as_slice())
    }

    fn registry() -> Registry {
        let registry = Registry::new();
        registry.counter("b.count").add(2);
        registry.gauge("a.gauge").set(1);
        registry.gauge("c.gauge").set(3);
        registry.set_text("z.text", "v1");
        let histogram = registry.histogram("h.time", Unit::Milliseconds);
        registry.histogram("h.unused", Unit::Milliseconds);
        [1, 1, 1].into_iter().for_each(|value| histogram.record(value));
        registry.end_interval();
        histogram.record(5);
        registry.end_interval();
        registry
    }

    fn text(style: HistogramBuckets) -> String {
        let mut out = String::new();
        write_text(&registry().snapshot(|_| true), style, &bounds, &mut out);
        out
    }

    #[test]
    fn text_is_as_envoy_prints_it() {
        let summary = text(HistogramBuckets::Summary);
        assert!(
            summary
                .starts_with("z.text: \"v1\"\na.gauge: 1\nb.count: 2\nc.gauge: 3\nh.time: P0(5.05,1.025) ")
        );
        assert!(summary.contains(" P99.5(5.05,5.05) "), "{summary}");
        assert!(summary.ends_with("\nh.unused: No recorded values\n"), "{summary}");
        let cumulative = text(HistogramBuckets::Cumulative);
        assert!(cumulative.contains("h.time: B0.5(0,0) B1(0,3) B5(1,4) "), "{cumulative}");
        assert!(cumulative.contains(" B600000(1,4) B1.8e+06(1,4) B3.6e+06(1,4)\n"), "{cumulative}");
        assert!(text(HistogramBuckets::Disjoint).contains("h.time: B0.5(0,0) B1(0,3) B5(1,1) B10(0,0) "));
        let detailed = text(HistogramBuckets::Detailed);
        assert!(detailed.contains("h.time:\n  totals=1,0.1:3, 5,0.1:1\n  intervals=5,0.1:1\n  summary=P0("));
    }

    #[test]
    fn json_is_as_envoy_prints_it() {
        let snapshot = registry().snapshot(|_| true);
        let summary = to_json(&snapshot, HistogramBuckets::Summary, &bounds).to_string();
        assert!(summary.starts_with(
            "{\"stats\":[{\"name\":\"z.text\",\"value\":\"v1\"},{\"name\":\"a.gauge\",\"value\":1},"
        ));
        assert!(
            summary.contains("\"supported_quantiles\":[0,25,50,75,90,95,99,99.5,99.9,100],"),
            "{summary}"
        );
        assert!(
            summary.contains("{\"name\":\"h.time\",\"values\":[{\"cumulative\":1.025,\"interval\":5.05},")
        );
        assert!(summary.contains("{\"cumulative\":null,\"interval\":null}"));
        let cumulative = to_json(&snapshot, HistogramBuckets::Cumulative, &bounds).to_string();
        assert!(
            cumulative.contains("{\"upper_bound\":300000,\"interval\":1,\"cumulative\":4}"),
            "{cumulative}"
        );
        let detailed = to_json(&snapshot, HistogramBuckets::Detailed, &bounds).to_string();
        assert!(
            detailed.contains("\"totals\":[{\"lower_bound\":1,\"width\":0.1,\"count\":3},"),
            "{detailed}"
        );
    }
}
