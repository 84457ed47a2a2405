//! How a host is chosen (`Cluster.lb_policy`, `envoy.config.cluster.v3.LoadBalancingPolicy`,
//! `envoy.extensions.load_balancing_policies.*`).

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::load_balancing_policies::least_request::v3 as least_request;
use envoy_types::pb::envoy::extensions::load_balancing_policies::random::v3::Random;
use envoy_types::pb::envoy::extensions::load_balancing_policies::round_robin::v3::RoundRobin;
use prost::Name;

use crate::config::context::wrapped_or;
use crate::config::{Context, FieldPath, RuntimeDouble, TypedExtension};

/// Default of `choice_count`.
const DEFAULT_CHOICE_COUNT: u32 = 2;

/// How a host is chosen.
#[derive(Debug, Clone, PartialEq)]
pub enum LbPolicy {
    /// In turn, by weight.
    RoundRobin,
    /// The one with fewest active requests.
    LeastRequest {
        /// Hosts drawn when all weights are equal. Default 2.
        choice_count: u32,
        /// Exponent of the active requests when weights differ. Default 1.0.
        active_request_bias: RuntimeDouble,
        /// How candidates are drawn when all weights are equal.
        selection: LeastRequestSelection,
    },
    /// By chance.
    Random,
}

/// How least request draws candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LeastRequestSelection {
    /// `choice_count` at random.
    #[default]
    NChoices,
    /// All hosts.
    FullScan,
}

/// Rules of choosing that all policies share.
#[derive(Debug, Clone, PartialEq)]
pub struct CommonLbConfig {
    /// With a smaller share of healthy hosts than this, per cent, health is ignored. Default 50; 0 turns it off.
    pub healthy_panic_threshold_percent: f64,
    /// With so small a share of healthy hosts fail requests instead. Default false.
    pub fail_traffic_on_panic: bool,
    /// Leave new hosts out of all shares until their first health check. Default false.
    pub ignore_new_hosts_until_first_hc: bool,
    /// Close connections when hosts are added or removed.
    pub close_connections_on_host_set_change: bool,
}

impl Default for CommonLbConfig {
    fn default() -> Self {
        CommonLbConfig {
            healthy_panic_threshold_percent: 50.0,
            fail_traffic_on_panic: false,
            ignore_new_hosts_until_first_hc: false,
            close_connections_on_host_set_change: false,
        }
    }
}

impl CommonLbConfig {
    pub(super) fn from_proto(proto: &cluster::cluster::CommonLbConfig) -> CommonLbConfig {
        use cluster::cluster::common_lb_config::LocalityConfigSpecifier;
        let default = CommonLbConfig::default();
        let fail_traffic_on_panic = match &proto.locality_config_specifier {
            Some(LocalityConfigSpecifier::ZoneAwareLbConfig(zones)) => zones.fail_traffic_on_panic,
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(_)) | None => false,
        };
        CommonLbConfig {
            healthy_panic_threshold_percent: wrapped_or!(
                proto.healthy_panic_threshold,
                default.healthy_panic_threshold_percent
            ),
            fail_traffic_on_panic,
            ignore_new_hosts_until_first_hc: proto.ignore_new_hosts_until_first_hc,
            close_connections_on_host_set_change: proto.close_connections_on_host_set_change,
        }
    }
}

impl LbPolicy {
    /// Converts the policy of a cluster: `load_balancing_policy` where set, else `lb_policy`.
    pub(super) fn from_proto(
        proto: &cluster::Cluster,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> LbPolicy {
        use cluster::cluster::{LbConfig, LbPolicy as Policy};
        if let Some(list) = &proto.load_balancing_policy {
            return LbPolicy::from_list(list, &path.field("load_balancing_policy"), context);
        }
        let path = path.field("lb_policy");
        let policy: Policy = context.enum_value(proto.lb_policy, &path);
        match policy {
            Policy::RoundRobin => LbPolicy::RoundRobin,
            Policy::Random => LbPolicy::Random,
            Policy::LeastRequest => match &proto.lb_config {
                Some(LbConfig::LeastRequestLbConfig(config)) => LbPolicy::least_request(
                    wrapped_or!(config.choice_count, DEFAULT_CHOICE_COUNT),
                    &config.active_request_bias,
                    LeastRequestSelection::NChoices,
                ),
                _ => LbPolicy::least_request(DEFAULT_CHOICE_COUNT, &None, LeastRequestSelection::NChoices),
            },
            Policy::LoadBalancingPolicyConfig => {
                context.error(&path, "the field load_balancing_policy needs to be set");
                LbPolicy::RoundRobin
            }
            Policy::ClusterProvided => {
                context.error(&path, "this type of cluster provides no balancer");
                LbPolicy::RoundRobin
            }
            Policy::RingHash | Policy::Maglev => {
                let message = format!("the policy {} is not implemented yet", policy.as_str_name());
                context.error(&path, message);
                LbPolicy::RoundRobin
            }
        }
    }

    /// The first policy of the list that is known.
    fn from_list(
        proto: &cluster::LoadBalancingPolicy,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> LbPolicy {
        let mut unknown = Vec::new();
        for (i, policy) in proto.policies.iter().enumerate() {
            let path = path.element("policies", i).field("typed_extension_config");
            let config = policy.typed_extension_config.clone().unwrap_or_default();
            let extension = TypedExtension::from_proto(&config, &path);
            let name = extension.type_name();
            if name == RoundRobin::full_name() {
                return LbPolicy::RoundRobin;
            } else if name == Random::full_name() {
                return LbPolicy::Random;
            } else if name == least_request::LeastRequest::full_name() {
                return LbPolicy::from_least_request(&extension, context);
            }
            unknown.push(name.to_owned());
        }
        let message = format!("no policy of the list is implemented: [{}]", unknown.join(", "));
        context.error_with_help(path, message, "round_robin, least_request and random are");
        LbPolicy::RoundRobin
    }

    fn from_least_request(extension: &TypedExtension, context: &mut Context<'_>) -> LbPolicy {
        use least_request::least_request::SelectionMethod;
        let proto = extension.decode().unwrap_or_else(|error| {
            context.error(&extension.path, error.to_string());
            least_request::LeastRequest::default()
        });
        let method: SelectionMethod =
            context.enum_value(proto.selection_method, &extension.path.field("selection_method"));
        let full_scan = method == SelectionMethod::FullScan || wrapped_or!(proto.enable_full_scan, false);
        LbPolicy::least_request(
            wrapped_or!(proto.choice_count, DEFAULT_CHOICE_COUNT),
            &proto.active_request_bias,
            if full_scan { LeastRequestSelection::FullScan } else { LeastRequestSelection::NChoices },
        )
    }

    fn least_request(
        choice_count: u32,
        bias: &Option<core::RuntimeDouble>,
        selection: LeastRequestSelection,
    ) -> LbPolicy {
        let unset = RuntimeDouble { default: 1.0, runtime_key: String::new() };
        let active_request_bias = bias.as_ref().map_or(unset, RuntimeDouble::from);
        LbPolicy::LeastRequest { choice_count, active_request_bias, selection }
    }
}
