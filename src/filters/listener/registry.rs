//! The listener filters that exist. Adding one is a file and a line in `listener_filters!` below.

use std::sync::Arc;

use crate::api::{ConfigError, MessageSupport};
use crate::config::TypedExtension;
use crate::filters::{BuildContext, decode};

use super::{ListenerFilterDefinition, ListenerFilterFactory};

type Built = Result<Arc<dyn ListenerFilterFactory>, Vec<ConfigError>>;

/// One kind of listener filter, with its types erased.
struct Kind {
    config_type: fn() -> String,
    support: &'static [MessageSupport],
    build: fn(&TypedExtension, &mut BuildContext<'_>) -> Built,
}

macro_rules! listener_filters {
    ($($definition:ty,)*) => {
        const KINDS: &[Kind] = &[$(Kind::of::<$definition>(),)*];
    };
}

listener_filters! {
    super::http_inspector::HttpInspector,
    super::local_ratelimit::LocalRateLimit,
    super::original_dst::OriginalDst,
    super::proxy_protocol::ProxyProtocol,
    super::tls_inspector::TlsInspector,
}

impl Kind {
    const fn of<D: ListenerFilterDefinition>() -> Kind {
        Kind {
            config_type: <D::Config as prost::Name>::full_name,
            support: D::SUPPORT,
            build: |extension, cx| D::build(decode(extension)?, &extension.path, cx),
        }
    }
}

/// Compiles an entry of `listener_filters`.
///
/// # Errors
/// If the type is unknown or its configuration is wrong.
pub fn build(extension: &TypedExtension, cx: &mut BuildContext<'_>) -> Built {
    match KINDS.iter().find(|kind| (kind.config_type)() == extension.type_name()) {
        Some(kind) => (kind.build)(extension, cx),
        None => Err(vec![ConfigError::new(
            extension.path.as_str(),
            format!("`{}` is not a listener filter that Ringway has", extension.type_name()),
        )]),
    }
}

/// The fields that listener filters honour.
pub fn support_tables() -> impl Iterator<Item = &'static [MessageSupport]> {
    KINDS.iter().map(|kind| kind.support)
}
