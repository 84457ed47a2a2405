//! Where things stand in the configuration text: sources, positions, and the map from a field path
//! (`static_resources.clusters[0].name`) to its position.
//!
//! Later stages know only field paths; this map gives their errors a place. It never keeps parsed
//! values. Path syntax: proto field names joined by `.`, list elements as `[3]`, map entries as
//! `["key"]`; what stands inside an `Any` continues its field's path without a segment of its own.

use std::collections::HashMap;

/// A place in one of the configuration's sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Pos {
    /// Index into [`Sources`].
    pub source: u32,
    /// Line, counted from 1. 0 means that the place within the source is unknown.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
}

/// One text that configuration was read from.
#[derive(Debug, Clone)]
pub struct Source {
    /// File path, or `--config-yaml`.
    pub name: String,
    /// The whole text; empty for binary input.
    pub text: String,
}

impl Source {
    /// Line `number` (from 1) without its line end.
    pub fn line(&self, number: u32) -> Option<&str> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.text.lines().nth(index)
    }
}

/// The texts of one configuration, in the order they were read.
#[derive(Debug, Clone, Default)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// Adds a source and returns its index for [`Pos::source`].
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> u32 {
        self.0.push(Source { name: name.into(), text: text.into() });
        u32::try_from(self.0.len() - 1).unwrap_or(u32::MAX)
    }

    /// Gives a source its text, for when it had to be named before it could be lent out.
    pub(crate) fn set_text(&mut self, index: u32, text: String) {
        if let Some(source) = usize::try_from(index).ok().and_then(|index| self.0.get_mut(index)) {
            source.text = text;
        }
    }

    /// The source that `pos` points into.
    pub fn of(&self, pos: Pos) -> Option<&Source> {
        self.0.get(usize::try_from(pos.source).ok()?)
    }

    /// All sources, in the order of their indices.
    pub fn iter(&self) -> impl Iterator<Item = &Source> {
        self.0.iter()
    }
}

/// Field path → position of the field's key (or of the list element).
#[derive(Debug, Clone, Default)]
pub struct PositionMap {
    places: HashMap<Box<str>, Pos>,
}

impl PositionMap {
    /// Remembers where `path` stands; a later call for the same path replaces the place.
    pub fn insert(&mut self, path: &str, pos: Pos) {
        self.places.insert(path.into(), pos);
    }

    /// The place of exactly this path.
    pub fn get(&self, path: &str) -> Option<Pos> {
        self.places.get(path).copied()
    }

    /// The place of `path` or of its nearest enclosing path that is known. The empty path is the
    /// whole document.
    pub fn nearest(&self, path: &str) -> Option<Pos> {
        let mut path = path;
        loop {
            if let Some(pos) = self.get(path) {
                return Some(pos);
            }
            if path.is_empty() {
                return None;
            }
            path = parent(path);
        }
    }

    /// How many paths are known.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Is no path known?
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Takes over the places of `overlay`, each under the path that `rewrite` gives for its own.
    pub(crate) fn absorb(&mut self, overlay: PositionMap, rewrite: impl Fn(&str) -> String) {
        for (path, pos) in overlay.places {
            if !path.is_empty() || self.places.is_empty() {
                self.places.insert(rewrite(&path).into(), pos);
            }
        }
    }
}

/// The path that encloses `path`: `a.b[0]` → `a.b` → `a` → the empty path.
fn parent(path: &str) -> &str {
    if let Some(body) = path.strip_suffix("\"]") {
        // A map key may hold any character: its opening quote is the last `["`.
        return body.rfind("[\"").map_or("", |at| &path[..at]);
    }
    path.rfind(['.', '[']).map_or("", |at| &path[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32) -> Pos {
        Pos { source: 0, line, column: 1 }
    }

    #[test]
    fn nearest_climbs_to_the_enclosing_path() {
        let mut map = PositionMap::default();
        map.insert("", at(1));
        map.insert("a", at(2));
        map.insert("a.b[0]", at(3));
        map.insert("a.m[\"x.y[0]\"]", at(4));
        assert_eq!(map.nearest("a.b[0].c.d[7]"), Some(at(3)));
        assert_eq!(map.nearest("a.b[1].c"), Some(at(2)));
        assert_eq!(map.nearest("a.m[\"x.y[0]\"].z"), Some(at(4)));
        assert_eq!(map.nearest("a.m[\"other.y[0]\"].z"), Some(at(2)));
        assert_eq!(map.nearest("q"), Some(at(1)));
        assert_eq!(PositionMap::default().nearest("q"), None);
    }
}
