//! The hosts of a cluster (`envoy.config.endpoint.v3.ClusterLoadAssignment`).

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::google::protobuf::value::Kind;

use super::DiscoveryType;
use crate::config::context::wrapped_or;
use crate::config::{Address, Context, FieldPath};

/// Default of `overprovisioning_factor`, per cent.
const DEFAULT_OVERPROVISIONING_FACTOR: u32 = 140;

/// Hosts by locality and priority.
#[derive(Debug, Clone)]
pub struct LoadAssignment {
    /// Groups of endpoints, in order. Priorities may have gaps.
    pub localities: Vec<LocalityEndpoints>,
    /// Per cent by which the healthy hosts of a priority are believed to do more than their share. Default 140.
    pub overprovisioning_factor: u32,
}

impl Default for LoadAssignment {
    fn default() -> Self {
        LoadAssignment { localities: Vec::new(), overprovisioning_factor: DEFAULT_OVERPROVISIONING_FACTOR }
    }
}

/// Endpoints that share a locality and a priority.
#[derive(Debug, Clone)]
pub struct LocalityEndpoints {
    /// Where they are.
    pub locality: Locality,
    /// 0 is used first.
    pub priority: u32,
    /// Weight of the locality for locality-weighted balancing; none gets no traffic there.
    pub load_balancing_weight: Option<u32>,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Locality {
    /// Region; may be empty.
    pub region: String,
    /// Zone; may be empty.
    pub zone: String,
    /// Part of the zone; may be empty.
    pub sub_zone: String,
}

/// A host, or a name that stands for hosts.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// Further addresses to try (happy eyeballs).
    pub additional_addresses: Vec<Address>,
    /// Name used by `auto_host_rewrite`; for DNS clusters the resolved name if none is given. May be empty.
    pub hostname: String,
    /// Share of requests in its locality, at least 1. Default 1.
    pub load_balancing_weight: u32,
    /// Health as configured.
    pub health_status: HealthStatus,
    /// How it is asked for its health.
    pub health_check: EndpointHealthCheck,
    /// `metadata.filter_metadata."envoy.lb".canary`.
    pub canary: bool,
    /// Where the endpoint stands.
    pub path: FieldPath,
}

/// How an endpoint is asked for its health (`Endpoint.HealthCheckConfig`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointHealthCheck {
    /// Where it is asked, if not at its own address. Never [`Address::Name`].
    pub address: Option<Address>,
    /// The port of that address, or of its own; none leaves it.
    pub port: Option<u16>,
    /// `host` of the request; empty leaves it to the cluster.
    pub hostname: String,
    /// It is not asked and counts as healthy.
    pub disable_active_health_check: bool,
}

/// Health of an endpoint as configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HealthStatus {
    /// Not said: counts as healthy.
    #[default]
    Unknown,
    /// Healthy.
    Healthy,
    /// Not to be used.
    Unhealthy,
    /// Not to be used; its connections end.
    Draining,
    /// Not to be used.
    Timeout,
    /// To be used if there are not enough healthy ones.
    Degraded,
}

impl LoadAssignment {
    /// Converts hosts that were discovered: IP addresses and unix sockets.
    pub fn from_discovered(
        proto: &endpoint::ClusterLoadAssignment,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> LoadAssignment {
        if proto.policy.as_ref().is_some_and(|policy| policy.endpoint_stale_after.is_some()) {
            let path = path.field("policy").field("endpoint_stale_after");
            context.error(&path, "endpoint_stale_after is not implemented yet");
        }
        LoadAssignment::from_proto(proto, &DiscoveryType::Static, path, context)
    }

    /// Converts the hosts of a cluster whose hosts are found by `discovery`.
    pub(super) fn from_proto(
        proto: &endpoint::ClusterLoadAssignment,
        discovery: &DiscoveryType,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> LoadAssignment {
        let localities = proto.endpoints.iter().enumerate();
        let localities: Vec<_> = localities
            .map(|(i, locality)| {
                LocalityEndpoints::from_proto(locality, discovery, &path.element("endpoints", i), context)
            })
            .collect();
        if matches!(discovery, DiscoveryType::LogicalDns(_)) {
            let single = localities.len() == 1 && localities[0].endpoints.len() == 1;
            if !single {
                let message =
                    "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint";
                context.error(path, message);
            }
        }
        let policy = proto.policy.as_ref();
        let factor = policy.and_then(|policy| policy.overprovisioning_factor.as_ref());
        LoadAssignment {
            localities,
            overprovisioning_factor: factor.map_or(DEFAULT_OVERPROVISIONING_FACTOR, |factor| factor.value),
        }
    }
}

impl LocalityEndpoints {
    fn from_proto(
        proto: &endpoint::LocalityLbEndpoints,
        discovery: &DiscoveryType,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> LocalityEndpoints {
        let endpoints = proto.lb_endpoints.iter().enumerate();
        LocalityEndpoints {
            locality: proto.locality.as_ref().map(Locality::from).unwrap_or_default(),
            priority: proto.priority,
            load_balancing_weight: proto.load_balancing_weight.as_ref().map(|weight| weight.value),
            endpoints: endpoints
                .filter_map(|(i, endpoint)| {
                    Endpoint::from_proto(endpoint, discovery, &path.element("lb_endpoints", i), context)
                })
                .collect(),
        }
    }
}

impl From<&core::Locality> for Locality {
    fn from(proto: &core::Locality) -> Locality {
        Locality { region: proto.region.clone(), zone: proto.zone.clone(), sub_zone: proto.sub_zone.clone() }
    }
}

impl Endpoint {
    fn from_proto(
        proto: &endpoint::LbEndpoint,
        discovery: &DiscoveryType,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Option<Endpoint> {
        let inner = match &proto.host_identifier {
            Some(endpoint::lb_endpoint::HostIdentifier::Endpoint(inner)) => inner,
            Some(endpoint::lb_endpoint::HostIdentifier::EndpointName(_)) => {
                context.error(&path.field("endpoint_name"), "named endpoints are not implemented yet");
                return None;
            }
            None => {
                context.error(path, "the endpoint is missing");
                return None;
            }
        };
        let endpoint_path = path.field("endpoint");
        let addresses = inner.additional_addresses.iter().enumerate().map(|(i, additional)| {
            let address = additional.address.clone().unwrap_or_default();
            let path = endpoint_path.element("additional_addresses", i).field("address");
            endpoint_address(&address, discovery, &path, context)
        });
        let additional_addresses = addresses.collect();
        let address = inner.address.clone().unwrap_or_default();
        let address = endpoint_address(&address, discovery, &endpoint_path.field("address"), context);
        let hostname = match (&address, inner.hostname.as_str()) {
            (Address::Name { host, .. }, "") => host.clone(),
            (_, hostname) => hostname.to_owned(),
        };
        let health_check = inner.health_check_config.as_ref().map(|health_check| {
            let path = endpoint_path.field("health_check_config");
            EndpointHealthCheck::from_proto(health_check, &address, &path, context)
        });
        Some(Endpoint {
            address,
            additional_addresses,
            hostname,
            load_balancing_weight: wrapped_or!(proto.load_balancing_weight, 1).max(1),
            health_status: match context.enum_value(proto.health_status, &path.field("health_status")) {
                core::HealthStatus::Unknown => HealthStatus::Unknown,
                core::HealthStatus::Healthy => HealthStatus::Healthy,
                core::HealthStatus::Unhealthy => HealthStatus::Unhealthy,
                core::HealthStatus::Draining => HealthStatus::Draining,
                core::HealthStatus::Timeout => HealthStatus::Timeout,
                core::HealthStatus::Degraded => HealthStatus::Degraded,
            },
            health_check: health_check.unwrap_or_default(),
            canary: is_canary(&proto.metadata),
            path: path.clone(),
        })
    }
}

impl EndpointHealthCheck {
    fn from_proto(
        proto: &endpoint::endpoint::HealthCheckConfig,
        own_address: &Address,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> EndpointHealthCheck {
        let address = proto.address.as_ref().map(|address| {
            let help = "names are not resolved for health checks";
            Address::from_proto_without_name(address, &path.field("address"), Some(help), context)
        });
        // More than 65535 breaks the message's own rules.
        let port = u16::try_from(proto.port_value).ok().filter(|port| *port != 0);
        if port.is_some() && matches!(address.as_ref().unwrap_or(own_address), Address::Pipe(_)) {
            context.error(&path.field("port_value"), "a unix socket has no port");
        }
        EndpointHealthCheck {
            address,
            port,
            hostname: proto.hostname.clone(),
            disable_active_health_check: proto.disable_active_health_check,
        }
    }
}

/// An address that is a name only where names are resolved.
fn endpoint_address(
    proto: &core::Address,
    discovery: &DiscoveryType,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Address {
    match discovery {
        DiscoveryType::StrictDns(_) | DiscoveryType::LogicalDns(_) => {
            Address::from_proto(proto, path, context)
        }
        DiscoveryType::Static | DiscoveryType::Eds(_) => {
            let help = "use a cluster of type STRICT_DNS or LOGICAL_DNS for names";
            Address::from_proto_without_name(proto, path, Some(help), context)
        }
    }
}

fn is_canary(metadata: &Option<core::Metadata>) -> bool {
    let fields = metadata.as_ref().and_then(|metadata| metadata.filter_metadata.get("envoy.lb"));
    let canary = fields.and_then(|fields| fields.fields.get("canary"));
    matches!(canary.map(|canary| &canary.kind), Some(Some(Kind::BoolValue(true))))
}
