//! `x-request-id`: a random (version 4) UUID, RFC 9562 section 5.4, as Envoy's UUID extension makes it.

/// Writes a UUID made of 128 random bits.
pub fn format_uuid_v4(random: [u64; 2]) -> [u8; 36] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random[0].to_be_bytes());
    bytes[8..].copy_from_slice(&random[1].to_be_bytes());
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (index, byte) in bytes.into_iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = HEX[usize::from(byte >> 4)];
        text[at + 1] = HEX[usize::from(byte & 0x0f)];
        at += 2;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_variant_are_set() {
        assert_eq!(&format_uuid_v4([0, 0]), b"00000000-0000-4000-8000-000000000000");
        assert_eq!(&format_uuid_v4([u64::MAX, u64::MAX]), b"ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(
            &format_uuid_v4([0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef]),
            b"01234567-89ab-4def-8123-456789abcdef"
        );
    }
}
