//! Listeners: `listener.<address>.`.

use crate::stats::stats_group;

stats_group! {
    /// `listener.<address>.` (see [`listener_stat_name`]). Those about overload, transport sockets,
    /// listener filters and extension discovery stay zero until there is such a thing.
    pub struct ListenerStats {
        counters: [
            downstream_cx_destroy, downstream_cx_overflow, downstream_cx_overload_reject,
            downstream_cx_total, downstream_cx_transport_socket_connect_timeout,
            downstream_global_cx_overflow, downstream_listener_filter_error,
            downstream_listener_filter_remote_close, downstream_pre_cx_timeout, extension_config_missing,
            network_extension_config_missing, no_filter_chain_match,
        ],
        gauges: [
            downstream_cx_active, downstream_pre_cx_active,
        ],
        histograms: [
            connections_accepted_per_socket_event Unspecified, downstream_cx_length_ms Milliseconds,
        ],
    }
}

stats_group! {
    /// `listener.<address>.worker_<n>.`: one worker's share.
    pub struct ListenerWorkerStats {
        counters: [
            downstream_cx_total,
        ],
        gauges: [
            downstream_cx_active,
        ],
    }
}

stats_group! {
    /// `listener.<address>.http.<stat_prefix>.`: responses by class.
    pub struct ListenerHttpStats {
        counters: [
            downstream_rq_1xx, downstream_rq_2xx, downstream_rq_3xx, downstream_rq_4xx, downstream_rq_5xx,
            downstream_rq_completed,
        ],
    }
}

impl ListenerHttpStats {
    /// Counts a response downstream by its status class.
    #[inline]
    pub fn record(self, status: u16) {
        self.downstream_rq_completed.inc();
        match status / 100 {
            1 => self.downstream_rq_1xx.inc(),
            2 => self.downstream_rq_2xx.inc(),
            3 => self.downstream_rq_3xx.inc(),
            4 => self.downstream_rq_4xx.inc(),
            5 => self.downstream_rq_5xx.inc(),
            _ => {}
        }
    }
}

/// The `<address>` part of a listener's stat names.
pub fn listener_stat_name(address: &str) -> String {
    address.replace(':', "_")
}
