//! Route tables: from a request to the route that takes it, and what the route does to heads on the way.
//!
//! Sans-io: no clock, no randomness, no sockets; both are arguments. Follows Envoy 1.40's
//! `config.route.v3` messages; odd cases were checked against the binary. It picks no hosts and retries
//! nothing: that is `upstream`.

mod cluster_choice;
mod condition;
mod domains;
mod entry;
mod header_mutation;
mod level;
mod matched;
mod path_index;
mod per_filter;
mod redirect;
mod reuse;
mod rewrite;
mod shared;
mod table;
#[cfg(test)]
mod tests;
pub mod timeouts;
mod trie;

pub use cluster_choice::{ClusterChoice, ClusterName, Weighted, WeightedEntry};
pub use entry::{
    Action, BodyFormat, DirectResponse, ForwardAction, ForwardConfig, RouteEntry, VirtualHostEntry,
};
pub use header_mutation::HeaderMutations;
pub use level::Level;
pub use matched::{MatchedRoute, RouteId};
pub use per_filter::{
    FilterConfig, FilterSlot, PerFilterCompiler, PerFilterEntry, PerFilterError, PerFilterLevel,
};
pub use redirect::{Redirect, write_https_location, write_own_location};
pub use rewrite::{HostChange, PathChange, replace_authority};
pub use table::{MatchContext, RouteMatch, RouteTable};

use crate::api::ConfigError;
use crate::config;

/// Compiles mutations; errors go to `errors`.
fn compile_mutations(source: &config::HeaderMutations, errors: &mut Vec<ConfigError>) -> HeaderMutations {
    HeaderMutations::compile(source).unwrap_or_else(|found| {
        errors.extend(found);
        HeaderMutations::default()
    })
}
