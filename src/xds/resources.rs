//! The types of resources, and from a resource of each to its runtime model. Errors go to the context, with
//! paths that the response knows the places of.

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::endpoint::v3 as endpoint;
use envoy_types::pb::envoy::config::listener::v3 as listener;
use envoy_types::pb::envoy::config::route::v3 as route;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use prost::Message;

use crate::api::LoadedResource;
use crate::config::cluster::LoadAssignment;
use crate::config::tls::Secret;
use crate::config::{Cluster, Context, FieldPath, Listener, RouteConfiguration};

/// Type of clusters (CDS).
pub const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";
/// Type of load assignments (EDS).
pub const CLUSTER_LOAD_ASSIGNMENT: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";
/// Type of listeners (LDS).
pub const LISTENER: &str = "envoy.config.listener.v3.Listener";
/// Type of route tables (RDS).
pub const ROUTE_CONFIGURATION: &str = "envoy.config.route.v3.RouteConfiguration";

/// Type of secrets (SDS).
pub const SECRET: &str = "envoy.extensions.transport_sockets.tls.v3.Secret";

/// Converts a cluster.
pub fn cluster(resource: &LoadedResource, context: &mut Context<'_>) -> Cluster {
    let (proto, path) = decode::<cluster::Cluster>(resource, context);
    Cluster::from_proto(&proto, &path, context)
}

/// Converts the hosts of a cluster.
pub fn load_assignment(resource: &LoadedResource, context: &mut Context<'_>) -> LoadAssignment {
    let (proto, path) = decode::<endpoint::ClusterLoadAssignment>(resource, context);
    LoadAssignment::from_discovered(&proto, &path, context)
}

/// Converts a listener.
pub fn listener(resource: &LoadedResource, context: &mut Context<'_>) -> Listener {
    let (proto, path) = decode::<listener::Listener>(resource, context);
    Listener::from_proto(&proto, &path, context)
}

/// Converts a route table, which may name clusters that do not exist unless it says otherwise.
pub fn route_configuration(resource: &LoadedResource, context: &mut Context<'_>) -> RouteConfiguration {
    let (proto, path) = decode::<route::RouteConfiguration>(resource, context);
    RouteConfiguration::from_proto(&proto, false, &path, context)
}

/// Converts a secret; none if it cannot be used.
pub fn secret(resource: &LoadedResource, context: &mut Context<'_>) -> Option<Secret> {
    let (proto, path) = decode::<tls::Secret>(resource, context);
    Secret::from_proto(&proto, &path, context)
}

fn decode<T: Message + Default>(resource: &LoadedResource, context: &mut Context<'_>) -> (T, FieldPath) {
    let path = FieldPath(resource.path.clone());
    let typed = resource.message.transcode_to().unwrap_or_else(|error| {
        context.error(&path, format!("nested too deeply: {error}"));
        T::default()
    });
    (typed, path)
}
