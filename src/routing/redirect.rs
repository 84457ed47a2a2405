//! Redirects (`config.route.v3.RedirectAction`, `VirtualHost.require_tls`): composes the `location`.
//! Follows what Envoy 1.40 was seen to answer.

use super::rewrite::PathChange;
use crate::config::route::{RedirectAction, RedirectPath};
use crate::formatter::write_u64;
use crate::http::path::split_query;
use crate::http::{RequestHead, header};

/// A compiled redirect.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub response_code: u16,
    scheme: Option<Box<str>>,
    host: Option<Box<str>>,
    port: Option<u16>,
    path: Option<NewPath>,
    strip_query: bool,
}

#[derive(Debug, Clone)]
enum NewPath {
    Full(Box<str>),
    Change(PathChange),
}

impl Redirect {
    /// Compiles the redirect of a route that matches `matched_len` bytes of a path, or all of it.
    pub fn new(source: &RedirectAction, matched_len: Option<usize>) -> Redirect {
        Redirect {
            response_code: source.response_code,
            scheme: source.scheme.as_deref().map(Into::into),
            host: source.host.as_deref().map(Into::into),
            port: source.port,
            path: source.path.as_ref().map(|path| match path {
                RedirectPath::Full(path) => NewPath::Full(path.as_str().into()),
                RedirectPath::Prefix(prefix) => NewPath::Change(PathChange::prefix(prefix, matched_len)),
                RedirectPath::Regex(rewrite) => NewPath::Change(PathChange::Regex(rewrite.clone())),
            }),
            strip_query: source.strip_query,
        }
    }

    /// Appends the value of `location` for this request.
    pub fn write_location(&self, head: &RequestHead, out: &mut Vec<u8>) {
        let old_scheme = forwarded_scheme(head);
        let scheme = self.scheme.as_deref().map_or(old_scheme, str::as_bytes);
        out.extend_from_slice(scheme);
        out.extend_from_slice(b"://");
        match &self.host {
            Some(host) => out.extend_from_slice(host.as_bytes()),
            None => out.extend_from_slice(self.kept_host(head.authority(), old_scheme, scheme)),
        }
        if let Some(port) = self.port {
            out.push(b':');
            write_u64(u64::from(port), out);
        }
        self.write_path(head.path(), out);
    }

    /// The request's host, without a port that is replaced or that only went without saying under the old scheme.
    fn kept_host<'a>(&self, authority: &'a [u8], old_scheme: &[u8], scheme: &[u8]) -> &'a [u8] {
        let host = super::domains::without_port(authority);
        let port = &authority[host.len()..];
        let is_old_default = scheme != old_scheme
            && ((old_scheme == b"http" && port == b":80") || (old_scheme == b"https" && port == b":443"));
        if self.port.is_some() || is_old_default { host } else { authority }
    }

    fn write_path(&self, path: &[u8], out: &mut Vec<u8>) {
        let (path_alone, query) = split_query(path);
        match &self.path {
            Some(NewPath::Full(new)) => {
                out.extend_from_slice(new.as_bytes());
                if !self.strip_query && query.is_some() && !new.contains('?') {
                    out.extend_from_slice(&path[path_alone.len()..]);
                }
            }
            Some(NewPath::Change(change)) => change.write(path, !self.strip_query, out),
            None if self.strip_query => out.extend_from_slice(path_alone),
            None => out.extend_from_slice(path),
        }
    }
}

/// Appends the `location` of the redirect that `require_tls` makes: all stays but the scheme.
pub fn write_https_location(head: &RequestHead, out: &mut Vec<u8>) {
    out.extend_from_slice(b"https://");
    out.extend_from_slice(head.authority());
    out.extend_from_slice(head.path());
}

/// Appends the request's own URL, which Envoy gives as the `location` of fixed responses with 201 and 3xx.
pub fn write_own_location(head: &RequestHead, out: &mut Vec<u8>) {
    out.extend_from_slice(forwarded_scheme(head));
    out.extend_from_slice(b"://");
    out.extend_from_slice(head.authority());
    out.extend_from_slice(head.path());
}

/// The scheme that the client used, as the connection manager or a trusted proxy before it noted it.
pub fn forwarded_scheme(head: &RequestHead) -> &[u8] {
    head.headers.get(header::X_FORWARDED_PROTO).unwrap_or_else(|| head.scheme())
}
