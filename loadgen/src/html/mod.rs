//! Reports as one self-contained HTML page: no script, no font and no image from elsewhere; light and dark.

mod chart;
mod figures;
mod hold;
mod scale;
mod style;

use std::fmt::Write as _;
use std::time::Duration;

use ringway::load::ErrorKind;

use crate::compare::{self, Group};
use crate::document::{Document, PERCENTILES, Times, readable};
use crate::text::bytes;

pub use hold::hold_page;

/// One run, or several side by side. Writing to a string cannot fail, here and below.
pub fn page(documents: &[Document]) -> String {
    let groups = compare::groups(documents);
    let title = match &groups[..] {
        [only] => only.title.to_owned(),
        several => several.iter().map(|group| group.title).collect::<Vec<_>>().join(" · "),
    };
    let mut body = format!("<header><h1>{}</h1>", escape(&title));
    if let Some(first) = documents.first() {
        let _ = write!(body, "<p class=\"sub\">{}</p>", escape(&subtitle(first)));
    }
    body += "</header>\n";
    warnings(documents, &mut body);
    match &groups[..] {
        [Group { rounds, .. }] if rounds.len() == 1 => tiles(rounds[0], &mut body),
        _ => comparison(&groups, &mut body),
    }
    figures::write(&groups, &mut body);
    if let [Group { rounds, .. }] = &groups[..]
        && let [run] = &rounds[..]
    {
        latency_table(run, &mut body);
    }
    outcomes(documents, &mut body);
    facts(documents, &mut body);
    whole(&title, &body)
}

/// A page with this in it.
fn whole(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n<style>{}</style>\n</head>\n\
         <body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escape(title),
        style::CSS
    )
}

fn subtitle(run: &Document) -> String {
    format!(
        "{} · {} · {}",
        run.plan.url,
        run.plan.summary(),
        run.ended_at.split('.').next().unwrap_or_default()
    )
}

fn warnings(documents: &[Document], body: &mut String) {
    for run in documents {
        let name = if documents.len() > 1 { format!("{}: ", run.title) } else { String::new() };
        for warning in &run.warnings {
            let _ = writeln!(body, "<p class=\"warning\">{}{}</p>", escape(&name), escape(warning));
        }
    }
}

/// The few figures that a run is about.
fn tiles(run: &Document, body: &mut String) {
    let failed =
        if run.failed == 0 { "none".to_owned() } else { format!("{:.3} %", run.error_share() * 100.0) };
    let latency = |percentile| match run.latency.count {
        0 => "–".to_owned(),
        _ => nanos(run.latency.at(percentile)),
    };
    let tiles = [
        ("requests/s", thousands(run.requests_per_second), String::new()),
        ("answered", thousands(run.answered as f64), format!("in {:.1} s", run.elapsed_s)),
        ("median latency", latency(50.0), String::new()),
        ("99th percentile", latency(99.0), String::new()),
        ("99.9th percentile", latency(99.9), String::new()),
        ("failed", failed, if run.failed > 0 { format!("{} requests", run.failed) } else { String::new() }),
    ];
    write_tiles(tiles, if run.failed > 0 { "failed" } else { "" }, body);
}

/// Tiles of a name, a figure and a note; the one called `bad` stands out.
fn write_tiles<const N: usize>(tiles: [(&str, String, String); N], bad: &str, body: &mut String) {
    body.push_str("<section class=\"tiles\">\n");
    for (name, value, note) in tiles {
        let class = if name == bad { "tile bad" } else { "tile" };
        let _ = writeln!(
            body,
            "<div class=\"{class}\"><span>{name}</span><strong>{}</strong><em>{}</em></div>",
            escape(&value),
            escape(&note)
        );
    }
    body.push_str("</section>\n");
}

fn comparison(groups: &[Group<'_>], body: &mut String) {
    body.push_str("<section><h2>Side by side</h2><div class=\"scroll\"><table><thead><tr><th></th>");
    for (index, group) in groups.iter().enumerate() {
        let rounds = if group.rounds.len() > 1 {
            format!("<small>{} rounds</small>", group.rounds.len())
        } else {
            String::new()
        };
        let _ = write!(body, "<th><i class=\"key k{}\"></i>{}{rounds}</th>", index % 6, escape(group.title));
        if index > 0 {
            body.push_str("<th>ratio</th>");
        }
    }
    body.push_str("</tr></thead><tbody>\n");
    for metric in compare::metrics() {
        let spreads: Vec<_> = groups.iter().map(|group| metric.spread(group)).collect();
        if spreads.iter().all(|spread| spread.is_none_or(|spread| spread.max == 0.0)) {
            continue;
        }
        let _ = write!(body, "<tr><th>{}</th>", metric.name);
        for (index, (spread, group)) in spreads.iter().zip(groups).enumerate() {
            let Some(spread) = spread else {
                body.push_str(if index > 0 { "<td>–</td><td>–</td>" } else { "<td>–</td>" });
                continue;
            };
            let _ = write!(body, "<td>{}", metric.readable(spread.median));
            if group.rounds.len() > 1 {
                let (min, max) = (metric.readable(spread.min), metric.readable(spread.max));
                let _ = write!(body, "<small>{min} to {max}</small>");
            }
            body.push_str("</td>");
            if index > 0 {
                let ratio = compare::ratio(spreads[0], Some(*spread));
                let class = ratio.map_or("", |ratio| judgement(ratio, metric.less_is_better));
                let text = ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
                let _ = write!(body, "<td class=\"{class}\">{text}</td>");
            }
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</tbody></table></div></section>\n");
}

/// Colours ratios that differ by more than noise.
fn judgement(ratio: f64, less_is_better: Option<bool>) -> &'static str {
    match less_is_better {
        Some(less) if ratio < 0.97 => {
            if less {
                "better"
            } else {
                "worse"
            }
        }
        Some(less) if ratio > 1.03 => {
            if less {
                "worse"
            } else {
                "better"
            }
        }
        _ => "",
    }
}

fn latency_table(run: &Document, body: &mut String) {
    let rows = [
        ("latency", Some(&run.latency)),
        ("from sending", run.service_time.as_ref()),
        ("connecting", run.connect_time.as_ref()),
        ("TLS", run.handshake_time.as_ref()),
        ("schedule lag", run.schedule_lag.as_ref()),
    ];
    times_table(rows.into_iter().filter_map(|(name, times)| Some((name, times?))), body);
}

fn times_table<'a>(rows: impl Iterator<Item = (&'a str, &'a Times)>, body: &mut String) {
    body.push_str("<section><h2>Times</h2><div class=\"scroll\"><table><thead><tr><th></th><th>mean</th>");
    for percentile in PERCENTILES {
        let _ = write!(body, "<th>p{percentile}</th>");
    }
    body.push_str("<th>max</th></tr></thead><tbody>\n");
    for (name, times) in rows.filter(|(_, times)| times.count > 0) {
        let _ = write!(body, "<tr><th>{name}</th><td>{}</td>", nanos(times.mean_ns as u64));
        for percentile in PERCENTILES {
            let _ = write!(body, "<td>{}</td>", nanos(times.at(percentile)));
        }
        let _ = writeln!(body, "<td>{}</td></tr>", nanos(times.max_ns));
    }
    body.push_str("</tbody></table></div></section>\n");
}

/// Statuses and errors.
fn outcomes(documents: &[Document], body: &mut String) {
    let mut statuses: Vec<u16> = documents.iter().flat_map(|run| run.statuses.keys().copied()).collect();
    statuses.sort_unstable();
    statuses.dedup();
    let kinds = ErrorKind::ALL
        .into_iter()
        .filter(|kind| documents.iter().any(|run| run.errors.contains_key(kind.key())));
    let kinds: Vec<ErrorKind> = kinds.collect();
    if statuses.is_empty() && kinds.is_empty() {
        return;
    }
    body.push_str("<section><h2>Outcomes</h2><div class=\"scroll\"><table><thead><tr><th></th>");
    for run in documents {
        let _ =
            write!(body, "<th>{}</th>", escape(if documents.len() > 1 { &run.title } else { "requests" }));
    }
    body.push_str("</tr></thead><tbody>\n");
    let mut row = |name: &str, class: &str, count: &dyn Fn(&Document) -> u64| {
        let _ = write!(body, "<tr class=\"{class}\"><th>{name}</th>");
        for run in documents {
            let _ = write!(body, "<td>{}</td>", thousands(count(run) as f64));
        }
        body.push_str("</tr>\n");
    };
    for status in statuses {
        row(&format!("status {status}"), "", &|run| run.statuses.get(&status).copied().unwrap_or(0));
    }
    for kind in kinds {
        row(kind.name(), "bad", &|run| run.errors.get(kind.key()).copied().unwrap_or(0));
    }
    body.push_str("</tbody></table></div></section>\n");
}

fn facts(documents: &[Document], body: &mut String) {
    body.push_str("<section><h2>How it was measured</h2>\n");
    for run in documents {
        let mut rows = vec![
            ("run", format!("{} ({})", run.title, run.ending.replace('_', " "))),
            ("target", format!("{} {} at {}", run.plan.method, run.plan.url, run.plan.target)),
            ("plan", run.plan.summary()),
            ("traffic", format!("{} received, {} sent", bytes(run.received_bytes), bytes(run.sent_bytes))),
            (
                "connections",
                format!(
                    "{} opened, {} closed by the target while idle",
                    run.connections_opened, run.connections_closed_by_target
                ),
            ),
            (
                "generator",
                format!(
                    "{:.2} µs of CPU per request, busiest thread {:.0} % busy, {} driver, loadgen {}",
                    run.generator.cpu_us_per_request,
                    run.generator.busy_share * 100.0,
                    run.machine.io_driver,
                    run.machine.version
                ),
            ),
            (
                "machine",
                format!("{}, {} CPUs, {}", run.machine.cpu_model, run.machine.cpus, run.machine.kernel),
            ),
        ];
        if let Some(tls) = &run.tls {
            rows.push(("TLS", format!("{tls}, {} sessions resumed", thousands(run.tls_resumed as f64))));
        }
        if let Some(server) = &run.server {
            let resident = bytes(server.resident_bytes);
            rows.push((
                "server",
                format!("{:.2} µs of CPU per request, {resident} resident", server.cpu_us_per_request),
            ));
        }
        body.push_str("<dl>");
        for (name, value) in rows {
            let _ = write!(body, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
        }
        body.push_str("</dl>\n");
    }
    body.push_str("</section>\n");
}

fn nanos(nanos: u64) -> String {
    readable(Duration::from_nanos(nanos))
}

/// A whole number with narrow spaces between thousands.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// Text as HTML.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{SlotFacts, Times};

    fn run(title: &str) -> Document {
        let mut report = ringway::load::Report::new(Duration::from_secs(1));
        (1..=1_000_u64).for_each(|n| report.latencies.saturating_record(n * 10_000));
        report.errors[ErrorKind::Reset as usize] = 2;
        report.statuses[200] = 1_000;
        report.elapsed = Duration::from_secs(3);
        let target = ringway::io::Address::Ip(([127, 0, 0, 1], 80).into());
        let plan = ringway::load::Plan::closed_loop(target, "a", "/", 4, Duration::from_secs(2));
        let facts = crate::document::PlanFacts::new("http://a/?x=<1>&y".into(), &plan, 1);
        let machine = crate::machine::Machine::here(ringway::io::DriverKind::Epoll);
        let mut document =
            Document::new(title.into(), "2026-01-01T00:00:00.5Z".into(), facts, machine, &report, None);
        let (p50_ns, p90_ns, p99_ns, p99_9_ns, max_ns) = (1_000, 2_000, 3_000, 4_000, 5_000);
        let slot = SlotFacts {
            answered: 300,
            failed: 1,
            received_bytes: 9,
            p50_ns,
            p90_ns,
            p99_ns,
            p99_9_ns,
            max_ns,
        };
        document.series.slots = vec![slot.clone(), slot.clone(), slot];
        document
    }

    /// Every element that is opened is closed, in order.
    fn assert_balanced(page: &str) {
        let mut open: Vec<&str> = Vec::new();
        for tag in page.split('<').skip(1) {
            let Some((inside, _)) = tag.split_once('>') else { continue };
            let name = inside.split([' ', '/']).find(|part| !part.is_empty()).unwrap_or("");
            if inside.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "at </{inside}>");
            } else if !inside.ends_with('/') && !["!doctype", "meta"].contains(&name) {
                open.push(name);
            }
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn a_page_stands_on_its_own() {
        for documents in [vec![run("one")], vec![run("a<b"), run("c")], vec![run("x"), run("x"), run("y")]] {
            let page = page(&documents);
            assert_balanced(&page);
            assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("<link"));
            assert!(!page.contains("<1>") && page.contains("&lt;1&gt;&amp;y"));
            assert_eq!(page.matches("<svg").count(), 3);
            assert!(page.contains(ErrorKind::Reset.name()));
            assert!(!page.contains("NaN") && !page.contains("inf"));
        }
    }

    #[test]
    fn a_run_without_an_answer_still_makes_a_page() {
        let mut empty = run("none");
        empty.series.slots.clear();
        empty.latency = Times::new(&ringway::load::Report::new(Duration::from_secs(1)).latencies);
        let page = page(&[empty]);
        assert_balanced(&page);
        assert!(!page.contains("<svg"), "there is nothing to draw");
        assert!(!page.contains("NaN"));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            (thousands(999.0), thousands(1_234_567.0)),
            ("999".into(), "1\u{202f}234\u{202f}567".into())
        );
    }
}
