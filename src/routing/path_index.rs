//! Finds the first of many routes whose path condition holds, without looking at all of them.
//!
//! A trie over the prefixes and paths that routes ask for (one with case, one without). A walk along the
//! request's path meets exactly the routes whose prefix or path matches; routes with regular expressions
//! hang at the literal text that the expression begins with. Of all routes met, the first in the order of
//! the configuration whose other conditions hold is taken, so the outcome is that of trying them in order.

use super::condition::PathCondition;
use super::trie::{Trie, TrieBuilder};

/// Paths up to this length are put into lower case without allocating.
const LOWER_CASE_BYTES: usize = 512;

/// Position of a route in its virtual host.
pub type RouteIndex = u32;

/// The index of one virtual host's routes.
#[derive(Debug, Default)]
pub struct PathIndex {
    with_case: Trie,
    rare: Option<Box<RareRoutes>>,
}

/// What few virtual hosts have.
#[derive(Debug)]
struct RareRoutes {
    without_case: Trie,
    /// Routes for requests without a path (CONNECT).
    connect: Box<[RouteIndex]>,
}

/// Makes an index.
#[derive(Debug, Default)]
pub struct PathIndexBuilder {
    with_case: TrieBuilder,
    without_case: TrieBuilder,
    connect: Vec<RouteIndex>,
}

impl PathIndexBuilder {
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

    /// The index of what was added.
    pub fn finish(self) -> PathIndex {
        let rare = RareRoutes { without_case: self.without_case.freeze(), connect: self.connect.into() };
        let any_rare = !rare.without_case.is_empty() || !rare.connect.is_empty();
        PathIndex { with_case: self.with_case.freeze(), rare: any_rare.then(|| Box::new(rare)) }
    }
}

impl PathIndex {
    /// The first route in order of which `matches` is true, among those whose prefix or path matches
    /// `path` (without query). `matches` must give the same answer whenever it is asked about a route.
    #[inline]
    pub fn find(&self, path: &[u8], mut matches: impl FnMut(RouteIndex) -> bool) -> Option<RouteIndex> {
        let mut best = RouteIndex::MAX;
        self.with_case.walk(path, &mut best, &mut matches);
        if let Some(rare) = &self.rare
            && !rare.without_case.is_empty()
        {
            let mut short = [0; LOWER_CASE_BYTES];
            if let Some(lower) = short.get_mut(..path.len()) {
                lower.copy_from_slice(path);
                lower.make_ascii_lowercase();
                rare.without_case.walk(lower, &mut best, &mut matches);
            } else {
                rare.without_case.walk(&path.to_ascii_lowercase(), &mut best, &mut matches);
            }
        }
        (best != RouteIndex::MAX).then_some(best)
    }

    /// Likewise for a request that has no path.
    pub fn find_pathless(&self, mut matches: impl FnMut(RouteIndex) -> bool) -> Option<RouteIndex> {
        let rare = self.rare.as_ref()?;
        rare.connect.iter().copied().find(|route| matches(*route))
    }
}
