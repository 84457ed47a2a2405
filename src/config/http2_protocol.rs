//! Options of the HTTP/2 codec, shared by the connection manager and clusters
//! (`envoy.config.core.v3.Http2ProtocolOptions`).

use std::time::Duration;

use envoy_types::pb::envoy::config::core::v3 as core;

use super::context::wrapped_or;
use super::{Context, FieldPath};
use crate::http::h2::{FloodLimits, H2Settings};

/// Options of the HTTP/2 codec.
#[derive(Debug, Clone, PartialEq)]
pub struct Http2Options {
    /// What a connection announces and accepts; limits on heads are set by its owner.
    pub settings: H2Settings,
    /// PINGs that find out whether the peer is there.
    pub keepalive: Option<Http2Keepalive>,
}

/// PINGs on a connection (`envoy.config.core.v3.KeepaliveSettings`).
#[derive(Debug, Clone, PartialEq)]
pub struct Http2Keepalive {
    /// Time between PINGs; none sends none.
    pub interval: Option<Duration>,
    /// How long the answer may take before the connection is closed.
    pub timeout: Duration,
    /// Up to so many per cent are added to `interval`. Default 15.
    pub interval_jitter_percent: f64,
}

/// Smallest and largest windows and stream counts that the API allows are checked by its own rules; this is the
/// largest value of a window (RFC 9113 section 6.9.1).
const WINDOW_MAX_BYTES: u32 = (1 << 31) - 1;

impl Http2Options {
    /// Envoy's defaults for connections from clients.
    pub fn server() -> Http2Options {
        Http2Options { settings: H2Settings::SERVER, keepalive: None }
    }

    /// Envoy's defaults for connections to hosts.
    pub fn client() -> Http2Options {
        Http2Options { settings: H2Settings::CLIENT, keepalive: None }
    }

    /// Converts the options; what is not set is as in `default`.
    pub fn from_proto(
        proto: &core::Http2ProtocolOptions,
        default: Http2Options,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Http2Options {
        let settings = default.settings;
        let limits = settings.limits;
        for (field, value) in [
            ("initial_stream_window_size", &proto.initial_stream_window_size),
            ("initial_connection_window_size", &proto.initial_connection_window_size),
        ] {
            if value.as_ref().is_some_and(|value| value.value > WINDOW_MAX_BYTES) {
                context.error(&path.field(field), format!("the largest window is {WINDOW_MAX_BYTES}"));
            }
        }
        Http2Options {
            settings: H2Settings {
                header_table_bytes: wrapped_or!(proto.hpack_table_size, settings.header_table_bytes),
                max_concurrent_streams: wrapped_or!(
                    proto.max_concurrent_streams,
                    settings.max_concurrent_streams
                ),
                stream_window_bytes: wrapped_or!(
                    proto.initial_stream_window_size,
                    settings.stream_window_bytes
                ),
                connection_window_bytes: wrapped_or!(
                    proto.initial_connection_window_size,
                    settings.connection_window_bytes
                ),
                allow_extended_connect: proto.allow_connect,
                stream_error_on_invalid_message: wrapped_or!(
                    proto.override_stream_error_on_invalid_http_message,
                    proto.stream_error_on_invalid_http_messaging
                ),
                limits: FloodLimits {
                    max_outbound_frames: wrapped_or!(proto.max_outbound_frames, limits.max_outbound_frames),
                    max_outbound_control_frames: wrapped_or!(
                        proto.max_outbound_control_frames,
                        limits.max_outbound_control_frames
                    ),
                    max_consecutive_empty_frames: wrapped_or!(
                        proto.max_consecutive_inbound_frames_with_empty_payload,
                        limits.max_consecutive_empty_frames
                    ),
                    max_priority_frames_per_stream: wrapped_or!(
                        proto.max_inbound_priority_frames_per_stream,
                        limits.max_priority_frames_per_stream
                    ),
                    max_window_updates_per_data_frame: wrapped_or!(
                        proto.max_inbound_window_update_frames_per_data_frame_sent,
                        limits.max_window_updates_per_data_frame
                    ),
                    ..limits
                },
                ..settings
            },
            keepalive: proto.connection_keepalive.as_ref().map(|keepalive| {
                Http2Keepalive::from_proto(keepalive, &path.field("connection_keepalive"), context)
            }),
        }
    }
}

impl Http2Keepalive {
    fn from_proto(
        proto: &core::KeepaliveSettings,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Http2Keepalive {
        if proto.timeout.is_none() {
            context.error(&path.field("timeout"), "a timeout is required");
        }
        Http2Keepalive {
            interval: context.optional_duration(&proto.interval, &path.field("interval")),
            timeout: context.duration_or(&proto.timeout, Duration::from_secs(1), &path.field("timeout")),
            interval_jitter_percent: proto.interval_jitter.as_ref().map_or(15.0, |percent| percent.value),
        }
    }
}
