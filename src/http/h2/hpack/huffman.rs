//! The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: ordered by length and then by symbol, codes count up. So only the lengths stand here, and every
//! table is made from them when the program is built.

use thiserror::Error;

/// A string that is not the Huffman code of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("invalid Huffman code")]
pub struct InvalidHuffman;

/// Appends what `code` stands for to `out`; at most eight bytes for every five of the code.
///
/// # Errors
/// If it holds the symbol EOS, or does not end in fewer than eight one bits. `out` may have grown then.
pub fn decode(code: &[u8], out: &mut Vec<u8>) -> Result<(), InvalidHuffman> {
    let start = out.len();
    // Room for the longest result; the spare bytes let the loop write without asking.
    out.resize(start + max_decoded_len(code.len()), 0);
    let mut written = start;
    let mut bits = BitReader { rest: code, window: 0, count: 0, invented: 0 };
    // Whatever is decoded from invented bits beyond the end is noticed before the next round.
    while !bits.is_overrun() {
        bits.refill();
        let Some(room) = out[written..].first_chunk_mut::<SPARE_BYTES>() else { break };
        let mut count = 0;
        for _ in 0..SHORT_PER_REFILL {
            // Without a short code this writes what is overwritten later, and takes nothing.
            let entry = bits.short();
            room[count % SPARE_BYTES] = entry.first();
            room[(count + 1) % SPARE_BYTES] = entry.second();
            count += entry.count();
            bits.take(entry.bits());
        }
        written += count;
        if bits.short().count() == 0 {
            if bits.is_padding() {
                out.truncate(written);
                return Ok(());
            }
            bits.refill();
            if let (Some(slot), Some(symbol)) = (out.get_mut(written), bits.long_symbol()) {
                *slot = symbol;
                written += 1;
            } else {
                break;
            }
        }
    }
    Err(InvalidHuffman)
}

/// Bytes of room that [`decode`] takes while it decodes `len` bytes.
#[inline]
pub fn max_decoded_len(len: usize) -> usize {
    len * 8 / SHORTEST_BITS + SPARE_BYTES
}

/// Bytes of the Huffman code of `text`.
#[inline]
pub fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|&byte| usize::from(LENGTHS[byte as usize])).sum();
    bits.div_ceil(8)
}

/// Appends the Huffman code of `text` to `out`, padded with ones.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut window, mut count) = (0u64, 0u32);
    for &byte in text {
        let (code, len) = (CODES[byte as usize], u32::from(LENGTHS[byte as usize]));
        window = window << len | u64::from(code);
        count += len;
        // At most 31 bits wait before, and a code has at most 30.
        if count >= 32 {
            count -= 32;
            out.extend_from_slice(&((window >> count) as u32).to_be_bytes());
        }
    }
    if count > 0 {
        let missing = 32 - count;
        let padded = (window << missing | ((1 << missing) - 1)) as u32;
        out.extend_from_slice(&padded.to_be_bytes()[..count.div_ceil(8) as usize]);
    }
}

/// Bits from the front of some bytes, and endless ones behind them. The window's first bit is the next one; of the window, `count`
/// bits are filled, of which the last may be `invented`.
struct BitReader<'a> {
    rest: &'a [u8],
    window: u64,
    count: u32,
    invented: u32,
}

impl BitReader<'_> {
    /// Fills the window, with 57 bits at least.
    #[inline]
    fn refill(&mut self) {
        let bytes = (64 - self.count) / 8;
        let word = match self.rest.first_chunk::<8>() {
            Some(word) => {
                self.rest = &self.rest[bytes as usize..];
                *word
            }
            None => self.last_word(bytes as usize),
        };
        if bytes > 0 {
            let kept = u64::MAX << (64 - bytes * 8);
            self.window |= (u64::from_be_bytes(word) & kept) >> self.count;
            self.count += bytes * 8;
        }
    }

    /// The last few bytes, with ones behind, of which so many are used.
    fn last_word(&mut self, bytes: usize) -> [u8; 8] {
        let mut word = [0xff; 8];
        word[..self.rest.len()].copy_from_slice(self.rest);
        let used = bytes.min(self.rest.len());
        self.rest = &self.rest[used..];
        self.invented += 8 * (bytes - used) as u32;
        word
    }

    #[inline]
    fn take(&mut self, bits: u32) {
        self.window <<= bits;
        self.count -= bits;
    }

    /// A symbol whose code is longer than the short ones; none if that is EOS. The window is filled.
    #[cold]
    fn long_symbol(&mut self) -> Option<u8> {
        let window = (self.window >> 32) as u32;
        let mut len = SHORT_MAX_BITS as usize + 1;
        while u64::from(window) >= LIMITS[len] {
            len += 1;
        }
        let index = FIRST_INDEX[len] + ((window - FIRST_CODE[len]) >> (32 - len)) as usize;
        self.take(len as u32);
        u8::try_from(BY_CODE[index]).ok()
    }

    /// Whether more bits were taken than there were.
    #[inline]
    fn is_overrun(&self) -> bool {
        self.count < self.invented
    }

    /// Whether only padding is left: fewer than eight bits, all ones.
    #[inline]
    fn is_padding(&self) -> bool {
        self.rest.is_empty()
            && (self.invented..self.invented + 8).contains(&self.count)
            && self.window == !u64::MAX.checked_shr(self.count).unwrap_or(0)
    }

    /// What stands for the next bits.
    #[inline]
    fn short(&self) -> Short {
        SHORT[(self.window >> (64 - SHORT_MAX_BITS)) as usize]
    }
}

/// Up to two symbols. In the low six bits, where a shift takes them without masking: how many bits of code they have; in the next
/// two: how many there are, none if the code is too long; then the symbols, eight bits each.
#[derive(Clone, Copy)]
struct Short(u32);

impl Short {
    const fn one(symbol: u32, bits: u32) -> Short {
        Short(symbol << 8 | 1 << 6 | bits)
    }

    const fn two(first: u32, second: u32, bits: u32) -> Short {
        Short(second << 16 | first << 8 | 2 << 6 | bits)
    }

    #[inline]
    fn bits(self) -> u32 {
        self.0 & 0x3f
    }

    #[inline]
    fn count(self) -> usize {
        (self.0 >> 6 & 3) as usize
    }

    #[inline]
    fn first(self) -> u8 {
        (self.0 >> 8) as u8
    }

    #[inline]
    fn second(self) -> u8 {
        (self.0 >> 16) as u8
    }
}

const SYMBOLS: usize = 257;
const EOS_BITS: u32 = 30;
const SHORTEST_BITS: usize = 5;
/// So many bits are looked up at once: all of printable ASCII that matters has codes no longer than that, and pairs of usual
/// letters and digits have together.
const SHORT_MAX_BITS: u32 = 11;
/// As many look-ups as a filled window surely has bits for.
const SHORT_PER_REFILL: u32 = 5;
/// Written beyond the end at most.
const SPARE_BYTES: usize = 16;

/// Bits of each symbol's code; the last one is EOS.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];

/// Symbols in the order of their codes.
static BY_CODE: [u16; SYMBOLS] = {
    let mut order = [0; SYMBOLS];
    let (mut len, mut next) = (SHORTEST_BITS, 0);
    while len <= EOS_BITS as usize {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == len {
                order[next] = symbol as u16;
                next += 1;
            }
            symbol += 1;
        }
        len += 1;
    }
    order
};

/// For each length: its first code, aligned to the left of 32 bits; where that symbol stands in [`BY_CODE`]; and the bound
/// that all codes up to this length are below.
const BY_LENGTH: ([u32; 32], [usize; 32], [u64; 32]) = {
    let (mut first_code, mut first_index, mut limits) = ([0; 32], [0; 32], [0; 32]);
    let (mut len, mut code, mut index) = (SHORTEST_BITS, 0u64, 0);
    while len <= EOS_BITS as usize {
        first_code[len] = code as u32;
        first_index[len] = index;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == len {
                code += 1 << (32 - len);
                index += 1;
            }
            symbol += 1;
        }
        limits[len] = code;
        len += 1;
    }
    // The code is complete: every sequence of bits begins with a symbol.
    assert!(code == 1 << 32 && index == SYMBOLS);
    (first_code, first_index, limits)
};
static FIRST_CODE: [u32; 32] = BY_LENGTH.0;
static FIRST_INDEX: [usize; 32] = BY_LENGTH.1;
static LIMITS: [u64; 32] = BY_LENGTH.2;

/// Each symbol's code, aligned to the right.
static CODES: [u32; SYMBOLS] = {
    let mut codes = [0; SYMBOLS];
    let mut next = BY_LENGTH.0;
    let mut symbol = 0;
    while symbol < SYMBOLS {
        let len = LENGTHS[symbol] as usize;
        codes[symbol] = next[len] >> (32 - len);
        next[len] = next[len].wrapping_add(1 << (32 - len));
        symbol += 1;
    }
    codes
};

/// By the next bits: the symbols that they begin with.
static SHORT: [Short; 1 << SHORT_MAX_BITS] = {
    // First the single symbols: the symbol, and in the upper bits the length of its code, or zero.
    let mut single = [0u16; 1 << SHORT_MAX_BITS];
    let mut symbol = 0;
    while symbol < SYMBOLS {
        let len = LENGTHS[symbol] as u32;
        if len <= SHORT_MAX_BITS {
            let spare = SHORT_MAX_BITS - len;
            let first = (CODES[symbol] << spare) as usize;
            let mut offset = 0;
            while offset < 1 << spare {
                single[first + offset] = (len as u16) << 8 | symbol as u16;
                offset += 1;
            }
        }
        symbol += 1;
    }
    let mut table = [Short(0); 1 << SHORT_MAX_BITS];
    let mut index = 0;
    while index < single.len() {
        let (first, first_bits) = (single[index] as u32 & 0xff, single[index] as u32 >> 8);
        if first_bits > 0 {
            let behind = single[(index << first_bits) & (single.len() - 1)] as u32;
            let (second, second_bits) = (behind & 0xff, behind >> 8);
            let both_bits = first_bits + second_bits;
            table[index] = if second_bits > 0 && both_bits <= SHORT_MAX_BITS {
                Short::two(first, second, both_bits)
            } else {
                Short::one(first, first_bits)
            };
        }
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(code: &[u8]) -> Result<Vec<u8>, InvalidHuffman> {
        let mut out = b"before".to_vec();
        decode(code, &mut out).map(|()| out.split_off(6))
    }

    /// The examples of RFC 7541 appendix C.4 and C.6.
    #[test]
    fn examples_of_the_rfc() {
        let examples: [(&str, &[u8]); 5] = [
            ("www.example.com", &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff]),
            ("no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            ("302", &[0x64, 0x02]),
            ("private", &[0xae, 0xc3, 0x77, 0x1a, 0x4b]),
            ("", &[]),
        ];
        for (text, code) in examples {
            let mut out = Vec::new();
            encode(text.as_bytes(), &mut out);
            assert_eq!(out, code, "{text}");
            assert_eq!(encoded_len(text.as_bytes()), code.len());
            assert_eq!(decoded(code).as_deref(), Ok(text.as_bytes()));
        }
    }

    #[test]
    fn what_is_refused() {
        for code in [
            &[0xff][..],               // eight bits of padding
            &[0x64, 0x02, 0xff],       // likewise, behind text
            &[0x1c, 0x64, 0x00],       // padding of zeros
            &[0xff, 0xff, 0xff, 0xff], // EOS
            &[0xff, 0xff, 0xff, 0xfc], // EOS and two zeros
            &[0xff; 40],               // many of them
            &[0xff, 0xff, 0xff, 0xea], // a whole long code with zeros behind it
            &[0x1f, 0xff, 0xff, 0xff], // a long code that breaks off
        ] {
            assert_eq!(decoded(code), Err(InvalidHuffman), "{code:x?}");
        }
    }

    #[test]
    fn every_symbol_at_every_place() {
        for symbol in 0..=255u8 {
            for before in 0..20 {
                for after in [0, 1, 20] {
                    let text = [vec![b'a'; before], vec![symbol; 2], vec![b'a'; after]].concat();
                    let mut code = Vec::new();
                    encode(&text, &mut code);
                    assert_eq!(decoded(&code).as_deref(), Ok(&text[..]));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn round_trip(text in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut code = Vec::new();
            encode(&text, &mut code);
            prop_assert_eq!(code.len(), encoded_len(&text));
            prop_assert_eq!(decoded(&code), Ok(text));
        }

        /// What is accepted is the one code of what it decodes to.
        #[test]
        fn codes_are_unique(code in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff)], 0..40)) {
            if let Ok(text) = decoded(&code) {
                let mut again = Vec::new();
                encode(&text, &mut again);
                prop_assert_eq!(again, code);
            }
        }
    }
}
