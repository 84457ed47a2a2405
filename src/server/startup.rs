//! `ringway -c FILE` and `ringway validate FILE`: what happens before anything serves, and how the
//! process tells that it cannot.

use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::access_log::AccessLogOptions;
use crate::api::{Diagnostics, Inputs};
use crate::base::log::{self, LogOptions};
use crate::cli::{IoDriver, Mode, ServeArgs, ValidateArgs};
use crate::io::{self, DriverChoice};
use crate::stats::Registry;

use super::configuration::Configuration;
use super::control::{self, Settings};

/// Serves a configuration until the process is told to end, or only checks it (`--mode validate`).
pub fn serve(args: &ServeArgs) -> ExitCode {
    if let Err(error) = log::init(log_options(args)) {
        return failed(&error.to_string());
    }
    if args.config_path.is_none() && args.config_yaml.is_none() {
        return failed(
            "no configuration: give one with -c FILE or --config-yaml YAML, or try `ringway demo`",
        );
    }
    let mut configuration = match Configuration::load(inputs(args)) {
        Ok(configuration) => configuration,
        Err(diagnostics) => return refused(&diagnostics),
    };
    if args.mode == Mode::Validate {
        let name = args
            .config_path
            .as_ref()
            .map_or_else(|| "--config-yaml".into(), |path| path.display().to_string());
        return check(&configuration, &name);
    }
    override_node(&mut configuration, args);
    if let (None, Some(format)) = (&args.log_format, &configuration.bootstrap.application_log_format) {
        let options = LogOptions { format: Some(format.clone()), ..log_options(args) };
        if let Err(error) = log::init(options) {
            return failed(&error.to_string());
        }
    }
    let driver = match io::probe(driver_choice(args.io_driver)) {
        Ok(driver) => driver,
        Err(error) => return failed(&error.to_string()),
    };
    if let Some(reason) = &driver.fallback_reason {
        crate::log_warn!(Io, "io_uring is not available ({reason}); using epoll");
    }
    control::run(configuration, settings(args), driver)
}

/// Checks a configuration and lists what has no effect.
pub fn validate(args: &ValidateArgs) -> ExitCode {
    let inputs = Inputs { config_path: Some(&args.file), ..Inputs::default() };
    match Configuration::load(inputs) {
        Ok(configuration) => {
            if args.verbose {
                let notes = Diagnostics::new(
                    configuration.without_effect.clone(),
                    configuration.loaded.sources.clone(),
                );
                print!("{notes}");
            }
            check(&configuration, &args.file.display().to_string())
        }
        Err(diagnostics) => refused(&diagnostics),
    }
}

fn check(configuration: &Configuration, name: &str) -> ExitCode {
    match configuration.compile(&Registry::new(), None) {
        Ok(_) => {
            println!("configuration '{name}' OK");
            ExitCode::SUCCESS
        }
        Err(diagnostics) => refused(&diagnostics),
    }
}

/// Says why the process cannot start.
pub(super) fn failed(reason: &str) -> ExitCode {
    eprintln!("ringway: {reason}");
    ExitCode::FAILURE
}

pub(super) fn refused(diagnostics: &Diagnostics) -> ExitCode {
    eprint!("{diagnostics}");
    ExitCode::FAILURE
}

pub(super) fn driver_choice(driver: IoDriver) -> DriverChoice {
    match driver {
        IoDriver::Auto => DriverChoice::Auto,
        IoDriver::Ring => DriverChoice::Ring,
        IoDriver::Epoll => DriverChoice::Epoll,
    }
}

fn inputs(args: &ServeArgs) -> Inputs<'_> {
    Inputs {
        config_path: args.config_path.as_deref(),
        config_yaml: args.config_yaml.as_deref(),
        allow_unknown_fields: args.allow_unknown_static_fields || args.allow_unknown_fields,
    }
}

fn log_options(args: &ServeArgs) -> LogOptions {
    LogOptions {
        level: Some(args.log_level),
        component_levels: args.component_log_level.clone(),
        path: args.log_path.clone(),
        format: args.log_format.clone(),
        escaped: args.log_format_escaped,
    }
}

fn settings(args: &ServeArgs) -> Settings {
    Settings {
        concurrency: args.concurrency.map(|workers| workers.max(1) as usize),
        drain_time: Duration::from_secs(args.drain_time_s.into()),
        admin_address_path: args.admin_address_path.clone(),
        access_log_flush_interval: Duration::from_millis(args.file_flush_interval_msec.max(1).into()),
        access_logs: AccessLogOptions {
            min_flush_bytes: args.file_flush_min_size_kb as usize * 1024,
            ..AccessLogOptions::default()
        },
        command_line: command_line(args),
        stop: Default::default(),
    }
}

fn override_node(configuration: &mut Configuration, args: &ServeArgs) {
    let node = &mut configuration.bootstrap.node;
    if let Some(id) = &args.service_node {
        node.id.clone_from(id);
    }
    if let Some(cluster) = &args.service_cluster {
        node.cluster.clone_from(cluster);
    }
    if let Some(zone) = &args.service_zone {
        node.locality.zone.clone_from(zone);
    }
}

/// The flags as `/server_info` shows them (`envoy.admin.v3.CommandLineOptions`).
fn command_line(args: &ServeArgs) -> Map<String, Value> {
    let mut options = Map::new();
    let mut set = |name: &str, value: Value| options.insert(name.to_owned(), value);
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map_or_else(|| "".into(), |path| Value::from(path.display().to_string()))
    };
    set("concurrency", args.concurrency.unwrap_or(0).into());
    set("config_path", path(&args.config_path));
    set("config_yaml", args.config_yaml.clone().unwrap_or_default().into());
    set("log_level", args.log_level.name().into());
    set("component_log_level", args.component_log_level.clone().unwrap_or_default().into());
    set("log_path", path(&args.log_path));
    set("admin_address_path", path(&args.admin_address_path));
    set("service_cluster", args.service_cluster.clone().unwrap_or_default().into());
    set("service_node", args.service_node.clone().unwrap_or_default().into());
    set("service_zone", args.service_zone.clone().unwrap_or_default().into());
    set("drain_time", format!("{}s", args.drain_time_s).into());
    set("file_flush_interval", format!("{:.3}s", f64::from(args.file_flush_interval_msec) / 1000.0).into());
    set("mode", "Serve".into());
    set("disable_hot_restart", true.into());
    options
}
