//! Bodies: pieces of the received chunks, cut at the message's end. Nothing is copied, but for tiny chunks.
//!
//! The chunked coding is RFC 9112 section 7.1, read strictly: a size is hexadecimal digits and nothing else, CRLF
//! ends every line and every chunk.

use super::head::{PartialHead, parse_trailers};
use super::{Framing, H1Error, H1Settings};
use crate::buf::Chunk;
use crate::http::BodyEvent;

/// Chunk data up to this many bytes is gathered with what follows it: a peer that sends one byte a chunk must not
/// make us hold a receive buffer for each.
const GATHER_MAX_BYTES: usize = 512;

/// Where in a body the decoder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes are to come.
    Length(u64),
    /// Within the chunked coding.
    Chunked { at: ChunkedAt, extension_bytes: u32 },
    /// All there is.
    UntilClose,
}

/// Where in the chunked coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkedAt {
    Size {
        value: u64,
        digits: u8,
    },
    /// Spaces after the size.
    Padding {
        value: u64,
    },
    Extension {
        value: u64,
    },
    /// After the CR of the size line.
    SizeLf {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailers,
}

impl Body {
    pub fn new(framing: Framing) -> Body {
        match framing {
            Framing::None => Body::Length(0),
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => {
                Body::Chunked { at: ChunkedAt::Size { value: 0, digits: 0 }, extension_bytes: 0 }
            }
            Framing::UntilClose | Framing::Tunnel => Body::UntilClose,
        }
    }

    /// The next part. `partial` is memory for trailers that arrive in pieces.
    pub fn decode(
        &mut self,
        input: &mut Chunk,
        partial: &mut PartialHead,
        settings: &H1Settings,
    ) -> Result<Option<BodyEvent>, H1Error> {
        match self {
            Body::Length(0) => Ok(Some(BodyEvent::End)),
            Body::Length(left) => Ok(take_data(input, left).map(BodyEvent::Data)),
            Body::UntilClose if input.is_empty() => Ok(None),
            Body::UntilClose => Ok(Some(BodyEvent::Data(std::mem::take(input)))),
            Body::Chunked { at, extension_bytes } => {
                decode_chunked(at, extension_bytes, input, partial, settings)
            }
        }
    }

    /// Counts `bytes` as decoded if they are nothing but data, and not the last of it; otherwise false.
    #[inline]
    pub fn pass(&mut self, bytes: usize) -> bool {
        match self {
            Body::Length(left) if (bytes as u64) < *left => {
                *left -= bytes as u64;
                true
            }
            Body::UntilClose => true,
            Body::Length(_) | Body::Chunked { .. } => false,
        }
    }
}

/// Up to `left` bytes from the front of `input`; nothing if it is empty.
fn take_data(input: &mut Chunk, left: &mut u64) -> Option<Chunk> {
    if input.is_empty() {
        return None;
    }
    let data = match usize::try_from(*left) {
        Ok(left) if left < input.len() => input.split_to(left),
        _ => std::mem::take(input),
    };
    *left -= data.len() as u64;
    Some(data)
}

fn decode_chunked(
    at: &mut ChunkedAt,
    extension_bytes: &mut u32,
    input: &mut Chunk,
    partial: &mut PartialHead,
    settings: &H1Settings,
) -> Result<Option<BodyEvent>, H1Error> {
    let mut gathered: Vec<u8> = Vec::new();
    loop {
        match at {
            ChunkedAt::Data { left } => {
                let small = input.len().min(usize::try_from(*left).unwrap_or(usize::MAX)) <= GATHER_MAX_BYTES;
                if !small && !gathered.is_empty() {
                    return Ok(Some(BodyEvent::Data(Chunk::copy_from(&gathered))));
                }
                let Some(data) = take_data(input, left) else { break };
                if *left == 0 {
                    *at = ChunkedAt::DataCr;
                }
                // What follows a last small piece is at least its CRLF: nothing to gather it with.
                if !small || (gathered.is_empty() && input.len() <= 2) {
                    return Ok(Some(BodyEvent::Data(data)));
                }
                gathered.extend_from_slice(&data);
            }
            ChunkedAt::Trailers => {
                if !gathered.is_empty() {
                    break;
                }
                return decode_trailers(input, partial, settings);
            }
            _ => {
                // An error waits until what came before it is handed out: the state stays, the byte is read again.
                let step = decode_size_line(at, extension_bytes, input, settings);
                match step {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(_) if !gathered.is_empty() => break,
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok((!gathered.is_empty()).then(|| BodyEvent::Data(Chunk::copy_from(&gathered))))
}

/// Reads what is between the data of two chunks. Whether data or the trailers come next; else `input` is used up.
///
/// On an error `at` and `input` stand before the wrong byte.
fn decode_size_line(
    at: &mut ChunkedAt,
    extension_bytes: &mut u32,
    input: &mut Chunk,
    settings: &H1Settings,
) -> Result<bool, H1Error> {
    let mut used = 0;
    let outcome = loop {
        let Some(&byte) = input.get(used) else { break Ok(false) };
        match next_state(*at, byte, extension_bytes, settings) {
            Ok(next) => *at = next,
            Err(error) => break Err(error),
        }
        used += 1;
        if matches!(at, ChunkedAt::Data { .. } | ChunkedAt::Trailers) {
            break Ok(true);
        }
    };
    input.advance(used);
    outcome
}

fn next_state(
    at: ChunkedAt,
    byte: u8,
    extension_bytes: &mut u32,
    settings: &H1Settings,
) -> Result<ChunkedAt, H1Error> {
    let leniency = settings.leniency;
    let after_size = |value| if value == 0 { ChunkedAt::Trailers } else { ChunkedAt::Data { left: value } };
    let mut count_extension = || {
        *extension_bytes += 1;
        if *extension_bytes > settings.max_chunk_extension_bytes {
            return Err(H1Error::InvalidChunkExtension);
        }
        Ok(())
    };
    match (at, byte) {
        (ChunkedAt::Size { value, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
            let digit = u64::from((byte & 0xf) + if byte > b'9' { 9 } else { 0 });
            // Sixteen digits, and below 2^63: larger numbers are read differently by different peers.
            if digits == 16 || value >> 59 != 0 {
                return Err(H1Error::InvalidChunkSize);
            }
            Ok(ChunkedAt::Size { value: value << 4 | digit, digits: digits + 1 })
        }
        (ChunkedAt::Size { digits: 0, .. }, _) => Err(H1Error::InvalidChunkSize),
        (ChunkedAt::Size { value, .. } | ChunkedAt::Padding { value }, b';') => {
            count_extension()?;
            Ok(ChunkedAt::Extension { value })
        }
        (ChunkedAt::Size { value, .. } | ChunkedAt::Padding { value }, b' ' | b'\t') => {
            count_extension()?;
            Ok(ChunkedAt::Padding { value })
        }
        (ChunkedAt::Padding { .. }, _) if !leniency.chunk_size_padding => Err(H1Error::InvalidChunkSize),
        (
            ChunkedAt::Size { value, .. } | ChunkedAt::Padding { value } | ChunkedAt::Extension { value },
            b'\r',
        ) => Ok(ChunkedAt::SizeLf { value }),
        (
            ChunkedAt::Size { value, .. } | ChunkedAt::Padding { value } | ChunkedAt::Extension { value },
            b'\n',
        ) if leniency.bare_lf => Ok(after_size(value)),
        (ChunkedAt::Size { .. } | ChunkedAt::Padding { .. }, _) => Err(H1Error::InvalidChunkSize),
        (ChunkedAt::Extension { .. }, 0..=8 | 10..=31 | 127) => Err(H1Error::InvalidChunkExtension),
        (ChunkedAt::Extension { value }, _) => {
            count_extension()?;
            Ok(ChunkedAt::Extension { value })
        }
        (ChunkedAt::SizeLf { value }, b'\n') => Ok(after_size(value)),
        (ChunkedAt::SizeLf { .. }, _) => Err(H1Error::InvalidChunkSize),
        (ChunkedAt::DataCr, b'\r') => Ok(ChunkedAt::DataLf),
        (ChunkedAt::DataCr, b'\n') if leniency.bare_lf => Ok(ChunkedAt::Size { value: 0, digits: 0 }),
        (ChunkedAt::DataLf, b'\n') => Ok(ChunkedAt::Size { value: 0, digits: 0 }),
        (ChunkedAt::DataCr | ChunkedAt::DataLf, _) => Err(H1Error::InvalidChunkEnd),
        (ChunkedAt::Data { .. } | ChunkedAt::Trailers, _) => Ok(at),
    }
}

fn decode_trailers(
    input: &mut Chunk,
    partial: &mut PartialHead,
    settings: &H1Settings,
) -> Result<Option<BodyEvent>, H1Error> {
    if partial.bytes.is_empty() && input.starts_with(b"\r\n") {
        input.advance(2);
        return Ok(Some(BodyEvent::End));
    }
    if !partial.feed(input, settings.max_head_bytes as usize)? {
        return Ok(None);
    }
    let block = partial.take();
    match &block[..] {
        b"\r\n" => return Ok(Some(BodyEvent::End)),
        b"\n" if settings.leniency.bare_lf => return Ok(Some(BodyEvent::End)),
        b"\n" => return Err(H1Error::Malformed("line end")),
        _ => {}
    }
    let trailers = parse_trailers(block, settings)?;
    Ok(Some(if settings.enable_trailers && !trailers.is_empty() {
        BodyEvent::Trailers(trailers)
    } else {
        BodyEvent::End
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_end_of_a_body_passes_undecoded() {
        let mut body = Body::new(Framing::Length(10));
        assert!(body.pass(4) && body.pass(5));
        assert!(!body.pass(1), "the last byte is the decoder's, which reports the end");
        assert!(!body.pass(2), "and so is what comes behind it");
        assert_eq!(body, Body::Length(1));
        let mut lasting = Body::new(Framing::UntilClose);
        assert!(lasting.pass(1 << 20));
        let mut chunked = Body::new(Framing::Chunked);
        assert!(!chunked.pass(100), "the coding is to be read");
    }
}
