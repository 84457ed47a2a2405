//! Names by `/etc/hosts`, then by DNS as `/etc/resolv.conf` says. Control thread only (tokio).
//!
//! hickory-resolver rather than `getaddrinfo`: it tells times to live, asks for one family at a time, and
//! needs no thread per question. Its cache is off, as refreshing is the cluster's business. `/etc/hosts` is
//! read here instead, anew whenever the file changes; a name that stands there is never asked for on the network.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::config::ResolveHosts;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver as Hickory, ResolverBuilder, TokioResolver};

use super::{DnsAnswer, DnsFailure, HostsFile, ResolveFuture, Resolver};
use crate::config::cluster::DnsLookupFamily;

const HOSTS: &str = "/etc/hosts";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The resolver of this machine.
#[derive(Default)]
pub struct SystemResolver {
    hosts: Mutex<FromFile<HostsFile>>,
    dns: Mutex<FromFile<Option<TokioResolver>>>,
}

/// What was made of a file, and the file's age then.
#[derive(Default)]
struct FromFile<T> {
    made_from: Option<Option<SystemTime>>,
    value: T,
}

impl SystemResolver {
    /// Reads nothing yet.
    pub fn new() -> SystemResolver {
        SystemResolver::default()
    }

    fn in_hosts_file(&self, name: &str) -> Option<Vec<IpAddr>> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.renew(HOSTS, || {
            // Not UTF-8 is no reason to lose the other lines.
            HostsFile::parse(&String::from_utf8_lossy(&std::fs::read(HOSTS).unwrap_or_default()))
        });
        hosts.value.lookup(name)
    }

    fn dns(&self) -> Option<TokioResolver> {
        let mut dns = self.dns.lock().unwrap_or_else(PoisonError::into_inner);
        dns.renew(RESOLV_CONF, || prepared(Hickory::builder_tokio().ok()?));
        dns.value.clone()
    }

    async fn resolve_name(&self, name: &str, family: DnsLookupFamily) -> Result<DnsAnswer, DnsFailure> {
        if let Some(addresses) = self.in_hosts_file(name) {
            return Ok(DnsAnswer { addresses: in_family(addresses, family), ttl: None });
        }
        let failed = |reason: String| DnsFailure { name: name.to_owned(), reason };
        let dns = self.dns().ok_or_else(|| failed(format!("cannot read {RESOLV_CONF}")))?;
        let v4 = async || answer(dns.ipv4_lookup(name).await);
        let v6 = async || answer(dns.ipv6_lookup(name).await);
        let found = match family {
            DnsLookupFamily::V4Only => v4().await,
            DnsLookupFamily::V6Only => v6().await,
            DnsLookupFamily::Auto => match v6().await {
                Ok(found) if !found.addresses.is_empty() => Ok(found),
                _ => v4().await,
            },
            DnsLookupFamily::V4Preferred => match v4().await {
                Ok(found) if !found.addresses.is_empty() => Ok(found),
                _ => v6().await,
            },
            DnsLookupFamily::All => match tokio::join!(v4(), v6()) {
                (Ok(v4), Ok(v6)) => Ok(merge(v4, v6)),
                (Ok(one), Err(_)) | (Err(_), Ok(one)) if !one.addresses.is_empty() => Ok(one),
                (Err(error), _) | (_, Err(error)) => Err(error),
            },
        };
        found.map_err(|error| failed(error.to_string()))
    }
}

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str, family: DnsLookupFamily) -> ResolveFuture<'a> {
        Box::pin(self.resolve_name(name, family))
    }
}

impl<T> FromFile<T> {
    /// Makes the value anew if the file at `path` is another one than before.
    fn renew(&mut self, path: &str, make: impl FnOnce() -> T) {
        let age = std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
        if self.made_from != Some(age) {
            self.value = make();
            self.made_from = Some(age);
        }
    }
}

fn prepared(mut builder: ResolverBuilder<TokioRuntimeProvider>) -> Option<TokioResolver> {
    let options = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build().ok()
}

fn answer(found: Result<Lookup, NetError>) -> Result<DnsAnswer, NetError> {
    match found {
        Ok(lookup) => {
            let records = lookup.answers();
            Ok(DnsAnswer {
                addresses: records.iter().filter_map(|record| record.data.ip_addr()).collect(),
                ttl: records.iter().map(|record| Duration::from_secs(record.ttl.into())).min(),
            })
        }
        // "No such name" is an answer, unlike a server that fails.
        Err(error) if error.is_no_records_found() => Ok(DnsAnswer::default()),
        Err(error) => Err(error),
    }
}

fn merge(first: DnsAnswer, second: DnsAnswer) -> DnsAnswer {
    let ttl = match (first.ttl, second.ttl) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
    DnsAnswer { addresses: [first.addresses, second.addresses].concat(), ttl }
}

fn in_family(addresses: Vec<IpAddr>, family: DnsLookupFamily) -> Vec<IpAddr> {
    let (v4, v6): (Vec<_>, Vec<_>) = addresses.into_iter().partition(IpAddr::is_ipv4);
    match family {
        DnsLookupFamily::V4Only => v4,
        DnsLookupFamily::V6Only => v6,
        DnsLookupFamily::Auto if v6.is_empty() => v4,
        DnsLookupFamily::Auto => v6,
        DnsLookupFamily::V4Preferred if v4.is_empty() => v6,
        DnsLookupFamily::V4Preferred => v4,
        DnsLookupFamily::All => [v4, v6].concat(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};

    use super::*;

    #[test]
    fn families_choose_and_order() {
        let both: Vec<IpAddr> = ["10.0.0.1", "::1"].map(|ip| ip.parse().expect("an address")).into();
        let (v4, v6) = (vec![both[0]], vec![both[1]]);
        for (family, of_both, of_v4, of_v6) in [
            (DnsLookupFamily::V4Only, &v4, &v4, &vec![]),
            (DnsLookupFamily::V6Only, &v6, &vec![], &v6),
            (DnsLookupFamily::Auto, &v6, &v4, &v6),
            (DnsLookupFamily::V4Preferred, &v4, &v4, &v6),
            (DnsLookupFamily::All, &both, &v4, &v6),
        ] {
            assert_eq!(&in_family(both.clone(), family), of_both);
            assert_eq!(&in_family(v4.clone(), family), of_v4);
            assert_eq!(&in_family(v6.clone(), family), of_v6);
        }
    }

    #[tokio::test]
    async fn localhost_needs_no_network() {
        let resolver = SystemResolver::new();
        let answer = resolver.resolve("localhost", DnsLookupFamily::All).await.expect("is always known");
        assert!(!answer.addresses.is_empty() && answer.addresses.iter().all(IpAddr::is_loopback));
    }

    /// A DNS server on a thread: `two.test` has two IPv4 addresses and no other, `broken.test` fails, nothing
    /// else exists. It ends with the process.
    fn dns_server() -> u16 {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = socket.local_addr().expect("an address").port();
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((len, peer)) = socket.recv_from(&mut question) {
                let _ = socket.send_to(&dns_reply(&question[..len]), peer);
            }
        });
        port
    }

    /// The reply to a question (RFC 1035 section 4).
    fn dns_reply(question: &[u8]) -> Vec<u8> {
        let name_end = 12 + question[12..].iter().position(|byte| *byte == 0).expect("a name") + 1;
        let name = question[12..name_end].to_ascii_lowercase();
        let is_v4 = question[name_end..name_end + 2] == [0, 1];
        let (code, addresses) = match name.as_slice() {
            b"\x03two\x04test\0" if is_v4 => (0, &[[10, 0, 0, 1], [10, 0, 0, 2]][..]),
            b"\x03two\x04test\0" => (0, &[][..]),
            b"\x06broken\x04test\0" => (2, &[][..]),
            _ => (3, &[][..]),
        };
        let mut reply = question[..2].to_vec();
        reply.extend([0x81, 0x80 | code, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
        reply.extend(&question[12..name_end + 4]);
        for address in addresses {
            reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 7, 0, 4]);
            reply.extend(address);
        }
        reply
    }

    #[tokio::test]
    async fn answers_of_a_server() {
        let mut udp = ConnectionConfig::udp();
        udp.port = dns_server();
        let server = NameServerConfig::new([127, 0, 0, 1].into(), true, vec![udp]);
        let config = ResolverConfig::from_parts(None, vec![], vec![server]);
        let dns = prepared(Hickory::builder_with_config(config, TokioRuntimeProvider::default()));
        let mut resolver = SystemResolver::new();
        let made_from = std::fs::metadata(RESOLV_CONF).and_then(|meta| meta.modified()).ok();
        resolver.dns = Mutex::new(FromFile { made_from: Some(made_from), value: dns });

        let two: Vec<IpAddr> = vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        for family in [DnsLookupFamily::V4Only, DnsLookupFamily::Auto, DnsLookupFamily::V4Preferred] {
            let answer = resolver.resolve("two.test", family).await.expect("an answer");
            assert_eq!(
                (answer.addresses, answer.ttl),
                (two.clone(), Some(Duration::from_secs(7))),
                "{family:?}"
            );
        }
        let all = resolver.resolve("two.test", DnsLookupFamily::All).await.expect("an answer");
        assert_eq!(all.addresses, two);
        for name in ["two.test", "unknown.test"] {
            let none = resolver.resolve(name, DnsLookupFamily::V6Only).await;
            assert_eq!(none, Ok(DnsAnswer::default()), "{name}");
        }
        let failure = resolver.resolve("broken.test", DnsLookupFamily::Auto).await.expect_err("it fails");
        assert_eq!(failure.name, "broken.test");
    }
}
