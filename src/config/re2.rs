//! Turns RE2's expression syntax into that of the `regex` crate where the two differ, so that expressions
//! written for Envoy mean the same here: Perl classes are ASCII, `{` without a count is a literal, `[` and set
//! operators inside a class are literals. It rejects only what the crate would accept with another meaning.

/// Largest count of a repetition, as in RE2.
const MAX_REPETITIONS: u32 = 1000;

/// The expression in the `regex` crate's syntax.
///
/// # Errors
/// If RE2 would not accept a part of it that the crate accepts.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern;
    // Whether an operator repeats what stands before: RE2 does not repeat repetitions.
    let mut repeated = false;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        if matches!(c, '*' | '+' | '?') || (c == '{' && split_count(after).is_some()) {
            if repeated {
                return Err(format!("bad repetition operator: {c}"));
            }
            let after = if c == '{' { count(after, &mut out)? } else { push(c, after, &mut out) };
            rest = match after.strip_prefix('?') {
                Some(after) => push('?', after, &mut out),
                None => after,
            };
            repeated = true;
            continue;
        }
        repeated = false;
        rest = match c {
            '\\' => escape(after, &mut out),
            '[' => class(after, &mut out),
            '{' => {
                out.push_str("\\{");
                after
            }
            '(' => group(after, &mut out)?,
            c => push(c, after, &mut out),
        };
    }
    Ok(out)
}

/// Appends `c` and gives what follows it.
fn push<'a>(c: char, after: &'a str, out: &mut String) -> &'a str {
    out.push(c);
    after
}

/// An escape outside of classes; `text` follows the backslash.
fn escape<'a>(text: &'a str, out: &mut String) -> &'a str {
    let Some(c) = text.chars().next() else {
        out.push('\\');
        return text;
    };
    let after = &text[c.len_utf8()..];
    match c {
        'Q' => {
            let (literal, after) = after.split_once("\\E").unwrap_or((after, ""));
            out.push_str(&regex::escape(literal));
            return after;
        }
        'd' | 's' | 'w' => {
            out.push('[');
            out.push_str(perl_class(c));
            out.push(']');
        }
        'D' | 'S' | 'W' => {
            out.push_str("[^");
            out.push_str(perl_class(c.to_ascii_lowercase()));
            out.push(']');
        }
        'b' => out.push_str(r"(?-u:\b)"),
        'B' => out.push_str(r"(?-u:\B)"),
        'C' => out.push_str("(?s-u:.)"),
        '<' | '>' => out.push(c),
        c => out.extend(['\\', c]),
    }
    after
}

/// The members of a Perl class, which RE2 restricts to ASCII.
fn perl_class(name: char) -> &'static str {
    match name {
        'd' => "0-9",
        's' => r"\t\n\f\r ",
        _ => "0-9A-Za-z_",
    }
}

/// A character class; `text` follows its `[`.
fn class<'a>(text: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = text;
    if let Some(after) = rest.strip_prefix('^') {
        out.push('^');
        rest = after;
    }
    if let Some(after) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = after;
    }
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            ']' => {
                out.push(']');
                return after;
            }
            '[' => match after.strip_prefix(':').and_then(|after| after.split_once(":]")) {
                Some((name, after)) => {
                    out.push_str(&format!("[:{name}:]"));
                    rest = after;
                    continue;
                }
                None => out.push_str("\\["),
            },
            '&' | '~' => out.extend(['\\', c]),
            '-' if after.starts_with('-') => out.push_str("\\-"),
            '\\' => {
                rest = class_escape(after, out);
                continue;
            }
            c => out.push(c),
        }
        rest = after;
    }
    rest
}

/// An escape inside a class; `text` follows the backslash.
fn class_escape<'a>(text: &'a str, out: &mut String) -> &'a str {
    let Some(c) = text.chars().next() else {
        out.push('\\');
        return text;
    };
    match c {
        'd' | 's' | 'w' => out.push_str(perl_class(c)),
        'D' | 'S' | 'W' => {
            out.push_str("[^");
            out.push_str(perl_class(c.to_ascii_lowercase()));
            out.push(']');
        }
        '<' | '>' => out.push(c),
        c => out.extend(['\\', c]),
    }
    &text[c.len_utf8()..]
}

/// The count of a repetition and what follows it; `text` follows the `{`. None if the brace is a literal.
fn split_count(text: &str) -> Option<(&str, &str)> {
    text.split_once('}').filter(|(count, _)| {
        let (least, most) = count.split_once(',').unwrap_or((count, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        !least.is_empty() && digits(least) && digits(most)
    })
}

/// A repetition with a count; `text` follows the `{`.
fn count<'a>(text: &'a str, out: &mut String) -> Result<&'a str, String> {
    let (count, after) = split_count(text).unwrap_or(("", text));
    let too_large = |number: &str| {
        !number.is_empty() && number.parse::<u32>().map_or(true, |number| number > MAX_REPETITIONS)
    };
    if count.split(',').any(too_large) {
        return Err(format!("invalid repetition size: {{{count}}}"));
    }
    out.push_str(&format!("{{{count}}}"));
    Ok(after)
}

/// The beginning of a group; `text` follows the `(`. Flags that RE2 lacks are refused.
fn group<'a>(text: &'a str, out: &mut String) -> Result<&'a str, String> {
    out.push('(');
    let Some(flags) = text.strip_prefix('?') else { return Ok(text) };
    let end = flags.find([':', ')', '<', 'P']).unwrap_or(flags.len());
    match flags[..end].chars().find(|flag| matches!(flag, 'u' | 'x' | 'R')) {
        Some(flag) => Err(format!("unknown flag: {flag}")),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Regex;

    fn matches(pattern: &str, value: &str) -> bool {
        Regex::new(pattern).unwrap_or_else(|error| panic!("{error}")).is_full_match(value.as_bytes())
    }

    #[test]
    fn braces_without_a_count_are_literals() {
        assert!(matches("/users/{id}/x", "/users/{id}/x"));
        assert!(matches("a{2}b{1,}c{0,1}", "aabb"));
        assert!(matches("a{,2}", "a{,2}"));
        assert!(matches("a{1,}?b*?{", "ab{"));
        assert_eq!(translate("a{1001}"), Err("invalid repetition size: {1001}".to_owned()));
    }

    #[test]
    fn perl_classes_are_ascii() {
        assert!(matches(r"\d+\w[\d_]\W", "12a_-"));
        assert!(!matches(r"\d", "٣"));
        assert!(!matches(r"\w", "é"));
        assert!(matches(r"[\D]", "é"));
        assert!(matches(r"\bfoo\b", "foo"));
    }

    #[test]
    fn a_class_has_no_set_operators_and_no_nested_classes() {
        assert!(matches("[a&&b]+", "a&b"));
        assert!(matches("[[a]+", "[a"));
        assert!(matches("[]a]+", "]a"));
        assert!(matches("[^]a]", "b"));
        assert!(matches("[[:digit:]x~~y]+", "1x~"));
        assert!(matches("[+--]", "-"));
    }

    #[test]
    fn quoted_text_and_odd_escapes() {
        assert!(matches(r"\Qa.b*\E+", "a.b**"));
        assert!(matches(r"\<\>", "<>"));
        assert!(Regex::new("(?x)a b").is_err());
        assert!(matches("(?i)AbC", "aBc"));
        assert!(matches("(?P<name>a)(?<other>b)(?:c)", "abc"));
    }

    #[test]
    fn a_trailing_backslash_or_open_class_is_an_error() {
        for pattern in ["a\\", "[a", "[\\", "(", "a**", "a{2}{3}", "a+?*", "\\1"] {
            assert!(Regex::new(pattern).is_err(), "{pattern}");
        }
    }
}
