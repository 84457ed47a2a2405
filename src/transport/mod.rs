//! Transport sockets: what stands between the bytes on the wire and the bytes that filters and codecs
//! see (`envoy.config.core.v3.TransportSocket`).
//!
//! Everything above this module reads and writes a [`Stream`] and does not know what is below it. Nothing
//! here knows a protocol of the bytes that pass, but that HTTP/2 is joined to a stream here for both sides.

mod h2;
mod meter;
pub mod proxy_protocol;
mod stream;
mod tap;
mod tls;
mod tls_factory;

pub use h2::{H2Link, write_h2_output};
pub use meter::ByteMeter;
pub use stream::Stream;
pub use tap::{Tap, TapClosed};
pub use tls_factory::{DownstreamTls, OfferedProtocols, UpstreamTls, WantedPeer};
