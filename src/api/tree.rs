//! The tree that configuration text is read into: nodes that know where they stand.
//!
//! YAML and JSON share it. Aliases share nodes, so the tree may stand for far more than its own
//! size; [`Limits`] bounds what it stands for, and every walk over it relies on that.

use super::position::Pos;
use std::collections::HashSet;
use std::rc::Rc;

/// Deepest nesting of mappings and lists, aliases followed.
pub const MAX_DEPTH: usize = 100;
/// Most nodes in one text.
pub const MAX_NODES: usize = 4_000_000;
/// Most nodes that aliases may stand for, counted as if each alias were written out.
pub const MAX_ALIAS_NODES: usize = 1_000_000;
/// From this many keys on, duplicates are looked for with a hash set.
const MANY_KEYS: usize = 16;

/// One value.
#[derive(Debug)]
pub struct Node {
    /// Where it starts.
    pub pos: Pos,
    /// What it is.
    pub kind: Kind,
    /// Nodes that this one stands for, itself included.
    weight: usize,
    /// Levels below this one: 0 for a scalar or an empty collection.
    height: usize,
}

/// What a node holds.
#[derive(Debug)]
pub enum Kind {
    /// `null`, `~` or nothing.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer within i64.
    Int(i64),
    /// A number with a fraction or exponent, or beyond i64 (JSON only: YAML keeps those as strings, as Envoy does).
    Float(f64),
    /// Text.
    Str(String),
    /// A list.
    Seq(Vec<Rc<Node>>),
    /// A mapping, in the order of the text.
    Map(Vec<Entry>),
}

/// One key of a mapping with its value.
#[derive(Debug)]
pub struct Entry {
    /// The key as written.
    pub key: String,
    /// Where the key starts.
    pub key_pos: Pos,
    /// The value.
    pub value: Rc<Node>,
}

/// The text cannot be read: the first fault, after which nothing can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// Where it was noticed.
    pub pos: Pos,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl SyntaxError {
    /// A fault without advice.
    pub fn new(pos: Pos, message: impl Into<String>) -> Self {
        Self { pos, message: message.into(), help: None }
    }
}

impl Node {
    /// A node from its parts; weight and height follow from the children.
    pub fn new(pos: Pos, kind: Kind) -> Self {
        let (mut weight, mut height) = (1_usize, 0);
        let mut count = |child: &Node| {
            weight = weight.saturating_add(child.weight);
            height = height.max(child.height + 1);
        };
        match &kind {
            Kind::Seq(items) => items.iter().for_each(|item| count(item)),
            Kind::Map(entries) => entries.iter().for_each(|entry| count(&entry.value)),
            _ => {}
        }
        Self { pos, kind, weight, height }
    }
}

impl Kind {
    /// How a message calls it.
    pub fn noun(&self) -> &'static str {
        match self {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Int(_) => "an integer",
            Kind::Float(_) => "a number",
            Kind::Str(_) => "a string",
            Kind::Seq(_) => "a list",
            Kind::Map(_) => "a mapping",
        }
    }
}

/// Counts what a tree under construction stands for, and refuses too much.
#[derive(Debug, Default)]
pub struct Limits {
    nodes: usize,
    alias_nodes: usize,
}

impl Limits {
    /// To be called for every node, before its children are read, with its depth from 0.
    pub fn enter(&mut self, pos: Pos, depth: usize) -> Result<(), SyntaxError> {
        if depth > MAX_DEPTH {
            return Err(too_deep(pos));
        }
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(SyntaxError::new(pos, format!("more than {MAX_NODES} values in one configuration")));
        }
        Ok(())
    }

    /// To be called for every alias to `target` that stands at `depth`.
    pub fn alias(&mut self, pos: Pos, depth: usize, target: &Node) -> Result<(), SyntaxError> {
        if depth + target.height > MAX_DEPTH {
            return Err(too_deep(pos));
        }
        self.alias_nodes = self.alias_nodes.saturating_add(target.weight);
        if self.alias_nodes > MAX_ALIAS_NODES {
            let message = format!("aliases in this text stand for more than {MAX_ALIAS_NODES} values");
            return Err(SyntaxError {
                pos,
                message,
                help: Some("write the values out, or use fewer aliases".into()),
            });
        }
        Ok(())
    }
}

fn too_deep(pos: Pos) -> SyntaxError {
    SyntaxError::new(pos, format!("nested more than {MAX_DEPTH} levels deep"))
}

/// Refuses a mapping that has the same key twice. Envoy takes the last one silently.
pub fn refuse_duplicate_keys(entries: &[Entry]) -> Result<(), SyntaxError> {
    if entries.len() < MANY_KEYS {
        for (at, entry) in entries.iter().enumerate() {
            if let Some(first) = entries[..at].iter().find(|earlier| earlier.key == entry.key) {
                return Err(duplicate(entry, first));
            }
        }
        return Ok(());
    }
    let mut seen = HashSet::with_capacity(entries.len());
    for entry in entries {
        if !seen.insert(entry.key.as_str())
            && let Some(first) = entries.iter().find(|earlier| earlier.key == entry.key)
        {
            return Err(duplicate(entry, first));
        }
    }
    Ok(())
}

fn duplicate(entry: &Entry, first: &Entry) -> SyntaxError {
    SyntaxError {
        pos: entry.key_pos,
        message: format!("duplicate key `{}`", entry.key),
        help: Some(format!("it stands in line {} already", first.key_pos.line)),
    }
}
