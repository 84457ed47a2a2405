//! Active health checks, on the control thread: hosts are asked again and again whether they can serve.
//!
//! `state`, `interval`, `payload` and `judge` are sans-io: they get time, randomness and what was received as
//! arguments. `socket`, `http` and `tcp` talk to hosts; `checker` runs one task a host. What a check finds stands in
//! the host's flags, which workers read. Follows `config.core.v3.HealthCheck` and Envoy's "Health checking" page.

pub mod clock;

mod checker;
mod event;
mod http;
mod interval;
mod judge;
mod payload;
mod socket;
mod state;
mod tcp;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use interval::tests::config as test_config;

pub use checker::{CheckerOptions, HealthChecker};
pub use event::{CheckedHost, HealthEvent};
pub use state::{FailureType, Transition};
