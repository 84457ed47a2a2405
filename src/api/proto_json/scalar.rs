//! Tree scalars → protobuf scalars, as leniently as Envoy 1.40's JSON reader (checked on the binary).
//!
//! Pure functions; an `Err` is what was expected, for the message "expected …, found …".

use crate::api::tree::Kind;

/// What a conversion gives, or the words for what it wanted.
pub type Scalar<T> = Result<T, String>;

/// `true`, or the strings that `absl::SimpleAtob` takes: `"true"`, `"yes"`, `"t"`, `"1"`, any case.
pub fn boolean(kind: &Kind) -> Scalar<bool> {
    let value = match kind {
        Kind::Bool(value) => Some(*value),
        Kind::Str(text) => match &*text.to_ascii_lowercase() {
            "true" | "t" | "yes" | "y" | "1" => Some(true),
            "false" | "f" | "no" | "n" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    };
    value.ok_or_else(|| "`true` or `false`".into())
}

/// An integer within `min..=max`; `noun` names the type. Whole numbers may be written `1e3`, `5.0`
/// or as a string.
pub fn integer(kind: &Kind, min: i128, max: i128, noun: &str) -> Scalar<i128> {
    let value = match kind {
        Kind::Int(value) => Some(i128::from(*value)),
        Kind::Float(value) => whole(*value),
        Kind::Str(text) if text.contains(char::is_whitespace) => None,
        Kind::Str(text) => text.parse().ok().or_else(|| parse_float(text).and_then(whole)),
        _ => None,
    };
    match value {
        Some(value) if (min..=max).contains(&value) => Ok(value),
        _ => Err(format!("{noun} (from {min} to {max})")),
    }
}

/// A number, or a string that holds one; `"Infinity"` and `"NaN"` too.
pub fn double(kind: &Kind) -> Scalar<f64> {
    let value = match kind {
        // Envoy's own numbers are doubles.
        Kind::Int(value) => Some(*value as f64),
        Kind::Float(value) => Some(*value),
        Kind::Str(text) => parse_float(text.trim()),
        _ => None,
    };
    value.ok_or_else(|| "a number".into())
}

/// Base64 in the standard or the URL alphabet, padded or not (RFC 4648).
pub fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if digits.len() % 4 == 1 {
        return None;
    }
    let mut out = Vec::with_capacity(digits.len() / 4 * 3 + 2);
    let (mut bits, mut bit_count) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            out.push((bits >> bit_count & 0xff) as u8);
        }
    }
    Some(out)
}

/// The integer that a float stands for exactly.
fn whole(value: f64) -> Option<i128> {
    const LIMIT: f64 = 1e20;
    (value.fract() == 0.0 && value.abs() < LIMIT).then_some(value as i128)
}

fn parse_float(text: &str) -> Option<f64> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    if let Some(hex) = digits.strip_prefix("0x").filter(|hex| !hex.starts_with(['+', '-'])) {
        let value = u64::from_str_radix(hex, 16).ok()? as f64;
        return Some(if negative { -value } else { value });
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(s: &str) -> Kind {
        Kind::Str(s.into())
    }

    fn u32_of(kind: &Kind) -> Option<i128> {
        integer(kind, 0, i128::from(u32::MAX), "an unsigned 32-bit integer").ok()
    }

    /// Every line was tried on Envoy 1.40 with `per_connection_buffer_limit_bytes`.
    #[test]
    fn integers_as_envoy_takes_them() {
        for (written, value) in [
            ("10", 10),
            ("010", 10),
            ("089", 89),
            ("0x10", 16),
            ("1e3", 1000),
            ("+5", 5),
            ("5.0", 5),
            ("1.0e2", 100),
        ] {
            assert_eq!(u32_of(&text(written)), Some(value), "{written}");
        }
        for written in
            ["", " 5", "5 ", "1_000", "0o10", "5.5", "-1", "4294967296", "1e10", "inf", "NaN", "0x-5", "--1"]
        {
            assert_eq!(u32_of(&text(written)), None, "{written}");
        }
        assert_eq!(u32_of(&Kind::Bool(true)), None);
        assert_eq!(u32_of(&Kind::Float(7.0)), Some(7));
        assert_eq!(u32_of(&Kind::Int(-1)), None);
        assert_eq!(integer(&text("18446744073709551615"), 0, u64::MAX.into(), "u64"), Ok(u64::MAX.into()));
        assert!(integer(&text("18446744073709551616"), 0, u64::MAX.into(), "u64").is_err());
    }

    #[test]
    fn booleans_as_envoy_takes_them() {
        for written in ["true", "True", "TRUE", "yes", "t", "1"] {
            assert_eq!(boolean(&text(written)), Ok(true), "{written}");
        }
        assert_eq!(boolean(&text("off")), Err("`true` or `false`".into()));
        assert!(boolean(&Kind::Int(1)).is_err());
    }

    #[test]
    fn doubles() {
        assert_eq!(double(&text(" 5")), Ok(5.0));
        assert_eq!(double(&text("0x10")), Ok(16.0));
        assert_eq!(double(&text("-Infinity")), Ok(f64::NEG_INFINITY));
        assert!(double(&text("NaN")).is_ok_and(f64::is_nan));
        assert!(double(&text(".inf")).is_err());
        assert!(double(&Kind::Null).is_err());
    }

    #[test]
    fn base64_of_rfc_4648() {
        for (written, bytes) in [("", ""), ("Zg==", "f"), ("Zg", "f"), ("Zm8=", "fo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(base64(written).as_deref(), Some(bytes.as_bytes()), "{written}");
        }
        assert_eq!(base64("-_8="), Some(vec![0xfb, 0xff]));
        assert_eq!(base64("+/8="), Some(vec![0xfb, 0xff]));
        assert_eq!(base64("Z"), None);
        assert_eq!(base64("Zm 9"), None);
    }
}
