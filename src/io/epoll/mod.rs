//! The epoll driver, for where io_uring is missing or forbidden, and the system calls of `io`.

mod driver;
mod host;
pub(super) mod sys;

pub(super) use driver::EpollDriver;
pub(super) use host::run;
