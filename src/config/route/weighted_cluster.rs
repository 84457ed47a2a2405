//! Splitting traffic among clusters (`envoy.config.route.v3.WeightedCluster`).

use envoy_types::pb::envoy::config::route::v3 as route;

use crate::config::context::wrapped_or;
use crate::config::{Context, FieldPath, HeaderMutations, PerFilterConfigs};

/// Clusters with weights.
#[derive(Debug, Clone)]
pub struct WeightedClusters {
    /// Never empty.
    pub clusters: Vec<ClusterWeight>,
    /// Sum of the weights; never 0.
    pub total_weight: u32,
    /// Runtime keys `<prefix>.<cluster>` override weights; empty for none.
    pub runtime_key_prefix: String,
    /// Lower-case name of a header whose (decimal) value decides instead of chance; empty for none.
    pub random_value_header: String,
}

/// One of the clusters.
#[derive(Debug, Clone)]
pub struct ClusterWeight {
    /// Its name; empty if a header names it.
    pub name: String,
    /// Lower-case name of the header that names the cluster; empty if `name` is set.
    pub cluster_header: String,
    /// Its share of the total.
    pub weight: u32,
    /// Changes to requests.
    pub request_headers: HeaderMutations,
    /// Changes to responses.
    pub response_headers: HeaderMutations,
    /// Per-filter configuration.
    pub per_filter: PerFilterConfigs,
    /// Sets the authority.
    pub host_rewrite_literal: Option<String>,
}

impl WeightedClusters {
    /// Converts the clusters. Their weights must not sum to 0 or to more than `u32::MAX`.
    pub fn from_proto(
        proto: &route::WeightedCluster,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> WeightedClusters {
        use route::weighted_cluster::RandomValueSpecifier;
        let clusters = proto.clusters.iter().enumerate();
        let clusters: Vec<_> = clusters
            .map(|(i, cluster)| ClusterWeight::from_proto(cluster, &path.element("clusters", i), context))
            .collect();
        let total: u64 = clusters.iter().map(|cluster| u64::from(cluster.weight)).sum();
        if total == 0 {
            context.error(path, "the sum of the weights must be greater than 0");
        }
        let total_weight = u32::try_from(total).unwrap_or_else(|_| {
            context.error(path, format!("the sum of the weights is {total}, more than {}", u32::MAX));
            u32::MAX
        });
        let random_value_header = match &proto.random_value_specifier {
            Some(RandomValueSpecifier::HeaderName(name)) => {
                context.header_name(name, &path.field("header_name"))
            }
            Some(RandomValueSpecifier::UseHashPolicy(hash)) => {
                if hash.value {
                    context.error(&path.field("use_hash_policy"), "use_hash_policy is not implemented yet");
                }
                String::new()
            }
            None => String::new(),
        };
        WeightedClusters {
            clusters,
            total_weight,
            runtime_key_prefix: proto.runtime_key_prefix.clone(),
            random_value_header,
        }
    }
}

impl ClusterWeight {
    fn from_proto(
        proto: &route::weighted_cluster::ClusterWeight,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> ClusterWeight {
        use route::weighted_cluster::cluster_weight::HostRewriteSpecifier;
        match (proto.name.is_empty(), proto.cluster_header.is_empty()) {
            (true, true) => context.error(path, "one of name and cluster_header must be specified"),
            (false, false) => context.error(path, "only one of name and cluster_header may be specified"),
            _ => {}
        }
        let cluster_header = match proto.cluster_header.as_str() {
            "" => String::new(),
            name => context.header_name(name, &path.field("cluster_header")),
        };
        ClusterWeight {
            name: proto.name.clone(),
            cluster_header,
            weight: wrapped_or!(proto.weight, 0),
            request_headers: HeaderMutations::from_proto(
                &proto.request_headers_to_add,
                &proto.request_headers_to_remove,
                "request",
                path,
                context,
            ),
            response_headers: HeaderMutations::from_proto(
                &proto.response_headers_to_add,
                &proto.response_headers_to_remove,
                "response",
                path,
                context,
            ),
            per_filter: PerFilterConfigs::from_proto(&proto.typed_per_filter_config, path, context),
            host_rewrite_literal: proto
                .host_rewrite_specifier
                .as_ref()
                .map(|HostRewriteSpecifier::HostRewriteLiteral(host)| host.clone()),
        }
    }
}
