//! Frames on the wire (RFC 9113 sections 4 and 6): reading the nine bytes before each payload, and writing whole frames.
//!
//! Decides nothing: which frame may come when, and what it means, is the connection's.

use super::ErrorCode;

/// Bytes before every payload.
pub const HEADER_BYTES: usize = 9;
/// What a client sends before its first frame.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a HEADERS frame has of priority.
pub const PRIORITY_BYTES: usize = 5;
/// Largest payload that either side sends here: the smallest limit that a peer can set, and what we announce.
pub const MAX_PAYLOAD_BYTES: usize = 16_384;
/// Window of a new connection, and of new streams until SETTINGS say otherwise.
pub const DEFAULT_WINDOW_BYTES: u32 = 65_535;
/// Largest window, and largest stream identifier.
pub const MAX_31_BITS: u32 = 0x7fff_ffff;

/// A frame's type (RFC 9113 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub u8);

impl Kind {
    pub const DATA: Kind = Kind(0);
    pub const HEADERS: Kind = Kind(1);
    pub const PRIORITY: Kind = Kind(2);
    pub const RST_STREAM: Kind = Kind(3);
    pub const SETTINGS: Kind = Kind(4);
    pub const PUSH_PROMISE: Kind = Kind(5);
    pub const PING: Kind = Kind(6);
    pub const GOAWAY: Kind = Kind(7);
    pub const WINDOW_UPDATE: Kind = Kind(8);
    pub const CONTINUATION: Kind = Kind(9);
    /// Envoy's extension; ignored here.
    pub const METADATA: Kind = Kind(0x4d);
}

/// The flags that have a meaning; the same bit means different things in different frames.
pub mod flag {
    /// DATA, HEADERS: the last of this side's frames on the stream.
    pub const END_STREAM: u8 = 0x1;
    /// SETTINGS, PING: an answer.
    pub const ACK: u8 = 0x1;
    /// HEADERS, CONTINUATION: the header block is complete. METADATA: likewise.
    pub const END_HEADERS: u8 = 0x4;
    /// DATA, HEADERS: there is padding.
    pub const PADDED: u8 = 0x8;
    /// HEADERS: there are five bytes of priority, which are ignored.
    pub const PRIORITY: u8 = 0x20;
}

/// Identifiers of settings (RFC 9113 section 6.5.2, RFC 8441 section 3).
pub mod setting {
    pub const HEADER_TABLE_SIZE: u16 = 1;
    pub const ENABLE_PUSH: u16 = 2;
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
    pub const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// What stands before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    pub payload_bytes: usize,
    pub kind: Kind,
    pub flags: u8,
    /// Zero for the connection itself.
    pub stream: u32,
}

impl FrameHeader {
    #[inline]
    pub fn read(bytes: &[u8; HEADER_BYTES]) -> FrameHeader {
        let [length_high, length_middle, length_low, kind, flags, stream @ ..] = *bytes;
        FrameHeader {
            payload_bytes: u32::from_be_bytes([0, length_high, length_middle, length_low]) as usize,
            kind: Kind(kind),
            flags,
            stream: u32::from_be_bytes(stream) & MAX_31_BITS,
        }
    }

    #[inline]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Appends the bytes before a payload of at most 2^24 - 1 bytes.
#[inline]
pub fn put_header(payload_bytes: usize, kind: Kind, flags: u8, stream: u32, out: &mut Vec<u8>) {
    let [_, length @ ..] = (payload_bytes as u32).to_be_bytes();
    let mut header = [0; HEADER_BYTES];
    header[..3].copy_from_slice(&length);
    header[3] = kind.0;
    header[4] = flags;
    header[5..].copy_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(&header);
}

/// Appends a frame whose payload `fill` writes: HEADERS, and CONTINUATION as needed (RFC 9113 section 4.3). Returns the number
/// of frames.
#[inline]
pub fn put_headers(flags: u8, stream: u32, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) -> u32 {
    let start = out.len();
    put_header(0, Kind::HEADERS, flags | flag::END_HEADERS, stream, out);
    fill(out);
    let block_bytes = out.len() - start - HEADER_BYTES;
    if block_bytes > MAX_PAYLOAD_BYTES {
        return split_block(flags, stream, start, out);
    }
    let [_, length @ ..] = (block_bytes as u32).to_be_bytes();
    out[start..start + 3].copy_from_slice(&length);
    1
}

/// Writes the block behind the frame header at `start` anew, as several frames.
#[cold]
fn split_block(flags: u8, stream: u32, start: usize, out: &mut Vec<u8>) -> u32 {
    let block = out.split_off(start + HEADER_BYTES);
    out.truncate(start);
    let pieces = block.len().div_ceil(MAX_PAYLOAD_BYTES);
    for (index, piece) in block.chunks(MAX_PAYLOAD_BYTES).enumerate() {
        let (kind, own_flags) = if index == 0 { (Kind::HEADERS, flags) } else { (Kind::CONTINUATION, 0) };
        let end = if index + 1 == pieces { flag::END_HEADERS } else { 0 };
        put_header(piece.len(), kind, own_flags | end, stream, out);
        out.extend_from_slice(piece);
    }
    pieces as u32
}

/// Appends RST_STREAM.
pub fn put_reset(stream: u32, code: ErrorCode, out: &mut Vec<u8>) {
    put_header(4, Kind::RST_STREAM, 0, stream, out);
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends SETTINGS.
pub fn put_settings(settings: &[(u16, u32)], out: &mut Vec<u8>) {
    put_header(settings.len() * 6, Kind::SETTINGS, 0, 0, out);
    for (id, value) in settings {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends the acknowledgement of SETTINGS.
pub fn put_settings_ack(out: &mut Vec<u8>) {
    put_header(0, Kind::SETTINGS, flag::ACK, 0, out);
}

/// Appends PING, or the answer to one.
pub fn put_ping(payload: [u8; 8], is_answer: bool, out: &mut Vec<u8>) {
    put_header(8, Kind::PING, if is_answer { flag::ACK } else { 0 }, 0, out);
    out.extend_from_slice(&payload);
}

/// Appends GOAWAY without debug data.
pub fn put_goaway(last_stream: u32, code: ErrorCode, out: &mut Vec<u8>) {
    put_header(8, Kind::GOAWAY, 0, 0, out);
    out.extend_from_slice(&last_stream.to_be_bytes());
    out.extend_from_slice(&code.0.to_be_bytes());
}

/// Appends WINDOW_UPDATE; `increment` is 1 to 2^31 - 1.
pub fn put_window_update(stream: u32, increment: u32, out: &mut Vec<u8>) {
    put_header(4, Kind::WINDOW_UPDATE, 0, stream, out);
    out.extend_from_slice(&increment.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_as_written() {
        let mut out = Vec::new();
        put_header(0x01_0203, Kind::DATA, flag::END_STREAM, 0x7fff_fffe, &mut out);
        let bytes = <[u8; 9]>::try_from(&out[..]).expect("nine bytes");
        let header = FrameHeader::read(&bytes);
        assert_eq!((header.payload_bytes, header.kind, header.stream), (0x01_0203, Kind::DATA, 0x7fff_fffe));
        assert!(header.has(flag::END_STREAM) && !header.has(flag::PADDED));
        let reserved_bit = FrameHeader::read(&[0, 0, 0, 0, 0, 0x80, 0, 0, 1]);
        assert_eq!(reserved_bit.stream, 1);
    }

    #[test]
    fn long_blocks_are_continued() {
        for (block_bytes, frames) in [(0, 1), (16_384, 1), (16_385, 2), (40_000, 3)] {
            let mut out = b"before".to_vec();
            let written =
                put_headers(flag::END_STREAM, 3, &mut out, |out| out.resize(out.len() + block_bytes, 7));
            assert_eq!(written, frames);
            let (mut at, mut block, mut seen) = (6, 0, Vec::new());
            while at < out.len() {
                let header = FrameHeader::read(out[at..].first_chunk().expect("a header"));
                assert_eq!(header.stream, 3);
                block += header.payload_bytes;
                at += HEADER_BYTES + header.payload_bytes;
                seen.push((header.kind, header.flags));
            }
            assert_eq!((block, seen.len()), (block_bytes, frames as usize));
            assert!(seen.iter().skip(1).all(|(kind, _)| *kind == Kind::CONTINUATION));
            assert_eq!(seen[0].1 & flag::END_STREAM, flag::END_STREAM);
            let ends = seen.iter().filter(|(_, flags)| flags & flag::END_HEADERS != 0).count();
            assert!(ends == 1 && seen[seen.len() - 1].1 & flag::END_HEADERS != 0);
        }
    }
}
