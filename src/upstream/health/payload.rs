//! Whether bytes that arrive in pieces have given parts in them, in order, with anything in between. Keeps no more
//! than the end of what came, one byte less than the part it looks for.

use memchr::memmem;

/// Looks for parts in a stream of bytes.
#[derive(Debug)]
pub struct PayloadMatcher<'a> {
    parts: &'a [Vec<u8>],
    found: usize,
    tail: Vec<u8>,
    /// Bytes that may still be looked at.
    room: u64,
}

impl<'a> PayloadMatcher<'a> {
    /// Looks for `parts` in the first `limit` bytes; none looks at all.
    pub fn new(parts: &'a [Vec<u8>], limit: Option<u64>) -> PayloadMatcher<'a> {
        PayloadMatcher { parts, found: 0, tail: Vec::new(), room: limit.unwrap_or(u64::MAX) }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, bytes: &[u8]) {
        let take = usize::try_from(self.room).unwrap_or(usize::MAX).min(bytes.len());
        self.room -= take as u64;
        let mut input = std::mem::take(&mut self.tail);
        input.extend_from_slice(&bytes[..take]);
        let mut rest = input.as_slice();
        while let Some(part) = self.parts.get(self.found) {
            match memmem::find(rest, part) {
                Some(at) => {
                    rest = &rest[at + part.len()..];
                    self.found += 1;
                }
                None => {
                    let keep = rest.len().min(part.len().saturating_sub(1));
                    self.tail = rest[rest.len() - keep..].to_vec();
                    return;
                }
            }
        }
    }

    /// Whether all parts were found.
    pub fn is_match(&self) -> bool {
        self.found == self.parts.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(parts: &[&str], limit: Option<u64>, input: &[&str]) -> bool {
        let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.as_bytes().to_vec()).collect();
        let mut matcher = PayloadMatcher::new(&parts, limit);
        input.iter().for_each(|bytes| matcher.feed(bytes.as_bytes()));
        matcher.is_match()
    }

    #[test]
    fn parts_are_found_in_order_with_anything_between() {
        assert!(matches(&[], None, &[]));
        assert!(matches(&["ab", "d"], None, &["xabcdx"]));
        assert!(!matches(&["d", "ab"], None, &["xabcdx"]));
        assert!(!matches(&["ab", "b"], None, &["ab"]), "parts do not overlap");
        assert!(matches(&["", "a"], None, &["a"]));
        assert!(matches(&["abc"], None, &["xa", "b", "", "cx"]));
        assert!(!matches(&["abc"], None, &["xa", "bx", "cx"]));
    }

    #[test]
    fn only_so_many_bytes_are_looked_at() {
        assert!(matches(&["c"], Some(3), &["ab", "cd"]));
        assert!(!matches(&["d"], Some(3), &["ab", "cd"]));
    }

    proptest! {
        /// However the bytes are cut into pieces, the answer is that for the whole.
        #[test]
        fn pieces_do_not_matter(
            parts in prop::collection::vec("[ab]{0,3}", 0..4),
            pieces in prop::collection::vec("[ab]{0,4}", 0..8),
        ) {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let whole = pieces.concat();
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let mut rest = whole.as_str();
            let expected = parts.iter().all(|part| match rest.find(part) {
                Some(at) => {
                    rest = &rest[at + part.len()..];
                    true
                }
                None => false,
            });
            // Without any input nothing was looked for yet, not even what is always found.
            let fed: Vec<&str> = pieces.into_iter().chain([""]).collect();
            prop_assert_eq!(matches(&parts, None, &fed), expected);
        }
    }
}
