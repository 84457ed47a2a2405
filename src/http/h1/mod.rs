//! The HTTP/1 codec of both sides (RFC 9112), without I/O: bytes in, events out, and back.
//!
//! Decoders are strict by default, so that no peer of ours reads other message borders than we do; [`Leniency`]
//! names each exception. They forward bodies as the received chunks and never copy them.

mod body;
mod client;
mod encode;
mod error;
mod event;
mod framing;
mod head;
mod hop_by_hop;
mod server;
mod settings;
mod target;

pub use client::ClientDecoder;
pub use encode::{
    CHUNK_END, HeaderCase, LAST_CHUNK, encode_chunk_start, encode_request, encode_response, encode_trailers,
};
pub use error::H1Error;
pub use event::{Event, RequestEvent, RequestStart, ResponseEvent, ResponseStart, TargetForm};
pub use framing::{Framing, request_framing, response_framing};
pub use hop_by_hop::{strip_hop_by_hop, strip_upgrade};
pub use server::ServerDecoder;
pub use settings::{H1Settings, Leniency};

#[cfg(test)]
mod tests;
