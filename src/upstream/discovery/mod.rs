//! How hosts are found, on the control thread: names become addresses, addresses become host sets.
//!
//! `refresh` and `targets` are sans-io; only `system_resolver` asks the network. Follows
//! `config.cluster.v3.Cluster.type` and Envoy's "Service discovery" page.

mod hosts_file;
mod refresh;
mod system_resolver;
mod targets;

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

pub use hosts_file::HostsFile;
pub use refresh::Refresh;
pub use system_resolver::SystemResolver;
pub use targets::{DnsTarget, Resolution, Targets};

use crate::config::cluster::DnsLookupFamily;

/// What a name stands for at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DnsAnswer {
    /// In the resolver's order; empty if the name does not exist or has no such addresses.
    pub addresses: Vec<IpAddr>,
    /// How long the answer holds; none if it has no such time, as in `/etc/hosts`.
    pub ttl: Option<Duration>,
}

/// The name could not be resolved: no server answered, or with an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot resolve {name}: {reason}")]
pub struct DnsFailure {
    /// The name.
    pub name: String,
    /// What the resolver says.
    pub reason: String,
}

/// A resolution under way.
pub type ResolveFuture<'a> = Pin<Box<dyn Future<Output = Result<DnsAnswer, DnsFailure>> + Send + 'a>>;

/// Turns names into addresses. Tests bring their own.
pub trait Resolver: Send + Sync {
    /// The addresses of `name` in the order of preference that `family` says.
    ///
    /// # Errors
    /// If nothing is known about the name; a name that does not exist is an empty answer.
    fn resolve<'a>(&'a self, name: &'a str, family: DnsLookupFamily) -> ResolveFuture<'a>;
}
