//! Decoding responses (RFC 9112 sections 4, 6, 7).

use super::body::Body;
use super::head::{
    Facts, PartialHead, ReadHead, enter_lines, lines_end_in_crlf, tokenizer_error, with_header_slots,
};
use super::{Event, Framing, H1Error, H1Settings, ResponseEvent, ResponseStart};
use crate::buf::Chunk;
use crate::http::header::{CONTENT_LENGTH, STATUS};
use crate::http::header_map::Span;
use crate::http::{BodyEvent, HeaderMap, Method, ResponseHead, Version};

/// Decodes the responses of one connection. One response is outstanding at a time: requests are not pipelined.
#[derive(Debug)]
pub struct ClientDecoder {
    settings: H1Settings,
    state: State,
    partial: PartialHead,
    expected: Expected,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// No request is outstanding.
    Idle,
    Head,
    Body(Body),
    Failed(H1Error),
}

/// What the request says about its response.
#[derive(Debug, Clone, Copy, Default)]
struct Expected {
    to_head: bool,
    to_connect: bool,
    to_upgrade: bool,
}

impl ClientDecoder {
    /// A decoder for a new connection. Of `settings`, what concerns requests only has no effect.
    pub fn new(settings: H1Settings) -> ClientDecoder {
        ClientDecoder {
            settings,
            state: State::Idle,
            partial: PartialHead::default(),
            expected: Expected::default(),
        }
    }

    /// A request was sent whose response comes next. `upgrade`: it asked for another protocol.
    pub fn expect_response(&mut self, method: Method<'_>, upgrade: bool) {
        if matches!(self.state, State::Idle) {
            self.state = State::Head;
            self.expected = Expected {
                to_head: method == Method::Head,
                to_connect: method == Method::Connect,
                to_upgrade: upgrade,
            };
        }
    }

    /// Takes bytes from the front of `input` and reports the next event. `None`: all of `input` is taken and more
    /// is needed.
    ///
    /// # Errors
    /// The connection is broken; every further call returns the same error.
    #[inline]
    pub fn decode(&mut self, input: &mut Chunk) -> Result<Option<ResponseEvent>, H1Error> {
        let event = match &mut self.state {
            State::Idle if input.is_empty() => return Ok(None),
            State::Idle => Err(H1Error::UnexpectedResponse),
            State::Head => self.read_head(input).map(|start| start.map(Event::Head)),
            State::Body(_) => self.decode_body(input),
            State::Failed(error) => return Err(*error),
        };
        if let Err(error) = event {
            self.state = State::Failed(error);
        }
        event
    }

    /// The origin ended the connection: `End` of a body that lasts until then, or `None` between responses.
    ///
    /// # Errors
    /// [`H1Error::UnexpectedEof`] within a response, or while one is awaited.
    pub fn decode_eof(&mut self) -> Result<Option<ResponseEvent>, H1Error> {
        match self.state {
            State::Idle => Ok(None),
            State::Body(Body::UntilClose) => {
                self.state = State::Idle;
                Ok(Some(Event::End))
            }
            State::Failed(error) => Err(error),
            State::Head | State::Body(_) => {
                self.state = State::Failed(H1Error::UnexpectedEof);
                Err(H1Error::UnexpectedEof)
            }
        }
    }

    /// Counts `bytes` as decoded if they are nothing but a body's data, and not the last of it: then they may be
    /// passed on as they are. Otherwise false, and they are to be decoded.
    #[inline]
    pub fn pass_body(&mut self, bytes: usize) -> bool {
        match &mut self.state {
            State::Body(body) => body.pass(bytes),
            State::Idle | State::Head | State::Failed(_) => false,
        }
    }

    /// Whether no response is outstanding.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Whether a response is outstanding of which nothing has been received.
    pub fn is_awaiting_first_byte(&self) -> bool {
        matches!(self.state, State::Head) && self.partial.bytes.is_empty()
    }

    fn decode_body(&mut self, input: &mut Chunk) -> Result<Option<ResponseEvent>, H1Error> {
        let State::Body(body) = &mut self.state else { return Ok(None) };
        let event = body.decode(input, &mut self.partial, &self.settings)?;
        Ok(event.map(|event| match event {
            BodyEvent::Data(data) => Event::Data(data),
            BodyEvent::Trailers(trailers) => {
                self.state = State::Idle;
                Event::Trailers(trailers)
            }
            BodyEvent::End => {
                self.state = State::Idle;
                Event::End
            }
        }))
    }

    /// Reads the head at the beginning of `bytes`, if it is all there.
    fn parse_head(&mut self, bytes: &[u8]) -> Result<Option<ResponseStart>, H1Error> {
        check_first_byte(bytes)?;
        with_header_slots(bytes, self.settings.max_header_count, |slots| {
            let mut response = httparse::Response::new(&mut []);
            match parser().parse_response_with_uninit_headers(&mut response, bytes, slots) {
                Ok(httparse::Status::Complete(size)) => self.interpret(&bytes[..size], &response).map(Some),
                Ok(httparse::Status::Partial) => Ok(None),
                Err(error) => Err(tokenizer_error(error)),
            }
        })
    }

    /// Judges a tokenised head.
    fn interpret(
        &mut self,
        bytes: &[u8],
        response: &httparse::Response<'_, '_>,
    ) -> Result<ResponseStart, H1Error> {
        if !self.settings.leniency.bare_lf && !lines_end_in_crlf(bytes, response.headers) {
            return Err(H1Error::Malformed("line end"));
        }
        let Some(status @ 100..) = response.code else { return Err(H1Error::Malformed("status")) };
        let version = if response.version == Some(0) { Version::Http10 } else { Version::Http11 };
        let mut headers = HeaderMap::new();
        headers.begin_wire(bytes);
        // `HTTP/1.1 ` is nine bytes: httparse takes exactly one space there.
        headers.push_wire_pseudo(STATUS.id(), Span { start: 9, len: 3 });
        let facts = enter_lines(&mut headers, bytes, response.headers, true);
        let mut head = ResponseHead::from_wire(headers, status, version);
        let framing = self.response_framing(&mut head, &facts)?;
        let keeps = match version {
            Version::Http10 => facts.connection.keep_alive && !facts.connection.close,
            _ => !facts.connection.close,
        };
        let interim = head.is_interim();
        self.state = if interim { State::Head } else { State::Body(Body::new(framing)) };
        Ok(ResponseStart {
            head,
            framing,
            interim,
            announces_close: !keeps,
            keep_alive: keeps && !matches!(framing, Framing::UntilClose | Framing::Tunnel),
            head_bytes: bytes.len() as u32,
        })
    }

    /// RFC 9112 section 6.3, for responses.
    fn response_framing(&self, head: &mut ResponseHead, facts: &Facts) -> Result<Framing, H1Error> {
        let status = head.status();
        if status == 101 && !self.expected.to_upgrade {
            return Err(H1Error::UnexpectedResponse);
        }
        let is_connected = self.expected.to_connect && (200..300).contains(&status);
        if status < 200 || status == 204 || is_connected {
            self.refuse_body_headers(head, facts)?;
            return Ok(if status == 101 || is_connected { Framing::Tunnel } else { Framing::None });
        }
        let length = Self::content_length(facts)?;
        if facts.transfer_encoding_lines > 0 {
            if head.version == Version::Http10 {
                return Err(H1Error::TransferEncodingNotAllowed);
            }
            if facts.transfer_encoding_lines > 1 || !facts.is_chunked {
                return Err(H1Error::UnsupportedTransferEncoding);
            }
            if length.is_some() {
                if !self.settings.allow_chunked_length {
                    return Err(H1Error::LengthAndChunked);
                }
                head.headers.remove(CONTENT_LENGTH);
            }
        }
        if self.expected.to_head || status == 304 {
            return Ok(Framing::None);
        }
        if facts.transfer_encoding_lines > 0 {
            return Ok(Framing::Chunked);
        }
        Ok(length.map_or(Framing::UntilClose, Framing::Length))
    }

    /// Responses that have no body say nothing about its length either (RFC 9110 section 8.6).
    fn refuse_body_headers(&self, head: &mut ResponseHead, facts: &Facts) -> Result<(), H1Error> {
        if facts.transfer_encoding_lines > 0 {
            return Err(H1Error::TransferEncodingNotAllowed);
        }
        if facts.content_length_lines > 0 {
            if facts.content_length_lines > 1 || facts.content_length != Some(0) {
                return Err(H1Error::ContentLengthNotAllowed);
            }
            head.headers.remove(CONTENT_LENGTH);
        }
        Ok(())
    }

    /// The length. Several of them, even equal ones, are an error, as in requests and as in Envoy.
    fn content_length(facts: &Facts) -> Result<Option<u64>, H1Error> {
        if facts.content_length_lines == 0 {
            return Ok(None);
        }
        if let (1, Some(length)) = (facts.content_length_lines, facts.content_length) {
            return Ok(Some(length));
        }
        Err(H1Error::InvalidContentLength)
    }
}

/// Spaces between name and colon are removed from responses (RFC 9112 section 5.1), in requests they are an error.
fn parser() -> httparse::ParserConfig {
    let mut parser = httparse::ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    parser
}

/// httparse skips empty lines here; no RFC lets a server send them.
fn check_first_byte(bytes: &[u8]) -> Result<(), H1Error> {
    match bytes.first() {
        Some(b'H') | None => Ok(()),
        Some(_) => Err(H1Error::Malformed("first line")),
    }
}

impl ReadHead for ClientDecoder {
    type Start = ResponseStart;

    fn partial(&mut self) -> &mut PartialHead {
        &mut self.partial
    }

    fn settings(&self) -> &H1Settings {
        &self.settings
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<Option<ResponseStart>, H1Error> {
        self.parse_head(bytes)
    }

    fn head_bytes(start: &ResponseStart) -> usize {
        start.head_bytes as usize
    }

    fn check_beginning(bytes: &[u8], settings: &H1Settings) -> Result<(), H1Error> {
        check_beginning(bytes, settings)
    }
}

/// Whether an unfinished head is malformed already.
fn check_beginning(bytes: &[u8], settings: &H1Settings) -> Result<(), H1Error> {
    check_first_byte(bytes)?;
    with_header_slots(bytes, settings.max_header_count, |slots| {
        let mut response = httparse::Response::new(&mut []);
        match parser().parse_response_with_uninit_headers(&mut response, bytes, slots) {
            Ok(_) => Ok(()),
            Err(error) => Err(tokenizer_error(error)),
        }
    })
}
