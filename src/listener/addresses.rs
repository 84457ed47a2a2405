//! Between the three forms of an address: configuration, I/O, logs.

use std::time::Duration;

use crate::config::{self, ListenAddress, Listener, SocketOptionValue};
use crate::io::{Address, Keepalive, ListenOptions, RawSocketOption, SocketOptions, SocketState};

/// What is asked of the kernel for one address of a listener.
pub fn listen_options(listener: &Listener, at: &ListenAddress) -> ListenOptions {
    let (address, mode) = to_io_address(&at.address);
    let mut options = ListenOptions::new(address);
    options.mode = mode;
    options.reuse_port = listener.enable_reuse_port;
    options.ipv4_compat = at.ipv4_compat;
    options.freebind = listener.freebind;
    options.transparent = listener.transparent;
    if let Some(backlog) = listener.tcp_backlog_size {
        options.backlog = backlog;
    }
    options.socket = socket_options(&at.socket_options, at.tcp_keepalive);
    if let Some(queue) = listener.tcp_fast_open_queue_length {
        options.socket.raw.push(RawSocketOption {
            level: libc::IPPROTO_TCP,
            name: libc::TCP_FASTOPEN,
            value: queue.to_ne_bytes().to_vec(),
            state: SocketState::Listening,
        });
    }
    options
}

/// The address as the I/O layer takes it, and the mode of a unix socket's file.
pub fn to_io_address(address: &config::Address) -> (Address, Option<u32>) {
    match address {
        config::Address::Socket(address) => (Address::Ip(*address), None),
        config::Address::Pipe(pipe) => (Address::unix(&pipe.path), (pipe.mode != 0).then_some(pipe.mode)),
        config::Address::Name { .. } => (Address::unix(""), None),
    }
}

/// A socket's configured options.
pub fn socket_options(
    configured: &[config::SocketOption],
    keepalive: Option<config::TcpKeepalive>,
) -> SocketOptions {
    let raw = configured
        .iter()
        .map(|option| RawSocketOption {
            level: option.level,
            name: option.name,
            value: match &option.value {
                SocketOptionValue::Int(number) => number.to_ne_bytes().to_vec(),
                SocketOptionValue::Bytes(bytes) => bytes.to_vec(),
            },
            state: match option.state {
                config::SocketState::Prebind => SocketState::Prebind,
                config::SocketState::Bound => SocketState::Bound,
                config::SocketState::Listening => SocketState::Listening,
            },
        })
        .collect();
    let keepalive = keepalive.map(|given| Keepalive {
        probes: given.probes,
        idle: given.time_s.map(|seconds| Duration::from_secs(seconds.into())),
        interval: given.interval_s.map(|seconds| Duration::from_secs(seconds.into())),
    });
    SocketOptions { raw, keepalive, ..SocketOptions::default() }
}
