//! The admin server's own access log (`envoy.config.bootstrap.v3.Admin.access_log`).

use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::HOST;

use crate::access_log::{AccessLogSet, flush_thread};
use crate::base::clock::{Instant, UnixTime};
use crate::formatter::{AccessLogType, FormatContext};
use crate::http::{Method, RequestHead, Version};
use crate::io::Address;
use crate::stream_info::{ConnectionInfo, PeerAddress, StreamInfo, Timing};

/// What a line says of the answer.
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) body_bytes: u64,
    pub(super) took: Duration,
}

/// Both ends of a connection, as lines show them.
pub(super) fn connection_info(id: u64, local: &Address, remote: Option<SocketAddr>) -> Rc<ConnectionInfo> {
    let local_address = match local {
        Address::Ip(ip) => PeerAddress::Ip(*ip),
        Address::Unix(path) => PeerAddress::Unix(path.to_string_lossy().into()),
    };
    let remote_address = remote.map_or_else(|| PeerAddress::Unix(Arc::from("")), PeerAddress::Ip);
    Rc::new(ConnectionInfo::new(id, local_address, remote_address))
}

/// Writes the line and hands it to the writer at once: requests are rare here.
pub(super) fn log(
    logs: &AccessLogSet,
    connection: &Rc<ConnectionInfo>,
    request: &Request<Incoming>,
    answered: &Answered,
) {
    if logs.is_empty() {
        return;
    }
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let host = request.headers().get(HOST).map_or(b"".as_slice(), |host| host.as_bytes());
    let method = Method::from_bytes(request.method().as_str().as_bytes());
    let mut head = RequestHead::new(method, "http", host, target.as_bytes());
    for (name, value) in request.headers().iter().filter(|(name, _)| *name != HOST) {
        head.headers.append(name.as_str(), value.as_bytes());
    }
    let end = Instant::from_nanos(u64::try_from(answered.took.as_nanos()).unwrap_or(u64::MAX));
    let unix_now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let unix_nanos =
        |time: Duration| UnixTime::from_nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    let started = unix_nanos(unix_now.saturating_sub(answered.took));
    let mut info = StreamInfo::new(
        connection.clone(),
        Some(Version::Http11),
        Timing::starting(Instant::default(), started),
    );
    info.timing.complete = Some(end);
    info.response_code = Some(answered.status);
    info.response_code_details = Cow::Borrowed("admin_filter_response");
    info.bytes_sent = answered.body_bytes;
    logs.log(&FormatContext {
        request: Some(&head),
        access_log_type: AccessLogType::DownstreamEnd,
        ..FormatContext::new(&info, end, unix_nanos(unix_now))
    });
    flush_thread();
}
