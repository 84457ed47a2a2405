//! The io_uring driver. Only this module names glommio or io_uring.

mod buffers;
mod driver;
mod host;
mod probe;
mod receive;
mod send;
mod tag;
mod uring;

pub(super) use driver::RingDriver;
pub(super) use host::run;
pub(super) use probe::probe;
