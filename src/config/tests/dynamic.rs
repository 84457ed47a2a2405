//! Sources of dynamic configuration: what is taken, and what is refused by name.

use std::time::Duration;

use super::{Parts, load};
use crate::config::cluster::DiscoveryType;
use crate::config::{FileSource, NetworkFilter, RouteSpecifier};

const MANAGER: &str =
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
const ROUTER: &str = r#"{name: r, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}"#;

#[test]
fn listeners_and_clusters_come_from_files() {
    let config = load(
        "dynamic_resources:
  lds_config: {path: /there}
  cds_config:
    path_config_source: {path: /there, watched_directory: {path: /there}}
    initial_fetch_timeout: 0s
    resource_api_version: V3",
    )
    .expect("valid");
    let (lds, cds) = (config.dynamic_resources.lds.expect("lds"), config.dynamic_resources.cds.expect("cds"));
    assert_eq!(lds.file(), &FileSource { path: "/there".into(), watched_directory: None });
    assert_eq!(lds.initial_fetch_timeout, Some(Duration::from_secs(15)));
    assert_eq!(cds.file().watched_directory.as_deref(), Some("/there"));
    assert_eq!(cds.initial_fetch_timeout, None, "zero waits for ever");
}

#[test]
fn other_sources_are_refused_by_name() {
    for (source, error) in [
        (
            "{path: /missing}",
            "lds_config.path: '/missing' must exist before it can be watched: entity not found",
        ),
        (
            "{path: /there, resource_api_version: V2}",
            "lds_config.resource_api_version: V2 (AUTO is the default) is no longer supported",
        ),
        ("{ads: {}}", "lds_config.ads: `ads` is not supported by Ringway yet"),
        (
            "{api_config_source: {api_type: GRPC}}",
            "lds_config.api_config_source: `api_config_source` is not supported",
        ),
    ] {
        let errors = load(&format!("dynamic_resources: {{lds_config: {source}}}")).expect_err(source);
        assert!(errors[0].contains(error), "{source}: {errors:?}");
    }
    let errors = load("dynamic_resources: {cds_config: {}}").expect_err("refused, as by Envoy");
    assert!(errors[0].contains("is required"), "{errors:?}");
}

#[test]
fn route_tables_can_be_discovered() {
    let config = load(&format!(
        "static_resources:
  listeners:
  - name: l
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: m
        typed_config:
          \"@type\": {MANAGER}
          stat_prefix: x
          rds: {{route_config_name: table, config_source: {{path: /there}}}}
          http_filters: [{ROUTER}]"
    ))
    .expect("valid");
    let NetworkFilter::HttpConnectionManager(manager) = &config.listeners[0].filter_chains[0].filters[0]
    else {
        panic!("no connection manager")
    };
    let RouteSpecifier::Rds(rds) = &manager.routes else { panic!("no rds") };
    assert_eq!((rds.route_config_name.as_str(), rds.config_source.file().path.as_str()), ("table", "/there"));
}

#[test]
fn hosts_can_be_discovered() {
    let clusters = "- {name: a, type: EDS, eds_cluster_config: {eds_config: {path: /there}}}\n- {name: b, cluster_type: {name: envoy.cluster.eds}, eds_cluster_config: {service_name: s, eds_config: {path: /there}}}";
    let config = Parts { clusters, ..Parts::default() }.config();
    let names: Vec<&str> = config
        .clusters
        .iter()
        .filter_map(|cluster| match &cluster.discovery {
            DiscoveryType::Eds(eds) => Some(eds.service_name.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(names, ["a", "s"]);
    for (cluster, error) in [
        ("{name: a, type: EDS}", "cannot create an EDS cluster without an EDS config"),
        (
            "{name: a, type: STATIC, eds_cluster_config: {eds_config: {path: /there}}}",
            "eds_cluster_config set in a non-EDS cluster",
        ),
        (
            "{name: a, type: EDS, load_assignment: {cluster_name: a}, eds_cluster_config: {eds_config: {path: /there}}}",
            "takes its hosts from eds_cluster_config only",
        ),
    ] {
        let found = Parts { clusters: &format!("- {cluster}"), ..Parts::default() }.error();
        assert!(found.contains(error), "{found}");
    }
}
