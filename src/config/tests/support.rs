//! The support tables: they name only messages and fields that exist, and what is not in them is refused.

use super::Parts;
use crate::api::pool;
use crate::config::SUPPORT;

#[test]
fn tables_name_only_what_exists() {
    let entries = SUPPORT.iter().flat_map(|table| table.iter());
    for entry in entries {
        let message = pool::message_of(entry.message);
        let message = message.unwrap_or_else(|| panic!("there is no message {}", entry.message));
        for field in entry.honoured.iter().chain(entry.no_effect) {
            let exists = *field == "*" || message.get_field_by_name(field).is_some();
            assert!(exists, "{} has no field {field}", entry.message);
            let twice = entry.honoured.contains(field) && entry.no_effect.contains(field);
            assert!(!twice, "{}.{field} is both honoured and without effect", entry.message);
        }
    }
}

#[test]
fn no_message_stands_in_two_tables() {
    let mut seen = std::collections::HashSet::new();
    for entry in SUPPORT.iter().flat_map(|table| table.iter()) {
        assert!(seen.insert(entry.message), "{} stands there twice", entry.message);
    }
}

#[test]
fn what_is_not_implemented_is_refused_by_name() {
    let cases = [
        Parts { listener: "use_original_dst: true", ..Parts::default() },
        Parts {
            manager: "upgrade_configs: [{upgrade_type: websocket, filters: [{name: a}]}]",
            ..Parts::default()
        },
        Parts { manager: "http3_protocol_options: {}", ..Parts::default() },
        Parts { clusters: "- {name: c, track_timeout_budgets: true}", ..Parts::default() },
        Parts {
            clusters: "- {name: c, lb_policy: ROUND_ROBIN, round_robin_lb_config: {slow_start_config: {}}}",
            ..Parts::default()
        },
        Parts { bootstrap: "overload_manager: {resource_monitors: [{name: a}]}", ..Parts::default() },
        Parts { bootstrap: "cluster_manager: {local_cluster_name: backend}", ..Parts::default() },
    ];
    for (parts, name) in cases.iter().zip([
        "use_original_dst",
        "filters",
        "http3_protocol_options",
        "track_timeout_budgets",
        "slow_start_config",
        "overload_manager",
        "local_cluster_name",
    ]) {
        let error = parts.error();
        assert!(error.ends_with(&format!("`{name}` is not supported by Ringway yet")), "{error}");
    }
}
