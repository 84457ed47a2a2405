//! What a configuration says about statistics (`envoy.config.metrics.v3.StatsConfig`), in plain terms.

use std::fmt;
use std::sync::Arc;

use crate::stats::histogram::DEFAULT_BUCKETS;
use crate::stats::tags::TagExtractor;

/// Decides on names of statistics.
pub type NameMatcher = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Buckets of the histograms whose names match.
pub struct BucketRule {
    /// Which histograms.
    pub matches: NameMatcher,
    /// Upper bounds, ascending.
    pub bounds: Arc<[f64]>,
}

/// What a configuration says about statistics.
#[derive(Default)]
pub struct StatsOptions {
    /// Which statistics are kept; none keeps all. What is not kept counts nothing and is not listed.
    pub keep: Option<NameMatcher>,
    /// Which parts of names become tags.
    pub tags: TagExtractor,
    /// The first rule that matches a histogram counts; else Envoy's default buckets.
    pub buckets: Vec<BucketRule>,
}

impl StatsOptions {
    /// Upper bounds of the buckets of a histogram.
    pub fn bounds(&self, histogram: &str) -> Arc<[f64]> {
        let rule = self.buckets.iter().find(|rule| (rule.matches)(histogram));
        rule.map_or_else(|| Arc::from(DEFAULT_BUCKETS.as_slice()), |rule| rule.bounds.clone())
    }

    pub(super) fn keeps(&self, name: &str) -> bool {
        self.keep.as_ref().is_none_or(|keep| keep(name))
    }
}

impl fmt::Debug for StatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatsOptions").field("tags", &self.tags).finish_non_exhaustive()
    }
}
