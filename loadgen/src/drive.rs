//! A run from its arguments to its reports and exit code.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ringway::load::{self, Control, Ending, ErrorKind, Limit, LoadError, Report};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli::RunArgs;
use crate::document::{Document, PlanFacts, Server};
use crate::failure::Failure;
use crate::machine::Machine;
use crate::process::{self, Footprint};
use crate::{html, live, target, text};

/// Drives load as asked and reports it.
pub fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let (plan, url) = target::plan(args)?;
    let placement = target::placement(args, plan.connections)?;
    let footprint = server_footprint(args)?;
    for path in [&args.json, &args.html].into_iter().flatten() {
        check_writable(path)?;
    }
    let facts = PlanFacts::new(url.clone(), &plan, placement.cpus.len());
    let machine = Machine::here(placement.driver);
    let control = Arc::new(Control::new(placement.cpus.len()));
    let planned = match plan.limit {
        Limit::Duration(duration) => Some(plan.warm_up + duration),
        Limit::Requests(_) => None,
    };
    let target = plan.target.to_string();
    let in_run = Arc::clone(&control);
    let report =
        live::watch(&control, planned, args.quiet, |_| {}, move || load::run(&plan, &placement, &in_run))
            .map_err(Failure::Run)?
            .map_err(|error: LoadError| Failure::Run(error.to_string()))?;
    let server = footprint.map(|before| server_facts(before, &report));
    let title = args.title.clone().unwrap_or(url);
    let document = Document::new(title, now(), facts, machine, &report, server);
    if !args.quiet {
        print!("{}", text::report(&document));
    }
    write(args, &document)?;
    Ok(judge(&report, &target))
}

fn write(args: &RunArgs, document: &Document) -> Result<(), Failure> {
    if let Some(path) = &args.json {
        if path.as_os_str() == "-" {
            print!("{}", document.to_json());
        } else {
            save(path, &document.to_json())?;
        }
    }
    if let Some(path) = &args.html {
        save(path, &html::page(std::slice::from_ref(document)))?;
    }
    Ok(())
}

/// Says what went wrong, if something did, and gives the exit code.
fn judge(report: &Report, target: &str) -> ExitCode {
    let most_frequent = ErrorKind::ALL.into_iter().max_by_key(|kind| report.errors[*kind as usize]);
    let kind =
        most_frequent.filter(|kind| report.errors[*kind as usize] > 0).map_or("no answer", ErrorKind::name);
    let reason = report.connect_error.as_deref().unwrap_or(kind);
    match report.ending {
        Ending::NoConnection if report.connect_times.is_empty() => {
            eprintln!("loadgen: no connection to {target} could be made: {reason}");
        }
        Ending::NoConnection => {
            eprintln!("loadgen: {target} takes no connections any more ({reason}); the run was ended early");
        }
        Ending::Interrupted => eprintln!("loadgen: interrupted; the figures are of the part that ran"),
        Ending::Complete if report.answered() == 0 => eprintln!("loadgen: no request was answered: {kind}"),
        Ending::Complete if report.failed() > 0 => {
            eprintln!("loadgen: {} requests failed, most of them: {kind}", report.failed());
        }
        Ending::Complete => return ExitCode::SUCCESS,
    }
    ExitCode::FAILURE
}

/// What the process of `--server-pid` uses before the run.
pub fn server_footprint(args: &RunArgs) -> Result<Option<(u32, Footprint)>, Failure> {
    let Some(pid) = args.server_pid else { return Ok(None) };
    let footprint = process::footprint(pid);
    let footprint = footprint.ok_or_else(|| Failure::Arguments(format!("--server-pid: no process {pid}")))?;
    Ok(Some((pid, footprint)))
}

fn server_facts((pid, before): (u32, Footprint), report: &Report) -> Server {
    // If it is gone, so are its figures.
    let after = process::footprint(pid).unwrap_or(before);
    let cpu: Duration = after.cpu.saturating_sub(before.cpu);
    let requests = (report.answered() + report.failed()).max(1);
    Server {
        pid,
        cpu_us_per_request: cpu.as_secs_f64() * 1e6 / requests as f64,
        resident_bytes: after.resident_bytes,
    }
}

/// Better to fail before a long run than after it.
pub fn check_writable(path: &Path) -> Result<(), Failure> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if path.as_os_str() != "-" && (!parent.is_dir() || path.is_dir()) {
        return Err(Failure::Arguments(format!("{} cannot be written: no such directory", path.display())));
    }
    Ok(())
}

/// Writes a report.
pub fn save(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|error| Failure::Run(format!("{}: {error}", path.display())))
}

fn now() -> String {
    // Formatting fails for years beyond 9999 only.
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}
