//! The gRPC status of a response for `%GRPC_STATUS%`: from trailers, headers or the HTTP status, as
//! the gRPC over HTTP/2 protocol maps it. Only requests that are gRPC have one.

use super::FormatContext;
use super::number::write_u64;
use crate::http::{HeaderMap, grpc, header};

/// How the status is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `DeadlineExceeded`
    Camel,
    /// `DEADLINE_EXCEEDED`
    Snake,
    /// `4`
    Number,
}

/// Names by number, in both styles.
const NAMES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

/// Appends the status; false if there is none.
pub fn write(style: Style, cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
    let Some(status) = status(cx) else { return false };
    match (style, NAMES.get(status as usize)) {
        (Style::Camel, Some((camel, _))) => out.extend_from_slice(camel.as_bytes()),
        (Style::Snake, Some((_, snake))) => out.extend_from_slice(snake.as_bytes()),
        _ => write_u64(u64::from(status), out),
    }
    true
}

fn status(cx: &FormatContext<'_>) -> Option<u32> {
    if grpc::is_grpc_request(&cx.request?.headers) { status_of_any_request(cx) } else { None }
}

/// The same for any request, gRPC or not, as access-log filters look at it.
pub fn status_of_any_request(cx: &FormatContext<'_>) -> Option<u32> {
    cx.response_trailers
        .and_then(from_headers)
        .or_else(|| cx.response.and_then(|response| from_headers(&response.headers)))
        .or_else(|| cx.info.response_code.map(grpc::status_from_http))
}

fn from_headers(headers: &HeaderMap) -> Option<u32> {
    std::str::from_utf8(headers.get(header::GRPC_STATUS)?).ok()?.parse().ok()
}
