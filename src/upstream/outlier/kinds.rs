//! What differs between the ways to find an outlier: how far they are enforced, and what they count.

use super::EjectionType;
use crate::config::cluster::OutlierDetection;
use crate::stats::groups::OutlierDetectionStats;

impl EjectionType {
    /// The chance that an outlier found so is ejected, per cent.
    pub fn enforcing_percent(self, settings: &OutlierDetection) -> u32 {
        match self {
            EjectionType::Consecutive5xx => settings.enforcing_consecutive_5xx,
            EjectionType::ConsecutiveGatewayFailure => settings.enforcing_consecutive_gateway_failure,
            EjectionType::ConsecutiveLocalOriginFailure => {
                settings.enforcing_consecutive_local_origin_failure
            }
            EjectionType::SuccessRate => settings.enforcing_success_rate,
            EjectionType::SuccessRateLocalOrigin => settings.enforcing_local_origin_success_rate,
            EjectionType::FailurePercentage => settings.enforcing_failure_percentage,
            EjectionType::FailurePercentageLocalOrigin => settings.enforcing_failure_percentage_local_origin,
            EjectionType::Degraded => 100,
        }
    }

    /// Counts that an outlier was found so.
    pub fn count_detected(self, stats: &OutlierDetectionStats) {
        match self {
            EjectionType::Consecutive5xx => stats.ejections_detected_consecutive_5xx,
            EjectionType::ConsecutiveGatewayFailure => stats.ejections_detected_consecutive_gateway_failure,
            EjectionType::ConsecutiveLocalOriginFailure => {
                stats.ejections_detected_consecutive_local_origin_failure
            }
            EjectionType::SuccessRate => stats.ejections_detected_success_rate,
            EjectionType::SuccessRateLocalOrigin => stats.ejections_detected_local_origin_success_rate,
            EjectionType::FailurePercentage => stats.ejections_detected_failure_percentage,
            EjectionType::FailurePercentageLocalOrigin => {
                stats.ejections_detected_local_origin_failure_percentage
            }
            EjectionType::Degraded => stats.ejections_detected_degradation,
        }
        .inc();
    }

    /// Counts that an outlier found so was ejected.
    pub fn count_enforced(self, stats: &OutlierDetectionStats) {
        stats.ejections_enforced_total.inc();
        match self {
            EjectionType::Consecutive5xx => stats.ejections_enforced_consecutive_5xx,
            EjectionType::ConsecutiveGatewayFailure => stats.ejections_enforced_consecutive_gateway_failure,
            EjectionType::ConsecutiveLocalOriginFailure => {
                stats.ejections_enforced_consecutive_local_origin_failure
            }
            EjectionType::SuccessRate => stats.ejections_enforced_success_rate,
            EjectionType::SuccessRateLocalOrigin => stats.ejections_enforced_local_origin_success_rate,
            EjectionType::FailurePercentage => stats.ejections_enforced_failure_percentage,
            EjectionType::FailurePercentageLocalOrigin => {
                stats.ejections_enforced_local_origin_failure_percentage
            }
            // Nobody is ejected.
            EjectionType::Degraded => return,
        }
        .inc();
    }
}
