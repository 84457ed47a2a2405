//! From a load assignment and what its names stand for to a host set. Sans-io.
//!
//! `STATIC`: the addresses. `STRICT_DNS`: every address of every name. `LOGICAL_DNS`: one host for the name,
//! at its first address.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::DnsAnswer;
use crate::config::Address as ConfigAddress;
use crate::config::cluster::{DiscoveryType, Endpoint, LoadAssignment, Locality};
use crate::io::Address;
use crate::upstream::host_set::{HostKey, HostSet, HostSetBuilder, HostTemplate};

/// A name to resolve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsTarget {
    /// Position among the endpoints.
    pub index: usize,
    /// The name.
    pub name: String,
}

/// What an answer changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Other hosts than before.
    Changed,
    /// The same hosts (`update_no_rebuild`).
    Unchanged,
    /// No address for a logical host, which stays where it was (`update_empty`).
    Empty,
}

/// The endpoints of a cluster with what is known about their names.
#[derive(Debug)]
pub struct Targets {
    endpoints: Vec<Target>,
    is_logical: bool,
    /// Of hosts that were discovered; those of the configuration have the cluster's.
    overprovisioning_percent: Option<u32>,
}

#[derive(Debug)]
struct Target {
    endpoint: Endpoint,
    priority: u32,
    locality: Arc<Locality>,
    /// Of the name; none while it was never resolved.
    addresses: Option<Vec<IpAddr>>,
}

impl Targets {
    /// The endpoints of `assignment`; names are not resolved yet.
    pub fn new(assignment: &LoadAssignment, discovery: &DiscoveryType) -> Targets {
        let of_locality = assignment.localities.iter().flat_map(|group| {
            let locality = Arc::new(group.locality.clone());
            group.endpoints.iter().map(move |endpoint| Target {
                endpoint: endpoint.clone(),
                priority: group.priority,
                locality: Arc::clone(&locality),
                addresses: None,
            })
        });
        Targets {
            endpoints: of_locality.collect(),
            is_logical: matches!(discovery, DiscoveryType::LogicalDns(_)),
            overprovisioning_percent: matches!(discovery, DiscoveryType::Eds(_))
                .then_some(assignment.overprovisioning_factor),
        }
    }

    /// The names to resolve, each with its place.
    pub fn names(&self) -> impl Iterator<Item = DnsTarget> {
        self.endpoints.iter().enumerate().filter_map(|(index, target)| match &target.endpoint.address {
            ConfigAddress::Name { host, .. } => Some(DnsTarget { index, name: host.clone() }),
            _ => None,
        })
    }

    /// Takes over what the name at `index` stands for now.
    pub fn resolved(&mut self, index: usize, answer: &DnsAnswer) -> Resolution {
        let Some(target) = self.endpoints.get_mut(index) else {
            return Resolution::Unchanged;
        };
        let mut addresses = answer.addresses.clone();
        if self.is_logical {
            addresses.truncate(1);
            if addresses.is_empty() {
                return Resolution::Empty;
            }
        }
        let known = target.addresses.get_or_insert_default();
        // Servers rotate their answers: another order is no change.
        let is_same = known.len() == addresses.len() && known.iter().all(|ip| addresses.contains(ip));
        if is_same {
            return Resolution::Unchanged;
        }
        *known = addresses;
        Resolution::Changed
    }

    /// The hosts as far as they are known; those of `previous` keep their identity.
    pub fn host_set(&self, previous: &HostSet, template: &HostTemplate) -> Arc<HostSet> {
        let mut builder = HostSetBuilder::new(previous, template);
        for target in &self.endpoints {
            let endpoint = &target.endpoint;
            match &endpoint.address {
                ConfigAddress::Socket(address) => target.add(&mut builder, Address::Ip(*address), None),
                ConfigAddress::Pipe(pipe) => target.add(&mut builder, Address::unix(&pipe.path), None),
                ConfigAddress::Name { host, port } => {
                    let logical = self.is_logical.then(|| HostKey::Logical(format!("{host}:{port}").into()));
                    for ip in target.addresses.iter().flatten() {
                        let address = Address::Ip(SocketAddr::new(*ip, *port));
                        target.add(&mut builder, address, logical.clone());
                    }
                }
            }
        }
        if let Some(percent) = self.overprovisioning_percent {
            builder.overprovisioning_percent(percent);
        }
        builder.build()
    }
}

impl Target {
    fn add(&self, builder: &mut HostSetBuilder<'_>, address: Address, key: Option<HostKey>) {
        let hostname = match &self.endpoint.address {
            ConfigAddress::Name { host, .. } if self.endpoint.hostname.is_empty() => host.as_str(),
            _ => self.endpoint.hostname.as_str(),
        };
        let key = key.unwrap_or_else(|| HostKey::Address(address.clone()));
        builder.add(key, address, hostname.into(), &self.endpoint, self.priority, &self.locality);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::cluster::{DnsOptions, LocalityEndpoints};
    use crate::upstream::host_set::testing::endpoint;

    fn assignment(names: &[&str]) -> LoadAssignment {
        let mut endpoints = vec![endpoint(([10, 0, 0, 9], 80).into())];
        endpoints.extend(names.iter().map(|name| Endpoint {
            address: ConfigAddress::Name { host: (*name).to_owned(), port: 80 },
            ..endpoint(([0, 0, 0, 0], 0).into())
        }));
        LoadAssignment {
            localities: vec![LocalityEndpoints {
                locality: Locality::default(),
                priority: 0,
                load_balancing_weight: None,
                endpoints,
            }],
            ..LoadAssignment::default()
        }
    }

    fn host_set(targets: &Targets, previous: &HostSet) -> Arc<HostSet> {
        targets.host_set(previous, &HostTemplate { workers: 1, ..HostTemplate::default() })
    }

    fn answer(addresses: &[[u8; 4]]) -> DnsAnswer {
        DnsAnswer { addresses: addresses.iter().map(|ip| (*ip).into()).collect(), ttl: None }
    }

    fn addresses(hosts: &HostSet) -> Vec<String> {
        hosts.hosts().iter().map(|host| host.address.to_string()).collect()
    }

    #[test]
    fn strict_dns_makes_a_host_of_every_address() {
        let discovery = DiscoveryType::StrictDns(DnsOptions::default());
        let mut targets = Targets::new(&assignment(&["a", "b"]), &discovery);
        assert_eq!(targets.names().map(|target| target.name).collect::<Vec<_>>(), ["a", "b"]);
        let first = host_set(&targets, &HostSet::default());
        assert_eq!(addresses(&first), ["10.0.0.9:80"], "literals need no answer");

        assert_eq!(targets.resolved(1, &answer(&[[10, 0, 0, 1], [10, 0, 0, 2]])), Resolution::Changed);
        assert_eq!(targets.resolved(1, &answer(&[[10, 0, 0, 2], [10, 0, 0, 1]])), Resolution::Unchanged);
        assert_eq!(targets.resolved(2, &answer(&[[10, 0, 0, 2]])), Resolution::Changed);
        let second = host_set(&targets, &first);
        assert_eq!(addresses(&second), ["10.0.0.9:80", "10.0.0.1:80", "10.0.0.2:80"]);
        assert_eq!(&*second.hosts()[1].hostname, "a");
        assert!(Arc::ptr_eq(&first.hosts()[0].shared, &second.hosts()[0].shared));

        assert_eq!(targets.resolved(1, &answer(&[])), Resolution::Changed, "an empty answer removes hosts");
        assert_eq!(addresses(&host_set(&targets, &second)), ["10.0.0.9:80", "10.0.0.2:80"]);
        assert_eq!(targets.resolved(9, &answer(&[])), Resolution::Unchanged);
    }

    #[test]
    fn logical_dns_keeps_one_host_that_moves() {
        let discovery = DiscoveryType::LogicalDns(DnsOptions::default());
        let mut targets = Targets::new(&assignment(&["a"]), &discovery);
        assert_eq!(targets.resolved(1, &answer(&[])), Resolution::Empty);
        assert_eq!(targets.resolved(1, &answer(&[[10, 0, 0, 1], [10, 0, 0, 2]])), Resolution::Changed);
        let first = host_set(&targets, &HostSet::default());
        assert_eq!(addresses(&first)[1..], ["10.0.0.1:80"]);
        assert_eq!(targets.resolved(1, &answer(&[[10, 0, 0, 2]])), Resolution::Changed);
        let second = host_set(&targets, &first);
        assert_eq!(addresses(&second)[1..], ["10.0.0.2:80"]);
        assert!(Arc::ptr_eq(&first.hosts()[1].shared, &second.hosts()[1].shared));
        assert_eq!(targets.resolved(1, &answer(&[])), Resolution::Empty, "the host stays where it was");
        assert_eq!(addresses(&host_set(&targets, &second))[1..], ["10.0.0.2:80"]);
    }
}
