//! Splits the text of a discovery response with one route table into pieces that can be read one by one: the
//! virtual hosts, their routes, and what is around them. A file of ten thousand routes in which one has
//! changed is then read in the time that one takes.
//!
//! It knows just enough of each syntax to find where lists begin and end, and gives up on whatever it is not
//! sure of. It never decides whether a text is right: whoever reads the pieces must find each of them right by
//! itself, or read the text as a whole instead.

mod json;
mod yaml;

use std::ops::Range;
use std::path::Path;
use std::rc::Rc;

use prost_reflect::{DynamicMessage, ReflectMessage, Value};

use super::constraints::Checker;
use super::document::{self, Syntax};
use super::extension;
use super::pool;
use super::position::PositionMap;
use super::proto_json::{self, UnknownFields};
use super::read_file;
use super::support::{MessageSupport, check_support};
use super::tree::{Kind, Node};

const RESPONSE: &str = "envoy.service.discovery.v3.DiscoveryResponse";
const ROUTE_CONFIGURATION: &str = "envoy.config.route.v3.RouteConfiguration";
const VIRTUAL_HOST: &str = "envoy.config.route.v3.VirtualHost";
const ROUTE: &str = "envoy.config.route.v3.Route";

/// A text in pieces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// The text without the elements of `virtual_hosts`.
    pub head: String,
    /// The virtual hosts, in order.
    pub virtual_hosts: Vec<HostOutline>,
}

/// A virtual host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOutline {
    /// Where all of it stands.
    pub range: Range<usize>,
    /// Its text without the elements of `routes`.
    pub head: String,
    /// Where its routes stand, in order.
    pub routes: Vec<Range<usize>>,
}

/// A text with its pieces.
#[derive(Debug)]
pub struct OutlinedText {
    /// The text.
    pub text: String,
    /// Its pieces.
    pub outline: Outline,
    syntax: Syntax,
}

/// Reads pieces as messages, and checks each as whole texts are checked. It tells only whether a piece is
/// right; what is wrong with it is found out by reading the whole text.
pub struct PieceReader<'a> {
    checker: Checker,
    support: &'a [&'a [MessageSupport]],
}

/// What is around the virtual hosts of a table.
#[derive(Debug)]
pub struct TableHead {
    /// Version of the response.
    pub version: String,
    /// The `RouteConfiguration`, without virtual hosts.
    pub table: DynamicMessage,
}

impl OutlinedText {
    /// The file at `path`, if it can be read and cut.
    pub fn of_file(path: &Path) -> Option<OutlinedText> {
        let extension = document::extension(path);
        if matches!(&*extension, "pb" | "pb_text") {
            return None;
        }
        OutlinedText::of_text(path, read_file::read_text(path).ok()?)
    }

    /// The text of the file at `path`, if it can be cut.
    pub fn of_text(path: &Path, text: String) -> Option<OutlinedText> {
        let syntax = document::syntax_of(&document::extension(path), &text);
        let outline = outline(&text, syntax)?;
        Some(OutlinedText { text, outline, syntax })
    }

    /// The resources in the whole text, which is known to be right.
    pub fn resources(&self) -> Option<Vec<DynamicMessage>> {
        let desc = pool::pool().get_message_by_name(RESPONSE)?;
        let response =
            proto_json::read(&desc, &*parse(&self.text, self.syntax)?, UnknownFields::Refuse).message;
        let list = response.get_field_by_name("resources");
        let list = list.as_ref()?.as_list()?;
        let open = |any: &Value| Some(extension::open_any(any.as_message()?).ok()??.message);
        list.iter().map(open).collect()
    }
}

impl<'a> PieceReader<'a> {
    /// A reader of pieces that may use what is in these tables.
    pub fn new(support: &'a [&'a [MessageSupport]]) -> PieceReader<'a> {
        PieceReader { checker: Checker::default(), support }
    }

    /// Reads what is around the virtual hosts.
    pub fn head(&mut self, text: &OutlinedText) -> Option<TableHead> {
        let root = parse(&text.outline.head, text.syntax)?;
        let response = self.message(RESPONSE, &root)?;
        let version = response.get_field_by_name("version_info");
        let version = version.as_ref().and_then(|version| version.as_str()).unwrap_or_default().to_owned();
        let list = response.get_field_by_name("resources");
        let [resource] = list.as_ref()?.as_list()? else { return None };
        let table = extension::open_any(resource.as_message()?).ok()??;
        let is_table = table.message.descriptor().full_name() == ROUTE_CONFIGURATION;
        (is_table && !table.in_typed_struct).then_some(TableHead { version, table: table.message })
    }

    /// Reads a virtual host without its routes.
    pub fn virtual_host(&mut self, text: &OutlinedText, host: &HostOutline) -> Option<DynamicMessage> {
        self.element(VIRTUAL_HOST, &host.head, text.syntax)
    }

    /// Reads a route.
    pub fn route(&mut self, text: &OutlinedText, range: &Range<usize>) -> Option<DynamicMessage> {
        self.element(ROUTE, text.text.get(range.clone())?, text.syntax)
    }

    /// Reads an element of a list. In YAML it stands there with its dash.
    fn element(&mut self, message: &str, text: &str, syntax: Syntax) -> Option<DynamicMessage> {
        let root = parse(text, syntax)?;
        match (syntax, &root.kind) {
            (Syntax::Json, _) => self.message(message, &root),
            (Syntax::Yaml, Kind::Seq(items)) => match &items[..] {
                [item] => self.message(message, item),
                _ => None,
            },
            (Syntax::Yaml, _) => None,
        }
    }

    fn message(&mut self, message: &str, node: &Node) -> Option<DynamicMessage> {
        let desc = pool::pool().get_message_by_name(message)?;
        let outcome = proto_json::read(&desc, node, UnknownFields::Refuse);
        let is_right = outcome.errors.is_empty()
            && self.checker.check(&outcome.message).is_empty()
            && check_support(&outcome.message, self.support, &PositionMap::default()).refused.is_empty();
        is_right.then_some(outcome.message)
    }
}

fn parse(text: &str, syntax: Syntax) -> Option<Rc<Node>> {
    match syntax {
        Syntax::Json => super::json::parse(text, 0).ok(),
        Syntax::Yaml => {
            let document = super::yaml::parse(text, 0).ok()?;
            document.root.filter(|_| document.second_document.is_none())
        }
    }
}

/// The pieces of a text; none if it is written in a way that is not sure to be cut right.
fn outline(text: &str, syntax: Syntax) -> Option<Outline> {
    match syntax {
        Syntax::Yaml => yaml::outline(text),
        Syntax::Json => json::outline(text),
    }
}

#[cfg(test)]
mod tests;
