//! What health checks find, for logs (`envoy.data.core.v3.HealthCheckEvent`).

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::state::FailureType;
use crate::base::clock::UnixTime;
use crate::config::cluster::Locality;
use crate::io::Address;
use crate::upstream::event_log::timestamp;

/// Something that a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HealthEvent {
    /// The host is left out from now on.
    EjectUnhealthy {
        /// Why.
        failure_type: FailureType,
        /// Status of its answer; 0 if there was none.
        http_status: u16,
    },
    /// The host serves from now on.
    AddHealthy {
        /// It was the first check of all.
        is_first: bool,
    },
    /// A check succeeded.
    Successful,
    /// A check failed.
    Failure {
        /// Why.
        failure_type: FailureType,
        /// It was the first check of all.
        is_first: bool,
        /// Status of the answer; 0 if there was none.
        http_status: u16,
    },
    /// The host is used less from now on.
    Degraded,
    /// It is used as the others again.
    NoLongerDegraded,
}

/// The host that an event is about.
#[derive(Debug, Clone, Copy)]
pub struct CheckedHost<'a> {
    /// `HTTP` or `TCP`.
    pub checker_type: &'static str,
    /// Its cluster.
    pub cluster_name: &'a str,
    /// Where it serves, which need not be where it was checked.
    pub address: &'a Address,
    /// Where it is.
    pub locality: &'a Arc<Locality>,
}

impl HealthEvent {
    /// The event as a line of JSON, as Envoy writes it: members by field number, defaults too.
    pub fn to_line(self, host: CheckedHost<'_>, at: UnixTime) -> String {
        let mut line = Map::new();
        let mut put = |key: &str, value: Value| drop(line.insert(key.to_owned(), value));
        put("health_checker_type", host.checker_type.into());
        put("host", address(host.address));
        put("cluster_name", host.cluster_name.into());
        // These stand before the timestamp, the others behind it.
        match self {
            HealthEvent::EjectUnhealthy { failure_type, http_status } => {
                let failure = json!({
                    "failure_type": failure_name(failure_type),
                    "http_status_code": http_status,
                });
                put("eject_unhealthy_event", failure);
            }
            HealthEvent::AddHealthy { is_first } => {
                put("add_healthy_event", json!({ "first_check": is_first }))
            }
            _ => {}
        }
        put("timestamp", timestamp(at).into());
        match self {
            HealthEvent::Failure { failure_type, is_first, http_status } => {
                let failure = json!({
                    "failure_type": failure_name(failure_type),
                    "first_check": is_first,
                    "http_status_code": http_status,
                });
                put("health_check_failure_event", failure);
            }
            HealthEvent::Degraded => put("degraded_healthy_host", json!({})),
            HealthEvent::NoLongerDegraded => put("no_longer_degraded_host", json!({})),
            _ => {}
        }
        let Locality { region, zone, sub_zone } = &**host.locality;
        put("locality", json!({ "region": region, "zone": zone, "sub_zone": sub_zone }));
        if self == HealthEvent::Successful {
            put("successful_health_check_event", json!({}));
        }
        Value::Object(line).to_string()
    }
}

fn failure_name(failure_type: FailureType) -> &'static str {
    match failure_type {
        FailureType::Active => "ACTIVE",
        FailureType::Passive => "PASSIVE",
        FailureType::Network => "NETWORK",
        FailureType::NetworkTimeout => "NETWORK_TIMEOUT",
    }
}

fn address(address: &Address) -> Value {
    match address {
        Address::Ip(ip) => json!({"socket_address": {
            "protocol": "TCP",
            "address": ip.ip().to_string(),
            "port_value": ip.port(),
            "resolver_name": "",
            "ipv4_compat": false,
            "network_namespace_filepath": "",
        }}),
        Address::Unix(path) => json!({"pipe": {"path": path.to_string_lossy(), "mode": 0}}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines that Envoy 1.40 wrote.
    #[test]
    fn lines_are_envoys() {
        let line = |event: HealthEvent| {
            let host = CheckedHost {
                checker_type: "HTTP",
                cluster_name: "c",
                address: &Address::Ip(([127, 0, 0, 1], 28001).into()),
                locality: &Arc::default(),
            };
            event.to_line(host, UnixTime::from_nanos(1_795_644_216_101_000_000))
        };
        const START: &str = r#"{"health_checker_type":"HTTP","host":{"socket_address":{"protocol":"TCP","address":"127.0.0.1","port_value":28001,"resolver_name":"","ipv4_compat":false,"network_namespace_filepath":""}},"cluster_name":"c","#;
        const TIME: &str = r#""timestamp":"2026-11-25T22:03:36.101Z","#;
        const END: &str = r#""locality":{"region":"","zone":"","sub_zone":""}"#;
        assert_eq!(
            line(HealthEvent::AddHealthy { is_first: true }),
            format!(r#"{START}"add_healthy_event":{{"first_check":true}},{TIME}{END}}}"#)
        );
        assert_eq!(
            line(HealthEvent::EjectUnhealthy { failure_type: FailureType::Active, http_status: 503 }),
            format!(
                r#"{START}"eject_unhealthy_event":{{"failure_type":"ACTIVE","http_status_code":503}},{TIME}{END}}}"#
            )
        );
        assert_eq!(
            line(HealthEvent::Failure {
                failure_type: FailureType::NetworkTimeout,
                is_first: true,
                http_status: 0
            }),
            format!(
                r#"{START}{TIME}"health_check_failure_event":{{"failure_type":"NETWORK_TIMEOUT","first_check":true,"http_status_code":0}},{END}}}"#
            )
        );
        assert_eq!(
            line(HealthEvent::Degraded),
            format!(r#"{START}{TIME}"degraded_healthy_host":{{}},{END}}}"#)
        );
        assert_eq!(
            line(HealthEvent::Successful),
            format!(r#"{START}{TIME}{END},"successful_health_check_event":{{}}}}"#)
        );
    }

    #[test]
    fn unix_sockets_are_pipes() {
        assert_eq!(address(&Address::unix("/x")).to_string(), r#"{"pipe":{"path":"/x","mode":0}}"#);
    }
}
