//! Why an exchange leaves its normal course. What a client is told of it is decided in one place,
//! the exchange's `serve`.

use crate::filters::http::LocalReply;
use crate::filters::http::chain::Interruption;
use crate::filters::network::http_connection_manager::downstream::{DownstreamError, Gone};
use crate::stats::groups::HttpRequestStats;
use crate::stream_info::ResponseFlags;

/// Leaves the normal course.
pub enum Stop {
    /// Answer so; where a response has begun, the stream is reset instead.
    Reply(Box<LocalReply>),
    /// The client is gone.
    DownstreamGone(Gone),
    /// The response cannot be finished; the stream is reset.
    Reset,
}

impl Stop {
    /// Answers with this reply.
    pub fn reply(reply: LocalReply) -> Stop {
        Stop::Reply(Box::new(reply))
    }
}

impl From<DownstreamError> for Stop {
    fn from(error: DownstreamError) -> Stop {
        match error {
            DownstreamError::Gone(gone) => Stop::DownstreamGone(gone),
            DownstreamError::Protocol(reply) => Stop::Reply(reply),
        }
    }
}

/// What an interruption on the way up means.
pub fn request_interrupted(interruption: Interruption, stats: &HttpRequestStats) -> Stop {
    match interruption {
        Interruption::Reply(reply) => Stop::reply(reply),
        Interruption::TooLarge => {
            stats.downstream_rq_too_large.inc();
            Stop::reply(LocalReply::new(413, "Payload Too Large", "request_payload_too_large"))
        }
    }
}

/// What an interruption on the way down means, before the head was sent.
pub fn response_interrupted(interruption: Interruption, stats: &HttpRequestStats) -> Stop {
    match interruption {
        Interruption::Reply(reply) => Stop::reply(reply),
        Interruption::TooLarge => {
            stats.rs_too_large.inc();
            Stop::reply(LocalReply::new(500, "Internal Server Error", "response_payload_too_large"))
        }
    }
}

/// What the end of a stream by a timeout of the connection manager looks like.
pub fn timed_out(status: u16, body: &'static str, details: &'static str, flags: ResponseFlags) -> Stop {
    Stop::reply(LocalReply::new(status, body, details).with_flags(flags))
}
