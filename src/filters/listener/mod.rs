//! Listener filters: what looks at a connection's first bytes, or at its socket, before a filter chain is
//! chosen.
//!
//! They run in order, each to its end. They see bytes without taking them, unless they say that some are
//! not for those behind them.

use std::sync::Arc;

use crate::api::{ConfigError, MessageSupport};
use crate::config::FieldPath;
use crate::io::Socket;
use crate::stream_info::ConnectionInfo;

use super::BuildContext;

mod http_inspector;
mod local_ratelimit;
mod original_dst;
mod proxy_protocol;
mod registry;
mod tls_inspector;

pub use registry::{build, support_tables};
pub use tls_inspector::TlsInspector;

/// A listener filter. Shared by all workers.
pub trait ListenerFilterFactory: Send + Sync {
    /// The filter for one connection.
    fn create(&self) -> Box<dyn ListenerFilter>;
}

/// A listener filter at work on one connection.
pub trait ListenerFilter {
    /// It is this filter's turn; nothing has been shown to it.
    fn on_accept(&mut self, _socket: &Socket, _info: &mut ConnectionInfo) {}

    /// How many of the connection's first bytes it must see before it can decide: 0 if it needs none, else
    /// it is asked anew whenever more have come.
    fn need_bytes(&self) -> usize;

    /// Looks at the bytes that have come: at least one, unless the client has sent its `end` or none are
    /// needed. May change what is known of the connection.
    fn inspect(&mut self, bytes: &[u8], end: bool, info: &mut ConnectionInfo) -> Inspected;
}

/// What a listener filter decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inspected {
    /// It is done; the next one goes on, without the first `taken` bytes.
    Done {
        /// Bytes that nobody else shall see.
        taken: usize,
    },
    /// It must see more.
    More,
    /// The connection ends.
    Refused,
}

/// What a kind of listener filter is: its configuration message and how it becomes a filter.
pub trait ListenerFilterDefinition {
    /// The message that configures it; found by its type.
    type Config: prost::Message + prost::Name + Default;
    /// What it does with the fields of its messages.
    const SUPPORT: &'static [MessageSupport];

    /// Compiles a configuration that stands at `path`.
    ///
    /// # Errors
    /// All that is wrong with it.
    fn build(
        config: Self::Config,
        path: &FieldPath,
        cx: &mut BuildContext<'_>,
    ) -> Result<Arc<dyn ListenerFilterFactory>, Vec<ConfigError>>;
}
