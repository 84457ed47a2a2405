//! The HTTP/2 codec of both sides (RFC 9113), without I/O, clock and randomness: bytes in, bytes out, and streams that tasks wait on.
//!
//! [`Connection`] is all of it: preface and settings, streams, windows, header tables, queues, wakers, and the account of what the
//! peer makes us do. It lies in an `Rc<RefCell<..>>` between one task that owns the socket and one task for each stream.
//!
//! # The task that owns the socket
//!
//! ```text
//! loop until connection.ended() or connection.is_drained() {
//!     wait for any of
//!         bytes from the socket:    connection.receive(chunk, now)     // an error: write once more, then close
//!                                   while let Some(request) = connection.next_request() { spawn its task }
//!         the end of the socket:    connection.transport_closed()
//!         connection.poll_output(): there is something to write
//!         room in the socket's queue, if connection.wants_output() and there was none
//!     connection.write_output(&mut socket)                             // once per turn, for all streams together
//! }
//! ```
//!
//! - `receive` takes any pieces. Give it large ones as the blocks they came in: data of 2 KiB and more is passed on as a part of them.
//! - It never refuses bytes: what may come is bounded by the windows, and by limits on everything that has no window.
//! - [`Output::room_bytes`] decides how much lies in the socket's queue, e.g. 64 KiB less what is queued. Without room nothing is
//!   written, and answers to a peer that does not read pile up here until the connection is ended for it.
//! - Do not wait for [`Connection::poll_output`] while there is no room: it is ready as long as there is something to write.
//! - After an error, or [`Connection::close`], GOAWAY waits to be written; then flush and close the socket. Streams have ended already.
//! - Timers are the owner's: for acknowledged settings ([`Connection::is_settings_acknowledged`]), answers to
//!   [`Connection::ping`] ([`Connection::is_ping_outstanding`]), idleness ([`Connection::is_idle`]), draining
//!   ([`Connection::announce_shutdown`], later [`Connection::shut_down`], then wait for [`Connection::is_drained`]), and
//!   streams whose peer does not read ([`Connection::poll_flushed`], [`Connection::reset_unread_responses`]).
//! - [`Connection::take_counts`] and [`ConnectionError::statistic`] are for Envoy's `http2.` statistics.
//!
//! # The task of a stream
//!
//! A server's gets an [`IncomingRequest`], a client's the [`StreamId`] of [`Connection::open`]. Each calls the polling and sending
//! methods with it and lets go of it in the end with [`Connection::release`], on every way out, also when it is dropped: a
//! stream lives until then. Letting go of an incomplete stream resets it. No method panics for a stream that has ended, or
//! sends anything after its end. Wakers are called while the connection is borrowed, so they must not run the task at once.
//!
//! - Receiving opens the window: who does not take data stops the peer. Sending is without limit; ask
//!   [`Connection::poll_send_ready`] before.
//! - A client's complete response can be read whatever happens after; everything else ends at once with a [`StreamError`].
//! - [`StreamError::is_unprocessed`] tells requests that are safe to send again.
//!
//! # Map
//!
//! | file | what it is |
//! |---|---|
//! | `connection/` | [`Connection`]: `input` cuts frames, `headers`, `data`, `control` act on them, `requests`, `responses`, `consume`, `produce` are for streams' tasks, `output` writes, `closing` ends |
//! | `message/` | fields to checked heads, heads to fields (RFC 9113 section 8) |
//! | `hpack/` | header compression (RFC 7541) |
//! | `stream`, `stream_table`, `data_queue` | one stream; all of them; bytes that wait |
//! | `frame`, `characters` | the wire format of frames; which characters may stand where |
//! | `flood` | what the peer has made us do, and when it is too much |
//! | `settings`, `error` | choices and limits; what can go wrong |
//!
//! # Limits and bounds
//!
//! Every limit is a field of [`H2Settings`]. What a peer can make a connection hold:
//!
//! - Data: twice `connection_window_bytes`, and `stream_window_bytes` for one stream. The stream's window opens as its task takes
//!   data; the connection's as data arrives, until one whole window waits to be taken, and then as data is taken. So one
//!   stalled stream does not stall others, as it would if the connection's window waited for it, and many cannot make the
//!   connection hold more, as they could if it never did (RFC 9113 section 5.2.2; Envoy waits).
//! - Overhead: pieces below 2 KiB are copied together; larger ones below 8 KiB are copied out of their receive block once
//!   256 KiB wait. Beyond that the memory behind data is at most twice the data.
//! - Data to be sent: what the streams' tasks queue, see `stream_send_buffer_bytes`.
//! - A header block: `max_header_bytes` kept, as much again of an unfinished field. A block may go on to four times
//!   the limits, decoded but not kept, so that it can be answered; then the connection is ended.
//! - Frames to be written: `max_outbound_frames`, of which `max_outbound_control_frames` answers and resets.
//! - Streams: `max_concurrent_streams` open, as many again that are closed and still in use by their tasks.
//! - Idle: no buffers; below 4 KiB beside the header tables (at most 2 x 10 KiB with the usual size of table).
//!
//! # Where this differs from Envoy 1.40 (nghttp2)
//!
//! | what | Envoy | here |
//! |---|---|---|
//! | `host` that contradicts `:authority` | ignored | malformed (RFC 9113 section 8.3.1) |
//! | a value with spaces around it | trimmed | malformed (section 8.2.1) |
//! | a malformed message that ends the connection, and each flood | closes | GOAWAY with the reason, then closes |
//! | a stream identifier that is used again, or lower than one before | ignored | connection error (section 5.1.1) |
//! | data on a half-closed stream | connection error | stream error (section 5.1) |
//! | zero or overflowing WINDOW_UPDATE of a stream | connection error | stream error (section 6.9) |
//! | a head over the limits | reset | handed out as such: 431 is possible |
//! | a single field beyond 64 KiB | connection error | the same beyond `max_header_bytes` + 16 KiB |
//! | METADATA where it is not enabled | ignored | ignored up to a limit |
//! | resets because of the client's errors after the response has begun | not counted as premature | counted |
//! | connection window | opens as data is taken | see above |

mod characters;
mod connection;
mod data_queue;
mod error;
mod flood;
mod frame;
pub mod hpack;
mod message;
mod settings;
mod stream;
mod stream_table;

pub use connection::{
    Connection, ConnectionEnd, Counts, HeapBytes, IncomingRequest, Output, ResponseEvent, StreamId,
};
pub use error::{ConnectionError, ErrorCode, HeaderOverflow, InvalidMessage, OpenError, StreamError};
pub use frame::PREFACE;
pub use settings::{FloodLimits, H2Settings};

#[cfg(test)]
mod tests;
