//! The field path of a walk over a message, kept in one string.

use prost_reflect::MapKey;
use std::fmt::Write;

/// Grows on the way down, is cut on the way up.
#[derive(Debug, Default)]
pub struct FieldPath(String);

impl FieldPath {
    /// The path so far, in the syntax of [`PositionMap`](super::position::PositionMap).
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last field with its index or key: `domains[1]`. The dots in a key do not end a segment.
    pub fn last_segment(&self) -> &str {
        let mut start = 0;
        let mut in_key = false;
        let mut escaped = false;
        for (at, byte) in self.0.bytes().enumerate() {
            match byte {
                b'"' if !escaped => in_key = !in_key,
                b'.' if !in_key => start = at + 1,
                _ => {}
            }
            escaped = byte == b'\\' && !escaped;
        }
        &self.0[start..]
    }

    /// Appends a field; the returned mark restores the path.
    pub fn push_field(&mut self, name: &str) -> usize {
        let mark = self.0.len();
        if mark > 0 {
            self.0.push('.');
        }
        self.0.push_str(name);
        mark
    }

    /// Appends a list index.
    pub fn push_index(&mut self, index: usize) -> usize {
        let mark = self.0.len();
        // Writing to a String cannot fail.
        let _ = write!(self.0, "[{index}]");
        mark
    }

    /// Appends a map key.
    pub fn push_key(&mut self, key: &str) -> usize {
        let mark = self.0.len();
        let _ = write!(self.0, "[{key:?}]");
        mark
    }

    /// Appends a map key of any type, in its text form.
    pub fn push_map_key(&mut self, key: &MapKey) -> usize {
        self.push_key(&map_key_text(key))
    }

    /// Goes back to what the path was when `mark` was returned.
    pub fn cut(&mut self, mark: usize) {
        self.0.truncate(mark);
    }
}

/// A map key as it is written in YAML or JSON.
pub fn map_key_text(key: &MapKey) -> String {
    match key {
        MapKey::String(text) => text.clone(),
        MapKey::Bool(value) => value.to_string(),
        MapKey::I32(value) => value.to_string(),
        MapKey::I64(value) => value.to_string(),
        MapKey::U32(value) => value.to_string(),
        MapKey::U64(value) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_pushed_and_cut() {
        let mut path = FieldPath::default();
        path.push_field("a");
        let mark = path.push_field("b");
        path.push_key("x.\"y");
        assert_eq!((path.as_str(), path.last_segment()), (r#"a.b["x.\"y"]"#, r#"b["x.\"y"]"#));
        path.push_field("c");
        path.push_index(3);
        assert_eq!(path.last_segment(), "c[3]");
        path.cut(mark);
        assert_eq!(path.as_str(), "a");
    }
}
