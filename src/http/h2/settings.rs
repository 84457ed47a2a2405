//! What a connection announces and accepts. Follows `config.core.v3.Http2ProtocolOptions` and the limits of the connection
//! manager; the defaults are Envoy 1.40's, checked on the program.

/// Choices and limits of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct H2Settings {
    /// Size of the tables of both directions; the peer may make that of its direction smaller. `hpack_table_size`, default 4,096.
    pub header_table_bytes: u32,
    /// Streams that the peer may have open, as a server; streams opened at most, as a client. `max_concurrent_streams`,
    /// 1 to 2^31 - 1, default 1,024.
    pub max_concurrent_streams: u32,
    /// What the peer may send on one stream before it is taken. `initial_stream_window_size`, 65,535 to 2^31 - 1, default 16 MiB.
    /// A stalled stream holds so much memory.
    pub stream_window_bytes: u32,
    /// What may be under way on all streams together. `initial_connection_window_size`, 65,535 to 2^31 - 1, default 24 MiB.
    /// A connection whose streams are stalled holds up to twice as much (see the module's documentation).
    pub connection_window_bytes: u32,
    /// Whether clients may use extended CONNECT (RFC 8441). `allow_connect`, default false.
    pub allow_extended_connect: bool,
    /// Whether a malformed message ends its stream only, not the connection. `override_stream_error_on_invalid_http_message`,
    /// default false. A body that contradicts its length always ends only the stream, as with Envoy.
    pub stream_error_on_invalid_message: bool,
    /// Bytes of all names and values of a head, and likewise of trailers. `max_request_headers_kb` * 1024, default 60 KiB.
    pub max_header_bytes: u32,
    /// Fields of a head, pseudo-headers and every piece of a split cookie included, and likewise of trailers. Default 100.
    pub max_header_count: u32,
    /// A stream takes data while fewer bytes than this are queued on it; 1 or more, default 1 MiB.
    pub stream_send_buffer_bytes: u32,
    /// How much work the peer may make.
    pub limits: FloodLimits,
}

/// How much work a peer may make. Exceeding a limit ends the connection with an error of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FloodLimits {
    /// Frames queued while the peer does not read. `max_outbound_frames`, default 10,000.
    pub max_outbound_frames: u32,
    /// Answers to PING and SETTINGS, and RST_STREAM, queued while the peer does not read. `max_outbound_control_frames`,
    /// default 1,000.
    pub max_outbound_control_frames: u32,
    /// DATA, HEADERS and CONTINUATION frames in a row that are empty and do not end the stream.
    /// `max_consecutive_inbound_frames_with_empty_payload`, default 1.
    pub max_consecutive_empty_frames: u32,
    /// PRIORITY frames: this many times one more than the streams that are open. `max_inbound_priority_frames_per_stream`,
    /// default 100.
    pub max_priority_frames_per_stream: u32,
    /// WINDOW_UPDATE frames: 5 + 2 * (open streams + this * DATA frames sent).
    /// `max_inbound_window_update_frames_per_data_frame_sent`, default 10.
    pub max_window_updates_per_data_frame: u32,
    /// CONTINUATION frames of one header block; 512 for a server, 1,024 for a client.
    pub max_continuation_frames: u32,
    /// Bytes of one METADATA block, which is ignored. Default 1 MiB.
    pub max_metadata_bytes: u32,
    /// Streams after which the share of premature resets counts, as a server: half of so many premature ones end the
    /// connection, or half of all once there were more streams. `overload.premature_reset_total_stream_count`, default 500.
    pub premature_reset_total_streams: u32,
    /// A stream that is reset in a second up to this one of its life, unanswered, was reset prematurely.
    /// `overload.premature_reset_min_stream_lifetime_seconds`, default 1.
    pub premature_reset_lifetime_s: u32,
    /// RST_STREAM frames that may come at once; default 1,000, as nghttp2 has it.
    pub reset_burst: u32,
    /// RST_STREAM frames per second that may come for ever; default 33, as nghttp2 has it.
    pub reset_rate_per_s: u32,
    /// Interim responses that may wait unread on one stream, as a client; default 8.
    pub max_unread_interim_heads: u32,
}

impl H2Settings {
    /// Envoy's defaults for connections from clients.
    pub const SERVER: H2Settings = H2Settings {
        header_table_bytes: 4096,
        max_concurrent_streams: 1024,
        stream_window_bytes: 16 << 20,
        connection_window_bytes: 24 << 20,
        allow_extended_connect: false,
        stream_error_on_invalid_message: false,
        max_header_bytes: 60 * 1024,
        max_header_count: 100,
        stream_send_buffer_bytes: 1 << 20,
        limits: FloodLimits::SERVER,
    };

    /// Envoy's defaults for connections to hosts.
    pub const CLIENT: H2Settings = H2Settings { limits: FloodLimits::CLIENT, ..H2Settings::SERVER };
}

impl FloodLimits {
    /// Envoy's defaults for connections from clients.
    pub const SERVER: FloodLimits = FloodLimits {
        max_outbound_frames: 10_000,
        max_outbound_control_frames: 1_000,
        max_consecutive_empty_frames: 1,
        max_priority_frames_per_stream: 100,
        max_window_updates_per_data_frame: 10,
        max_continuation_frames: 512,
        max_metadata_bytes: 1 << 20,
        premature_reset_total_streams: 500,
        premature_reset_lifetime_s: 1,
        reset_burst: 1_000,
        reset_rate_per_s: 33,
        max_unread_interim_heads: 8,
    };

    /// Envoy's defaults for connections to hosts.
    pub const CLIENT: FloodLimits = FloodLimits { max_continuation_frames: 1_024, ..FloodLimits::SERVER };
}
