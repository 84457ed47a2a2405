//! Matchers of headers, query parameters and cookies (`envoy.config.route.v3.HeaderMatcher`,
//! `QueryParameterMatcher`, `CookieMatcher`). Plain data plus the match of one value.

use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;

use super::{Context, FieldPath, StringMatcher};

/// Matches one request header.
#[derive(Debug, Clone)]
pub struct HeaderMatcher {
    /// Lower-case name; may be a pseudo-header such as `:method`.
    pub name: String,
    /// What its value must be.
    pub value: HeaderValueMatch,
    /// Invert the outcome. An absent header then matches, unless it is treated as empty.
    pub invert_match: bool,
    /// Look at an absent header as at an empty one, instead of not matching.
    pub treat_missing_header_as_empty: bool,
}

/// What a [`HeaderMatcher`] asks of the value.
#[derive(Debug, Clone)]
pub enum HeaderValueMatch {
    /// The header is there (`true`) or is not there (`false`).
    Present(bool),
    /// The value, a decimal integer, lies in `[start, end)`.
    Range {
        /// First integer that matches.
        start: i64,
        /// First integer after that does not.
        end: i64,
    },
    /// The value as a text.
    String(StringMatcher),
}

impl HeaderMatcher {
    /// Converts a matcher. The old ways to write a string match (`exact_match` and others) become one.
    pub fn from_proto(
        proto: &route::HeaderMatcher,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> HeaderMatcher {
        use matcher::string_matcher::MatchPattern;
        use route::header_matcher::HeaderMatchSpecifier as Specifier;
        let (field, pattern) = match &proto.header_match_specifier {
            Some(Specifier::ExactMatch(text)) => ("exact_match", MatchPattern::Exact(text.clone())),
            Some(Specifier::PrefixMatch(text)) => ("prefix_match", MatchPattern::Prefix(text.clone())),
            Some(Specifier::SuffixMatch(text)) => ("suffix_match", MatchPattern::Suffix(text.clone())),
            Some(Specifier::ContainsMatch(text)) => ("contains_match", MatchPattern::Contains(text.clone())),
            Some(Specifier::SafeRegexMatch(regex)) => {
                ("safe_regex_match", MatchPattern::SafeRegex(regex.clone()))
            }
            Some(Specifier::StringMatch(matcher)) => {
                let string = StringMatcher::from_proto(matcher, &path.field("string_match"), context);
                return HeaderMatcher::new(proto, HeaderValueMatch::String(string), path, context);
            }
            Some(Specifier::RangeMatch(range)) => {
                let value = HeaderValueMatch::Range { start: range.start, end: range.end };
                return HeaderMatcher::new(proto, value, path, context);
            }
            Some(Specifier::PresentMatch(present)) => {
                return HeaderMatcher::new(proto, HeaderValueMatch::Present(*present), path, context);
            }
            None => return HeaderMatcher::new(proto, HeaderValueMatch::Present(true), path, context),
        };
        let string = matcher::StringMatcher { match_pattern: Some(pattern), ignore_case: false };
        let string = StringMatcher::from_proto(&string, &path.field(field), context);
        HeaderMatcher::new(proto, HeaderValueMatch::String(string), path, context)
    }

    /// Converts the matchers in the list field `name` of the message at `path`.
    pub fn list(
        protos: &[route::HeaderMatcher],
        path: &FieldPath,
        name: &str,
        context: &mut Context<'_>,
    ) -> Vec<HeaderMatcher> {
        let matchers = protos.iter().enumerate();
        matchers.map(|(i, proto)| HeaderMatcher::from_proto(proto, &path.element(name, i), context)).collect()
    }

    fn new(
        proto: &route::HeaderMatcher,
        value: HeaderValueMatch,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> HeaderMatcher {
        HeaderMatcher {
            name: context.header_name(&proto.name, &path.field("name")),
            value,
            invert_match: proto.invert_match,
            treat_missing_header_as_empty: proto.treat_missing_header_as_empty,
        }
    }

    /// Whether a request matches in which the header has this value, or is absent.
    pub fn matches(&self, value: Option<&[u8]>) -> bool {
        self.matches_values(value.into_iter())
    }

    /// Whether a request matches in which the header stands once for each of `values`: one that matches is
    /// enough. An absent header fails every value match, inverted or not, unless it counts as empty.
    pub fn matches_values<'v>(&self, mut values: impl Iterator<Item = &'v [u8]>) -> bool {
        let Some(first) = values.next().or(self.treat_missing_header_as_empty.then_some(&[][..])) else {
            return matches!(self.value, HeaderValueMatch::Present(present) if present == self.invert_match);
        };
        if let HeaderValueMatch::Present(present) = self.value {
            return present != self.invert_match;
        }
        (self.matches_value(first) || values.any(|value| self.matches_value(value))) != self.invert_match
    }

    fn matches_value(&self, value: &[u8]) -> bool {
        match &self.value {
            HeaderValueMatch::Present(present) => *present,
            HeaderValueMatch::Range { start, end } => std::str::from_utf8(value)
                .ok()
                .and_then(|text| text.trim_ascii().parse::<i64>().ok())
                .is_some_and(|number| (*start..*end).contains(&number)),
            HeaderValueMatch::String(matcher) => matcher.matches(value),
        }
    }
}

/// Matches one query parameter.
#[derive(Debug, Clone)]
pub struct QueryParameterMatcher {
    /// Name, compared with case.
    pub name: String,
    /// What its value must be.
    pub value: QueryParameterValueMatch,
}

/// What a [`QueryParameterMatcher`] asks of the value.
#[derive(Debug, Clone)]
pub enum QueryParameterValueMatch {
    /// The parameter is there (`true`) or is not there (`false`).
    Present(bool),
    /// The parameter is there and its (first) value matches.
    String(StringMatcher),
}

impl QueryParameterMatcher {
    /// Converts a matcher; one that asks nothing of the value asks that the parameter is there.
    pub fn from_proto(
        proto: &route::QueryParameterMatcher,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> QueryParameterMatcher {
        use route::query_parameter_matcher::QueryParameterMatchSpecifier as Specifier;
        let value = match &proto.query_parameter_match_specifier {
            Some(Specifier::StringMatch(matcher)) => QueryParameterValueMatch::String(
                StringMatcher::from_proto(matcher, &path.field("string_match"), context),
            ),
            Some(Specifier::PresentMatch(present)) => QueryParameterValueMatch::Present(*present),
            None => QueryParameterValueMatch::Present(true),
        };
        QueryParameterMatcher { name: proto.name.clone(), value }
    }

    /// Whether a request matches in which the parameter has this value.
    pub fn matches(&self, value: Option<&[u8]>) -> bool {
        match &self.value {
            QueryParameterValueMatch::Present(present) => value.is_some() == *present,
            QueryParameterValueMatch::String(matcher) => value.is_some_and(|value| matcher.matches(value)),
        }
    }
}

/// Matches one cookie of the `cookie` header.
#[derive(Debug, Clone)]
pub struct CookieMatcher {
    /// Name, compared with case.
    pub name: String,
    /// What its value must be.
    pub value: StringMatcher,
    /// Invert the outcome.
    pub invert_match: bool,
}

impl CookieMatcher {
    /// Converts a matcher.
    pub fn from_proto(
        proto: &route::CookieMatcher,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> CookieMatcher {
        let matcher = proto.string_match.clone().unwrap_or_default();
        CookieMatcher {
            name: proto.name.clone(),
            value: StringMatcher::from_proto(&matcher, &path.field("string_match"), context),
            invert_match: proto.invert_match,
        }
    }

    /// Whether a request matches in which the cookie has this value. An absent cookie matches only
    /// an inverted matcher.
    pub fn matches(&self, value: Option<&[u8]>) -> bool {
        value.is_some_and(|value| self.value.matches(value)) != self.invert_match
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StringPattern;

    fn matcher(value: HeaderValueMatch, invert_match: bool, missing_as_empty: bool) -> HeaderMatcher {
        HeaderMatcher {
            name: "x".into(),
            value,
            invert_match,
            treat_missing_header_as_empty: missing_as_empty,
        }
    }

    fn exact(text: &str) -> HeaderValueMatch {
        let pattern = StringPattern::Exact(text.into());
        HeaderValueMatch::String(StringMatcher { pattern, ignore_case: false })
    }

    #[test]
    fn an_absent_header_matches_only_inverted_or_as_empty() {
        assert!(!matcher(exact("a"), false, false).matches(None));
        assert!(!matcher(exact("a"), true, false).matches(Some(b"a")));
        assert!(matcher(exact("a"), true, true).matches(None));
        assert!(matcher(exact(""), false, true).matches(None));
    }

    #[test]
    fn presence_and_absence() {
        assert!(matcher(HeaderValueMatch::Present(true), false, false).matches(Some(b"")));
        assert!(matcher(HeaderValueMatch::Present(false), false, false).matches(None));
        assert!(matcher(HeaderValueMatch::Present(true), true, false).matches(None));
    }

    #[test]
    fn a_range_is_half_open_and_takes_only_integers() {
        let range = matcher(HeaderValueMatch::Range { start: -1, end: 3 }, false, false);
        for (value, expected) in [("-1", true), ("2", true), ("3", false), ("1.5", false), ("", false)] {
            assert_eq!(range.matches(Some(value.as_bytes())), expected, "{value}");
        }
    }
}
