//! Network addresses as `envoy.config.core.v3.Address` gives them. Nothing is resolved here.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use envoy_types::pb::envoy::config::core::v3 as core;

use super::{Context, FieldPath};

/// Longest path of a unix-domain socket, in bytes (`sun_path`, with its final NUL).
const MAX_PIPE_PATH_BYTES: usize = 108;

/// An address to listen on or to connect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port.
    Socket(SocketAddr),
    /// A unix-domain socket.
    Pipe(Pipe),
    /// A host name and a port; only endpoints of DNS clusters have these.
    Name {
        /// Host name, as given.
        host: String,
        /// TCP port.
        port: u16,
    },
}

/// A unix-domain socket (`envoy.config.core.v3.Pipe`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pipe {
    /// Path of the socket; one that starts with `@` is in the abstract name space.
    pub path: String,
    /// Permission bits of the socket file; 0 leaves them to the umask.
    pub mode: u32,
}

impl Address {
    /// Converts an address in which names are allowed. Records errors in `context` and then gives any address.
    pub fn from_proto(proto: &core::Address, path: &FieldPath, context: &mut Context<'_>) -> Address {
        match &proto.address {
            Some(core::address::Address::SocketAddress(socket)) => {
                socket_address(socket, &path.field("socket_address"), context)
            }
            Some(core::address::Address::Pipe(pipe)) => {
                Address::Pipe(Pipe::from_proto(pipe, &path.field("pipe"), context))
            }
            Some(core::address::Address::EnvoyInternalAddress(_)) => {
                context.error(
                    &path.field("envoy_internal_address"),
                    "internal addresses are not implemented yet",
                );
                Address::unspecified()
            }
            None => {
                context.error(path, "an address is necessary");
                Address::unspecified()
            }
        }
    }

    /// Converts an address that must not be a name: `help` says what to do instead.
    pub fn from_proto_without_name(
        proto: &core::Address,
        path: &FieldPath,
        help: Option<&str>,
        context: &mut Context<'_>,
    ) -> Address {
        let address = Address::from_proto(proto, path, context);
        if let Address::Name { host, .. } = &address {
            let path = path.field("socket_address").field("address");
            let message = format!("malformed IP address: {host}");
            match help {
                Some(help) => context.error_with_help(&path, message, help),
                None => context.error(&path, message),
            }
        }
        address
    }

    fn unspecified() -> Address {
        Address::Socket(SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// The port, if the address has one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Address::Socket(address) => Some(address.port()),
            Address::Name { port, .. } => Some(*port),
            Address::Pipe(_) => None,
        }
    }
}

/// As Envoy prints addresses: `1.2.3.4:80`, `[::1]:80`, `name:80`, or the socket's path.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Socket(address) => address.fmt(f),
            Address::Pipe(pipe) => f.write_str(&pipe.path),
            Address::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

impl Pipe {
    fn from_proto(proto: &core::Pipe, path: &FieldPath, context: &mut Context<'_>) -> Pipe {
        if proto.path.len() >= MAX_PIPE_PATH_BYTES {
            let message = format!(
                "path {:?} exceeds the maximum UNIX domain socket path size of 108 bytes",
                proto.path
            );
            context.error(&path.field("path"), message);
        }
        if proto.path.starts_with('@') && proto.mode != 0 {
            context.error(&path.field("mode"), "cannot set the mode of an abstract UNIX socket");
        }
        Pipe { path: proto.path.clone(), mode: proto.mode }
    }
}

/// A block of IP addresses (`envoy.config.core.v3.CidrRange`); host bits are cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CidrRange {
    /// First address of the block.
    pub address: IpAddr,
    /// Leading bits that count: 0 to 32, or to 128 for IPv6.
    pub prefix_len: u8,
}

impl CidrRange {
    /// The block of `prefix_len` bits around `address`; a length above the family's maximum counts as the maximum.
    pub fn new(address: IpAddr, prefix_len: u8) -> CidrRange {
        let (address, prefix_len) = match address {
            IpAddr::V4(v4) => {
                let len = prefix_len.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
                (IpAddr::V4((u32::from(v4) & mask).into()), len)
            }
            IpAddr::V6(v6) => {
                let len = prefix_len.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
                (IpAddr::V6((u128::from(v6) & mask).into()), len)
            }
        };
        CidrRange { address, prefix_len }
    }

    /// Converts a block. Records errors in `context` and then gives any block.
    pub fn from_proto(proto: &core::CidrRange, path: &FieldPath, context: &mut Context<'_>) -> CidrRange {
        let prefix_len = proto.prefix_len.as_ref().map_or(0, |len| len.value);
        match proto.address_prefix.parse() {
            Ok(address) => CidrRange::new(address, u8::try_from(prefix_len).unwrap_or(u8::MAX)),
            Err(_) => {
                let message = format!("malformed IP address: {}", proto.address_prefix);
                context.error(&path.field("address_prefix"), message);
                CidrRange::new(IpAddr::from([0, 0, 0, 0]), 0)
            }
        }
    }

    /// Converts a list of blocks, the field `name` of the message at `path`.
    pub fn list(
        protos: &[core::CidrRange],
        path: &FieldPath,
        name: &str,
        context: &mut Context<'_>,
    ) -> Vec<CidrRange> {
        let ranges = protos.iter().enumerate();
        ranges.map(|(i, range)| CidrRange::from_proto(range, &path.element(name, i), context)).collect()
    }

    /// Whether `address` lies in the block. An IPv4 address never lies in an IPv6 block.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.address.is_ipv4()
            && CidrRange::new(address, self.prefix_len).address == self.address
    }
}

/// As Envoy prints blocks: `10.0.0.0/8`.
impl fmt::Display for CidrRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// Converts a socket address: an IP address where it is one, else a name.
fn socket_address(proto: &core::SocketAddress, path: &FieldPath, context: &mut Context<'_>) -> Address {
    use core::socket_address::{PortSpecifier, Protocol};
    if context.enum_value::<Protocol>(proto.protocol, &path.field("protocol")) == Protocol::Udp {
        context.error(&path.field("protocol"), "UDP is not implemented yet");
    }
    let port = match &proto.port_specifier {
        Some(PortSpecifier::PortValue(port)) => u16::try_from(*port).unwrap_or_else(|_| {
            context.error(&path.field("port_value"), format!("{port} is no port: the largest is 65535"));
            0
        }),
        Some(PortSpecifier::NamedPort(name)) => {
            context.error_with_help(
                &path.field("named_port"),
                format!("the port {name:?} has no number"),
                "give the number as port_value",
            );
            0
        }
        None => 0,
    };
    match proto.address.parse::<IpAddr>() {
        Ok(address) => Address::Socket(SocketAddr::new(address, port)),
        Err(_) => Address::Name { host: proto.address.clone(), port },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_clear_host_bits_and_keep_families_apart() {
        let block = CidrRange::new("10.1.2.3".parse().unwrap(), 8);
        assert_eq!(block.to_string(), "10.0.0.0/8");
        assert!(block.contains("10.200.0.1".parse().unwrap()));
        assert!(!block.contains("11.0.0.1".parse().unwrap()));
        assert!(!block.contains("::a:1".parse().unwrap()));
        let all = CidrRange::new("1.2.3.4".parse().unwrap(), 0);
        assert!(all.contains("255.1.1.1".parse().unwrap()));
        assert_eq!(CidrRange::new("2001:db8::1".parse().unwrap(), 200).prefix_len, 128);
    }
}
