//! Decoding requests (RFC 9112 sections 3, 6, 7).

use super::body::Body;
use super::head::{
    PartialHead, ReadHead, enter_lines, lines_end_in_crlf, span_of, tokenizer_error, with_header_slots,
};
use super::hop_by_hop::{are_nominations_allowed, strip_upgrade};
use super::target::{is_authority, parse_target};
use super::{Event, Framing, H1Error, H1Settings, RequestEvent, RequestStart, TargetForm};
use crate::buf::Chunk;
use crate::http::header::{self, AUTHORITY, CONTENT_LENGTH, HOST, METHOD, PATH, SCHEME};
use crate::http::{BodyEvent, HeaderMap, Method, RequestHead, Version};

/// Decodes the requests of one connection, one after the other.
///
/// It goes on to the next request as soon as it is called after `End` or `Trailers`: to keep the answers in order, do
/// not call it before the response is complete.
#[derive(Debug)]
pub struct ServerDecoder {
    settings: H1Settings,
    scheme: &'static str,
    state: State,
    partial: PartialHead,
    /// Empty lines skipped before this request, in bytes.
    skipped_bytes: u32,
    rejected: Option<Box<RequestHead>>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Head,
    Body(Body),
    /// After a head that asks for a tunnel, until the proxy has decided.
    Waiting(Framing),
    /// A tunnel's `End` was reported.
    Ended,
    Failed(H1Error),
}

impl ServerDecoder {
    /// A decoder for a new connection. `scheme` is `http` or, over TLS, `https`.
    pub fn new(settings: H1Settings, scheme: &'static str) -> ServerDecoder {
        ServerDecoder {
            settings,
            scheme,
            state: State::Head,
            partial: PartialHead::default(),
            skipped_bytes: 0,
            rejected: None,
        }
    }

    /// Takes bytes from the front of `input` and reports the next event. `None`: all of `input` is taken and more is
    /// needed (or the decoder waits for [`resume`](Self::resume), and then `input` is untouched).
    ///
    /// # Errors
    /// The connection is broken for reading; every further call returns the same error.
    #[inline]
    pub fn decode(&mut self, input: &mut Chunk) -> Result<Option<RequestEvent>, H1Error> {
        let event = match &mut self.state {
            State::Head => self.decode_head(input).map(|start| start.map(Event::Head)),
            State::Body(_) => self.decode_body(input),
            State::Waiting(_) | State::Ended => return Ok(None),
            State::Failed(error) => return Err(*error),
        };
        if let Err(error) = event {
            self.state = State::Failed(error);
        }
        event
    }

    /// The client ended its direction. `End` of a tunnel, or `None` between requests.
    ///
    /// # Errors
    /// [`H1Error::UnexpectedEof`] within a request.
    pub fn decode_eof(&mut self) -> Result<Option<RequestEvent>, H1Error> {
        match self.state {
            State::Body(Body::UntilClose) => {
                self.state = State::Ended;
                Ok(Some(Event::End))
            }
            State::Head if self.is_idle() => Ok(None),
            State::Waiting(_) | State::Ended => Ok(None),
            State::Failed(error) => Err(error),
            State::Head | State::Body(_) => {
                self.state = State::Failed(H1Error::UnexpectedEof);
                Err(H1Error::UnexpectedEof)
            }
        }
    }

    /// Goes on after a head with `upgrade` or of a CONNECT request: as a tunnel (what follows is not HTTP, and comes
    /// as `Data`), or else as an ordinary request. A request with a body cannot become a tunnel (the body would have to
    /// end first, RFC 9110 section 7.8) and goes on as an ordinary one. Without effect at any other time.
    pub fn resume(&mut self, as_tunnel: bool) {
        if let State::Waiting(framing) = self.state {
            let framing = if as_tunnel && framing.is_empty() { Framing::Tunnel } else { framing };
            self.state = State::Body(Body::new(framing));
        }
    }

    /// As [`ClientDecoder::pass_body`](super::ClientDecoder::pass_body), for requests.
    #[inline]
    pub fn pass_body(&mut self, bytes: usize) -> bool {
        match &mut self.state {
            State::Body(body) => body.pass(bytes),
            State::Head | State::Waiting(_) | State::Ended | State::Failed(_) => false,
        }
    }

    /// Whether the decoder waits for [`resume`](Self::resume).
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting(_))
    }

    /// Whether the decoder is between requests: nothing of a next one was received, empty lines aside.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Head) && self.partial.bytes.iter().all(|&byte| byte == b'\r')
    }

    /// The head that [`decode`](Self::decode) refused, if it was well-formed: for access logs. Present once after an error.
    pub fn take_rejected_head(&mut self) -> Option<RequestHead> {
        self.rejected.take().map(|head| *head)
    }

    fn decode_body(&mut self, input: &mut Chunk) -> Result<Option<RequestEvent>, H1Error> {
        let State::Body(body) = &mut self.state else { return Ok(None) };
        let event = body.decode(input, &mut self.partial, &self.settings)?;
        Ok(event.map(|event| match event {
            BodyEvent::Data(data) => Event::Data(data),
            BodyEvent::Trailers(trailers) => {
                self.state = State::Head;
                Event::Trailers(trailers)
            }
            BodyEvent::End => {
                self.state = State::Head;
                Event::End
            }
        }))
    }

    fn decode_head(&mut self, input: &mut Chunk) -> Result<Option<RequestStart>, H1Error> {
        self.skip_empty_lines(input)?;
        self.read_head(input)
    }

    /// Empty lines before a request line are ignored (RFC 9112 section 2.2), as many as a head may have bytes.
    fn skip_empty_lines(&mut self, input: &mut Chunk) -> Result<(), H1Error> {
        let lenient = self.settings.leniency.bare_lf;
        loop {
            let skip = match (&self.partial.bytes[..], &input[..]) {
                (b"\r", [b'\n', ..]) => {
                    self.partial.take();
                    1
                }
                (b"\r", [_, ..]) => return Err(H1Error::Malformed("line end")),
                ([], [b'\r', b'\n', ..]) => 2,
                ([], [b'\n', ..]) if lenient => 1,
                ([], [b'\n', ..] | [b'\r', _, ..]) => return Err(H1Error::Malformed("line end")),
                ([], [b'\r']) => {
                    self.partial.bytes.push(b'\r');
                    input.advance(1);
                    return Ok(());
                }
                _ => return Ok(()),
            };
            input.advance(skip);
            self.skipped_bytes += 2;
            if self.skipped_bytes > self.settings.max_head_bytes {
                return Err(H1Error::HeadersTooLarge);
            }
        }
    }

    /// Reads the head at the beginning of `bytes`, if it is all there.
    fn parse_head(&mut self, bytes: &[u8]) -> Result<Option<RequestStart>, H1Error> {
        with_header_slots(bytes, self.settings.max_header_count, |slots| {
            let mut request = httparse::Request::new(&mut []);
            let size = match request.parse_with_uninit_headers(bytes, slots) {
                Ok(httparse::Status::Complete(size)) => size,
                Ok(httparse::Status::Partial) => return Ok(None),
                Err(_) if is_line_awaited(bytes) => return Ok(None),
                Err(error) => return Err(first_line_error(bytes, error)),
            };
            self.skipped_bytes = 0;
            self.interpret(&bytes[..size], &request).map(Some)
        })
    }

    /// Judges a tokenised head.
    fn interpret(
        &mut self,
        bytes: &[u8],
        request: &httparse::Request<'_, '_>,
    ) -> Result<RequestStart, H1Error> {
        let settings = self.settings;
        if !settings.leniency.bare_lf && !lines_end_in_crlf(bytes, request.headers) {
            return Err(H1Error::Malformed("line end"));
        }
        let (Some(method_text), Some(target_text)) = (request.method, request.path) else {
            return Err(H1Error::Malformed("first line"));
        };
        let method = Method::from_bytes(method_text.as_bytes());
        if !settings.allow_custom_methods && !method.is_registered() {
            return Err(H1Error::UnknownMethod);
        }
        let version = if request.version == Some(0) { Version::Http10 } else { Version::Http11 };
        if version == Version::Http10 && !settings.accept_http_10 {
            return Err(H1Error::UpgradeRequired);
        }
        let target = parse_target(method, target_text.as_bytes(), settings.allow_absolute_url);
        let named_target = target.ok();

        let mut headers = HeaderMap::new();
        headers.begin_wire(bytes);
        headers.push_wire_pseudo(METHOD.id(), span_of(bytes, method_text.as_bytes()));
        match named_target {
            Some(target) => {
                if let Some(path) = target.path {
                    headers.push_wire_pseudo(PATH.id(), span_of(bytes, path));
                }
                if let Some(authority) = target.authority {
                    headers.push_wire_pseudo(AUTHORITY.id(), span_of(bytes, authority));
                }
            }
            None => headers.push_wire_pseudo(PATH.id(), span_of(bytes, target_text.as_bytes())),
        }
        let named_authority = named_target.and_then(|target| target.authority).is_some();
        let facts = enter_lines(&mut headers, bytes, request.headers, !named_authority);
        let scheme = named_target.and_then(|target| target.scheme).unwrap_or(self.scheme);
        headers.append(SCHEME, scheme.as_bytes());

        let mut start = RequestStart {
            head: RequestHead { headers, version },
            framing: Framing::None,
            keep_alive: if version == Version::Http11 {
                !facts.connection.close
            } else {
                facts.connection.keep_alive && !facts.connection.close
            },
            upgrade: false,
            expect_continue: facts.expects_continue && version == Version::Http11,
            form: named_target.map_or(TargetForm::Origin, |target| target.form),
            head_bytes: bytes.len() as u32,
        };
        let verdict = target
            .and_then(|target| self.complete_path(&mut start.head, method, target))
            .and_then(|()| self.check_host(&mut start.head, facts.host_lines, named_authority))
            .and_then(|()| self.request_framing(&mut start.head, method, &facts));
        match verdict {
            Ok(framing) => start.framing = framing,
            Err(error) => {
                self.rejected = Some(Box::new(start.head));
                return Err(error);
            }
        }
        if facts.connection.nominates && !are_nominations_allowed(&start.head.headers) {
            self.rejected = Some(Box::new(start.head));
            return Err(H1Error::ConnectionHeaderRejected);
        }
        if facts.has_upgrade && facts.connection.upgrade {
            self.consider_upgrade(&mut start, version);
        }
        let waits = start.upgrade || method == Method::Connect;
        self.state =
            if waits { State::Waiting(start.framing) } else { State::Body(Body::new(start.framing)) };
        Ok(start)
    }

    /// An absolute target without a path means `/` (or `*` with OPTIONS, RFC 9112 section 3.2.4).
    fn complete_path(
        &self,
        head: &mut RequestHead,
        method: Method<'_>,
        target: super::target::Target<'_>,
    ) -> Result<(), H1Error> {
        if target.form == TargetForm::Absolute {
            match target.path {
                None if method == Method::Options => head.set_path(b"*"),
                None => head.set_path(b"/"),
                Some(query @ [b'?', ..]) => head.set_path(&[b"/", query].concat()),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn check_host(
        &self,
        head: &mut RequestHead,
        host_lines: u32,
        named_authority: bool,
    ) -> Result<(), H1Error> {
        let leniency = self.settings.leniency;
        match host_lines {
            0 if head.version == Version::Http10 => {}
            0 if named_authority && leniency.host_from_target_only => {}
            0 => return Err(H1Error::MissingHost),
            1 => {}
            _ if !leniency.duplicate_host => return Err(H1Error::DuplicateHost),
            _ if named_authority => {}
            _ => {
                let mut joined = Vec::new();
                head.headers.get_joined(HOST, &mut joined);
                head.headers.set(HOST, &joined);
            }
        }
        if is_authority(head.authority()) { Ok(()) } else { Err(H1Error::InvalidHost) }
    }

    /// RFC 9112 section 6.3, for requests.
    fn request_framing(
        &self,
        head: &mut RequestHead,
        method: Method<'_>,
        facts: &super::head::Facts,
    ) -> Result<Framing, H1Error> {
        if facts.transfer_encoding_lines > 0 {
            if head.version == Version::Http10 {
                return Err(H1Error::TransferEncodingNotAllowed);
            }
            if facts.transfer_encoding_lines > 1 || !facts.is_chunked || method == Method::Connect {
                return Err(H1Error::UnsupportedTransferEncoding);
            }
            if facts.content_length_lines > 0 {
                if !self.settings.allow_chunked_length {
                    return Err(H1Error::LengthAndChunked);
                }
                head.headers.remove(CONTENT_LENGTH);
            }
            return Ok(Framing::Chunked);
        }
        match (facts.content_length_lines, facts.content_length) {
            (0, _) => Ok(Framing::None),
            (1, Some(0)) if method == Method::Connect => {
                head.headers.remove(CONTENT_LENGTH);
                Ok(Framing::None)
            }
            (1, Some(_)) if method == Method::Connect => Err(H1Error::BodyNotAllowed),
            (1, Some(length)) => Ok(Framing::Length(length)),
            _ => Err(H1Error::InvalidContentLength),
        }
    }

    /// An upgrade to h2c is ignored, as Envoy does, and one of HTTP/1.0 (RFC 9110 section 7.8).
    fn consider_upgrade(&self, start: &mut RequestStart, version: Version) {
        let headers = &mut start.head.headers;
        let is_h2c = headers.get(header::UPGRADE).is_some_and(|value| value.eq_ignore_ascii_case(b"h2c"));
        if is_h2c {
            strip_upgrade(headers);
            headers.remove(header::HTTP2_SETTINGS);
        } else {
            let is_connect = start.form == TargetForm::Authority;
            start.upgrade = version == Version::Http11 && !is_connect;
        }
    }
}

impl ReadHead for ServerDecoder {
    type Start = RequestStart;

    fn partial(&mut self) -> &mut PartialHead {
        &mut self.partial
    }

    fn settings(&self) -> &H1Settings {
        &self.settings
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<RequestStart>, H1Error> {
        self.parse_head(bytes)
    }

    fn head_bytes(start: &RequestStart) -> usize {
        start.head_bytes as usize
    }

    fn check_beginning(bytes: &[u8], settings: &H1Settings) -> Result<(), H1Error> {
        check_beginning(bytes, settings)
    }
}

/// Whether an unfinished head is malformed already.
fn check_beginning(bytes: &[u8], settings: &H1Settings) -> Result<(), H1Error> {
    with_header_slots(bytes, settings.max_header_count, |slots| {
        let mut request = httparse::Request::new(&mut []);
        match request.parse_with_uninit_headers(bytes, slots) {
            Err(error) if !is_line_awaited(bytes) => Err(first_line_error(bytes, error)),
            _ => Ok(()),
        }
    })
}

/// Whether a wrong first line must be read to its end, to tell what is wrong with it.
fn is_line_awaited(bytes: &[u8]) -> bool {
    let method = bytes.split(|&byte| byte == b' ').next().unwrap_or_default();
    memchr::memchr(b'\n', bytes).is_none() && Method::from_bytes(method).is_registered()
}

/// Tells requests of another HTTP version, or without one, from malformed ones.
fn first_line_error(bytes: &[u8], error: httparse::Error) -> H1Error {
    if !matches!(error, httparse::Error::Version | httparse::Error::Token | httparse::Error::NewLine) {
        return tokenizer_error(error);
    }
    let line_end = memchr::memchr(b'\n', bytes);
    let Some(line) = line_end.and_then(|lf| bytes[..lf].strip_suffix(b"\r")) else {
        return tokenizer_error(error);
    };
    let mut words = line.split(|&byte| byte == b' ');
    let (method, target, version, more) = (words.next(), words.next(), words.next(), words.next());
    let is_request = method.is_some_and(|method| Method::from_bytes(method).is_registered())
        && target.is_some_and(|target| target.starts_with(b"/"));
    let is_old = match version {
        None => true,
        Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']) => {
            error == httparse::Error::Version
        }
        Some(_) => false,
    };
    if is_request && is_old && more.is_none() { H1Error::UpgradeRequired } else { tokenizer_error(error) }
}
