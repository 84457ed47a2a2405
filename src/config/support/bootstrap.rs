//! What is carried over of the bootstrap, the runtime and statistics (`envoy.config.bootstrap.v3`, `envoy.config.metrics.v3`). Every field in no list is refused.

use super::entry;
use crate::api::MessageSupport;

pub(super) const TABLE: &[MessageSupport] = &[
    entry(
        "envoy.config.bootstrap.v3.Bootstrap",
        &[
            "node",
            "static_resources",
            "dynamic_resources",
            "admin",
            "cluster_manager",
            "layered_runtime",
            "stats_config",
            "stats_flush_interval",
            "application_log_config",
        ],
        &[
            // Histograms are merged when they are read.
            "stats_flush_on_admin",
            "deferred_stat_options",
            // Workers are always pinned.
            "enable_worker_cpu_affinity",
            // No control plane to tell them, no watchdog, no tcmalloc, no fine-grained header storage to set up.
            "node_context_params",
            "watchdog",
            "watchdogs",
            "memory_allocator_manager",
            "inline_headers",
        ],
    ),
    entry("envoy.config.bootstrap.v3.Bootstrap.DynamicResources", &["lds_config", "cds_config"], &[]),
    entry("envoy.config.bootstrap.v3.Bootstrap.StaticResources", &["listeners", "clusters", "secrets"], &[]),
    entry(
        "envoy.config.bootstrap.v3.Admin",
        &["access_log", "access_log_path", "address", "socket_options", "allow_paths"],
        &["profile_path", "ignore_global_conn_limit"],
    ),
    entry("envoy.config.bootstrap.v3.ClusterManager", &["outlier_detection"], &[]),
    entry("envoy.config.bootstrap.v3.ClusterManager.OutlierDetection", &["event_log_path"], &[]),
    MessageSupport::all("envoy.config.bootstrap.v3.LayeredRuntime"),
    entry("envoy.config.bootstrap.v3.RuntimeLayer", &["name", "static_layer", "admin_layer"], &[]),
    MessageSupport::all("envoy.config.bootstrap.v3.RuntimeLayer.AdminLayer"),
    MessageSupport::all("envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig"),
    entry("envoy.config.bootstrap.v3.Bootstrap.ApplicationLogConfig.LogFormat", &["text_format"], &[]),
    entry(
        "envoy.config.metrics.v3.StatsConfig",
        &["stats_tags", "use_all_default_tags", "stats_matcher", "histogram_bucket_settings"],
        &[],
    ),
    MessageSupport::all("envoy.config.metrics.v3.StatsMatcher"),
    MessageSupport::all("envoy.config.metrics.v3.TagSpecifier"),
    entry("envoy.config.metrics.v3.HistogramBucketSettings", &["match", "buckets"], &[]),
];
