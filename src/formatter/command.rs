//! The commands of the format engine: from their written form to what is evaluated per line.
//!
//! Which names exist, and what each takes, was checked against Envoy 1.40. Evaluating is in
//! `evaluate.rs`.

use super::parse::RawCommand;
use super::time_format::TimeFormat;
use super::tls::TlsCommand;
use super::{FormatError, grpc_status};
use crate::http::HeaderNameBuf;

/// A compiled command.
#[derive(Debug, Clone)]
pub enum Command {
    /// First value of a header, or of the alternative where the first is absent.
    Header { source: HeaderSource, name: HeaderNameBuf, alternative: Option<HeaderNameBuf>, cut: Cut },
    /// A header without what follows its first `?`.
    HeaderWithoutQuery { name: HeaderNameBuf, alternative: Option<HeaderNameBuf>, cut: Cut },
    /// The request's path.
    Path { with_query: bool, source: PathSource, cut: Cut },
    /// A query parameter, percent-decoded.
    QueryParameter { name: Box<str>, cut: Cut },
    /// The whole query.
    Query { source: PathSource, cut: Cut },
    /// When the request began.
    StartTime(TimeFormat),
    /// When the line is written.
    EmitTime(TimeFormat),
    /// The time between two points of the exchange.
    Duration { from: TimePoint, to: TimePoint, unit: Unit },
    /// The gRPC status of the response.
    GrpcStatus(grpc_status::Style),
    /// Text fixed when the format was compiled; none prints as absent.
    Fixed(Option<Box<str>>),
    /// Details of the response, with or without spaces replaced.
    ResponseCodeDetails { allow_spaces: bool },
    /// About TLS.
    Tls(TlsCommand),
    /// Everything else that takes no parameter.
    Field(Field),
}

/// Bytes to keep of a value; all if none is given.
#[derive(Debug, Clone, Copy)]
pub struct Cut(pub Option<usize>);

/// Where a header is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderSource {
    Request,
    Response,
    RequestTrailers,
    ResponseTrailers,
}

/// Which path is meant when a route may have rewritten it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathSource {
    Current,
    Original,
    OriginalOrCurrent,
}

/// The unit of a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

/// A point in time of an exchange, as `COMMON_DURATION` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimePoint {
    DownstreamRxBegin,
    DownstreamRxEnd,
    UpstreamConnectBegin,
    UpstreamConnectEnd,
    UpstreamTxBegin,
    UpstreamTxEnd,
    UpstreamRxBegin,
    UpstreamRxBodyBegin,
    UpstreamRxEnd,
    DownstreamTxBegin,
    DownstreamTxEnd,
    /// The end of the stream, or now while it has not ended.
    CompleteOrNow,
    /// A name no part of the exchange sets.
    Never,
}

macro_rules! fields {
    ($($name:ident = $($text:literal)|+, $kind:ident;)*) => {
        /// A command without parameters.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Field { $(#[doc = concat!("`", $($text, "` ",)+)] $name,)* }
        impl Field {
            fn from_name(name: &str) -> Option<Field> {
                match name { $($($text)|+ => Some(Field::$name),)* _ => None }
            }
            /// Whether JSON shows the value as a number.
            pub const fn is_number(self) -> bool {
                match self { $(Field::$name => is_number_kind!($kind),)* }
            }
        }
    };
}
macro_rules! is_number_kind {
    (number) => {
        true
    };
    (text) => {
        false
    };
}

fields! {
    Protocol = "PROTOCOL", text;
    ResponseCode = "RESPONSE_CODE", number;
    ConnectionTerminationDetails = "CONNECTION_TERMINATION_DETAILS", text;
    ResponseFlags = "RESPONSE_FLAGS", text;
    ResponseFlagsLong = "RESPONSE_FLAGS_LONG", text;
    BytesReceived = "BYTES_RECEIVED", number;
    BytesSent = "BYTES_SENT", number;
    UpstreamWireBytesSent = "UPSTREAM_WIRE_BYTES_SENT", number;
    UpstreamWireBytesReceived = "UPSTREAM_WIRE_BYTES_RECEIVED", number;
    DownstreamWireBytesSent = "DOWNSTREAM_WIRE_BYTES_SENT", number;
    DownstreamWireBytesReceived = "DOWNSTREAM_WIRE_BYTES_RECEIVED", number;
    UpstreamHeaderBytesSent = "UPSTREAM_HEADER_BYTES_SENT" | "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT", number;
    UpstreamHeaderBytesReceived =
        "UPSTREAM_HEADER_BYTES_RECEIVED" | "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED", number;
    DownstreamHeaderBytesSent = "DOWNSTREAM_HEADER_BYTES_SENT" | "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT", number;
    DownstreamHeaderBytesReceived =
        "DOWNSTREAM_HEADER_BYTES_RECEIVED" | "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED", number;
    UpstreamHost = "UPSTREAM_HOST", text;
    UpstreamHostName = "UPSTREAM_HOST_NAME", text;
    UpstreamHostNameWithoutPort = "UPSTREAM_HOST_NAME_WITHOUT_PORT", text;
    UpstreamCluster = "UPSTREAM_CLUSTER", text;
    UpstreamClusterRaw = "UPSTREAM_CLUSTER_RAW", text;
    UpstreamLocalAddress = "UPSTREAM_LOCAL_ADDRESS", text;
    UpstreamLocalAddressWithoutPort = "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", text;
    UpstreamLocalPort = "UPSTREAM_LOCAL_PORT", number;
    UpstreamRemoteAddress = "UPSTREAM_REMOTE_ADDRESS", text;
    UpstreamRemoteAddressWithoutPort = "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", text;
    UpstreamRemotePort = "UPSTREAM_REMOTE_PORT", number;
    UpstreamProtocol = "UPSTREAM_PROTOCOL", text;
    UpstreamRequestAttemptCount = "UPSTREAM_REQUEST_ATTEMPT_COUNT", number;
    UpstreamTransportFailureReason = "UPSTREAM_TRANSPORT_FAILURE_REASON", text;
    UpstreamConnectionId = "UPSTREAM_CONNECTION_ID", number;
    DownstreamRemoteAddress = "DOWNSTREAM_REMOTE_ADDRESS", text;
    DownstreamRemoteAddressWithoutPort = "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", text;
    DownstreamRemotePort = "DOWNSTREAM_REMOTE_PORT", number;
    DownstreamDirectRemoteAddress = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS", text;
    DownstreamDirectRemoteAddressWithoutPort = "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", text;
    DownstreamDirectRemotePort = "DOWNSTREAM_DIRECT_REMOTE_PORT", number;
    DownstreamLocalAddress = "DOWNSTREAM_LOCAL_ADDRESS" | "DOWNSTREAM_DIRECT_LOCAL_ADDRESS", text;
    DownstreamLocalAddressWithoutPort =
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" | "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT", text;
    DownstreamLocalPort = "DOWNSTREAM_LOCAL_PORT" | "DOWNSTREAM_DIRECT_LOCAL_PORT", number;
    ConnectionId = "CONNECTION_ID", number;
    StreamId = "STREAM_ID", text;
    RouteName = "ROUTE_NAME", text;
    VirtualClusterName = "VIRTUAL_CLUSTER_NAME", text;
    LocalReplyBody = "LOCAL_REPLY_BODY", text;
    FilterChainName = "FILTER_CHAIN_NAME", text;
    TraceId = "TRACE_ID", text;
    UniqueId = "UNIQUE_ID", text;
    AccessLogType = "ACCESS_LOG_TYPE", text;
    RequestedServerName = "REQUESTED_SERVER_NAME", text;
    DownstreamTransportFailureReason = "DOWNSTREAM_TRANSPORT_FAILURE_REASON", text;
}

/// Commands about tracing and about fingerprints of clients' hellos, absent until those exist.
const ALWAYS_ABSENT: &[&str] = &["SPAN_ID", "TLS_JA3_FINGERPRINT", "TLS_JA4_FINGERPRINT"];

/// Commands that Envoy 1.40 has and Ringway does not.
const NOT_YET: &[&str] = &[
    "CEL",
    "CLUSTER_METADATA",
    "COALESCE",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_CX_RTT",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_ISSUER_SERIAL",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DYNAMIC_METADATA",
    "EMIT_TIME_LOCAL",
    "FILTER_STATE",
    "LISTENER_NAME",
    "METADATA",
    "REQUEST_HEADERS_BYTES",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "ROUNDTRIP_DURATION",
    "START_TIME_LOCAL",
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_FILTER_STATE",
    "UPSTREAM_HOSTS_ATTEMPTED",
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAMES_ATTEMPTED",
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_METADATA",
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
    "UPSTREAM_TLS_SESSION_ID",
];

impl Command {
    /// Compiles a command; refuses one that is unknown or wrongly used.
    pub fn compile(raw: &RawCommand<'_>) -> Result<Command, FormatError> {
        let cut = Cut(raw.max_len_bytes);
        match raw.name {
            "REQ" | "REQUEST_HEADER" => header(raw, HeaderSource::Request),
            "RESP" | "RESPONSE_HEADER" => header(raw, HeaderSource::Response),
            "TRAILER" | "RESPONSE_TRAILER" => header(raw, HeaderSource::ResponseTrailers),
            "REQUEST_TRAILER" => header(raw, HeaderSource::RequestTrailers),
            "REQ_WITHOUT_QUERY" => {
                let (name, alternative) = header_names(raw)?;
                Ok(Command::HeaderWithoutQuery { name, alternative, cut })
            }
            "PATH" => path(raw),
            "QUERY_PARAM" => Ok(Command::QueryParameter { name: required_parameters(raw)?.into(), cut }),
            "QUERY_PARAMS" => query(raw),
            "START_TIME" => Ok(Command::StartTime(TimeFormat::compile(without_length(raw)?))),
            "EMIT_TIME" => Ok(Command::EmitTime(TimeFormat::compile(without_length(raw)?))),
            "COMMON_DURATION" => common_duration(raw),
            "GRPC_STATUS" => grpc(raw),
            "GRPC_STATUS_NUMBER" => {
                takes_nothing(raw)?;
                Ok(Command::GrpcStatus(grpc_status::Style::Number))
            }
            "ENVIRONMENT" => {
                let value = std::env::var(required_parameters(raw)?).unwrap_or_else(|_| "-".to_owned());
                Ok(Command::Fixed(Some(keep(&value, cut).into())))
            }
            "HOSTNAME" => {
                takes_nothing(raw)?;
                Ok(Command::Fixed(host_name().map(Into::into)))
            }
            "RESPONSE_CODE_DETAILS" => {
                Ok(Command::ResponseCodeDetails { allow_spaces: without_length(raw)? == "ALLOW_WHITESPACES" })
            }
            "REQUESTED_SERVER_NAME" => requested_server_name(raw),
            _ => without_parameters(raw),
        }
    }

    /// Whether JSON shows the value of this command, standing alone, as a number.
    pub fn is_number(&self) -> bool {
        match self {
            Command::Duration { .. } => true,
            Command::GrpcStatus(style) => *style == grpc_status::Style::Number,
            Command::Field(field) => field.is_number(),
            _ => false,
        }
    }
}

fn without_parameters(raw: &RawCommand<'_>) -> Result<Command, FormatError> {
    use TimePoint::*;
    if ALWAYS_ABSENT.contains(&raw.name) {
        return Ok(Command::Fixed(None));
    }
    if NOT_YET.contains(&raw.name) {
        return Err(FormatError::Unsupported(raw.name.to_owned()));
    }
    if let Some(command) = TlsCommand::from_name(raw.name, raw.parameters) {
        if command.is_time() {
            without_length(raw)?;
        } else {
            takes_nothing(raw)?;
        }
        return Ok(Command::Tls(command));
    }
    let milliseconds = |from, to| Command::Duration { from, to, unit: Unit::Milliseconds };
    let command = match raw.name {
        "DURATION" => milliseconds(DownstreamRxBegin, CompleteOrNow),
        "REQUEST_DURATION" => milliseconds(DownstreamRxBegin, DownstreamRxEnd),
        "REQUEST_TX_DURATION" => milliseconds(DownstreamRxBegin, UpstreamTxEnd),
        "RESPONSE_DURATION" => milliseconds(DownstreamRxBegin, UpstreamRxBegin),
        "RESPONSE_TX_DURATION" => milliseconds(UpstreamRxBegin, DownstreamTxEnd),
        name => Field::from_name(name)
            .map(Command::Field)
            .ok_or_else(|| FormatError::UnknownCommand(raw.name.to_owned()))?,
    };
    takes_nothing(raw)?;
    Ok(command)
}

fn takes_nothing(raw: &RawCommand<'_>) -> Result<(), FormatError> {
    if raw.parameters.is_empty() && raw.max_len_bytes.is_none() {
        return Ok(());
    }
    Err(FormatError::TakesNothing(raw.name.to_owned()))
}

fn required_parameters<'a>(raw: &RawCommand<'a>) -> Result<&'a str, FormatError> {
    if raw.parameters.is_empty() {
        return Err(FormatError::MissingParameters(raw.name.to_owned()));
    }
    Ok(raw.parameters)
}

fn without_length<'a>(raw: &RawCommand<'a>) -> Result<&'a str, FormatError> {
    if raw.max_len_bytes.is_some() {
        return Err(FormatError::TakesNoLength(raw.name.to_owned()));
    }
    Ok(raw.parameters)
}

fn header(raw: &RawCommand<'_>, source: HeaderSource) -> Result<Command, FormatError> {
    let (name, alternative) = header_names(raw)?;
    Ok(Command::Header { source, name, alternative, cut: Cut(raw.max_len_bytes) })
}

/// `NAME` or `NAME?ALTERNATIVE`; either may be empty and then is as if it were not there.
fn header_names(raw: &RawCommand<'_>) -> Result<(HeaderNameBuf, Option<HeaderNameBuf>), FormatError> {
    let text = required_parameters(raw)?;
    let (first, second) = text.split_once('?').unwrap_or((text, ""));
    if second.contains('?') {
        return Err(FormatError::TooManyAlternatives(text.to_owned()));
    }
    let parse =
        |name: &str| HeaderNameBuf::parse(name).map_err(|_| FormatError::InvalidHeaderName(name.to_owned()));
    match (first, second) {
        ("", name) | (name, "") => Ok((parse(name)?, None)),
        (first, second) => Ok((parse(first)?, Some(parse(second)?))),
    }
}

/// `PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH)`, each part optional.
fn path(raw: &RawCommand<'_>) -> Result<Command, FormatError> {
    let (query, source) = raw.parameters.split_once(':').unwrap_or((raw.parameters, ""));
    let with_query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        other => return Err(invalid_option("PATH", other, "'WQ'/'NQ'")),
    };
    let source = match source {
        "" | "ORIG_OR_PATH" => PathSource::OriginalOrCurrent,
        "ORIG" => PathSource::Original,
        "PATH" => PathSource::Current,
        other => return Err(invalid_option("PATH", other, "'ORIG'/'PATH'/'ORIG_OR_PATH'")),
    };
    Ok(Command::Path { with_query, source, cut: Cut(raw.max_len_bytes) })
}

/// `QUERY_PARAMS(ORIG|DECODED)`; Envoy 1.40 prints the same for both.
fn query(raw: &RawCommand<'_>) -> Result<Command, FormatError> {
    if !matches!(raw.parameters, "" | "ORIG" | "DECODED") {
        return Err(invalid_option("QUERY_PARAMS", raw.parameters, "'ORIG'/'DECODED'"));
    }
    Ok(Command::Query { source: PathSource::OriginalOrCurrent, cut: Cut(raw.max_len_bytes) })
}

fn invalid_option(command: &'static str, value: &str, allowed: &'static str) -> FormatError {
    FormatError::InvalidOption { command, value: value.to_owned(), allowed }
}

fn grpc(raw: &RawCommand<'_>) -> Result<Command, FormatError> {
    let style = match without_length(raw)? {
        "" | "CAMEL_STRING" => grpc_status::Style::Camel,
        "SNAKE_STRING" => grpc_status::Style::Snake,
        "NUMBER" => grpc_status::Style::Number,
        other => {
            return Err(invalid_option("GRPC_STATUS", other, "'CAMEL_STRING'/'SNAKE_STRING'/'NUMBER'"));
        }
    };
    Ok(Command::GrpcStatus(style))
}

/// Without TLS there is no server name; the forms that fall back to the host header wait for it.
fn requested_server_name(raw: &RawCommand<'_>) -> Result<Command, FormatError> {
    if without_length(raw)?.is_empty() {
        return Ok(Command::Field(Field::RequestedServerName));
    }
    Err(FormatError::Unsupported(format!("REQUESTED_SERVER_NAME({})", raw.parameters)))
}

/// `COMMON_DURATION(from:to[:ms|us|ns])`. A point nobody sets makes the duration absent.
fn common_duration(raw: &RawCommand<'_>) -> Result<Command, FormatError> {
    let text = required_parameters(raw)?;
    if raw.max_len_bytes.is_some() {
        return Err(FormatError::TakesNoLength(raw.name.to_owned()));
    }
    let mut parts = text.split(':');
    let (Some(from), Some(to), unit, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(FormatError::InvalidDuration(text.to_owned()));
    };
    let unit = match unit {
        None | Some("ms") => Unit::Milliseconds,
        Some("us") => Unit::Microseconds,
        Some("ns") => Unit::Nanoseconds,
        Some(other) => return Err(FormatError::InvalidPrecision(other.to_owned())),
    };
    Ok(Command::Duration { from: time_point(from), to: time_point(to), unit })
}

fn time_point(name: &str) -> TimePoint {
    match name {
        "DS_RX_BEG" => TimePoint::DownstreamRxBegin,
        "DS_RX_END" => TimePoint::DownstreamRxEnd,
        "US_CX_BEG" => TimePoint::UpstreamConnectBegin,
        "US_CX_END" => TimePoint::UpstreamConnectEnd,
        "US_TX_BEG" => TimePoint::UpstreamTxBegin,
        "US_TX_END" => TimePoint::UpstreamTxEnd,
        "US_RX_BEG" => TimePoint::UpstreamRxBegin,
        "US_RX_BODY_BEG" => TimePoint::UpstreamRxBodyBegin,
        "US_RX_END" => TimePoint::UpstreamRxEnd,
        "DS_TX_BEG" => TimePoint::DownstreamTxBegin,
        "DS_TX_END" => TimePoint::DownstreamTxEnd,
        _ => TimePoint::Never,
    }
}

/// The first bytes of `text`, never splitting a character.
fn keep(text: &str, cut: Cut) -> &str {
    let mut len = cut.0.unwrap_or(usize::MAX).min(text.len());
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    &text[..len]
}

/// The machine's name as the kernel knows it; read when a format is compiled.
fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim_end().to_owned()).filter(|name| !name.is_empty())
}
