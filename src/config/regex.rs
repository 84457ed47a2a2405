//! Regular expressions with RE2's syntax and full-match semantics (`envoy.type.matcher.v3.RegexMatcher`), on
//! the linear-time `regex` crate. They match bytes, never backtrack, and have a size limit.

use std::fmt;

use regex::bytes;

use super::re2;

/// Why a pattern is no regular expression, or a substitution does not fit it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid regex '{pattern}': {reason}")]
pub struct RegexError {
    /// The pattern as configured.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Largest compiled size of one pattern.
pub const MAX_REGEX_PROGRAM_BYTES: usize = 10 << 20;

/// A pattern that must match the whole value.
#[derive(Clone)]
pub struct Regex {
    pattern: String,
    compiled: bytes::Regex,
}

impl Regex {
    /// Compiles `pattern`.
    ///
    /// # Errors
    /// If it is not a valid expression or compiles to more than [`MAX_REGEX_PROGRAM_BYTES`].
    pub fn new(pattern: &str) -> Result<Regex, RegexError> {
        let compiled = compile(pattern, |expression| format!("\\A(?:{expression})\\z"))?;
        Ok(Regex { pattern: pattern.to_owned(), compiled })
    }

    /// The pattern as configured.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Whether the pattern matches all of `value`.
    pub fn is_full_match(&self, value: &[u8]) -> bool {
        self.compiled.is_match(value)
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regex({:?})", self.pattern)
    }
}

/// Replaces every match of a pattern (`envoy.type.matcher.v3.RegexMatchAndSubstitute`).
#[derive(Clone)]
pub struct RegexRewrite {
    pattern: String,
    substitution: String,
    parts: Vec<Part>,
    compiled: bytes::Regex,
}

/// A piece of a substitution.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(Vec<u8>),
    Group(usize),
}

impl RegexRewrite {
    /// Compiles `pattern`; in `substitution`, `\1` to `\9` stand for groups, `\0` for the match, `\\` for `\`.
    ///
    /// # Errors
    /// If the pattern is invalid or too large, or the substitution has another escape or names a group that
    /// is not there (with which Envoy loads, but never rewrites).
    pub fn new(pattern: &str, substitution: &str) -> Result<RegexRewrite, RegexError> {
        let compiled = compile(pattern, |expression| expression)?;
        let parts = parse_substitution(substitution, compiled.captures_len() - 1)
            .map_err(|reason| RegexError { pattern: pattern.to_owned(), reason })?;
        Ok(RegexRewrite {
            pattern: pattern.to_owned(),
            substitution: substitution.to_owned(),
            parts,
            compiled,
        })
    }

    /// The pattern as configured.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The substitution as configured.
    pub fn substitution(&self) -> &str {
        &self.substitution
    }

    /// `value` with every match replaced.
    pub fn rewrite(&self, value: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(value.len());
        let mut copied = 0;
        for captures in self.compiled.captures_iter(value) {
            let Some(whole) = captures.get(0) else { continue };
            out.extend_from_slice(&value[copied..whole.start()]);
            for part in &self.parts {
                match part {
                    Part::Text(text) => out.extend_from_slice(text),
                    Part::Group(group) => {
                        out.extend_from_slice(captures.get(*group).map_or(b"", |group| group.as_bytes()));
                    }
                }
            }
            copied = whole.end();
        }
        out.extend_from_slice(&value[copied..]);
        out
    }
}

impl fmt::Debug for RegexRewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RegexRewrite({:?} -> {:?})", self.pattern, self.substitution)
    }
}

fn parse_substitution(substitution: &str, groups: usize) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut text = Vec::new();
    let mut bytes = substitution.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            text.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'\\') => text.push(b'\\'),
            Some(digit @ b'0'..=b'9') => {
                let group = usize::from(digit - b'0');
                if group > groups {
                    return Err(format!("the substitution names group {group}, the pattern has {groups}"));
                }
                if !text.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut text)));
                }
                parts.push(Part::Group(group));
            }
            _ => return Err("in the substitution a `\\` must be followed by a digit or `\\`".to_owned()),
        }
    }
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
    Ok(parts)
}

/// Compiles `pattern` after `wrap` made the whole expression of it.
fn compile(pattern: &str, wrap: impl FnOnce(String) -> String) -> Result<bytes::Regex, RegexError> {
    let error = |reason| RegexError { pattern: pattern.to_owned(), reason };
    let expression = re2::translate(pattern).map_err(error)?;
    let builder = |expression: &str| {
        bytes::RegexBuilder::new(expression).size_limit(MAX_REGEX_PROGRAM_BYTES).build().map_err(|problem| {
            // The crate draws the pattern over several lines; the last one says what is wrong.
            let problem = problem.to_string();
            let line = problem.lines().last().unwrap_or_default();
            error(line.trim_start_matches("error: ").to_owned())
        })
    };
    // Alone first: wrapped, `a)(b` would be fine.
    let alone = builder(&expression)?;
    let wrapped = wrap(expression);
    if wrapped == alone.as_str() { Ok(alone) } else { builder(&wrapped) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_match_covers_the_whole_value() {
        let regex = Regex::new("/a|/ab+").unwrap();
        assert!(regex.is_full_match(b"/a") && regex.is_full_match(b"/abb"));
        assert!(!regex.is_full_match(b"/abc") && !regex.is_full_match(b"x/a"));
        assert!(!Regex::new("a.c").unwrap().is_full_match(b"a\nc"));
        assert!(Regex::new("[^/]+").unwrap().is_full_match("é".as_bytes()));
    }

    #[test]
    fn a_bad_pattern_is_named_on_one_line() {
        let error = Regex::new("a(b").unwrap_err();
        assert_eq!(error.to_string(), "invalid regex 'a(b': unclosed group");
        assert!(Regex::new("a)(b").is_err());
    }

    #[test]
    fn a_huge_pattern_is_refused_in_bounded_time() {
        assert!(Regex::new("(((a{100}){100}){100})").is_err());
    }

    #[test]
    fn every_match_is_rewritten() {
        let rewrite = RegexRewrite::new("^/service/([^/]+)(/.*)$", r"\2/instance/\1").unwrap();
        assert_eq!(rewrite.rewrite(b"/service/foo/v1/api"), b"/v1/api/instance/foo");
        assert_eq!(rewrite.rewrite(b"/other"), b"/other");
        assert_eq!(RegexRewrite::new("a*", "-").unwrap().rewrite(b"baac"), b"-b-c-");
        assert_eq!(
            RegexRewrite::new("one", r"\0\\two").unwrap().rewrite(b"/xonexone"),
            br"/xone\twoxone\two"
        );
    }

    #[test]
    fn a_substitution_must_fit_its_pattern() {
        for substitution in [r"\1", r"x\", r"\q"] {
            assert!(RegexRewrite::new("a", substitution).is_err(), "{substitution}");
        }
    }
}
