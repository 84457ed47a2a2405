//! Outlier detection: hosts that fail much more than they should are left out for a while.
//!
//! Workers count what becomes of requests in each host's [`HostMonitor`] and raise an alarm where a row of failures
//! reaches its limit; the [`Detector`] of the cluster, on the control thread, decides. Sans-io: no clock, no
//! sockets; time and randomness are arguments. Follows `config.cluster.v3.OutlierDetection` and Envoy's "Outlier
//! detection" page.

mod detector;
mod event;
mod kinds;
mod monitor;
mod rates;
mod settings;
mod tracked;

#[cfg(test)]
mod tests;

pub use detector::{Detector, DetectorRates, HostRates};
pub use event::{Action, Detail, EjectionType, OutlierEvent};
pub use monitor::{HostMonitor, Outcome, OutlierRecorder, Requests};
pub use rates::Threshold;
pub use settings::in_force;
