//! The access logs of one listener or connection manager, ready for the request path.

use std::sync::Arc;

use crate::access_log::buffers::append_line;
use crate::access_log::filter::LogFilter;
use crate::access_log::manager::{AccessLogError, AccessLogManager};
use crate::access_log::writer::LogFile;
use crate::config::{AccessLog, AccessLogSink, FormatTemplate, Runtime, SubstitutionFormat};
use crate::formatter::{DEFAULT_ACCESS_LOG_FORMAT, FormatContext, Formatter, JsonFormatter};

/// Access logs, compiled. Immutable and cheap to clone; part of a configuration snapshot.
#[derive(Debug, Clone, Default)]
pub struct AccessLogSet {
    loggers: Arc<[Logger]>,
}

#[derive(Debug)]
struct Logger {
    filter: Option<LogFilter>,
    format: Format,
    file: Arc<LogFile>,
}

#[derive(Debug)]
enum Format {
    /// Brings its own line end.
    Text(Formatter),
    /// Is followed by a line end.
    Json(JsonFormatter),
}

impl AccessLogSet {
    /// Compiles filters and formats, and opens the files. Conditions that depend on the runtime are
    /// fixed: compile again when it changes.
    ///
    /// # Errors
    /// If a format does not compile or a file cannot be opened.
    pub fn compile(
        logs: &[AccessLog],
        runtime: &Runtime,
        manager: &AccessLogManager,
    ) -> Result<AccessLogSet, AccessLogError> {
        let loggers: Result<Vec<Logger>, AccessLogError> = logs
            .iter()
            .map(|log| match &log.sink {
                AccessLogSink::Lines { target, format } => Ok(Logger {
                    filter: log.filter.as_ref().map(|filter| LogFilter::compile(filter, runtime)),
                    format: compile_format(&log.name, format.as_ref())?,
                    file: manager.file(target)?,
                }),
                AccessLogSink::Extension(extension) => Err(AccessLogError::Unsupported {
                    path: extension.path.to_string(),
                    type_url: extension.type_url.clone(),
                }),
            })
            .collect();
        Ok(AccessLogSet { loggers: loggers?.into() })
    }

    /// Checks filters and formats without opening anything (`--mode validate`).
    ///
    /// # Errors
    /// If a format does not compile or a logger is of an unknown type.
    pub fn check(logs: &[AccessLog]) -> Result<(), AccessLogError> {
        logs.iter().try_for_each(|log| match &log.sink {
            AccessLogSink::Lines { format, .. } => compile_format(&log.name, format.as_ref()).map(drop),
            AccessLogSink::Extension(extension) => Err(AccessLogError::Unsupported {
                path: extension.path.to_string(),
                type_url: extension.type_url.clone(),
            }),
        })
    }

    /// Whether nothing is ever logged: spares the caller gathering what a line needs.
    pub fn is_empty(&self) -> bool {
        self.loggers.is_empty()
    }

    /// Logs an exchange to every log whose filter it passes.
    pub fn log(&self, cx: &FormatContext<'_>) {
        for logger in self.loggers.iter() {
            if logger.filter.as_ref().is_none_or(|filter| filter.matches(cx)) {
                append_line(&logger.file, |line| match &logger.format {
                    Format::Text(format) => format.write(cx, line),
                    Format::Json(format) => {
                        format.write(cx, line);
                        line.push(b'\n');
                    }
                });
            }
        }
    }
}

fn compile_format(name: &str, format: Option<&SubstitutionFormat>) -> Result<Format, AccessLogError> {
    let compiled = match format {
        None => Formatter::parse(DEFAULT_ACCESS_LOG_FORMAT).map(Format::Text),
        Some(SubstitutionFormat { format: FormatTemplate::Text(text), omit_empty_values, .. }) => {
            Formatter::compile(text, *omit_empty_values).map(Format::Text)
        }
        Some(SubstitutionFormat { format: FormatTemplate::Json(members), omit_empty_values, .. }) => {
            JsonFormatter::compile(members, *omit_empty_values).map(Format::Json)
        }
    };
    compiled.map_err(|error| AccessLogError::Format { name: name.to_owned(), error })
}
