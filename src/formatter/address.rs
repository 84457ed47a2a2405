//! Prints addresses as Envoy does: `1.2.3.4:80`, `[::1]:80`, or a socket's path.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use super::number::write_u64;
use crate::stream_info::PeerAddress;

/// Appends address and port; false if there is no address.
pub fn write(address: Option<&PeerAddress>, out: &mut Vec<u8>) -> bool {
    match address {
        Some(PeerAddress::Ip(socket)) => write_socket(Some(socket), out),
        Some(PeerAddress::Unix(path)) => {
            out.extend_from_slice(path.as_bytes());
            true
        }
        None => false,
    }
}

/// Appends the address alone; false if there is none.
pub fn write_without_port(address: Option<&PeerAddress>, out: &mut Vec<u8>) -> bool {
    match address {
        Some(PeerAddress::Ip(socket)) => write_ip(Some(socket.ip()), out),
        other => write(other, out),
    }
}

/// Appends the port alone; false if there is none.
pub fn write_port(address: Option<&PeerAddress>, out: &mut Vec<u8>) -> bool {
    let Some(port) = address.and_then(PeerAddress::port) else { return false };
    write_u64(u64::from(port), out);
    true
}

/// Appends a socket address; false if there is none.
pub fn write_socket(socket: Option<&SocketAddr>, out: &mut Vec<u8>) -> bool {
    let Some(socket) = socket else { return false };
    if socket.is_ipv6() {
        out.push(b'[');
        write_ip(Some(socket.ip()), out);
        out.push(b']');
    } else {
        write_ip(Some(socket.ip()), out);
    }
    out.push(b':');
    write_u64(u64::from(socket.port()), out);
    true
}

/// Appends an IP address; false if there is none.
pub fn write_ip(ip: Option<IpAddr>, out: &mut Vec<u8>) -> bool {
    match ip {
        Some(IpAddr::V4(ip)) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    out.push(b'.');
                }
                write_u64(u64::from(octet), out);
            }
            true
        }
        // Writing to a `Vec` cannot fail.
        Some(IpAddr::V6(ip)) => write!(out, "{ip}").is_ok(),
        None => false,
    }
}

/// A host name without the port that may follow it.
pub fn host_of(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => name,
    }
}
