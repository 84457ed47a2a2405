//! Choosing a filter chain for a connection (`envoy.config.listener.v3.FilterChainMatch`).
//!
//! The criteria are asked in Envoy's order: destination port, destination address, server name, transport
//! protocol, application protocols, direct source address, source type, source address, source port. At each
//! step the most specific one that fits is taken, and there is no way back from it: a connection that fits
//! nothing further on has no chain, though a less specific beginning might have led to one. Does no I/O.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::base::ip_trie::IpTrie;
use crate::config::{CidrRange, ConnectionSourceType, FilterChainMatch};
use crate::stream_info::{ConnectionInfo, PeerAddress};

/// The chains of a listener, by what they are for.
#[derive(Debug, Default)]
pub struct ChainMatcher(Ports);

/// Two chains are for the same connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// The chain that was there first, by its number.
    pub with: usize,
}

type Ports = Choice<u16, Blocks<Names>>;
type Transports = Choice<String, Protocols>;
type Protocols = Choice<String, Blocks<SourceTypes>>;
type Sources = Blocks<Choice<u16, Leaf>>;

/// What is chosen by a value, and what if the value is none of them.
#[derive(Debug)]
struct Choice<K, T> {
    by_value: HashMap<K, T>,
    any: Option<Box<T>>,
}

/// What is chosen by the smallest block around an address.
#[derive(Debug)]
struct Blocks<T> {
    trie: IpTrie<T>,
    any: Option<Box<T>>,
}

/// By server name.
#[derive(Debug, Default)]
struct Names {
    exact: HashMap<String, Transports>,
    /// By what follows the asterisk: `.example.com`.
    wildcard: HashMap<String, Transports>,
    any: Option<Box<Transports>>,
}

#[derive(Debug, Default)]
struct SourceTypes {
    any: Option<Box<Sources>>,
    local: Option<Box<Sources>>,
    external: Option<Box<Sources>>,
}

/// A chain's number.
#[derive(Debug, Default)]
struct Leaf(Option<usize>);

impl ChainMatcher {
    /// Adds the chain with this number.
    ///
    /// # Errors
    /// If another chain is for some of the same connections, with criteria of the same kinds.
    pub fn add(&mut self, chain: usize, criteria: &FilterChainMatch) -> Result<(), Overlap> {
        let FilterChainMatch { destination_port, prefix_ranges, direct_source_prefix_ranges, .. } = criteria;
        self.0.at(*destination_port, &mut |names: &mut Blocks<Names>| {
            names.each(prefix_ranges, &mut |names| {
                names.each(&criteria.server_names, &mut |transports| {
                    let transport = (!criteria.transport_protocol.is_empty())
                        .then(|| criteria.transport_protocol.clone());
                    transports.at(transport, &mut |protocols| {
                        protocols.each(&criteria.application_protocols, &mut |sources| {
                            sources.each(direct_source_prefix_ranges, &mut |types| {
                                let sources = types.at(criteria.source_type);
                                sources.each(&criteria.source_prefix_ranges, &mut |ports| {
                                    ports.each(&criteria.source_ports, &mut |leaf| leaf.set(chain))
                                })
                            })
                        })
                    })
                })
            })
        })
    }

    /// The number of the chain for a connection.
    pub fn find(&self, connection: &ConnectionInfo) -> Option<usize> {
        let local = &connection.local_address;
        let names = self.0.find(local.port().as_ref())?.find(local)?;
        let protocols = names
            .find(connection.requested_server_name.as_deref().unwrap_or_default())?
            .find(Some(connection.transport_protocol))?;
        let direct = protocols.find_first(&connection.application_protocols)?;
        let types = direct.find(&connection.direct_remote_address)?;
        let sources = types.find(connection)?;
        sources.find(&connection.remote_address)?.find(connection.remote_address.port().as_ref())?.0
    }
}

/// What is done with each place that a chain's criteria lead to.
type Visit<'v, T> = &'v mut dyn FnMut(&mut T) -> Result<(), Overlap>;

impl<K: Hash + Eq + Clone, T: Default> Choice<K, T> {
    fn at(&mut self, value: Option<K>, visit: Visit<'_, T>) -> Result<(), Overlap> {
        match value {
            Some(value) => visit(self.by_value.entry(value).or_default()),
            None => visit(self.any.get_or_insert_default()),
        }
    }

    fn each(&mut self, values: &[K], visit: Visit<'_, T>) -> Result<(), Overlap> {
        if values.is_empty() {
            return self.at(None, visit);
        }
        values.iter().try_for_each(|value| self.at(Some(value.clone()), visit))
    }

    fn find<Q: Hash + Eq + ?Sized>(&self, value: Option<&Q>) -> Option<&T>
    where
        K: Borrow<Q>,
    {
        value.and_then(|value| self.by_value.get(value)).or(self.any.as_deref())
    }
}

impl<T: Default> Choice<String, T> {
    fn find_first(&self, values: &[Arc<str>]) -> Option<&T> {
        values.iter().find_map(|value| self.by_value.get(&**value)).or(self.any.as_deref())
    }
}

impl<T: Default> Blocks<T> {
    fn each(&mut self, ranges: &[CidrRange], visit: Visit<'_, T>) -> Result<(), Overlap> {
        if ranges.is_empty() {
            return visit(self.any.get_or_insert_default());
        }
        ranges.iter().try_for_each(|range| {
            visit(self.trie.entry(range.address, range.prefix_len).get_or_insert_default())
        })
    }

    fn find(&self, address: &PeerAddress) -> Option<&T> {
        address.ip().and_then(|ip| self.trie.get(ip)).or(self.any.as_deref())
    }
}

impl Names {
    fn each(&mut self, names: &[String], visit: Visit<'_, Transports>) -> Result<(), Overlap> {
        if names.is_empty() {
            return visit(self.any.get_or_insert_default());
        }
        names.iter().try_for_each(|name| {
            visit(match name.strip_prefix('*') {
                Some(suffix) => self.wildcard.entry(suffix.to_owned()).or_default(),
                None => self.exact.entry(name.clone()).or_default(),
            })
        })
    }

    fn find(&self, name: &str) -> Option<&Transports> {
        if let Some(found) = self.exact.get(name) {
            return Some(found);
        }
        if !self.wildcard.is_empty() {
            // The longest suffix first; the asterisk stands for a label at least.
            let dots = name.match_indices('.').map(|(at, _)| at).filter(|&at| at > 0);
            if let Some(found) = dots.into_iter().find_map(|at| self.wildcard.get(&name[at..])) {
                return Some(found);
            }
        }
        self.any.as_deref()
    }
}

impl SourceTypes {
    fn at(&mut self, kind: ConnectionSourceType) -> &mut Sources {
        let place = match kind {
            ConnectionSourceType::Any => &mut self.any,
            ConnectionSourceType::SameIpOrLoopback => &mut self.local,
            ConnectionSourceType::External => &mut self.external,
        };
        place.get_or_insert_default()
    }

    fn find(&self, connection: &ConnectionInfo) -> Option<&Sources> {
        let specific = if is_local(connection) { &self.local } else { &self.external };
        specific.as_deref().or(self.any.as_deref())
    }
}

/// Whether both ends are on this host. Of loopback addresses only the first one counts, as in Envoy.
fn is_local(connection: &ConnectionInfo) -> bool {
    let is_first_loopback =
        |ip| ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST);
    match (connection.remote_address.ip(), connection.local_address.ip()) {
        (Some(remote), local) => is_first_loopback(remote) || Some(remote) == local,
        // Unix sockets do not leave the host.
        (None, _) => true,
    }
}

impl Leaf {
    fn set(&mut self, chain: usize) -> Result<(), Overlap> {
        match self.0 {
            Some(with) if with != chain => Err(Overlap { with }),
            _ => {
                self.0 = Some(chain);
                Ok(())
            }
        }
    }
}

impl<K, T> Default for Choice<K, T> {
    fn default() -> Choice<K, T> {
        Choice { by_value: HashMap::new(), any: None }
    }
}

impl<T> Default for Blocks<T> {
    fn default() -> Blocks<T> {
        Blocks { trie: IpTrie::new(), any: None }
    }
}

#[cfg(test)]
mod tests;
