//! What Ringway's tests share: a runner for the proxy (and for Envoy), raw clients of HTTP/1.1 and HTTP/2,
//! scripted origins, readers of `/proc`. Plain `std::net` on threads, so that a fault of the proxy's
//! own I/O layer cannot hide itself here. It never links the `ringway` library.

pub mod certificates;
pub mod client;
pub mod config;
pub mod counting_allocator;
pub mod h2;
pub mod heap;
pub mod l4_config;
pub mod message;
pub mod origin;
pub mod process;
pub mod procfs;
pub mod seccomp;
pub mod stream;
pub mod tcp;
pub mod tls;
pub mod tls_config;
pub mod wait;
pub mod xds;

pub use certificates::{Authority, Certificate, Leaf};
pub use client::{Connection, Request};
pub use config::Config;
pub use message::{Message, ReadError};
pub use origin::{Answer, Origin, Then};
pub use process::{Driver, Exited, Proxy, Server};
pub use tcp::{PeerEnd, TcpOrigin, TcpPeer};
pub use tls::{TlsClient, TlsServer, TlsStream, TlsVersion};
pub use wait::{eventually, eventually_within};

/// Longest time a test waits for something that should happen at once, in seconds: generous, because
/// two cores run many tests side by side.
pub const PATIENCE_S: u64 = 15;

/// [`PATIENCE_S`] as a duration.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(PATIENCE_S);
