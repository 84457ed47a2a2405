//! Which characters names, values and the parts of a request may have (RFC 9113 sections 8.2.1 and 8.3.1).
//!
//! As nghttp2 has it, which Envoy runs on, except that a value may not begin or end with a space: the RFC forbids that, and
//! a value that the next hop trims is not the value that was judged here.

/// Whether `name` is a token without upper-case letters. Pseudo-headers are not.
#[inline]
pub fn is_valid_name(name: &[u8]) -> bool {
    !name.is_empty() && all(name, NAME)
}

/// Whether `value` has no control characters other than the tab, and no space at either end.
#[inline]
pub fn is_valid_value(value: &[u8]) -> bool {
    let (words, rest) = value.as_chunks::<8>();
    // Eight bytes at a time; a tab makes it look byte by byte.
    let is_plain = words.iter().all(|word| has_no_control(u64::from_le_bytes(*word)))
        && rest.iter().all(|&byte| CLASSES[byte as usize] & VALUE != 0 && byte != b'\t');
    (is_plain || all(value, VALUE)) && !has_space_at_an_end(value)
}

/// Whether `method` is a token.
pub fn is_method(method: &[u8]) -> bool {
    !method.is_empty() && all(method, TOKEN)
}

/// Whether `scheme` is a scheme (RFC 3986 section 3.1).
pub fn is_scheme(scheme: &[u8]) -> bool {
    scheme.first().is_some_and(u8::is_ascii_alphabetic) && all(scheme, SCHEME)
}

/// Whether `authority` has only what RFC 3986 allows in a host and port, hence no user information, and is not empty.
pub fn is_authority(authority: &[u8]) -> bool {
    !authority.is_empty() && all(authority, AUTHORITY)
}

/// Whether `path` has no space and no control character. Bytes above ASCII pass, as with Envoy.
pub fn is_path(path: &[u8]) -> bool {
    all(path, PATH)
}

#[inline]
fn all(text: &[u8], class: u8) -> bool {
    text.iter().all(|&byte| CLASSES[byte as usize] & class != 0)
}

#[inline]
fn has_space_at_an_end(value: &[u8]) -> bool {
    matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

/// Whether none of eight bytes is below the space, or DEL.
#[inline]
fn has_no_control(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // The highest bit of a byte is set where it is smaller than the one subtracted. Bytes with that bit of their own do not count;
    // a borrow can only come from a byte that counts already.
    let below_space = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
    let is_del = (word ^ (ONES * 0x7f)).wrapping_sub(ONES) & !(word ^ (ONES * 0x7f)) & HIGH;
    below_space | is_del == 0
}

const NAME: u8 = 1;
const TOKEN: u8 = 2;
const VALUE: u8 = 4;
const SCHEME: u8 = 8;
const AUTHORITY: u8 = 16;
const PATH: u8 = 32;

/// The classes of each byte.
static CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let byte = index as u8;
        let is_alphanumeric = byte.is_ascii_alphanumeric();
        let mut classes = 0;
        if is_alphanumeric || is_one_of(byte, b"!#$%&'*+-.^_`|~") {
            classes |= TOKEN;
            if !byte.is_ascii_uppercase() {
                classes |= NAME;
            }
        }
        if (byte >= b' ' && byte != 0x7f) || byte == b'\t' {
            classes |= VALUE;
        }
        if is_alphanumeric || is_one_of(byte, b"+-.") {
            classes |= SCHEME;
        }
        if is_alphanumeric || is_one_of(byte, b"-._~!$&'()*+,;=:[]%") {
            classes |= AUTHORITY;
        }
        if byte > b' ' && byte != 0x7f {
            classes |= PATH;
        }
        table[index] = classes;
        index += 1;
    }
    table
};

const fn is_one_of(byte: u8, set: &[u8]) -> bool {
    let mut index = 0;
    while index < set.len() {
        if set[index] == byte {
            return true;
        }
        index += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names() {
        for good in ["a", "x-y_z", "0", "!#$%&'*+-.^_`|~"] {
            assert!(is_valid_name(good.as_bytes()), "{good}");
        }
        for bad in ["", "A", "a:", ":a", "a b", "a\0", "\u{e9}", "a\x7f"] {
            assert!(!is_valid_name(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn every_byte_in_a_value_at_every_place() {
        for byte in 0..=255u8 {
            let allowed = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
            for place in 1..20 {
                for other in [b'a', 0xff, 0x80, b'~', b'!'] {
                    let mut value = [other; 21];
                    value[place] = byte;
                    assert_eq!(is_valid_value(&value), allowed, "{byte} at {place}");
                }
            }
        }
    }

    #[test]
    fn no_space_at_either_end() {
        assert!(is_valid_value(b"") && is_valid_value(b"a b\tc") && is_valid_value("\u{e9}".as_bytes()));
        for bad in [" ", "\t", " a", "a ", "\ta", "a\t"] {
            assert!(!is_valid_value(bad.as_bytes()), "{bad:?}");
        }
    }

    #[test]
    fn parts_of_a_request() {
        assert!(is_method(b"M-SEARCH") && !is_method(b"") && !is_method(b"G T"));
        assert!(is_scheme(b"https") && is_scheme(b"x+y.z-1") && !is_scheme(b"1x") && !is_scheme(b""));
        assert!(is_authority(b"[::1]:80") && is_authority(b"a.example:443"));
        for bad in ["", "u@a", "a/b", "a b", "a\"", "\u{e9}", "a#", "a?"] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
        assert!(is_path(b"/a?b#\xff\"<>") && !is_path(b"/a b") && !is_path(b"/\x7f") && !is_path(b"/\t"));
    }

    proptest! {
        #[test]
        fn values_as_the_table_says(value in prop::collection::vec(any::<u8>(), 0..40)) {
            let expected = all(&value, VALUE) && !has_space_at_an_end(&value);
            prop_assert_eq!(is_valid_value(&value), expected);
        }
    }
}
