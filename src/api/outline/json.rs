//! JSON: brackets are counted, strings skipped.

use std::ops::Range;

use super::{HostOutline, Outline};

/// Nothing nested deeper is cut.
const MAX_DEPTH: usize = 100;

/// The pieces of `text`; none if it is no JSON or has no `virtual_hosts` where they belong.
pub(super) fn outline(text: &str) -> Option<Outline> {
    let scanner = Scanner { text: text.as_bytes() };
    let start = scanner.skip_space(0);
    let resources = scanner.field(start, "resources")?;
    let resources = scanner.elements(resources.start)?;
    let [resource] = &resources[..] else { return None };
    let list = scanner.field(resource.start, "virtual_hosts")?;
    let mut virtual_hosts = Vec::new();
    for range in scanner.elements(list.start)? {
        let (head, routes) = match scanner.field(range.start, "routes") {
            Some(list) => (cut(text, &range, &list), scanner.elements(list.start)?),
            None => (text[range.clone()].to_owned(), Vec::new()),
        };
        virtual_hosts.push(HostOutline { range, head, routes });
    }
    Some(Outline { head: cut(text, &(0..text.len()), &list), virtual_hosts })
}

/// The text in `range` with the list in `list` empty.
fn cut(text: &str, range: &Range<usize>, list: &Range<usize>) -> String {
    format!("{}[]{}", &text[range.start..list.start], &text[list.end..range.end])
}

struct Scanner<'t> {
    text: &'t [u8],
}

impl Scanner<'_> {
    fn at(&self, place: usize) -> Option<u8> {
        self.text.get(place).copied()
    }

    fn skip_space(&self, mut place: usize) -> usize {
        while matches!(self.at(place), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            place += 1;
        }
        place
    }

    /// Where the value that begins at `place` ends.
    fn end_of_value(&self, place: usize) -> Option<usize> {
        let (mut place, mut depth) = (place, 0);
        loop {
            place = match self.at(place)? {
                b'"' => self.end_of_string(place)?,
                // Envoy's reader takes these for quotes; whoever writes them is not worth the trouble.
                b'\'' => return None,
                b'{' | b'[' => {
                    depth += 1;
                    place + 1
                }
                b'}' | b']' => {
                    depth -= 1;
                    place + 1
                }
                _ => place + 1,
            };
            if depth > MAX_DEPTH {
                return None;
            }
            if depth == 0 {
                let is_over = |byte| matches!(byte, b',' | b'}' | b']' | b':');
                let next = self.skip_space(place);
                if self.at(next).is_none_or(is_over) {
                    return Some(place);
                }
            }
        }
    }

    fn end_of_string(&self, start: usize) -> Option<usize> {
        let mut place = start + 1;
        loop {
            place = match self.at(place)? {
                b'"' => return Some(place + 1),
                b'\\' => place + 2,
                _ => place + 1,
            };
        }
    }

    /// Where the value of a field of the object at `place` stands.
    fn field(&self, place: usize, name: &str) -> Option<Range<usize>> {
        if self.at(place)? != b'{' {
            return None;
        }
        let mut place = self.skip_space(place + 1);
        while self.at(place)? == b'"' {
            let key_end = self.end_of_string(place)?;
            let key = self.text.get(place + 1..key_end - 1)?;
            let colon = self.skip_space(key_end);
            if self.at(colon)? != b':' {
                return None;
            }
            let start = self.skip_space(colon + 1);
            let end = self.end_of_value(start)?;
            if key == name.as_bytes() {
                return Some(start..end);
            }
            place = self.skip_space(end);
            if self.at(place)? != b',' {
                return None;
            }
            place = self.skip_space(place + 1);
        }
        None
    }

    /// Where the elements of the list at `place` stand.
    fn elements(&self, place: usize) -> Option<Vec<Range<usize>>> {
        if self.at(place)? != b'[' {
            return None;
        }
        let mut elements = Vec::new();
        let mut place = self.skip_space(place + 1);
        while self.at(place)? != b']' {
            let end = self.end_of_value(place)?;
            elements.push(place..end);
            place = self.skip_space(end);
            if self.at(place)? == b',' {
                place = self.skip_space(place + 1);
            } else if self.at(place)? != b']' {
                return None;
            }
        }
        Some(elements)
    }
}
