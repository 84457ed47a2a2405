//! The network filters that exist. Adding one is a file and a line in `network_filters!` below.

use std::sync::Arc;

use crate::api::{ConfigError, MessageSupport};
use crate::config::{NetworkFilter, TypedExtension};
use crate::filters::{BuildContext, decode};

use super::{BuiltFilter, NetworkFilterDefinition, http_connection_manager};

/// One kind of network filter, with its types erased.
struct Kind {
    config_type: fn() -> String,
    support: &'static [MessageSupport],
    build: fn(&TypedExtension, &mut BuildContext<'_>) -> Result<BuiltFilter, Vec<ConfigError>>,
}

macro_rules! network_filters {
    ($($definition:ty,)*) => {
        const KINDS: &[Kind] = &[$(Kind::of::<$definition>(),)*];
    };
}

network_filters! {
    super::connection_limit::ConnectionLimit,
    super::direct_response::DirectResponse,
    super::echo::Echo,
    super::local_ratelimit::LocalRateLimit,
    super::rbac::Rbac,
    super::tcp_proxy::TcpProxy,
}

impl Kind {
    const fn of<D: NetworkFilterDefinition>() -> Kind {
        Kind {
            config_type: <D::Config as prost::Name>::full_name,
            support: D::SUPPORT,
            build: |extension, cx| D::build(decode(extension)?, &extension.path, cx),
        }
    }
}

/// Compiles a filter of a chain.
///
/// # Errors
/// If the type is unknown or its configuration is wrong.
pub fn build(filter: &NetworkFilter, cx: &mut BuildContext<'_>) -> Result<BuiltFilter, Vec<ConfigError>> {
    let extension = match filter {
        NetworkFilter::HttpConnectionManager(config) => {
            return Ok(BuiltFilter::Terminal(Arc::new(http_connection_manager::build(config, cx)?)));
        }
        NetworkFilter::Extension(extension) => extension,
    };
    match KINDS.iter().find(|kind| (kind.config_type)() == extension.type_name()) {
        Some(kind) => (kind.build)(extension, cx),
        None => Err(vec![ConfigError::new(
            extension.path.as_str(),
            format!("`{}` is not a network filter that Ringway has", extension.type_name()),
        )]),
    }
}

/// The fields that network filters honour.
pub fn support_tables() -> impl Iterator<Item = &'static [MessageSupport]> {
    KINDS.iter().map(|kind| kind.support)
}
