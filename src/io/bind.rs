//! Makes sockets with their options: the part that may run on any thread.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::epoll::sys;
use super::{Address, ListenOptions, SocketOptions, SocketState};

/// Makes a bound, listening socket for [`Listener::from_fd`](super::Listener::from_fd). Usable on
/// any thread, so that the control thread can report errors before workers are told. A stale unix
/// socket file at the path is replaced; a file of another kind is not.
///
/// # Errors
/// What the kernel says: address in use, permission denied, unknown option, path too long.
pub fn bind_listener(options: &ListenOptions) -> io::Result<OwnedFd> {
    let socket = bind_socket(options)?;
    start_listening(&socket, options)?;
    Ok(socket)
}

/// The first half of [`bind_listener`]: clients are still refused.
///
/// # Errors
/// As [`bind_listener`].
pub fn bind_socket(options: &ListenOptions) -> io::Result<OwnedFd> {
    let socket = new_socket(&options.address)?;
    match &options.address {
        Address::Ip(address) => prepare_ip(&socket, *address, options)?,
        Address::Unix(path) => remove_stale(path)?,
    }
    apply_options(&socket, &options.address, &options.socket)?;
    socket.bind(&options.address.to_sock_addr()?)?;
    if let (Address::Unix(path), Some(mode)) = (&options.address, options.mode) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    apply_raw(&socket, &options.socket, SocketState::Bound)?;
    Ok(socket.into())
}

/// The second half of [`bind_listener`].
///
/// # Errors
/// What the kernel says.
pub fn start_listening(socket: &OwnedFd, options: &ListenOptions) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.listen(i32::try_from(options.backlog).unwrap_or(i32::MAX))?;
    apply_raw(&socket, &options.socket, SocketState::Listening)
}

/// Makes a socket to connect to `address` with. Usable on any thread.
///
/// # Errors
/// What the kernel says, mostly about options.
pub fn client_socket(address: &Address, options: &SocketOptions, nonblocking: bool) -> io::Result<OwnedFd> {
    let socket = new_socket(address)?;
    if nonblocking {
        socket.set_nonblocking(true)?;
    }
    apply_options(&socket, address, options)?;
    if let (Some(source), Address::Ip(_)) = (options.source_address, address) {
        if source.port() == 0 {
            // Lets the kernel pick the port when the destination is known: far more connections fit.
            sys::set_option(&socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1_i32.to_ne_bytes())?;
        } else {
            socket.set_reuse_address(true)?;
        }
        socket.bind(&source.into())?;
    }
    Ok(socket.into())
}

fn new_socket(address: &Address) -> io::Result<Socket> {
    let (domain, protocol) = match address {
        Address::Ip(ip) => (Domain::for_address(*ip), Some(Protocol::TCP)),
        Address::Unix(_) => (Domain::UNIX, None),
    };
    Socket::new(domain, Type::STREAM, protocol)
}

fn prepare_ip(socket: &Socket, address: SocketAddr, options: &ListenOptions) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(!options.ipv4_compat)?;
    }
    if options.freebind || options.transparent {
        let (level, freebind, transparent) = match address.ip() {
            IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_FREEBIND, libc::IP_TRANSPARENT),
            IpAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, libc::IPV6_TRANSPARENT),
        };
        let wanted = [(options.freebind, freebind), (options.transparent, transparent)];
        for (_, name) in wanted.into_iter().filter(|(wanted, _)| *wanted) {
            sys::set_option(socket, level, name, &1_i32.to_ne_bytes())?;
        }
    }
    Ok(())
}

fn apply_options(socket: &Socket, address: &Address, options: &SocketOptions) -> io::Result<()> {
    if let Address::Ip(_) = address {
        if options.nodelay {
            socket.set_tcp_nodelay(true)?;
        }
        if let Some(keepalive) = options.keepalive {
            let mut wanted = TcpKeepalive::new();
            wanted = keepalive.idle.map_or(wanted.clone(), |time| wanted.with_time(time));
            wanted = keepalive.interval.map_or(wanted.clone(), |time| wanted.with_interval(time));
            wanted = keepalive.probes.map_or(wanted.clone(), |count| wanted.with_retries(count));
            socket.set_tcp_keepalive(&wanted)?;
        }
    }
    apply_raw(socket, options, SocketState::Prebind)
}

fn apply_raw(socket: &Socket, options: &SocketOptions, state: SocketState) -> io::Result<()> {
    for option in options.raw.iter().filter(|option| option.state == state) {
        sys::set_option(socket, option.level, option.name, &option.value)?;
    }
    Ok(())
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => std::fs::remove_file(path),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::RawSocketOption;

    fn loopback() -> ListenOptions {
        ListenOptions::new(Address::Ip("127.0.0.1:0".parse().expect("an address")))
    }

    #[test]
    fn reuse_port_shares_a_port_and_its_absence_does_not() {
        let first = bind_listener(&loopback()).expect("a listener");
        let address = socket2::SockRef::from(&first).local_addr().expect("bound");
        let mut options = loopback();
        options.address = Address::from_sock_addr(&address);
        let second = bind_listener(&options);
        assert!(second.is_ok());
        options.reuse_port = false;
        let error = bind_listener(&options).expect_err("the port is in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn raw_options_reach_the_kernel_and_bad_ones_are_refused() {
        let mut options = loopback();
        let (level, name) = (libc::SOL_SOCKET, libc::SO_PRIORITY);
        let value = 3_i32.to_ne_bytes().to_vec();
        options.socket.raw.push(RawSocketOption { level, name, value, state: SocketState::Bound });
        assert!(bind_listener(&options).is_ok());
        options.socket.raw[0].level = 12_345;
        assert!(bind_listener(&options).is_err());
    }

    #[test]
    fn a_stale_unix_socket_is_replaced_and_its_mode_set() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("listener.sock");
        let mut options = ListenOptions::new(Address::unix(&path));
        options.mode = Some(0o600);
        drop(bind_listener(&options).expect("a listener"));
        let _again = bind_listener(&options).expect("the file is stale");
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let file = directory.path().join("file");
        std::fs::write(&file, "precious").expect("written");
        assert!(bind_listener(&ListenOptions::new(Address::unix(&file))).is_err());
    }
}
