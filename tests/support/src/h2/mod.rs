//! HTTP/2 ends for tests (RFC 9113): a client and an origin that send exactly the frames a test asks for,
//! well-formed or not. [`Endpoint`] is without I/O; [`H2Connection`] joins it to a blocking socket, [`H2Origin`] runs
//! one for each connection that it accepts.
//!
//! Nothing here is fit for use outside of tests: what the peer sends is believed, and nothing is bounded.

mod connection;
mod endpoint;
mod frame;
mod origin;

pub use connection::{H2Connection, H2End};
pub use endpoint::{Endpoint, Fields, Goaway, Incoming, get, literal_block};
pub use frame::{Frame, PREFACE, error_code, flag, kind, setting};
pub use origin::H2Origin;
