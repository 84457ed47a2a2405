//! Network filters: what is done with a connection once its filter chain is chosen.
//!
//! A chain is any number of filters that look at the connection and at the bytes that pass, then one
//! terminal filter that serves it, such as the HTTP connection manager.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::api::{ConfigError, MessageSupport};
use crate::config::FieldPath;
use crate::stats::groups::ListenerStats;
use crate::stream_info::{ConnectionInfo, ResponseFlags, StreamInfo};
use crate::transport::Stream;

use super::{BuildContext, WorkerContext};

mod chain;
mod connection_limit;
mod direct_response;
mod drain;
mod echo;
pub mod http_connection_manager;
mod local_ratelimit;
mod rbac;
mod registry;
mod tcp_proxy;

pub use chain::{Admitted, admit};
pub use drain::{DrainLevel, DrainRegistration, DrainState, UntilClosed};
pub use registry::{build, support_tables};

/// How long a client has to take what is left for it, and to close, once a connection is over.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// An accepted connection on its way through a filter chain.
pub struct Connection {
    /// Its bytes.
    pub stream: Stream,
    /// Facts about the connection.
    pub info: Rc<ConnectionInfo>,
    /// The worker that owns it.
    pub worker: Rc<WorkerContext>,
    /// The listener that accepted it.
    pub listener: Rc<ListenerHandle>,
}

/// What a connection may know of the listener that accepted it; its connections on a worker share it.
pub struct ListenerHandle {
    /// Its statistics.
    pub stats: ListenerStats,
    /// Whether it wants its connections gone.
    pub drain: Rc<DrainState>,
    /// Whether its connections end when the process fails health checks (`drain_type: DEFAULT`).
    pub drains_when_unhealthy: bool,
    /// Soft limit on what may be buffered for one connection in one direction.
    pub buffer_limit_bytes: usize,
}

/// The serving of one connection; it ends when the connection is done. What it gives, if anything, is what the
/// listener's own access log shall tell.
pub type Serve = Pin<Box<dyn Future<Output = Option<Box<StreamInfo>>>>>;

/// A terminal network filter: serves connections. Shared by all workers.
pub trait TerminalFilter: Send + Sync {
    /// Serves one connection to its end.
    fn serve(self: Arc<Self>, connection: Connection) -> Serve;

    /// A filter in front of it has closed a connection before it could be served.
    fn on_refused(&self, _info: &StreamInfo) {}
}

/// A filter in front of the terminal one. Shared by all workers.
pub trait NetworkFilterFactory: Send + Sync {
    /// The filter for one connection. It lives as long as the connection is served.
    fn create(&self) -> Box<dyn NetworkFilter>;
}

/// A filter of one connection, in front of the terminal one.
pub trait NetworkFilter {
    /// The connection is there, its handshake done; nothing of it has been read.
    fn on_new_connection(&mut self, _cx: &NetworkContext<'_>) -> Verdict {
        Verdict::Continue
    }

    /// Whether it wants to see the bytes that pass.
    fn wants_data(&self) -> bool {
        false
    }

    /// Bytes from the client on their way to the terminal filter, or the client's `end`.
    fn on_read(&mut self, _bytes: &[u8], _end: bool, _cx: &NetworkContext<'_>) -> Verdict {
        Verdict::Continue
    }

    /// Bytes on their way to the client. To wait is not possible here: `Await` counts as `Continue`.
    fn on_write(&mut self, _bytes: &[u8], _cx: &NetworkContext<'_>) -> Verdict {
        Verdict::Continue
    }
}

/// What a network filter may know of its surroundings.
pub struct NetworkContext<'a> {
    /// Facts about the connection.
    pub info: &'a Rc<ConnectionInfo>,
    /// The worker that owns it.
    pub worker: &'a Rc<WorkerContext>,
}

/// What a network filter decides.
pub enum Verdict {
    /// Go on.
    Continue,
    /// Go on once this is done, with what it says then.
    Await(Pin<Box<dyn Future<Output = Verdict>>>),
    /// End the connection at once; what is queued for the client is discarded.
    Close(Closing),
}

/// What access logs tell of a connection that a filter ends.
#[derive(Debug, Clone, Default)]
pub struct Closing {
    /// `%CONNECTION_TERMINATION_DETAILS%`.
    pub termination_details: Option<Arc<str>>,
    /// `%RESPONSE_FLAGS%`; only of connections that are not served.
    pub response_flags: ResponseFlags,
}

/// A compiled network filter.
pub enum BuiltFilter {
    /// One that looks at connections and passes them on.
    Filter(Arc<dyn NetworkFilterFactory>),
    /// One that serves connections; the last of its chain.
    Terminal(Arc<dyn TerminalFilter>),
}

/// What a kind of network filter is: its configuration message and how it becomes a filter.
pub trait NetworkFilterDefinition {
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
    ) -> Result<BuiltFilter, Vec<ConfigError>>;
}
