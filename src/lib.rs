//! Ringway: an L7/L4 proxy that reads Envoy's configuration.
//!
//! This list is the map: each module may import only modules above it (plus the few sibling edges
//! that the table in `tests/tidy.rs` names).

// L0: plain machinery, no protocol.
pub mod base;
pub mod buf;

// L1: protocols and texts, without I/O and without a clock.
pub mod http;
pub mod stream_info;
pub mod tls;

pub mod api;
pub mod formatter;

// L2: the runtime model of a configuration, statistics, network I/O.
pub mod config;
pub mod io;
pub mod stats;

// L3: policies and state of the proxy.
pub mod access_log;
pub mod routing;
pub mod transport;
pub mod upstream;

// L4: what handles connections and requests.
pub mod filters;

// L5: what feeds them.
pub mod listener;
pub mod load;

// L6, L7: operating the process.
pub mod admin;
pub mod xds;

pub mod cli;
pub mod server;
