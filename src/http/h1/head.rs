//! Finding the end of a head, tokenising it with httparse, and noting what the header lines say about the message.
//!
//! httparse is lenient about line ends; [`lines_end_in_crlf`] is what makes it strict.

use std::mem::MaybeUninit;

use httparse::Header;

use super::{H1Error, H1Settings, Leniency};
use crate::buf::Chunk;
use crate::http::HeaderMap;
use crate::http::header::{self, Known};
use crate::http::header_map::Span;
use crate::http::message::parse_decimal;

/// A head, or a block of trailers, that arrives in pieces.
#[derive(Debug, Default)]
pub(super) struct PartialHead {
    pub bytes: Vec<u8>,
    /// Up to where the bytes have been checked before the end was there.
    checked_bytes: usize,
}

impl PartialHead {
    /// Takes bytes up to the empty line that ends the head. Whether it is there.
    pub fn feed(&mut self, input: &mut Chunk, max_bytes: usize) -> Result<bool, H1Error> {
        let before = self.bytes.len();
        let take = input.len().min(max_bytes.saturating_sub(before));
        self.bytes.extend_from_slice(&input[..take]);
        if let Some(end) = find_end(&self.bytes, before) {
            self.bytes.truncate(end);
            input.advance(end - before);
            return Ok(true);
        }
        if self.bytes.len() >= max_bytes {
            return Err(H1Error::HeadersTooLarge);
        }
        input.advance(take);
        Ok(false)
    }

    /// Whether enough has arrived since the last time to look for errors once more: each time after twice as many
    /// bytes, so that one byte at a time costs no more than a few passes.
    pub fn is_check_due(&mut self) -> bool {
        let due = self.bytes.len() >= self.checked_bytes * 2;
        if due {
            self.checked_bytes = self.bytes.len();
        }
        due
    }

    /// The bytes; an idle connection keeps no memory.
    pub fn take(&mut self) -> Vec<u8> {
        self.checked_bytes = 0;
        std::mem::take(&mut self.bytes)
    }
}

/// A decoder whose heads may arrive in pieces: what requests and responses have in common.
pub(super) trait ReadHead {
    /// What a head is read as.
    type Start;

    fn partial(&mut self) -> &mut PartialHead;
    fn settings(&self) -> &H1Settings;
    /// Reads the head at the beginning of `bytes`, if it is all there.
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<Self::Start>, H1Error>;
    /// Bytes that the head took.
    fn head_bytes(start: &Self::Start) -> usize;
    /// Looks for errors in a head that is not all there.
    fn check_beginning(bytes: &[u8], settings: &H1Settings) -> Result<(), H1Error>;

    /// Takes the head from the front of `input`: in place where it came in one piece. None if more is
    /// needed; then all of `input` is taken.
    fn read_head(&mut self, input: &mut Chunk) -> Result<Option<Self::Start>, H1Error> {
        if input.is_empty() {
            return Ok(None);
        }
        let settings = *self.settings();
        let max_bytes = settings.max_head_bytes as usize;
        let rewrites = settings.leniency.rewrites();
        if self.partial().bytes.is_empty() && !rewrites {
            let visible = &input[..input.len().min(max_bytes)];
            if let Some(start) = self.parse(visible)? {
                input.advance(Self::head_bytes(&start));
                return Ok(Some(start));
            }
        }
        match self.partial().feed(input, max_bytes) {
            Ok(true) => {
                let mut head = self.partial().take();
                if rewrites {
                    rewrite_leniently(&mut head, settings.leniency);
                }
                let start = self.parse(&head)?;
                start.map(Some).ok_or(H1Error::Malformed("message head"))
            }
            Ok(false) => {
                if !rewrites && self.partial().is_check_due() {
                    Self::check_beginning(&self.partial().bytes, &settings)?;
                }
                Ok(None)
            }
            Err(too_large) => {
                // What is both malformed and too large is malformed, however it arrives.
                if !rewrites {
                    Self::check_beginning(&self.partial().bytes, &settings)?;
                }
                Err(too_large)
            }
        }
    }
}

/// Where the first empty line ends, if it ends at `from` or later. LF alone counts here; strictness comes later.
fn find_end(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', &bytes[from..])
        .map(|offset| from + offset)
        .find(|&lf| matches!(bytes[..lf], [] | [b'\r'] | [.., b'\n'] | [.., b'\n', b'\r']))
        .map(|lf| lf + 1)
}

/// Runs `parse` with room for as many header lines as are allowed and fit `bytes`, on the stack if they are not many.
#[inline]
pub(super) fn with_header_slots<'b, R>(
    bytes: &[u8],
    max_count: u32,
    parse: impl FnOnce(&mut [MaybeUninit<Header<'b>>]) -> R,
) -> R {
    const STACK_SLOTS: usize = 100;
    let count = (max_count as usize).min(lines_that_fit(bytes));
    if count <= STACK_SLOTS {
        let mut slots = [const { MaybeUninit::uninit() }; STACK_SLOTS];
        parse(&mut slots[..count])
    } else {
        let mut slots = Vec::new();
        slots.resize_with(count, MaybeUninit::uninit);
        parse(&mut slots)
    }
}

/// A header line has three bytes at least: limits may be set high without cost.
fn lines_that_fit(bytes: &[u8]) -> usize {
    bytes.len() / 3 + 1
}

/// Where `part`, which lies in `whole`, begins.
#[inline]
pub(super) fn span_of(whole: &[u8], part: &[u8]) -> Span {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    debug_assert!(start + part.len() <= whole.len());
    Span { start: start as u32, len: part.len() as u32 }
}

/// Whether every line of `block` ends in CRLF, given the header lines that were found in it.
#[inline]
pub(super) fn lines_end_in_crlf(block: &[u8], headers: &[Header<'_>]) -> bool {
    block.ends_with(b"\r\n\r\n")
        && headers.iter().all(|line| {
            let start = span_of(block, line.name.as_bytes()).start as usize;
            start == 0 || block[..start].ends_with(b"\r\n")
        })
}

/// Makes folds and stray CRs into spaces, as far as that is allowed. The first line is left alone.
pub(super) fn rewrite_leniently(block: &mut [u8], leniency: Leniency) {
    let first_line = memchr::memchr(b'\n', block).map_or(block.len(), |lf| lf + 1);
    let rest = &mut block[first_line..];
    for index in 0..rest.len() {
        let next = rest.get(index + 1).copied();
        match rest[index] {
            b'\r' if next != Some(b'\n') && leniency.bare_cr => rest[index] = b' ',
            b'\n' if index > 0 && matches!(next, Some(b' ' | b'\t')) && leniency.obs_fold => {
                rest[index] = b' ';
                if rest[index - 1] == b'\r' {
                    rest[index - 1] = b' ';
                }
            }
            _ => {}
        }
    }
}

/// What went wrong, in our words.
pub(super) fn tokenizer_error(error: httparse::Error) -> H1Error {
    match error {
        httparse::Error::TooManyHeaders => H1Error::TooManyHeaders,
        httparse::Error::HeaderValue => H1Error::InvalidCharacters,
        httparse::Error::HeaderName => H1Error::Malformed("header name"),
        httparse::Error::NewLine => H1Error::Malformed("line end"),
        httparse::Error::Status => H1Error::Malformed("status"),
        httparse::Error::Token => H1Error::Malformed("first line"),
        httparse::Error::Version => H1Error::Malformed("version"),
    }
}

/// What the header lines say about the message itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Facts {
    /// The only `content-length`, if it is a number.
    pub content_length: Option<u64>,
    pub content_length_lines: u32,
    pub transfer_encoding_lines: u32,
    /// Whether the last `transfer-encoding` is `chunked` and nothing else.
    pub is_chunked: bool,
    pub host_lines: u32,
    pub connection: ConnectionOptions,
    /// Whether there is an `upgrade` header.
    pub has_upgrade: bool,
    pub expects_continue: bool,
}

/// What `connection` and `proxy-connection` say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ConnectionOptions {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
    /// Other headers are named.
    pub nominates: bool,
}

impl ConnectionOptions {
    fn read(&mut self, value: &[u8]) {
        for option in tokens(value) {
            if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                self.nominates = true;
            }
        }
    }
}

/// The members of a comma-separated list without the spaces around them; empty ones are left out.
pub(super) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Enters the header lines of `block`, which `map` holds a copy of, and notes what they say. `keep_host`: the
/// host is not known from the first line.
#[inline]
pub(super) fn enter_lines(map: &mut HeaderMap, block: &[u8], lines: &[Header<'_>], keep_host: bool) -> Facts {
    let mut facts = Facts::default();
    for line in lines {
        let name = span_of(block, line.name.as_bytes());
        let value = match line.value {
            [] => Span { start: name.start + name.len + 2, len: 0 },
            value => span_of(block, value),
        };
        if !keep_host && line.name.eq_ignore_ascii_case("host") {
            facts.host_lines += 1;
            continue;
        }
        let id = map.push_wire(line.name.as_bytes(), name, value);
        if id != 0 {
            facts.note(id, line.value);
        }
    }
    facts
}

impl Facts {
    #[inline]
    fn note(&mut self, id: u8, value: &[u8]) {
        const CONTENT_LENGTH: u8 = header::CONTENT_LENGTH.id();
        const TRANSFER_ENCODING: u8 = header::TRANSFER_ENCODING.id();
        const HOST: u8 = header::HOST.id();
        const CONNECTION: u8 = header::CONNECTION.id();
        const PROXY_CONNECTION: u8 = header::PROXY_CONNECTION.id();
        const UPGRADE: u8 = header::UPGRADE.id();
        const EXPECT: u8 = header::EXPECT.id();
        match id {
            CONTENT_LENGTH => {
                self.content_length_lines += 1;
                self.content_length = parse_decimal(value);
            }
            TRANSFER_ENCODING => {
                self.transfer_encoding_lines += 1;
                self.is_chunked = value.eq_ignore_ascii_case(b"chunked");
            }
            HOST => self.host_lines += 1,
            CONNECTION => self.connection.read(value),
            PROXY_CONNECTION => {
                let mut options = ConnectionOptions::default();
                options.read(value);
                self.connection.close |= options.close;
                self.connection.keep_alive |= options.keep_alive;
            }
            UPGRADE => self.has_upgrade = true,
            EXPECT => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
    }
}

/// Trailers that would change what the message means to the next reader (RFC 9110 section 6.5.1): never handed on.
const FORBIDDEN_TRAILERS: [Known; 10] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::HOST,
    header::CONNECTION,
    header::KEEP_ALIVE,
    header::PROXY_CONNECTION,
    header::TE,
    header::TRAILER,
    header::UPGRADE,
    header::EXPECT,
];

/// Reads a whole block of trailers.
pub(super) fn parse_trailers(mut block: Vec<u8>, settings: &H1Settings) -> Result<HeaderMap, H1Error> {
    let mut map = HeaderMap::new();
    if settings.leniency.rewrites() {
        // The block has no first line; give the rewriting one to skip.
        let mut with_line = b"\n".to_vec();
        with_line.append(&mut block);
        rewrite_leniently(&mut with_line, settings.leniency);
        block = with_line.split_off(1);
    }
    let mut slots =
        vec![httparse::EMPTY_HEADER; (settings.max_header_count as usize).min(lines_that_fit(&block))];
    let httparse::Status::Complete((_, lines)) =
        httparse::parse_headers(&block, &mut slots).map_err(tokenizer_error)?
    else {
        return Err(H1Error::Malformed("trailers"));
    };
    if !settings.leniency.bare_lf && !lines_end_in_crlf(&block, lines) {
        return Err(H1Error::Malformed("line end"));
    }
    map.begin_wire(&block);
    enter_lines(&mut map, &block, lines, true);
    FORBIDDEN_TRAILERS.into_iter().for_each(|name| {
        map.remove(name);
    });
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_the_first_empty_line() {
        for (text, end) in [
            ("a\r\n\r\nrest", Some(5)),
            ("a\n\nrest", Some(3)),
            ("a\r\n\nrest", Some(4)),
            ("a\n\r\nrest", Some(4)),
            ("\r\nrest", Some(2)),
            ("\nrest", Some(1)),
            ("a\r\nb\r\n\r", None),
            ("a\rb\r\r\n", None),
        ] {
            assert_eq!(find_end(text.as_bytes(), 0), end, "{text:?}");
        }
    }

    #[test]
    fn folds_and_stray_carriage_returns_become_spaces() {
        let mut block = b"GET / HTTP/1.1\r\nA: b\r\n c\r\nD: e\rf\r\n\r\n".to_vec();
        rewrite_leniently(&mut block, Leniency::ENVOY);
        assert_eq!(block, b"GET / HTTP/1.1\r\nA: b   c\r\nD: e f\r\n\r\n");
        let mut block = b"GET / HTTP/1.1\r\n A: b\r\n\r\n".to_vec();
        rewrite_leniently(&mut block, Leniency::ENVOY);
        assert_eq!(
            block, b"GET / HTTP/1.1\r\n A: b\r\n\r\n",
            "a fold right after the first line stays an error"
        );
    }
}
