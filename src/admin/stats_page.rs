//! `/stats` and `/stats/prometheus`.

use std::fmt::Write;

use regex::Regex;

use crate::admin::page;
use crate::admin::query::Query;
use crate::admin::reply::Reply;
use crate::admin::routes::Call;
use crate::stats::{
    HistogramBuckets, HistogramStyle, PrometheusOptions, Snapshot, to_json, write_prometheus, write_text,
};

/// `/stats`: text, JSON, Prometheus or a page, filtered.
pub(super) fn show(call: &Call<'_>) -> Reply {
    let format = call.query.get_set("format").unwrap_or("text");
    if format == "prometheus" {
        return prometheus(call);
    }
    answer(call, format).unwrap_or_else(|error| error)
}

/// `/stats/prometheus`.
pub(super) fn prometheus(call: &Call<'_>) -> Reply {
    answer_prometheus(call).unwrap_or_else(|error| error)
}

fn answer(call: &Call<'_>, format: &str) -> Result<Reply, Reply> {
    if !matches!(format, "text" | "json" | "html") {
        return Err(Reply::error(400, "usage: /stats?format=(html|json|prometheus|text)\n\n"));
    }
    let buckets = match call.query.get_set("histogram_buckets") {
        None | Some("summary" | "none") => HistogramBuckets::Summary,
        Some("cumulative") => HistogramBuckets::Cumulative,
        Some("disjoint") => HistogramBuckets::Disjoint,
        Some("detailed") => HistogramBuckets::Detailed,
        Some(_) => {
            let usage = "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary)\n\n";
            return Err(Reply::error(400, usage));
        }
    };
    let mut snapshot = filtered(call)?;
    keep_type(&mut snapshot, call.query)?;
    let options = call.registry.options();
    let bounds = |histogram: &str| options.bounds(histogram);
    if format == "json" {
        return Ok(Reply::compact_json(&to_json(&snapshot, buckets, &bounds)));
    }
    let mut text = String::new();
    write_text(&snapshot, buckets, &bounds, &mut text);
    Ok(if format == "html" { Reply::html(page::stats(&text, call.query)) } else { Reply::text(text) })
}

fn answer_prometheus(call: &Call<'_>) -> Result<Reply, Reply> {
    let histograms = match call.query.get_set("histogram_buckets") {
        None | Some("cumulative") => HistogramStyle::Buckets,
        Some("summary") => HistogramStyle::Summary,
        Some(_) => return Err(Reply::error(400, "unsupported prometheus histogram bucket mode")),
    };
    let snapshot = filtered(call)?;
    let options = call.registry.options();
    let bounds = |histogram: &str| options.bounds(histogram);
    let text_readouts = call.query.has("text_readouts");
    let mut text = String::new();
    let prometheus = PrometheusOptions { tags: &options.tags, buckets: &bounds, histograms, text_readouts };
    write_prometheus(&snapshot, &prometheus, &mut text);
    Ok(Reply::text(text))
}

/// What `filter`, `invert_filter`, `usedonly` and `hidden` leave.
fn filtered(call: &Call<'_>) -> Result<Snapshot, Reply> {
    let query = call.query;
    let filter = query.get_set("filter").map(compile).transpose()?;
    // No statistic is hidden.
    let only_hidden = match query.get_set("hidden") {
        None | Some("include" | "exclude") => false,
        Some("only") => true,
        Some(_) => return Err(Reply::error(400, "usage: /stats?hidden=(include|only|exclude)\n\n")),
    };
    call.state.refresh_stats();
    let inverted = query.has("invert_filter");
    let wanted =
        |name: &str| !only_hidden && filter.as_ref().is_none_or(|filter| filter.is_match(name) != inverted);
    let mut snapshot = call.registry.snapshot(wanted);
    if query.has("usedonly") {
        snapshot.retain_used();
    }
    Ok(snapshot)
}

fn keep_type(snapshot: &mut Snapshot, query: &Query) -> Result<(), Reply> {
    let Some(kind) = query.get_set("type") else { return Ok(()) };
    let (mut counters, mut gauges, mut histograms, mut texts) = (false, false, false, false);
    match kind {
        "All" => return Ok(()),
        "Counters" => counters = true,
        "Gauges" => gauges = true,
        "Histograms" => histograms = true,
        "TextReadouts" => texts = true,
        _ => return Err(Reply::error(400, "invalid &type= param")),
    }
    snapshot.counters.retain(|_| counters);
    snapshot.gauges.retain(|_| gauges);
    snapshot.histograms.retain(|_| histograms);
    snapshot.texts.retain(|_| texts);
    Ok(())
}

fn compile(filter: &str) -> Result<Regex, Reply> {
    Regex::new(filter).map_err(|error| {
        let mut text = String::from("Invalid re2 regex: ");
        let reason = error.to_string();
        let _ = writeln!(text, "{}", reason.lines().last().unwrap_or_default().trim_start_matches("error: "));
        Reply::error(400, text)
    })
}
