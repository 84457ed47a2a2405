//! The system calls that neither std nor socket2 offers safely. Nothing else here.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Events of one `epoll_wait`.
pub(in crate::io) type Event = libc::epoll_event;

/// A new eventfd with count zero; reads block unless `nonblocking`.
pub(in crate::io) fn eventfd(nonblocking: bool) -> io::Result<OwnedFd> {
    let flags = libc::EFD_CLOEXEC | if nonblocking { libc::EFD_NONBLOCK } else { 0 };
    // SAFETY: no pointers.
    owned(unsafe { libc::eventfd(0, flags) })
}

/// A new epoll instance.
pub(super) fn epoll_create() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// Watches `fd` for `events`, reported with `data`.
pub(super) fn epoll_add(epoll: &OwnedFd, fd: BorrowedFd<'_>, events: i32, data: u64) -> io::Result<()> {
    let mut event = Event { events: events as u32, u64: data };
    // SAFETY: `event` is valid for the call; both descriptors are open.
    check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut event) })
}

/// Stops watching `fd`.
pub(super) fn epoll_remove(epoll: &OwnedFd, fd: BorrowedFd<'_>) -> io::Result<()> {
    let none = std::ptr::null_mut();
    // SAFETY: the event pointer is ignored for removal; both descriptors are open.
    check(unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_DEL, fd.as_raw_fd(), none) })
}

/// Waits for events, `timeout_ms` at most (-1: for ever). Interruption counts as no events.
pub(super) fn epoll_wait(epoll: &OwnedFd, events: &mut [Event], timeout_ms: i32) -> io::Result<usize> {
    let room = events.len().min(i32::MAX as usize) as i32;
    // SAFETY: the kernel writes at most `room` events into the slice.
    let count = unsafe { libc::epoll_wait(epoll.as_raw_fd(), events.as_mut_ptr(), room, timeout_ms) };
    match count {
        0.. => Ok(count as usize),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            error => Err(error),
        },
    }
}

/// Accepts a connection as a non-blocking socket.
pub(super) fn accept(listener: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let (flags, none) = (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, std::ptr::null_mut());
    // SAFETY: no address is asked for; the descriptor is open.
    owned(unsafe { libc::accept4(listener.as_raw_fd(), none, none.cast(), flags) })
}

/// Receives into raw memory.
///
/// # Safety
/// `start` is valid for writes of `len` bytes and nobody else refers to them.
pub(super) unsafe fn recv(fd: BorrowedFd<'_>, start: *mut u8, len: usize) -> io::Result<usize> {
    // SAFETY: the caller's promise.
    size(unsafe { libc::recv(fd.as_raw_fd(), start.cast(), len, libc::MSG_DONTWAIT) })
}

/// Sends slices in one call.
pub(super) fn send(fd: BorrowedFd<'_>, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
    // SAFETY: all zeroes is a valid `msghdr`.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    message.msg_iovlen = slices.len() as _;
    // SAFETY: `IoSlice` is guaranteed to be laid out as an iovec, and the kernel only reads.
    size(unsafe { libc::sendmsg(fd.as_raw_fd(), &message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) })
}

/// Sets a socket option from its raw bytes.
pub(in crate::io) fn set_option(fd: impl AsFd, level: i32, name: i32, value: &[u8]) -> io::Result<()> {
    let (fd, len) = (fd.as_fd().as_raw_fd(), value.len() as libc::socklen_t);
    // SAFETY: the kernel reads `len` bytes from the slice.
    check(unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), len) })
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn size(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    check(fd)?;
    // SAFETY: the kernel just returned this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
