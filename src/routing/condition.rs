//! The conditions of a route (`config.route.v3.RouteMatch`), compiled, and their outcome for one request.
//! Knows neither the order of routes nor what they do.

use crate::config::route;
use crate::config::{CookieMatcher, HeaderMatcher, QueryParameterMatcher, Regex, Runtime, RuntimeFraction};
use crate::http::{HeaderMap, HeaderNameBuf, grpc, header, path};

/// The condition on the path, query left aside. Texts of routes without case are lower case.
#[derive(Debug, Clone)]
pub enum PathCondition {
    /// The path begins with it.
    Prefix(Box<str>),
    /// The path equals it.
    Path(Box<str>),
    /// The path equals it, or goes on with a slash after it.
    PathSeparatedPrefix(Box<str>),
    /// All of the path matches.
    Regex {
        /// The expression.
        regex: Regex,
        /// Text that every match begins with; may be empty.
        literal_prefix: Box<str>,
    },
    /// There is no path.
    Connect,
}

impl PathCondition {
    /// Compiles the condition on the path.
    pub fn compile(source: &route::RouteMatch) -> PathCondition {
        let text = |text: &str| -> Box<str> {
            if source.case_sensitive { text.into() } else { text.to_ascii_lowercase().into() }
        };
        match &source.path {
            route::PathMatch::Prefix(prefix) => PathCondition::Prefix(text(prefix)),
            route::PathMatch::Path(path) => PathCondition::Path(text(path)),
            route::PathMatch::PathSeparatedPrefix(prefix) => PathCondition::PathSeparatedPrefix(text(prefix)),
            route::PathMatch::SafeRegex(regex) => PathCondition::Regex {
                regex: regex.clone(),
                literal_prefix: literal_prefix(regex.pattern()).into(),
            },
            route::PathMatch::Connect => PathCondition::Connect,
        }
    }

    /// How many bytes of a matching path a `prefix_rewrite` replaces; none stands for all.
    pub fn matched_len(&self) -> Option<usize> {
        match self {
            PathCondition::Prefix(text) | PathCondition::PathSeparatedPrefix(text) => Some(text.len()),
            PathCondition::Path(_) | PathCondition::Regex { .. } | PathCondition::Connect => None,
        }
    }

    /// What the index leaves open: only a regular expression has to be tried.
    #[inline]
    pub fn is_confirmed_by(&self, path: &[u8]) -> bool {
        match self {
            PathCondition::Regex { regex, .. } => regex.is_full_match(path),
            _ => true,
        }
    }
}

/// All conditions of a route but that on the path.
#[derive(Debug, Clone)]
pub struct OtherConditions {
    runtime_fraction: Option<RuntimeFraction>,
    grpc: bool,
    headers: Vec<(HeaderNameBuf, HeaderMatcher)>,
    query_parameters: Vec<QueryParameterMatcher>,
    cookies: Vec<CookieMatcher>,
}

impl OtherConditions {
    /// Compiles the conditions; none if there are none. A header name that is no name is never found.
    pub fn compile(source: &route::RouteMatch) -> Option<Box<OtherConditions>> {
        let headers: Vec<_> = source
            .headers
            .iter()
            .map(|matcher| {
                let name = HeaderNameBuf::parse(&matcher.name)
                    .unwrap_or_else(|_| HeaderNameBuf::Custom(matcher.name.as_str().into()));
                (name, matcher.clone())
            })
            .collect();
        let any = source.runtime_fraction.is_some()
            || source.grpc
            || !headers.is_empty()
            || !source.query_parameters.is_empty()
            || !source.cookies.is_empty();
        any.then(|| {
            Box::new(OtherConditions {
                runtime_fraction: source.runtime_fraction.clone(),
                grpc: source.grpc,
                headers,
                query_parameters: source.query_parameters.clone(),
                cookies: source.cookies.clone(),
            })
        })
    }

    /// Whether all hold. `random` decides about the fraction.
    pub fn match_request(
        &self,
        headers: &HeaderMap,
        query: Option<&[u8]>,
        runtime: &Runtime,
        random: u64,
    ) -> bool {
        let fraction = self.runtime_fraction.as_ref();
        fraction.is_none_or(|fraction| runtime.fraction(fraction).contains(random))
            && (!self.grpc || grpc::is_grpc_request(headers))
            && self.headers.iter().all(|(name, matcher)| matcher.matches_values(headers.get_all(name)))
            && self
                .query_parameters
                .iter()
                .all(|matcher| matcher.matches(query_parameter(query, &matcher.name)))
            && self.cookies.iter().all(|matcher| matcher.matches(cookie(headers, &matcher.name)))
    }
}

/// The value of the first parameter of this name, as it stands in the query.
fn query_parameter<'a>(query: Option<&'a [u8]>, name: &str) -> Option<&'a [u8]> {
    path::query_parameters(query?).find(|(key, _)| *key == name.as_bytes()).map(|(_, value)| value)
}

/// The value of the first cookie of this name in any `cookie` header, without the quotes around it.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs = headers.get_all(header::COOKIE).flat_map(|value| value.split(|byte| *byte == b';'));
    pairs.into_iter().find_map(|pair| {
        let pair = pair.trim_ascii_start();
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        Some(value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
    })
}

/// The text that everything `pattern` matches begins with. Takes only what is beyond doubt: stops at
/// the first character with a meaning, and gives up on alternatives and on flags.
fn literal_prefix(pattern: &str) -> &str {
    if pattern.contains('|') || pattern.contains("(?") {
        return "";
    }
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '~' | '%' | ',' | ':' | '@');
    let end = pattern.find(|c: char| !is_plain(c)).unwrap_or(pattern.len());
    // A quantifier takes the character before it away again.
    let is_quantified = pattern[end..].starts_with(['*', '?', '{']);
    &pattern[..end - usize::from(is_quantified && end > 0)]
}
