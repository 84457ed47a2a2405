//! Reads the route table in a file again and again, and takes over what has not changed since the last time.
//!
//! A file of which little has changed is cut into virtual hosts and routes ([`OutlinedText`]); only pieces that
//! were not there before are read, checked and converted. Whenever anything about that is unusual, or wrong,
//! it says so, and the file has to be read as a whole, which also tells what is wrong with it and where.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use envoy_types::pb::envoy::config::route::v3 as route;
use prost_reflect::DynamicMessage;

use super::response::support_tables;
use crate::api::{HostOutline, OutlinedText, PieceReader, TableHead};
use crate::config::route::{DEFAULT_MAX_DIRECT_RESPONSE_BODY_BYTES, Route, VirtualHost};
use crate::config::{Context, FieldPath, ReadData, RouteConfiguration};

/// With more pieces to read, reading the file as a whole is as fast.
const MAX_CHANGED_PIECES: usize = 500;

/// Where the table stands in its response.
const TABLE_PATH: &str = "resources[0]";

/// What is known of a file from the last time.
pub struct RouteReader {
    name: String,
    last: Option<Read>,
}

/// A table that was read piece by piece.
pub struct Read {
    /// Version of the response.
    pub version: String,
    /// The table. What has not changed is the same as last time, by address.
    pub config: Arc<RouteConfiguration>,
    /// Whether it differs from the last one at all.
    pub is_changed: bool,
    text: OutlinedText,
    head: DynamicMessage,
}

impl RouteReader {
    /// A reader of the table of this name.
    pub fn new(name: &str) -> RouteReader {
        RouteReader { name: name.to_owned(), last: None }
    }

    /// Reads the file, if it is much the same as the last time.
    pub fn read_again(&self, path: &Path, external: &ReadData<'_>) -> Option<Read> {
        let last = self.last.as_ref()?;
        let text = OutlinedText::of_file(path)?;
        let support = support_tables();
        let mut reader = PieceReader::new(&support);
        let TableHead { version, table: head } = reader.head(&text)?;
        let proto: route::RouteConfiguration = head.transcode_to().ok()?;
        let max_body_bytes = max_body_bytes(&proto);
        if proto.name != self.name || max_body_bytes != last.max_body_bytes()? {
            return None;
        }
        let mut pieces = Pieces {
            reader,
            text: &text,
            max_body_bytes,
            context: Context::new(external),
            budget: MAX_CHANGED_PIECES,
        };
        let hosts = pieces.virtual_hosts(last)?;
        let mut context = pieces.context;
        let is_changed = head != last.head || !same_hosts(&hosts, &last.config.virtual_hosts);
        let root = FieldPath(TABLE_PATH.to_owned());
        let config = RouteConfiguration::from_proto(&proto, false, &root, &mut context);
        let config = config.with_virtual_hosts(hosts, &mut context);
        let config = Arc::new(context.finish(config).ok()?);
        Some(Read { version, config, is_changed, text, head })
    }

    /// The table of `read` is in force: the next one is compared with it.
    pub fn keep(&mut self, read: Read) {
        self.last = Some(read);
    }

    /// The table `config`, which was read as a whole from this text of the file at `path`, is in force. Whether
    /// the next one can be compared with it.
    pub fn keep_whole(&mut self, path: &Path, text: String, config: &Arc<RouteConfiguration>) -> bool {
        self.last = OutlinedText::of_text(path, text).and_then(|text| outline_of(text, config));
        self.last.is_some()
    }

    /// The table in force as a message, if it could be cut.
    pub fn message(&self) -> Option<DynamicMessage> {
        let last = self.last.as_ref()?;
        let resources = last.text.resources()?;
        resources.into_iter().next()
    }
}

/// The pieces of a text beside what it was converted to; none if there are not as many of the one as of the
/// other.
fn outline_of(text: OutlinedText, config: &Arc<RouteConfiguration>) -> Option<Read> {
    let support = support_tables();
    let head = PieceReader::new(&support).head(&text)?;
    let hosts = &text.outline.virtual_hosts;
    let matches = hosts.len() == config.virtual_hosts.len()
        && hosts
            .iter()
            .zip(&config.virtual_hosts)
            .all(|(piece, host)| piece.routes.is_empty() || piece.routes.len() == host.routes.len());
    let config = Arc::clone(config);
    matches.then(|| Read { version: head.version, config, is_changed: true, text, head: head.table })
}

impl Read {
    fn max_body_bytes(&self) -> Option<usize> {
        self.head.transcode_to().ok().map(|proto| max_body_bytes(&proto))
    }

    fn piece(&self, range: &Range<usize>) -> &str {
        self.text.text.get(range.clone()).unwrap_or_default()
    }
}

/// The pieces of one text, as far as they have to be read.
struct Pieces<'a> {
    reader: PieceReader<'a>,
    text: &'a OutlinedText,
    max_body_bytes: usize,
    context: Context<'a>,
    /// Pieces that may still be read.
    budget: usize,
}

impl Pieces<'_> {
    fn virtual_hosts(&mut self, last: &Read) -> Option<Vec<Arc<VirtualHost>>> {
        let pieces = &last.text.outline.virtual_hosts;
        let mut known = Known::new(pieces.len(), |place| last.piece(&pieces[place].range));
        let text = self.text;
        let hosts = text.outline.virtual_hosts.iter().enumerate().map(|(place, host)| {
            match known.find(place, &text.text[host.range.clone()]) {
                Some(same) => last.config.virtual_hosts.get(same).cloned(),
                None => self.virtual_host(place, host, last).map(Arc::new),
            }
        });
        hosts.collect()
    }

    /// A virtual host that was not there as it is. Its routes may have been.
    fn virtual_host(&mut self, place: usize, host: &HostOutline, last: &Read) -> Option<VirtualHost> {
        let before = last.text.outline.virtual_hosts.get(place).zip(last.config.virtual_hosts.get(place));
        // Without the pieces of the routes, the old ones cannot be told apart.
        let before = before.filter(|(piece, config)| piece.routes.len() == config.routes.len());
        let path = FieldPath(TABLE_PATH.to_owned()).element("virtual_hosts", place);
        let base = match before {
            // Its routes come from their own pieces, if there are any.
            Some((piece, config)) if piece.head == host.head => {
                VirtualHost { routes: Vec::new(), ..(**config).clone() }
            }
            _ => {
                self.spend()?;
                let message = self.reader.virtual_host(self.text, host)?;
                let proto = message.transcode_to().ok()?;
                VirtualHost::from_proto(&proto, self.max_body_bytes, &path, &mut self.context)
            }
        };
        if host.routes.is_empty() {
            return Some(base);
        }
        let (pieces, configs) =
            before.map_or((&[][..], &[][..]), |(piece, config)| (&piece.routes[..], &config.routes[..]));
        let mut known = Known::new(pieces.len(), |place| last.piece(&pieces[place]));
        let text = self.text;
        let routes = host.routes.iter().enumerate().map(|(place, range)| {
            match known.find(place, &text.text[range.clone()]) {
                Some(same) => configs.get(same).cloned(),
                None => self.route(range, &path.element("routes", place)).map(Arc::new),
            }
        });
        Some(VirtualHost { routes: routes.collect::<Option<_>>()?, ..base })
    }

    fn route(&mut self, range: &Range<usize>, path: &FieldPath) -> Option<Route> {
        self.spend()?;
        let proto = self.reader.route(self.text, range)?.transcode_to().ok()?;
        Some(Route::from_proto(&proto, self.max_body_bytes, path, &mut self.context))
    }

    fn spend(&mut self) -> Option<()> {
        self.budget = self.budget.checked_sub(1)?;
        Some(())
    }
}

/// Pieces of the last text by what they say. As a rule a piece is where it was; the index is made only when
/// one is not.
struct Known<'t, F: Fn(usize) -> &'t str> {
    count: usize,
    piece: F,
    by_text: Option<HashMap<&'t str, usize>>,
}

impl<'t, F: Fn(usize) -> &'t str> Known<'t, F> {
    fn new(count: usize, piece: F) -> Known<'t, F> {
        Known { count, piece, by_text: None }
    }

    fn find(&mut self, place: usize, text: &str) -> Option<usize> {
        if place < self.count && (self.piece)(place) == text {
            return Some(place);
        }
        let index = self
            .by_text
            .get_or_insert_with(|| (0..self.count).map(|place| ((self.piece)(place), place)).collect());
        index.get(text).copied()
    }
}

fn same_hosts(one: &[Arc<VirtualHost>], two: &[Arc<VirtualHost>]) -> bool {
    one.len() == two.len() && one.iter().zip(two).all(|(one, two)| Arc::ptr_eq(one, two))
}

fn max_body_bytes(table: &route::RouteConfiguration) -> usize {
    let configured = table.max_direct_response_body_size_bytes.as_ref();
    configured.map_or(DEFAULT_MAX_DIRECT_RESPONSE_BODY_BYTES, |bytes| bytes.value) as usize
}

#[cfg(test)]
mod tests;
