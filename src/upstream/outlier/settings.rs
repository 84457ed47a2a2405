//! What of the configuration the runtime overrides. Envoy reads these keys anew each time; a snapshot of the
//! runtime here is fixed for the life of the cluster.

use std::time::Duration;

use crate::config::Runtime;
use crate::config::cluster::OutlierDetection;

/// The configuration with what the runtime has under `outlier_detection.`.
pub fn in_force(config: &OutlierDetection, runtime: &Runtime) -> OutlierDetection {
    let mut settings = config.clone();
    let number = |name: &str, value: u64| runtime.integer_under(&format!("outlier_detection.{name}"), value);
    macro_rules! counts {
        ($($field:ident),* $(,)?) => {
            $(settings.$field =
                u32::try_from(number(stringify!($field), settings.$field.into())).unwrap_or(u32::MAX);)*
        };
    }
    macro_rules! times {
        ($($field:ident $key:literal),* $(,)?) => {
            $(settings.$field = Duration::from_millis(number($key, settings.$field.as_millis() as u64));)*
        };
    }
    counts!(
        consecutive_5xx,
        consecutive_gateway_failure,
        consecutive_local_origin_failure,
        enforcing_consecutive_5xx,
        enforcing_consecutive_gateway_failure,
        enforcing_consecutive_local_origin_failure,
        enforcing_success_rate,
        enforcing_local_origin_success_rate,
        enforcing_failure_percentage,
        enforcing_failure_percentage_local_origin,
        max_ejection_percent,
        success_rate_minimum_hosts,
        success_rate_request_volume,
        success_rate_stdev_factor,
        failure_percentage_threshold,
        failure_percentage_minimum_hosts,
        failure_percentage_request_volume,
    );
    times!(
        interval "interval_ms",
        base_ejection_time "base_ejection_time_ms",
        max_ejection_time "max_ejection_time_ms",
        max_ejection_time_jitter "max_ejection_time_jitter_ms",
    );
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RuntimeLayer, RuntimeValue};

    #[test]
    fn the_runtime_overrides_the_configuration() {
        let values = [("consecutive_5xx", 2.0), ("interval_ms", 500.0), ("enforcing_success_rate", 0.0)];
        let values =
            values.map(|(key, value)| (format!("outlier_detection.{key}"), RuntimeValue::Number(value)));
        let layer = RuntimeLayer { name: "a".to_owned(), is_admin: false, values: values.into() };
        let settings = in_force(&OutlierDetection::default(), &Runtime { layers: vec![layer] });
        assert_eq!((settings.consecutive_5xx, settings.enforcing_success_rate), (2, 0));
        assert_eq!(settings.interval, Duration::from_millis(500));
        assert_eq!(settings.consecutive_gateway_failure, 5);
        assert_eq!(in_force(&OutlierDetection::default(), &Runtime::default()), OutlierDetection::default());
    }
}
