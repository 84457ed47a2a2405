//! `loadgen --self-check`: what the generator itself costs and can do, by protocol. The bundled origin on one CPU, the
//! generator on another, and in the same run, turn by turn, wrk and h2load where they are installed.

use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ringway::io::{self, Address, DriverChoice, DriverKind};
use ringway::load::{
    self, Control, HttpVersion, PemIdentity, Placement, Plan, ServiceOptions, TlsPlan, Trust,
};
use ringway::tls::TlsVersion;

use crate::failure::Failure;
use crate::process;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(1);
const BODY_BYTES: usize = 100;

/// What is spoken, and on how many connections.
#[derive(Debug, Clone, Copy)]
struct Scenario {
    title: &'static str,
    protocol: HttpVersion,
    tls: bool,
    connections: u32,
    streams: u32,
}

const SCENARIOS: [Scenario; 4] = [
    Scenario { title: "HTTP/1.1", protocol: HttpVersion::Http1, tls: false, connections: 64, streams: 1 },
    Scenario {
        title: "HTTP/1.1 over TLS",
        protocol: HttpVersion::Http1,
        tls: true,
        connections: 64,
        streams: 1,
    },
    Scenario { title: "HTTP/2", protocol: HttpVersion::Http2, tls: false, connections: 4, streams: 32 },
    Scenario {
        title: "HTTP/2 over TLS",
        protocol: HttpVersion::Http2,
        tls: true,
        connections: 4,
        streams: 32,
    },
];

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
    println!(
        "The bundled origin on CPU {origin_cpu}, one generator thread on CPU {generator_cpu}, {ROUNDS} rounds of {} s in \
         turn, {} driver.",
        ROUND.as_secs(),
        driver.name()
    );
    for scenario in &SCENARIOS {
        measure(scenario, driver, origin_cpu, generator_cpu)?;
    }
    println!(
        "\nWhere the origin's CPU was the limit, the rates are alike and the CPU per request tells them apart."
    );
    for name in ["wrk", "h2load"].into_iter().filter(|name| !is_installed(name)) {
        println!("{name} is not installed.");
    }
    Ok(ExitCode::SUCCESS)
}

/// One scenario: its rounds and its table.
fn measure(scenario: &Scenario, driver: DriverKind, origin_cpu: usize, cpu: usize) -> Result<(), Failure> {
    let options = ServiceOptions { cpu: Some(origin_cpu), ..ServiceOptions::on_loopback(driver) };
    let identity = scenario.tls.then(self_signed).transpose()?;
    let origin = load::start_origin(&options, &"x".repeat(BODY_BYTES), identity.as_ref())
        .map_err(|error| Failure::Run(error.to_string()))?;
    let target = origin.address().clone();
    let mut contenders: Vec<Contender> = ["loadgen", "wrk", "h2load"]
        .into_iter()
        .filter(|name| *name == "loadgen" || (scenario.is_spoken_by(name) && is_installed(name)))
        .map(|name| Contender { name, rounds: Vec::new() })
        .collect();
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            let round = match contender.name {
                "loadgen" => own_round(scenario, &target, driver, cpu)?,
                name => foreign_round(name, scenario, &target, cpu)?,
            };
            contender.rounds.push(round);
        }
    }
    let Scenario { title, connections, streams, .. } = scenario;
    let streams = if *streams > 1 { format!(" of {streams} streams") } else { String::new() };
    println!("\n{title}, {connections} connections{streams}");
    println!(
        "{:<9} {:>30} {:>28} {:>16}",
        "", "requests/s (min to max)", "CPU µs/request", "a core could do"
    );
    contenders.iter().for_each(Contender::print);
    Ok(())
}

/// A certificate for this run only; the generators do not look at who signed it.
fn self_signed() -> Result<PemIdentity, Failure> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
    let made = made.map_err(|error| Failure::Run(format!("a certificate for the origin: {error}")))?;
    let (chain, key) = (made.cert.pem().into_bytes(), made.signing_key.serialize_pem().into_bytes());
    Ok(PemIdentity { chain, key })
}

impl Scenario {
    /// wrk knows HTTP/1.1 only.
    fn is_spoken_by(&self, generator: &str) -> bool {
        generator != "wrk" || self.protocol == HttpVersion::Http1
    }

    fn plan(&self, target: &Address) -> Plan {
        let mut plan = Plan::closed_loop(target.clone(), &target.to_string(), "/", self.connections, ROUND);
        plan.protocol = self.protocol;
        plan.depth = self.streams;
        plan.tls = self.tls.then(|| TlsPlan {
            server_name: "localhost".into(),
            trust: Trust::Anybody,
            identity: None,
            resumes: false,
            versions: (TlsVersion::Tls12, TlsVersion::Tls13),
        });
        plan
    }

    /// The command line of another generator.
    fn command(&self, generator: &str, target: &Address) -> Vec<String> {
        let scheme = if self.tls { "https" } else { "http" };
        let (connections, seconds) = (self.connections.to_string(), ROUND.as_secs().to_string());
        let url = format!("{scheme}://{target}/");
        let words: Vec<&str> = match (generator, self.protocol) {
            ("wrk", _) => vec!["wrk", "-t1", "-c", &connections, "-d", &seconds, &url],
            (_, HttpVersion::Http1) => {
                vec!["h2load", "--h1", "-t1", "-c", &connections, "-D", &seconds, &url]
            }
            (_, HttpVersion::Http2) => {
                let streams = self.streams.to_string();
                let words = ["h2load", "-t1", "-c", &connections, "-m", &streams, "-D", &seconds, &url];
                return words.map(str::to_owned).into();
            }
        };
        words.into_iter().map(str::to_owned).collect()
    }
}

impl Contender {
    fn print(&self) {
        let (rate, least, most) = self.median(|round| round.per_second);
        let (cpu, cheapest, dearest) = self.median(|round| round.cpu_us_per_request);
        println!(
            "{:<9} {:>30} {:>28} {:>14.0}/s",
            self.name,
            format!("{rate:.0} ({least:.0} to {most:.0})"),
            format!("{cpu:.2} ({cheapest:.2} to {dearest:.2})"),
            1e6 / cpu
        );
    }

    /// Median, least and most.
    fn median(&self, value: impl Fn(&Round) -> f64) -> (f64, f64, f64) {
        let mut values: Vec<f64> = self.rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        (at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
    }
}

fn own_round(
    scenario: &Scenario,
    target: &Address,
    driver: DriverKind,
    cpu: usize,
) -> Result<Round, Failure> {
    let plan = scenario.plan(target);
    let placement = Placement { driver, cpus: vec![Some(cpu)] };
    let report = load::run(&plan, &placement, &Arc::new(Control::new(1)))
        .map_err(|error| Failure::Run(error.to_string()))?;
    if report.failed() > 0 || report.answered() == 0 {
        return Err(Failure::Run(format!("the bundled origin failed {} requests", report.failed())));
    }
    let cpu_us_per_request = report.cpu_per_request().as_nanos() as f64 / 1e3;
    Ok(Round { per_second: report.rate(), cpu_us_per_request })
}

fn foreign_round(name: &str, scenario: &Scenario, target: &Address, cpu: usize) -> Result<Round, Failure> {
    let fail = |reason: String| Failure::Run(format!("{name}: {reason}"));
    let child = Command::new("taskset")
        .args(["-c", &cpu.to_string()])
        .args(scenario.command(name, target))
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
