//! Messages as fields (RFC 9113 section 8): decoded fields become a checked head or trailers, and heads become fields.
//!
//! Knows nothing of frames, streams and windows.

mod incoming;
mod outgoing;

pub use incoming::{HeaderBlock, HeaderLimits, HeaderProblem, IncomingHead, MessageKind};
pub use outgoing::{encode_request, encode_response, encode_trailers};

#[cfg(test)]
mod tests;
