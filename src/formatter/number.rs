//! Prints whole numbers without the standard library's formatting machinery, which costs several
//! times as much on a log line. Decides nothing.

/// Appends `value` in decimal.
pub fn write_u64(value: u64, out: &mut Vec<u8>) {
    write_padded(value, 1, b'0', out);
}

/// Appends `value` in decimal, filled on the left with `fill` up to `width` bytes (at most 20).
pub fn write_padded(mut value: u64, width: usize, fill: u8, out: &mut Vec<u8>) {
    let mut digits = [fill; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    let start = at.min(digits.len() - width.min(digits.len()));
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_print_in_decimal_with_padding() {
        let print = |value, width, fill| {
            let mut out = Vec::new();
            write_padded(value, width, fill, &mut out);
            String::from_utf8(out).expect("digits")
        };
        assert_eq!(print(0, 1, b'0'), "0");
        assert_eq!(print(u64::MAX, 1, b'0'), "18446744073709551615");
        assert_eq!(print(7, 3, b'0'), "007");
        assert_eq!(print(7, 2, b' '), " 7");
        assert_eq!(print(12_345, 2, b'0'), "12345");
        assert_eq!(print(1, 99, b'0').len(), 20);
    }
}
