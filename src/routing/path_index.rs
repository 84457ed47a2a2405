//! Finds the first of many routes whose path condition holds, without looking at all of them.
//!
//! A trie over the prefixes and paths that routes ask for (one with case, one without). A walk along the
//! request's path meets exactly the routes whose prefix or path matches; routes with regular expressions
//! hang at the literal text that the expression begins with. Of all routes met, the first in the order of
//! the configuration whose other conditions hold is taken, so the outcome is that of trying them in order.

use super::condition::PathCondition;

/// Paths up to this length are put into lower case without allocating.
const LOWER_CASE_BYTES: usize = 512;

/// Position of a route in its virtual host.
pub type RouteIndex = u32;

/// The index of one virtual host's routes.
#[derive(Debug, Default)]
pub struct PathIndex {
    with_case: Trie,
    without_case: Trie,
    /// Routes for requests without a path (CONNECT).
    connect: Vec<RouteIndex>,
}

/// Nodes in one array; the first is the root.
#[derive(Debug, Default)]
struct Trie {
    nodes: Vec<Node>,
}

/// A point that paths with a common beginning reach.
#[derive(Debug, Default)]
struct Node {
    /// What leads here from the parent; its first byte stands in the parent's `branches` too.
    edge: Box<[u8]>,
    /// First bytes of the children's edges.
    branches: Vec<u8>,
    children: Vec<u32>,
    /// Routes that take any path that begins like this. In order, as the next two.
    prefix: Vec<RouteIndex>,
    /// Routes that take this path, and what follows it after a slash.
    separated: Vec<RouteIndex>,
    /// Routes that take this path alone.
    exact: Vec<RouteIndex>,
}

impl PathIndex {
    /// Adds a route; they come in order.
    pub fn push(&mut self, route: RouteIndex, path: &PathCondition, case_sensitive: bool) {
        let trie = if case_sensitive || matches!(path, PathCondition::Regex { .. }) {
            &mut self.with_case
        } else {
            &mut self.without_case
        };
        match path {
            PathCondition::Connect => self.connect.push(route),
            PathCondition::Prefix(text) => trie.node(text).prefix.push(route),
            PathCondition::Path(text) => trie.node(text).exact.push(route),
            PathCondition::PathSeparatedPrefix(text) => trie.node(text).separated.push(route),
            PathCondition::Regex { literal_prefix, .. } => trie.node(literal_prefix).prefix.push(route),
        }
    }

    /// The first route in order of which `matches` is true, among those whose prefix or path matches
    /// `path` (without query). `matches` must give the same answer whenever it is asked about a route.
    #[inline]
    pub fn find(&self, path: &[u8], mut matches: impl FnMut(RouteIndex) -> bool) -> Option<RouteIndex> {
        let mut best = RouteIndex::MAX;
        self.with_case.walk(path, &mut best, &mut matches);
        if !self.without_case.nodes.is_empty() {
            let mut short = [0; LOWER_CASE_BYTES];
            if let Some(lower) = short.get_mut(..path.len()) {
                lower.copy_from_slice(path);
                lower.make_ascii_lowercase();
                self.without_case.walk(lower, &mut best, &mut matches);
            } else {
                self.without_case.walk(&path.to_ascii_lowercase(), &mut best, &mut matches);
            }
        }
        (best != RouteIndex::MAX).then_some(best)
    }

    /// Likewise for a request that has no path.
    pub fn find_pathless(&self, mut matches: impl FnMut(RouteIndex) -> bool) -> Option<RouteIndex> {
        self.connect.iter().copied().find(|route| matches(*route))
    }
}

impl Trie {
    /// Meets every node on the way of `path`, and lowers `best` to the first matching route met.
    #[inline]
    fn walk(&self, path: &[u8], best: &mut RouteIndex, matches: &mut impl FnMut(RouteIndex) -> bool) {
        let Some(mut node) = self.nodes.first() else { return };
        let mut rest = path;
        loop {
            first_match(&node.prefix, best, matches);
            if rest.is_empty() {
                first_match(&node.exact, best, matches);
            }
            if rest.first().is_none_or(|next| *next == b'/') {
                first_match(&node.separated, best, matches);
            }
            let Some(next) = rest.first() else { return };
            let Some(branch) = node.branches.iter().position(|first| first == next) else { return };
            node = &self.nodes[node.children[branch] as usize];
            let Some(after) = rest.strip_prefix(&*node.edge) else { return };
            rest = after;
        }
    }

    /// The node that stands for `text`, made if it is not there.
    fn node(&mut self, text: &str) -> &mut Node {
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

#[inline]
fn first_match(routes: &[RouteIndex], best: &mut RouteIndex, matches: &mut impl FnMut(RouteIndex) -> bool) {
    for route in routes {
        if route >= best {
            return;
        }
        if matches(*route) {
            *best = *route;
            return;
        }
    }
}

fn common_length(one: &[u8], two: &[u8]) -> usize {
    one.iter().zip(two).take_while(|(a, b)| a == b).count()
}
