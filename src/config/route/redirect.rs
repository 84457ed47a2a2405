//! Redirects (`envoy.config.route.v3.RedirectAction`).

use envoy_types::pb::envoy::config::route::v3 as route;

use crate::config::matcher::regex_rewrite_from_proto;
use crate::config::{Context, FieldPath, RegexRewrite};

/// Answers a request with a redirect.
#[derive(Debug, Clone)]
pub struct RedirectAction {
    /// 301 (default), 302, 303, 307 or 308.
    pub response_code: u16,
    /// New scheme, e.g. `https`; none keeps it.
    pub scheme: Option<String>,
    /// New host; none keeps it.
    pub host: Option<String>,
    /// New port; none keeps it (a change of scheme drops the old scheme's default port).
    pub port: Option<u16>,
    /// New path; none keeps it.
    pub path: Option<RedirectPath>,
    /// Drop the query.
    pub strip_query: bool,
}

/// New path of a redirect.
#[derive(Debug, Clone)]
pub enum RedirectPath {
    /// The whole path; may bring a query of its own, which then replaces the request's.
    Full(String),
    /// Replace the part that the route's prefix or path matched.
    Prefix(String),
    /// Replace all matches in the path without query.
    Regex(RegexRewrite),
}

impl RedirectAction {
    /// Converts a redirect.
    pub fn from_proto(
        proto: &route::RedirectAction,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> RedirectAction {
        use route::redirect_action::{
            PathRewriteSpecifier, RedirectResponseCode as Code, SchemeRewriteSpecifier,
        };
        let non_empty = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        RedirectAction {
            response_code: match context.enum_value(proto.response_code, &path.field("response_code")) {
                Code::MovedPermanently => 301,
                Code::Found => 302,
                Code::SeeOther => 303,
                Code::TemporaryRedirect => 307,
                Code::PermanentRedirect => 308,
            },
            scheme: match &proto.scheme_rewrite_specifier {
                Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some("https".to_owned()),
                Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => non_empty(scheme),
                Some(SchemeRewriteSpecifier::HttpsRedirect(false)) | None => None,
            },
            host: non_empty(&proto.host_redirect),
            port: match u16::try_from(proto.port_redirect) {
                Ok(port) => Some(port).filter(|port| *port != 0),
                Err(_) => {
                    let message = format!("{} is no port: the largest is 65535", proto.port_redirect);
                    context.error(&path.field("port_redirect"), message);
                    None
                }
            },
            path: match &proto.path_rewrite_specifier {
                Some(PathRewriteSpecifier::PathRedirect(whole)) => non_empty(whole).map(RedirectPath::Full),
                Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
                    non_empty(prefix).map(RedirectPath::Prefix)
                }
                Some(PathRewriteSpecifier::RegexRewrite(rewrite)) => {
                    let path = path.field("regex_rewrite");
                    regex_rewrite_from_proto(rewrite, &path, context).map(RedirectPath::Regex)
                }
                Some(PathRewriteSpecifier::PathRewrite(_)) => {
                    context.error(&path.field("path_rewrite"), "path_rewrite is not implemented yet");
                    None
                }
                None => None,
            },
            strip_query: proto.strip_query,
        }
    }
}
