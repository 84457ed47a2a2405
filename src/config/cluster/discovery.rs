//! How the hosts of a cluster are found (`Cluster.type`, `Cluster.cluster_type`,
//! `envoy.extensions.clusters.dns.v3.DnsCluster`).

use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::extensions::clusters::common::dns::v3 as common_dns;
use envoy_types::pb::envoy::extensions::clusters::dns::v3 as dns;
use prost::Name;

use crate::config::{ConfigSource, Context, FieldPath, TypedExtension};

/// Default of `dns_refresh_rate`.
const DEFAULT_DNS_REFRESH_RATE: Duration = Duration::from_secs(5);

/// How hosts are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiscoveryType {
    /// They are the configured addresses.
    Static,
    /// Every address of every name is a host.
    StrictDns(DnsOptions),
    /// The (single) name is one host; new connections go to its first current address.
    LogicalDns(DnsOptions),
    /// They are discovered.
    Eds(EdsOptions),
}

/// Where the hosts of a cluster are discovered (`Cluster.EdsClusterConfig`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdsOptions {
    /// Where from.
    pub config_source: ConfigSource,
    /// Name of the load assignment: `service_name`, else the cluster's own.
    pub service_name: String,
}

/// How names are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsOptions {
    /// Pause between resolutions. Default 5 s.
    pub refresh_rate: Duration,
    /// Random addition to that pause, at most this. Default 0.
    pub jitter: Duration,
    /// Pause after a failure, first and largest (exponential between); none is the refresh rate.
    pub failure_refresh_rate: Option<(Duration, Duration)>,
    /// Let the records' time to live replace the refresh rate.
    pub respect_ttl: bool,
    /// Shortest pause when a time to live decides. None is no bound.
    pub min_refresh_rate: Option<Duration>,
    /// Which addresses are asked for.
    pub lookup_family: DnsLookupFamily,
}

impl Default for DnsOptions {
    fn default() -> Self {
        DnsOptions {
            refresh_rate: DEFAULT_DNS_REFRESH_RATE,
            jitter: Duration::ZERO,
            failure_refresh_rate: None,
            respect_ttl: false,
            min_refresh_rate: None,
            lookup_family: DnsLookupFamily::Auto,
        }
    }
}

/// Which addresses are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DnsLookupFamily {
    /// IPv6; IPv4 if there are none.
    #[default]
    Auto,
    /// IPv4.
    V4Only,
    /// IPv6.
    V6Only,
    /// IPv4; IPv6 if there are none.
    V4Preferred,
    /// Both.
    All,
}

impl DiscoveryType {
    /// Converts the type of a cluster: `type`, or `cluster_type` by its configuration's type or its name.
    pub(super) fn from_proto(
        proto: &cluster::Cluster,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> DiscoveryType {
        let discovery = DiscoveryType::of_type(proto, path, context);
        if proto.eds_cluster_config.is_some() && !matches!(discovery, DiscoveryType::Eds(_)) {
            context.error(&path.field("eds_cluster_config"), "eds_cluster_config set in a non-EDS cluster");
        }
        discovery
    }

    fn of_type(proto: &cluster::Cluster, path: &FieldPath, context: &mut Context<'_>) -> DiscoveryType {
        use cluster::cluster::{ClusterDiscoveryType, DiscoveryType as Type};
        let custom = match &proto.cluster_discovery_type {
            None => return DiscoveryType::Static,
            Some(ClusterDiscoveryType::Type(number)) => {
                let path_of_type = path.field("type");
                let kind: Type = context.enum_value(*number, &path_of_type);
                return match kind {
                    Type::Static => DiscoveryType::Static,
                    Type::StrictDns => {
                        DiscoveryType::StrictDns(DnsOptions::from_cluster(proto, path, context))
                    }
                    Type::LogicalDns => {
                        DiscoveryType::LogicalDns(DnsOptions::from_cluster(proto, path, context))
                    }
                    Type::Eds => EdsOptions::from_proto(proto, path, context),
                    Type::OriginalDst => {
                        let message = format!("the type {} is not implemented yet", kind.as_str_name());
                        context.error(&path_of_type, message);
                        DiscoveryType::Static
                    }
                };
            }
            Some(ClusterDiscoveryType::ClusterType(custom)) => custom,
        };
        let type_path = path.field("cluster_type");
        if let Some(any) = &custom.typed_config {
            let extension = TypedExtension::from_any(&custom.name, any, type_path.field("typed_config"));
            if extension.type_name() == dns::DnsCluster::full_name() {
                return DiscoveryType::from_dns_cluster(&extension, context);
            }
        }
        match custom.name.as_str() {
            "envoy.cluster.static" => DiscoveryType::Static,
            "envoy.cluster.eds" => EdsOptions::from_proto(proto, path, context),
            "envoy.cluster.strict_dns" => {
                DiscoveryType::StrictDns(DnsOptions::from_cluster(proto, path, context))
            }
            "envoy.cluster.logical_dns" => {
                DiscoveryType::LogicalDns(DnsOptions::from_cluster(proto, path, context))
            }
            name => {
                context.error_with_help(
                    &type_path,
                    format!("the cluster type {name:?} is not implemented"),
                    "envoy.cluster.static, .strict_dns, .logical_dns, .dns and .eds are",
                );
                DiscoveryType::Static
            }
        }
    }

    fn from_dns_cluster(extension: &TypedExtension, context: &mut Context<'_>) -> DiscoveryType {
        use common_dns::DnsLookupFamily as Family;
        let path = &extension.path;
        let proto = extension.decode().unwrap_or_else(|error| {
            context.error(path, error.to_string());
            dns::DnsCluster::default()
        });
        let failure = proto.dns_failure_refresh_rate.as_ref();
        let options = DnsOptions {
            refresh_rate: context.duration_or(
                &proto.dns_refresh_rate,
                DEFAULT_DNS_REFRESH_RATE,
                &path.field("dns_refresh_rate"),
            ),
            jitter: context.duration_or(&proto.dns_jitter, Duration::ZERO, &path.field("dns_jitter")),
            failure_refresh_rate: failure
                .map(|rate| failure_rate(&rate.base_interval, &rate.max_interval, path, context)),
            respect_ttl: proto.respect_dns_ttl,
            min_refresh_rate: context
                .optional_duration(&proto.dns_min_refresh_rate, &path.field("dns_min_refresh_rate")),
            lookup_family: match context.enum_value(proto.dns_lookup_family, &path.field("dns_lookup_family"))
            {
                Family::Unspecified | Family::Auto => DnsLookupFamily::Auto,
                Family::V4Only => DnsLookupFamily::V4Only,
                Family::V6Only => DnsLookupFamily::V6Only,
                Family::V4Preferred => DnsLookupFamily::V4Preferred,
                Family::All => DnsLookupFamily::All,
            },
        };
        if proto.all_addresses_in_single_endpoint {
            DiscoveryType::LogicalDns(options)
        } else {
            DiscoveryType::StrictDns(options)
        }
    }
}

impl EdsOptions {
    fn from_proto(proto: &cluster::Cluster, path: &FieldPath, context: &mut Context<'_>) -> DiscoveryType {
        if proto.load_assignment.is_some() {
            let message = "a cluster of type EDS takes its hosts from eds_cluster_config only";
            context.error(&path.field("load_assignment"), message);
        }
        let eds = proto.eds_cluster_config.as_ref();
        let Some(source) = eds.and_then(|eds| eds.eds_config.as_ref()) else {
            context.error(path, "cannot create an EDS cluster without an EDS config");
            return DiscoveryType::Static;
        };
        let path = path.field("eds_cluster_config").field("eds_config");
        let service_name = eds.map(|eds| eds.service_name.as_str()).filter(|name| !name.is_empty());
        DiscoveryType::Eds(EdsOptions {
            config_source: ConfigSource::from_proto(source, &path, context),
            service_name: service_name.unwrap_or(&proto.name).to_owned(),
        })
    }
}

impl DnsOptions {
    fn from_cluster(proto: &cluster::Cluster, path: &FieldPath, context: &mut Context<'_>) -> DnsOptions {
        use cluster::cluster::DnsLookupFamily as Family;
        let failure = proto.dns_failure_refresh_rate.as_ref();
        DnsOptions {
            refresh_rate: context.duration_or(
                &proto.dns_refresh_rate,
                DEFAULT_DNS_REFRESH_RATE,
                &path.field("dns_refresh_rate"),
            ),
            jitter: context.duration_or(&proto.dns_jitter, Duration::ZERO, &path.field("dns_jitter")),
            failure_refresh_rate: failure
                .map(|rate| failure_rate(&rate.base_interval, &rate.max_interval, path, context)),
            respect_ttl: proto.respect_dns_ttl,
            min_refresh_rate: None,
            lookup_family: match context.enum_value(proto.dns_lookup_family, &path.field("dns_lookup_family"))
            {
                Family::Auto => DnsLookupFamily::Auto,
                Family::V4Only => DnsLookupFamily::V4Only,
                Family::V6Only => DnsLookupFamily::V6Only,
                Family::V4Preferred => DnsLookupFamily::V4Preferred,
                Family::All => DnsLookupFamily::All,
            },
        }
    }
}

/// First and largest pause in the field `dns_failure_refresh_rate` of the message at `path`.
fn failure_rate(
    base: &Option<envoy_types::pb::google::protobuf::Duration>,
    max: &Option<envoy_types::pb::google::protobuf::Duration>,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> (Duration, Duration) {
    let path = path.field("dns_failure_refresh_rate");
    let base = context.duration_or(base, DEFAULT_DNS_REFRESH_RATE, &path.field("base_interval"));
    let max = context.duration_or(max, base.saturating_mul(10), &path.field("max_interval"));
    if max < base {
        let message = "max_interval must be greater than or equal to the base_interval";
        context.error(&path.field("max_interval"), message);
    }
    (base, max)
}
