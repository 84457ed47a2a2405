//! String matchers (`envoy.type.matcher.v3.StringMatcher`): plain data plus the match itself.

use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;

use super::{Context, FieldPath, Regex, RegexRewrite};

/// Matches a text in one of several ways.
#[derive(Debug, Clone)]
pub struct StringMatcher {
    /// The way to match.
    pub pattern: StringPattern,
    /// Compare without regard to ASCII case; never set with a regular expression.
    pub ignore_case: bool,
}

/// The ways a [`StringMatcher`] matches. None but the regular expression may be empty (other than `Exact`).
#[derive(Debug, Clone)]
pub enum StringPattern {
    /// The whole text.
    Exact(String),
    /// Its beginning.
    Prefix(String),
    /// Its end.
    Suffix(String),
    /// Any part of it.
    Contains(String),
    /// The whole text, by a regular expression.
    SafeRegex(Regex),
}

impl StringMatcher {
    /// Converts a matcher. Records errors in `context` and then gives a matcher of the empty text.
    pub fn from_proto(
        proto: &matcher::StringMatcher,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> StringMatcher {
        use matcher::string_matcher::MatchPattern;
        let pattern = match &proto.match_pattern {
            Some(MatchPattern::Exact(text)) => StringPattern::Exact(text.clone()),
            Some(MatchPattern::Prefix(text)) => StringPattern::Prefix(text.clone()),
            Some(MatchPattern::Suffix(text)) => StringPattern::Suffix(text.clone()),
            Some(MatchPattern::Contains(text)) => StringPattern::Contains(text.clone()),
            Some(MatchPattern::SafeRegex(regex)) => {
                if proto.ignore_case {
                    context.error_with_help(
                        &path.field("ignore_case"),
                        "ignore_case has no effect for safe_regex",
                        "put (?i) at the beginning of the expression",
                    );
                }
                match regex_from_proto(regex, &path.field("safe_regex"), context) {
                    Some(regex) => StringPattern::SafeRegex(regex),
                    None => StringPattern::Exact(String::new()),
                }
            }
            Some(MatchPattern::Custom(_)) => {
                context.error(&path.field("custom"), "string matcher extensions are not implemented yet");
                StringPattern::Exact(String::new())
            }
            None => {
                context.error(path, "a match_pattern is required");
                StringPattern::Exact(String::new())
            }
        };
        StringMatcher { pattern, ignore_case: proto.ignore_case }
    }

    /// Converts the matchers in the list field `name` of the message at `path`.
    pub fn list(
        protos: &[matcher::StringMatcher],
        path: &FieldPath,
        name: &str,
        context: &mut Context<'_>,
    ) -> Vec<StringMatcher> {
        let matchers = protos.iter().enumerate();
        matchers.map(|(i, proto)| StringMatcher::from_proto(proto, &path.element(name, i), context)).collect()
    }

    /// Whether `value` matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        let same = |a: &[u8], b: &[u8]| if self.ignore_case { a.eq_ignore_ascii_case(b) } else { a == b };
        match &self.pattern {
            StringPattern::Exact(text) => same(value, text.as_bytes()),
            StringPattern::Prefix(text) => {
                value.get(..text.len()).is_some_and(|start| same(start, text.as_bytes()))
            }
            StringPattern::Suffix(text) => {
                value.len().checked_sub(text.len()).is_some_and(|at| same(&value[at..], text.as_bytes()))
            }
            StringPattern::Contains(text) if self.ignore_case => {
                text.is_empty() || value.windows(text.len()).any(|part| same(part, text.as_bytes()))
            }
            StringPattern::Contains(text) => memchr::memmem::find(value, text.as_bytes()).is_some(),
            StringPattern::SafeRegex(regex) => regex.is_full_match(value),
        }
    }
}

/// Compiles a full-match expression; records an error and gives none if it is invalid.
pub(super) fn regex_from_proto(
    proto: &matcher::RegexMatcher,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Option<Regex> {
    Regex::new(&proto.regex).map_err(|error| context.error(&path.field("regex"), error.to_string())).ok()
}

/// Compiles a rewrite; records an error and gives none if it is invalid.
pub(super) fn regex_rewrite_from_proto(
    proto: &matcher::RegexMatchAndSubstitute,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Option<RegexRewrite> {
    let pattern = proto.pattern.as_ref().map_or("", |pattern| &pattern.regex);
    RegexRewrite::new(pattern, &proto.substitution)
        .map_err(|error| context.error(&path.field("pattern").field("regex"), error.to_string()))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(pattern: StringPattern, ignore_case: bool) -> StringMatcher {
        StringMatcher { pattern, ignore_case }
    }

    #[test]
    fn patterns_match_with_and_without_case() {
        let cases = [
            (StringPattern::Exact("Ab".into()), "Ab", "aB", "Abc"),
            (StringPattern::Prefix("Ab".into()), "Abc", "aBc", "cAb"),
            (StringPattern::Suffix("Ab".into()), "cAb", "caB", "Abc"),
            (StringPattern::Contains("Ab".into()), "xAby", "xaBy", "xA"),
        ];
        for (pattern, same, other_case, different) in cases {
            let exact = matcher(pattern.clone(), false);
            assert!(exact.matches(same.as_bytes()) && !exact.matches(other_case.as_bytes()), "{pattern:?}");
            let relaxed = matcher(pattern.clone(), true);
            assert!(
                relaxed.matches(same.as_bytes()) && relaxed.matches(other_case.as_bytes()),
                "{pattern:?}"
            );
            assert!(!relaxed.matches(different.as_bytes()), "{pattern:?}");
        }
    }

    #[test]
    fn an_expression_must_match_the_whole_text() {
        let regex = matcher(StringPattern::SafeRegex(Regex::new("a|ab").unwrap()), false);
        assert!(regex.matches(b"ab") && regex.matches(b"a"));
        assert!(!regex.matches(b"abc") && !regex.matches(b"xa"));
    }
}
