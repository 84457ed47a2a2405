//! `loadgen --hold-idle N`: from its arguments to its report.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ringway::load::{self, Control, Ending, ErrorKind, HoldReport, LoadError};
use serde_json::{Value, json};

use crate::cli::RunArgs;
use crate::document::{Times, ending_name, readable};
use crate::drive::{check_writable, save, server_footprint};
use crate::failure::Failure;
use crate::machine::Machine;
use crate::process;
use crate::{html, live, target, text};

/// What `schema` says.
const SCHEMA: &str = "ringway-loadgen-hold/1";

/// Resident memory of the server's process, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// Before the first connection.
    pub before: u64,
    /// When all stood.
    pub all_open: u64,
    /// At the end.
    pub end: u64,
}

/// What a run came to, for its report.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    /// Name of the run.
    pub title: &'a str,
    /// The URL.
    pub url: &'a str,
    /// Connections that were asked for.
    pub connections: u32,
    /// What became of them.
    pub report: &'a HoldReport,
    /// The server's memory, if its process was named.
    pub memory: Option<&'a Memory>,
    /// Where it ran.
    pub machine: &'a Machine,
}

impl Memory {
    /// What each of the connections that are open takes.
    pub fn each(&self, still_open: u64) -> u64 {
        self.end.saturating_sub(self.before) / still_open.max(1)
    }
}

/// Holds connections as asked and reports what became of them.
pub fn run(args: &RunArgs, connections: u32) -> Result<ExitCode, Failure> {
    let (plan, url) = target::hold_plan(args, connections)?;
    let placement = target::placement(args, connections)?;
    let footprint = server_footprint(args)?;
    [&args.json, &args.html].into_iter().flatten().try_for_each(|path| check_writable(path))?;
    let machine = Machine::here(placement.driver);
    let control = Arc::new(Control::new(placement.cpus.len()));
    let (hold, target, in_run) = (plan.hold, plan.target.to_string(), Arc::clone(&control));
    let mut memory =
        footprint.map(|(pid, before)| (pid, Memory { before: before.resident_bytes, ..Memory::default() }));
    let look = |snapshot: &load::Snapshot| {
        if let Some((pid, memory)) = &mut memory
            && snapshot.measuring
            && snapshot.connections > 0
        {
            memory.end = process::footprint(*pid).unwrap_or_default().resident_bytes;
            if memory.all_open == 0 {
                memory.all_open = memory.end;
            }
        }
    };
    let planned = hold + Duration::from_secs_f64(f64::from(connections) / args.open_rate);
    let report = live::watch(&control, Some(planned), args.quiet, look, move || {
        load::hold(&plan, &placement, &in_run)
    })
    .map_err(Failure::Run)?
    .map_err(|error: LoadError| Failure::Run(error.to_string()))?;
    let memory = memory.map(|(_, memory)| memory);
    let (title, report) = (args.title.as_deref().unwrap_or(&url), &report);
    let held = Held { title, url: &url, connections, report, memory: memory.as_ref(), machine: &machine };
    if !args.quiet {
        print!("{}", describe(&held));
    }
    if let Some(path) = &args.json {
        let document = to_json(&held);
        let text = serde_json::to_string_pretty(&document).unwrap_or_default() + "\n";
        if path.as_os_str() == "-" { print!("{text}") } else { save(path, &text)? }
    }
    if let Some(path) = &args.html {
        save(path, &html::hold_page(&held))?;
    }
    Ok(judge(report, &target))
}

fn judge(report: &HoldReport, target: &str) -> ExitCode {
    match report.ending {
        Ending::NoConnection => {
            let reason = report.connect_error.as_deref().unwrap_or("it is not known why");
            eprintln!("loadgen: no connection to {target} could be made: {reason}");
        }
        Ending::Interrupted => eprintln!("loadgen: interrupted; the figures are of the part that ran"),
        Ending::Complete if report.failed() > 0 => {
            let reason = report.connect_error.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
            eprintln!("loadgen: {} connections could not be opened or used{reason}", report.failed());
        }
        Ending::Complete => return ExitCode::SUCCESS,
    }
    ExitCode::FAILURE
}

fn describe(held: &Held<'_>) -> String {
    let Held { url, connections, report, memory, .. } = *held;
    let mut text = format!("{url}  ({connections} idle connections)\n\n");
    let mut row = |count: u64, what: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {count:>9}  {what}");
    };
    row(report.opened, format!("opened in {}", readable(report.opening)));
    if report.answered > 0 {
        row(report.answered, "had their request answered".into());
    }
    for kind in ErrorKind::ALL {
        let count = report.errors[kind as usize];
        if count > 0 {
            row(count, format!("failed: {}", kind.name()));
        }
    }
    let age = |quantile| readable(Duration::from_nanos(report.lifetimes.value_at_quantile(quantile)));
    let ages = format!("; age at the end {} to {}, median {}", age(0.0), age(1.0), age(0.5));
    let ages = if report.lifetimes.is_empty() { String::new() } else { ages };
    row(report.closed, format!("closed by the server while idle{ages}"));
    row(report.reset, "reset by the server while idle".into());
    if report.spoken_to > 0 {
        row(report.spoken_to, "of those were sent something first".into());
    }
    row(report.still_open, format!("still open after {}", readable(report.held)));
    if let Some(memory) = memory {
        let each = memory.each(report.still_open);
        let _ = writeln!(
            text,
            "\n  server memory  {} before, {} with all open, {} at the end: {each} bytes a connection",
            text::bytes(memory.before),
            text::bytes(memory.all_open),
            text::bytes(memory.end)
        );
    }
    text
}

fn to_json(held: &Held<'_>) -> Value {
    let Held { url, connections, report, memory, machine, .. } = *held;
    let errors: serde_json::Map<String, Value> = ErrorKind::ALL
        .iter()
        .map(|kind| (kind.key().to_owned(), json!(report.errors[*kind as usize])))
        .filter(|(_, count)| *count != json!(0))
        .collect();
    let timeline: Vec<_> = report.timeline.iter().map(|(at, open)| json!([at.as_secs_f64(), open])).collect();
    json!({
        "schema": SCHEMA,
        "url": url,
        "machine": machine,
        "ending": ending_name(report.ending),
        "connections": connections,
        "opened": report.opened,
        "answered": report.answered,
        "errors": errors,
        "connect_error": report.connect_error,
        "closed_by_server": report.closed,
        "reset_by_server": report.reset,
        "sent_something_first": report.spoken_to,
        "still_open": report.still_open,
        "opening_s": report.opening.as_secs_f64(),
        "held_s": report.held.as_secs_f64(),
        "connect_time": Times::new(&report.connect_times),
        "handshake_time": Times::new(&report.handshake_times),
        "lifetime": Times::new(&report.lifetimes),
        "open_over_time": timeline,
        "server_memory": memory.map(|memory| json!({
            "before_bytes": memory.before,
            "all_open_bytes": memory.all_open,
            "end_bytes": memory.end,
        })),
    })
}
