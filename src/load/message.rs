//! Finding the end of an HTTP/1.1 message and nothing more (RFC 9112 sections 5 to 7): which bytes are the
//! head, and how long the body is. For generators and origins that measure; it does not validate what it
//! need not understand.

/// Longest head that is accepted, in bytes.
pub(super) const HEAD_MAX_BYTES: usize = 256 * 1_024;
/// Longest chunk-size line, and longest trailer line.
const LINE_MAX_BYTES: usize = 16 * 1_024;

/// The bytes are no HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// What a head says about the message's length and the connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the head with its empty line.
    pub(super) len: usize,
    /// Bytes of the first line without its end.
    pub(super) first_line_len: usize,
    pub(super) content_length: Option<u64>,
    pub(super) chunked: bool,
    /// `connection` has `close`.
    pub(super) close: bool,
    /// `connection` has `keep-alive`.
    pub(super) keep_alive: bool,
}

/// Looks at the head at the beginning of `bytes`; `None` if its end is not there yet.
#[inline]
pub(super) fn scan_head(bytes: &[u8]) -> Result<Option<Head>, Malformed> {
    let mut head = Head::default();
    let Some(end) = memchr::memchr(b'\n', bytes) else { return incomplete(bytes) };
    head.first_line_len = without_return(&bytes[..end]).len();
    let mut at = end + 1;
    loop {
        let Some(len) = memchr::memchr(b'\n', &bytes[at..]) else { return incomplete(bytes) };
        let line = without_return(&bytes[at..at + len]);
        at += len + 1;
        match line.first() {
            None => {
                head.len = at;
                return Ok(Some(head));
            }
            // Only names that begin so matter.
            Some(b'c' | b'C' | b't' | b'T') => head.take_field(line)?,
            Some(_) => {}
        }
    }
}

fn incomplete(bytes: &[u8]) -> Result<Option<Head>, Malformed> {
    if bytes.len() > HEAD_MAX_BYTES { Err(Malformed) } else { Ok(None) }
}

#[inline]
fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

impl Head {
    fn take_field(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let colon = memchr::memchr(b':', line).ok_or(Malformed)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = decimal(value).ok_or(Malformed)?;
            if self.content_length.replace(length).is_some_and(|before| before != length) {
                return Err(Malformed);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = value.len() >= 7 && value[value.len() - 7..].eq_ignore_ascii_case(b"chunked");
        } else if name.eq_ignore_ascii_case(b"connection") {
            for token in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
                self.close |= token.eq_ignore_ascii_case(b"close");
                self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        }
        Ok(())
    }
}

fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// What is left of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    Chunked(Chunked),
    /// All that comes until the connection ends.
    UntilClose,
}

/// Where in a chunked body the next byte lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chunked {
    /// Before the first digit, or after some (the size so far; `None` before the first).
    Size(Option<u64>),
    /// In an extension, up to the line's end, with the bytes of it so far.
    Extension(u64, usize),
    /// In the data; two more bytes end it.
    Data(u64),
    /// At the end of the data: its line end is not complete.
    DataEnd,
    /// At the beginning of a line after the last chunk.
    TrailerStart,
    /// Inside a trailer line, with the bytes of it so far.
    Trailer(usize),
    /// After a return at the beginning of a line.
    LastReturn,
}

impl Body {
    /// Takes what belongs to the body from the beginning of `bytes`: how much that was, and whether the body
    /// is complete.
    #[inline]
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        match self {
            Body::Length(left) => {
                let taken = (*left).min(bytes.len() as u64);
                *left -= taken;
                Ok((taken as usize, *left == 0))
            }
            Body::Chunked(state) => state.take(bytes),
            Body::UntilClose => Ok((bytes.len(), false)),
        }
    }
}

impl Chunked {
    pub(super) const START: Chunked = Chunked::Size(None);

    fn take(&mut self, bytes: &[u8]) -> Result<(usize, bool), Malformed> {
        let mut at = 0;
        while at < bytes.len() {
            if let Chunked::Data(left) = self {
                let taken = (*left).min((bytes.len() - at) as u64);
                at += taken as usize;
                *left -= taken;
                if *left == 0 {
                    *self = Chunked::DataEnd;
                }
                continue;
            }
            let byte = bytes[at];
            at += 1;
            *self = match (*self, byte) {
                (Chunked::Size(size), _) if byte.is_ascii_hexdigit() => {
                    let digit = (byte as char).to_digit(16).ok_or(Malformed)?;
                    let shifted = size.unwrap_or(0).checked_mul(16).ok_or(Malformed)?;
                    Chunked::Size(Some(shifted + u64::from(digit)))
                }
                (Chunked::Size(Some(0)) | Chunked::Extension(0, _), b'\n') => Chunked::TrailerStart,
                (Chunked::Size(Some(size)) | Chunked::Extension(size, _), b'\n') => Chunked::Data(size),
                (Chunked::Size(Some(size)), b';' | b' ' | b'\t' | b'\r') => Chunked::Extension(size, 0),
                (Chunked::Extension(size, len), _) if len < LINE_MAX_BYTES => {
                    Chunked::Extension(size, len + 1)
                }
                (Chunked::DataEnd, b'\r') => Chunked::DataEnd,
                (Chunked::DataEnd, b'\n') => Chunked::START,
                (Chunked::TrailerStart, b'\r') => Chunked::LastReturn,
                (Chunked::TrailerStart | Chunked::LastReturn, b'\n') => return Ok((at, true)),
                (Chunked::TrailerStart, _) => Chunked::Trailer(1),
                (Chunked::Trailer(_), b'\n') => Chunked::TrailerStart,
                (Chunked::Trailer(len), _) if len < LINE_MAX_BYTES => Chunked::Trailer(len + 1),
                _ => return Err(Malformed),
            };
        }
        Ok((at, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn heads_say_how_long_and_whether_to_stay() {
        let text = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 12\r\nConnection: keep-alive, Close\r\n\r\nbody";
        let head = scan_head(text).expect("well-formed").expect("complete");
        assert_eq!((head.len, head.first_line_len, head.content_length), (text.len() - 4, 15, Some(12)));
        assert!(head.close && head.keep_alive && !head.chunked);
        assert_eq!(scan_head(&text[..head.len - 1]), Ok(None));
        let head =
            scan_head(b"X\ntransfer-encoding: gzip, chunked\n\n").expect("well-formed").expect("whole");
        assert!(head.chunked);
    }

    #[test]
    fn contradictions_are_malformed() {
        for text in [
            "X\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
            "X\r\ncontent-length: -1\r\n\r\n",
            "X\r\ncontent-length: 99999999999999999999\r\n\r\n",
            "X\r\ncontent-length:\r\n\r\n",
            "X\r\ncolonless\r\n\r\n",
        ] {
            assert_eq!(scan_head(text.as_bytes()), Err(Malformed), "{text:?}");
        }
        assert_eq!(scan_head(&vec![b'x'; HEAD_MAX_BYTES + 1]), Err(Malformed));
    }

    #[test]
    fn malformed_chunks_are_refused() {
        for text in ["x\r\n", "\r\n", "1\r\nab", "fffffffffffffffff\r\n", "1\r\na\rb"] {
            let mut body = Body::Chunked(Chunked::START);
            assert_eq!(body.take(text.as_bytes()), Err(Malformed), "{text:?}");
        }
    }

    /// The body's bytes in chunks of the given sizes, with an extension and a trailer.
    fn chunked(sizes: &[usize]) -> Vec<u8> {
        let mut text = Vec::new();
        for size in sizes.iter().filter(|size| **size > 0) {
            text.extend_from_slice(format!("{size:X};a=\"b\"\r\n").as_bytes());
            text.extend(std::iter::repeat_n(b'0', *size));
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"0\r\ntrailer: 1\r\n\r\n");
        text
    }

    proptest! {
        #[test]
        fn a_chunked_body_ends_where_it_ends_however_it_is_cut(
            sizes in prop::collection::vec(0_usize..300, 0..5),
            cuts in prop::collection::vec(1_usize..40, 1..100),
        ) {
            let text = chunked(&sizes);
            let bytes = [&text[..], b"NEXT"].concat();
            let mut body = Body::Chunked(Chunked::START);
            let (mut at, mut done) = (0, false);
            for cut in cuts.iter().cycle() {
                let piece = &bytes[at..(at + cut).min(bytes.len())];
                let (taken, ended) = body.take(piece).expect("well-formed");
                at += taken;
                if ended {
                    done = true;
                    break;
                }
                prop_assert_eq!(taken, piece.len());
            }
            prop_assert!(done);
            prop_assert_eq!(at, text.len());
        }

        #[test]
        fn anything_can_be_scanned(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some(head)) = scan_head(&bytes) {
                prop_assert!(head.len <= bytes.len() && head.first_line_len < head.len);
            }
            let mut body = Body::Chunked(Chunked::START);
            if let Ok((taken, _)) = body.take(&bytes) {
                prop_assert!(taken <= bytes.len());
            }
        }
    }
}
