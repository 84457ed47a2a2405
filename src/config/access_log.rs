//! Access logs (`envoy.config.accesslog.v3.AccessLog` with the file, stdout and stderr loggers).

use envoy_types::pb::envoy::config::accesslog::v3 as accesslog;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log};
use envoy_types::pb::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};
use prost::Name;

use super::{AccessLogFilter, Context, FieldPath, SubstitutionFormat, TypedExtension};

/// One access log.
#[derive(Debug, Clone)]
pub struct AccessLog {
    /// Name as configured.
    pub name: String,
    /// Which exchanges are logged; none logs all.
    pub filter: Option<AccessLogFilter>,
    /// Where lines go.
    pub sink: AccessLogSink,
}

/// Where an access log writes.
#[derive(Debug, Clone)]
pub enum AccessLogSink {
    /// Lines in a format, to a file or a standard stream.
    Lines {
        /// The file or stream.
        target: AccessLogTarget,
        /// Format of a line; none is Envoy's default format. A text format brings its own line end; a
        /// JSON object is followed by one.
        format: Option<SubstitutionFormat>,
    },
    /// A logger of another type.
    Extension(TypedExtension),
}

/// A file or a standard stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AccessLogTarget {
    /// A file, opened for appending.
    File(String),
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl AccessLog {
    /// Converts the logs in the list field `name` of the message at `path`.
    pub fn list(
        protos: &[accesslog::AccessLog],
        path: &FieldPath,
        name: &str,
        context: &mut Context<'_>,
    ) -> Vec<AccessLog> {
        let logs = protos.iter().enumerate();
        logs.map(|(i, log)| AccessLog::from_proto(log, &path.element(name, i), context)).collect()
    }

    /// Converts a log.
    pub fn from_proto(
        proto: &accesslog::AccessLog,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> AccessLog {
        let any = match &proto.config_type {
            Some(accesslog::access_log::ConfigType::TypedConfig(any)) => any.clone(),
            None => {
                context.error(path, format!("the access log {:?} needs a typed_config", proto.name));
                Default::default()
            }
        };
        let extension = TypedExtension::from_any(&proto.name, &any, path.field("typed_config"));
        let filter = proto.filter.as_ref();
        AccessLog {
            name: proto.name.clone(),
            filter: filter.map(|filter| AccessLogFilter::from_proto(filter, &path.field("filter"), context)),
            sink: AccessLogSink::from_extension(extension, context),
        }
    }
}

impl AccessLogSink {
    /// Opens the configuration of the loggers known here.
    fn from_extension(extension: TypedExtension, context: &mut Context<'_>) -> AccessLogSink {
        let (target, format) = match extension.type_name() {
            name if name == FileAccessLog::full_name() => extension.decode::<FileAccessLog>().map(|log| {
                let format = log.access_log_format;
                let format = format.map(|format| file_format(&format, &extension.path, context));
                (AccessLogTarget::File(log.path), format)
            }),
            name if name == StdoutAccessLog::full_name() => {
                extension.decode::<StdoutAccessLog>().map(|log| {
                    let format =
                        log.access_log_format.map(|stdout_access_log::AccessLogFormat::LogFormat(format)| {
                            log_format(&format, &extension.path, context)
                        });
                    (AccessLogTarget::Stdout, format)
                })
            }
            name if name == StderrAccessLog::full_name() => {
                extension.decode::<StderrAccessLog>().map(|log| {
                    let format =
                        log.access_log_format.map(|stderr_access_log::AccessLogFormat::LogFormat(format)| {
                            log_format(&format, &extension.path, context)
                        });
                    (AccessLogTarget::Stderr, format)
                })
            }
            _ => return AccessLogSink::Extension(extension),
        }
        .unwrap_or_else(|error| {
            context.error(&extension.path, error.to_string());
            (AccessLogTarget::Stdout, None)
        });
        AccessLogSink::Lines { target, format }
    }
}

fn file_format(
    proto: &file_access_log::AccessLogFormat,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> SubstitutionFormat {
    use file_access_log::AccessLogFormat as Format;
    match proto {
        Format::Format(text) => SubstitutionFormat::text(text, path.field("format"), context),
        Format::JsonFormat(tree) => SubstitutionFormat::json(tree, path.field("json_format"), context),
        Format::TypedJsonFormat(tree) => {
            SubstitutionFormat::json(tree, path.field("typed_json_format"), context)
        }
        Format::LogFormat(format) => log_format(format, path, context),
    }
}

fn log_format(
    proto: &core::SubstitutionFormatString,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> SubstitutionFormat {
    SubstitutionFormat::from_proto(proto, &path.field("log_format"), context)
}
