//! Reading a message's fields one by one, with every check that RFC 9113 section 8 asks of an endpoint and an intermediary.
//!
//! The first problem decides; what follows it is not looked at. A field over a limit is not kept, so that a block of any length
//! takes no more memory than the limit.

use crate::http::h2::characters;
use crate::http::h2::error::{HeaderOverflow, InvalidMessage};
use crate::http::h2::hpack::Field;
use crate::http::header::{self, COOKIE, is_pseudo};
use crate::http::message::parse_decimal;
use crate::http::{HeaderMap, RequestHead, ResponseHead, Version};

/// What the fields of a block make up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// A request's head. `extended_connect`: `:protocol` is allowed (RFC 8441).
    Request { extended_connect: bool },
    /// A response's head, interim or final.
    Response,
    /// Either's trailers.
    Trailers,
    /// Nothing that anybody waits for: it is only decoded.
    Discarded,
}

/// Limits of a head, or of trailers.
#[derive(Debug, Clone, Copy)]
pub struct HeaderLimits {
    /// Bytes of all names and values.
    pub max_bytes: u32,
    /// Fields.
    pub max_count: u32,
}

/// Why a block is no head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderProblem {
    /// The message is malformed.
    Invalid(InvalidMessage),
    /// It exceeds a limit.
    Overflow(HeaderOverflow),
}

/// A head that passed.
#[derive(Debug)]
pub struct IncomingHead<H> {
    /// The head.
    pub head: H,
    /// What the body's length must be; none if that is not told, or not checked.
    pub content_length: Option<u64>,
}

/// The fields of one block so far.
#[derive(Debug)]
pub struct HeaderBlock {
    kind: MessageKind,
    headers: HeaderMap,
    /// Bytes of all names and values so far, kept or not.
    bytes: u64,
    count: u32,
    /// One bit for each pseudo-header that was there.
    pseudo: u8,
    has_regular: bool,
    has_host: bool,
    method: MethodKind,
    path: PathForm,
    cookies: u32,
    content_length: Option<u64>,
    problem: Option<HeaderProblem>,
}

impl HeaderBlock {
    /// No fields yet.
    pub fn new(kind: MessageKind) -> HeaderBlock {
        HeaderBlock {
            kind,
            headers: HeaderMap::new(),
            bytes: 0,
            count: 0,
            pseudo: 0,
            has_regular: false,
            has_host: false,
            method: MethodKind::Other,
            path: PathForm::Other,
            cookies: 0,
            content_length: None,
            problem: None,
        }
    }

    /// Bytes of all names and values so far, those included that were not kept.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Fields so far, likewise.
    pub fn count(&self) -> u64 {
        self.count.into()
    }

    /// Takes the next field.
    #[inline]
    pub fn push(&mut self, field: Field<'_>, limits: HeaderLimits) {
        self.bytes += (field.name.len() + field.value.len()) as u64;
        self.count = self.count.saturating_add(1);
        if self.problem.is_some() || self.kind == MessageKind::Discarded {
            return;
        }
        if self.bytes > limits.max_bytes.into() {
            self.problem = Some(HeaderProblem::Overflow(HeaderOverflow::Bytes));
        } else if self.count > limits.max_count {
            self.problem = Some(HeaderProblem::Overflow(HeaderOverflow::Count));
        } else if let Err(invalid) = self.take(field) {
            self.problem = Some(HeaderProblem::Invalid(invalid));
        }
    }

    #[inline]
    fn take(&mut self, field: Field<'_>) -> Result<(), InvalidMessage> {
        if field.name.first() == Some(&b':') {
            return self.take_pseudo(field);
        }
        self.has_regular = true;
        if !field.is_valid {
            return Err(InvalidMessage::Characters);
        }
        match SPECIAL[field.id as usize] {
            Special::None => {}
            Special::ConnectionSpecific => return Err(InvalidMessage::ConnectionSpecific),
            Special::Te if !field.value.eq_ignore_ascii_case(b"trailers") => {
                return Err(InvalidMessage::ConnectionSpecific);
            }
            Special::Cookie => self.cookies += 1,
            // What would change the meaning of the message to the next reader does not pass (RFC 9110 section 6.5.1).
            _ if self.kind == MessageKind::Trailers => return Ok(()),
            Special::Te | Special::NotInTrailers => {}
            Special::Host => return self.take_host(field),
            Special::ContentLength => {
                let is_first = self.content_length.is_none();
                self.content_length = parse_decimal(field.value).filter(|_| is_first);
                if self.content_length.is_none() {
                    return Err(InvalidMessage::ContentLength);
                }
            }
        }
        self.headers.push_decoded(field.id, field.name, field.value, field.never_indexed);
        Ok(())
    }

    /// RFC 9113 section 8.3.
    fn take_pseudo(&mut self, field: Field<'_>) -> Result<(), InvalidMessage> {
        let is_expected = match self.kind {
            MessageKind::Request { extended_connect } => {
                is_pseudo(field.id)
                    && field.id != header::STATUS.id()
                    && (extended_connect || field.id != header::PROTOCOL.id())
            }
            MessageKind::Response => field.id == header::STATUS.id(),
            MessageKind::Trailers | MessageKind::Discarded => false,
        };
        if !is_expected || self.has_regular || self.has(field.id) {
            return Err(InvalidMessage::UnexpectedPseudoHeader);
        }
        let is_allowed = match field.id {
            METHOD => {
                self.method = match field.value {
                    b"CONNECT" => MethodKind::Connect,
                    b"OPTIONS" => MethodKind::Options,
                    _ => MethodKind::Other,
                };
                characters::is_method(field.value)
            }
            SCHEME => characters::is_scheme(field.value),
            AUTHORITY => characters::is_authority(field.value),
            PATH => {
                self.path = match field.value {
                    [b'/', ..] => PathForm::Absolute,
                    b"*" => PathForm::Asterisk,
                    _ => PathForm::Other,
                };
                characters::is_path(field.value)
            }
            PROTOCOL => characters::is_method(field.value),
            _ => true,
        };
        if !is_allowed {
            return Err(InvalidMessage::PseudoHeaderValue);
        }
        self.pseudo |= pseudo_bit(field.id);
        self.headers.push_decoded(field.id, field.name, field.value, field.never_indexed);
        Ok(())
    }

    /// RFC 9113 section 8.3.1: `host` is `:authority` where that is missing, and must not contradict it.
    fn take_host(&mut self, field: Field<'_>) -> Result<(), InvalidMessage> {
        if !matches!(self.kind, MessageKind::Request { .. }) {
            return Ok(());
        }
        if self.has_host {
            return Err(InvalidMessage::Host);
        }
        self.has_host = true;
        match self.headers.get(header::AUTHORITY) {
            Some(authority) if authority.eq_ignore_ascii_case(field.value) => Ok(()),
            Some(_) => Err(InvalidMessage::Host),
            None if !characters::is_authority(field.value) => Err(InvalidMessage::Host),
            None => {
                self.headers.push_decoded(AUTHORITY, b"", field.value, field.never_indexed);
                Ok(())
            }
        }
    }

    /// The whole request. `end_stream`: it has no body.
    ///
    /// # Errors
    /// The problem, and the head as far as it was read.
    pub fn into_request(
        mut self,
        end_stream: bool,
    ) -> Result<IncomingHead<RequestHead>, (HeaderProblem, RequestHead)> {
        let checked =
            self.checked().and_then(|()| self.check_request(end_stream).map_err(HeaderProblem::Invalid));
        let head = RequestHead { headers: std::mem::take(&mut self.headers), version: Version::Http2 };
        match checked {
            Ok(()) => Ok(IncomingHead { head, content_length: self.content_length }),
            Err(problem) => Err((problem, head)),
        }
    }

    fn check_request(&mut self, end_stream: bool) -> Result<(), InvalidMessage> {
        let is_connect = self.method == MethodKind::Connect;
        if !self.has(METHOD) || !(self.has(AUTHORITY) || self.has_host) {
            return Err(InvalidMessage::MissingPseudoHeader);
        }
        if is_connect && !self.has(PROTOCOL) {
            // RFC 9113 section 8.5. The tunnel's content has no length.
            if self.has(SCHEME) || self.has(PATH) {
                return Err(InvalidMessage::UnexpectedPseudoHeader);
            }
        } else {
            if !is_connect && self.has(PROTOCOL) {
                return Err(InvalidMessage::UnexpectedPseudoHeader);
            }
            if !self.has(SCHEME) || !self.has(PATH) {
                return Err(InvalidMessage::MissingPseudoHeader);
            }
            match self.path {
                PathForm::Absolute => {}
                PathForm::Asterisk if self.method == MethodKind::Options => {}
                _ => return Err(InvalidMessage::PseudoHeaderValue),
            }
        }
        if is_connect {
            self.headers.remove(header::CONTENT_LENGTH);
            self.content_length = None;
        }
        if end_stream && self.content_length.is_some_and(|length| length > 0) {
            return Err(InvalidMessage::BodyLength);
        }
        if self.cookies > 1 {
            self.headers.join(COOKIE, b"; ");
        }
        Ok(())
    }

    /// The whole response to a request that was, or was not, HEAD or CONNECT.
    ///
    /// # Errors
    /// The problem.
    pub fn into_response(
        mut self,
        end_stream: bool,
        to_head: bool,
        to_connect: bool,
    ) -> Result<IncomingHead<ResponseHead>, HeaderProblem> {
        self.checked()?;
        self.check_response(end_stream, to_head, to_connect).map_err(HeaderProblem::Invalid)
    }

    fn check_response(
        &mut self,
        end_stream: bool,
        to_head: bool,
        to_connect: bool,
    ) -> Result<IncomingHead<ResponseHead>, InvalidMessage> {
        let status = match self.headers.get(header::STATUS) {
            None => return Err(InvalidMessage::MissingPseudoHeader),
            Some(text @ [b'1'..=b'9', _, _]) => {
                parse_decimal(text).and_then(|status| u16::try_from(status).ok())
            }
            Some(_) => None,
        };
        // HTTP/2 has no 101 (RFC 9113 section 8.6).
        let Some(status) = status.filter(|status| *status != 101) else {
            return Err(InvalidMessage::PseudoHeaderValue);
        };
        let is_interim = status < 200;
        if is_interim && end_stream {
            return Err(InvalidMessage::Sequence);
        }
        let is_tunnel = to_connect && (200..300).contains(&status);
        if is_interim || is_tunnel {
            self.headers.remove(header::CONTENT_LENGTH);
            self.content_length = None;
        } else if to_head || status == 304 || status == 204 {
            // The length, if any, is that of a body that is not sent (RFC 9110 section 8.6).
            self.content_length = Some(0);
        } else if end_stream && self.content_length.is_some_and(|length| length > 0) {
            return Err(InvalidMessage::BodyLength);
        }
        let headers = std::mem::take(&mut self.headers);
        let head = ResponseHead::from_wire(headers, status, Version::Http2);
        Ok(IncomingHead { head, content_length: self.content_length })
    }

    /// The whole trailers.
    ///
    /// # Errors
    /// The problem.
    pub fn into_trailers(self) -> Result<HeaderMap, HeaderProblem> {
        self.checked()?;
        Ok(self.headers)
    }

    fn checked(&self) -> Result<(), HeaderProblem> {
        self.problem.map_or(Ok(()), Err)
    }

    /// Whether that pseudo-header was there.
    fn has(&self, id: u8) -> bool {
        self.pseudo & pseudo_bit(id) != 0
    }
}

/// Methods that have rules of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MethodKind {
    Connect,
    Options,
    Other,
}

/// What `:path` looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathForm {
    Absolute,
    Asterisk,
    Other,
}

const METHOD: u8 = header::METHOD.id();
const PATH: u8 = header::PATH.id();
const AUTHORITY: u8 = header::AUTHORITY.id();
const SCHEME: u8 = header::SCHEME.id();
const PROTOCOL: u8 = header::PROTOCOL.id();

/// The numbers of pseudo-headers are the smallest ones.
fn pseudo_bit(id: u8) -> u8 {
    1 << (id & 7)
}

const _: () = assert!(header::STATUS.id() < 8);

/// What a name means to the codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Special {
    None,
    /// Of HTTP/1 only (RFC 9113 section 8.2.2).
    ConnectionSpecific,
    Te,
    Host,
    ContentLength,
    Cookie,
    NotInTrailers,
}

static SPECIAL: [Special; 256] = {
    let mut table = [Special::None; 256];
    table[header::CONNECTION.id() as usize] = Special::ConnectionSpecific;
    table[header::KEEP_ALIVE.id() as usize] = Special::ConnectionSpecific;
    table[header::PROXY_CONNECTION.id() as usize] = Special::ConnectionSpecific;
    table[header::TRANSFER_ENCODING.id() as usize] = Special::ConnectionSpecific;
    table[header::UPGRADE.id() as usize] = Special::ConnectionSpecific;
    table[header::TE.id() as usize] = Special::Te;
    table[header::HOST_ON_THE_WIRE.id() as usize] = Special::Host;
    table[header::CONTENT_LENGTH.id() as usize] = Special::ContentLength;
    table[header::COOKIE.id() as usize] = Special::Cookie;
    table[header::TRAILER.id() as usize] = Special::NotInTrailers;
    table[header::EXPECT.id() as usize] = Special::NotInTrailers;
    table
};
