//! Which cluster a forwarded request goes to: a fixed one, one that a header names, or one of several by
//! weight (`config.route.v3.WeightedCluster`). Randomness is an argument.

use std::sync::Arc;

use super::level::Level;
use super::per_filter::PerFilterBuilder;
use super::shared::Shared;
use crate::api::ConfigError;
use crate::config::route::{ClusterSpecifier, ClusterWeight, WeightedClusters};
use crate::config::{Runtime, RuntimeU32};
use crate::http::{HeaderMap, HeaderNameBuf};

/// A compiled choice.
#[derive(Debug)]
pub enum ClusterChoice {
    /// This one.
    Fixed(Arc<str>),
    /// The one that this header names.
    Header(HeaderNameBuf),
    /// One of several.
    Weighted(Box<Weighted>),
}

/// Clusters with weights.
#[derive(Debug)]
pub struct Weighted {
    entries: Vec<WeightedEntry>,
    random_value_header: Option<HeaderNameBuf>,
}

/// One of several clusters, and what is particular to requests that go there.
#[derive(Debug)]
pub struct WeightedEntry {
    /// Its name, or the header that has it.
    pub cluster: ClusterName,
    /// Sets the authority instead of the route's rewrite.
    pub host_rewrite_literal: Option<Box<str>>,
    /// Changes to heads, and per-filter configuration.
    pub level: Level,
    /// Its share; the key is empty if nothing overrides it.
    weight: RuntimeU32,
}

/// A cluster's name, or the header that has it.
#[derive(Debug, Clone)]
pub enum ClusterName {
    /// The name.
    Fixed(Arc<str>),
    /// The header.
    Header(HeaderNameBuf),
}

impl ClusterChoice {
    /// Compiles the choice; errors go to `errors`.
    pub(super) fn compile(
        source: &ClusterSpecifier,
        per_filter: &mut PerFilterBuilder<'_>,
        shared: &mut Shared,
        errors: &mut Vec<ConfigError>,
    ) -> ClusterChoice {
        match source {
            ClusterSpecifier::Cluster(name) => ClusterChoice::Fixed(shared.cluster_name(name)),
            ClusterSpecifier::ClusterHeader(name) => ClusterChoice::Header(header_name(name)),
            ClusterSpecifier::Weighted(source) => {
                ClusterChoice::Weighted(Box::new(Weighted::compile(source, per_filter, shared, errors)))
            }
        }
    }
}

impl Weighted {
    fn compile(
        source: &WeightedClusters,
        per_filter: &mut PerFilterBuilder<'_>,
        shared: &mut Shared,
        errors: &mut Vec<ConfigError>,
    ) -> Weighted {
        let entry = |cluster: &ClusterWeight| WeightedEntry {
            cluster: if cluster.cluster_header.is_empty() {
                ClusterName::Fixed(shared.cluster_name(&cluster.name))
            } else {
                ClusterName::Header(header_name(&cluster.cluster_header))
            },
            host_rewrite_literal: cluster.host_rewrite_literal.as_deref().map(Into::into),
            level: Level::compile(
                &cluster.request_headers,
                &cluster.response_headers,
                &cluster.per_filter,
                per_filter,
                errors,
            ),
            weight: RuntimeU32 {
                default: cluster.weight,
                runtime_key: if source.runtime_key_prefix.is_empty() {
                    String::new()
                } else {
                    format!("{}.{}", source.runtime_key_prefix, cluster.name)
                },
            },
        };
        Weighted {
            entries: source.clusters.iter().map(entry).collect(),
            random_value_header: (!source.random_value_header.is_empty())
                .then(|| header_name(&source.random_value_header)),
        }
    }

    /// The clusters in order.
    pub fn entries(&self) -> &[WeightedEntry] {
        &self.entries
    }

    /// Position of the cluster that `random` falls on, or the number in the header that the configuration names.
    pub fn choose(&self, headers: &HeaderMap, runtime: &Runtime, random: u64) -> usize {
        let told = self.random_value_header.as_ref().and_then(|name| headers.get_u64(name));
        let weight = |entry: &WeightedEntry| u64::from(runtime.integer(&entry.weight));
        let total: u64 = self.entries.iter().map(weight).sum();
        if total == 0 {
            return 0;
        }
        let mut left = told.unwrap_or(random) % total;
        for (index, entry) in self.entries.iter().enumerate() {
            let weight = weight(entry);
            if left < weight {
                return index;
            }
            left -= weight;
        }
        0
    }
}

impl ClusterName {
    /// The name for this request; none if the header is absent, empty or not text.
    pub fn resolve<'r>(&'r self, headers: &'r HeaderMap) -> Option<&'r str> {
        match self {
            ClusterName::Fixed(name) => Some(name),
            ClusterName::Header(name) => headers.get_str(name).filter(|name| !name.is_empty()),
        }
    }
}

/// A name that is no name stays as it is: it is never found.
pub(super) fn header_name(name: &str) -> HeaderNameBuf {
    HeaderNameBuf::parse(name).unwrap_or_else(|_| HeaderNameBuf::Custom(name.into()))
}
