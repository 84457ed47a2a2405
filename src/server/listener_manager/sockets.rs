//! Addresses that the workers accept on, and which listener has them. They outlive listeners: a new version
//! takes the sockets of the old one over, so that no connection is refused in between.

use crate::config::{ListenAddress, Listener};
use crate::io::Address;
use crate::server::command::{AddressId, ListenerId};

/// What makes sockets the same: the address and how it is listened on.
#[derive(Debug, Clone, PartialEq)]
pub struct AddressKey {
    at: ListenAddress,
    enable_reuse_port: bool,
    backlog: Option<u32>,
    freebind: bool,
    transparent: bool,
    fast_open: Option<u32>,
    /// Of a port that the kernel chooses: it belongs to the listener of this name.
    listener: Option<String>,
}

/// Sockets that workers accept on.
#[derive(Debug)]
pub struct OpenAddress {
    /// Their name.
    pub id: AddressId,
    /// How they are known.
    pub key: AddressKey,
    /// Where they are, with the port that the kernel chose.
    pub address: Address,
    /// Whose connections are accepted.
    pub owner: ListenerId,
}

impl AddressKey {
    /// The addresses of a listener; none for one that is not bound.
    pub fn all_of(listener: &Listener) -> impl Iterator<Item = (&ListenAddress, AddressKey)> {
        let addresses = listener.addresses.iter().filter(|_| listener.bind_to_port);
        addresses.map(|at| (at, AddressKey::new(listener, at)))
    }

    fn new(listener: &Listener, at: &ListenAddress) -> AddressKey {
        AddressKey {
            at: at.clone(),
            enable_reuse_port: listener.enable_reuse_port,
            backlog: listener.tcp_backlog_size,
            freebind: listener.freebind,
            transparent: listener.transparent,
            fast_open: listener.tcp_fast_open_queue_length,
            listener: (at.address.port() == Some(0)).then(|| listener.name.clone()),
        }
    }

    /// Whether both are at the same place, however they listen there.
    pub fn is_at_same_place(&self, other: &AddressKey) -> bool {
        self.at.address == other.at.address && self.listener == other.listener
    }
}
