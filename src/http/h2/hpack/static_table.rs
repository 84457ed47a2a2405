//! The static table (RFC 7541 appendix A), in terms of the numbers of known header names: decoding a name that stands here, or
//! finding the index of a known name, compares no text.

use crate::http::header::{self, Known};

/// Entries of the static table; dynamic entries are numbered from the next one on.
pub const STATIC_COUNT: usize = 61;

/// Name and value of a static entry. `index` is 1 to [`STATIC_COUNT`].
#[inline]
pub fn entry(index: usize) -> Option<(Known, &'static str)> {
    ENTRIES.get(index.wrapping_sub(1)).copied()
}

/// The first static entry with this name, by the name's number; zero if there is none.
#[inline]
pub fn name_index(id: u8) -> u8 {
    NAME_INDEX[id as usize]
}

/// The static entry with this name and value, or zero. Only names that have entries with values are looked at.
#[inline]
pub fn full_index(id: u8, value: &[u8]) -> u8 {
    const METHOD: u8 = header::METHOD.id();
    const PATH: u8 = header::PATH.id();
    const SCHEME: u8 = header::SCHEME.id();
    const STATUS: u8 = header::STATUS.id();
    const ACCEPT_ENCODING: u8 = header::ACCEPT_ENCODING.id();
    match (id, value) {
        (METHOD, b"GET") => 2,
        (METHOD, b"POST") => 3,
        (PATH, b"/") => 4,
        (PATH, b"/index.html") => 5,
        (SCHEME, b"http") => 6,
        (SCHEME, b"https") => 7,
        (STATUS, b"200") => 8,
        (STATUS, b"204") => 9,
        (STATUS, b"206") => 10,
        (STATUS, b"304") => 11,
        (STATUS, b"400") => 12,
        (STATUS, b"404") => 13,
        (STATUS, b"500") => 14,
        (ACCEPT_ENCODING, b"gzip, deflate") => 16,
        _ => 0,
    }
}

static ENTRIES: [(Known, &str); STATIC_COUNT] = [
    (header::AUTHORITY, ""),
    (header::METHOD, "GET"),
    (header::METHOD, "POST"),
    (header::PATH, "/"),
    (header::PATH, "/index.html"),
    (header::SCHEME, "http"),
    (header::SCHEME, "https"),
    (header::STATUS, "200"),
    (header::STATUS, "204"),
    (header::STATUS, "206"),
    (header::STATUS, "304"),
    (header::STATUS, "400"),
    (header::STATUS, "404"),
    (header::STATUS, "500"),
    (header::ACCEPT_CHARSET, ""),
    (header::ACCEPT_ENCODING, "gzip, deflate"),
    (header::ACCEPT_LANGUAGE, ""),
    (header::ACCEPT_RANGES, ""),
    (header::ACCEPT, ""),
    (header::ACCESS_CONTROL_ALLOW_ORIGIN, ""),
    (header::AGE, ""),
    (header::ALLOW, ""),
    (header::AUTHORIZATION, ""),
    (header::CACHE_CONTROL, ""),
    (header::CONTENT_DISPOSITION, ""),
    (header::CONTENT_ENCODING, ""),
    (header::CONTENT_LANGUAGE, ""),
    (header::CONTENT_LENGTH, ""),
    (header::CONTENT_LOCATION, ""),
    (header::CONTENT_RANGE, ""),
    (header::CONTENT_TYPE, ""),
    (header::COOKIE, ""),
    (header::DATE, ""),
    (header::ETAG, ""),
    (header::EXPECT, ""),
    (header::EXPIRES, ""),
    (header::FROM, ""),
    (header::HOST_ON_THE_WIRE, ""),
    (header::IF_MATCH, ""),
    (header::IF_MODIFIED_SINCE, ""),
    (header::IF_NONE_MATCH, ""),
    (header::IF_RANGE, ""),
    (header::IF_UNMODIFIED_SINCE, ""),
    (header::LAST_MODIFIED, ""),
    (header::LINK, ""),
    (header::LOCATION, ""),
    (header::MAX_FORWARDS, ""),
    (header::PROXY_AUTHENTICATE, ""),
    (header::PROXY_AUTHORIZATION, ""),
    (header::RANGE, ""),
    (header::REFERER, ""),
    (header::REFRESH, ""),
    (header::RETRY_AFTER, ""),
    (header::SERVER, ""),
    (header::SET_COOKIE, ""),
    (header::STRICT_TRANSPORT_SECURITY, ""),
    (header::TRANSFER_ENCODING, ""),
    (header::USER_AGENT, ""),
    (header::VARY, ""),
    (header::VIA, ""),
    (header::WWW_AUTHENTICATE, ""),
];

static NAME_INDEX: [u8; 256] = {
    let mut table = [0; 256];
    let mut index = STATIC_COUNT;
    while index > 0 {
        table[ENTRIES[index - 1].0.id() as usize] = index as u8;
        index -= 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_agree_with_the_entries() {
        let mut with_value = 0;
        for index in 1..=STATIC_COUNT {
            let (name, value) = entry(index).expect("within the table");
            let first = usize::from(name_index(name.id()));
            assert!(first <= index && entry(first).map(|(name, _)| name) == Some(name));
            if !value.is_empty() {
                assert_eq!(usize::from(full_index(name.id(), value.as_bytes())), index);
                with_value += 1;
            }
        }
        assert_eq!(with_value, 14);
        assert_eq!((entry(0), entry(62)), (None, None));
    }

    #[test]
    fn what_the_table_does_not_have() {
        assert_eq!(full_index(header::STATUS.id(), b"201"), 0);
        assert_eq!(full_index(header::SERVER.id(), b""), 0);
        assert_eq!((name_index(0), name_index(header::X_REQUEST_ID.id())), (0, 0));
    }
}
