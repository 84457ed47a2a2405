//! The results of a run as they are written to JSON and read back: everything that reports and comparisons show. The
//! schema is versioned; fields are only ever added to a version.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use ringway::load::{Arrivals, Ending, ErrorKind, HttpVersion, Limit, Pace, Plan, Report, Reuse, Series};
use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// What `schema` says.
pub const SCHEMA: &str = "ringway-loadgen/1";

/// Percentiles that are listed, in the order in which they are shown.
pub const PERCENTILES: [f64; 7] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 99.99];

/// Steps of the latency curve in each halving of the distance to 100 %.
const CURVE_STEPS: u32 = 5;

/// A run and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// Name of the run.
    pub title: String,
    /// When it ended, in RFC 3339.
    pub ended_at: String,
    /// What was asked for.
    pub plan: PlanFacts,
    /// Where it ran.
    pub machine: Machine,
    /// `complete`, `interrupted` or `no_connection`.
    pub ending: String,
    /// Seconds that were measured.
    pub elapsed_s: f64,
    /// Requests answered as expected.
    pub answered: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests without an answer when the run was interrupted.
    pub in_flight_at_end: u64,
    /// `answered` by `elapsed_s`.
    pub requests_per_second: f64,
    /// Bytes of answers.
    pub received_bytes: u64,
    /// Bytes of requests.
    pub sent_bytes: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Failures by kind.
    pub errors: BTreeMap<String, u64>,
    /// Why the first connection failed that did.
    pub connect_error: Option<String>,
    /// Connections that came to stand, and that the target ended while idle.
    pub connections_opened: u64,
    /// See `connections_opened`.
    pub connections_closed_by_target: u64,
    /// From the scheduled time in an open loop, from sending in a closed one.
    pub latency: Times,
    /// In an open loop the same from the time of sending.
    pub service_time: Option<Times>,
    /// How long connecting took, without TLS.
    pub connect_time: Option<Times>,
    /// How long TLS took on top of that.
    pub handshake_time: Option<Times>,
    /// Handshakes that resumed a session.
    #[serde(default)]
    pub tls_resumed: u64,
    /// Version and cipher suite of the first handshake.
    pub tls: Option<String>,
    /// In an open loop, how late the generator sent what was due.
    pub schedule_lag: Option<Times>,
    /// Requests that were due while every connection was busy.
    pub waited_for_connection: u64,
    /// What the generator used.
    pub generator: Generator,
    /// What the server used, if its process was named.
    pub server: Option<Server>,
    /// Over time.
    pub series: SeriesFacts,
    /// What a reader of the figures should know.
    pub warnings: Vec<String>,
}

/// What was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanFacts {
    /// The first URL.
    pub url: String,
    /// Where the connections went.
    pub target: String,
    /// Different requests, sent round robin.
    pub requests: usize,
    /// The first one's method.
    pub method: String,
    /// Length of bodies.
    pub body_bytes: usize,
    /// Connections.
    pub connections: u32,
    /// Requests in flight on each.
    pub depth: u32,
    /// Worker threads.
    pub threads: usize,
    /// `http1` or `http2`.
    pub protocol: String,
    /// Over TLS.
    #[serde(default)]
    pub tls: bool,
    /// Sessions of TLS were resumed where the target allowed it.
    #[serde(default)]
    pub tls_resumes: bool,
    /// `keep_alive`, `new_connection` or `handshake`.
    pub reuse: String,
    /// Requests per second of an open loop.
    pub rate: Option<f64>,
    /// `constant` or `poisson`, in an open loop.
    pub arrivals: Option<String>,
    /// Seconds asked for.
    pub duration_s: Option<f64>,
    /// Requests asked for.
    pub count: Option<u64>,
    /// Seconds before anything counted.
    pub warm_up_s: f64,
    /// Seconds after which a request counted as failed.
    pub timeout_s: f64,
    /// Of random arrivals.
    pub seed: u64,
}

/// A distribution of times, in nanoseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Times {
    /// How many.
    pub count: u64,
    /// The least.
    pub min_ns: u64,
    /// Their mean.
    pub mean_ns: f64,
    /// Their standard deviation.
    pub stdev_ns: f64,
    /// The most.
    pub max_ns: u64,
    /// By percentile, such as `p99.9`.
    pub percentiles_ns: BTreeMap<String, u64>,
    /// Quantile (0 to 1) and time, dense towards 1.
    pub curve: Vec<(f64, u64)>,
    /// The whole histogram: HdrHistogram V2, deflated, in base 64.
    pub hdr: String,
}

/// What the generator used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Generator {
    /// Processor time for each request.
    pub cpu_us_per_request: f64,
    /// The share of its CPU that the busiest thread used, 0 to 1.
    pub busy_share: f64,
}

/// What the server used.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Server {
    /// Its process.
    pub pid: u32,
    /// Processor time for each request, warm-up and start included.
    pub cpu_us_per_request: f64,
    /// Resident memory at the end.
    pub resident_bytes: u64,
}

/// What happened over time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SeriesFacts {
    /// Seconds that a slot covers.
    pub interval_s: f64,
    /// The first one first.
    pub slots: Vec<SlotFacts>,
}

/// One stretch of time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SlotFacts {
    /// Answered requests.
    pub answered: u64,
    /// Failed requests.
    pub failed: u64,
    /// Bytes of answers.
    pub received_bytes: u64,
    /// The median, and so on; 0 where nothing was answered.
    pub p50_ns: u64,
    /// See `p50_ns`.
    pub p90_ns: u64,
    /// See `p50_ns`.
    pub p99_ns: u64,
    /// See `p50_ns`.
    pub p99_9_ns: u64,
    /// See `p50_ns`.
    pub max_ns: u64,
}

impl Document {
    /// From a run. `ended_at` is in RFC 3339.
    pub fn new(
        title: String,
        ended_at: String,
        plan: PlanFacts,
        machine: Machine,
        report: &Report,
        server: Option<Server>,
    ) -> Document {
        let is_open_loop = plan.rate.is_some();
        let mut document = Document {
            schema: SCHEMA.to_owned(),
            title,
            ended_at,
            plan,
            machine,
            ending: ending_name(report.ending).to_owned(),
            elapsed_s: report.elapsed.as_secs_f64(),
            answered: report.answered(),
            failed: report.failed(),
            in_flight_at_end: report.in_flight_at_end,
            requests_per_second: report.rate(),
            received_bytes: report.received_bytes,
            sent_bytes: report.sent_bytes,
            statuses: (0..)
                .zip(&report.statuses)
                .filter(|(_, n)| **n > 0)
                .map(|(code, n)| (code, *n))
                .collect(),
            errors: ErrorKind::ALL
                .iter()
                .map(|kind| (kind.key().to_owned(), report.errors[*kind as usize]))
                .filter(|(_, count)| *count > 0)
                .collect(),
            connect_error: report.connect_error.clone(),
            connections_opened: report.connect_times.len(),
            connections_closed_by_target: report.closed_by_target,
            latency: Times::new(&report.latencies),
            service_time: is_open_loop.then(|| Times::new(&report.service_times)),
            connect_time: (!report.connect_times.is_empty()).then(|| Times::new(&report.connect_times)),
            handshake_time: (!report.handshake_times.is_empty()).then(|| Times::new(&report.handshake_times)),
            tls_resumed: report.resumed,
            tls: report.tls.map(|(version, cipher)| format!("{version} {cipher}")),
            schedule_lag: is_open_loop.then(|| Times::new(&report.schedule_lag)),
            waited_for_connection: report.waited_for_connection,
            generator: Generator {
                cpu_us_per_request: report.cpu_per_request().as_nanos() as f64 / 1e3,
                busy_share: report.busy_share(),
            },
            server,
            series: SeriesFacts::new(&report.series),
            warnings: Vec::new(),
        };
        document.warnings = crate::warnings::of(&document);
        document
    }

    /// Reads what was written before.
    ///
    /// # Errors
    /// A sentence, if the file cannot be read or is none of ours.
    pub fn read(path: &Path) -> Result<Document, String> {
        let name = path.display();
        let text = std::fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        let value: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| format!("{name} is no JSON: {error}"))?;
        match value["schema"].as_str() {
            Some(SCHEMA) => {}
            Some(other) => return Err(format!("{name} has schema {other:?}; this program reads {SCHEMA:?}")),
            None => return Err(format!("{name} has no schema; was it written by loadgen --json?")),
        }
        serde_json::from_value(value).map_err(|error| format!("{name}: {error}"))
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        // Fails for maps with odd keys only, of which there are none.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The share of requests that failed, 0 to 1.
    pub fn error_share(&self) -> f64 {
        self.failed as f64 / (self.answered + self.failed).max(1) as f64
    }
}

impl PlanFacts {
    /// From a plan.
    pub fn new(url: String, plan: &Plan, threads: usize) -> PlanFacts {
        let (rate, arrivals) = match plan.pace {
            Pace::ClosedLoop => (None, None),
            Pace::OpenLoop { per_second, arrivals: Arrivals::Constant } => {
                (Some(per_second), Some("constant"))
            }
            Pace::OpenLoop { per_second, arrivals: Arrivals::Poisson } => (Some(per_second), Some("poisson")),
        };
        let (duration_s, count) = match plan.limit {
            Limit::Duration(duration) => (Some(duration.as_secs_f64()), None),
            Limit::Requests(count) => (None, Some(count)),
        };
        let first = plan.requests.first();
        PlanFacts {
            url,
            target: plan.target.to_string(),
            requests: plan.requests.len(),
            method: first.map_or_else(String::new, |request| request.method.clone()),
            body_bytes: first.map_or(0, |request| request.body.len()),
            connections: plan.connections,
            depth: plan.depth,
            threads,
            protocol: match plan.protocol {
                HttpVersion::Http1 => "http1",
                HttpVersion::Http2 => "http2",
            }
            .to_owned(),
            tls: plan.tls.is_some(),
            tls_resumes: plan.tls.as_ref().is_some_and(|tls| tls.resumes),
            reuse: match plan.reuse {
                Reuse::KeepAlive => "keep_alive",
                Reuse::NewConnection => "new_connection",
                Reuse::Handshake => "handshake",
            }
            .to_owned(),
            rate,
            arrivals: arrivals.map(str::to_owned),
            duration_s,
            count,
            warm_up_s: plan.warm_up.as_secs_f64(),
            timeout_s: plan.timeout.as_secs_f64(),
            seed: plan.seed,
        }
    }

    /// In a line.
    pub fn summary(&self) -> String {
        let plural =
            |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let mut parts = vec![plural(self.connections as usize, "connection"), plural(self.threads, "thread")];
        if self.protocol == "http2" {
            parts.push(format!("HTTP/2 with {} on each", plural(self.depth as usize, "stream")));
        } else if self.depth > 1 {
            parts.push(format!("{} requests in flight on each", self.depth));
        }
        match (self.reuse.as_str(), self.tls_resumes) {
            ("new_connection", _) => parts.push("a new one for each request".to_owned()),
            ("handshake", true) => parts.push("TLS handshakes only, resumed where possible".to_owned()),
            ("handshake", false) => parts.push("full TLS handshakes only".to_owned()),
            _ => {}
        }
        match (self.rate, &self.arrivals) {
            (Some(rate), Some(arrivals)) => parts.push(format!("open loop at {rate}/s, {arrivals}")),
            _ => parts.push("closed loop".to_owned()),
        }
        match (self.duration_s, self.count) {
            (Some(seconds), _) => parts.push(format!("{seconds} s")),
            (None, Some(count)) => parts.push(plural(count as usize, "request")),
            _ => {}
        }
        if self.warm_up_s > 0.0 {
            parts.push(format!("after {} s of warm-up", self.warm_up_s));
        }
        parts.join(", ")
    }
}

impl Times {
    /// From a histogram of nanoseconds.
    pub fn new(histogram: &Histogram<u64>) -> Times {
        let at = |percentile: f64| histogram.value_at_quantile(percentile / 100.0);
        let curve =
            histogram.iter_quantiles(CURVE_STEPS).map(|step| (step.quantile(), step.value_iterated_to()));
        Times {
            count: histogram.len(),
            min_ns: if histogram.is_empty() { 0 } else { histogram.min() },
            mean_ns: histogram.mean(),
            stdev_ns: histogram.stdev(),
            max_ns: histogram.max(),
            percentiles_ns: PERCENTILES.iter().map(|p| (format!("p{p}"), at(*p))).collect(),
            curve: if histogram.is_empty() { Vec::new() } else { curve.collect() },
            hdr: encode(histogram),
        }
    }

    /// The time at one of [`PERCENTILES`].
    pub fn at(&self, percentile: f64) -> u64 {
        self.percentiles_ns.get(&format!("p{percentile}")).copied().unwrap_or(0)
    }
}

impl SeriesFacts {
    fn new(series: &Series) -> SeriesFacts {
        let slots = series.slots().iter().map(|slot| {
            let at = |quantile| slot.latencies.value_at_quantile(quantile);
            SlotFacts {
                answered: slot.latencies.len(),
                failed: slot.failed,
                received_bytes: slot.received_bytes,
                p50_ns: at(0.5),
                p90_ns: at(0.9),
                p99_ns: at(0.99),
                p99_9_ns: at(0.999),
                max_ns: slot.latencies.max(),
            }
        });
        SeriesFacts { interval_s: series.interval().as_secs_f64(), slots: slots.collect() }
    }
}

/// The name of an ending in JSON.
pub fn ending_name(ending: Ending) -> &'static str {
    match ending {
        Ending::Complete => "complete",
        Ending::Interrupted => "interrupted",
        Ending::NoConnection => "no_connection",
    }
}

/// Time as people read it.
pub fn readable(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        ..1e4 => format!("{:.2} µs", nanos / 1e3),
        ..1e5 => format!("{:.1} µs", nanos / 1e3),
        ..1e6 => format!("{:.0} µs", nanos / 1e3),
        ..1e7 => format!("{:.2} ms", nanos / 1e6),
        ..1e8 => format!("{:.1} ms", nanos / 1e6),
        ..1e9 => format!("{:.0} ms", nanos / 1e6),
        _ => format!("{:.2} s", nanos / 1e9),
    }
}

fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    // Fails for lack of memory only; the other figures are there all the same.
    match V2DeflateSerializer::new().serialize(histogram, &mut bytes) {
        Ok(_) => base64::engine::general_purpose::STANDARD.encode(bytes),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;

    fn sample() -> Document {
        let mut report = Report::new(Duration::from_secs(1));
        (1..=10_000_u64).for_each(|n| report.latencies.saturating_record(n * 1_000));
        report.statuses[200] = 10_000;
        report.errors[ErrorKind::Timeout as usize] = 3;
        report.elapsed = Duration::from_secs(2);
        let target = ringway::io::Address::Ip(([127, 0, 0, 1], 80).into());
        let plan = Plan::closed_loop(target, "a", "/", 4, Duration::from_secs(2));
        let facts = PlanFacts::new("http://a/".into(), &plan, 1);
        let machine = Machine::here(ringway::io::DriverKind::Epoll);
        Document::new("t".into(), "now".into(), facts, machine, &report, None)
    }

    #[test]
    fn what_is_written_can_be_read() {
        let file = std::env::temp_dir().join(format!("loadgen-document-{}.json", std::process::id()));
        std::fs::write(&file, sample().to_json()).expect("written");
        let read = Document::read(&file);
        std::fs::remove_file(&file).expect("removed");
        let read = read.expect("ours");
        assert_eq!((read.answered, read.failed, read.statuses[&200]), (10_000, 3, 10_000));
        assert_eq!(read.errors.get("timeout"), Some(&3));
        assert!((4_990_000..5_020_000).contains(&read.latency.at(50.0)), "{}", read.latency.at(50.0));
        let last = read.latency.curve.last().expect("a curve");
        assert!(last.0 > 0.9999 && last.1 >= read.latency.at(99.99));
        assert!((read.requests_per_second - 5_000.0).abs() < 1e-6);
    }

    #[test]
    fn the_histogram_survives() {
        let bytes = base64::engine::general_purpose::STANDARD.decode(sample().latency.hdr).expect("base 64");
        let read: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).expect("a histogram");
        assert_eq!(read.len(), 10_000);
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let file = std::env::temp_dir().join(format!("loadgen-other-{}.json", std::process::id()));
        for (text, part) in [("{", "no JSON"), ("{}", "no schema"), (r#"{"schema": "x/9"}"#, "x/9")] {
            std::fs::write(&file, text).expect("written");
            let error = Document::read(&file).expect_err("refused");
            assert!(error.contains(part), "{error}");
        }
        std::fs::remove_file(&file).expect("removed");
        assert!(Document::read(&file).is_err());
    }

    #[test]
    fn times_have_three_digits() {
        let text = |nanos| readable(Duration::from_nanos(nanos));
        assert_eq!(
            (text(950), text(1_500), text(12_345)),
            ("950 ns".into(), "1.50 µs".into(), "12.3 µs".into())
        );
        assert_eq!(
            (text(999_999), text(45_600_000), text(2_000_000_000)),
            ("1000 µs".into(), "45.6 ms".into(), "2.00 s".into())
        );
    }
}
