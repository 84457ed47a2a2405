//! YAML text → tree.
//!
//! Follows YAML 1.2 syntax (granit-parser) with the scalar rules of yaml-cpp and Envoy 1.40, see
//! [`scalar`], because a configuration that Envoy accepts must mean the same here. Never follows
//! merge keys (`<<`; Envoy refuses them too), never reads beyond the first document (nor does
//! Envoy), and never builds more than [`tree::Limits`](super::tree::Limits) allows.

pub mod scalar;

use super::position::Pos;
use super::tree::{Entry, Kind, Limits, Node, SyntaxError, refuse_duplicate_keys};
use granit_parser::{Event, Parser, ScalarStyle, StrInput, Tag};
use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

/// A mapping entry whose key has this tag is left out: Envoy's place for anchored values.
const IGNORE_TAG: &str = "!ignore";

/// What a text holds.
#[derive(Debug)]
pub struct Document {
    /// The first document; `None` when there is nothing but comments.
    pub root: Option<Rc<Node>>,
    /// Where a second document starts, which is not read.
    pub second_document: Option<Pos>,
}

/// Reads the first document of `text`; positions carry `source`.
pub fn parse(text: &str, source: u32) -> Result<Document, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder {
        parser: Parser::new_from_str(text),
        source,
        anchors: HashMap::new(),
        limits: Limits::default(),
    };
    builder.document().map_err(|error| with_help(error, text))
}

struct Builder<'a> {
    parser: Parser<'a, StrInput<'a>>,
    source: u32,
    anchors: HashMap<usize, Rc<Node>>,
    limits: Limits,
}

impl<'a> Builder<'a> {
    fn document(&mut self) -> Result<Document, SyntaxError> {
        loop {
            match self.next()? {
                (Event::DocumentStart(..), _) => break,
                (Event::StreamEnd, _) => return Ok(Document { root: None, second_document: None }),
                _ => {}
            }
        }
        let (event, pos) = self.next()?;
        let root = self.node(event, pos, 0)?;
        let second_document = loop {
            match self.next()? {
                (Event::DocumentStart(..), pos) => break Some(pos),
                (Event::StreamEnd, _) => break None,
                _ => {}
            }
        };
        Ok(Document { root: Some(root), second_document })
    }

    fn next(&mut self) -> Result<(Event<'a>, Pos), SyntaxError> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, self.pos(&span.start))),
            Some(Err(error)) => Err(SyntaxError::new(self.pos(error.marker()), error.info())),
            None => Ok((Event::StreamEnd, Pos::default())),
        }
    }

    fn pos(&self, mark: &granit_parser::Marker) -> Pos {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Pos { source: self.source, line: number(mark.line()), column: number(mark.col() + 1) }
    }

    /// The node that `event` starts. Recursion is bounded by `Limits::enter`.
    fn node(&mut self, event: Event<'a>, pos: Pos, depth: usize) -> Result<Rc<Node>, SyntaxError> {
        let (kind, anchor) = match event {
            Event::Alias(id) => {
                let Some(target) = self.anchors.get(&id).cloned() else {
                    return Err(SyntaxError::new(pos, "an alias inside the value that it stands for"));
                };
                self.limits.alias(pos, depth, &target)?;
                return Ok(target);
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.limits.enter(pos, depth)?;
                (resolve(text, style, tag.as_deref()), anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.limits.enter(pos, depth)?;
                (self.sequence(depth)?, anchor)
            }
            Event::MappingStart(_, anchor, _) => {
                self.limits.enter(pos, depth)?;
                (self.mapping(depth)?, anchor)
            }
            _ => return Err(SyntaxError::new(pos, "a value is expected here")),
        };
        let node = Rc::new(Node::new(pos, kind));
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Kind, SyntaxError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Kind::Seq(items)),
                (event, pos) => items.push(self.node(event, pos, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Kind, SyntaxError> {
        let mut entries = Vec::new();
        loop {
            let (event, key_pos) = self.next()?;
            let (key, ignored) = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, style, anchor, tag) => {
                    if anchor != 0 {
                        let key = Node::new(key_pos, resolve(text.clone(), style, tag.as_deref()));
                        self.anchors.insert(anchor, Rc::new(key));
                    }
                    let ignored = tag.is_some_and(|tag| tag_text(&tag) == IGNORE_TAG);
                    if text == "<<" && style == ScalarStyle::Plain {
                        return Err(merge_key(key_pos));
                    }
                    (text.into_owned(), ignored)
                }
                Event::Alias(id) => (self.key_alias(id, key_pos)?, false),
                _ => {
                    return Err(SyntaxError::new(key_pos, "a key must be a string, not a list or a mapping"));
                }
            };
            let (event, pos) = self.next()?;
            let value = self.node(event, pos, depth + 1)?;
            if !ignored {
                entries.push(Entry { key, key_pos, value });
            }
        }
        refuse_duplicate_keys(&entries)?;
        Ok(Kind::Map(entries))
    }

    fn key_alias(&self, id: usize, pos: Pos) -> Result<String, SyntaxError> {
        match self.anchors.get(&id).map(|node| &node.kind) {
            Some(Kind::Str(text)) => Ok(text.clone()),
            _ => Err(SyntaxError::new(pos, "a key must be a string")),
        }
    }
}

fn resolve(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Kind {
    // As yaml-cpp: quoted and block scalars carry the tag `!`, and only that one means a string.
    let is_text = match tag {
        None => style != ScalarStyle::Plain,
        Some(tag) => tag_text(tag) == "!",
    };
    if is_text { Kind::Str(text.into_owned()) } else { scalar::resolve_plain(text) }
}

fn tag_text(tag: &Tag) -> String {
    format!("{}{}", tag.handle(), tag.suffix())
}

fn merge_key(pos: Pos) -> SyntaxError {
    SyntaxError {
        pos,
        message: "merge keys (`<<`) are not supported, neither here nor in Envoy".into(),
        help: Some(
            "repeat the fields, or share a whole value with an anchor (`&name`) and an alias (`*name`)"
                .into(),
        ),
    }
}

/// Parsers report lost structure and tabs in odd words: says what to look for.
fn with_help(mut error: SyntaxError, text: &str) -> SyntaxError {
    let line_number = usize::try_from(error.pos.line).unwrap_or(0);
    let tab_at = |number: usize| {
        let line = text.lines().nth(number.checked_sub(1)?)?;
        line.chars().take_while(|c| c.is_whitespace()).position(|c| c == '\t')
    };
    for number in [line_number, line_number.saturating_sub(1)] {
        if error.help.is_none()
            && let Some(column) = tab_at(number)
        {
            error.pos.line = u32::try_from(number).unwrap_or(u32::MAX);
            error.pos.column = u32::try_from(column + 1).unwrap_or(u32::MAX);
            error.help = Some("the line is indented with a tab; YAML allows only spaces".into());
        }
    }
    if error.help.is_none() && STRUCTURE_WORDS.iter().any(|word| error.message.contains(word)) {
        let help = "look at the indentation of this line, and for a bracket or quote left open above it";
        error.help = Some(help.to_owned());
    }
    error
}

/// Words of the parser's messages that tell of a lost structure.
const STRUCTURE_WORDS: [&str; 5] = ["mapping values", "placement", "indentation", "expected", "simple key"];

#[cfg(test)]
mod tests;
