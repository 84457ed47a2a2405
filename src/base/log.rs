//! The process log: levels per component, Envoy's `--log-format`, to stderr or a file.
//!
//! Not for the request path: writing takes a lock and formats. A message below its component's
//! level costs one relaxed load. This is the one file of `base` that reads the wall clock.

use std::cell::RefCell;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::base::log_pattern::{DEFAULT_PATTERN, Pattern};

/// How grave a message is; in a component's setting, the least grave that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Every step.
    Trace,
    /// For finding faults.
    Debug,
    /// Normal events worth a line.
    Info,
    /// Something an operator should look at.
    Warning,
    /// Something failed.
    Error,
    /// The process cannot go on.
    Critical,
    /// Nothing is written.
    Off,
}

/// All levels, by rising gravity.
pub const LEVELS: [Level; 7] =
    [Level::Trace, Level::Debug, Level::Info, Level::Warning, Level::Error, Level::Critical, Level::Off];

macro_rules! components {
    ($($component:ident $name:literal,)*) => {
        /// A part of the proxy whose level can be set by itself; names follow Envoy's loggers.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Component {
            $(#[doc = concat!("`", $name, "`")] $component,)*
        }

        /// All components, by name.
        pub const COMPONENTS: &[Component] = &[$(Component::$component,)*];

        const NAMES: &[&str] = &[$($name,)*];
    };
}

components! {
    Admin "admin",
    Config "config",
    Connection "connection",
    Dns "dns",
    ExtAuthz "ext_authz",
    File "file",
    Filter "filter",
    HealthChecker "health_checker",
    Http "http",
    Init "init",
    Io "io",
    Listener "listener",
    Load "load",
    Main "main",
    Pool "pool",
    Router "router",
    Runtime "runtime",
    Stats "stats",
    Upstream "upstream",
}

/// What `init` sets up.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// `-l`; none means info.
    pub level: Option<Level>,
    /// `--component-log-level`, as on the command line: `upstream:debug,http:trace`.
    pub component_levels: Option<String>,
    /// `--log-path`; none means stderr.
    pub path: Option<PathBuf>,
    /// `--log-format`; none means Envoy's default.
    pub format: Option<String>,
    /// `--log-format-escaped`: line breaks inside a message are written as `\n`.
    pub escaped: bool,
}

/// What can be wrong with logging options.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Not a level.
    #[error("unknown log level '{0}': one of trace, debug, info, warning, error, critical, off")]
    UnknownLevel(String),
    /// Not a component.
    #[error("unknown log component '{0}'")]
    UnknownComponent(String),
    /// Not of the form `component:level`.
    #[error("component log level '{0}' is not of the form component:level")]
    Malformed(String),
    /// The file could not be opened.
    #[error("cannot open log file {}: {error}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
}

/// Sets levels, format and destination for the process.
pub fn init(options: LogOptions) -> Result<(), LogError> {
    let levels = options.component_levels.as_deref().map(parse_component_levels).transpose()?;
    let file = options.path.map(open).transpose()?;
    set_all_levels(options.level.unwrap_or(Level::Info));
    for (component, level) in levels.into_iter().flatten() {
        set_level(component, level);
    }
    let mut sink = sink();
    sink.file = file;
    sink.pattern =
        Some(Pattern::parse(options.format.as_deref().unwrap_or(DEFAULT_PATTERN), options.escaped));
    Ok(())
}

/// Opens the log file anew under its name, after somebody moved the old one away. Keeps the old
/// one if that fails.
pub fn reopen() -> Result<(), LogError> {
    let mut sink = sink();
    if let Some((path, file)) = &mut sink.file {
        *file = open(path.clone())?.1;
    }
    Ok(())
}

/// The component's level.
pub fn level(component: Component) -> Level {
    LEVELS[usize::from(STORE[component as usize].load(Relaxed)) % LEVELS.len()]
}

/// Sets one component's level.
pub fn set_level(component: Component, level: Level) {
    STORE[component as usize].store(level as u8, Relaxed);
}

/// Sets the level of all components.
pub fn set_all_levels(level: Level) {
    COMPONENTS.iter().for_each(|component| set_level(*component, level));
}

/// `upstream:debug,http:trace` as pairs.
pub fn parse_component_levels(text: &str) -> Result<Vec<(Component, Level)>, LogError> {
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, level) = pair.split_once(':').ok_or_else(|| LogError::Malformed(pair.to_owned()))?;
            let component =
                Component::from_name(name).ok_or_else(|| LogError::UnknownComponent(name.to_owned()))?;
            Ok((component, level.parse()?))
        })
        .collect()
}

/// Whether a message would be written: what the macros ask first.
#[inline]
pub fn enabled(component: Component, level: Level) -> bool {
    level as u8 >= STORE[component as usize].load(Relaxed)
}

/// Writes a message whatever its level: what the macros do second.
pub fn write(component: Component, level: Level, file: &'static str, line: u32, message: fmt::Arguments<'_>) {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let record = Record { component, level, file, line, since_epoch };
    LINE.with_borrow_mut(|out| {
        out.clear();
        let mut sink = sink();
        sink.pattern
            .get_or_insert_with(|| Pattern::parse(DEFAULT_PATTERN, false))
            .write(&record, message, out);
        // A log that cannot be written has nobody to tell.
        let _ = match &mut sink.file {
            Some((_, file)) => file.write_all(out),
            None => std::io::stderr().lock().write_all(out),
        };
    });
}

/// Where a message comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) component: Component,
    pub(super) level: Level,
    pub(super) file: &'static str,
    pub(super) line: u32,
    pub(super) since_epoch: Duration,
}

/// Logs at a level: `log_at!(Info, Main, "serving on {address}")`.
#[macro_export]
macro_rules! log_at {
    ($level:ident, $component:ident, $($message:tt)+) => {
        if $crate::base::log::enabled($crate::base::log::Component::$component, $crate::base::log::Level::$level) {
            $crate::base::log::write(
                $crate::base::log::Component::$component,
                $crate::base::log::Level::$level,
                file!(),
                line!(),
                format_args!($($message)+),
            );
        }
    };
}

/// Logs every step: `log_trace!(Pool, "connection {id} is idle")`.
#[macro_export]
macro_rules! log_trace {
    ($component:ident, $($message:tt)+) => { $crate::log_at!(Trace, $component, $($message)+) };
}

/// Logs for finding faults.
#[macro_export]
macro_rules! log_debug {
    ($component:ident, $($message:tt)+) => { $crate::log_at!(Debug, $component, $($message)+) };
}

/// Logs a normal event: `log_info!(Main, "serving on {address}")`.
#[macro_export]
macro_rules! log_info {
    ($component:ident, $($message:tt)+) => { $crate::log_at!(Info, $component, $($message)+) };
}

/// Logs what an operator should look at.
#[macro_export]
macro_rules! log_warn {
    ($component:ident, $($message:tt)+) => { $crate::log_at!(Warning, $component, $($message)+) };
}

/// Logs a failure.
#[macro_export]
macro_rules! log_error {
    ($component:ident, $($message:tt)+) => { $crate::log_at!(Error, $component, $($message)+) };
}

/// Logs what ends the process.
#[macro_export]
macro_rules! log_critical {
    ($component:ident, $($message:tt)+) => { $crate::log_at!(Critical, $component, $($message)+) };
}

impl Level {
    /// As Envoy prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
            Level::Critical => "critical",
            Level::Off => "off",
        }
    }
}

impl FromStr for Level {
    type Err = LogError;

    /// Takes `warn` for `warning` as well.
    fn from_str(text: &str) -> Result<Level, LogError> {
        let name = if text == "warn" { "warning" } else { text };
        let found = LEVELS.into_iter().find(|level| level.name() == name);
        found.ok_or_else(|| LogError::UnknownLevel(text.to_owned()))
    }
}

impl Component {
    /// As in `--component-log-level` and `/logging`.
    pub const fn name(self) -> &'static str {
        NAMES[self as usize]
    }

    /// The component called so.
    pub fn from_name(name: &str) -> Option<Component> {
        COMPONENTS.iter().copied().find(|component| component.name() == name)
    }
}

static STORE: [AtomicU8; COMPONENTS.len()] = [const { AtomicU8::new(Level::Info as u8) }; COMPONENTS.len()];
static SINK: Mutex<Sink> = Mutex::new(Sink { pattern: None, file: None });

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Sink {
    pattern: Option<Pattern>,
    file: Option<(PathBuf, File)>,
}

fn sink() -> MutexGuard<'static, Sink> {
    SINK.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(path: PathBuf) -> Result<(PathBuf, File), LogError> {
    match OpenOptions::new().create(true).append(true).open(&path) {
        Ok(file) => Ok((path, file)),
        Err(error) => Err(LogError::Open { path, error }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn component_levels_parse_or_say_what_is_wrong() {
        let levels = parse_component_levels("upstream:debug,http:warn").unwrap();
        assert_eq!(levels, [(Component::Upstream, Level::Debug), (Component::Http, Level::Warning)]);
        assert!(matches!(parse_component_levels("upstream"), Err(LogError::Malformed(_))));
        assert!(matches!(parse_component_levels("nope:info"), Err(LogError::UnknownComponent(_))));
        assert!(matches!(parse_component_levels("http:loud"), Err(LogError::UnknownLevel(_))));
        assert!(parse_component_levels("").unwrap().is_empty());
    }

    #[test]
    fn a_moved_file_is_left_alone_after_reopening_and_levels_hold() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("log"), directory.path().join("log.1"));
        let format = Some("%l %n %v".to_owned());
        init(LogOptions { path: Some(path.clone()), format, ..LogOptions::default() }).unwrap();
        set_level(Component::Load, Level::Error);
        log_warn!(Load, "not this");
        log_error!(Load, "one {}", 1);
        std::fs::rename(&path, &moved).unwrap();
        log_error!(Load, "two");
        reopen().unwrap();
        log_error!(Load, "three");
        // Other tests may log meanwhile; only this component's lines count.
        let ours = |path| -> Vec<String> {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().filter(|line| line.contains(" load ")).map(str::to_owned).collect()
        };
        assert_eq!(ours(moved), ["error load one 1", "error load two"]);
        assert_eq!(ours(path), ["error load three"]);
        init(LogOptions::default()).unwrap();
        let error = init(LogOptions { path: Some("/nowhere/at/all".into()), ..LogOptions::default() });
        assert!(error.unwrap_err().to_string().contains("/nowhere/at/all"));
    }
}
