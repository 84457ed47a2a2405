//! A connection of either side: all its state, and the calls that concern it as a whole.
//!
//! The other files of this directory are its parts: `input` takes bytes apart into frames, `headers`, `data` and `control` act on
//! them; `requests` and `responses` are what a server and a client do with streams, `consume` and `produce` what both do;
//! `output` writes; `closing` ends. Each has its own rules and none calls back out: users are woken, not called.

mod closing;
mod consume;
mod control;
mod data;
mod headers;
mod input;
mod output;
mod produce;
mod requests;
mod responses;

use std::collections::VecDeque;
use std::fmt;
use std::task::{Context, Poll, Waker};

use closing::Closing;
pub use closing::ConnectionEnd;
use control::PeerSettings;
use headers::OpenBlock;
use input::Input;
pub use output::Output;
use produce::RecentResets;
pub use requests::IncomingRequest;
pub use responses::ResponseEvent;

#[cfg(doc)]
use super::error::ErrorCode;
use super::flood::FloodGuard;
use super::frame::{self, DEFAULT_WINDOW_BYTES, setting};
use super::hpack::{Decoder, Encoder};
use super::settings::H2Settings;
use super::stream::{remember, wake};
use super::stream_table::StreamTable;
use crate::buf::take_vec;

/// Identifies a stream within its connection. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(u32);

impl StreamId {
    /// The number on the wire, 1 to 2^31 - 1.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which side of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

/// One side of a HTTP/2 connection. See the module's documentation for how it is driven.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    settings: H2Settings,
    peer: PeerSettings,
    streams: StreamTable,
    /// Streams that count against the limit of concurrent ones: neither closed nor idle.
    open_streams: u32,
    guard: FloodGuard,
    counts: Counts,

    input: Input,
    decoder: Decoder,
    /// A header block of which more is to come.
    block: Option<Box<OpenBlock>>,
    /// The largest identifier that the peer has used.
    last_peer_stream: u32,
    /// Requests that nobody has taken yet.
    incoming: VecDeque<IncomingRequest>,
    /// What the peer may still send on all streams together.
    receive_window_bytes: i64,
    /// Received data of all streams that was not taken yet.
    held_bytes: usize,

    encoder: Encoder,
    /// Frames to be sent before any data.
    control: Vec<u8>,
    /// Frames in `control`, and how many of them are answers and resets.
    queued_frames: u32,
    queued_control_frames: u32,
    /// Streams that have data and a window, in the order in which they take turns.
    ready: VecDeque<u32>,
    /// What may be sent on all streams together.
    send_window_bytes: i64,
    /// The identifier of the next stream that this side opens.
    next_stream: u32,
    resets: RecentResets,
    output_waker: Option<Waker>,

    /// SETTINGS that the peer has not acknowledged.
    unacknowledged_settings: u32,
    ping_outstanding: bool,
    pings_sent: u64,
    closing: Closing,
}

/// What happened on a connection since it was last asked, in the words of Envoy's `http2.` statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Malformed messages that ended their stream.
    pub rx_messaging_error: u64,
    /// RST_STREAM frames received for streams that were open.
    pub rx_reset: u64,
    /// RST_STREAM frames sent.
    pub tx_reset: u64,
    /// Requests refused because too many streams were open.
    pub stream_refused_errors: u64,
    /// Heads or trailers with more fields than allowed.
    pub header_overflow: u64,
    /// Heads or trailers with more bytes than allowed.
    pub header_list_size_too_large: u64,
    /// Trailers received.
    pub trailers: u64,
    /// GOAWAY frames sent.
    pub goaway_sent: u64,
    /// Requests that the client reset before anybody had taken them: they were never handed out.
    pub reset_before_taken: u64,
}

impl Connection {
    /// The server's side of a new connection; its SETTINGS wait to be written.
    pub fn server(settings: H2Settings) -> Connection {
        let mut announced = Announced::default();
        announced.add(setting::HEADER_TABLE_SIZE, settings.header_table_bytes);
        announced.add(setting::ENABLE_CONNECT_PROTOCOL, settings.allow_extended_connect.into());
        announced.add(setting::MAX_CONCURRENT_STREAMS, settings.max_concurrent_streams);
        announced.add(setting::INITIAL_WINDOW_SIZE, settings.stream_window_bytes);
        Connection::new(Role::Server, settings, announced)
    }

    /// The client's side of a new connection; its preface and SETTINGS wait to be written.
    pub fn client(settings: H2Settings) -> Connection {
        let mut announced = Announced::default();
        announced.add(setting::HEADER_TABLE_SIZE, settings.header_table_bytes);
        announced.add(setting::ENABLE_PUSH, 0);
        announced.add(setting::INITIAL_WINDOW_SIZE, settings.stream_window_bytes);
        Connection::new(Role::Client, settings, announced)
    }

    fn new(role: Role, settings: H2Settings, announced: Announced) -> Connection {
        let mut control = take_vec();
        if role == Role::Client {
            control.extend_from_slice(frame::PREFACE);
        }
        frame::put_settings(announced.as_slice(), &mut control);
        let receive_window_bytes = settings.connection_window_bytes.max(DEFAULT_WINDOW_BYTES);
        let settings = H2Settings { connection_window_bytes: receive_window_bytes, ..settings };
        if receive_window_bytes > DEFAULT_WINDOW_BYTES {
            frame::put_window_update(0, receive_window_bytes - DEFAULT_WINDOW_BYTES, &mut control);
        }
        Connection {
            role,
            settings,
            peer: PeerSettings::default(),
            streams: StreamTable::default(),
            open_streams: 0,
            guard: FloodGuard::new(&settings.limits),
            counts: Counts::default(),
            input: Input::new(role),
            decoder: Decoder::default(),
            block: None,
            last_peer_stream: 0,
            incoming: VecDeque::new(),
            receive_window_bytes: receive_window_bytes.into(),
            held_bytes: 0,
            encoder: Encoder::new(settings.header_table_bytes as usize),
            control,
            queued_frames: 0,
            queued_control_frames: 0,
            ready: VecDeque::new(),
            send_window_bytes: DEFAULT_WINDOW_BYTES.into(),
            next_stream: 1,
            resets: RecentResets::default(),
            output_waker: None,
            unacknowledged_settings: 1,
            ping_outstanding: false,
            pings_sent: 0,
            closing: Closing::default(),
        }
    }

    /// Streams that are open, as the limit of concurrent streams counts them.
    pub fn open_streams(&self) -> u32 {
        self.open_streams
    }

    /// Whether no stream exists: none is open, and none that is closed is still in use.
    pub fn is_idle(&self) -> bool {
        self.streams.len() == 0
    }

    /// Whether the peer has acknowledged all SETTINGS. If it does not in time, the owner may [`Connection::close`] with
    /// [`ErrorCode::SETTINGS_TIMEOUT`].
    pub fn is_settings_acknowledged(&self) -> bool {
        self.unacknowledged_settings == 0
    }

    /// Whether the peer's first SETTINGS have come.
    pub fn has_peer_settings(&self) -> bool {
        self.input.has_settings()
    }

    /// What happened since the last call.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Sends PING, unless one is outstanding.
    pub fn ping(&mut self) {
        if !self.ping_outstanding && self.ended().is_none() {
            self.ping_outstanding = true;
            self.pings_sent += 1;
            frame::put_ping(self.pings_sent.to_be_bytes(), false, writable(&mut self.control));
            self.output_queued();
        }
    }

    /// Whether a PING of ours waits for its answer.
    pub fn is_ping_outstanding(&self) -> bool {
        self.ping_outstanding
    }

    /// Bytes of received data that wait to be taken from streams.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Bytes of data that wait to be written, on all streams together. Visits every stream.
    pub fn pending_send_bytes(&self) -> usize {
        self.streams.iter().map(|stream| stream.send.data.len_bytes()).sum()
    }

    /// Heap memory held, without what queued data points to: tables, streams, buffers.
    pub fn heap_bytes(&self) -> HeapBytes {
        HeapBytes {
            hpack_tables: self.decoder.heap_bytes() + self.encoder.heap_bytes(),
            others: self.streams.heap_bytes()
                + self.input.heap_bytes()
                + self.control.capacity()
                + self.block.as_ref().map_or(0, |block| size_of_val(&**block) + block.heap_bytes())
                + self.incoming.capacity() * size_of::<IncomingRequest>()
                + self.ready.capacity() * size_of::<u32>()
                + self.resets.heap_bytes(),
        }
    }

    /// Ready when there is something to write; else the task is woken when there is. One task can wait.
    pub fn poll_output(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.wants_output() {
            return Poll::Ready(());
        }
        remember(&mut self.output_waker, cx.waker());
        Poll::Pending
    }

    /// A frame was put into `control`, or a stream became ready.
    #[inline]
    fn output_queued(&mut self) {
        wake(&mut self.output_waker);
    }

    /// Counts an answer or a reset that was put into `control`.
    fn control_queued(&mut self) {
        self.queued_control_frames += 1;
        self.queued_frames += 1;
        self.output_queued();
    }

    fn is_server(&self) -> bool {
        self.role == Role::Server
    }
}

/// A buffer to append to: with memory of the thread's pool, if it has none. Idle connections have none.
#[inline]
fn writable(buffer: &mut Vec<u8>) -> &mut Vec<u8> {
    if buffer.capacity() == 0 {
        *buffer = take_vec();
    }
    buffer
}

/// Heap memory of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeapBytes {
    /// Both HPACK tables and what finds fields in them.
    pub hpack_tables: usize,
    /// Everything else.
    pub others: usize,
}

/// Settings to be sent.
#[derive(Debug, Default)]
struct Announced {
    settings: [(u16, u32); 5],
    count: usize,
}

impl Announced {
    fn add(&mut self, id: u16, value: u32) {
        self.settings[self.count] = (id, value);
        self.count += 1;
    }

    fn as_slice(&self) -> &[(u16, u32)] {
        &self.settings[..self.count]
    }
}
