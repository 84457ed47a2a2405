//! What happens to hosts, for logs (`envoy.data.cluster.v3.OutlierDetectionEvent`).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::base::clock::UnixTime;
use crate::upstream::event_log::timestamp;
use crate::upstream::host_set::HostShared;

/// Why a host is an outlier (`envoy.data.cluster.v3.OutlierEjectionType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EjectionType {
    /// Server errors in a row.
    Consecutive5xx,
    /// 502, 503, 504 in a row.
    ConsecutiveGatewayFailure,
    /// Far fewer successes than other hosts.
    SuccessRate,
    /// Failures of our own side in a row.
    ConsecutiveLocalOriginFailure,
    /// Far fewer successes of our own side than other hosts.
    SuccessRateLocalOrigin,
    /// Too large a share of failures.
    FailurePercentage,
    /// Too large a share of failures of our own side.
    FailurePercentageLocalOrigin,
    /// It says itself that it is degraded; it is not ejected but used less.
    Degraded,
}

/// What is done to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is left out (or would be, if this kind of detection were enforced).
    Eject,
    /// It is back.
    Uneject,
}

/// The figures that led to an ejection, per cent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Detail {
    /// None, as for hosts that are back.
    None,
    /// None, as a row of failures was enough.
    Consecutive,
    /// Of comparing success rates.
    SuccessRate {
        /// The host's.
        host: f64,
        /// The mean of all.
        average: f64,
        /// Below which a host is an outlier.
        threshold: f64,
    },
    /// Of the share of failures.
    FailurePercentage {
        /// The host's share of successes.
        host: f64,
    },
}

/// Something that happened to a host.
#[derive(Debug, Clone)]
pub struct OutlierEvent {
    /// The host.
    pub host: Arc<HostShared>,
    /// Its address.
    pub upstream_url: Arc<str>,
    /// Why; for hosts that are back it says nothing.
    pub ejection_type: EjectionType,
    /// What.
    pub action: Action,
    /// Since it was last back (of an ejection), or last ejected (of its end).
    pub since_last_action: Option<Duration>,
    /// How often it was ejected so far.
    pub ejections: u32,
    /// Whether it was really ejected.
    pub enforced: bool,
    /// The figures.
    pub detail: Detail,
}

impl EjectionType {
    fn name(self) -> &'static str {
        match self {
            EjectionType::Consecutive5xx => "CONSECUTIVE_5XX",
            EjectionType::ConsecutiveGatewayFailure => "CONSECUTIVE_GATEWAY_FAILURE",
            EjectionType::SuccessRate => "SUCCESS_RATE",
            EjectionType::ConsecutiveLocalOriginFailure => "CONSECUTIVE_LOCAL_ORIGIN_FAILURE",
            EjectionType::SuccessRateLocalOrigin => "SUCCESS_RATE_LOCAL_ORIGIN",
            EjectionType::FailurePercentage => "FAILURE_PERCENTAGE",
            EjectionType::FailurePercentageLocalOrigin => "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
            EjectionType::Degraded => "DEGRADED",
        }
    }
}

impl OutlierEvent {
    /// The event as a line of JSON, as Envoy writes it.
    pub fn to_line(&self, cluster_name: &str, at: UnixTime) -> String {
        let mut line = Map::new();
        let mut put = |key: &str, value: Value| line.insert(key.to_owned(), value);
        put("type", self.ejection_type.name().into());
        put("timestamp", timestamp(at).into());
        if let Some(since) = self.since_last_action {
            put("secs_since_last_action", since.as_secs().to_string().into());
        }
        put("cluster_name", cluster_name.into());
        put("upstream_url", (&*self.upstream_url).into());
        let action = match self.action {
            Action::Eject => "EJECT",
            Action::Uneject => "UNEJECT",
        };
        put("action", action.into());
        put("num_ejections", self.ejections.into());
        put("enforced", self.enforced.into());
        match self.detail {
            Detail::None => {}
            Detail::Consecutive => drop(put("eject_consecutive_event", json!({}))),
            Detail::SuccessRate { host, average, threshold } => {
                let figures = json!({
                    "host_success_rate": host as u32,
                    "cluster_average_success_rate": average as u32,
                    "cluster_success_rate_ejection_threshold": threshold as u32,
                });
                put("eject_success_rate_event", figures);
            }
            Detail::FailurePercentage { host } => {
                put("eject_failure_percentage_event", json!({ "host_success_rate": host as u32 }));
            }
        }
        Value::Object(line).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::host_set::testing::host_with_bell;

    /// Lines that Envoy 1.40 wrote.
    #[test]
    fn lines_are_envoys() {
        let event = |ejection_type, action, since: Option<u64>, ejections, enforced, detail| {
            let event = OutlierEvent {
                host: host_with_bell(None),
                upstream_url: "127.0.0.1:28001".into(),
                ejection_type,
                action,
                since_last_action: since.map(Duration::from_millis),
                ejections,
                enforced,
                detail,
            };
            event.to_line("c", UnixTime::from_nanos(1_795_644_216_101_000_000))
        };
        assert_eq!(
            event(
                EjectionType::ConsecutiveGatewayFailure,
                Action::Eject,
                Some(300),
                2,
                true,
                Detail::Consecutive
            ),
            r#"{"type":"CONSECUTIVE_GATEWAY_FAILURE","timestamp":"2026-11-25T22:03:36.101Z","secs_since_last_action":"0","cluster_name":"c","upstream_url":"127.0.0.1:28001","action":"EJECT","num_ejections":2,"enforced":true,"eject_consecutive_event":{}}"#
        );
        assert_eq!(
            event(EjectionType::Consecutive5xx, Action::Uneject, Some(3_900), 1, false, Detail::None),
            r#"{"type":"CONSECUTIVE_5XX","timestamp":"2026-11-25T22:03:36.101Z","secs_since_last_action":"3","cluster_name":"c","upstream_url":"127.0.0.1:28001","action":"UNEJECT","num_ejections":1,"enforced":false}"#
        );
        let rates = Detail::SuccessRate { host: 0.0, average: 80.5, threshold: 4.9 };
        assert_eq!(
            event(EjectionType::SuccessRate, Action::Eject, None, 1, true, rates),
            r#"{"type":"SUCCESS_RATE","timestamp":"2026-11-25T22:03:36.101Z","cluster_name":"c","upstream_url":"127.0.0.1:28001","action":"EJECT","num_ejections":1,"enforced":true,"eject_success_rate_event":{"host_success_rate":0,"cluster_average_success_rate":80,"cluster_success_rate_ejection_threshold":4}}"#
        );
        let share = Detail::FailurePercentage { host: 12.0 };
        assert!(
            event(EjectionType::FailurePercentage, Action::Eject, None, 1, true, share)
                .ends_with(r#""enforced":true,"eject_failure_percentage_event":{"host_success_rate":12}}"#)
        );
    }
}
