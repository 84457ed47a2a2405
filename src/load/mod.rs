//! Driving load over HTTP, answering it and relaying it, on the same I/O layer as the proxy: the core of
//! `ringway demo` and of the bundled load generator. It never touches the proxy's own state.
//!
//! ```text
//! run        one thread for each worker, their reports added up
//! worker     one thread's run: connections, start line, clock, end
//! dispatch   who sends the next request, and when (closed loop, or a schedule)
//! connection one connection's life, for any Protocol
//! http1      requests and responses of HTTP/1.1
//! http2      the same of HTTP/2
//! tls        what connections begin with, if asked for
//! recorder   what came of them: histograms, counts, the series over time
//! ```

mod connect;
mod connection;
mod cpu_time;
mod dispatch;
mod error;
mod hold;
mod http1;
mod http2;
mod message;
mod origin;
mod plan;
mod progress;
mod protocol;
mod recorder;
mod relay;
mod report;
mod request;
mod response;
mod run;
mod schedule;
mod series;
mod service;
mod tls;
mod woken;
mod worker;

pub use error::{ErrorKind, LoadError};
pub use hold::{HoldPlan, HoldReport, hold};
pub use origin::start_origin;
pub use plan::{Arrivals, ExpectedStatus, HttpVersion, Limit, Pace, Plan, Reuse};
pub use progress::{Control, Snapshot};
pub use relay::start_relay;
pub use report::{Ending, Report, Usage};
pub use request::RequestSpec;
pub use run::{Placement, run};
pub use series::{Series, Slot};
pub use service::{Service, ServiceError, ServiceOptions};
pub use tls::{PemIdentity, TlsPlan, Trust};
