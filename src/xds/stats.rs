//! What Envoy counts for each subscription (`cluster_manager.cds.`, `listener_manager.lds.`,
//! `http.<prefix>.rds.<name>.`, `cluster.<name>.`).

use std::time::Duration;

use xxhash_rust::xxh64::xxh64;

use crate::base::clock::UnixTime;
use crate::stats::{Scope, stats_group};

stats_group! {
    /// Statistics of one subscription.
    pub struct SubscriptionCounts {
        counters: [
            init_fetch_timeout, update_attempt, update_failure, update_rejected, update_success,
        ],
        gauges: [
            update_time,
        ],
        histograms: [
            update_duration Milliseconds,
        ],
    }
}

/// Statistics of one subscription with its version, which is a text and a hash.
#[derive(Debug)]
pub struct SubscriptionStats {
    /// The plain ones.
    pub counts: SubscriptionCounts,
    scope: Scope,
    version: String,
    version_text: String,
}

impl SubscriptionStats {
    /// Registers them under `prefix`, which ends with a dot.
    pub fn register(scope: &Scope, prefix: &str) -> SubscriptionStats {
        let stats = SubscriptionStats {
            counts: SubscriptionCounts::register(scope, prefix),
            scope: scope.clone(),
            version: format!("{prefix}version"),
            version_text: format!("{prefix}version_text"),
        };
        stats.scope.set_number(&stats.version, 0);
        stats.scope.set_text(&stats.version_text, "");
        stats
    }

    /// An update was accepted.
    pub fn accepted(&self, version: &str, now: UnixTime, took: Duration) {
        self.counts.update_success.inc();
        self.counts.update_time.set(now.as_nanos() / 1_000_000);
        self.counts.update_duration.record(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        // The hash that Envoy shows, so that the two can be compared across a fleet.
        self.scope.set_number(&self.version, xxh64(version.as_bytes(), 0));
        self.scope.set_text(&self.version_text, version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Registry;

    #[test]
    fn the_version_is_a_text_and_envoys_hash_of_it() {
        let registry = Registry::new();
        let stats = SubscriptionStats::register(&registry.scope(), "cluster_manager.cds.");
        stats.accepted("c1", UnixTime::from_nanos(5_000_000), Duration::from_millis(3));
        let snapshot = registry.snapshot(|name| name.contains("version"));
        assert_eq!(&*snapshot.texts[0].text, "c1");
        // What Envoy 1.40 shows for this version.
        assert_eq!(snapshot.gauges[0].value, 814_672_407_442_807_801);
        assert_eq!(registry.gauge_value("cluster_manager.cds.update_time"), Some(5));
    }
}
