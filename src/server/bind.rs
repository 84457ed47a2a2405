//! Binds listeners' sockets on the control thread, so that a port in use is a clear error before any worker
//! hears of it. They listen only once the listener serves: until then clients are refused instead of kept
//! waiting.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use crate::config::{ListenAddress, Listener};
use crate::io::{self, Address, ListenOptions};
use crate::listener::listen_options;

/// The sockets of one address of a listener, bound and not listening yet.
#[derive(Debug)]
pub struct Bound {
    /// Where they are, with the port that the kernel chose.
    pub address: Address,
    /// One for each worker.
    pub sockets: Vec<OwnedFd>,
    listener: String,
    options: ListenOptions,
}

/// Why a listener cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("listener '{listener}' cannot listen on {address}: {error}{hint}")]
pub struct BindError {
    /// Its name.
    pub listener: String,
    /// The address.
    pub address: Address,
    /// What the operating system says.
    pub error: std::io::Error,
    /// What may help.
    pub hint: &'static str,
}

impl Bound {
    /// Binds one address of a listener for `workers` workers. `is_ours`: sockets of this process may have it
    /// already.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind(
        listener: &Listener,
        at: &ListenAddress,
        workers: usize,
        is_ours: bool,
    ) -> Result<Bound, BindError> {
        let options = listen_options(listener, at);
        let name = listener.name.clone();
        match bind_address(options.clone(), workers, is_ours) {
            Ok((address, sockets)) => Ok(Bound { address, sockets, listener: name, options }),
            Err(error) => Err(bind_error(name, options.address, error)),
        }
    }

    /// Clients are let in from now on.
    ///
    /// # Errors
    /// What the system says.
    pub fn listen(&self) -> Result<(), BindError> {
        let mut sockets = self.sockets.iter();
        let listened = sockets.try_for_each(|socket| io::start_listening(socket, &self.options));
        listened.map_err(|error| bind_error(self.listener.clone(), self.address.clone(), error))
    }
}

fn bind_error(listener: String, address: Address, error: std::io::Error) -> BindError {
    BindError { listener, address, hint: hint(&error), error }
}

fn bind_address(
    mut options: ListenOptions,
    workers: usize,
    is_ours: bool,
) -> std::io::Result<(Address, Vec<OwnedFd>)> {
    let share = !options.reuse_port || matches!(options.address, Address::Unix(_));
    if share {
        options.reuse_port = false;
        let first = io::bind_socket(&options)?;
        let address = bound_address(&first, &options.address)?;
        let mut sockets = Vec::with_capacity(workers);
        for _ in 1..workers {
            sockets.push(first.try_clone()?);
        }
        sockets.push(first);
        return Ok((address, sockets));
    }
    if !is_ours {
        ensure_unused(&options)?;
    }
    let first = io::bind_socket(&options)?;
    let address = bound_address(&first, &options.address)?;
    options.address = address.clone();
    let mut sockets = vec![first];
    for _ in 1..workers {
        sockets.push(io::bind_socket(&options)?);
    }
    Ok((address, sockets))
}

/// With SO_REUSEPORT two processes of one user could listen on the same port without noticing; a
/// socket without it finds out.
fn ensure_unused(options: &ListenOptions) -> std::io::Result<()> {
    match options.address {
        Address::Ip(address) if address.port() != 0 => {
            let alone = ListenOptions { reuse_port: false, ..options.clone() };
            io::bind_listener(&alone).map(drop)
        }
        _ => Ok(()),
    }
}

fn bound_address(socket: &OwnedFd, asked: &Address) -> std::io::Result<Address> {
    match asked {
        Address::Unix(_) => Ok(asked.clone()),
        Address::Ip(_) => {
            let address = socket2::SockRef::from(socket).local_addr()?;
            let address: Option<SocketAddr> = address.as_socket();
            address.map(Address::Ip).ok_or_else(|| std::io::Error::other("the socket has no IP address"))
        }
    }
}

fn hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => " (another process listens there already)",
        std::io::ErrorKind::PermissionDenied => " (ports below 1024 need CAP_NET_BIND_SERVICE)",
        std::io::ErrorKind::AddrNotAvailable => " (no interface has this address)",
        _ => "",
    }
}
