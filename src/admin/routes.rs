//! The table of admin commands, and how a request finds its command.

use std::fmt::Write;

use crate::admin::query::Query;
use crate::admin::reply::Reply;
use crate::admin::state::AdminState;
use crate::admin::{config_dump, endpoints, logging, page, stats_page, status_pages};
use crate::config::StringMatcher;
use crate::stats::Registry;

/// What a command is given.
pub(super) struct Call<'a> {
    pub(super) query: &'a Query,
    pub(super) state: &'a dyn AdminState,
    pub(super) registry: &'a Registry,
}

/// One command.
pub(super) struct Command {
    pub(super) path: &'static str,
    /// It changes something and takes POST only.
    pub(super) mutates: bool,
    pub(super) help: &'static str,
    pub(super) parameters: &'static [Parameter],
    run: fn(&Call<'_>) -> Reply,
}

/// One parameter of a command.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// Values to choose from; empty takes any text.
    pub(super) choices: &'static [&'static str],
}

/// Answers a request; `target` is path and query as in the request line.
pub(super) fn dispatch(
    method: &str,
    target: &str,
    allow_paths: &[StringMatcher],
    state: &dyn AdminState,
    registry: &Registry,
) -> Reply {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    if !allow_paths.is_empty() && !allow_paths.iter().any(|allowed| allowed.matches(path.as_bytes())) {
        return Reply::error(403, format!("request to path {path} not allowed"));
    }
    let Some(command) = COMMANDS.iter().find(|command| command.path == path) else {
        return Reply::error(404, format!("invalid path. {}", help_text()));
    };
    if command.mutates && method != "POST" {
        return Reply::error(405, format!("Method {method} not allowed, POST required."));
    }
    (command.run)(&Call { query: &Query::parse(query), state, registry })
}

/// The list of commands as `/help` prints it.
pub(super) fn help_text() -> String {
    let mut text = String::from("admin commands are:\n");
    for command in COMMANDS {
        let post = if command.mutates { " (POST)" } else { "" };
        let _ = writeln!(text, "  {}{post}: {}", command.path, command.help);
        for Parameter { name, help, choices } in command.parameters {
            let _ = write!(text, "      {name}: {help}");
            if !choices.is_empty() {
                let _ = write!(text, "; One of ({})", choices.join(", "));
            }
            text.push('\n');
        }
    }
    text
}

const fn shows(path: &'static str, help: &'static str, run: fn(&Call<'_>) -> Reply) -> Command {
    Command { path, mutates: false, help, parameters: &[], run }
}

const fn does(path: &'static str, help: &'static str, run: fn(&Call<'_>) -> Reply) -> Command {
    Command { path, mutates: true, help, parameters: &[], run }
}

impl Command {
    const fn with(mut self, parameters: &'static [Parameter]) -> Command {
        self.parameters = parameters;
        self
    }
}

const fn text(name: &'static str, help: &'static str) -> Parameter {
    Parameter { name, help, choices: &[] }
}

const fn choice(name: &'static str, help: &'static str, choices: &'static [&'static str]) -> Parameter {
    Parameter { name, help, choices }
}

const USED_ONLY: Parameter = text("usedonly", "Only include stats that were written since the start");
const FILTER: Parameter = text("filter", "Regular expression for filtering stats");
const INVERT_FILTER: Parameter = text("invert_filter", "Invert the filter");

/// All commands, by path.
pub(super) const COMMANDS: &[Command] = &[
    shows("/", "Admin home page", page::home),
    shows("/certs", "print certificates in use", status_pages::certs),
    shows("/clusters", "upstream cluster status", status_pages::clusters).with(&[
        text("filter", "Regular expression for filtering clusters by name"),
        choice("format", "Format to use", &["text", "json"]),
    ]),
    shows("/config_dump", "dump current configuration", config_dump::show).with(&[
        text("resource", "The resource to dump, e.g. static_clusters"),
        text("mask", "Field mask: which fields are shown, of the dump or of each resource"),
        text("name_regex", "Only resources whose names match"),
        text("include_eds", "Dump endpoints as well"),
    ]),
    does("/drain_listeners", "drain listeners", endpoints::drain_listeners).with(&[
        text("graceful", "Enter a graceful drain period before listeners close"),
        text("skip_exit", "Drain the connections but never stop the listeners"),
        text("inboundonly", "Drain only listeners whose traffic_direction is INBOUND"),
    ]),
    does("/healthcheck/fail", "cause the server to fail health checks", endpoints::healthcheck_fail),
    does("/healthcheck/ok", "cause the server to pass health checks", endpoints::healthcheck_ok),
    shows("/help", "print out list of admin commands", endpoints::help),
    shows(
        "/hot_restart_version",
        "print the hot restart compatibility version",
        endpoints::hot_restart_version,
    ),
    shows("/init_dump", "dump what start-up still waits for", status_pages::init_dump),
    shows("/listeners", "print listener info", status_pages::listeners).with(&[choice(
        "format",
        "Format to use",
        &["text", "json"],
    )]),
    does("/logging", "query/change logging levels", logging::change).with(&[
        text("paths", "Change several levels: <name1>:<level1>,<name2>:<level2>"),
        choice(
            "level",
            "Change the level of all loggers",
            &["", "trace", "debug", "info", "warning", "error", "critical", "off"],
        ),
    ]),
    shows("/memory", "print current allocation/heap usage", status_pages::memory),
    does("/quitquitquit", "exit the server", endpoints::quit),
    shows("/ready", "print server state, return 200 if LIVE, otherwise return 503", endpoints::ready),
    does("/reopen_logs", "reopen access logs", endpoints::reopen_logs),
    does("/reset_counters", "reset all counters to zero", endpoints::reset_counters),
    shows("/runtime", "print runtime values", status_pages::runtime),
    does(
        "/runtime_modify",
        "Adds or modifies runtime values: ?key1=value1&key2=value2; an empty value removes an override",
        endpoints::runtime_modify,
    ),
    shows("/server_info", "print server version/status information", status_pages::server_info),
    shows("/stats", "print server stats", stats_page::show).with(&[
        USED_ONLY,
        FILTER,
        INVERT_FILTER,
        choice("format", "Format to use", &["html", "text", "json", "prometheus"]),
        choice("type", "Stat types to include", &["All", "Counters", "Histograms", "Gauges", "TextReadouts"]),
        choice(
            "histogram_buckets",
            "Histogram display mode",
            &["cumulative", "disjoint", "detailed", "summary"],
        ),
    ]),
    shows("/stats/prometheus", "print server stats in prometheus format", stats_page::prometheus).with(&[
        USED_ONLY,
        text("text_readouts", "Show text readouts as gauges of value 0"),
        FILTER,
        INVERT_FILTER,
        choice("histogram_buckets", "Histogram display mode", &["cumulative", "summary"]),
    ]),
];
