//! Prometheus' text format, as Envoy's `/stats/prometheus` writes it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use crate::stats::histogram::QUANTILES;
use crate::stats::snapshot::{HistogramValue, Snapshot};
use crate::stats::tags::{TagExtractor, Tagged};

/// How histograms appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HistogramStyle {
    /// `_bucket` lines with cumulative counts since the start.
    #[default]
    Buckets,
    /// Quantiles of the last interval.
    Summary,
}

/// How a listing is written.
pub struct PrometheusOptions<'a> {
    /// Which parts of names become tags.
    pub tags: &'a TagExtractor,
    /// Upper bounds for a histogram of this name.
    pub buckets: &'a dyn Fn(&str) -> Arc<[f64]>,
    /// How histograms appear.
    pub histograms: HistogramStyle,
    /// Whether text readouts appear, as gauges of value 0 with a tag `text_value`.
    pub text_readouts: bool,
}

/// Appends all of `snapshot`: counters, gauges, text readouts, histograms; one `# TYPE` line per name.
pub fn write_prometheus(snapshot: &Snapshot, options: &PrometheusOptions<'_>, out: &mut String) {
    let counters = snapshot.counters.iter().map(|counter| (&*counter.name, counter));
    families(counters, options, "counter", out, |family, labels, counter, out| {
        let _ = writeln!(out, "{family}{{{labels}}} {}", counter.value);
    });
    let gauges = snapshot.gauges.iter().map(|gauge| (&*gauge.name, gauge));
    families(gauges, options, "gauge", out, |family, labels, gauge, out| {
        let _ = writeln!(out, "{family}{{{labels}}} {}", gauge.value);
    });
    if options.text_readouts {
        let texts = snapshot.texts.iter().map(|text| (&*text.name, text));
        families(texts, options, "gauge", out, |family, labels, text, out| {
            let mut labels = labels.to_owned();
            push_label(&mut labels, "text_value", &text.text);
            let _ = writeln!(out, "{family}{{{labels}}} 0");
        });
    }
    let histograms = snapshot.histograms.iter().map(|histogram| (&*histogram.name, histogram));
    match options.histograms {
        HistogramStyle::Buckets => {
            families(histograms, options, "histogram", out, |family, labels, histogram, out| {
                write_buckets(family, labels, histogram, &(options.buckets)(&histogram.name), out);
            })
        }
        HistogramStyle::Summary => families(histograms, options, "summary", out, write_summary),
    }
}

/// Groups stats by their name without tags and writes each group.
fn families<'a, S: 'a>(
    stats: impl Iterator<Item = (&'a str, &'a S)>,
    options: &PrometheusOptions<'_>,
    kind: &str,
    out: &mut String,
    write: impl Fn(&str, &str, &S, &mut String),
) {
    let mut families: BTreeMap<String, Vec<(String, &S)>> = BTreeMap::new();
    for (name, stat) in stats {
        let Tagged { name, tags } = options.tags.extract(name);
        let mut labels = String::new();
        tags.iter().for_each(|(tag, value)| push_label(&mut labels, &sanitized(tag), value));
        families.entry(format!("envoy_{}", sanitized(&name))).or_default().push((labels, stat));
    }
    for (family, members) in families {
        let _ = writeln!(out, "# TYPE {family} {kind}");
        members.iter().for_each(|(labels, stat)| write(&family, labels, stat, out));
    }
}

fn write_buckets(family: &str, labels: &str, histogram: &HistogramValue, bounds: &[f64], out: &mut String) {
    let comma = if labels.is_empty() { "" } else { "," };
    let total = histogram.cumulative.count();
    for (bound, count) in bounds.iter().zip(histogram.cumulative.cumulative_counts(bounds)) {
        let _ = writeln!(out, "{family}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
    }
    let _ = writeln!(out, "{family}_bucket{{{labels}{comma}le=\"+Inf\"}} {total}");
    let _ = writeln!(out, "{family}_sum{{{labels}}} {}", histogram.cumulative.sum());
    let _ = writeln!(out, "{family}_count{{{labels}}} {total}");
}

fn write_summary(family: &str, labels: &str, histogram: &HistogramValue, out: &mut String) {
    let comma = if labels.is_empty() { "" } else { "," };
    let interval = histogram.interval.as_deref();
    for quantile in QUANTILES {
        let value = interval.and_then(|interval| interval.quantile(quantile)).unwrap_or(f64::NAN);
        let _ = writeln!(out, "{family}{{{labels}{comma}quantile=\"{quantile}\"}} {value}");
    }
    let _ = writeln!(out, "{family}_sum{{{labels}}} {}", interval.map_or(0, |interval| interval.sum()));
    let _ = writeln!(out, "{family}_count{{{labels}}} {}", interval.map_or(0, |interval| interval.count()));
}

fn sanitized(name: &str) -> String {
    name.chars().map(|char| if char.is_ascii_alphanumeric() || char == '_' { char } else { '_' }).collect()
}

fn push_label(labels: &mut String, name: &str, value: &str) {
    let comma = if labels.is_empty() { "" } else { "," };
    let _ = write!(labels, "{comma}{name}=\"");
    for char in value.chars() {
        match char {
            '\\' => labels.push_str("\\\\"),
            '"' => labels.push_str("\\\""),
            '\n' => labels.push_str("\\n"),
            other => labels.push(other),
        }
    }
    labels.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{DEFAULT_BUCKETS, Registry, Unit};

    fn listing(registry: &Registry, histograms: HistogramStyle) -> String {
        let tags = TagExtractor::default();
        let buckets = |_: &str| Arc::from(DEFAULT_BUCKETS.as_slice());
        let options = PrometheusOptions { tags: &tags, buckets: &buckets, histograms, text_readouts: true };
        let mut out = String::new();
        write_prometheus(&registry.snapshot(|_| true), &options, &mut out);
        out
    }

    #[test]
    fn one_type_line_per_family_and_labels_are_escaped() {
        let registry = Registry::new();
        registry.counter("cluster.a.upstream_rq_total").add(3);
        registry.counter("cluster.q\"\\.upstream_rq_total").inc();
        registry.gauge("server.live").set(1);
        registry.set_text("cds.version_text", "v\n1");
        let expected = "# TYPE envoy_cluster_upstream_rq_total counter\n\
            envoy_cluster_upstream_rq_total{envoy_cluster_name=\"a\"} 3\n\
            envoy_cluster_upstream_rq_total{envoy_cluster_name=\"q\\\"\\\\\"} 1\n\
            # TYPE envoy_server_live gauge\n\
            envoy_server_live{} 1\n\
            # TYPE envoy_cds_version_text gauge\n\
            envoy_cds_version_text{text_value=\"v\\n1\"} 0\n";
        assert_eq!(listing(&registry, HistogramStyle::Buckets), expected);
    }

    #[test]
    fn histograms_as_buckets_and_as_summaries() {
        let registry = Registry::new();
        let histogram = registry.histogram("cluster.a.upstream_rq_time", Unit::Milliseconds);
        [0, 1, 400].into_iter().for_each(|value| histogram.record(value));
        let buckets = listing(&registry, HistogramStyle::Buckets);
        for line in [
            "# TYPE envoy_cluster_upstream_rq_time histogram\n",
            "\nenvoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"a\",le=\"0.5\"} 1\n",
            "\nenvoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"a\",le=\"250\"} 2\n",
            "\nenvoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"a\",le=\"3600000\"} 3\n",
            "\nenvoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"a\",le=\"+Inf\"} 3\n",
            "\nenvoy_cluster_upstream_rq_time_sum{envoy_cluster_name=\"a\"} 401\n",
            "\nenvoy_cluster_upstream_rq_time_count{envoy_cluster_name=\"a\"} 3\n",
        ] {
            assert!(buckets.contains(line), "{line} in {buckets}");
        }
        assert!(listing(&registry, HistogramStyle::Summary).contains("quantile=\"0.5\"} NaN\n"));
        registry.end_interval();
        let summary = listing(&registry, HistogramStyle::Summary);
        assert!(summary.contains("# TYPE envoy_cluster_upstream_rq_time summary\n"));
        assert!(summary.contains("{envoy_cluster_name=\"a\",quantile=\"0.999\"} 405\n"), "{summary}");
    }
}
