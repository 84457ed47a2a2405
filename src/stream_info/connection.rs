//! Facts about one downstream connection, shared by all its streams.

use std::cell::{Cell, OnceCell};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use crate::http::Version;
use crate::tls::HandshakeFacts;

/// The address of a peer or of our own end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PeerAddress {
    /// A TCP or UDP address.
    Ip(SocketAddr),
    /// A unix-socket path; empty for an unnamed peer.
    Unix(Arc<str>),
}

impl PeerAddress {
    /// The IP address, if there is one.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            PeerAddress::Ip(address) => Some(address.ip()),
            PeerAddress::Unix(_) => None,
        }
    }

    /// The port, if there is one.
    pub fn port(&self) -> Option<u16> {
        match self {
            PeerAddress::Ip(address) => Some(address.port()),
            PeerAddress::Unix(_) => None,
        }
    }
}

/// As Envoy prints addresses: `1.2.3.4:80`, `[::1]:80`, or the socket's path.
impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddress::Ip(address) => address.fmt(f),
            PeerAddress::Unix(path) => f.write_str(path),
        }
    }
}

/// Facts about one downstream connection.
#[derive(Debug, Clone)]
pub struct ConnectionInfo {
    /// Unique in the process.
    pub id: u64,
    /// Our end.
    pub local_address: PeerAddress,
    /// The peer, after listener filters had their say (PROXY protocol).
    pub remote_address: PeerAddress,
    /// The peer as the kernel sees it.
    pub direct_remote_address: PeerAddress,
    /// Server name asked for in TLS, in lower case; none without TLS.
    pub requested_server_name: Option<Arc<str>>,
    /// Application protocols that the client offers, as far as listener filters have found out.
    pub application_protocols: Vec<Arc<str>>,
    /// What the first bytes look like: `tls` or `raw_buffer`; empty until listener filters are done.
    pub transport_protocol: &'static str,
    /// What the TLS handshake has settled; none on a plain connection.
    pub tls: Option<Rc<HandshakeFacts>>,
    /// Name of the filter chain in use; may be empty.
    pub filter_chain_name: Arc<str>,
    /// Why the proxy ended the connection, if it did.
    pub termination_details: OnceCell<Arc<str>>,
    /// Why its transport socket failed, if it did.
    pub transport_failure_reason: OnceCell<Arc<str>>,
    /// The version of HTTP that its first bytes were of; none if they were of none, or have not come.
    pub protocol: Cell<Option<Version>>,
    /// The client has broken that protocol, or spoke none.
    pub is_protocol_broken: Cell<bool>,
}

impl ConnectionInfo {
    /// What the kernel says of a new connection.
    pub fn new(id: u64, local_address: PeerAddress, remote_address: PeerAddress) -> ConnectionInfo {
        ConnectionInfo {
            id,
            local_address,
            direct_remote_address: remote_address.clone(),
            remote_address,
            requested_server_name: None,
            application_protocols: Vec::new(),
            transport_protocol: "",
            tls: None,
            filter_chain_name: "".into(),
            termination_details: OnceCell::new(),
            transport_failure_reason: OnceCell::new(),
            protocol: Cell::new(None),
            is_protocol_broken: Cell::new(false),
        }
    }

    /// Whether the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The application protocol that the TLS handshake has agreed on (ALPN).
    pub fn negotiated_protocol(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.application_protocol.as_deref()
    }

    /// Notes which HTTP was understood; the first counts.
    pub fn note_protocol(&self, version: Version) {
        self.protocol.set(self.protocol.get().or(Some(version)));
    }

    /// Says why the proxy ends the connection; the first reason counts.
    pub fn set_termination_details(&self, details: impl Into<Arc<str>>) {
        // A later reason is a consequence of the first one.
        let _ = self.termination_details.set(details.into());
    }
}
