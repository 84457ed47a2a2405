//! From arguments to a plan: targets, addresses, bodies, CPUs. Everything that is wrong with them is said here, before
//! anything is sent.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use ringway::io::{self, Address, DriverChoice, DriverKind};
use ringway::load::{
    Arrivals, ExpectedStatus, HoldPlan, HttpVersion, Limit, Pace, Placement, Plan, RequestSpec, Reuse,
    TlsPlan,
};

use crate::cli::{ArrivalArg, CpuList, IoDriver, RunArgs};
use crate::tls;

const DEFAULT_DURATION: Duration = Duration::from_secs(10);
/// Ports that one address has for connections to one target, with some to spare.
const PORTS_OF_ADDRESS: u32 = 25_000;
/// Descriptors besides the connections'.
const OTHER_DESCRIPTORS: u64 = 256;

/// Arguments that cannot be used, in a sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct Wrong(pub String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A URL that this program can drive.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Url {
    is_https: bool,
    authority: String,
    path: String,
}

/// The plan of a run, and what it is called.
pub fn plan(args: &RunArgs) -> Result<(Plan, String), Wrong> {
    let (requests, first) = requests(args)?;
    let target = target(args, &first)?;
    let tls = tls_plan(args, &first)?;
    let pace = args.rate.map_or(Pace::ClosedLoop, |per_second| Pace::OpenLoop {
        per_second,
        arrivals: match args.arrivals {
            ArrivalArg::Constant => Arrivals::Constant,
            ArrivalArg::Poisson => Arrivals::Poisson,
        },
    });
    let limit = match args.requests {
        Some(count) => Limit::Requests(count),
        None => Limit::Duration(args.duration.unwrap_or(DEFAULT_DURATION)),
    };
    if limit == Limit::Duration(Duration::ZERO) || args.timeout.is_zero() {
        return Err(Wrong("--duration and --timeout must be longer than nothing".into()));
    }
    allow_descriptors(args.connections)?;
    let plan = Plan {
        sources: sources(args, &target, args.connections),
        target,
        requests,
        connections: args.connections,
        tls,
        protocol: protocol(args),
        depth: args.pipeline.max(args.streams),
        pace,
        limit,
        warm_up: args.warm_up,
        timeout: args.timeout,
        reuse: match (args.new_connection, args.handshakes) {
            (true, _) => Reuse::NewConnection,
            (_, true) => Reuse::Handshake,
            _ => Reuse::KeepAlive,
        },
        expected: args
            .expect
            .as_ref()
            .map_or_else(ExpectedStatus::default, |list| ExpectedStatus::ranges(list.0.iter().copied())),
        seed: args.seed,
    };
    Ok((plan, first.to_string()))
}

/// The plan of a run that holds `connections` idle, and what it is called.
pub fn hold_plan(args: &RunArgs, connections: u32) -> Result<(HoldPlan, String), Wrong> {
    let (requests, first) = requests(args)?;
    let target = target(args, &first)?;
    let tls = tls_plan(args, &first)?;
    allow_descriptors(connections)?;
    let plan = HoldPlan {
        sources: sources(args, &target, connections),
        target,
        tls,
        protocol: protocol(args),
        connections,
        opens_per_second: args.open_rate,
        request: requests.into_iter().next().filter(|_| args.first_request),
        hold: args.duration.unwrap_or(DEFAULT_DURATION),
        timeout: args.timeout,
    };
    Ok((plan, first.to_string()))
}

/// Driver and threads.
pub fn placement(args: &RunArgs, connections: u32) -> Result<Placement, Wrong> {
    let driver = driver(args.io_driver)?;
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    if let Some(CpuList(cpus)) = &args.cpus {
        for cpu in cpus {
            if !allowed.iter().any(|core| core.id == *cpu) {
                return Err(Wrong(format!("--cpus: this process may not run on CPU {cpu}")));
            }
        }
        let threads = args.threads.map_or(cpus.len(), usize::from);
        return Ok(Placement {
            driver,
            cpus: (0..threads).map(|n| cpus.get(n % cpus.len()).copied()).collect(),
        });
    }
    let threads = args.threads.map_or(allowed.len().max(1), usize::from).min(connections as usize);
    Ok(Placement { driver, cpus: vec![None; threads] })
}

/// The driver that can be had.
pub fn driver(choice: IoDriver) -> Result<DriverKind, Wrong> {
    let choice = match choice {
        IoDriver::Auto => DriverChoice::Auto,
        IoDriver::Ring => DriverChoice::Ring,
        IoDriver::Epoll => DriverChoice::Epoll,
    };
    io::probe(choice).map(|probed| probed.kind).map_err(|error| Wrong(error.to_string()))
}

/// `ADDRESS:PORT`, `unix:PATH` or `unix:@NAME`; names are resolved.
pub fn address(text: &str) -> Result<Address, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok(Address::unix(path));
    }
    let resolved = text.to_socket_addrs().map_err(|error| Wrong(format!("{text}: {error}")));
    let first = resolved?.next().ok_or_else(|| Wrong(format!("{text} has no address")))?;
    Ok(Address::Ip(first))
}

fn protocol(args: &RunArgs) -> HttpVersion {
    if args.http2 { HttpVersion::Http2 } else { HttpVersion::Http1 }
}

fn tls_plan(args: &RunArgs, url: &Url) -> Result<Option<TlsPlan>, Wrong> {
    if url.is_https {
        return tls::plan(&args.tls, url.host()).map(Some);
    }
    tls::refuse(&args.tls)?;
    if args.handshakes { Err(Wrong("--handshakes is for https:// targets".into())) } else { Ok(None) }
}

/// Requests in the order of the arguments, and the first one's URL.
fn requests(args: &RunArgs) -> Result<(Vec<RequestSpec>, Url), Wrong> {
    let body = body(args)?;
    let usual = if body.is_empty() { "GET" } else { "POST" };
    let method = args.method.as_deref().unwrap_or(usual);
    let mut lines: Vec<(String, Url)> = Vec::new();
    for url in &args.urls {
        lines.push((check_method(method)?, parse_url(url)?));
    }
    if let Some(path) = &args.urls_file {
        let text = std::fs::read_to_string(path).map_err(|error| wrong_file(path, &error))?;
        let base = lines.first().map(|(_, url)| url.clone());
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (own_method, url) = line.split_once(char::is_whitespace).unwrap_or((method, line));
            let place = |wrong: Wrong| Wrong(format!("{}:{}: {wrong}", path.display(), number + 1));
            let url = url_or_path(url.trim(), base.as_ref()).map_err(place)?;
            lines.push((check_method(own_method).map_err(place)?, url));
        }
    }
    let first = lines.first().map(|(_, url)| url.clone());
    let first =
        first.ok_or_else(|| Wrong("no URL was given; try `loadgen http://127.0.0.1:10000/`".into()))?;
    if let Some((_, other)) = lines.iter().find(|(_, url)| url.is_https != first.is_https) {
        return Err(Wrong(format!("{other}: https:// and http:// cannot be mixed")));
    }
    let requests = lines.into_iter().map(|(method, url)| RequestSpec {
        method,
        authority: url.authority,
        path: url.path,
        headers: args.headers.clone(),
        body: body.clone(),
    });
    Ok((requests.collect(), first))
}

fn check_method(method: &str) -> Result<String, Wrong> {
    if method == "CONNECT"
        || method.is_empty()
        || !method.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    {
        return Err(Wrong(format!("{method:?} is no method that can be sent")));
    }
    Ok(method.to_owned())
}

fn body(args: &RunArgs) -> Result<Bytes, Wrong> {
    match (&args.body_file, args.body_size) {
        (Some(path), _) => Ok(std::fs::read(path).map_err(|error| wrong_file(path, &error))?.into()),
        (None, Some(size)) => Ok(vec![b'x'; size].into()),
        (None, None) => Ok(Bytes::new()),
    }
}

/// A file that cannot be read.
pub fn wrong_file(path: &Path, error: &std::io::Error) -> Wrong {
    Wrong(format!("{}: {error}", path.display()))
}

fn url_or_path(text: &str, base: Option<&Url>) -> Result<Url, Wrong> {
    match (text.starts_with('/'), base) {
        (true, Some(base)) => Ok(Url { path: check_path(text)?, ..base.clone() }),
        (true, None) => Err(Wrong(format!("{text}: a path needs a URL argument to belong to"))),
        (false, _) => parse_url(text),
    }
}

fn parse_url(text: &str) -> Result<Url, Wrong> {
    let (is_https, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => {
            let example = "a URL begins with http:// or https://, such as http://127.0.0.1:10000/";
            return Err(Wrong(format!("{text}: {example}")));
        }
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    if authority.is_empty() || authority.contains('@') {
        return Err(Wrong(format!("{text}: a URL needs a host, and none but that")));
    }
    Ok(Url { is_https, authority: authority.to_owned(), path: check_path(&path)? })
}

fn check_path(path: &str) -> Result<String, Wrong> {
    if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(Wrong(format!("{path:?}: spaces and control characters must be escaped (%20)")));
    }
    Ok(path.to_owned())
}

/// Where the connections go.
fn target(args: &RunArgs, url: &Url) -> Result<Address, Wrong> {
    if let Some(to) = &args.connect_to {
        return address(to);
    }
    let has_port = url.authority.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
    let port = if url.is_https { 443 } else { 80 };
    if has_port { address(&url.authority) } else { address(&format!("{}:{port}", url.authority)) }
}

/// More connections than one address has ports get several addresses, which is free on loopback.
fn sources(args: &RunArgs, target: &Address, connections: u32) -> Vec<IpAddr> {
    let on_loopback = matches!(target, Address::Ip(SocketAddr::V4(address)) if address.ip().is_loopback());
    if !args.source.is_empty() || !on_loopback || connections <= PORTS_OF_ADDRESS {
        return args.source.clone();
    }
    let count = connections.div_ceil(PORTS_OF_ADDRESS);
    (1..=count).map(|number| Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + number).into()).collect()
}

/// Raises the limit of open files as far as is needed and allowed.
fn allow_descriptors(connections: u32) -> Result<(), Wrong> {
    let needed = u64::from(connections) + OTHER_DESCRIPTORS;
    let (soft, hard) =
        rlimit::getrlimit(rlimit::Resource::NOFILE).map_err(|error| Wrong(format!("open files: {error}")))?;
    if soft >= needed {
        return Ok(());
    }
    let raised = rlimit::setrlimit(rlimit::Resource::NOFILE, needed, hard.max(needed));
    raised.map_err(|_| {
        Wrong(format!(
            "{connections} connections need {needed} open files, and this process may have {hard} (ulimit -n)"
        ))
    })
}

impl Url {
    /// The authority without a port, and without the brackets of an address.
    fn host(&self) -> &str {
        let end = self.authority.rfind(':').filter(|at| !self.authority[*at..].contains(']'));
        self.authority[..end.unwrap_or(self.authority.len())].trim_matches(['[', ']'])
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn args(line: &str) -> RunArgs {
        crate::cli::Cli::parse_from(line.split(' ')).run
    }

    #[test]
    fn urls() {
        let url = |text: &str| parse_url(text).map(|url| (url.authority, url.path));
        assert_eq!(url("http://a:1/b?c#d"), Ok(("a:1".into(), "/b?c".into())));
        assert_eq!(url("http://[::1]"), Ok(("[::1]".into(), "/".into())));
        assert_eq!(url("http://a?q"), Ok(("a".into(), "/?q".into())));
        let host = |text: &str| parse_url(text).map(|url| url.host().to_owned());
        assert_eq!(
            (host("https://a.test:1/"), host("https://[::1]:2/")),
            (Ok("a.test".into()), Ok("::1".into()))
        );
        assert_eq!((host("https://a"), host("https://[::1]")), (Ok("a".into()), Ok("::1".into())));
        for wrong in ["a/b", "ftp://a/", "http:///", "http://u@a/", "http://a/b c"] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_plan_from_arguments() {
        let (plan, name) =
            plan(&args("loadgen http://127.0.0.1:9/x http://b/y -c 7 -r 2k --body-size 3 --expect 404"))
                .expect("right");
        assert_eq!((plan.connections, plan.requests.len(), &*name), (7, 2, "http://127.0.0.1:9/x"));
        assert_eq!((&*plan.requests[1].method, &*plan.requests[1].authority), ("POST", "b"));
        assert_eq!(plan.pace, Pace::OpenLoop { per_second: 2_000.0, arrivals: Arrivals::Constant });
        assert!(plan.expected.contains(404) && !plan.expected.contains(200));
        assert_eq!(plan.target, Address::Ip(([127, 0, 0, 1], 9).into()));
    }

    #[test]
    fn targets_by_hand_and_many_connections() {
        let unix = plan(&args("loadgen http://a/ --connect-to unix:/run/x")).expect("right").0;
        assert_eq!(unix.target, Address::unix("/run/x"));
        let args = args("loadgen http://127.0.0.1:9/");
        let (hold, _) = hold_plan(&args, 100).expect("right");
        assert_eq!(sources(&args, &hold.target, 60_000).len(), 3);
        assert!(hold.request.is_none());
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        for line in [
            "loadgen",
            "loadgen http://127.0.0.1:9/ --handshakes",
            "loadgen https://127.0.0.1:9/ http://127.0.0.1:9/ -k",
            "loadgen http://127.0.0.1:9/ -m CONNECT",
            "loadgen http://127.0.0.1:9/ --body-file /nowhere",
            "loadgen http://127.0.0.1:9/ -d 0s",
        ] {
            assert!(plan(&args(line)).is_err(), "{line}");
        }
    }
}
