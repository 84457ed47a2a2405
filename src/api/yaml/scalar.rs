//! What a plain YAML scalar means to Envoy 1.40 (checked on the binary, see the table in the tests):
//! yaml-cpp's booleans and C++ integers; everything else stays a string until a field's type says
//! otherwise, so `1.5` is a valid name and also a valid number.

use crate::api::tree::Kind;
use std::borrow::Cow;

/// The value of a scalar that is not quoted.
pub fn resolve_plain(text: Cow<'_, str>) -> Kind {
    if matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
        return Kind::Null;
    }
    if let Some(value) = yaml_bool(&text) {
        return Kind::Bool(value);
    }
    match yaml_int(&text) {
        // Envoy keeps what JSON's doubles may not hold as text: `name: 5000000000` is a string.
        Some(value) if i32::try_from(value).is_ok() => Kind::Int(value),
        Some(value) => Kind::Str(value.to_string()),
        None => Kind::Str(text.into_owned()),
    }
}

/// `yes`, `Yes`, `YES` and their like, but not `yEs`.
fn yaml_bool(text: &str) -> Option<bool> {
    let rest = text.get(1..)?;
    let lower = rest.bytes().all(|b| b.is_ascii_lowercase());
    let upper = text.bytes().all(|b| b.is_ascii_uppercase());
    if text.len() > 5 || !(lower || upper) {
        return None;
    }
    match &*text.to_ascii_lowercase() {
        "y" | "yes" | "true" | "on" => Some(true),
        "n" | "no" | "false" | "off" => Some(false),
        _ => None,
    }
}

/// An integer as C++ streams read it with the base left open: `0x10`, `010` (octal), `+5`.
fn yaml_int(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    // `from_str_radix` takes a sign of its own, which may not follow the first one.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        match resolve_plain(text.into()) {
            Kind::Null => "null".into(),
            Kind::Bool(b) => b.to_string(),
            Kind::Int(i) => i.to_string(),
            Kind::Str(s) => format!("{s:?}"),
            other => format!("{other:?}"),
        }
    }

    /// Left: text; right: what Envoy 1.40 shows for it in `node.metadata` of `/config_dump`.
    #[test]
    fn plain_scalars_mean_what_they_mean_to_envoy() {
        let table = [
            ("~", "null"),
            ("", "null"),
            ("NULL", "null"),
            ("nUll", "\"nUll\""),
            ("y", "true"),
            ("Y", "true"),
            ("yes", "true"),
            ("On", "true"),
            ("oN", "\"oN\""),
            ("TRUE", "true"),
            ("n", "false"),
            ("off", "false"),
            ("No", "false"),
            ("FALSE", "false"),
            ("trUe", "\"trUe\""),
            ("5", "5"),
            ("-5", "-5"),
            ("+5", "5"),
            ("010", "8"),
            ("089", "\"089\""),
            ("0x10", "16"),
            ("-0x10", "-16"),
            ("0o10", "\"0o10\""),
            ("1_000", "\"1_000\""),
            ("--5", "\"--5\""),
            ("+-5", "\"+-5\""),
            ("0x", "\"0x\""),
            ("0x-5", "\"0x-5\""),
            ("5000000000", "\"5000000000\""),
            ("2147483647", "2147483647"),
            ("2147483648", "\"2147483648\""),
            ("99999999999999999999", "\"99999999999999999999\""),
            ("0", "0"),
            ("-0", "0"),
            ("1.5", "\"1.5\""),
            ("1e3", "\"1e3\""),
            (".inf", "\".inf\""),
            ("2020-01-01", "\"2020-01-01\""),
            ("é", "\"é\""),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }
}
