//! The HTTP filters that exist. Adding one is a file and a line in `http_filters!` below.

use crate::api::{ConfigError, MessageSupport};
use crate::config::{FieldPath, TypedExtension};
use crate::filters::{BuildContext, decode};
use crate::routing::PerFilterError;

use super::{BuiltFilter, HttpFilterDefinition, RouteConfig};

/// One kind of HTTP filter, with its types erased.
struct Kind {
    config_type: fn() -> String,
    route_config_type: fn() -> String,
    support: &'static [MessageSupport],
    build: fn(&TypedExtension, &mut BuildContext<'_>) -> Result<BuiltFilter, Vec<ConfigError>>,
    build_route: fn(&TypedExtension) -> Result<RouteConfig, Vec<ConfigError>>,
}

macro_rules! http_filters {
    ($($definition:ty,)*) => {
        const KINDS: &[Kind] = &[$(Kind::of::<$definition>(),)*];
    };
}

http_filters! {
    super::buffer::Buffer,
    super::cors::Cors,
    super::ext_authz::ExtAuthz,
    super::fault::Fault,
    super::header_mutation::HeaderMutation,
    super::health_check::HealthCheck,
    super::router::Router,
}

impl Kind {
    const fn of<D: HttpFilterDefinition>() -> Kind {
        Kind {
            config_type: <D::Config as prost::Name>::full_name,
            route_config_type: <D::RouteConfig as prost::Name>::full_name,
            support: D::SUPPORT,
            build: |extension, cx| D::build(decode(extension)?, &extension.path, cx),
            // What calls this puts the extension's own path before those of the errors.
            build_route: |extension| D::build_route(decode(extension)?, &FieldPath::root()),
        }
    }
}

/// Compiles an entry of `http_filters`.
///
/// # Errors
/// If the type is unknown or its configuration is wrong.
pub fn build(extension: &TypedExtension, cx: &mut BuildContext<'_>) -> Result<BuiltFilter, Vec<ConfigError>> {
    match KINDS.iter().find(|kind| (kind.config_type)() == extension.type_name()) {
        Some(kind) => (kind.build)(extension, cx),
        None => Err(vec![unknown(extension)]),
    }
}

/// Compiles a filter's configuration on a route.
///
/// # Errors
/// If the type is unknown or the configuration is wrong.
pub fn build_route_config(extension: &TypedExtension) -> Result<RouteConfig, PerFilterError> {
    match KINDS.iter().find(|kind| (kind.route_config_type)() == extension.type_name()) {
        Some(kind) => (kind.build_route)(extension).map_err(PerFilterError::Invalid),
        None => Err(PerFilterError::UnknownType(extension.type_name().to_owned())),
    }
}

/// The fields that HTTP filters honour.
pub fn support_tables() -> impl Iterator<Item = &'static [MessageSupport]> {
    KINDS.iter().map(|kind| kind.support)
}

fn unknown(extension: &TypedExtension) -> ConfigError {
    let names: Vec<String> = KINDS.iter().map(|kind| (kind.config_type)()).collect();
    let message = format!("`{}` is not an HTTP filter that Ringway has", extension.type_name());
    ConfigError::new(extension.path.as_str(), message).with_help(format!("there are: {}", names.join(", ")))
}
