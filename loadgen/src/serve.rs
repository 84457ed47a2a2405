//! `loadgen origin` and `loadgen relay`: servers that run until they are told to end.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use ringway::load::{self, Service, ServiceOptions};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::cli::{OriginArgs, RelayArgs};
use crate::failure::Failure;
use crate::{target, tls};

/// How often the wish to end is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Serves the bundled origin.
pub fn origin(args: &OriginArgs) -> Result<ExitCode, Failure> {
    let options = ServiceOptions {
        listen: target::address(&args.listen)?,
        driver: target::driver(args.io_driver)?,
        cpu: args.cpu,
    };
    let identity = tls::identity(args.cert.as_deref(), args.key.as_deref())?;
    stay(load::start_origin(&options, &"x".repeat(args.body_size), identity.as_ref()), "origin")
}

/// Serves the bare relay.
pub fn relay(args: &RelayArgs) -> Result<ExitCode, Failure> {
    let options = ServiceOptions {
        listen: target::address(&args.listen)?,
        driver: target::driver(args.io_driver)?,
        cpu: args.cpu,
    };
    stay(load::start_relay(&options, target::address(&args.to)?), "relay")
}

fn stay(started: Result<Service, load::ServiceError>, name: &str) -> Result<ExitCode, Failure> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ended))
            .map_err(|error| Failure::Run(format!("signals: {error}")))?;
    }
    let service = started.map_err(|error| Failure::Run(error.to_string()))?;
    println!("{name} listens on {}", service.address());
    while !ended.load(Relaxed) {
        std::thread::sleep(LOOK);
    }
    Ok(ExitCode::SUCCESS)
}
