//! Splits a format string into literal text and commands `%NAME(parameters):length%`.
//! Knows the grammar only, not the commands.

use super::FormatError;

/// A piece of a format string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token<'a> {
    /// Text that stands for itself; `%%` has become `%`.
    Literal(&'a str),
    /// A command.
    Command(RawCommand<'a>),
}

/// A command as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawCommand<'a> {
    /// Upper-case name.
    pub name: &'a str,
    /// What stands between the parentheses; empty if nothing or no parentheses.
    pub parameters: &'a str,
    /// The number behind the colon, in bytes.
    pub max_len_bytes: Option<usize>,
}

/// Splits `format` completely.
pub fn tokenize(format: &str) -> Result<Vec<Token<'_>>, FormatError> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < format.len() {
        let rest = &format[at..];
        let Some(literal_len) = rest.find('%') else {
            tokens.push(Token::Literal(rest));
            break;
        };
        if literal_len > 0 {
            tokens.push(Token::Literal(&rest[..literal_len]));
            at += literal_len;
            continue;
        }
        if rest.starts_with("%%") {
            tokens.push(Token::Literal("%"));
            at += 2;
            continue;
        }
        let (command, len) = command(rest)
            .ok_or_else(|| FormatError::Malformed { format: format.to_owned(), position: at })?;
        tokens.push(Token::Command(command));
        at += len;
    }
    Ok(tokens)
}

/// Reads the command at the beginning of `text`; also returns its length with both `%`.
fn command(text: &str) -> Option<(RawCommand<'_>, usize)> {
    let body = &text[1..];
    let name_len = body.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))?;
    if name_len == 0 {
        return None;
    }
    let (name, rest) = body.split_at(name_len);
    let done = |parameters, rest: &str| {
        let (max_len_bytes, tail_len) = tail(rest)?;
        let len = text.len() - rest.len() + tail_len;
        Some((RawCommand { name, parameters, max_len_bytes }, len))
    };
    let Some(inner) = rest.strip_prefix('(') else { return done("", rest) };
    // The parameters end at the first `)` with which the command can end: they may hold others.
    inner.match_indices(')').find_map(|(end, _)| done(&inner[..end], &inner[end + 1..]))
}

/// Reads `%` or `:number%`; returns the number and the length read.
fn tail(text: &str) -> Option<(Option<usize>, usize)> {
    if text.starts_with('%') {
        return Some((None, 1));
    }
    let digits_and_more = text.strip_prefix(':')?;
    let digits_len = digits_and_more.find('%')?;
    let digits = &digits_and_more[..digits_len];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((Some(digits.parse().ok()?), digits_len + 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Format and the position Envoy 1.40 complains about.
    #[test]
    fn malformed_commands_are_refused_where_envoy_1_40_refuses_them() {
        let cases = [
            ("%", 0),
            ("%REQ(a", 0),
            ("%REQ(a)", 0),
            ("%REQ(a):x%", 0),
            ("%REQ(a):%", 0),
            ("%REQ(a):-1%", 0),
            ("%req(a)%", 0),
            ("%REQ(a)%%", 8),
            ("100%", 3),
            ("%REQ(a)b%", 0),
            ("a % b % c", 2),
            ("%REQ(a)%REQ(b)%", 14),
        ];
        for (format, position) in cases {
            assert_eq!(
                tokenize(format),
                Err(FormatError::Malformed { format: format.to_owned(), position }),
                "{format}"
            );
        }
    }

    #[test]
    fn parameters_may_hold_parentheses_and_percent_signs() {
        let parameters = |format| match tokenize(format).as_deref() {
            Ok([Token::Command(RawCommand { parameters, .. })]) => (*parameters).to_owned(),
            other => panic!("{format}: {other:?}"),
        };
        assert_eq!(parameters("%START_TIME(%)%"), "%");
        assert_eq!(parameters("%REQ(a%)%"), "a%");
        assert_eq!(parameters("%REQ(a))%"), "a)");
        assert_eq!(parameters("%START_TIME(%Y(%m))%"), "%Y(%m)");
        assert_eq!(parameters("%REQ(a):12%"), "a");
    }

    proptest! {
        #[test]
        fn no_text_panics(format in "(%|REQ|\\(|\\)|:|[0-9]|é|x){0,20}") {
            let _ = tokenize(&format);
        }
    }
}
