//! What a format reads when a line is written: borrowed, cheap to copy. It decides nothing.

use crate::base::clock::{Instant, UnixTime};
use crate::http::{HeaderMap, RequestHead, ResponseHead};
use crate::stream_info::StreamInfo;

/// Everything that the commands of a format may read.
#[derive(Debug, Clone, Copy)]
pub struct FormatContext<'a> {
    /// The stream.
    pub info: &'a StreamInfo,
    /// The request as it is now, or was last.
    pub request: Option<&'a RequestHead>,
    /// Trailers of the request.
    pub request_trailers: Option<&'a HeaderMap>,
    /// The response, once there is one.
    pub response: Option<&'a ResponseHead>,
    /// Trailers of the response.
    pub response_trailers: Option<&'a HeaderMap>,
    /// `%LOCAL_REPLY_BODY%`: the body of a reply made by the proxy, where such replies are formatted.
    pub local_reply_body: &'a [u8],
    /// Now, for durations that have not ended.
    pub now: Instant,
    /// The same on the wall clock, for `%EMIT_TIME%`.
    pub unix_now: UnixTime,
    /// Source of `%UNIQUE_ID%`; any number where the format has none.
    pub random: u64,
    /// Why a log line is written.
    pub access_log_type: AccessLogType,
}

/// Why a log line is written (`data.accesslog.v3.AccessLogType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccessLogType {
    /// No log line is written, or nobody said why.
    #[default]
    NotSet,
    /// A raw connection was accepted upstream.
    TcpUpstreamConnected,
    /// A raw connection goes on.
    TcpPeriodic,
    /// A raw connection ended.
    TcpConnectionEnd,
    /// A request began.
    DownstreamStart,
    /// A request goes on.
    DownstreamPeriodic,
    /// A request ended.
    DownstreamEnd,
}

impl AccessLogType {
    /// As `%ACCESS_LOG_TYPE%` prints it.
    pub const fn as_str(self) -> &'static str {
        match self {
            AccessLogType::NotSet => "NotSet",
            AccessLogType::TcpUpstreamConnected => "TcpUpstreamConnected",
            AccessLogType::TcpPeriodic => "TcpPeriodic",
            AccessLogType::TcpConnectionEnd => "TcpConnectionEnd",
            AccessLogType::DownstreamStart => "DownstreamStart",
            AccessLogType::DownstreamPeriodic => "DownstreamPeriodic",
            AccessLogType::DownstreamEnd => "DownstreamEnd",
        }
    }
}

impl<'a> FormatContext<'a> {
    /// A context that knows the stream and the time only.
    pub fn new(info: &'a StreamInfo, now: Instant, unix_now: UnixTime) -> FormatContext<'a> {
        FormatContext {
            info,
            request: None,
            request_trailers: None,
            response: None,
            response_trailers: None,
            local_reply_body: b"",
            now,
            unix_now,
            random: 0,
            access_log_type: AccessLogType::NotSet,
        }
    }

    /// The same with this request.
    pub fn with_request<'b>(&self, request: &'b RequestHead) -> FormatContext<'b>
    where
        'a: 'b,
    {
        FormatContext { request: Some(request), ..*self }
    }

    /// The same with this response.
    pub fn with_response<'b>(&self, response: &'b ResponseHead) -> FormatContext<'b>
    where
        'a: 'b,
    {
        FormatContext { response: Some(response), ..*self }
    }
}
