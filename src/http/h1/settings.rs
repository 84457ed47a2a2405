//! What a decoder accepts. Follows `config.core.v3.Http1ProtocolOptions` and the limits of the connection manager.

/// Limits and choices of a decoder. The default is Envoy's, made strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct H1Settings {
    /// Bytes of a head, first line and line ends included, and likewise of trailers. `max_request_headers_kb` * 1024;
    /// 1 to 8 MiB. More is answered with 431.
    pub max_head_bytes: u32,
    /// Header lines of a head, and likewise of trailers. More are answered with 431.
    pub max_header_count: u32,
    /// Bytes of all chunk extensions of one body. More are an error.
    pub max_chunk_extension_bytes: u32,
    /// Serve HTTP/1.0 requests; else they are answered with 426.
    pub accept_http_10: bool,
    /// Hand trailers on; else they are read and dropped.
    pub enable_trailers: bool,
    /// Accept `content-length` beside `transfer-encoding: chunked` (the length is then removed). Else 400.
    pub allow_chunked_length: bool,
    /// Accept methods that are not registered. Else 400.
    pub allow_custom_methods: bool,
    /// Accept request targets in absolute form from clients.
    pub allow_absolute_url: bool,
    /// What RFC 9112 forbids and is accepted nevertheless.
    pub leniency: Leniency,
}

impl H1Settings {
    /// Envoy's defaults, and nothing that RFC 9112 forbids.
    pub const STRICT: H1Settings = H1Settings {
        max_head_bytes: 60 * 1024,
        max_header_count: 100,
        max_chunk_extension_bytes: 4 * 1024,
        accept_http_10: false,
        enable_trailers: false,
        allow_chunked_length: false,
        allow_custom_methods: false,
        allow_absolute_url: true,
        leniency: Leniency::STRICT,
    };
}

impl Default for H1Settings {
    fn default() -> H1Settings {
        H1Settings::STRICT
    }
}

/// Departures from RFC 9112 that Envoy 1.40 accepts. Each of them has been used to smuggle requests past a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leniency {
    /// Lines that end with LF alone.
    pub bare_lf: bool,
    /// Folded header lines; the fold becomes spaces.
    pub obs_fold: bool,
    /// CR inside a header value; it becomes a space.
    pub bare_cr: bool,
    /// Several `host` lines; they are joined by commas.
    pub duplicate_host: bool,
    /// No `host` line where the request target names the host (absolute form and CONNECT).
    pub host_from_target_only: bool,
    /// Spaces between a chunk size and the line end.
    pub chunk_size_padding: bool,
}

impl Leniency {
    /// No departures.
    pub const STRICT: Leniency = Leniency {
        bare_lf: false,
        obs_fold: false,
        bare_cr: false,
        duplicate_host: false,
        host_from_target_only: false,
        chunk_size_padding: false,
    };

    /// What Envoy 1.40 accepts.
    pub const ENVOY: Leniency = Leniency {
        bare_lf: true,
        obs_fold: true,
        bare_cr: true,
        duplicate_host: true,
        host_from_target_only: true,
        chunk_size_padding: true,
    };

    /// Whether heads must be rewritten before they can be read.
    pub(super) fn rewrites(self) -> bool {
        self.obs_fold || self.bare_cr
    }
}

impl Default for Leniency {
    fn default() -> Leniency {
        Leniency::STRICT
    }
}
