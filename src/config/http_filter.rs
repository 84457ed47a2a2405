//! HTTP filters of a connection manager and their per-route configuration
//! (`HttpFilter`, `typed_per_filter_config`, `envoy.config.route.v3.FilterConfig`). All stay opaque here.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::route::v3::FilterConfig;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::google::protobuf::Any;
use prost::Name;

use super::{Context, FieldPath, TypedExtension};

/// Types of filters that end a chain.
const TERMINAL_FILTER_TYPES: &[&str] = &["envoy.extensions.filters.http.router.v3.Router"];

/// One HTTP filter of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpFilter {
    /// Name of the instance; unique in the chain, and the key of per-route configuration.
    pub name: String,
    /// Its configuration.
    pub config: TypedExtension,
    /// Skip the filter instead of refusing the configuration if its type is unknown.
    pub is_optional: bool,
    /// Off unless a route turns it on.
    pub disabled: bool,
}

impl HttpFilter {
    /// Converts the filters in the list field `http_filters` of the message at `path`. A chain that is not empty
    /// must have its one terminal filter at its end.
    pub fn chain(protos: &[hcm::HttpFilter], path: &FieldPath, context: &mut Context<'_>) -> Vec<HttpFilter> {
        let filters = protos.iter().enumerate();
        let filters: Vec<_> = filters
            .filter_map(|(i, proto)| HttpFilter::from_proto(proto, &path.element("http_filters", i), context))
            .collect();
        for (i, filter) in filters.iter().enumerate() {
            let type_name = filter.config.type_name();
            let terminal = TERMINAL_FILTER_TYPES.contains(&type_name);
            let last = i + 1 == filters.len();
            let problem = match (terminal, last) {
                (true, false) => "must be the last filter of an HTTP filter chain",
                (false, true) => {
                    "is not terminal: the last filter of an HTTP filter chain must be the router"
                }
                (true, true) if filter.disabled => "ends the HTTP filter chain: it cannot be disabled",
                _ => continue,
            };
            let message = format!("the filter {} of type {type_name} {problem}", filter.name);
            context.error(&path.element("http_filters", i), message);
        }
        filters
    }

    fn from_proto(
        proto: &hcm::HttpFilter,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Option<HttpFilter> {
        let any = match &proto.config_type {
            Some(hcm::http_filter::ConfigType::TypedConfig(any)) => any,
            Some(hcm::http_filter::ConfigType::ConfigDiscovery(_)) => {
                context.error(&path.field("config_discovery"), "extension discovery is not implemented yet");
                return None;
            }
            None => {
                context.error_with_help(
                    path,
                    format!("the filter {:?} has no typed_config", proto.name),
                    "a filter is found by the @type of its typed_config",
                );
                return None;
            }
        };
        Some(HttpFilter {
            name: proto.name.clone(),
            config: TypedExtension::from_any(&proto.name, any, path.field("typed_config")),
            is_optional: proto.is_optional,
            disabled: proto.disabled,
        })
    }
}

/// The per-filter configuration of a route, virtual host, weighted cluster or route table: at most one
/// entry for each filter name, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PerFilterConfigs(pub Vec<(String, PerFilterConfig)>);

impl PerFilterConfigs {
    /// Converts the map field `typed_per_filter_config` of the message at `path`.
    pub fn from_proto(
        protos: &HashMap<String, Any>,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> PerFilterConfigs {
        let entries = protos.iter().filter_map(|(name, any)| {
            let path = path.entry("typed_per_filter_config", name);
            Some((name.clone(), PerFilterConfig::from_any(name, any, path, context)?))
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        PerFilterConfigs(entries)
    }

    /// The entry for the filter instance `name`.
    pub fn get(&self, name: &str) -> Option<&PerFilterConfig> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, config)| config)
    }
}

/// What a route says about one filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerFilterConfig {
    /// Turns the filter off (`Some(true)`) or on (`Some(false)`, by `FilterConfig` with a configuration or a
    /// plain configuration); none leaves it as a wider level has it.
    pub disabled: Option<bool>,
    /// Configuration for the filter on this route.
    pub config: Option<TypedExtension>,
    /// Ignore the entry if the filter's type is unknown.
    pub is_optional: bool,
}

impl PerFilterConfig {
    fn from_any(
        name: &str,
        any: &Any,
        path: FieldPath,
        context: &mut Context<'_>,
    ) -> Option<PerFilterConfig> {
        let extension = TypedExtension::from_any(name, any, path);
        if extension.type_name() != FilterConfig::full_name() {
            return Some(PerFilterConfig {
                disabled: Some(false),
                config: Some(extension),
                is_optional: false,
            });
        }
        let filter = match extension.decode::<FilterConfig>() {
            Ok(filter) => filter,
            Err(error) => {
                context.error(&extension.path, error.to_string());
                return None;
            }
        };
        if filter.config.is_none() && !filter.disabled {
            context.error(&extension.path, format!("empty per-filter configuration for the filter {name}"));
        }
        let config = filter.config.filter(|_| !filter.disabled);
        Some(PerFilterConfig {
            disabled: Some(filter.disabled),
            config: config.map(|any| TypedExtension::from_any(name, &any, extension.path.field("config"))),
            is_optional: filter.is_optional,
        })
    }
}
