//! Pages that show a part of the process: clusters, listeners, memory, runtime, the server itself.

use std::fmt::{Display, Write};

use regex::Regex;
use serde_json::{Map, Value, json};

use crate::admin::json;
use crate::admin::reply::Reply;
use crate::admin::routes::Call;
use crate::admin::state::{CircuitBreakerLimits, ClusterStatus, HostReport, OutlierReport};
use crate::config::{Runtime, RuntimeValue};
use crate::upstream::{HealthFlags, HostStatsTotals};

pub(super) fn clusters(call: &Call<'_>) -> Reply {
    let filter = match call.query.get_set("filter").map(Regex::new).transpose() {
        Ok(filter) => filter,
        Err(_) => return Reply::error(400, "Invalid re2 regex"),
    };
    let mut clusters = call.state.clusters();
    clusters.retain(|cluster| filter.as_ref().is_none_or(|filter| filter.is_match(&cluster.name)));
    if call.query.get("format") == Some("json") {
        let mut dump = Map::new();
        if !clusters.is_empty() {
            let statuses: Vec<Value> = clusters.iter().map(cluster_json).collect();
            dump.insert("cluster_statuses".to_owned(), statuses.into());
        }
        return Reply::json(&Value::Object(dump));
    }
    let mut text = String::new();
    clusters.iter().for_each(|cluster| write_cluster(cluster, &mut text));
    Reply::text(text)
}

pub(super) fn listeners(call: &Call<'_>) -> Reply {
    let listeners = call.state.listeners();
    if call.query.get("format") != Some("json") {
        let mut text = String::new();
        for listener in &listeners {
            for address in &listener.addresses {
                let _ = writeln!(text, "{}::{address}", listener.name);
            }
        }
        return Reply::text(text);
    }
    let statuses = listeners.iter().map(|listener| {
        let mut status = Map::from_iter([("name".to_owned(), Value::from(listener.name.as_str()))]);
        let mut addresses = listener.addresses.iter().map(json::address);
        status.extend(addresses.next().map(|address| ("local_address".to_owned(), address)));
        let more: Vec<Value> = addresses.collect();
        if !more.is_empty() {
            status.insert("additional_local_addresses".to_owned(), more.into());
        }
        Value::Object(status)
    });
    let statuses: Vec<Value> = statuses.collect();
    Reply::json(&if statuses.is_empty() { json!({}) } else { json!({ "listener_statuses": statuses }) })
}

pub(super) fn memory(call: &Call<'_>) -> Reply {
    let memory = call.state.memory();
    Reply::json(&json!({
        "allocated": memory.allocated.to_string(),
        "heap_size": memory.heap_size.to_string(),
        "pageheap_unmapped": memory.pageheap_unmapped.to_string(),
        "pageheap_free": memory.pageheap_free.to_string(),
        "total_thread_cache": memory.total_thread_cache.to_string(),
        "total_physical_bytes": memory.total_physical_bytes.to_string(),
    }))
}

pub(super) fn server_info(call: &Call<'_>) -> Reply {
    let info = call.state.server_info();
    Reply::json(&json!({
        "version": info.version,
        "state": call.state.server_state().name(),
        "uptime_current_epoch": format!("{}s", info.uptime_current_epoch.as_secs()),
        "uptime_all_epochs": format!("{}s", info.uptime_all_epochs.as_secs()),
        "hot_restart_version": info.hot_restart_version,
        "command_line_options": info.command_line_options,
        "node": info.node,
    }))
}

pub(super) fn certs(call: &Call<'_>) -> Reply {
    Reply::json(&json!({ "certificates": call.state.certificates() }))
}

pub(super) fn init_dump(call: &Call<'_>) -> Reply {
    let targets = call.state.unready_targets();
    if targets.is_empty() {
        return Reply::json(&json!({}));
    }
    let dumps: Vec<Value> = targets
        .into_iter()
        .map(|target| json!({"name": target.name, "target_names": target.target_names}))
        .collect();
    Reply::json(&json!({ "unready_targets_dumps": dumps }))
}

pub(super) fn runtime(call: &Call<'_>) -> Reply {
    let runtime: &Runtime = &call.state.runtime();
    let text = |value: Option<&RuntimeValue>| value.map(runtime_text).unwrap_or_default();
    let mut keys: Vec<&String> = runtime.layers.iter().flat_map(|layer| layer.values.keys()).collect();
    keys.sort();
    keys.dedup();
    let entries = keys.into_iter().map(|key| {
        let layers: Vec<String> = runtime.layers.iter().map(|layer| text(layer.values.get(key))).collect();
        (key.clone(), json!({"layer_values": layers, "final_value": text(runtime.get(key))}))
    });
    let entries: Map<String, Value> = entries.collect();
    let layers: Vec<&str> = runtime.layers.iter().map(|layer| layer.name.as_str()).collect();
    Reply::json(&json!({"entries": entries, "layers": layers}))
}

fn runtime_text(value: &RuntimeValue) -> String {
    match value {
        RuntimeValue::Number(number) => number.to_string(),
        RuntimeValue::Bool(flag) => flag.to_string(),
        RuntimeValue::Text(text) => text.clone(),
        RuntimeValue::Fraction(fraction) => format!("{}/{}", fraction.numerator, fraction.denominator),
    }
}

fn write_cluster(cluster: &ClusterStatus, out: &mut String) {
    let name = &cluster.name;
    let mut line = |key: &str, value: &dyn Display| {
        let _ = writeln!(out, "{name}::{key}::{value}");
    };
    line("observability_name", &cluster.observability_name);
    if let Some(outlier) = &cluster.outlier {
        line("outlier::success_rate_average", &rate(outlier.success_rate_average));
        line("outlier::success_rate_ejection_threshold", &rate(outlier.success_rate_ejection_threshold));
        line("outlier::local_origin_success_rate_average", &rate(outlier.local_origin_success_rate_average));
        line(
            "outlier::local_origin_success_rate_ejection_threshold",
            &rate(outlier.local_origin_success_rate_ejection_threshold),
        );
    }
    for (priority, limits) in [("default", cluster.default_priority), ("high", cluster.high_priority)] {
        line(&format!("{priority}_priority::max_connections"), &limits.max_connections);
        line(&format!("{priority}_priority::max_pending_requests"), &limits.max_pending_requests);
        line(&format!("{priority}_priority::max_requests"), &limits.max_requests);
        line(&format!("{priority}_priority::max_retries"), &limits.max_retries);
    }
    line("added_via_api", &cluster.added_via_api);
    for host in &cluster.hosts {
        let mut line = |key: &str, value: &dyn Display| line(&format!("{}::{key}", host.address), value);
        for (key, value) in counters(&host.counters) {
            line(key, &value);
        }
        line("hostname", &host.hostname);
        line("health_flags", &host.health);
        line("weight", &host.weight);
        line("region", &host.region);
        line("zone", &host.zone);
        line("sub_zone", &host.sub_zone);
        line("canary", &host.canary);
        line("priority", &host.priority);
        line("success_rate", &rate(host.success_rate));
        line("local_origin_success_rate", &rate(host.local_origin_success_rate));
    }
}

/// A rate that is not known prints as -1.
fn rate(rate: Option<f64>) -> f64 {
    rate.unwrap_or(-1.0)
}

/// In the order in which they are listed.
fn counters(totals: &HostStatsTotals) -> [(&'static str, u64); 9] {
    [
        ("cx_active", totals.cx_active),
        ("cx_connect_fail", totals.cx_connect_fail),
        ("cx_total", totals.cx_total),
        ("rq_active", totals.rq_active),
        ("rq_error", totals.rq_error),
        ("rq_pending_active", totals.rq_pending_active),
        ("rq_success", totals.rq_success),
        ("rq_timeout", totals.rq_timeout),
        ("rq_total", totals.rq_total),
    ]
}

/// As protobuf's JSON has it: what is zero, false or empty is left out.
fn cluster_json(cluster: &ClusterStatus) -> Value {
    let mut status = Map::new();
    status.insert("name".to_owned(), cluster.name.as_str().into());
    if cluster.added_via_api {
        status.insert("added_via_api".to_owned(), true.into());
    }
    if let Some(OutlierReport {
        success_rate_ejection_threshold,
        local_origin_success_rate_ejection_threshold,
        ..
    }) = cluster.outlier
    {
        insert_percent(&mut status, "success_rate_ejection_threshold", success_rate_ejection_threshold);
        let local = local_origin_success_rate_ejection_threshold;
        insert_percent(&mut status, "local_origin_success_rate_ejection_threshold", local);
    }
    if !cluster.hosts.is_empty() {
        let hosts: Vec<Value> = cluster.hosts.iter().map(host_json).collect();
        status.insert("host_statuses".to_owned(), hosts.into());
    }
    let thresholds =
        [limits_json(None, cluster.default_priority), limits_json(Some("HIGH"), cluster.high_priority)];
    status.insert("circuit_breakers".to_owned(), json!({ "thresholds": thresholds }));
    status.insert("observability_name".to_owned(), cluster.observability_name.as_str().into());
    Value::Object(status)
}

fn limits_json(priority: Option<&str>, limits: CircuitBreakerLimits) -> Value {
    let mut json = Map::new();
    json.extend(priority.map(|priority| ("priority".to_owned(), priority.into())));
    json.insert("max_connections".to_owned(), limits.max_connections.into());
    json.insert("max_pending_requests".to_owned(), limits.max_pending_requests.into());
    json.insert("max_requests".to_owned(), limits.max_requests.into());
    json.insert("max_retries".to_owned(), limits.max_retries.into());
    Value::Object(json)
}

fn host_json(host: &HostReport) -> Value {
    let mut status = Map::new();
    status.insert("address".to_owned(), json::address(&host.address));
    let (gauges, counters): (Vec<_>, Vec<_>) =
        counters(&host.counters).into_iter().partition(|(name, _)| name.ends_with("_active"));
    let stat = |(name, value, is_gauge): (&str, u64, bool)| {
        let mut stat = Map::new();
        if is_gauge {
            stat.insert("type".to_owned(), "GAUGE".into());
        }
        if value != 0 {
            stat.insert("value".to_owned(), value.to_string().into());
        }
        stat.insert("name".to_owned(), name.into());
        Value::Object(stat)
    };
    let counters = counters.into_iter().map(|(name, value)| (name, value, false));
    let stats: Vec<Value> =
        counters.chain(gauges.into_iter().map(|(name, value)| (name, value, true))).map(stat).collect();
    status.insert("stats".to_owned(), stats.into());
    status.insert("health_status".to_owned(), health_json(host.health));
    insert_percent(&mut status, "success_rate", host.success_rate);
    status.insert("weight".to_owned(), host.weight.into());
    if !host.hostname.is_empty() {
        status.insert("hostname".to_owned(), host.hostname.as_str().into());
    }
    if host.priority != 0 {
        status.insert("priority".to_owned(), host.priority.into());
    }
    insert_percent(&mut status, "local_origin_success_rate", host.local_origin_success_rate);
    let locality = [("region", &host.region), ("zone", &host.zone), ("sub_zone", &host.sub_zone)];
    let locality = locality.into_iter().filter(|(_, name)| !name.is_empty());
    let locality: Map<String, Value> =
        locality.map(|(key, name)| (key.to_owned(), name.as_str().into())).collect();
    status.insert("locality".to_owned(), locality.into());
    Value::Object(status)
}

fn health_json(health: HealthFlags) -> Value {
    let eds = [
        (HealthFlags::FAILED_EDS_HEALTH, "UNHEALTHY"),
        (HealthFlags::EDS_STATUS_DRAINING, "DRAINING"),
        (HealthFlags::DEGRADED_EDS_HEALTH, "DEGRADED"),
    ];
    let eds = eds.into_iter().find(|(flag, _)| health.intersects(*flag)).map_or("HEALTHY", |(_, name)| name);
    let flag = |name: &str, flag| health.intersects(flag).then(|| (name.to_owned(), true.into()));
    let members = [
        flag("failed_active_health_check", HealthFlags::FAILED_ACTIVE_HC),
        flag("failed_outlier_check", HealthFlags::FAILED_OUTLIER_CHECK),
        Some(("eds_health_status".to_owned(), eds.into())),
        flag("failed_active_degraded_check", HealthFlags::DEGRADED_ACTIVE_HC),
        flag("pending_dynamic_removal", HealthFlags::PENDING_DYNAMIC_REMOVAL),
        flag("pending_active_hc", HealthFlags::PENDING_ACTIVE_HC),
        flag("excluded_via_immediate_hc_fail", HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL),
        flag("active_hc_timeout", HealthFlags::ACTIVE_HC_TIMEOUT),
        flag("failed_degraded_outlier_detection", HealthFlags::DEGRADED_OUTLIER_DETECTION),
    ];
    Value::Object(members.into_iter().flatten().collect())
}

/// As protobuf's JSON has it: whole numbers without a fraction, and an empty message for zero.
fn insert_percent(json: &mut Map<String, Value>, key: &str, percent: Option<f64>) {
    let Some(percent) = percent else { return };
    let value = match percent {
        0.0 => json!({}),
        whole if whole.fract() == 0.0 && whole.abs() < 1e15 => json!({ "value": whole as i64 }),
        fraction => json!({ "value": fraction }),
    };
    json.insert(key.to_owned(), value);
}
