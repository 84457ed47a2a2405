//! Statistics under Envoy's names: counters, gauges and histograms that workers write without a
//! lock and the control thread reads.
//!
//! Every worker owns a shard of cells (`cells`) and is its only writer, so an increment is a plain
//! load and store. A [`Registry`] gives names to cells on the control thread and sums the shards
//! when somebody looks. Handles ([`Counter`], [`Gauge`], [`Histogram`]) are plain indices: copy them
//! freely. [`stats_group!`](crate::stats_group) makes a struct of handles from a list of names.
//!
//! Nothing here formats, allocates or takes a lock on a write, except that the first write to a
//! page of cells creates the page.

mod bins;
mod cells;
mod codes;
mod group;
mod handles;
mod histogram;
mod lazy;
mod listing;
mod options;
mod prometheus;
mod registry;
mod snapshot;
mod tables;
mod tags;

pub mod groups;

pub use cells::{Shard, install_shard};
pub use codes::ResponseCodeStats;
pub use group::stats_group;
pub use handles::{Counter, Gauge, Histogram, Unit};
pub use histogram::{DEFAULT_BUCKETS, Distribution, QUANTILES};
pub use lazy::LazyCounters;
pub use listing::{BucketBounds, HistogramBuckets, to_json, write_text};
pub use options::{BucketRule, NameMatcher, StatsOptions};
pub use prometheus::{HistogramStyle, PrometheusOptions, write_prometheus};
pub use registry::{Registry, Scope, StatSource};
pub use snapshot::{CounterValue, GaugeValue, HistogramValue, Snapshot, TextValue};
pub use tags::{CustomTag, TagExtractor, Tagged};
