//! What a client is told when no host gave an answer; wording and flags are Envoy's router's.

use crate::filters::http::LocalReply;
use crate::stream_info::ResponseFlags;
use crate::upstream::UpstreamReset;

/// The answer after the last attempt was reset before a response. `retried`: it was not the first.
pub fn reset_reply(reset: &UpstreamReset, retried: bool) -> LocalReply {
    let reason = reset.reason();
    let latest = if retried { "retried and the latest " } else { "" };
    let body =
        format!("upstream connect error or disconnect/reset before headers. {latest}reset reason: {reason}");
    let status = if matches!(reset, UpstreamReset::ProtocolError(_)) { 502 } else { 503 };
    let mut reply = LocalReply::new(status, "", "").with_body(body).with_flags(reset.response_flag());
    reply.details = details("upstream_reset_before_response_started", reset).into();
    if matches!(reset, UpstreamReset::Overflow) {
        reply = reply.with_header("x-envoy-overloaded", b"true");
    }
    reply
}

/// What the log says of a response that broke off.
pub fn broken_response_details(reset: &UpstreamReset) -> String {
    details("upstream_reset_after_response_started", reset)
}

/// The answer when the route's timeout is over.
pub fn timeout_reply(details: &'static str) -> LocalReply {
    LocalReply::new(504, "upstream request timeout", details)
        .with_flags(ResponseFlags::UPSTREAM_REQUEST_TIMEOUT)
}

/// The answer when a cluster has no host to send to.
pub fn no_healthy_upstream_reply() -> LocalReply {
    LocalReply::new(503, "no healthy upstream", "no_healthy_upstream")
        .with_flags(ResponseFlags::NO_HEALTHY_UPSTREAM)
}

/// The answer when the route's cluster does not exist.
pub fn cluster_not_found_reply(status: u16) -> LocalReply {
    LocalReply::new(status, "", "cluster_not_found").with_flags(ResponseFlags::NO_CLUSTER_FOUND)
}

fn details(what: &str, reset: &UpstreamReset) -> String {
    let reason = reset.reason().replace(' ', "_");
    match reset.transport_failure_reason() {
        Some(cause) => format!("{what}{{{reason}|{}}}", cause.replace(' ', "_")),
        None => format!("{what}{{{reason}}}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wording_is_envoys() {
        let reply = reset_reply(&UpstreamReset::ConnectionTermination, false);
        assert_eq!(reply.status, 503);
        assert_eq!(
            &reply.body[..],
            b"upstream connect error or disconnect/reset before headers. reset reason: connection termination"
        );
        assert_eq!(reply.details, "upstream_reset_before_response_started{connection_termination}");
        let reply = reset_reply(&UpstreamReset::ProtocolError("x"), true);
        assert_eq!(reply.status, 502);
        assert!(
            reply.body.starts_with(b"upstream connect error or disconnect/reset before headers. retried and")
        );
    }
}
