//! The routes whose path begins with a text, or is that text, found by walking along a path.
//!
//! A trie is built of nodes that can grow, then frozen into one run of bytes: a large table has thousands of
//! tries, each request walks another one, and what counts then is how few cache lines it touches. Knows nothing
//! of the other conditions of routes: whoever walks says which of the routes met hold.

use super::path_index::RouteIndex;

/// A frozen trie: the records of its nodes, the root first, then level by level. A record has, in this order:
///
/// - the length of the text that leads to the node from its parent (a number), and the text;
/// - three lists of routes in order, each a number of routes and then the routes, four bytes each: those that
///   take any path that begins like this, those that take this path and what follows it after a slash, those
///   that take this path alone;
/// - the number of children, the first byte of each child's text, the place of each child's record (four bytes).
///
/// A number has seven bits in each byte, lowest first; a byte with the eighth bit set is not the last one.
#[derive(Debug, Default)]
pub struct Trie {
    records: Box<[u8]>,
}

/// Makes a trie. The first node is the root.
#[derive(Debug, Default)]
pub struct TrieBuilder {
    nodes: Vec<Node>,
}

/// A point that paths with a common beginning reach.
#[derive(Debug, Default)]
pub struct Node {
    /// Routes that take any path that begins like this. In order, as the next two.
    pub prefix: Vec<RouteIndex>,
    /// Routes that take this path, and what follows it after a slash.
    pub separated: Vec<RouteIndex>,
    /// Routes that take this path alone.
    pub exact: Vec<RouteIndex>,
    /// What leads here from the parent; its first byte stands in the parent's `branches` too.
    edge: Box<[u8]>,
    /// First bytes of the children's edges.
    branches: Vec<u8>,
    children: Vec<u32>,
}

impl Trie {
    /// Whether no route is in it.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Meets every node on the way of `path`, and lowers `best` to the first matching route met.
    #[inline]
    pub fn walk(&self, path: &[u8], best: &mut RouteIndex, matches: &mut impl FnMut(RouteIndex) -> bool) {
        let mut rest = path;
        let mut place = 0;
        while place < self.records.len() {
            let mut record = Record(&self.records[place..]);
            let edge = record.text();
            let Some(after) = rest.strip_prefix(edge) else { return };
            rest = after;
            let (prefix, separated, exact) = (record.numbers(), record.numbers(), record.numbers());
            first_match(prefix, best, matches);
            if rest.is_empty() {
                first_match(exact, best, matches);
            }
            if rest.first().is_none_or(|next| *next == b'/') {
                first_match(separated, best, matches);
            }
            let Some(next) = rest.first() else { return };
            let branches = record.text();
            let Some(branch) = branches.iter().position(|first| first == next) else { return };
            place = record.child(branch);
        }
    }
}

/// What is left to read of a record.
struct Record<'a>(&'a [u8]);

impl<'a> Record<'a> {
    #[inline]
    fn number(&mut self) -> usize {
        let mut number = 0;
        let mut shift = 0;
        while let Some((byte, rest)) = self.0.split_first() {
            self.0 = rest;
            number |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
        }
        number
    }

    /// A number of bytes and those bytes.
    #[inline]
    fn text(&mut self) -> &'a [u8] {
        let len = self.number();
        let (text, rest) = self.0.split_at(len);
        self.0 = rest;
        text
    }

    /// A number of routes and those routes.
    #[inline]
    fn numbers(&mut self) -> &'a [[u8; 4]] {
        let count = self.number();
        let (routes, rest) = self.0.split_at(count * 4);
        self.0 = rest;
        routes.as_chunks().0
    }

    /// Where the record of a child is, once all before that is read.
    #[inline]
    fn child(&self, branch: usize) -> usize {
        self.0.as_chunks().0.get(branch).map_or(usize::MAX, |place| u32::from_le_bytes(*place) as usize)
    }
}

#[inline]
fn first_match(routes: &[[u8; 4]], best: &mut RouteIndex, matches: &mut impl FnMut(RouteIndex) -> bool) {
    for route in routes {
        let route = RouteIndex::from_le_bytes(*route);
        if route >= *best {
            return;
        }
        if matches(route) {
            *best = route;
            return;
        }
    }
}

impl TrieBuilder {
    /// The node that stands for `text`, made if it is not there.
    pub fn node(&mut self, text: &str) -> &mut Node {
        if self.nodes.is_empty() {
            self.nodes.push(Node::default());
        }
        let mut at = 0;
        let mut rest = text.as_bytes();
        while let Some(first) = rest.first() {
            let Some(branch) = self.nodes[at].branches.iter().position(|other| other == first) else {
                at = self.add_child(at, rest);
                break;
            };
            let child = self.nodes[at].children[branch] as usize;
            let shared = common_length(&self.nodes[child].edge, rest);
            at = if shared == self.nodes[child].edge.len() { child } else { self.split(at, branch, shared) };
            rest = &rest[shared..];
        }
        &mut self.nodes[at]
    }

    /// The same in few bytes.
    pub fn freeze(&self) -> Trie {
        let mut records = Vec::new();
        // Nodes still to be written, and where their parents' records want to know their place.
        let mut queue = Vec::with_capacity(self.nodes.len());
        match self.nodes.first() {
            // What every path begins with needs no node before it: the first record may have a text, too.
            Some(root) if root.only_leads_on() => queue.push((root.children[0] as usize, None)),
            Some(_) => queue.push((0, None)),
            None => {}
        }
        let mut next = 0;
        while let Some((node, wanted)) = queue.get(next).copied() {
            next += 1;
            if let Some(wanted) = wanted {
                let place = (records.len() as u32).to_le_bytes();
                records[wanted..wanted + place.len()].copy_from_slice(&place);
            }
            let node: &Node = &self.nodes[node];
            node.write(&mut records);
            for child in &node.children {
                queue.push((*child as usize, Some(records.len())));
                records.extend([0; 4]);
            }
        }
        Trie { records: records.into() }
    }

    fn add_child(&mut self, parent: usize, edge: &[u8]) -> usize {
        let child = self.nodes.len();
        self.nodes.push(Node { edge: edge.into(), ..Node::default() });
        self.nodes[parent].branches.push(edge[0]);
        self.nodes[parent].children.push(child as u32);
        child
    }

    /// Puts a node into the edge that leads to a child, after its first `len` bytes.
    fn split(&mut self, parent: usize, branch: usize, len: usize) -> usize {
        let child = self.nodes[parent].children[branch] as usize;
        let edge = std::mem::take(&mut self.nodes[child].edge);
        let (upper, lower) = edge.split_at(len);
        self.nodes[child].edge = lower.into();
        let middle = self.nodes.len();
        self.nodes.push(Node {
            edge: upper.into(),
            branches: vec![lower[0]],
            children: vec![child as u32],
            ..Node::default()
        });
        self.nodes[parent].children[branch] = middle as u32;
        middle
    }
}

impl Node {
    fn only_leads_on(&self) -> bool {
        self.children.len() == 1
            && [&self.prefix, &self.separated, &self.exact].iter().all(|it| it.is_empty())
    }

    /// Appends the record up to the places of the children.
    fn write(&self, out: &mut Vec<u8>) {
        write_number(self.edge.len(), out);
        out.extend_from_slice(&self.edge);
        for routes in [&self.prefix, &self.separated, &self.exact] {
            write_number(routes.len(), out);
            out.extend(routes.iter().flat_map(|route| route.to_le_bytes()));
        }
        write_number(self.branches.len(), out);
        out.extend_from_slice(&self.branches);
    }
}

fn write_number(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn common_length(one: &[u8], two: &[u8]) -> usize {
    one.iter().zip(two).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_length_are_read_as_they_were_written() {
        for number in [0, 1, 0x7f, 0x80, 300, 0x3fff, 0x4000, 70_000, u32::MAX as usize] {
            let mut bytes = Vec::new();
            write_number(number, &mut bytes);
            let mut record = Record(&bytes);
            assert_eq!((record.number(), record.0.len()), (number, 0));
        }
    }

    #[test]
    fn long_texts_lists_and_many_children_are_found() {
        let mut builder = TrieBuilder::default();
        let long = "x".repeat(400);
        builder.node(&long).exact.push(7);
        (10..310).for_each(|route| builder.node("y").prefix.push(route));
        let letters: Vec<_> = ('\u{1}'..='\u{7f}').chain('\u{80}'..'\u{800}').collect();
        for (at, letter) in (1_000..).zip(&letters) {
            builder.node(&format!("/{letter}")).exact.push(at);
        }
        let trie = builder.freeze();
        let find = |path: &str, wanted: &dyn Fn(RouteIndex) -> bool| {
            let mut best = RouteIndex::MAX;
            trie.walk(path.as_bytes(), &mut best, &mut |route| wanted(route));
            best
        };
        assert_eq!(find(&long, &|_| true), 7);
        assert_eq!(find(&long[1..], &|_| true), RouteIndex::MAX);
        assert_eq!((find("y", &|_| true), find("yes", &|route| route > 300)), (10, 301));
        for (at, letter) in (1_000..).zip(&letters) {
            assert_eq!(find(&format!("/{letter}"), &|_| true), at, "{letter:?}");
        }
    }

    #[test]
    fn a_small_trie_takes_three_cache_lines() {
        let mut builder = TrieBuilder::default();
        (0..10).for_each(|route| builder.node(&format!("/service-{route}/")).prefix.push(route));
        assert!(builder.freeze().records.len() <= 3 * 64);
    }
}
