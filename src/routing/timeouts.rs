//! How long a forwarded request may take: the route's times and the headers that override them. Arms
//! nothing.

use std::time::Duration;

use super::ForwardConfig;
use crate::http::{HeaderMap, grpc, header};

/// Longest `grpc-timeout` in digits (gRPC over HTTP/2: at most 8).
const GRPC_TIMEOUT_DIGITS: usize = 8;

/// Time for the whole exchange with upstream, all attempts included: `x-envoy-upstream-rq-timeout-ms`, else the
/// route's. None is unlimited; the header may say 0 for that.
pub fn upstream_timeout(action: &ForwardConfig, request: &HeaderMap) -> Option<Duration> {
    match request.get_u64(header::X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS) {
        Some(0) => None,
        Some(millis) => Some(Duration::from_millis(millis)),
        None => action.timeout.filter(|timeout| !timeout.is_zero()),
    }
}

/// Longest time from the request's beginning to the response's end: `grpc-timeout` as far as the route
/// honours it, else the route's `max_stream_duration`, else `default`. None is unlimited.
pub fn max_stream_duration(
    action: &ForwardConfig,
    request: &HeaderMap,
    default: Option<Duration>,
) -> Option<Duration> {
    let asked = action.grpc_timeout_header_max.filter(|_| grpc::is_grpc_request(request)).and_then(|max| {
        let asked = parse_grpc_timeout(request.get(header::GRPC_TIMEOUT)?)?;
        let asked = if max.is_zero() { asked } else { asked.min(max) };
        let offset = action.grpc_timeout_header_offset.unwrap_or_default();
        Some(if offset < asked { asked - offset } else { asked })
    });
    match asked {
        Some(asked) => Some(asked),
        None => action.max_stream_duration.or(default).filter(|duration| !duration.is_zero()),
    }
}

/// Up to eight digits and a unit: H, M, S, m(illi), u(micro), n(ano).
fn parse_grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > GRPC_TIMEOUT_DIGITS {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_follow_the_grpc_protocol() {
        let cases: [(&[u8], Option<u64>); 8] = [
            (b"5S", Some(5_000)),
            (b"2M", Some(120_000)),
            (b"1H", Some(3_600_000)),
            (b"7m", Some(7)),
            (b"123456789S", None),
            (b"S", None),
            (b"1x", None),
            (b"-1S", None),
        ];
        for (text, millis) in cases {
            assert_eq!(parse_grpc_timeout(text), millis.map(Duration::from_millis), "{text:?}");
        }
    }
}
