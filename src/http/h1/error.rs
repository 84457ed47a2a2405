//! Why bytes are not HTTP/1, and how that is answered.

use thiserror::Error;

/// A broken message. The connection cannot be read any further: answer (a request) and close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum H1Error {
    /// The first line or a header line is not as RFC 9112 says.
    #[error("malformed message head: {0}")]
    Malformed(&'static str),
    /// A control character in a header value.
    #[error("invalid characters in a header")]
    InvalidCharacters,
    /// `connection` names a header that must not be removed, or too many.
    #[error("connection header names a forbidden header")]
    ConnectionHeaderRejected,
    /// An absolute request target whose scheme is neither http nor https.
    #[error("unsupported scheme")]
    InvalidScheme,
    /// `content-length` in a response whose status forbids it.
    #[error("content-length is not allowed here")]
    ContentLengthNotAllowed,
    /// The head, or the trailers, exceed `max_head_bytes`.
    #[error("headers exceed the size limit")]
    HeadersTooLarge,
    /// More header lines than `max_header_count`.
    #[error("headers exceed the count limit")]
    TooManyHeaders,
    /// HTTP/1.0 or older, which is not enabled.
    #[error("HTTP version is too old")]
    UpgradeRequired,
    /// A HTTP/1.1 request without `host`.
    #[error("request has no host header")]
    MissingHost,
    /// Several `host` lines.
    #[error("request has more than one host header")]
    DuplicateHost,
    /// A host that is none.
    #[error("invalid host")]
    InvalidHost,
    /// A method nobody registered.
    #[error("unknown method")]
    UnknownMethod,
    /// A request target of a wrong form, or with bytes that may not stand in it.
    #[error("invalid request target")]
    InvalidTarget,
    /// A request target with `#`.
    #[error("request target has a fragment")]
    FragmentInPath,
    /// `content-length` that is no number, or several of them.
    #[error("invalid content-length")]
    InvalidContentLength,
    /// `content-length` beside `transfer-encoding`.
    #[error("both content-length and transfer-encoding")]
    LengthAndChunked,
    /// A transfer coding other than chunked.
    #[error("unsupported transfer coding")]
    UnsupportedTransferEncoding,
    /// `transfer-encoding` in a message whose version or status forbids it.
    #[error("transfer-encoding is not allowed here")]
    TransferEncodingNotAllowed,
    /// A CONNECT request with a body.
    #[error("a body is not allowed here")]
    BodyNotAllowed,
    /// A chunk size that is no hexadecimal number, or larger than 2^63 - 1.
    #[error("invalid chunk size")]
    InvalidChunkSize,
    /// Chunk data that is not followed by CRLF.
    #[error("chunk data is not terminated")]
    InvalidChunkEnd,
    /// Chunk extensions beyond `max_chunk_extension_bytes`, or malformed.
    #[error("invalid or excessive chunk extensions")]
    InvalidChunkExtension,
    /// A response that nobody asked for: 101 without an upgrade, or bytes while no request is outstanding.
    #[error("unexpected response")]
    UnexpectedResponse,
    /// The connection ended within a message.
    #[error("connection ended within a message")]
    UnexpectedEof,
}

impl H1Error {
    /// The status that answers a broken request.
    pub fn status(self) -> u16 {
        match self {
            H1Error::HeadersTooLarge | H1Error::TooManyHeaders => 431,
            H1Error::UpgradeRequired => 426,
            H1Error::UnsupportedTransferEncoding => 501,
            _ => 400,
        }
    }

    /// Envoy's `response_code_details`.
    pub fn details(self) -> &'static str {
        match self {
            H1Error::HeadersTooLarge => "http1.headers_too_large",
            H1Error::TooManyHeaders => "http1.too_many_headers",
            H1Error::UpgradeRequired => "low_version",
            H1Error::MissingHost => "missing_host_header",
            H1Error::FragmentInPath => "path_normalization_failed",
            H1Error::InvalidTarget => "http1.invalid_url",
            H1Error::InvalidScheme => "http1.invalid_scheme",
            H1Error::InvalidCharacters => "http1.invalid_characters",
            H1Error::InvalidHost => "http.invalid_authority",
            H1Error::ConnectionHeaderRejected => "http1.connection_header_rejected",
            H1Error::ContentLengthNotAllowed => "http1.content_length_not_allowed",
            H1Error::UnsupportedTransferEncoding => "http1.invalid_transfer_encoding",
            H1Error::TransferEncodingNotAllowed => "http1.transfer_encoding_not_allowed",
            H1Error::LengthAndChunked => "http1.content_length_and_chunked_not_allowed",
            H1Error::BodyNotAllowed => "http1.body_disallowed",
            _ => "http1.codec_error",
        }
    }

    /// Whether the bytes are at fault (Envoy answers with the reason phrase as body, sets the response flag DPE and counts
    /// `downstream_cx_protocol_error`), and not merely the request refused (empty body, no flag).
    pub fn is_protocol_error(self) -> bool {
        !matches!(self, H1Error::MissingHost | H1Error::FragmentInPath)
    }
}
