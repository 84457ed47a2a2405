//! Options of sockets (`envoy.config.core.v3.SocketOption`, `TcpKeepalive`, `BindConfig`).

use std::net::SocketAddr;

use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;

use super::{Address, Context, FieldPath};

/// One `setsockopt` call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketOption {
    /// `level` of setsockopt, e.g. `SOL_SOCKET`.
    pub level: i32,
    /// `optname` of setsockopt.
    pub name: i32,
    /// What to set.
    pub value: SocketOptionValue,
    /// When to set it.
    pub state: SocketState,
}

/// Value of a socket option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketOptionValue {
    /// Passed as a C `int`.
    Int(i32),
    /// Passed as it is.
    Bytes(Bytes),
}

/// The moment at which a socket option is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketState {
    /// Before `bind` (for upstream sockets: before `connect`).
    Prebind,
    /// After `bind`, before `listen`.
    Bound,
    /// After `listen`.
    Listening,
}

/// TCP keep-alive. What is not set is left to the operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpKeepalive {
    /// Unanswered probes before the connection is dropped.
    pub probes: Option<u32>,
    /// Idle seconds before the first probe.
    pub time_s: Option<u32>,
    /// Seconds between probes.
    pub interval_s: Option<u32>,
}

/// How upstream sockets are bound before they connect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BindConfig {
    /// Local address; none lets the kernel choose.
    pub source_address: Option<SocketAddr>,
    /// Allow binding an address that no interface has (`IP_FREEBIND`).
    pub freebind: bool,
    /// Further options of the socket.
    pub socket_options: Vec<SocketOption>,
}

impl SocketOption {
    /// Converts the options in the list field `name` of the message at `path`.
    pub fn list(
        protos: &[core::SocketOption],
        path: &FieldPath,
        name: &str,
        context: &mut Context<'_>,
    ) -> Vec<SocketOption> {
        let options = protos.iter().enumerate();
        options.map(|(i, option)| SocketOption::from_proto(option, &path.element(name, i), context)).collect()
    }

    fn from_proto(proto: &core::SocketOption, path: &FieldPath, context: &mut Context<'_>) -> SocketOption {
        use core::socket_option::{SocketState as State, Value};
        let mut int = |value: i64, field: &str| {
            i32::try_from(value).unwrap_or_else(|_| {
                context.error(&path.field(field), format!("{value} does not fit a C int"));
                0
            })
        };
        let (level, name) = (int(proto.level, "level"), int(proto.name, "name"));
        let value = match &proto.value {
            Some(Value::IntValue(value)) => SocketOptionValue::Int(int(*value, "int_value")),
            Some(Value::BufValue(bytes)) => SocketOptionValue::Bytes(Bytes::copy_from_slice(bytes)),
            None => SocketOptionValue::Int(0),
        };
        let state = match context.enum_value(proto.state, &path.field("state")) {
            State::StatePrebind => SocketState::Prebind,
            State::StateBound => SocketState::Bound,
            State::StateListening => SocketState::Listening,
        };
        SocketOption { level, name, value, state }
    }
}

impl TcpKeepalive {
    /// Converts keep-alive settings.
    pub fn from_proto(proto: &core::TcpKeepalive) -> TcpKeepalive {
        let value = |wrapper: &Option<envoy_types::pb::google::protobuf::UInt32Value>| {
            wrapper.as_ref().map(|wrapper| wrapper.value)
        };
        TcpKeepalive {
            probes: value(&proto.keepalive_probes),
            time_s: value(&proto.keepalive_time),
            interval_s: value(&proto.keepalive_interval),
        }
    }
}

impl BindConfig {
    /// Converts how upstream sockets are bound.
    pub fn from_proto(proto: &core::BindConfig, path: &FieldPath, context: &mut Context<'_>) -> BindConfig {
        let source_address = proto.source_address.as_ref().and_then(|source| {
            let address =
                core::Address { address: Some(core::address::Address::SocketAddress(source.clone())) };
            match Address::from_proto(&address, &path.field("source_address"), context) {
                Address::Socket(address) => Some(address),
                _ => {
                    let message = format!("malformed IP address: {}", source.address);
                    context.error(&path.field("source_address").field("address"), message);
                    None
                }
            }
        });
        BindConfig {
            source_address,
            freebind: proto.freebind.as_ref().is_some_and(|freebind| freebind.value),
            socket_options: SocketOption::list(&proto.socket_options, path, "socket_options", context),
        }
    }
}
