//! The command line: Envoy's flags under their names, plus Ringway's own.
//!
//! It only parses; nothing is opened, bound or started here. Flags of Envoy's that have no
//! meaning in Ringway are accepted, because scripts pass them, and `--help` says so.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::base::log::Level;

/// What was asked for.
#[derive(Debug, Parser)]
#[command(
    name = "ringway",
    version,
    about = "An L7/L4 proxy that reads Envoy's configuration and runs one io_uring executor per core.",
    args_conflicts_with_subcommands = true,
    after_help = "Start with `ringway demo`, or `ringway -c FILE`."
)]
pub struct Cli {
    /// Another job than serving a configuration.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Flags of the serving proxy.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// Jobs other than serving a configuration.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start an origin, the proxy before it and a short load; needs no file
    Demo(DemoArgs),
    /// Check a configuration and say what was found; touches no network
    Validate(ValidateArgs),
}

/// Flags of `ringway demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Port of the proxy on loopback (0: any free one)
    #[arg(long, default_value_t = 10000)]
    pub port: u16,
    /// Port of the admin page on loopback (0: any free one)
    #[arg(long, default_value_t = 9901)]
    pub admin_port: u16,
    /// Seconds of load
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub seconds: u32,
    /// End after the load instead of staying up until Ctrl-C
    #[arg(long)]
    pub once: bool,
    /// How to do network I/O
    #[arg(long, value_enum, default_value_t = IoDriver::Auto)]
    pub io_driver: IoDriver,
}

/// Flags of `ringway validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// Configuration file (.yaml, .yml, .json or .pb)
    pub file: PathBuf,
    /// Also list fields that are accepted but have no effect in Ringway
    #[arg(short, long)]
    pub verbose: bool,
}

/// Flags of the serving proxy, named as Envoy's.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Configuration file (.yaml, .yml, .json or .pb)
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config_path: Option<PathBuf>,
    /// Configuration given inline; merged over the file's
    #[arg(long, value_name = "YAML")]
    pub config_yaml: Option<String>,
    /// `serve`, or `validate`: check the configuration and exit
    #[arg(long, value_enum, default_value_t = Mode::Serve, ignore_case = true)]
    pub mode: Mode,
    /// Worker threads; by default one per CPU this process may use, and never less than one
    #[arg(long, value_name = "N")]
    pub concurrency: Option<u32>,
    /// How to do network I/O; `auto` takes the ring where the kernel allows it (Ringway's own flag)
    #[arg(long, value_enum, default_value_t = IoDriver::Auto)]
    pub io_driver: IoDriver,
    /// Log level: trace, debug, info, warning, warn, error, critical or off
    #[arg(short = 'l', long, default_value = "info", value_parser = parse_level)]
    pub log_level: Level,
    /// Levels by component, such as `upstream:debug,config:trace`
    #[arg(long, value_name = "LIST")]
    pub component_log_level: Option<String>,
    /// File for the process's own log; standard error by default
    #[arg(long, value_name = "FILE")]
    pub log_path: Option<PathBuf>,
    /// Pattern of a log line in spdlog's syntax
    #[arg(long, value_name = "PATTERN")]
    pub log_format: Option<String>,
    /// Escape C-style escapes in log lines
    #[arg(long)]
    pub log_format_escaped: bool,
    /// Seconds given to connections to end when listeners drain
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub drain_time_s: u32,
    /// File to which the bound admin address is written
    #[arg(long, value_name = "FILE")]
    pub admin_address_path: Option<PathBuf>,
    /// Cluster name of this node; overrides the configuration's
    #[arg(long, value_name = "NAME")]
    pub service_cluster: Option<String>,
    /// Id of this node; overrides the configuration's
    #[arg(long, value_name = "NAME")]
    pub service_node: Option<String>,
    /// Zone of this node; overrides the configuration's
    #[arg(long, value_name = "NAME")]
    pub service_zone: Option<String>,
    /// Milliseconds after which buffered access-log lines are written
    #[arg(long, default_value_t = 10_000, value_name = "MSEC")]
    pub file_flush_interval_msec: u32,
    /// KiB of access-log lines after which they are written
    #[arg(long, default_value_t = 64, value_name = "KB")]
    pub file_flush_min_size_kb: u32,
    /// Unknown fields in the configuration are warnings, not errors
    #[arg(long)]
    pub allow_unknown_static_fields: bool,
    /// The same under its old name
    #[arg(long)]
    pub allow_unknown_fields: bool,

    /// Flags without effect.
    #[command(flatten)]
    pub ignored: IgnoredArgs,
}

/// Flags that Envoy has and scripts pass, which have no effect in Ringway.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Accepted without effect, because scripts for Envoy pass them")]
pub struct IgnoredArgs {
    /// Envoy: identifies one of several processes for hot restart
    #[arg(long, value_name = "N")]
    base_id: Option<u32>,
    /// Envoy: file for the chosen base id
    #[arg(long, value_name = "FILE")]
    base_id_path: Option<PathBuf>,
    /// Envoy: choose a base id
    #[arg(long)]
    use_dynamic_base_id: bool,
    /// Envoy: which process of a hot restart this is
    #[arg(long, value_name = "N")]
    restart_epoch: Option<u32>,
    /// Envoy: `gradual` or `immediate`; Ringway has connections end at their next response
    #[arg(long, value_name = "STRATEGY")]
    drain_strategy: Option<String>,
    /// Envoy: family of the address that it tells control planes
    #[arg(long, value_name = "v4|v6")]
    local_address_ip_version: Option<String>,
    /// Envoy: take the default number of workers from the CPU set; Ringway always does
    #[arg(long)]
    cpuset_threads: bool,
    /// Envoy: no hot restart
    #[arg(long)]
    disable_hot_restart: bool,
    /// Envoy: seconds until a restarted parent ends
    #[arg(long, value_name = "SECONDS")]
    parent_shutdown_time_s: Option<u32>,
    /// Envoy: go on if the parent is gone
    #[arg(long)]
    skip_hot_restart_on_no_parent: bool,
    /// Envoy: leave the parent's statistics
    #[arg(long)]
    skip_hot_restart_parent_stats: bool,
    /// Envoy: hot restart socket
    #[arg(long, value_name = "FILE")]
    socket_path: Option<PathBuf>,
    /// Envoy: mode of that socket
    #[arg(long, value_name = "MODE")]
    socket_mode: Option<String>,
    /// Envoy: log levels by source file
    #[arg(long)]
    enable_fine_grain_logging: bool,
    /// Envoy: one log entry for a stack trace
    #[arg(long)]
    log_stacktrace_single_entry: bool,
    /// Envoy: no warnings about deprecated fields
    #[arg(long)]
    skip_deprecated_logs: bool,
    /// Envoy: trace mutexes (workers have none)
    #[arg(long)]
    enable_mutex_tracing: bool,
    /// Envoy: core dumps (the shell's ulimit decides)
    #[arg(long)]
    enable_core_dump: bool,
    /// Envoy: leave out extensions
    #[arg(long, value_name = "LIST")]
    disable_extensions: Option<String>,
    /// Envoy: reject unknown fields in dynamic configuration; Ringway always does
    #[arg(long)]
    reject_unknown_dynamic_fields: bool,
    /// Envoy: no warnings about unknown fields in dynamic configuration
    #[arg(long)]
    ignore_unknown_dynamic_fields: bool,
    /// Old Envoys: longest name of a resource
    #[arg(long, value_name = "N")]
    max_obj_name_len: Option<u32>,
    /// Old Envoys: most statistics
    #[arg(long, value_name = "N")]
    max_stats: Option<u32>,
    /// Old Envoys: refuse v1 configuration
    #[arg(long)]
    v2_config_only: bool,
}

/// What `-c FILE` is loaded for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Validate, then serve
    Serve,
    /// Validate and exit
    Validate,
}

/// How network I/O is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum IoDriver {
    /// The ring where it can be had, else epoll
    Auto,
    /// io_uring; an error where it cannot be had
    Ring,
    /// epoll
    Epoll,
}

fn parse_level(text: &str) -> Result<Level, String> {
    text.parse()
        .map_err(|_| "expected one of trace, debug, info, warning, warn, error, critical, off".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn envoys_flags_are_taken() {
        let cli = Cli::try_parse_from([
            "ringway",
            "-c",
            "x.yaml",
            "--concurrency",
            "2",
            "-l",
            "warning",
            "--base-id",
            "7",
            "--restart-epoch",
            "0",
            "--drain-time-s",
            "5",
            "--mode",
            "validate",
            "--service-node",
            "n",
        ])
        .expect("parses");
        assert_eq!(cli.serve.mode, Mode::Validate);
        assert_eq!(cli.serve.concurrency, Some(2));
        assert_eq!(cli.serve.drain_time_s, 5);
    }
}
