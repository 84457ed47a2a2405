//! Where a socket listens or connects to: an IP address with a port, or a unix socket path.
//!
//! Envoy message: `config.core.v3.Address` (`socket_address`, `pipe`). Never resolves names.

use std::ffi::OsStr;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use crate::stream_info::PeerAddress;

use socket2::SockAddr;

/// A resolved address; cheap to clone, shareable between threads.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// IPv4 or IPv6 with a port.
    Ip(SocketAddr),
    /// A unix stream socket. A path that begins with `@` names an abstract socket.
    Unix(Arc<Path>),
}

impl Address {
    /// The address of the unix socket at `path`.
    pub fn unix(path: impl AsRef<Path>) -> Address {
        Address::Unix(Arc::from(path.as_ref()))
    }

    /// As the kernel takes it.
    ///
    /// # Errors
    /// If a unix path is too long for the kernel (108 bytes).
    pub(super) fn to_sock_addr(&self) -> std::io::Result<SockAddr> {
        match self {
            Address::Ip(address) => Ok(SockAddr::from(*address)),
            Address::Unix(path) => match path.as_os_str().as_bytes().strip_prefix(b"@") {
                Some(name) => SockAddr::unix(OsStr::from_bytes(&[b"\0", name].concat())),
                None => SockAddr::unix(path),
            },
        }
    }

    /// From the kernel's form; an unnamed unix socket has an empty path.
    pub(super) fn from_sock_addr(address: &SockAddr) -> Address {
        if let Some(address) = address.as_socket() {
            return Address::Ip(address);
        }
        if let Some(name) = address.as_abstract_namespace() {
            return Address::unix(OsStr::from_bytes(&[b"@", name].concat()));
        }
        Address::unix(address.as_pathname().unwrap_or(Path::new("")))
    }

    /// The IP address and port, unless this is a unix socket.
    pub fn as_ip(&self) -> Option<SocketAddr> {
        match self {
            Address::Ip(address) => Some(*address),
            Address::Unix(_) => None,
        }
    }

    /// The IP address without the port, unless this is a unix socket.
    pub fn ip(&self) -> Option<IpAddr> {
        self.as_ip().map(|address| address.ip())
    }

    /// The port, unless this is a unix socket.
    pub fn port(&self) -> Option<u16> {
        self.as_ip().map(|address| address.port())
    }
}

impl From<Address> for PeerAddress {
    /// The address as logs and filters see it.
    fn from(address: Address) -> PeerAddress {
        match address {
            Address::Ip(address) => PeerAddress::Ip(address),
            Address::Unix(path) => PeerAddress::Unix(path.to_string_lossy().into()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Ip(address)
    }
}

impl fmt::Display for Address {
    /// As Envoy prints it: `127.0.0.1:80`, `[::1]:80`, `/run/app.sock`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Ip(address) => address.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_envoy_does() {
        let v6 = Address::Ip("[::1]:80".parse().expect("an address"));
        assert_eq!(v6.to_string(), "[::1]:80");
        assert_eq!(Address::unix("/run/app.sock").to_string(), "/run/app.sock");
        assert_eq!(v6.port(), Some(80));
    }

    #[test]
    fn the_kernels_form_and_back() {
        for text in ["/run/app.sock", "@abstract"] {
            let address = Address::unix(text);
            let kernel = address.to_sock_addr().expect("a short path");
            assert_eq!(Address::from_sock_addr(&kernel), address);
        }
        assert!(Address::unix("x".repeat(200)).to_sock_addr().is_err());
    }
}
