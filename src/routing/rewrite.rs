//! Changes of path and authority on the way to upstream (`RouteAction`'s rewrites), and the headers that keep
//! what was there before.

use std::cell::Cell;

use crate::config::RegexRewrite;
use crate::config::route::{HostRewrite, PathRewrite};
use crate::http::path::split_query;
use crate::http::{HeaderNameBuf, RequestHead, header};

/// A change of the path.
#[derive(Debug, Clone)]
pub enum PathChange {
    /// Replaces the first `matched_len` bytes of the path, or all of it without the query.
    Prefix {
        /// What comes there.
        replacement: Box<str>,
        /// How much it replaces.
        matched_len: Option<usize>,
    },
    /// Replaces all matches in the path without query.
    Regex(RegexRewrite),
}

impl PathChange {
    /// Compiles a rewrite for a route that matches `matched_len` bytes.
    pub fn new(source: &PathRewrite, matched_len: Option<usize>) -> PathChange {
        match source {
            PathRewrite::Prefix(text) => PathChange::prefix(text, matched_len),
            PathRewrite::Regex(rewrite) => PathChange::Regex(rewrite.clone()),
        }
    }

    /// A replacement of the matched part.
    pub fn prefix(replacement: &str, matched_len: Option<usize>) -> PathChange {
        PathChange::Prefix { replacement: replacement.into(), matched_len }
    }

    /// Appends the changed path, with its query unless told otherwise.
    pub fn write(&self, path: &[u8], with_query: bool, out: &mut Vec<u8>) {
        let (path_alone, _) = split_query(path);
        let rest = match self {
            PathChange::Prefix { replacement, matched_len } => {
                out.extend_from_slice(replacement.as_bytes());
                matched_len.unwrap_or(path_alone.len()).min(path_alone.len())
            }
            PathChange::Regex(rewrite) => {
                out.extend_from_slice(&rewrite.rewrite(path_alone));
                path_alone.len()
            }
        };
        out.extend_from_slice(if with_query { &path[rest..] } else { &path_alone[rest..] });
    }

    /// Changes a request's path; the old one goes to `x-envoy-original-path`.
    pub fn apply(&self, head: &mut RequestHead) {
        let mut changed = SCRATCH.take();
        self.write(head.path(), true, &mut changed);
        let mut old = OLD.take();
        old.extend_from_slice(head.path());
        head.headers.set(header::X_ENVOY_ORIGINAL_PATH, &old);
        head.set_path(&changed);
        keep(changed, old);
    }
}

/// A change of the authority that does not wait for the endpoint to be chosen.
#[derive(Debug, Clone)]
pub enum HostChange {
    /// Sets it.
    Literal(Box<str>),
    /// Sets it to the value of a header, if there is one.
    Header(HeaderNameBuf),
    /// Sets it to the path without query, rewritten.
    PathRegex(RegexRewrite),
    /// Sets it to the name of the endpoint: see [`replace_authority`].
    Auto,
}

impl HostChange {
    /// Compiles a rewrite. A header name that is no name is never found.
    pub fn new(source: &HostRewrite) -> HostChange {
        match source {
            HostRewrite::Literal(text) => HostChange::Literal(text.as_str().into()),
            HostRewrite::Auto => HostChange::Auto,
            HostRewrite::Header(name) => HostChange::Header(
                HeaderNameBuf::parse(name).unwrap_or_else(|_| HeaderNameBuf::Custom(name.as_str().into())),
            ),
            HostRewrite::PathRegex(rewrite) => HostChange::PathRegex(rewrite.clone()),
        }
    }

    /// Changes a request's authority, from the path as it is now.
    pub fn apply(&self, head: &mut RequestHead, append_x_forwarded_host: bool) {
        match self {
            HostChange::Literal(host) => replace_authority(head, host.as_bytes(), append_x_forwarded_host),
            HostChange::Header(name) => {
                let mut host = SCRATCH.take();
                host.extend_from_slice(head.headers.get(name).unwrap_or_default());
                if !host.is_empty() {
                    replace_authority(head, &host, append_x_forwarded_host);
                }
                host.clear();
                SCRATCH.set(host);
            }
            HostChange::PathRegex(rewrite) => {
                let host = rewrite.rewrite(head.path_without_query());
                replace_authority(head, &host, append_x_forwarded_host);
            }
            HostChange::Auto => {}
        }
    }
}

/// Sets the authority to `host`; the old one goes to `x-envoy-original-host`, and to `x-forwarded-host` if told.
/// Also for `auto_host_rewrite`, once the endpoint is known.
pub fn replace_authority(head: &mut RequestHead, host: &[u8], append_x_forwarded_host: bool) {
    if host == head.authority() {
        return;
    }
    let mut old = OLD.take();
    old.extend_from_slice(head.authority());
    if !old.is_empty() {
        head.headers.set(header::X_ENVOY_ORIGINAL_HOST, &old);
        if append_x_forwarded_host {
            head.headers.append_to_value(header::X_FORWARDED_HOST, ",", &old);
        }
    }
    head.set_authority(host);
    old.clear();
    OLD.set(old);
}

thread_local! {
    /// Memory for new and old values, kept from request to request.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static OLD: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

fn keep(mut changed: Vec<u8>, mut old: Vec<u8>) {
    changed.clear();
    old.clear();
    SCRATCH.set(changed);
    OLD.set(old);
}
