//! The configuration in force, as `/config_dump` shows it (`envoy.admin.v3.ConfigDump`): what the bootstrap
//! brought, and what came since.

use serde_json::{Map, Value, json};

use crate::api;
use crate::config::cluster::{DiscoveryType, Locality};
use crate::io::Address;
use crate::upstream::{ClusterStatus, HostStatus};

use super::admin_state::Process;
use super::dynamic::{RouteDump, SecretDump, set_list, timestamp};

/// The sections of `/config_dump`, in Envoy's order.
pub fn config_dump(process: &Process, include_eds: bool) -> Vec<Value> {
    let dynamic = &process.dynamic;
    let updated = timestamp(process.configured);
    let bootstrap = api::to_json(&process.configuration.loaded.dynamic);
    let static_resources = |name: &str| -> Vec<Value> {
        let all = bootstrap.get("static_resources").and_then(|resources| resources.get(name));
        all.and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let wrap = |resource: Value, field: &str, message: &str| {
        let mut inner = Map::new();
        inner.insert("@type".into(), format!("type.googleapis.com/{message}").into());
        inner.extend(resource.as_object().cloned().unwrap_or_default());
        json!({ field: inner, "last_updated": updated })
    };
    let clusters: Vec<Value> = static_resources("clusters")
        .into_iter()
        .map(|cluster| wrap(cluster, "cluster", "envoy.config.cluster.v3.Cluster"))
        .collect();
    let listeners: Vec<Value> = static_resources("listeners")
        .into_iter()
        .map(|listener| wrap(listener, "listener", "envoy.config.listener.v3.Listener"))
        .collect();
    let routes = static_resources("listeners").iter().flat_map(route_configurations).collect::<Vec<_>>();
    let routes: Vec<Value> = routes
        .into_iter()
        .map(|table| wrap(table, "route_config", "envoy.config.route.v3.RouteConfiguration"))
        .collect();

    let mut cluster_section = section("ClustersConfigDump");
    set_list(&mut cluster_section, "static_clusters", clusters);
    dynamic.clusters.dump().write(&mut cluster_section);
    let mut listener_section = section("ListenersConfigDump");
    set_list(&mut listener_section, "static_listeners", listeners);
    dynamic.lds.dump().write(&mut listener_section);
    let mut route_section = section("RoutesConfigDump");
    set_list(&mut route_section, "static_route_configs", routes);
    let discovered = dynamic.routes.dump().iter().filter_map(RouteDump::to_json).collect();
    set_list(&mut route_section, "dynamic_route_configs", discovered);

    let mut secret_section = section("SecretsConfigDump");
    let secrets = static_resources("secrets").into_iter().map(|secret| {
        let name = secret.get("name").cloned().unwrap_or_default();
        let mut shown = wrap(secret, "secret", "envoy.extensions.transport_sockets.tls.v3.Secret");
        if let Some(fields) = shown.as_object_mut() {
            fields.insert("name".to_owned(), name);
        }
        shown
    });
    set_list(&mut secret_section, "static_secrets", secrets.collect());
    let (active, warming): (Vec<_>, Vec<_>) =
        dynamic.secrets.dump().into_iter().partition(|secret| secret.resource.is_some());
    let list = |secrets: Vec<SecretDump>| secrets.iter().map(SecretDump::to_json).collect();
    set_list(&mut secret_section, "dynamic_active_secrets", list(active));
    set_list(&mut secret_section, "dynamic_warming_secrets", list(warming));

    let mut bootstrap_section = section("BootstrapConfigDump");
    bootstrap_section.insert("bootstrap".to_owned(), bootstrap);
    bootstrap_section.insert("last_updated".to_owned(), updated.into());
    let mut sections = vec![bootstrap_section, cluster_section];
    if include_eds {
        sections.push(endpoints(process));
    }
    sections.extend([listener_section, route_section, secret_section]);
    sections.into_iter().map(Value::from).collect()
}

fn section(message: &str) -> Map<String, Value> {
    let kind = format!("type.googleapis.com/envoy.admin.v3.{message}");
    Map::from_iter([("@type".to_owned(), Value::from(kind))])
}

/// The hosts of all clusters, as load assignments (`envoy.admin.v3.EndpointsConfigDump`).
fn endpoints(process: &Process) -> Map<String, Value> {
    let (mut fixed, mut discovered) = (Vec::new(), Vec::new());
    for cluster in process.dynamic.around.clusters.statuses() {
        let assignment = load_assignment(&cluster);
        if process.dynamic.clusters.is_dynamic(&cluster.info.name) {
            discovered.push(json!({ "endpoint_config": assignment }));
        } else {
            fixed.push(json!({ "endpoint_config": assignment }));
        }
    }
    let mut section = section("EndpointsConfigDump");
    set_list(&mut section, "static_endpoint_configs", fixed);
    set_list(&mut section, "dynamic_endpoint_configs", discovered);
    section
}

fn load_assignment(cluster: &ClusterStatus) -> Value {
    let config = &cluster.info.config;
    let name = match &config.discovery {
        DiscoveryType::Eds(eds) => &eds.service_name,
        _ => &config.name,
    };
    // Hosts of one locality and priority stand together, in the order in which they came.
    let mut groups: Vec<((&Locality, u32), Vec<Value>)> = Vec::new();
    for host in &cluster.hosts {
        let key = (&*host.locality, host.priority);
        let endpoint = endpoint(host);
        match groups.iter_mut().find(|(other, _)| *other == key) {
            Some((_, endpoints)) => endpoints.push(endpoint),
            None => groups.push((key, vec![endpoint])),
        }
    }
    let groups = groups.into_iter().map(|((locality, priority), endpoints)| {
        let place =
            [("region", &locality.region), ("zone", &locality.zone), ("sub_zone", &locality.sub_zone)];
        let place = place.into_iter().filter(|(_, name)| !name.is_empty());
        let place: Map<String, Value> =
            place.map(|(key, name)| (key.to_owned(), name.as_str().into())).collect();
        let mut group = Map::from_iter([
            ("locality".to_owned(), place.into()),
            ("lb_endpoints".to_owned(), endpoints.into()),
        ]);
        if priority != 0 {
            group.insert("priority".to_owned(), priority.into());
        }
        Value::from(group)
    });
    let groups: Vec<Value> = groups.collect();
    json!({
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": name,
        "endpoints": groups,
        "policy": { "overprovisioning_factor": cluster.overprovisioning_percent },
    })
}

fn endpoint(host: &HostStatus) -> Value {
    let address = match &host.address {
        Address::Ip(ip) => {
            json!({ "socket_address": { "address": ip.ip().to_string(), "port_value": ip.port() } })
        }
        Address::Unix(path) => json!({ "pipe": { "path": path.to_string_lossy() } }),
    };
    let mut endpoint = Map::from_iter([("address".to_owned(), address)]);
    if !host.hostname.is_empty() {
        endpoint.insert("hostname".to_owned(), (&*host.hostname).into());
    }
    let health = match host.health_flags {
        flags if flags.is_degraded() => "DEGRADED",
        flags if flags.is_healthy() => "HEALTHY",
        _ => "UNHEALTHY",
    };
    json!({
        "endpoint": endpoint,
        "health_status": health,
        "load_balancing_weight": host.weight,
    })
}

/// The route tables inside a listener.
fn route_configurations(listener: &Value) -> Vec<Value> {
    let list =
        |value: &Value, field: &str| value.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut chains = list(listener, "filter_chains");
    chains.extend(listener.get("default_filter_chain").cloned());
    let filters = chains.iter().flat_map(|chain| list(chain, "filters"));
    let tables = filters.filter_map(|filter| filter.get("typed_config")?.get("route_config").cloned());
    tables.collect()
}
