//! `ringway demo`: everything that a newcomer needs to see the proxy work, without a file: an origin,
//! the proxy before it, a short load with a latency table, and what to try next.

use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::api::Inputs;
use crate::base::log::{self, Level, LogOptions};
use crate::cli::DemoArgs;
use crate::io::{self, Address, DriverKind, Probed};
use crate::load::{self, Control, ErrorKind, Placement, Plan, Report, ServiceOptions};

use super::configuration::Configuration;
use super::control::{self, Settings};
use super::startup::{driver_choice, failed, refused};

const CONFIGURATION: &str = include_str!("../../configs/demo.yaml");
const CONNECTIONS: u32 = 32;
const ORIGIN_BODY: &str = "Hello from the origin behind Ringway.\n";
/// How long the proxy may take to come up.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the demo until Ctrl-C.
pub fn demo(args: &DemoArgs) -> ExitCode {
    match try_demo(args) {
        Ok(code) => code,
        Err(reason) => failed(&reason),
    }
}

fn try_demo(args: &DemoArgs) -> Result<ExitCode, String> {
    log::init(LogOptions { level: Some(Level::Warning), ..LogOptions::default() })
        .map_err(|error| error.to_string())?;
    let driver = io::probe(driver_choice(args.io_driver)).map_err(|error| error.to_string())?;
    let origin = load::start_origin(&ServiceOptions::on_loopback(driver.kind), ORIGIN_BODY, None)
        .map_err(|error| error.to_string())?;
    let origin_address = origin.address().as_ip().ok_or("the origin has no IP address")?;
    let proxy = free_port(args.port)?;
    let admin = free_port(args.admin_port)?;
    let yaml = CONFIGURATION
        .replace("port_value: 10000", &format!("port_value: {}", proxy.port()))
        .replace("port_value: 9901", &format!("port_value: {}", admin.port()))
        .replace("port_value: 8000", &format!("port_value: {}", origin_address.port()));
    println!("The configuration that is served (an ordinary Envoy v3 file):\n");
    yaml.lines().for_each(|line| println!("    {line}"));
    let configuration = match Configuration::load(Inputs { config_yaml: Some(&yaml), ..Inputs::default() }) {
        Ok(configuration) => configuration,
        Err(diagnostics) => return Ok(refused(&diagnostics)),
    };
    describe(&driver, origin_address, proxy, admin);

    let settings = settings();
    let visitor = std::thread::Builder::new()
        .name("demo-load".into())
        .spawn({
            let stop = Arc::clone(&settings.stop);
            let (kind, seconds, once) = (driver.kind, args.seconds, args.once);
            move || {
                let result = visit(kind, proxy, admin, seconds);
                if once || result.is_err() {
                    stop.notify_one();
                }
                result
            }
        })
        .map_err(|error| error.to_string())?;
    let code = control::run(configuration, settings, driver);
    match visitor.join() {
        Ok(Ok(())) => Ok(code),
        Ok(Err(reason)) => Err(reason),
        Err(_) => Err("the demo's load panicked".to_owned()),
    }
}

/// The load, and what is said after it. Runs beside the proxy.
fn visit(driver: DriverKind, proxy: SocketAddr, admin: SocketAddr, seconds: u32) -> Result<(), String> {
    wait_until_open(proxy)?;
    let control = Arc::new(Control::new(1));
    let duration = Duration::from_secs(seconds.into());
    let mut plan = Plan::closed_loop(Address::Ip(proxy), "demo.local", "/", CONNECTIONS, duration);
    plan.timeout = Duration::from_secs(5);
    let runner = std::thread::spawn({
        let control = Arc::clone(&control);
        move || load::run(&plan, &Placement::one(driver), &control)
    });
    show_progress(&control, duration, || runner.is_finished());
    let report = match runner.join() {
        Ok(result) => result.map_err(|error| error.to_string())?,
        Err(_) => return Err("the load generator panicked".to_owned()),
    };
    print_report(&report);
    if report.answered() == 0 {
        return Err("no request was answered".to_owned());
    }
    println!("\nThe proxy stays up until Ctrl-C. Try:\n");
    println!("    curl -v http://{proxy}/");
    println!("    curl -s http://{proxy}/direct            # answered by the proxy itself");
    println!("    curl -s http://{proxy}/missing           # no such cluster: 503");
    println!("    curl -s http://{admin}/clusters");
    println!("    curl -s 'http://{admin}/stats?usedonly&filter=http.demo'");
    println!("    curl -s http://{admin}/stats/prometheus | head");
    println!("    open http://{admin}/ in a browser for the admin page\n");
    Ok(())
}

fn describe(driver: &Probed, origin: SocketAddr, proxy: SocketAddr, admin: SocketAddr) {
    println!("\nI/O driver  {}", driver.kind.name());
    if let Some(reason) = &driver.fallback_reason {
        println!("            (not io_uring: {reason})");
    }
    println!("Origin      http://{origin}/");
    println!("Proxy       http://{proxy}/");
    println!("Admin page  http://{admin}/\n");
}

fn show_progress(control: &Control, total: Duration, is_finished: impl Fn() -> bool) {
    let start = Instant::now();
    let bar = if std::io::stdout().is_terminal() {
        ProgressBar::new(total.as_millis() as u64)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("Load        [{bar:30}] {msg}") {
        bar.set_style(style);
    }
    while !is_finished() {
        std::thread::sleep(PROGRESS_INTERVAL);
        let elapsed = start.elapsed();
        bar.set_position(elapsed.as_millis() as u64);
        let seen = control.snapshot();
        let rate = seen.answered as f64 / elapsed.as_secs_f64().max(0.001);
        bar.set_message(format!("{} answered, {rate:.0}/s, {} failed", seen.answered, seen.failed));
    }
    bar.finish_and_clear();
}

fn print_report(report: &Report) {
    println!(
        "Load        {} connections, {:.1} s: {} requests answered, {:.0} per second, {} failed",
        CONNECTIONS,
        report.elapsed.as_secs_f64(),
        report.answered(),
        report.rate(),
        report.failed()
    );
    for kind in ErrorKind::ALL {
        let count = report.errors[kind as usize];
        if count > 0 {
            println!("            failed: {} {count}", kind.name());
        }
    }
    println!("\n    latency    microseconds");
    for (name, quantile) in
        [("p50", 0.5), ("p75", 0.75), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)]
    {
        let micros = report.latencies.value_at_quantile(quantile) as f64 / 1_000.0;
        println!("    {name:<8} {micros:>14.0}");
    }
    // The last lines must be seen even if the process is ended next.
    let _ = std::io::stdout().flush();
}

fn settings() -> Settings {
    Settings {
        concurrency: None,
        drain_time: Duration::from_secs(5),
        admin_address_path: None,
        access_log_flush_interval: Duration::from_secs(1),
        access_logs: Default::default(),
        command_line: serde_json::Map::new(),
        stop: Arc::default(),
    }
}

/// The port asked for, or with a clear word another one if it is taken.
fn free_port(asked: u16) -> Result<SocketAddr, String> {
    let at = |port| TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)));
    let listener = match at(asked) {
        Ok(listener) => listener,
        Err(_) => {
            let other = at(0).map_err(|error| format!("no loopback port can be had: {error}"))?;
            println!("Port {asked} is in use; taking another one.");
            other
        }
    };
    listener.local_addr().map_err(|error| error.to_string())
}

fn wait_until_open(proxy: SocketAddr) -> Result<(), String> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        if TcpStream::connect_timeout(&proxy, Duration::from_millis(200)).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(format!("the proxy did not open {proxy}"))
}
