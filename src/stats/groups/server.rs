//! The process as a whole: `server.`, `listener_manager.`, `cluster_manager.`, `runtime.`, `filesystem.`.

use crate::stats::stats_group;

stats_group! {
    /// `server.`: the process. The control thread sets the gauges.
    pub struct ServerStats {
        counters: [
            debug_assertion_failures, dropped_stat_flushes, dynamic_unknown_fields, envoy_bug_failures,
            envoy_notifications, static_unknown_fields, wip_protos,
        ],
        gauges: [
            concurrency, days_until_first_cert_expiring, hot_restart_epoch, hot_restart_generation, live,
            memory_allocated, memory_heap_size, memory_physical_size, parent_connections,
            seconds_until_first_ocsp_response_expiring, state, stats_recent_lookups, total_connections,
            uptime, version,
        ],
        histograms: [
            initialization_time_ms Milliseconds,
        ],
    }
}

stats_group! {
    /// `listener_manager.`: listeners as a whole. `workers_pinned` counts workers bound to a CPU.
    pub struct ListenerManagerStats {
        counters: [
            listener_added, listener_create_failure, listener_create_success, listener_in_place_updated,
            listener_modified, listener_removed, listener_stopped,
        ],
        gauges: [
            total_filter_chains_draining, total_listeners_active, total_listeners_draining,
            total_listeners_warming, workers_pinned, workers_started,
        ],
    }
}

stats_group! {
    /// `cluster_manager.`: clusters as a whole. The merge counters stay zero: updates are not merged.
    pub struct ClusterManagerStats {
        counters: [
            cluster_added, cluster_modified, cluster_removed, cluster_updated, cluster_updated_via_merge,
            update_merge_cancelled, update_out_of_merge_window,
        ],
        gauges: [
            active_clusters, warming_clusters,
        ],
    }
}

stats_group! {
    /// `runtime.`: runtime layers.
    pub struct RuntimeStats {
        counters: [
            deprecated_feature_use, load_error, load_success, override_dir_exists, override_dir_not_exists,
        ],
        gauges: [
            admin_overrides_active, deprecated_feature_seen_since_process_start, num_keys, num_layers,
        ],
    }
}

stats_group! {
    /// `filesystem.`: access-log files. `lines_dropped` is Ringway's own: lines not written because the
    /// writer thread was behind.
    pub struct FilesystemStats {
        counters: [
            flushed_by_timer, lines_dropped, reopen_failed, write_buffered, write_completed, write_failed,
        ],
        gauges: [
            write_total_buffered,
        ],
    }
}

stats_group! {
    /// `ringway.`: what the I/O drivers of all workers report (names of Ringway's own); the counters stay zero
    /// in good health. `command_time_us` is what each command of the control thread costs a worker,
    /// `config_update_time_us` the time from a changed file to the last worker that follows it.
    pub struct WorkersStats {
        counters: [
            panics, completion_queue_overflows, buffer_ring_exhausted, buffers_leaked,
        ],
        gauges: [
            live_sockets, live_blocks, io_driver_is_ring,
        ],
        histograms: [
            command_time_us Microseconds, config_update_time_us Microseconds,
        ],
    }
}

stats_group! {
    /// `server.main_thread.`, `server.worker_<n>.`, `main_thread.`, `workers.`: threads that did not turn
    /// up in time; zero until there is a watchdog.
    pub struct WatchdogStats {
        counters: [watchdog_mega_miss, watchdog_miss],
    }
}
