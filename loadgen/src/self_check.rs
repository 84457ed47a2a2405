//! `loadgen --self-check`: what the generator itself costs and can do. The bundled origin on one CPU, the generator on
//! another, and in the same run, turn by turn, wrk and h2load where they are installed.

use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ringway::io::{self, Address, DriverChoice, DriverKind};
use ringway::load::{self, Control, Placement, Plan, ServiceOptions};

use crate::failure::Failure;
use crate::process;

const CONNECTIONS: u32 = 64;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);
const BODY_BYTES: usize = 100;

/// One round of one generator.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Round {
    per_second: f64,
    cpu_us_per_request: f64,
}

/// A generator and its rounds.
#[derive(Debug)]
struct Contender {
    name: &'static str,
    rounds: Vec<Round>,
}

/// Measures and prints.
pub fn run() -> Result<ExitCode, Failure> {
    let driver = io::probe(DriverChoice::Auto).map_err(|error| Failure::Run(error.to_string()))?.kind;
    let cpus: Vec<usize> =
        core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    let [origin_cpu, generator_cpu, ..] = cpus[..] else {
        return Err(Failure::Run(
            "--self-check needs two CPUs: one for the origin, one for the generator".into(),
        ));
    };
    let options = ServiceOptions { cpu: Some(origin_cpu), ..ServiceOptions::on_loopback(driver) };
    let origin = load::start_origin(&options, &"x".repeat(BODY_BYTES), None)
        .map_err(|error| Failure::Run(error.to_string()))?;
    let target = origin.address().clone();
    println!(
        "The bundled origin on CPU {origin_cpu}, one generator thread on CPU {generator_cpu}, {CONNECTIONS} connections, \
         {ROUNDS} rounds of {} s in turn, {} driver.\n",
        ROUND.as_secs(),
        driver.name()
    );
    let mut contenders: Vec<Contender> = ["loadgen", "wrk", "h2load"]
        .into_iter()
        .filter(|name| *name == "loadgen" || is_installed(name))
        .map(|name| Contender { name, rounds: Vec::new() })
        .collect();
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            let round = match contender.name {
                "loadgen" => own_round(&target, driver, generator_cpu)?,
                name => foreign_round(name, &target, generator_cpu)?,
            };
            contender.rounds.push(round);
        }
    }
    println!(
        "{:<9} {:>30} {:>28} {:>16}",
        "", "requests/s (min to max)", "CPU µs/request", "a core could do"
    );
    for contender in &contenders {
        let (rate, least, most) = contender.median(|round| round.per_second);
        let (cpu, cheapest, dearest) = contender.median(|round| round.cpu_us_per_request);
        println!(
            "{:<9} {:>30} {:>28} {:>14.0}/s",
            contender.name,
            format!("{rate:.0} ({least:.0} to {most:.0})"),
            format!("{cpu:.2} ({cheapest:.2} to {dearest:.2})"),
            1e6 / cpu
        );
    }
    println!(
        "\nWhere the origin's CPU was the limit, the rates are alike and the CPU per request tells them apart."
    );
    for name in ["wrk", "h2load"] {
        if !contenders.iter().any(|contender| contender.name == name) {
            println!("{name} is not installed.");
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Contender {
    /// Median, least and most.
    fn median(&self, value: impl Fn(&Round) -> f64) -> (f64, f64, f64) {
        let mut values: Vec<f64> = self.rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
    }
}

fn own_round(target: &Address, driver: DriverKind, cpu: usize) -> Result<Round, Failure> {
    let plan = Plan::closed_loop(target.clone(), &target.to_string(), "/", CONNECTIONS, ROUND);
    let placement = Placement { driver, cpus: vec![Some(cpu)] };
    let report = load::run(&plan, &placement, &Arc::new(Control::new(1)))
        .map_err(|error| Failure::Run(error.to_string()))?;
    if report.failed() > 0 || report.answered() == 0 {
        return Err(Failure::Run(format!("the bundled origin failed {} requests", report.failed())));
    }
    let cpu_us_per_request = report.cpu_per_request().as_nanos() as f64 / 1e3;
    Ok(Round { per_second: report.rate(), cpu_us_per_request })
}

fn foreign_round(name: &str, target: &Address, cpu: usize) -> Result<Round, Failure> {
    let (connections, seconds) = (CONNECTIONS.to_string(), ROUND.as_secs().to_string());
    let url = format!("http://{target}/");
    let arguments: Vec<&str> = match name {
        "wrk" => vec!["wrk", "-t1", "-c", &connections, "-d", &seconds, &url],
        _ => vec!["h2load", "--h1", "-t1", "-c", &connections, "-D", &seconds, &url],
    };
    let fail = |reason: String| Failure::Run(format!("{name}: {reason}"));
    let child = Command::new("taskset")
        .args(["-c", &cpu.to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| fail(error.to_string()))?;
    // What it prints fits into the pipe, so that it ends without being read.
    let cpu_time = process::await_end(child.id());
    let output = child.wait_with_output().map_err(|error| fail(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (requests, per_second) =
        parse(name, &text).ok_or_else(|| fail(format!("what it printed is not understood:\n{text}")))?;
    Ok(Round { per_second, cpu_us_per_request: cpu_time.as_secs_f64() * 1e6 / requests })
}

/// Requests and requests per second.
fn parse(name: &str, text: &str) -> Option<(f64, f64)> {
    let number_after = |marker: &str| {
        let rest = text.split_once(marker)?.1.trim_start();
        rest.split(|c: char| !(c.is_ascii_digit() || c == '.')).next()?.parse::<f64>().ok()
    };
    if name == "wrk" {
        let before = text.split_once(" requests in ")?.0;
        let requests = before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
        return Some((requests, number_after("Requests/sec:")?));
    }
    Some((number_after("requests:")?, number_after("finished in ").and(number_after("s, "))?))
}

fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let exists = |name: &str| std::env::split_paths(&path).any(|directory| directory.join(name).is_file());
    exists(name) && exists("taskset")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_others_print_is_understood() {
        let wrk = "Running 2s test @ http://x/\n  107158 requests in 2.10s, 25.04MB read\nRequests/sec:  51026.99\n";
        assert_eq!(parse("wrk", wrk), Some((107_158.0, 51_026.99)));
        let h2load = "finished in 2.00s, 47023.50 req/s, 11.06MB/s\nrequests: 94047 total, 94047 started\n";
        assert_eq!(parse("h2load", h2load), Some((94_047.0, 47_023.50)));
        assert_eq!(parse("wrk", "nonsense"), None);
    }

    #[test]
    fn medians() {
        let round = |per_second| Round { per_second, cpu_us_per_request: 1.0 };
        let contender = Contender { name: "x", rounds: vec![round(3.0), round(1.0), round(2.0)] };
        assert_eq!(contender.median(|round| round.per_second), (2.0, 1.0, 3.0));
    }
}
