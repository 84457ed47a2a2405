//! The command line. It parses and checks form; nothing is opened, resolved or started here.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// What was asked for.
#[derive(Debug, Parser)]
#[command(
    name = "loadgen",
    version,
    about = "Drives HTTP load and says what came of it: throughput, latencies to p99.99, errors by kind.",
    args_conflicts_with_subcommands = true,
    override_usage = "loadgen [OPTIONS] URL...\n       loadgen compare A.json B.json...\n       loadgen origin | relay",
    after_help = "\
Examples:
  loadgen http://127.0.0.1:10000/ -c 64 -d 10s           as fast as 64 connections go
  loadgen http://127.0.0.1:10000/ -r 20k -d 30s          20,000 a second, latency from the schedule
  loadgen http://h/ --connect-to 127.0.0.1:10000 -n 1m   a million requests, resolved by hand
  loadgen http://127.0.0.1:10000/ --http2 -c 4 -s 32     32 streams on each of 4 HTTP/2 connections
  loadgen https://127.0.0.1:10443/ -k --handshakes -c 8  full TLS handshakes; --resume for resumed ones
  loadgen http://127.0.0.1:10000/ --hold-idle 20000      what the server does to idle connections
  loadgen http://127.0.0.1:10000/ --json a.json --html a.html

Exit code: 0 if all went well; 1 if requests failed, nothing was answered or the run was interrupted;
2 for wrong arguments."
)]
pub struct Cli {
    /// Another job than driving load.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Jobs other than driving load.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lay recorded runs side by side
    Compare(CompareArgs),
    /// Serve the bundled origin: /bytes/N, /status/N, /delay/MS, /close, /reset
    Origin(OriginArgs),
    /// Serve a bare L4 relay, the floor for proxies
    Relay(RelayArgs),
}

/// A run of load.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Targets, such as http://127.0.0.1:10000/path; several are sent round robin to the first one's address
    #[arg(value_name = "URL")]
    pub urls: Vec<String>,
    /// More targets from a file: a URL or a path on each line, perhaps after a method
    #[arg(long = "urls", value_name = "FILE")]
    pub urls_file: Option<PathBuf>,

    /// Connections, all threads together
    #[arg(short, long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,
    /// Worker threads [default: one for each CPU, not more than connections]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub threads: Option<u16>,
    /// CPUs to pin the threads to, such as 1 or 2,4-7
    #[arg(long, value_name = "LIST", value_parser = cpu_list)]
    pub cpus: Option<CpuList>,
    /// How long to send [default: 10s, unless -n is given]
    #[arg(short, long, value_name = "TIME", value_parser = time_span)]
    pub duration: Option<Duration>,
    /// How many requests to send; 10k and 2m are understood
    #[arg(short = 'n', long, value_name = "N", value_parser = count, conflicts_with = "duration")]
    pub requests: Option<u64>,
    /// Requests per second by a schedule that waits for nobody (open loop), all threads together
    #[arg(short, long, value_name = "N", value_parser = rate)]
    pub rate: Option<f64>,
    /// The gaps between the requests of --rate
    #[arg(long, value_enum, default_value_t = ArrivalArg::Constant, requires = "rate")]
    pub arrivals: ArrivalArg,
    /// How long to send before anything counts
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time_span)]
    pub warm_up: Duration,
    /// How long a connection or an answer may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time_span)]
    pub timeout: Duration,

    /// Method [default: GET, or POST with a body]
    #[arg(short, long)]
    pub method: Option<String>,
    /// Header field, such as 'accept: text/html'; replaces a usual one of that name
    #[arg(short = 'H', long = "header", value_name = "FIELD", value_parser = header)]
    pub headers: Vec<(String, String)>,
    /// Send a body of this size; 64k and 1m are understood
    #[arg(long, value_name = "BYTES", value_parser = size, conflicts_with = "body_file")]
    pub body_size: Option<usize>,
    /// Send this file as the body
    #[arg(long, value_name = "FILE")]
    pub body_file: Option<PathBuf>,
    /// Statuses that count as success, such as 200 or 2xx,404 [default: 2xx,3xx]
    #[arg(long, value_name = "LIST", value_parser = statuses)]
    pub expect: Option<StatusList>,

    /// A new connection for each request
    #[arg(long)]
    pub new_connection: bool,
    /// Requests in flight on each connection (HTTP/1.1 pipelining)
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024), conflicts_with_all = ["new_connection", "http2"])]
    pub pipeline: u32,
    /// HTTP/2; without TLS by prior knowledge (h2c)
    #[arg(long)]
    pub http2: bool,
    /// With --http2: streams in flight on each connection
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000), requires = "http2", conflicts_with = "new_connection")]
    pub streams: u32,
    /// TLS handshakes only: a connection for each, which ends without a request
    #[arg(long, conflicts_with_all = ["new_connection", "pipeline", "streams", "hold_idle"])]
    pub handshakes: bool,
    /// Open this many connections and leave them alone for the duration
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), conflicts_with_all = ["requests", "rate", "new_connection", "warm_up"])]
    pub hold_idle: Option<u32>,
    /// With --hold-idle: connections to open in a second
    #[arg(long, value_name = "N", default_value = "5k", value_parser = rate, requires = "hold_idle")]
    pub open_rate: f64,
    /// With --hold-idle: have one request answered on each connection first
    #[arg(long, requires = "hold_idle")]
    pub first_request: bool,

    /// TLS to https:// targets
    #[command(flatten)]
    pub tls: TlsArgs,

    /// Connect here instead of to the URL's host: ADDRESS:PORT, or unix:PATH
    #[arg(long, value_name = "ADDR")]
    pub connect_to: Option<String>,
    /// Connect from this address; several take turns
    #[arg(long, value_name = "IP")]
    pub source: Vec<IpAddr>,
    /// Seed of random arrivals
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How to do network I/O
    #[arg(long, value_enum, default_value_t = IoDriver::Auto)]
    pub io_driver: IoDriver,

    /// Write the results as JSON; - is the standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a report as one HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Name of the run in reports
    #[arg(long)]
    pub title: Option<String>,
    /// Report processor time and memory of this process and its children, too
    #[arg(long, value_name = "PID")]
    pub server_pid: Option<u32>,
    /// No progress and no table
    #[arg(short, long)]
    pub quiet: bool,
    /// Measure the generator itself against the bundled origin, beside wrk and h2load where they are installed
    #[arg(long, exclusive = true)]
    pub self_check: bool,
}

/// TLS to the target.
#[derive(Debug, Args)]
pub struct TlsArgs {
    /// With https://: accept any certificate
    #[arg(short = 'k', long, conflicts_with = "cacert")]
    pub insecure: bool,
    /// With https://: trust these authorities (PEM) instead of the system's
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// With https://: the certificate to show (PEM, its chain behind it)
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Key of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// With https://: the server's name to ask for and to check [default: the URL's host]
    #[arg(long, value_name = "NAME")]
    pub sni: Option<String>,
    /// With https://: resume sessions on new connections; otherwise every handshake is a full one
    #[arg(long)]
    pub resume: bool,
    /// With https://: only this version
    #[arg(long, value_enum, value_name = "VERSION")]
    pub tls_version: Option<TlsVersionArg>,
}

/// Versions of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TlsVersionArg {
    /// RFC 5246
    #[value(name = "1.2")]
    Tls12,
    /// RFC 8446
    #[value(name = "1.3")]
    Tls13,
}

/// Runs to compare.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Results that --json wrote; ratios are to the first one
    #[arg(required = true, num_args = 2.., value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write the comparison as one HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// The bundled origin.
#[derive(Debug, Args)]
pub struct OriginArgs {
    /// ADDRESS:PORT or unix:PATH to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8000")]
    pub listen: String,
    /// Serve TLS with this certificate (PEM), HTTP/2 and HTTP/1.1 by ALPN
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,
    /// Key of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
    /// Length of an ordinary answer's body
    #[arg(long, value_name = "BYTES", default_value = "100", value_parser = size)]
    pub body_size: usize,
    /// CPU to stay on
    #[arg(long)]
    pub cpu: Option<usize>,
    /// How to do network I/O
    #[arg(long, value_enum, default_value_t = IoDriver::Auto)]
    pub io_driver: IoDriver,
}

/// The bare relay.
#[derive(Debug, Args)]
pub struct RelayArgs {
    /// ADDRESS:PORT or unix:PATH to listen on
    #[arg(long, value_name = "ADDR")]
    pub listen: String,
    /// ADDRESS:PORT or unix:PATH to relay to
    #[arg(long, value_name = "ADDR")]
    pub to: String,
    /// CPU to stay on
    #[arg(long)]
    pub cpu: Option<usize>,
    /// How to do network I/O
    #[arg(long, value_enum, default_value_t = IoDriver::Auto)]
    pub io_driver: IoDriver,
}

/// The gaps between scheduled requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ArrivalArg {
    /// All alike
    Constant,
    /// Random, as of many independent clients
    Poisson,
}

/// How to do network I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IoDriver {
    /// io_uring where it works, otherwise epoll
    Auto,
    /// io_uring
    Ring,
    /// epoll
    Epoll,
}

/// CPUs in the order in which threads get them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

/// Ranges of statuses, and the text that said so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusList(pub Vec<(u16, u16)>, pub String);

fn cpu_list(text: &str) -> Result<CpuList, String> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number =
            |text: &str| text.trim().parse::<usize>().map_err(|_| format!("{text:?} is no CPU number"));
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last > 4_096 {
            return Err(format!("{part:?} is no range of CPUs"));
        }
        cpus.extend(first..=last);
    }
    Ok(CpuList(cpus))
}

/// `10s`, `250ms`, `2m`, `1h`, or plain seconds.
pub fn time_span(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match &text[digits.len()..] {
        "us" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        unit => return Err(format!("{unit:?} is no unit of time; use ms, s, m or h")),
    };
    let number: f64 = digits.parse().map_err(|_| format!("{digits:?} is no number"))?;
    let span = number * seconds;
    if !(0.0..=7.0 * 86_400.0).contains(&span) {
        return Err("must lie between 0 and a week".into());
    }
    Ok(Duration::from_secs_f64(span))
}

/// A number that may end with `k` or `m` for thousands and millions.
fn scaled(text: &str, thousand: f64) -> Result<f64, String> {
    let lower = text.to_ascii_lowercase();
    let (digits, factor) = match lower.as_bytes().last() {
        Some(b'k') => (&lower[..lower.len() - 1], thousand),
        Some(b'm') => (&lower[..lower.len() - 1], thousand * thousand),
        _ => (&lower[..], 1.0),
    };
    digits.parse::<f64>().map(|number| number * factor).map_err(|_| format!("{text:?} is no number"))
}

fn count(text: &str) -> Result<u64, String> {
    let number = scaled(text, 1_000.0)?;
    if (1.0..=1e15).contains(&number) && number.fract() == 0.0 {
        return Ok(number as u64);
    }
    Err("must be a whole number, at least 1".into())
}

fn rate(text: &str) -> Result<f64, String> {
    let number = scaled(text, 1_000.0)?;
    if (0.001..=1e8).contains(&number) { Ok(number) } else { Err("must lie between 0.001 and 100m".into()) }
}

fn size(text: &str) -> Result<usize, String> {
    let number = scaled(text, 1_024.0)?;
    if (0.0..=1_073_741_824.0).contains(&number) {
        return Ok(number as usize);
    }
    Err("must be at most 1024m".into())
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("must have a colon: 'name: value'")?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        return Err(format!("{name:?} is no field name"));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        return Err("the value has control characters".into());
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

fn statuses(text: &str) -> Result<StatusList, String> {
    let range = |part: &str| {
        let number = |text: &str| text.parse::<u16>().ok().filter(|code| (100..=999).contains(code));
        match part.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok()) {
            Some(class @ 1..=9) => Some((class * 100, class * 100 + 99)),
            _ => match part.split_once('-') {
                Some((first, last)) => Some((number(first)?, number(last)?)),
                None => number(part).map(|code| (code, code)),
            },
        }
    };
    let ranges: Option<Vec<_>> = text.split(',').map(|part| range(part.trim())).collect();
    let ranges = ranges.ok_or_else(|| format!("{text:?} is no list of statuses such as 200,3xx,400-404"))?;
    Ok(StatusList(ranges, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn numbers_with_units() {
        assert_eq!(time_span("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(
            (time_span("2m"), time_span("3")),
            (Ok(Duration::from_secs(120)), Ok(Duration::from_secs(3)))
        );
        assert_eq!((count("10k"), count("2M"), size("64k")), (Ok(10_000), Ok(2_000_000), Ok(65_536)));
        assert_eq!(rate("1.5k"), Ok(1_500.0));
        for wrong in ["", "x", "-1", "1y"] {
            assert!(time_span(wrong).is_err() && count(wrong).is_err() && rate(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn lists() {
        assert_eq!(cpu_list("1,3-5"), Ok(CpuList(vec![1, 3, 4, 5])));
        assert!(cpu_list("5-3").is_err() && cpu_list("a").is_err());
        assert_eq!(
            statuses("200,4xx,500-503").map(|list| list.0),
            Ok(vec![(200, 200), (400, 499), (500, 503)])
        );
        assert!(statuses("99").is_err() && statuses("axx").is_err());
    }

    #[test]
    fn header_fields() {
        assert_eq!(header("a-b:  c: d "), Ok(("a-b".into(), "c: d".into())));
        assert!(header("no colon").is_err() && header("a b: c").is_err() && header("a: b\r\nc: d").is_err());
    }
}
