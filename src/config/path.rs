//! Where in a configuration something stands, for diagnostics; it resolves nothing itself.

use std::fmt;

/// A field path such as `static_resources.clusters[2].load_assignment.endpoints[0]`, in the form that
/// the YAML reader's positions use. Fields inside a `typed_config` follow it without a mark.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct FieldPath(pub String);

impl FieldPath {
    /// The message that was given as a whole.
    pub fn root() -> FieldPath {
        FieldPath::default()
    }

    /// A field of the message at this path.
    pub fn field(&self, name: &str) -> FieldPath {
        if self.0.is_empty() { FieldPath(name.to_owned()) } else { FieldPath(format!("{}.{name}", self.0)) }
    }

    /// An element of the list at this path.
    pub fn index(&self, index: usize) -> FieldPath {
        FieldPath(format!("{}[{index}]", self.0))
    }

    /// An element of the list field `name` of the message at this path.
    pub fn element(&self, name: &str, index: usize) -> FieldPath {
        self.field(name).index(index)
    }

    /// The value under `key` in the map field `name` of the message at this path.
    pub fn entry(&self, name: &str, key: &str) -> FieldPath {
        FieldPath(format!("{}[{key:?}]", self.field(name).0))
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_written_in_the_file() {
        let path = FieldPath::root().field("a").element("b", 3).entry("c", "x.y").field("d");
        assert_eq!(path.as_str(), r#"a.b[3].c["x.y"].d"#);
    }
}
