//! What a listening or connecting socket is given before use.
//!
//! Envoy messages: `config.core.v3.SocketOption`, `TcpKeepalive`, the socket fields of
//! `config.listener.v3.Listener`. Plain data; nothing here touches a socket.

use std::net::SocketAddr;
use std::time::Duration;

use super::Address;

/// Options of one socket. The default is what Envoy does without configuration: Nagle off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOptions {
    /// `TCP_NODELAY`; ignored on unix sockets.
    pub nodelay: bool,
    /// TCP keep-alive probes; `None` leaves them off.
    pub keepalive: Option<Keepalive>,
    /// The address to connect from (`upstream_bind_config`).
    pub source_address: Option<SocketAddr>,
    /// Options passed to the kernel as they are.
    pub raw: Vec<RawSocketOption>,
}

impl Default for SocketOptions {
    fn default() -> SocketOptions {
        SocketOptions { nodelay: true, keepalive: None, source_address: None, raw: Vec::new() }
    }
}

/// TCP keep-alive; `None` means the operating system's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keepalive {
    /// Unanswered probes before the connection is dropped.
    pub probes: Option<u32>,
    /// Idle time before the first probe; whole seconds.
    pub idle: Option<Duration>,
    /// Time between probes; whole seconds.
    pub interval: Option<Duration>,
}

/// One `setsockopt` call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawSocketOption {
    /// The protocol level, such as `SOL_SOCKET` (1).
    pub level: i32,
    /// The option's number within the level.
    pub name: i32,
    /// The value's bytes as the kernel takes them (an int in native byte order, or a buffer).
    pub value: Vec<u8>,
    /// When the option is set.
    pub state: SocketState,
}

/// The moment in a socket's life at which an option is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SocketState {
    /// After creation, before `bind` or `connect`.
    #[default]
    Prebind,
    /// After `bind`, before `listen`.
    Bound,
    /// After `listen`.
    Listening,
}

/// A listening socket to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenOptions {
    /// Where to listen; port 0 lets the kernel choose.
    pub address: Address,
    /// `SO_REUSEPORT`: each worker has its own socket. Ignored on unix sockets.
    pub reuse_port: bool,
    /// The longest queue of connections that wait to be accepted.
    pub backlog: u32,
    /// On `[::]`, take IPv4 connections too (Envoy's `ipv4_compat`).
    pub ipv4_compat: bool,
    /// Bind even if no interface has the address (`IP_FREEBIND`).
    pub freebind: bool,
    /// `IP_TRANSPARENT`: accept connections to addresses that are not ours.
    pub transparent: bool,
    /// Permission bits of a unix socket's file, such as `0o660`.
    pub mode: Option<u32>,
    /// Options of the listening socket, inherited by what it accepts.
    pub socket: SocketOptions,
}

/// The accept queue's length where the configuration does not say (`tcp_backlog_size`).
pub const DEFAULT_BACKLOG: u32 = 4_096;

impl ListenOptions {
    /// Defaults for a listener at `address`.
    pub fn new(address: Address) -> ListenOptions {
        ListenOptions {
            address,
            reuse_port: true,
            backlog: DEFAULT_BACKLOG,
            ipv4_compat: false,
            freebind: false,
            transparent: false,
            mode: None,
            socket: SocketOptions::default(),
        }
    }
}
