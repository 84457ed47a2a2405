//! Header names: the ones the proxy itself reads or writes have a number ([`Known`]), all others are text.
//!
//! Names are lower case everywhere (RFC 9113 section 8.2, and Envoy does the same for HTTP/1). `host` and
//! `:authority` are one name, as in Envoy: HTTP/1 calls it `host` on the wire only.

mod names;

use std::fmt;

use names::NAMES;
pub use names::*;
use thiserror::Error;

/// A header name that has a number. Comparing, and finding one in a map, needs no text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Known(u8);

impl Known {
    /// The name, lower case; pseudo-headers begin with a colon.
    #[inline]
    pub const fn as_str(self) -> &'static str {
        NAMES[self.0 as usize]
    }

    /// Whether this is `:method`, `:path` or another of the names that HTTP/1 has no header line for.
    #[inline]
    pub const fn is_pseudo(self) -> bool {
        is_pseudo(self.0)
    }

    /// The known name with this text (lower case), if there is one.
    #[inline]
    pub fn from_name(name: &[u8]) -> Option<Known> {
        match lookup(name) {
            0 => None,
            id => Some(Known(id)),
        }
    }

    /// The number behind the name, from 1.
    #[inline]
    pub(super) const fn id(self) -> u8 {
        self.0
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A header name to look up or to add: a known one, or lower-case text.
#[derive(Debug, Clone, Copy)]
pub struct HeaderName<'a> {
    pub(super) id: u8,
    pub(super) text: &'a str,
}

impl<'a> HeaderName<'a> {
    /// The name, lower case.
    pub fn as_str(&self) -> &'a str {
        self.text
    }
}

impl PartialEq for HeaderName<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for HeaderName<'_> {}

impl From<Known> for HeaderName<'_> {
    #[inline]
    fn from(known: Known) -> Self {
        HeaderName { id: known.0, text: known.as_str() }
    }
}

impl<'a> From<&'a str> for HeaderName<'a> {
    /// `name` must be lower case already: upper-case letters are never found in a map.
    #[inline]
    fn from(name: &'a str) -> Self {
        match lookup(name.as_bytes()) {
            0 => HeaderName { id: 0, text: name },
            id => HeaderName { id, text: NAMES[id as usize] },
        }
    }
}

impl<'a> From<&'a HeaderNameBuf> for HeaderName<'a> {
    #[inline]
    fn from(name: &'a HeaderNameBuf) -> Self {
        match name {
            HeaderNameBuf::Known(known) => (*known).into(),
            HeaderNameBuf::Custom(text) => HeaderName { id: 0, text },
        }
    }
}

/// A header name to keep, such as one that a configuration mentions: checked and looked up once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HeaderNameBuf {
    /// One with a number.
    Known(Known),
    /// Any other: a lower-case token of RFC 9110.
    Custom(Box<str>),
}

/// Text that cannot be a header name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is not a header name: only letters, digits and !#$%&'*+-.^_`|~ may stand in one")]
pub struct InvalidHeaderName(pub String);

impl HeaderNameBuf {
    /// Takes a name in any case. Pseudo-headers (`:path`) are names here, as in Envoy's configuration.
    ///
    /// # Errors
    /// If `name` is empty or holds a character that RFC 9110 section 5.1 does not allow.
    pub fn parse(name: &str) -> Result<HeaderNameBuf, InvalidHeaderName> {
        let lower = name.to_ascii_lowercase();
        if let Some(known) = Known::from_name(lower.as_bytes()) {
            return Ok(HeaderNameBuf::Known(known));
        }
        if !is_token(lower.as_bytes()) {
            return Err(InvalidHeaderName(name.to_owned()));
        }
        Ok(HeaderNameBuf::Custom(lower.into_boxed_str()))
    }

    /// The name, lower case.
    pub fn as_str(&self) -> &str {
        match self {
            HeaderNameBuf::Known(known) => known.as_str(),
            HeaderNameBuf::Custom(text) => text,
        }
    }
}

impl fmt::Display for HeaderNameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether `text` is a token (RFC 9110 section 5.6.2): what methods and header names are made of.
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|&byte| TOKEN[byte as usize])
}

/// Whether `value` may stand in a header line: no CR, LF or NUL (RFC 9110 section 5.5).
#[inline]
pub fn is_safe_value(value: &[u8]) -> bool {
    // Hardly any value has a byte as small as these. The minimum needs no call: of five bytes it takes a fifth of the
    // 90 instructions that memchr does.
    value.iter().fold(u8::MAX, |least, &byte| least.min(byte)) > b'\r'
        || memchr::memchr3(b'\r', b'\n', 0, value).is_none()
}

/// Makes `place` what `name`, a token of the same length, is in lower case: in words, the last of which may overlap the one
/// before. `make_ascii_lowercase` takes three times as many instructions for a usual name, 70 for one of eleven bytes.
#[inline]
pub(super) fn write_lower_case(name: &[u8], place: &mut [u8]) {
    match (name.last_chunk::<8>(), name.last_chunk::<4>()) {
        (Some(tail), _) => {
            let (words, _) = name.as_chunks::<8>();
            let (places, _) = place.as_chunks_mut::<8>();
            // Not zipped: to find the shorter of the two costs more than this check, with one or two words.
            for (index, word) in words.iter().enumerate() {
                if let Some(place) = places.get_mut(index) {
                    *place = lower_word(u64::from_le_bytes(*word)).to_le_bytes();
                }
            }
            if let Some(place) = place.last_chunk_mut::<8>() {
                *place = lower_word(u64::from_le_bytes(*tail)).to_le_bytes();
            }
        }
        (None, Some(tail)) => {
            let lower = |word: &[u8; 4]| (lower_word(u32::from_le_bytes(*word).into()) as u32).to_le_bytes();
            if let (Some(head), Some(place)) = (name.first_chunk::<4>(), place.first_chunk_mut::<4>()) {
                *place = lower(head);
            }
            if let Some(place) = place.last_chunk_mut::<4>() {
                *place = lower(tail);
            }
        }
        (None, None) => place.make_ascii_lowercase(),
    }
}

/// Eight characters of a token in lower case. They are ASCII: no sum carries into the next byte.
#[inline]
fn lower_word(word: u64) -> u64 {
    const fn in_each_byte(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    // The top bit of each byte tells whether it is `A` or more, and whether it is more than `Z`.
    let from_a = word.wrapping_add(in_each_byte(0x80 - b'A'));
    let past_z = word.wrapping_add(in_each_byte(0x7f - b'Z'));
    word | ((from_a ^ past_z) & in_each_byte(0x80)) >> 2
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        table[byte] = c.is_ascii_alphanumeric()
            || matches!(
                c,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lowered_in_words_as_byte_by_byte() {
        let token: Vec<u8> = (0..=255).filter(|&byte| TOKEN[byte as usize]).collect();
        for len in 0..=token.len() {
            for name in token.windows(len.max(1)) {
                let name = &name[..len];
                let mut place = name.to_vec();
                write_lower_case(name, &mut place);
                assert_eq!(place, name.to_ascii_lowercase(), "{name:?}");
            }
        }
    }

    #[test]
    fn values_with_line_ends_or_nul_are_unsafe_wherever_they_stand() {
        for byte in 0..=255 {
            for len in [1, 5, 17, 40, 100] {
                for place in 0..len {
                    let mut value = vec![b'v'; len];
                    value[place] = byte;
                    assert_eq!(
                        is_safe_value(&value),
                        !matches!(byte, b'\r' | b'\n' | 0),
                        "{byte} at {place}"
                    );
                }
            }
        }
        assert!(is_safe_value(b""));
    }

    #[test]
    fn names_of_a_configuration_are_checked_and_lowered() {
        assert_eq!(HeaderNameBuf::parse("X-Request-ID"), Ok(HeaderNameBuf::Known(X_REQUEST_ID)));
        assert_eq!(HeaderNameBuf::parse("Host"), Ok(HeaderNameBuf::Known(AUTHORITY)));
        assert_eq!(HeaderNameBuf::parse("X-Mine").map(|name| name.to_string()), Ok("x-mine".into()));
        for bad in ["", "a b", "a:", "ä", "x\r\ny"] {
            assert!(HeaderNameBuf::parse(bad).is_err(), "{bad:?}");
        }
    }
}
