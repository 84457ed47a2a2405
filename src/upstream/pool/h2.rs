//! One exchange on a HTTP/2 connection (RFC 9113): bodies pass through as the received chunks. Never decides
//! about retries.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::UpstreamEvent;
use super::account::RequestAccount;
use super::h2_connection::{Exchange, H2Connection};
use crate::buf::Chunk;
use crate::http::h2::{
    Connection, ConnectionError, ErrorCode, OpenError, ResponseEvent, StreamError, StreamId,
};
use crate::http::{HeaderMap, Method, RequestHead, ResponseHead, header};
use crate::io::Address;
use crate::tls::HandshakeFacts;
use crate::upstream::breaker::Permit;
use crate::upstream::host::Host;
use crate::upstream::reset::UpstreamReset;

/// One exchange. See [`super::UpstreamStream`], whose methods these are.
pub struct H2Stream {
    account: RequestAccount,
    connection: Rc<H2Connection>,
    is_reused: bool,
    stage: Stage,
    /// The response is complete.
    is_received: bool,
    /// The response's head has come.
    has_head: bool,
    is_backed_up: bool,
    /// The upgrade that the request asks for, sent as an extended CONNECT (RFC 8441).
    upgrade: Option<Vec<u8>>,
    /// The host certainly did nothing with the request.
    is_unprocessed: bool,
}

/// How far the exchange is.
enum Stage {
    /// It has a place on the connection.
    Reserved,
    Open(StreamId),
    Failed(UpstreamReset),
}

impl H2Stream {
    pub(super) fn new(host: Rc<Host>, exchange: Exchange, permit: Permit) -> H2Stream {
        H2Stream {
            account: RequestAccount::open(host, permit),
            connection: exchange.connection,
            is_reused: exchange.is_reused,
            stage: Stage::Reserved,
            is_received: false,
            has_head: false,
            is_backed_up: false,
            upgrade: None,
            is_unprocessed: false,
        }
    }

    pub(super) fn send_head(&mut self, head: &RequestHead, end_stream: bool) {
        if !matches!(self.stage, Stage::Reserved) {
            return;
        }
        self.connection.on_stream_opened();
        self.upgrade = head.headers.get(header::UPGRADE).map(<[u8]>::to_vec);
        let opened = match (self.connection.link(), &self.upgrade) {
            (Some(link), None) => link.with(|codec| codec.open(head, end_stream)),
            (Some(link), Some(protocol)) => {
                let head = extended_connect(head, protocol);
                link.with(|codec| codec.open(&head, end_stream))
            }
            (None, _) => Err(OpenError::Over),
        };
        self.stage = match opened {
            Ok(id) => Stage::Open(id),
            Err(OpenError::ExtendedConnectNotOffered) => Stage::Failed(UpstreamReset::LocalReset),
            Err(_) => {
                // Nothing was sent: the request may go to another connection.
                self.is_unprocessed = true;
                Stage::Failed(UpstreamReset::ConnectionTermination)
            }
        };
    }

    pub(super) fn send_data(&mut self, chunk: Chunk, end_stream: bool) {
        self.with_stream(|codec, id| codec.send_data(id, chunk, end_stream));
    }

    pub(super) fn send_trailers(&mut self, trailers: &HeaderMap) {
        self.with_stream(|codec, id| codec.send_trailers(id, trailers));
    }

    pub(super) fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self.with_stream(|codec, id| codec.poll_send_ready(id, cx));
        let is_ready = ready.is_none_or(|ready| ready.is_ready());
        if self.is_backed_up == is_ready {
            self.is_backed_up = !is_ready;
            let stats = &self.host().cluster.info.stats.traffic;
            if is_ready {
                stats.upstream_flow_control_drained_total.inc();
            } else {
                stats.upstream_flow_control_backed_up_total.inc();
            }
        }
        // A broken stream takes everything; receiving tells what became of the exchange.
        if is_ready { Poll::Ready(()) } else { Poll::Pending }
    }

    pub(super) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Result<UpstreamEvent, UpstreamReset>> {
        if let Stage::Failed(reset) = &self.stage {
            return Poll::Ready(Err(reset.clone()));
        }
        match self.with_stream(|codec, id| codec.poll_response(id, cx)) {
            Some(Poll::Ready(Ok(event))) => Poll::Ready(Ok(self.on_event(event))),
            Some(Poll::Ready(Err(error))) => Poll::Ready(Err(self.fail(error))),
            Some(Poll::Pending) => Poll::Pending,
            None => Poll::Ready(Err(UpstreamReset::LocalReset)),
        }
    }

    pub(super) fn host(&self) -> &Rc<Host> {
        self.account.host()
    }

    pub(super) fn connection_id(&self) -> u64 {
        self.connection.id()
    }

    pub(super) fn local_address(&self) -> Option<Address> {
        self.connection.local_address()
    }

    pub(super) fn tls_facts(&self) -> Option<Rc<HandshakeFacts>> {
        self.connection.tls_facts()
    }

    pub(super) fn is_reused(&self) -> bool {
        self.is_reused
    }

    pub(super) fn is_unprocessed(&self) -> bool {
        self.is_unprocessed
    }

    pub(super) fn response_started(&self) -> bool {
        self.peek_stream(|codec, id| codec.response_started(id)).unwrap_or(false)
    }

    pub(super) fn wire_bytes(&self) -> (u64, u64) {
        let (received, sent) = self.peek_stream(|codec, id| codec.wire_bytes(id)).unwrap_or((0, 0));
        (sent, received)
    }

    fn on_event(&mut self, event: ResponseEvent) -> UpstreamEvent {
        match event {
            ResponseEvent::Informational(head) => UpstreamEvent::Informational(head),
            ResponseEvent::Head { mut head, end_stream } => {
                self.on_head(&head);
                if let (Some(protocol), 200..300) = (&self.upgrade, head.status()) {
                    head.set_status(101);
                    head.headers.set(header::UPGRADE, protocol);
                    head.headers.set(header::CONNECTION, b"Upgrade");
                }
                self.is_received = end_stream;
                UpstreamEvent::Head { head, end_stream }
            }
            ResponseEvent::Data { chunk, end_stream } => {
                self.is_received = end_stream;
                UpstreamEvent::Data { chunk, end_stream }
            }
            ResponseEvent::Trailers(trailers) => {
                self.is_received = true;
                UpstreamEvent::Trailers(trailers)
            }
        }
    }

    fn on_head(&mut self, head: &ResponseHead) {
        self.has_head = true;
        let counters = self.host().counters();
        if head.status() >= 500 { &counters.rq_error } else { &counters.rq_success }.inc();
    }

    fn fail(&mut self, error: StreamError) -> UpstreamReset {
        let stats = &self.host().cluster.info.stats.traffic;
        let reset = match error {
            // Envoy tells of a head beyond the limits as if the host had reset the stream.
            StreamError::Reset(_) | StreamError::HeadersTooLarge(_) => {
                stats.upstream_rq_rx_reset.inc();
                UpstreamReset::RemoteReset
            }
            StreamError::Refused | StreamError::Unprocessed => UpstreamReset::RemoteRefusedStream,
            StreamError::Local(_) => UpstreamReset::LocalReset,
            StreamError::InvalidMessage(_) | StreamError::Protocol(_) => {
                UpstreamReset::ProtocolError(error.details())
            }
            StreamError::Connection(ConnectionError::Local(_)) | StreamError::Closed => {
                UpstreamReset::ConnectionTermination
            }
            StreamError::Connection(error) => UpstreamReset::ProtocolError(error.details()),
        };
        self.is_unprocessed = error == StreamError::Unprocessed;
        if !self.has_head {
            self.host().counters().rq_error.inc();
        }
        self.release();
        self.stage = Stage::Failed(reset.clone());
        reset
    }

    fn with_stream<R>(&mut self, use_it: impl FnOnce(&mut Connection, StreamId) -> R) -> Option<R> {
        self.peek_stream(use_it)
    }

    fn peek_stream<R>(&self, use_it: impl FnOnce(&mut Connection, StreamId) -> R) -> Option<R> {
        let (Stage::Open(id), Some(link)) = (&self.stage, self.connection.link()) else { return None };
        Some(link.with(|codec| use_it(codec, *id)))
    }

    /// Lets go of the stream, if there is one.
    fn release(&mut self) {
        self.with_stream(|codec, id| codec.release(id));
    }
}

impl Drop for H2Stream {
    fn drop(&mut self) {
        match self.stage {
            Stage::Reserved => self.connection.on_stream_opened(),
            Stage::Open(id) => {
                if !self.is_received {
                    self.host().cluster.info.stats.traffic.upstream_rq_tx_reset.inc();
                    self.with_stream(|codec, _| codec.reset(id, ErrorCode::CANCEL));
                }
                self.release();
            }
            Stage::Failed(_) => {}
        }
        self.connection.end_exchange();
    }
}

/// The request for an upgrade as HTTP/2 has it (RFC 8441 section 5).
fn extended_connect(head: &RequestHead, protocol: &[u8]) -> RequestHead {
    let mut head = head.clone();
    head.set_method(Method::Connect);
    head.headers.remove(header::UPGRADE);
    head.headers.remove(header::CONNECTION);
    head.headers.append(header::PROTOCOL, protocol);
    head
}

impl std::fmt::Debug for H2Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "H2Stream({:?}, connection {})", self.host(), self.connection.id())
    }
}
