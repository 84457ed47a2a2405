//! What a run is told as on a terminal.

use std::fmt::Write as _;
use std::time::Duration;

use ringway::load::ErrorKind;

use crate::document::{Document, PERCENTILES, Times, readable};

/// The whole report.
pub fn report(document: &Document) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(text, "{}  ({})", document.title, document.plan.summary());
    let _ = writeln!(
        text,
        "\n  {:>12}  requests answered in {:.2} s\n  {:>12}  per second\n  {:>12}  received",
        document.answered,
        document.elapsed_s,
        format!("{:.0}", document.requests_per_second),
        bytes(document.received_bytes)
    );
    if document.failed > 0 {
        let _ = writeln!(text, "  {:>12}  failed ({:.3} %)", document.failed, document.error_share() * 100.0);
    }
    if document.in_flight_at_end > 0 {
        let _ = writeln!(
            text,
            "  {:>12}  without an answer when the run was interrupted",
            document.in_flight_at_end
        );
    }
    distributions(document, &mut text);
    statuses(document, &mut text);
    errors(document, &mut text);
    used(document, &mut text);
    for warning in &document.warnings {
        let _ = writeln!(text, "\nwarning: {warning}");
    }
    text
}

fn distributions(document: &Document, text: &mut String) {
    let rows: Vec<(&str, &Times)> = [
        ("latency", Some(&document.latency)),
        ("from sending", document.service_time.as_ref()),
        ("connecting", document.connect_time.as_ref()),
        ("TLS", document.handshake_time.as_ref()),
        ("schedule lag", document.schedule_lag.as_ref()),
    ]
    .into_iter()
    .filter_map(|(name, times)| Some((name, times?)))
    .filter(|(_, times)| times.count > 0)
    .collect();
    if rows.is_empty() {
        return;
    }
    let _ = write!(text, "\n  {:<13}", "");
    for head in ["mean", "p50", "p75", "p90", "p95", "p99", "p99.9", "p99.99", "max"] {
        let _ = write!(text, "{head:>9}");
    }
    text.push('\n');
    for (name, times) in rows {
        let _ = write!(text, "  {name:<13}{:>9}", nanos(times.mean_ns as u64));
        for percentile in PERCENTILES {
            let _ = write!(text, "{:>9}", nanos(times.at(percentile)));
        }
        let _ = writeln!(text, "{:>9}", nanos(times.max_ns));
    }
}

fn statuses(document: &Document, text: &mut String) {
    if !document.statuses.is_empty() {
        let list: Vec<String> =
            document.statuses.iter().map(|(code, count)| format!("{code}: {count}")).collect();
        let _ = writeln!(text, "\n  statuses      {}", list.join(", "));
    }
}

fn errors(document: &Document, text: &mut String) {
    for kind in ErrorKind::ALL {
        if let Some(count) = document.errors.get(kind.key()) {
            let reason = document.connect_error.as_deref().filter(|_| kind == ErrorKind::ConnectFailed);
            let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
            let _ = writeln!(text, "  failed        {count}  {}{reason}", kind.name());
        }
    }
}

fn used(document: &Document, text: &mut String) {
    if let Some(tls) = &document.tls {
        let handshakes = document.handshake_time.as_ref().map_or(0, |times| times.count);
        let resumed = document.tls_resumed;
        let _ = writeln!(text, "  TLS           {tls}, {handshakes} handshakes, {resumed} of them resumed");
    }
    let _ = writeln!(
        text,
        "  generator     {:.2} µs of CPU per request, busiest thread {:.0} % busy, {} driver",
        document.generator.cpu_us_per_request,
        document.generator.busy_share * 100.0,
        document.machine.io_driver
    );
    if let Some(server) = &document.server {
        let _ = writeln!(
            text,
            "  server        {:.2} µs of CPU per request, {} resident (process {})",
            server.cpu_us_per_request,
            bytes(server.resident_bytes),
            server.pid
        );
    }
}

fn nanos(nanos: u64) -> String {
    readable(Duration::from_nanos(nanos))
}

/// A size as people read it.
pub fn bytes(count: u64) -> String {
    let number = count as f64;
    match number {
        ..1e3 => format!("{count} B"),
        ..1e6 => format!("{:.1} kB", number / 1e3),
        ..1e9 => format!("{:.1} MB", number / 1e6),
        _ => format!("{:.2} GB", number / 1e9),
    }
}
