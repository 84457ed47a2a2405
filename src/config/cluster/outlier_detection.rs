//! Outlier detection (`envoy.config.cluster.v3.OutlierDetection`): when hosts that fail are left out for a while.

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;

use crate::config::context::wrapped_or;
use crate::config::{Context, FieldPath};

/// When hosts are ejected and for how long. Counts of 0 turn a kind of detection off; an enforcement is the chance
/// in per cent that a host detected so is ejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Server errors in a row. Default 5.
    pub consecutive_5xx: u32,
    /// Answers 502, 503 and 504 in a row. Default 5.
    pub consecutive_gateway_failure: u32,
    /// Failures of our own side in a row, where these are told apart. Default 5.
    pub consecutive_local_origin_failure: u32,
    /// Time between sweeps over all hosts. Default 10 s.
    pub interval: Duration,
    /// Time of the first ejection; the n-th lasts n times as long. Default 30 s.
    pub base_ejection_time: Duration,
    /// Longest time of an ejection. Default 300 s, or `base_ejection_time` if that is longer.
    pub max_ejection_time: Duration,
    /// Each ejection lasts longer by a random time up to this. Default 0.
    pub max_ejection_time_jitter: Duration,
    /// Most hosts that may be ejected at a time, per cent. Default 10.
    pub max_ejection_percent: u32,
    /// One host may be ejected whatever `max_ejection_percent` says. Default false.
    pub always_eject_one_host: bool,
    /// Hosts with enough requests that comparing success rates needs. Default 5.
    pub success_rate_minimum_hosts: u32,
    /// Requests in an interval that a host needs to be compared. Default 100.
    pub success_rate_request_volume: u32,
    /// Standard deviations below the mean at which a host is an outlier, in thousandths. Default 1900.
    pub success_rate_stdev_factor: u32,
    /// Failures in per cent at which a host is an outlier. Default 85.
    pub failure_percentage_threshold: u32,
    /// Hosts with enough requests that this needs. Default 5.
    pub failure_percentage_minimum_hosts: u32,
    /// Requests in an interval that a host needs for this. Default 50.
    pub failure_percentage_request_volume: u32,
    /// Default 100.
    pub enforcing_consecutive_5xx: u32,
    /// Default 0.
    pub enforcing_consecutive_gateway_failure: u32,
    /// Default 100.
    pub enforcing_consecutive_local_origin_failure: u32,
    /// Default 100.
    pub enforcing_success_rate: u32,
    /// Default 100.
    pub enforcing_local_origin_success_rate: u32,
    /// Default 0.
    pub enforcing_failure_percentage: u32,
    /// Default 0.
    pub enforcing_failure_percentage_local_origin: u32,
    /// Count failures of our own side (connecting, timeouts) apart from what hosts answer. Default false.
    pub split_external_local_origin_errors: bool,
    /// A successful health check ends an ejection. Default true.
    pub successful_active_health_check_uneject_host: bool,
    /// Hosts that answer with `x-envoy-degraded` become degraded for a while. Default false.
    pub detect_degraded_hosts: bool,
}

impl Default for OutlierDetection {
    fn default() -> OutlierDetection {
        OutlierDetection {
            consecutive_5xx: 5,
            consecutive_gateway_failure: 5,
            consecutive_local_origin_failure: 5,
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one_host: false,
            success_rate_minimum_hosts: 5,
            success_rate_request_volume: 100,
            success_rate_stdev_factor: 1900,
            failure_percentage_threshold: 85,
            failure_percentage_minimum_hosts: 5,
            failure_percentage_request_volume: 50,
            enforcing_consecutive_5xx: 100,
            enforcing_consecutive_gateway_failure: 0,
            enforcing_consecutive_local_origin_failure: 100,
            enforcing_success_rate: 100,
            enforcing_local_origin_success_rate: 100,
            enforcing_failure_percentage: 0,
            enforcing_failure_percentage_local_origin: 0,
            split_external_local_origin_errors: false,
            successful_active_health_check_uneject_host: true,
            detect_degraded_hosts: false,
        }
    }
}

impl OutlierDetection {
    /// Converts the outlier detection at `path`.
    pub(super) fn from_proto(
        proto: &cluster::OutlierDetection,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> OutlierDetection {
        let unset = OutlierDetection::default();
        macro_rules! or_default {
            ($($field:ident),* $(,)?) => { OutlierDetection { $($field: wrapped_or!(proto.$field, unset.$field),)* ..unset } };
        }
        let base_ejection_time = context.duration_or(
            &proto.base_ejection_time,
            unset.base_ejection_time,
            &path.field("base_ejection_time"),
        );
        let max_path = path.field("max_ejection_time");
        let max_ejection_time = context.duration_or(
            &proto.max_ejection_time,
            unset.max_ejection_time.max(base_ejection_time),
            &max_path,
        );
        if max_ejection_time < base_ejection_time {
            context.error(&max_path, "max_ejection_time cannot be smaller than base_ejection_time");
        }
        OutlierDetection {
            interval: context.duration_or(&proto.interval, unset.interval, &path.field("interval")),
            base_ejection_time,
            max_ejection_time,
            max_ejection_time_jitter: context.duration_or(
                &proto.max_ejection_time_jitter,
                unset.max_ejection_time_jitter,
                &path.field("max_ejection_time_jitter"),
            ),
            split_external_local_origin_errors: proto.split_external_local_origin_errors,
            ..or_default!(
                consecutive_5xx,
                consecutive_gateway_failure,
                consecutive_local_origin_failure,
                max_ejection_percent,
                always_eject_one_host,
                success_rate_minimum_hosts,
                success_rate_request_volume,
                success_rate_stdev_factor,
                failure_percentage_threshold,
                failure_percentage_minimum_hosts,
                failure_percentage_request_volume,
                enforcing_consecutive_5xx,
                enforcing_consecutive_gateway_failure,
                enforcing_consecutive_local_origin_failure,
                enforcing_success_rate,
                enforcing_local_origin_success_rate,
                enforcing_failure_percentage,
                enforcing_failure_percentage_local_origin,
                successful_active_health_check_uneject_host,
                detect_degraded_hosts,
            )
        }
    }
}
