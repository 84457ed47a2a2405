//! Role-based access control, as network and HTTP filters share it (`envoy.config.rbac.v3.RBAC`): who may do
//! what, decided from facts that are given to it. It performs no I/O and counts nothing.
//!
//! A rule that asks for something that is not known, such as the path of a raw connection, does not match.

mod engine;
mod rule;
mod stats;

pub use engine::{Decision, Engine};
pub use rule::Rule;
pub use stats::{RbacShadowStats, RbacStats, stat_prefix};

use crate::api::MessageSupport;
use crate::stream_info::{ConnectionInfo, PeerAddress};

/// What rules may ask about. An HTTP filter adds the request's path here, and later its headers.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The connection.
    pub connection: &'a ConnectionInfo,
    /// The client, after trusted hops of `x-forwarded-for`; the connection's own remote address if none.
    pub remote_address: &'a PeerAddress,
    /// The request's path without its query; none for raw connections.
    pub path: Option<&'a [u8]>,
}

impl<'a> Subject<'a> {
    /// A raw connection.
    pub fn connection(connection: &'a ConnectionInfo) -> Subject<'a> {
        Subject { connection, remote_address: &connection.remote_address, path: None }
    }
}

/// What is honoured of the messages that the filters share. Conditions in CEL, matchers that are extensions,
/// metadata, filter state and audit loggers are refused by name.
pub const SUPPORT: &[MessageSupport] = &[
    MessageSupport {
        message: "envoy.config.rbac.v3.RBAC",
        honoured: &["action", "policies"],
        no_effect: &[],
    },
    MessageSupport {
        message: "envoy.config.rbac.v3.Policy",
        honoured: &["permissions", "principals"],
        no_effect: &[],
    },
    MessageSupport {
        message: "envoy.config.rbac.v3.Permission",
        honoured: &[
            "and_rules",
            "or_rules",
            "not_rule",
            "any",
            "url_path",
            "destination_ip",
            "destination_port",
            "destination_port_range",
            "requested_server_name",
        ],
        no_effect: &[],
    },
    MessageSupport::all("envoy.config.rbac.v3.Permission.Set"),
    MessageSupport {
        message: "envoy.config.rbac.v3.Principal",
        honoured: &[
            "and_ids",
            "or_ids",
            "not_id",
            "any",
            "url_path",
            "authenticated",
            "source_ip",
            "direct_remote_ip",
            "remote_ip",
        ],
        no_effect: &[],
    },
    MessageSupport::all("envoy.config.rbac.v3.Principal.Set"),
    MessageSupport::all("envoy.config.rbac.v3.Principal.Authenticated"),
    MessageSupport::all("envoy.type.v3.Int32Range"),
    MessageSupport::all("envoy.type.matcher.v3.PathMatcher"),
];
