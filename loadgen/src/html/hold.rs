//! The report of connections that were held idle: what the server did to them, over time.

use std::fmt::Write as _;

use ringway::load::{ErrorKind, HoldReport};

use super::chart::{Chart, Line};
use super::scale::Scale;
use super::{escape, thousands, times_table, whole, write_tiles};
use crate::document::{Times, ending_name, readable};
use crate::hold::Held;
use crate::text::bytes;

/// A run of `--hold-idle`.
pub fn hold_page(run: &Held<'_>) -> String {
    let report = run.report;
    let mut body = format!(
        "<header><h1>{}</h1><p class=\"sub\">{} · {} idle connections, held for {}</p></header>\n",
        escape(run.title),
        escape(run.url),
        thousands(run.connections.into()),
        escape(&readable(report.held))
    );
    tiles(run, &mut body);
    let points = report.timeline.iter().map(|(at, open)| (at.as_secs_f64(), *open as f64)).collect();
    let line = Line { name: "open".to_owned(), color: 0, points };
    Chart { title: "Open connections over time", x: Scale::Seconds, y: Scale::Count, lines: vec![line] }
        .write(&mut body);
    let times = [&report.connect_times, &report.handshake_times, &report.lifetimes].map(Times::new);
    times_table(["connecting", "TLS", "age at the end"].into_iter().zip(&times), &mut body);
    outcomes(report, &mut body);
    facts(run, &mut body);
    whole(run.title, &body)
}

fn tiles(run: &Held<'_>, body: &mut String) {
    let report = run.report;
    let count = |count: u64| thousands(count as f64);
    let memory = run.memory.map_or("–".to_owned(), |memory| bytes(memory.each(report.still_open)));
    let note = if run.memory.is_some() { "of the server's memory" } else { "give --server-pid" };
    let tiles = [
        ("opened", count(report.opened), format!("in {}", readable(report.opening))),
        ("still open", count(report.still_open), format!("after {}", readable(report.held))),
        ("closed by the server", count(report.closed), String::new()),
        ("reset by the server", count(report.reset), String::new()),
        ("a connection", memory, note.to_owned()),
        ("failed", count(report.failed()), String::new()),
    ];
    write_tiles(tiles, if report.failed() > 0 { "failed" } else { "" }, body);
}

fn outcomes(report: &HoldReport, body: &mut String) {
    let failed = ErrorKind::ALL.into_iter().map(|kind| ("bad", kind.name(), report.errors[kind as usize]));
    let rows = [
        ("", "had their request answered", report.answered),
        ("", "sent something that nobody had asked for", report.spoken_to),
    ];
    let rows: Vec<_> = rows.into_iter().chain(failed).filter(|(_, _, count)| *count > 0).collect();
    if rows.is_empty() {
        return;
    }
    body.push_str(
        "<section><h2>Outcomes</h2><div class=\"scroll\"><table><thead><tr><th></th><th>connections</th>",
    );
    body.push_str("</tr></thead><tbody>\n");
    for (class, name, count) in rows {
        // Writing to a string cannot fail, here and below.
        let _ =
            writeln!(body, "<tr class=\"{class}\"><th>{name}</th><td>{}</td></tr>", thousands(count as f64));
    }
    body.push_str("</tbody></table></div></section>\n");
}

fn facts(run: &Held<'_>, body: &mut String) {
    let machine = run.machine;
    let mut rows = vec![
        ("run", ending_name(run.report.ending).replace('_', " ")),
        ("generator", format!("{} driver, loadgen {}", machine.io_driver, machine.version)),
        ("machine", format!("{}, {} CPUs, {}", machine.cpu_model, machine.cpus, machine.kernel)),
    ];
    if let Some(memory) = run.memory {
        let [before, all_open, end] = [memory.before, memory.all_open, memory.end].map(bytes);
        rows.push(("server memory", format!("{before} before, {all_open} with all open, {end} at the end")));
    }
    if let Some(reason) = &run.report.connect_error {
        rows.push(("first failure", reason.clone()));
    }
    body.push_str("<section><h2>How it was measured</h2>\n<dl>");
    for (name, value) in rows {
        let _ = write!(body, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    body.push_str("</dl>\n</section>\n");
}
