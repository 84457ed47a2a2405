//! Integers and the heads of strings (RFC 7541 section 5.1 and 5.2).

use super::HpackError;

/// Reads an integer whose first `prefix_bits` (1 to 8) bits stand in the first byte. Returns it and its length in bytes;
/// nothing if `bytes` ends within it.
///
/// # Errors
/// If it is larger than 2^28: no length or index can be that large, and no peer writes it with good intent.
#[inline]
pub fn decode(bytes: &[u8], prefix_bits: u32) -> Result<Option<(usize, usize)>, HpackError> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    let mask = 0xff >> (8 - prefix_bits);
    if first & mask != mask {
        return Ok(Some((usize::from(first & mask), 1)));
    }
    decode_long(bytes, usize::from(mask))
}

/// The part of an integer behind its first byte.
fn decode_long(bytes: &[u8], base: usize) -> Result<Option<(usize, usize)>, HpackError> {
    let mut value = base;
    for index in 0..CONTINUATION_MAX_BYTES {
        let Some(&byte) = bytes.get(index + 1) else { return Ok(None) };
        value += usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(Some((value, index + 2)));
        }
    }
    Err(HpackError::IntegerTooLarge)
}

/// Four bytes of seven bits each. Padding an integer with zeros beyond that is refused, too.
const CONTINUATION_MAX_BYTES: usize = 4;

/// Appends an integer; `pattern` are the bits of the first byte before the prefix.
#[inline]
pub fn encode(value: usize, prefix_bits: u32, pattern: u8, out: &mut Vec<u8>) {
    let mask = (1usize << prefix_bits) - 1;
    if value < mask {
        out.push(pattern | value as u8);
        return;
    }
    out.push(pattern | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 7541 appendix C.1.
    #[test]
    fn examples_of_the_rfc() {
        for (value, prefix, bytes) in
            [(10, 5, &[0b01010][..]), (1337, 5, &[0b11111, 0b10011010, 0b1010]), (42, 8, &[0b101010])]
        {
            let mut out = Vec::new();
            encode(value, prefix, 0, &mut out);
            assert_eq!(out, bytes);
            assert_eq!(decode(bytes, prefix), Ok(Some((value, bytes.len()))));
        }
    }

    #[test]
    fn incomplete_and_too_large() {
        assert_eq!(decode(&[], 7), Ok(None));
        assert_eq!(decode(&[0x7f, 0x80, 0x80, 0x80], 7), Ok(None));
        assert_eq!(decode(&[0x7f, 0xff, 0xff, 0xff, 0x7f], 7), Ok(Some((127 + (1 << 28) - 1, 5))));
        assert_eq!(decode(&[0x7f, 0x80, 0x80, 0x80, 0x80], 7), Err(HpackError::IntegerTooLarge));
    }

    proptest! {
        #[test]
        fn round_trip(value in 0usize..1 << 28, prefix in 1u32..=8, rest in prop::collection::vec(any::<u8>(), 0..3)) {
            let mut out = Vec::new();
            encode(value, prefix, 0, &mut out);
            let len = out.len();
            out.extend(rest);
            prop_assert_eq!(decode(&out, prefix), Ok(Some((value, len))));
        }
    }
}
