//! One exchange on a HTTP/1 connection (RFC 9112): bodies pass through as the received chunks, nothing is
//! allocated. Never pipelines and never decides about retries.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::UpstreamEvent;
use super::account::RequestAccount;
use super::connection::{CloseCause, Connection, Exchange, Transport};
use crate::buf::{Chain, Chunk};
use crate::http::h1::{self, Event, Framing, ResponseEvent, ResponseStart};
use crate::http::{HeaderMap, Method, RequestHead, header};
use crate::io::Address;
use crate::tls::HandshakeFacts;
use crate::upstream::breaker::Permit;
use crate::upstream::host::Host;
use crate::upstream::reset::UpstreamReset;

/// The origin closed in the middle of a response; Envoy's codec calls that a protocol error.
const BROKEN_OFF: UpstreamReset = UpstreamReset::ProtocolError("response broke off");

/// One exchange. See [`super::UpstreamStream`], whose methods these are.
pub struct H1Stream {
    host: Rc<Host>,
    connection: Rc<Connection>,
    /// None only while being dropped.
    transport: Option<Box<Transport>>,
    /// None only while being dropped.
    account: Option<RequestAccount>,
    is_reused: bool,
    sending: Sending,
    receiving: Receiving,
    /// Decoded and not yet handed out.
    next: Option<ResponseEvent>,
    is_backed_up: bool,
    keep_alive: bool,
    response_started: bool,
    failure: Option<UpstreamReset>,
}

/// How far the request is.
enum Sending {
    Nothing,
    /// The body, so many bytes of it being left.
    Length(u64),
    Chunked,
    /// Waits for the origin to accept another protocol: its bytes are kept until then.
    BeforeTunnel {
        held: Chain,
        end_stream: bool,
    },
    Tunnel,
    Done,
}

/// How far the response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Head,
    Body,
    Done,
}

impl H1Stream {
    pub(super) fn new(host: Rc<Host>, exchange: Exchange, permit: Permit) -> H1Stream {
        H1Stream {
            account: Some(RequestAccount::open(Rc::clone(&host), permit)),
            host,
            connection: exchange.connection,
            transport: Some(exchange.transport),
            is_reused: exchange.is_reused,
            sending: Sending::Nothing,
            receiving: Receiving::Head,
            next: None,
            is_backed_up: false,
            keep_alive: !exchange.is_last,
            response_started: false,
            failure: None,
        }
    }

    pub(super) fn send_head(&mut self, head: &RequestHead, end_stream: bool) {
        let method = head.method();
        let is_upgrade = head.headers.contains(header::UPGRADE);
        let may_tunnel = method == Method::Connect || (is_upgrade && !end_stream);
        let framing = if may_tunnel { Framing::None } else { h1::request_framing(head, end_stream) };
        let case = self.host.cluster.info.h1_header_case;
        let Some(transport) = &mut self.transport else { return };
        transport.stream.with_write_buffer(|buffer| h1::encode_request(head, framing, case, buffer));
        transport.decoder.expect_response(method, is_upgrade);
        self.sending = match framing {
            _ if may_tunnel => Sending::BeforeTunnel { held: Chain::new(), end_stream },
            Framing::Length(left) if left > 0 => Sending::Length(left),
            Framing::Chunked => Sending::Chunked,
            _ => Sending::Done,
        };
        if end_stream && matches!(self.sending, Sending::Chunked | Sending::Length(_)) {
            self.send_data(Chunk::new(), true);
        }
    }

    pub(super) fn send_data(&mut self, chunk: Chunk, end_stream: bool) {
        let Some(transport) = &mut self.transport else { return };
        let stream = &mut transport.stream;
        let len = chunk.len();
        match &mut self.sending {
            Sending::Length(left) => {
                if len as u64 > *left {
                    return self.fail(UpstreamReset::LocalReset);
                }
                *left -= len as u64;
                let is_short = end_stream && *left > 0;
                if *left == 0 {
                    self.sending = Sending::Done;
                }
                if len > 0 {
                    stream.write_chunk(chunk);
                }
                if is_short {
                    self.fail(UpstreamReset::LocalReset);
                }
            }
            Sending::Chunked => {
                if len > 0 {
                    stream.with_write_buffer(|buffer| h1::encode_chunk_start(len, buffer));
                    stream.write_chunk(chunk);
                    stream.write(h1::CHUNK_END);
                }
                if end_stream {
                    stream.write(h1::LAST_CHUNK);
                    self.sending = Sending::Done;
                }
            }
            Sending::BeforeTunnel { held, end_stream: end } => {
                held.push(chunk);
                *end |= end_stream;
            }
            Sending::Tunnel => {
                stream.write_chunk(chunk);
                if end_stream {
                    stream.shutdown_write();
                    self.sending = Sending::Done;
                }
            }
            Sending::Done if len == 0 => {}
            Sending::Nothing | Sending::Done => self.fail(UpstreamReset::LocalReset),
        }
    }

    pub(super) fn send_trailers(&mut self, trailers: &HeaderMap) {
        let info = &self.host.cluster.info;
        let Some(transport) = &mut self.transport else { return };
        if matches!(self.sending, Sending::Chunked) && info.config.http1.enable_trailers {
            let case = info.h1_header_case;
            transport.stream.with_write_buffer(|buffer| h1::encode_trailers(trailers, case, buffer));
            self.sending = Sending::Done;
        } else {
            self.send_data(Chunk::new(), true);
        }
    }

    pub(super) fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let info = &self.host.cluster.info;
        let high = info.high_watermark_bytes;
        let Some(transport) = &mut self.transport else { return Poll::Ready(()) };
        if let Sending::BeforeTunnel { held, .. } = &self.sending
            && held.len_bytes() > high
            && self.failure.is_none()
        {
            // The response, which `poll_event` waits for, lets it go on.
            return Poll::Pending;
        }
        if !self.is_backed_up {
            if transport.stream.queued_bytes() <= high {
                return Poll::Ready(());
            }
            self.is_backed_up = true;
            info.stats.traffic.upstream_flow_control_backed_up_total.inc();
        }
        match transport.stream.poll_drained(cx, high / 2) {
            Poll::Pending => Poll::Pending,
            // A broken connection takes everything; receiving tells what became of the exchange.
            Poll::Ready(_) => {
                self.is_backed_up = false;
                info.stats.traffic.upstream_flow_control_drained_total.inc();
                Poll::Ready(())
            }
        }
    }

    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<UpstreamEvent, UpstreamReset>> {
        if let Some(failure) = &self.failure {
            return Poll::Ready(Err(failure.clone()));
        }
        if self.receiving == Receiving::Done {
            return Poll::Ready(Err(UpstreamReset::LocalReset));
        }
        let decoded = match self.next.take() {
            Some(event) => Ok(event),
            None => match self.poll_decode(cx) {
                Poll::Ready(decoded) => decoded,
                Poll::Pending => return Poll::Pending,
            },
        };
        Poll::Ready(
            decoded.and_then(|event| self.on_event(event)).inspect_err(|reset| self.fail(reset.clone())),
        )
    }

    /// See [`UpstreamStream::take_body_part`](super::UpstreamStream::take_body_part).
    pub(super) fn take_body_part(&mut self, cx: &mut Context<'_>) -> Option<Chunk> {
        if self.receiving != Receiving::Body || self.next.is_some() || self.failure.is_some() {
            return None;
        }
        let transport = self.transport.as_mut().filter(|transport| transport.input.is_empty())?;
        // The end and errors stay, and are met again by `poll_event`.
        let Poll::Ready(Ok(Some(chunk))) = transport.stream.poll_recv(cx) else { return None };
        if transport.decoder.pass_body(chunk.len()) {
            return Some(chunk);
        }
        transport.input = chunk;
        None
    }

    pub(super) fn host(&self) -> &Rc<Host> {
        &self.host
    }

    pub(super) fn connection_id(&self) -> u64 {
        self.connection.id()
    }

    pub(super) fn local_address(&self) -> Option<Address> {
        self.transport.as_ref()?.local_address.clone()
    }

    pub(super) fn tls_facts(&self) -> Option<Rc<HandshakeFacts>> {
        self.transport.as_ref()?.stream.tls_facts()
    }

    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    pub(super) fn response_started(&self) -> bool {
        self.response_started
    }

    pub(super) fn wire_bytes(&self) -> (u64, u64) {
        let Some(transport) = &self.transport else { return (0, 0) };
        let before = transport.bytes_before();
        let (sent, received) = (transport.stream.bytes_sent(), transport.stream.bytes_received());
        (sent.saturating_sub(before.0), received.saturating_sub(before.1))
    }

    /// Receives until an event is decoded.
    fn poll_decode(&mut self, cx: &mut Context<'_>) -> Poll<Result<ResponseEvent, UpstreamReset>> {
        let Some(transport) = &mut self.transport else {
            return Poll::Ready(Err(UpstreamReset::LocalReset));
        };
        loop {
            if !transport.input.is_empty()
                && let Some(event) = decode(transport)?
            {
                return Poll::Ready(Ok(event));
            }
            match transport.stream.poll_recv(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Some(chunk))) => {
                    self.response_started = true;
                    transport.input = chunk;
                }
                Poll::Ready(Ok(None)) => {
                    self.keep_alive = false;
                    let end = transport.decoder.decode_eof();
                    if end.is_err() && (self.receiving == Receiving::Body || self.response_started) {
                        // Envoy counts a body that breaks off so, too; `fail` does it.
                        return Poll::Ready(Err(BROKEN_OFF));
                    }
                    return Poll::Ready(end.ok().flatten().ok_or(UpstreamReset::ConnectionTermination));
                }
                Poll::Ready(Err(_)) if self.response_started && self.receiving == Receiving::Head => {
                    return Poll::Ready(Err(BROKEN_OFF));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(UpstreamReset::ConnectionTermination)),
            }
        }
    }

    fn on_event(&mut self, event: ResponseEvent) -> Result<UpstreamEvent, UpstreamReset> {
        match event {
            Event::Head(start) if start.interim => Ok(UpstreamEvent::Informational(start.head)),
            Event::Head(start) => self.on_head(start),
            Event::Data(chunk) => {
                let end_stream = self.ends_here()?;
                Ok(UpstreamEvent::Data { chunk, end_stream })
            }
            Event::Trailers(trailers) => {
                self.receiving = Receiving::Done;
                Ok(UpstreamEvent::Trailers(trailers))
            }
            Event::End => {
                self.receiving = Receiving::Done;
                Ok(UpstreamEvent::Data { chunk: Chunk::new(), end_stream: true })
            }
        }
    }

    fn on_head(&mut self, start: ResponseStart) -> Result<UpstreamEvent, UpstreamReset> {
        self.receiving = Receiving::Body;
        self.keep_alive &= start.keep_alive;
        if start.announces_close {
            self.host.cluster_info().stats.traffic.upstream_cx_close_notify.inc();
        }
        let counters = self.host.counters();
        if start.head.status() >= 500 { &counters.rq_error } else { &counters.rq_success }.inc();
        if let Some(transport) = &mut self.transport {
            transport.origin_keep_alive = keep_alive_timeout(&start.head.headers);
        }
        if start.framing == Framing::Tunnel {
            self.keep_alive = false;
            self.open_tunnel();
        } else if let Sending::BeforeTunnel { .. } = self.sending {
            // The origin goes on with HTTP: what was meant for the tunnel is not sent.
            self.keep_alive = false;
            self.sending = Sending::Done;
        }
        let end_stream = self.ends_here()?;
        Ok(UpstreamEvent::Head { head: start.head, end_stream })
    }

    fn open_tunnel(&mut self) {
        let Sending::BeforeTunnel { mut held, end_stream } =
            std::mem::replace(&mut self.sending, Sending::Tunnel)
        else {
            return;
        };
        while let Some(chunk) = held.pop() {
            self.send_data(chunk, false);
        }
        if end_stream {
            self.send_data(Chunk::new(), true);
        }
    }

    /// Whether what was received says that the response ends with the event at hand. Saves its receiver a
    /// turn; what follows otherwise is kept for the next one.
    fn ends_here(&mut self) -> Result<bool, UpstreamReset> {
        let Some(transport) = &mut self.transport else { return Ok(false) };
        self.next = decode(transport)?;
        let is_end = matches!(self.next, Some(Event::End));
        if is_end {
            self.next = None;
            self.receiving = Receiving::Done;
        }
        Ok(is_end)
    }

    fn fail(&mut self, reset: UpstreamReset) {
        if self.failure.is_some() {
            return;
        }
        let info = &self.host.cluster.info;
        if let UpstreamReset::ProtocolError(_) = reset {
            info.stats.traffic.upstream_cx_protocol_error.inc();
        }
        if self.receiving == Receiving::Head {
            self.host.counters().rq_error.inc();
        }
        self.failure = Some(reset);
    }

    /// Both messages complete, and nothing speaks against another exchange.
    fn leaves_connection_usable(&self, transport: &Transport) -> bool {
        self.keep_alive
            && self.failure.is_none()
            && self.receiving == Receiving::Done
            && matches!(self.sending, Sending::Done)
            && transport.input.is_empty()
            && transport.stream.is_reusable()
    }
}

impl Drop for H1Stream {
    fn drop(&mut self) {
        // Given back first: the connection may serve the next in the queue at once.
        self.account = None;
        let Some(transport) = self.transport.take() else { return };
        let connection = Rc::clone(&self.connection);
        let was_never_used = matches!(self.sending, Sending::Nothing) && transport.stream.is_reusable();
        if was_never_used || self.leaves_connection_usable(&transport) {
            return connection.end_exchange(transport);
        }
        let is_active = self.receiving != Receiving::Done;
        let cause = match self.failure {
            Some(UpstreamReset::ConnectionTermination | BROKEN_OFF) => CloseCause::Remote,
            _ => CloseCause::Local,
        };
        connection.abandon_exchange(transport, cause, is_active);
    }
}

impl std::fmt::Debug for H1Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "H1Stream({:?}, connection {})", self.host, self.connection.id())
    }
}

fn decode(transport: &mut Transport) -> Result<Option<ResponseEvent>, UpstreamReset> {
    transport
        .decoder
        .decode(&mut transport.input)
        .map_err(|error| UpstreamReset::ProtocolError(error.details()))
}

/// From `keep-alive: timeout=5`: how long the connection may be idle so that the origin's timeout does not
/// race with a request of ours. A second less than it says, but at least half.
fn keep_alive_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = std::str::from_utf8(headers.get(header::KEEP_ALIVE)?).ok()?;
    let (_, value) = text
        .split(',')
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?;
    let timeout = Duration::from_secs(value.trim().parse::<u32>().ok()?.into());
    Some((timeout / 2).max(timeout.saturating_sub(Duration::from_secs(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origins_keep_alive_timeout_is_undercut() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.append(header::KEEP_ALIVE, value.as_bytes());
            keep_alive_timeout(&headers)
        };
        assert_eq!(of("timeout=5, max=100"), Some(Duration::from_secs(4)));
        assert_eq!(of("max=100, Timeout = 1"), Some(Duration::from_millis(500)));
        assert_eq!(of("timeout=0"), Some(Duration::ZERO));
        assert_eq!(of("timeout=-1"), None);
        assert_eq!(of("max=3"), None);
    }
}
