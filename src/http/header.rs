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
pub fn is_safe_value(value: &[u8]) -> bool {
    memchr::memchr3(b'\r', b'\n', 0, value).is_none()
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
    fn names_of_a_configuration_are_checked_and_lowered() {
        assert_eq!(HeaderNameBuf::parse("X-Request-ID"), Ok(HeaderNameBuf::Known(X_REQUEST_ID)));
        assert_eq!(HeaderNameBuf::parse("Host"), Ok(HeaderNameBuf::Known(AUTHORITY)));
        assert_eq!(HeaderNameBuf::parse("X-Mine").map(|name| name.to_string()), Ok("x-mine".into()));
        for bad in ["", "a b", "a:", "ä", "x\r\ny"] {
            assert!(HeaderNameBuf::parse(bad).is_err(), "{bad:?}");
        }
    }
}
