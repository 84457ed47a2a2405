//! The admin server: what an operator asks a running process, over HTTP/1 on the control thread.
//!
//! Paths, parameters, texts and status codes are Envoy's (checked against 1.40). The server knows
//! nothing of workers: whatever it shows or does goes through [`AdminState`], which the process
//! implements. Changing anything takes POST.

mod access;
mod config_dump;
mod endpoints;
mod json;
mod listener;
mod logging;
#[cfg(test)]
mod oracle_tests;
mod page;
mod query;
mod reply;
mod routes;
mod server;
mod state;
mod stats_page;
mod status_pages;
#[cfg(test)]
mod tests;

pub use listener::{AdminListener, write_address_path};
pub use server::{AdminOptions, AdminServer};
pub use state::{
    AdminState, CircuitBreakerLimits, ClusterStatus, DrainRequest, HostReport, ListenerStatus, MemoryReport,
    OutlierReport, ServerInfo, ServerState, UnreadyTargets,
};
