//! Which HTTP a cluster's hosts are spoken to in, and with which options
//! (`envoy.extensions.upstreams.http.v3.HttpProtocolOptions`, or the cluster's own, deprecated, fields).

use envoy_types::pb::envoy::config::cluster::v3 as cluster;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as proto;
use prost::Name;

use crate::config::http_protocol::request_limit;
use crate::config::{CommonHttpOptions, Context, FieldPath, Http1Options, Http2Options, TypedExtension};

/// The one key of `typed_extension_protocol_options` that is known.
const KEY: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// Which HTTP is spoken to hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge, or by ALPN over TLS.
    Http2,
    /// The one that the client speaks.
    Downstream,
    /// The one that a host chooses of HTTP/2 and HTTP/1.1 by ALPN; HTTP/1.1 if it chooses none.
    Auto,
}

/// Requests decide whom their connections are with (`upstream_http_protocol_options`): the host that they are for, or
/// what a header of theirs says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AutoPeerName {
    /// Servers are asked for that name.
    pub sni: bool,
    /// Their certificates must have it.
    pub san_validation: bool,
    /// The header that says it, if it is there and not empty.
    pub header: Option<String>,
}

/// HTTP options of a cluster.
pub(super) struct HttpOptions {
    pub(super) common: CommonHttpOptions,
    pub(super) http1: Http1Options,
    pub(super) http2: Http2Options,
    pub(super) protocol: UpstreamProtocol,
    pub(super) auto_peer_name: Option<AutoPeerName>,
}

/// The messages that say what is spoken, and where they stand.
#[derive(Default)]
struct Source {
    common: Option<core::HttpProtocolOptions>,
    http1: Option<core::Http1ProtocolOptions>,
    http2: Option<core::Http2ProtocolOptions>,
    protocol: UpstreamProtocol,
    upstream: Option<core::UpstreamHttpProtocolOptions>,
    /// Of the message that has the options of all versions.
    path: FieldPath,
    /// Of the message that has those of one version.
    version_path: FieldPath,
}

impl HttpOptions {
    /// Converts the options: those of the extension where there is one.
    pub(super) fn from_proto(
        cluster: &cluster::Cluster,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> HttpOptions {
        let source = match find_extension(cluster, path, context) {
            Some((options, path)) => Source::from_extension(&options, &path, context),
            None => Source::from_cluster(cluster, path),
        };
        let common_path = source.path.field("common_http_protocol_options");
        let common_proto = source.common.unwrap_or_default();
        let mut common = CommonHttpOptions::from_proto(&common_proto, &common_path, context);
        if cluster.max_requests_per_connection.is_some() {
            if common.max_requests_per_connection.is_some() {
                context.error(
                    &common_path.field("max_requests_per_connection"),
                    "max_requests_per_connection must be set only once: here or in the cluster",
                );
            }
            common.max_requests_per_connection = request_limit(&cluster.max_requests_per_connection);
        }
        let http1_path = source.version_path.field("http_protocol_options");
        let http2_path = source.version_path.field("http2_protocol_options");
        let http1 = source.http1.unwrap_or_default();
        let http2 = source.http2.unwrap_or_default();
        HttpOptions {
            common,
            http1: Http1Options::from_proto(&http1, &http1_path, context),
            http2: Http2Options::from_proto(&http2, Http2Options::client(), &http2_path, context),
            protocol: source.protocol,
            auto_peer_name: auto_peer_name(&source.upstream.unwrap_or_default(), &source.path, context),
        }
    }
}

impl Source {
    fn from_cluster(cluster: &cluster::Cluster, path: &FieldPath) -> Source {
        let selects = cluster::cluster::ClusterProtocolSelection::UseDownstreamProtocol;
        Source {
            common: cluster.common_http_protocol_options,
            http1: cluster.http_protocol_options.clone(),
            http2: cluster.http2_protocol_options.clone(),
            upstream: cluster.upstream_http_protocol_options.clone(),
            protocol: if cluster.protocol_selection == selects as i32 {
                UpstreamProtocol::Downstream
            } else if cluster.http2_protocol_options.is_some() {
                UpstreamProtocol::Http2
            } else {
                UpstreamProtocol::Http1
            },
            path: path.clone(),
            version_path: path.clone(),
        }
    }

    fn from_extension(
        options: &proto::HttpProtocolOptions,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Source {
        use proto::http_protocol_options::UpstreamProtocolOptions as Options;
        use proto::http_protocol_options::explicit_http_config::ProtocolConfig;
        let common = options.common_http_protocol_options;
        let upstream = options.upstream_http_protocol_options.clone();
        let mut source =
            Source { common, upstream, path: path.clone(), version_path: path.clone(), ..Source::default() };
        let mut refuse = |path: &FieldPath, message: &str| context.error(path, message);
        match &options.upstream_protocol_options {
            Some(Options::ExplicitHttpConfig(explicit)) => {
                source.version_path = path.field("explicit_http_config");
                match &explicit.protocol_config {
                    Some(ProtocolConfig::HttpProtocolOptions(http1)) => source.http1 = Some(http1.clone()),
                    Some(ProtocolConfig::Http2ProtocolOptions(http2)) => {
                        source.protocol = UpstreamProtocol::Http2;
                        source.http2 = Some(http2.clone());
                    }
                    Some(ProtocolConfig::Http3ProtocolOptions(_)) => refuse(
                        &source.version_path.field("http3_protocol_options"),
                        "HTTP/3 upstream is not implemented yet",
                    ),
                    None => refuse(&source.version_path, "a protocol_config is required"),
                }
            }
            Some(Options::UseDownstreamProtocolConfig(config)) => {
                source.version_path = path.field("use_downstream_protocol_config");
                source.protocol = UpstreamProtocol::Downstream;
                source.http1 = config.http_protocol_options.clone();
                source.http2 = config.http2_protocol_options.clone();
            }
            Some(Options::AutoConfig(config)) => {
                source.version_path = path.field("auto_config");
                source.protocol = UpstreamProtocol::Auto;
                source.http1 = config.http_protocol_options.clone();
                source.http2 = config.http2_protocol_options.clone();
            }
            None => refuse(
                path,
                "one of explicit_http_config, use_downstream_protocol_config, auto_config is required",
            ),
        }
        source
    }
}

fn auto_peer_name(
    options: &core::UpstreamHttpProtocolOptions,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Option<AutoPeerName> {
    let path = path.field("upstream_http_protocol_options").field("override_auto_sni_header");
    let header = match options.override_auto_sni_header.as_str() {
        "" => None,
        name => Some(context.header_name(name, &path)),
    };
    let (sni, san_validation) = (options.auto_sni, options.auto_san_validation);
    (sni || san_validation).then_some(AutoPeerName { sni, san_validation, header })
}

/// The extension's message and where it stands.
fn find_extension(
    cluster: &cluster::Cluster,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> Option<(proto::HttpProtocolOptions, FieldPath)> {
    let mut found = None;
    for (name, any) in &cluster.typed_extension_protocol_options {
        let path = path.entry("typed_extension_protocol_options", name);
        let options = TypedExtension::from_any(name, any, path);
        if name != KEY {
            let message = format!("there are no protocol options {name:?}");
            context.error_with_help(&options.path, message, format!("the key must be {KEY}"));
            continue;
        }
        if options.type_name() != proto::HttpProtocolOptions::full_name() {
            let message = format!("protocol options of type {} are not implemented", options.type_name());
            context.error(&options.path, message);
            continue;
        }
        match options.decode::<proto::HttpProtocolOptions>() {
            Ok(decoded) => found = Some((decoded, options.path)),
            Err(error) => context.error(&options.path, error.to_string()),
        }
    }
    found
}
