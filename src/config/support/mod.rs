//! What of the core messages this module's conversions carry into the model. Everything that stands in no table is
//! refused by name (`api::check_support`). A field under `no_effect` is one whose presence cannot be told
//! from outside here, with the reason beside it.

mod access_log;
mod bootstrap;
mod cluster;
mod connection_manager;
mod core;
mod listener;
mod matcher;
mod route;
mod tls;
mod upstream_proxy_protocol;

use crate::api::MessageSupport;

/// Support of the messages that `config` converts, for `api::check_support`.
pub const SUPPORT: &[&[MessageSupport]] = &[
    bootstrap::TABLE,
    core::TABLE,
    listener::TABLE,
    connection_manager::TABLE,
    route::TABLE,
    cluster::TABLE,
    access_log::TABLE,
    matcher::TABLE,
    tls::TABLE,
    upstream_proxy_protocol::TABLE,
];

const fn entry(
    message: &'static str,
    honoured: &'static [&'static str],
    no_effect: &'static [&'static str],
) -> MessageSupport {
    MessageSupport { message, honoured, no_effect }
}
