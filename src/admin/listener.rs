//! The admin server's socket: TCP or unix, on the control thread.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net as unix;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::io::Address;

/// A listening socket. Made inside the control thread's runtime.
#[derive(Debug)]
pub struct AdminListener {
    socket: Socket,
    address: Address,
}

#[derive(Debug)]
enum Socket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// A connection of either kind.
pub(super) trait Connection: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection for T {}

/// A connection and, over TCP, who it comes from.
pub(super) struct Accepted {
    pub(super) stream: Pin<Box<dyn Connection>>,
    pub(super) peer: Option<SocketAddr>,
}

impl AdminListener {
    /// Binds and listens. A stale socket file is replaced; `unix_mode` sets a socket file's
    /// permissions (0 leaves them to the umask). A path that starts with `@` is abstract.
    ///
    /// # Errors
    /// As the system says.
    pub fn bind(address: &Address, unix_mode: u32) -> io::Result<AdminListener> {
        match address {
            Address::Ip(ip) => AdminListener::from_tcp(std::net::TcpListener::bind(ip)?),
            Address::Unix(path) => {
                let text = path.to_string_lossy();
                let listener = match text.strip_prefix('@') {
                    Some(name) => unix::UnixListener::bind_addr(&unix::SocketAddr::from_abstract_name(
                        name.as_bytes(),
                    )?)?,
                    None => bind_path(path, unix_mode)?,
                };
                AdminListener::from_unix(listener, address.clone())
            }
        }
    }

    /// Takes over a bound, listening socket, e.g. of [`crate::io::bind_listener`].
    ///
    /// # Errors
    /// If the socket cannot be used with the runtime.
    pub fn from_fd(fd: OwnedFd, address: &Address) -> io::Result<AdminListener> {
        match address {
            Address::Ip(_) => AdminListener::from_tcp(fd.into()),
            Address::Unix(_) => AdminListener::from_unix(fd.into(), address.clone()),
        }
    }

    /// Where it really listens, with the port that the kernel chose.
    pub fn address(&self) -> &Address {
        &self.address
    }

    fn from_tcp(listener: std::net::TcpListener) -> io::Result<AdminListener> {
        listener.set_nonblocking(true)?;
        let address = Address::Ip(listener.local_addr()?);
        Ok(AdminListener { socket: Socket::Tcp(tokio::net::TcpListener::from_std(listener)?), address })
    }

    fn from_unix(listener: unix::UnixListener, address: Address) -> io::Result<AdminListener> {
        listener.set_nonblocking(true)?;
        Ok(AdminListener { socket: Socket::Unix(tokio::net::UnixListener::from_std(listener)?), address })
    }

    /// The next connection.
    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match &self.socket {
            Socket::Tcp(listener) => listener.poll_accept(cx).map_ok(|(stream, peer)| {
                // Answers are written whole; waiting for more would only delay them.
                let _ = stream.set_nodelay(true);
                Accepted { stream: Box::pin(stream), peer: Some(peer) }
            }),
            Socket::Unix(listener) => listener
                .poll_accept(cx)
                .map_ok(|(stream, _)| Accepted { stream: Box::pin(stream), peer: None }),
        }
    }
}

/// Writes the bound address where `--admin-address-path` says, as scripts expect to find it.
///
/// # Errors
/// As the system says.
pub fn write_address_path(path: &Path, address: &Address) -> io::Result<()> {
    std::fs::write(path, address.to_string())
}

fn bind_path(path: &Path, mode: u32) -> io::Result<unix::UnixListener> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && unix::UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = unix::UnixListener::bind(path)?;
    if mode != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(listener)
}
