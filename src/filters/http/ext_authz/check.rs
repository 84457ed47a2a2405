//! What the authorization server is asked, and what its answer means. No I/O.

use std::borrow::Cow;

use crate::config::StringMatcher;
use crate::filters::call_out::{Answer, CallError, request_head};
use crate::filters::http::LocalReply;
use crate::formatter::{FormatContext, write_u64};
use crate::http::{HeaderMap, RequestHead, header};
use crate::stream_info::ResponseFlags;

use super::settings::Service;

/// The part of a request's body that the server sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Body {
    pub(super) bytes: Vec<u8>,
    /// There was more.
    pub(super) is_partial: bool,
}

impl Body {
    /// The first `max_bytes` of what was collected.
    pub(super) fn cut(mut bytes: Vec<u8>, max_bytes: usize) -> Body {
        let is_partial = bytes.len() > max_bytes;
        bytes.truncate(max_bytes);
        Body { bytes, is_partial }
    }
}

/// What an answer means.
#[derive(Debug)]
pub(super) enum Decision {
    /// The request may pass.
    Granted(Grant),
    /// The client gets this answer.
    Denied(LocalReply),
    /// The server gave no usable answer.
    Failed,
}

/// What the server wants of a request that may pass.
#[derive(Debug, Default)]
pub(super) struct Grant {
    pub(super) changes: Changes,
    /// Added to the response.
    pub(super) to_client: HeaderMap,
}

/// Changes to the request.
#[derive(Debug, Default)]
pub(super) struct Changes {
    set: HeaderMap,
    append: HeaderMap,
    remove: Vec<String>,
}

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.append.is_empty() && self.remove.is_empty()
    }

    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        self.set.iter().for_each(|(name, value)| headers.set(name, value));
        self.append.iter().for_each(|(name, value)| headers.append(name, value));
        for name in &self.remove {
            headers.remove(name.as_str());
        }
    }
}

impl Service {
    /// The head of the question about `request`.
    pub(super) fn question(
        &self,
        request: &RequestHead,
        body: Option<&Body>,
        format: &FormatContext<'_>,
    ) -> RequestHead {
        let path = match self.path_override.as_str() {
            "" => Cow::Owned([self.path_prefix.as_bytes(), request.path()].concat()),
            path => Cow::Borrowed(path.as_bytes()),
        };
        let mut head = request_head(request.method(), request.authority(), &path);
        let mut digits = Vec::with_capacity(20);
        write_u64(body.map_or(0, |body| body.bytes.len() as u64), &mut digits);
        head.headers.append(header::CONTENT_LENGTH, &digits);
        for (name, value) in request.headers.iter_without_pseudo() {
            if self.shows(name) {
                self.show(name, value, &mut head.headers);
            }
        }
        if let Some(body) = body {
            let value: &[u8] = if body.is_partial { b"true" } else { b"false" };
            head.headers.set(header::X_ENVOY_AUTH_PARTIAL_BODY, value);
        }
        self.headers_to_add.apply_headers(&mut head.headers, &format.with_request(request));
        head.headers.set(header::X_ENVOY_INTERNAL, b"true");
        digits.clear();
        write_u64(self.timeout.as_millis() as u64, &mut digits);
        head.headers.set(header::X_ENVOY_EXPECTED_RQ_TIMEOUT_MS, &digits);
        head
    }

    fn shows(&self, name: &str) -> bool {
        let is_any = |list: &[StringMatcher]| list.iter().any(|matcher| matcher.matches(name.as_bytes()));
        name != "content-length"
            && (name == "authorization" || is_any(&self.allowed_headers))
            && !is_any(&self.disallowed_headers)
    }

    fn show(&self, name: &str, value: &[u8], headers: &mut HeaderMap) {
        if self.encode_raw_headers {
            headers.append(name, value);
        } else {
            headers.append_to_value(name, ",", &printable(value));
        }
    }

    /// What an answer means.
    pub(super) fn read(&self, result: Result<Answer, CallError>) -> Decision {
        match result {
            Ok(answer) if answer.head.status() == 200 => Decision::Granted(self.grant(&answer.head.headers)),
            Ok(answer) if !(500..600).contains(&answer.head.status()) => {
                Decision::Denied(self.denial(answer))
            }
            Ok(_) | Err(_) => Decision::Failed,
        }
    }

    fn grant(&self, headers: &HeaderMap) -> Grant {
        let mut grant = Grant::default();
        let is_any = |list: &[StringMatcher], name: &str| list.iter().any(|m| m.matches(name.as_bytes()));
        for (name, value) in headers.iter_without_pseudo() {
            if name == header::X_ENVOY_AUTH_HEADERS_TO_REMOVE.as_str() {
                grant.changes.remove.extend(names_to_remove(value));
                continue;
            }
            if is_any(&self.upstream_headers, name) {
                grant.changes.set.append(name, value);
            }
            if is_any(&self.upstream_headers_to_append, name) {
                grant.changes.append.append(name, value);
            }
            if is_any(&self.client_headers_on_success, name) {
                grant.to_client.append(name, value);
            }
        }
        grant
    }

    fn denial(&self, answer: Answer) -> LocalReply {
        let mut shown = HeaderMap::new();
        for (name, value) in answer.head.headers.iter_without_pseudo() {
            // The body may be changed on its way to the client, so its length is not the server's to say.
            let is_own =
                matches!(name, "content-length" | "transfer-encoding" | "x-envoy-auth-headers-to-remove");
            let is_always = matches!(name, "www-authenticate" | "location");
            let is_any = || self.client_headers.iter().any(|matcher| matcher.matches(name.as_bytes()));
            if !is_own && (self.client_headers.is_empty() || is_always || is_any()) {
                shown.append(name, value);
            }
        }
        LocalReply {
            headers: Some(Box::new(shown)),
            ..LocalReply::new(answer.head.status(), "", "ext_authz_denied")
        }
        .with_body(answer.body)
        .with_flags(ResponseFlags::UNAUTHORIZED_EXTERNAL_SERVICE)
    }
}

/// The names in a list with commas, without those whose removal would make a request malformed.
fn names_to_remove(list: &[u8]) -> impl Iterator<Item = String> {
    let names = list.split(|&byte| byte == b',').map(|name| name.trim_ascii().to_ascii_lowercase());
    names
        .filter_map(|name| String::from_utf8(name).ok())
        .filter(|name| !name.is_empty() && !name.starts_with(':') && name != "host")
}

/// The value with `!` for each byte that is not UTF-8.
fn printable(value: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(value).is_ok() {
        return Cow::Borrowed(value);
    }
    let mut clean = Vec::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        clean.extend_from_slice(chunk.valid().as_bytes());
        clean.extend(chunk.invalid().iter().map(|_| b'!'));
    }
    Cow::Owned(clean)
}
