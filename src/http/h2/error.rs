//! Why a connection or one stream of it is over, and how that is told to the peer (RFC 9113 sections 5.4 and 7).

use std::fmt;

use thiserror::Error;

use super::hpack::HpackError;

/// What RST_STREAM and GOAWAY give as reason (RFC 9113 section 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u32);

impl ErrorCode {
    /// Nothing is wrong.
    pub const NO_ERROR: ErrorCode = ErrorCode(0);
    /// A rule was broken for which there is no code of its own.
    pub const PROTOCOL_ERROR: ErrorCode = ErrorCode(1);
    /// Something failed on this side.
    pub const INTERNAL_ERROR: ErrorCode = ErrorCode(2);
    /// More was sent than the window allows, or a window grew beyond its limit.
    pub const FLOW_CONTROL_ERROR: ErrorCode = ErrorCode(3);
    /// SETTINGS were not acknowledged in time.
    pub const SETTINGS_TIMEOUT: ErrorCode = ErrorCode(4);
    /// A frame for a stream that was complete.
    pub const STREAM_CLOSED: ErrorCode = ErrorCode(5);
    /// A frame of a wrong size.
    pub const FRAME_SIZE_ERROR: ErrorCode = ErrorCode(6);
    /// The stream was not looked at: it may be tried again.
    pub const REFUSED_STREAM: ErrorCode = ErrorCode(7);
    /// The stream is no longer needed.
    pub const CANCEL: ErrorCode = ErrorCode(8);
    /// A header block cannot be decoded.
    pub const COMPRESSION_ERROR: ErrorCode = ErrorCode(9);
    /// A CONNECT's connection failed.
    pub const CONNECT_ERROR: ErrorCode = ErrorCode(10);
    /// The peer makes too much work.
    pub const ENHANCE_YOUR_CALM: ErrorCode = ErrorCode(11);
    /// The transport is not safe enough.
    pub const INADEQUATE_SECURITY: ErrorCode = ErrorCode(12);
    /// HTTP/1.1 must be used.
    pub const HTTP_1_1_REQUIRED: ErrorCode = ErrorCode(13);
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "NO_ERROR",
            1 => "PROTOCOL_ERROR",
            2 => "INTERNAL_ERROR",
            3 => "FLOW_CONTROL_ERROR",
            4 => "SETTINGS_TIMEOUT",
            5 => "STREAM_CLOSED",
            6 => "FRAME_SIZE_ERROR",
            7 => "REFUSED_STREAM",
            8 => "CANCEL",
            9 => "COMPRESSION_ERROR",
            10 => "CONNECT_ERROR",
            11 => "ENHANCE_YOUR_CALM",
            12 => "INADEQUATE_SECURITY",
            13 => "HTTP_1_1_REQUIRED",
            other => return write!(f, "{other:#x}"),
        };
        f.write_str(name)
    }
}

/// Why this side ended the connection. Each flood is a kind of its own: Envoy counts them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ConnectionError {
    /// The connection does not begin as HTTP/2.
    #[error("no connection preface")]
    BadPreface,
    /// A rule of RFC 9113 was broken; which one.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// A frame that is larger than announced, or has not the size of its kind.
    #[error("frame size error")]
    FrameSize,
    /// More was sent than the window allows, or a window grew beyond 2^31 - 1.
    #[error("flow control error")]
    FlowControl,
    /// A header block that cannot be decoded.
    #[error("header compression: {0}")]
    Compression(#[from] HpackError),
    /// A malformed message, where that ends the connection (`stream_error_on_invalid_message` is off).
    #[error(transparent)]
    InvalidMessage(#[from] InvalidMessage),
    /// A header block that goes on far beyond `max_header_bytes`.
    #[error("header block too large")]
    HeaderBlockTooLarge,
    /// More CONTINUATION frames in one block than `max_continuation_frames`.
    #[error("CONTINUATION flood")]
    ContinuationFlood,
    /// More empty DATA, HEADERS or CONTINUATION frames in a row than allowed.
    #[error("empty frames flood")]
    EmptyFramesFlood,
    /// More PRIORITY frames than the number of streams justifies.
    #[error("PRIORITY flood")]
    PriorityFlood,
    /// More WINDOW_UPDATE frames than streams and sent data justify.
    #[error("WINDOW_UPDATE flood")]
    WindowUpdateFlood,
    /// A METADATA block beyond its limit.
    #[error("METADATA flood")]
    MetadataFlood,
    /// RST_STREAM frames faster than allowed.
    #[error("RST_STREAM flood")]
    ResetFlood,
    /// Too many streams were reset soon after they were opened, or had to be.
    #[error("too many premature resets")]
    PrematureResets,
    /// The peer does not read, and has made us queue too many frames.
    #[error("outbound frames flood")]
    OutboundFlood,
    /// The peer does not read, and has made us queue too many answers to PING, SETTINGS and the like.
    #[error("outbound control frames flood")]
    OutboundControlFlood,
    /// The owner ended the connection with this code.
    #[error("closed locally: {0}")]
    Local(ErrorCode),
}

impl ConnectionError {
    /// What GOAWAY tells the peer.
    pub fn code(self) -> ErrorCode {
        match self {
            ConnectionError::BadPreface
            | ConnectionError::Protocol(_)
            | ConnectionError::InvalidMessage(_) => ErrorCode::PROTOCOL_ERROR,
            ConnectionError::FrameSize => ErrorCode::FRAME_SIZE_ERROR,
            ConnectionError::FlowControl => ErrorCode::FLOW_CONTROL_ERROR,
            ConnectionError::Compression(_) => ErrorCode::COMPRESSION_ERROR,
            ConnectionError::HeaderBlockTooLarge
            | ConnectionError::ContinuationFlood
            | ConnectionError::EmptyFramesFlood
            | ConnectionError::PriorityFlood
            | ConnectionError::WindowUpdateFlood
            | ConnectionError::MetadataFlood
            | ConnectionError::ResetFlood
            | ConnectionError::PrematureResets
            | ConnectionError::OutboundFlood
            | ConnectionError::OutboundControlFlood => ErrorCode::ENHANCE_YOUR_CALM,
            ConnectionError::Local(code) => code,
        }
    }

    /// Whether the peer broke no rule but made too much work: Envoy counts these apart from errors of the protocol.
    pub fn is_flood(self) -> bool {
        matches!(
            self,
            ConnectionError::EmptyFramesFlood
                | ConnectionError::PriorityFlood
                | ConnectionError::WindowUpdateFlood
                | ConnectionError::OutboundFlood
                | ConnectionError::OutboundControlFlood
        )
    }

    /// The statistic that Envoy counts it by, below `http2.`; that of premature resets is the connection manager's
    /// `downstream_rq_too_many_premature_resets`.
    pub fn statistic(self) -> Option<&'static str> {
        match self {
            ConnectionError::InvalidMessage(_) => Some("rx_messaging_error"),
            ConnectionError::HeaderBlockTooLarge => Some("header_list_size_too_large"),
            ConnectionError::EmptyFramesFlood => Some("inbound_empty_frames_flood"),
            ConnectionError::PriorityFlood => Some("inbound_priority_frames_flood"),
            ConnectionError::WindowUpdateFlood => Some("inbound_window_update_frames_flood"),
            ConnectionError::OutboundFlood => Some("outbound_flood"),
            ConnectionError::OutboundControlFlood => Some("outbound_control_flood"),
            _ => None,
        }
    }

    /// Envoy's `response_code_details` of the streams that end with it.
    pub fn details(self) -> &'static str {
        match self {
            ConnectionError::InvalidMessage(message) => message.details(),
            ConnectionError::HeaderBlockTooLarge => "http2.too_large",
            ConnectionError::EmptyFramesFlood => "http2.inbound_empty_frames_flood",
            ConnectionError::PriorityFlood => "http2.inbound_priority_frames_flood",
            ConnectionError::WindowUpdateFlood => "http2.inbound_window_update_frames_flood",
            ConnectionError::OutboundFlood => "http2.outbound_frames_flood",
            ConnectionError::OutboundControlFlood => "http2.outbound_control_frames_flood",
            ConnectionError::PrematureResets => "downstream_rq_too_many_premature_resets",
            _ => "http2.unknown.nghttp2.error",
        }
    }
}

/// Why a message is malformed (RFC 9113 section 8.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidMessage {
    /// A name or a value with characters that may not stand there, or a value with spaces around it.
    #[error("invalid characters in a header")]
    Characters,
    /// A pseudo-header that is unknown, repeated, out of place, or not of this kind of message.
    #[error("unexpected pseudo-header")]
    UnexpectedPseudoHeader,
    /// A pseudo-header that this kind of message must have is missing.
    #[error("missing pseudo-header")]
    MissingPseudoHeader,
    /// `:method`, `:scheme`, `:authority`, `:path` or `:status` with a value it cannot have.
    #[error("invalid value of a pseudo-header")]
    PseudoHeaderValue,
    /// A header about the connection, which HTTP/2 has not (RFC 9113 section 8.2.2).
    #[error("connection-specific header")]
    ConnectionSpecific,
    /// `host` twice, or another one than `:authority`.
    #[error("contradicting host")]
    Host,
    /// `content-length` twice, or no number.
    #[error("invalid content-length")]
    ContentLength,
    /// The body has not the length that `content-length` says, or there is one where none may be.
    #[error("body length does not match")]
    BodyLength,
    /// Headers in the middle of a body that do not end it, or an interim response that does.
    #[error("message out of sequence")]
    Sequence,
}

impl InvalidMessage {
    /// Envoy's `response_code_details`.
    pub fn details(self) -> &'static str {
        match self {
            InvalidMessage::Characters => "http2.invalid.header.field",
            _ => "http2.violation.of.messaging.rule",
        }
    }
}

/// Why a stream ended before both directions were complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StreamError {
    /// The peer reset it.
    #[error("reset by the peer: {0}")]
    Reset(ErrorCode),
    /// The peer reset it before looking at it: a request may be sent again.
    #[error("refused by the peer")]
    Refused,
    /// The peer closes the connection and did not look at it: a request may be sent again.
    #[error("not processed by the peer")]
    Unprocessed,
    /// This side reset it.
    #[error("reset locally: {0}")]
    Local(ErrorCode),
    /// The peer's message is malformed.
    #[error(transparent)]
    InvalidMessage(InvalidMessage),
    /// The peer's headers exceed a limit.
    #[error(transparent)]
    HeadersTooLarge(HeaderOverflow),
    /// The peer broke another rule that concerns this stream only.
    #[error("stream error: {0}")]
    Protocol(ErrorCode),
    /// This side ended the connection.
    #[error(transparent)]
    Connection(ConnectionError),
    /// The connection ended.
    #[error("connection closed")]
    Closed,
}

impl StreamError {
    /// Whether the peer certainly did nothing with the request, so that sending it again is safe.
    pub fn is_unprocessed(self) -> bool {
        matches!(self, StreamError::Refused | StreamError::Unprocessed)
    }

    /// Envoy's `response_code_details`.
    pub fn details(self) -> &'static str {
        match self {
            StreamError::Reset(_) => "http2.remote_reset",
            StreamError::Refused => "http2.remote_refuse",
            StreamError::InvalidMessage(message) => message.details(),
            StreamError::HeadersTooLarge(HeaderOverflow::Count) => "http2.too_many_headers",
            StreamError::HeadersTooLarge(HeaderOverflow::Bytes) => "http2.too_large",
            StreamError::Connection(error) => error.details(),
            StreamError::Unprocessed
            | StreamError::Local(_)
            | StreamError::Protocol(_)
            | StreamError::Closed => "http2.unknown.nghttp2.error",
        }
    }
}

/// Which limit a head, or trailers, exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeaderOverflow {
    /// `max_header_bytes`.
    #[error("headers exceed the size limit")]
    Bytes,
    /// `max_header_count`.
    #[error("headers exceed the count limit")]
    Count,
}

/// Why no stream could be opened. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// As many streams are open as the peer, or this side, allows.
    #[error("too many streams")]
    TooManyStreams,
    /// The connection is closing: the peer said so, or this side did.
    #[error("connection is closing")]
    Closing,
    /// The connection is over, or all stream identifiers are used.
    #[error("connection is over")]
    Over,
    /// An extended CONNECT (RFC 8441), which the peer does not offer.
    #[error("extended CONNECT is not offered")]
    ExtendedConnectNotOffered,
}
