//! Evaluates a command: appends its value to a line, or says that there is none.
//!
//! Values that come from a peer never bring a line break or NUL into a line: CR, LF and NUL are written
//! as `\r`, `\n`, `\0`. The codecs refuse them in headers already, but a query parameter may hold them
//! percent-encoded (Envoy 1.40 writes those raw, which lets a client forge log lines).

use super::address;
use super::command::{Command, Cut, Field, HeaderSource, PathSource, TimePoint, Unit};
use super::number::write_u64;
use super::{FormatContext, grpc_status};
use crate::base::clock::Instant;
use crate::base::rng::Rng;
use crate::http::{HeaderMap, HeaderNameBuf, Version, header};
use crate::stream_info::{PeerAddress, UpstreamInfo};

impl Command {
    /// Appends the value; false (and nothing appended) if it is absent.
    pub fn write(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        match self {
            Command::Header { source, name, alternative, cut } => {
                let headers = match source {
                    HeaderSource::Request => cx.request.map(|head| &head.headers),
                    HeaderSource::Response => cx.response.map(|head| &head.headers),
                    HeaderSource::RequestTrailers => cx.request_trailers,
                    HeaderSource::ResponseTrailers => cx.response_trailers,
                };
                write_outside(find_header(headers, name, alternative.as_ref()), *cut, out)
            }
            Command::HeaderWithoutQuery { name, alternative, cut } => {
                let headers = cx.request.map(|head| &head.headers);
                let value = find_header(headers, name, alternative.as_ref());
                write_outside(value.map(without_query), *cut, out)
            }
            Command::Path { with_query, source, cut } => {
                let path = find_path(cx, *source);
                write_outside(if *with_query { path } else { path.map(without_query) }, *cut, out)
            }
            Command::Query { source, cut } => {
                let query = find_path(cx, *source).and_then(query_of);
                write_outside(query.filter(|query| !query.is_empty()), *cut, out)
            }
            Command::QueryParameter { name, cut } => write_query_parameter(cx, name, *cut, out),
            Command::StartTime(format) => {
                format.write(cx.info.timing.start_time, out);
                true
            }
            Command::EmitTime(format) => {
                format.write(cx.unix_now, out);
                true
            }
            Command::Duration { from, to, unit } => write_duration(cx, *from, *to, *unit, out),
            Command::GrpcStatus(style) => grpc_status::write(*style, cx, out),
            Command::Fixed(text) => write_text(text.as_deref(), out),
            Command::ResponseCodeDetails { allow_spaces } => {
                write_details(Some(&cx.info.response_code_details), *allow_spaces, out)
            }
            Command::Tls(command) => command.write(cx, out),
            Command::Field(field) => write_field(*field, cx, out),
        }
    }
}

/// The host's address once there is a connection to it. Connections to unix sockets have no address on this side.
fn connected_to(upstream: &UpstreamInfo) -> Option<&PeerAddress> {
    let address = &upstream.host_address;
    (upstream.local_address.is_some() || address.ip().is_none()).then_some(address)
}

fn write_field(field: Field, cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
    let info = cx.info;
    let connection = &info.connection;
    let upstream = info.upstream.as_ref();
    let number = |value: u64, out: &mut Vec<u8>| {
        write_u64(value, out);
        true
    };
    match field {
        Field::Protocol => write_text(info.protocol.map(version_name), out),
        Field::ResponseCode => number(u64::from(info.response_code.unwrap_or(0)), out),
        Field::ConnectionTerminationDetails => {
            write_text(info.connection.termination_details.get().map(|details| &**details), out)
        }
        Field::ResponseFlags | Field::ResponseFlagsLong => {
            info.response_flags.write(field == Field::ResponseFlagsLong, out);
            true
        }
        Field::BytesReceived => number(info.bytes_received, out),
        Field::BytesSent => number(info.bytes_sent, out),
        Field::UpstreamWireBytesSent => number(info.wire_bytes.upstream_sent, out),
        Field::UpstreamWireBytesReceived => number(info.wire_bytes.upstream_received, out),
        Field::DownstreamWireBytesSent => number(info.wire_bytes.downstream_sent, out),
        Field::DownstreamWireBytesReceived => number(info.wire_bytes.downstream_received, out),
        Field::UpstreamHeaderBytesSent => number(info.header_bytes.upstream_sent, out),
        Field::UpstreamHeaderBytesReceived => number(info.header_bytes.upstream_received, out),
        Field::DownstreamHeaderBytesSent => number(info.header_bytes.downstream_sent, out),
        Field::DownstreamHeaderBytesReceived => number(info.header_bytes.downstream_received, out),
        Field::UpstreamHost => address::write(upstream.map(|host| &host.host_address), out),
        Field::UpstreamRemoteAddress => address::write(upstream.and_then(connected_to), out),
        Field::UpstreamRemoteAddressWithoutPort => {
            address::write_without_port(upstream.and_then(connected_to), out)
        }
        Field::UpstreamRemotePort => address::write_port(upstream.and_then(connected_to), out),
        Field::UpstreamHostName => match upstream {
            Some(host) if host.hostname.is_empty() => address::write(Some(&host.host_address), out),
            host => write_text(host.map(|host| &*host.hostname), out),
        },
        Field::UpstreamHostNameWithoutPort => match upstream {
            Some(host) if host.hostname.is_empty() => {
                address::write_without_port(Some(&host.host_address), out)
            }
            host => write_text(host.map(|host| address::host_of(&host.hostname)), out),
        },
        Field::UpstreamCluster => {
            let name = info.upstream_cluster_alt_name.as_ref().or(info.upstream_cluster.as_ref());
            write_text(name.map(|name| &**name), out)
        }
        Field::UpstreamClusterRaw => write_text(info.upstream_cluster.as_deref(), out),
        Field::UpstreamLocalAddress => {
            address::write_socket(upstream.and_then(|host| host.local_address.as_ref()), out)
        }
        Field::UpstreamLocalAddressWithoutPort => {
            address::write_ip(upstream.and_then(|host| host.local_address).map(|local| local.ip()), out)
        }
        Field::UpstreamLocalPort => match upstream.and_then(|host| host.local_address) {
            Some(local) => number(u64::from(local.port()), out),
            None => false,
        },
        Field::UpstreamProtocol => write_text(upstream.and_then(|host| host.protocol).map(version_name), out),
        Field::UpstreamRequestAttemptCount => number(u64::from(info.attempt_count), out),
        Field::UpstreamTransportFailureReason => {
            write_details(info.upstream_transport_failure_reason.as_deref(), false, out)
        }
        Field::UpstreamConnectionId => number(upstream.map_or(0, |host| host.connection_id), out),
        Field::DownstreamRemoteAddress => address::write(Some(&info.downstream_remote_address), out),
        Field::DownstreamRemoteAddressWithoutPort => {
            address::write_without_port(Some(&info.downstream_remote_address), out)
        }
        Field::DownstreamRemotePort => address::write_port(Some(&info.downstream_remote_address), out),
        Field::DownstreamDirectRemoteAddress => address::write(Some(&connection.direct_remote_address), out),
        Field::DownstreamDirectRemoteAddressWithoutPort => {
            address::write_without_port(Some(&connection.direct_remote_address), out)
        }
        Field::DownstreamDirectRemotePort => {
            address::write_port(Some(&connection.direct_remote_address), out)
        }
        Field::DownstreamLocalAddress => address::write(Some(&connection.local_address), out),
        Field::DownstreamLocalAddressWithoutPort => {
            address::write_without_port(Some(&connection.local_address), out)
        }
        Field::DownstreamLocalPort => address::write_port(Some(&connection.local_address), out),
        Field::ConnectionId => number(connection.id, out),
        Field::StreamId => write_text(info.request_id.as_deref(), out),
        Field::RouteName => write_text(non_empty(info.route_name.as_deref()), out),
        Field::VirtualClusterName => write_text(non_empty(info.virtual_cluster_name.as_deref()), out),
        Field::LocalReplyBody => {
            out.extend_from_slice(cx.local_reply_body);
            true
        }
        Field::FilterChainName => write_text(non_empty(Some(&connection.filter_chain_name)), out),
        Field::TraceId => write_text(non_empty(info.trace_id.as_deref()), out),
        Field::UniqueId => {
            write_unique_id(cx.random, out);
            true
        }
        Field::AccessLogType => write_text(Some(cx.access_log_type.as_str()), out),
        Field::DownstreamTransportFailureReason => {
            let reason = connection.transport_failure_reason.get();
            write_details(reason.map(|reason| &**reason), false, out)
        }
        Field::RequestedServerName => write_outside(
            connection.requested_server_name.as_ref().map(|name| name.as_bytes()),
            Cut(None),
            out,
        ),
    }
}

fn version_name(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
        Version::Http2 => "HTTP/2",
        Version::Http3 => "HTTP/3",
    }
}

fn non_empty(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.is_empty())
}

fn write_text(text: Option<&str>, out: &mut Vec<u8>) -> bool {
    let Some(text) = text else { return false };
    out.extend_from_slice(text.as_bytes());
    true
}

/// A value made of words, which stays one word in a log line; absent if empty.
fn write_details(text: Option<&str>, allow_spaces: bool, out: &mut Vec<u8>) -> bool {
    let Some(text) = non_empty(text) else { return false };
    let start = out.len();
    out.extend_from_slice(text.as_bytes());
    if !allow_spaces {
        out[start..].iter_mut().filter(|byte| **byte == b' ').for_each(|byte| *byte = b'_');
    }
    true
}

/// A value that a peer chose.
pub(super) fn write_outside(value: Option<&[u8]>, cut: Cut, out: &mut Vec<u8>) -> bool {
    let Some(value) = value else { return false };
    let mut rest = &value[..value.len().min(cut.0.unwrap_or(usize::MAX))];
    while let Some(at) = memchr::memchr3(b'\r', b'\n', 0, rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\r' => b"\\r",
            b'\n' => b"\\n",
            _ => b"\\0",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    true
}

fn find_header<'a>(
    headers: Option<&'a HeaderMap>,
    name: &HeaderNameBuf,
    alternative: Option<&HeaderNameBuf>,
) -> Option<&'a [u8]> {
    let headers = headers?;
    headers.get(name).or_else(|| headers.get(alternative?))
}

fn find_path<'a>(cx: &FormatContext<'a>, source: PathSource) -> Option<&'a [u8]> {
    let headers = &cx.request?.headers;
    let original = || headers.get(header::X_ENVOY_ORIGINAL_PATH);
    let current = || headers.get(header::PATH);
    match source {
        PathSource::Current => current(),
        PathSource::Original => original(),
        PathSource::OriginalOrCurrent => original().or_else(current),
    }
}

fn without_query(path: &[u8]) -> &[u8] {
    &path[..memchr::memchr(b'?', path).unwrap_or(path.len())]
}

fn query_of(path: &[u8]) -> Option<&[u8]> {
    Some(&path[memchr::memchr(b'?', path)? + 1..])
}

/// The first parameter of this name, percent-decoded and then cut.
fn write_query_parameter(cx: &FormatContext<'_>, name: &str, cut: Cut, out: &mut Vec<u8>) -> bool {
    let Some(query) = cx.request.and_then(|head| query_of(head.path())) else { return false };
    for parameter in query.split(|byte| *byte == b'&') {
        let end = memchr::memchr(b'=', parameter).unwrap_or(parameter.len());
        if !percent_decoded(&parameter[..end]).eq(name.bytes()) {
            continue;
        }
        let value = percent_decoded(parameter.get(end + 1..).unwrap_or_default());
        for byte in value.take(cut.0.unwrap_or(usize::MAX)) {
            write_outside(Some(&[byte]), Cut(None), out);
        }
        return true;
    }
    false
}

fn percent_decoded(text: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        if let (b'%', [high, low, after @ ..]) = (first, after)
            && let (Some(high), Some(low)) = (hex_digit(*high), hex_digit(*low))
        {
            rest = after;
            return Some(high << 4 | low);
        }
        rest = after;
        Some(first)
    })
}

fn hex_digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

fn write_duration(
    cx: &FormatContext<'_>,
    from: TimePoint,
    to: TimePoint,
    unit: Unit,
    out: &mut Vec<u8>,
) -> bool {
    let (Some(from), Some(to)) = (point_in_time(cx, from), point_in_time(cx, to)) else { return false };
    if to < from {
        return false;
    }
    let nanos = to.as_nanos() - from.as_nanos();
    let value = match unit {
        Unit::Milliseconds => nanos / 1_000_000,
        Unit::Microseconds => nanos / 1_000,
        Unit::Nanoseconds => nanos,
    };
    write_u64(value, out);
    true
}

fn point_in_time(cx: &FormatContext<'_>, point: TimePoint) -> Option<Instant> {
    let timing = &cx.info.timing;
    match point {
        TimePoint::DownstreamRxBegin => Some(timing.start),
        TimePoint::DownstreamRxEnd => timing.last_downstream_rx,
        TimePoint::UpstreamConnectBegin => timing.upstream_connect_start,
        TimePoint::UpstreamConnectEnd => timing.upstream_connect_complete,
        TimePoint::UpstreamTxBegin => timing.first_upstream_tx,
        TimePoint::UpstreamTxEnd => timing.last_upstream_tx,
        TimePoint::UpstreamRxBegin => timing.first_upstream_rx,
        TimePoint::UpstreamRxBodyBegin => timing.first_upstream_rx_body,
        TimePoint::UpstreamRxEnd => timing.last_upstream_rx,
        TimePoint::DownstreamTxBegin => timing.first_downstream_tx,
        TimePoint::DownstreamTxEnd => timing.last_downstream_tx,
        TimePoint::CompleteOrNow => Some(timing.complete.unwrap_or(cx.now)),
        TimePoint::Never => None,
    }
}

/// A version 4 UUID (RFC 9562 section 5.4) that follows from `random` and the place in the line, so that
/// two in one line differ.
fn write_unique_id(random: u64, out: &mut Vec<u8>) {
    let mut rng = Rng::from_seed(random ^ (out.len() as u64).rotate_left(32));
    let (high, low) = (rng.next_u64(), rng.next_u64());
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    for (index, byte) in high.to_be_bytes().into_iter().chain(low.to_be_bytes()).enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";
