//! The matcher on examples, and beside a list of criteria that is narrowed down step by step.

use proptest::prelude::*;

use super::*;

fn address(text: &str) -> PeerAddress {
    PeerAddress::Ip(text.parse().expect("an address"))
}

fn connection(local: &str, remote: &str) -> ConnectionInfo {
    ConnectionInfo::new(1, address(local), address(remote))
}

fn range(text: &str) -> CidrRange {
    let (ip, len) = text.split_once('/').expect("a block");
    CidrRange::new(ip.parse().expect("an address"), len.parse().expect("a length"))
}

fn matcher(criteria: &[FilterChainMatch]) -> ChainMatcher {
    let mut matcher = ChainMatcher::default();
    for (chain, criteria) in criteria.iter().enumerate() {
        matcher.add(chain, criteria).expect("no overlap");
    }
    matcher
}

fn names(names: &[&str]) -> FilterChainMatch {
    FilterChainMatch {
        server_names: names.iter().map(|name| (*name).to_owned()).collect(),
        ..FilterChainMatch::default()
    }
}

#[test]
fn the_most_specific_name_wins() {
    let matcher = matcher(&[
        names(&["a.example.com", "b.example.com"]),
        names(&["*.example.com"]),
        names(&["*.com"]),
        names(&[]),
    ]);
    let find = |name: &str| {
        let mut connection = connection("1.2.3.4:443", "5.6.7.8:1");
        connection.requested_server_name = Some(name.into());
        matcher.find(&connection)
    };
    assert_eq!(find("b.example.com"), Some(0));
    assert_eq!(find("x.y.example.com"), Some(1));
    assert_eq!(find("example.com"), Some(2));
    assert_eq!(find("com"), Some(3));
    assert_eq!(find(".com"), Some(3), "the asterisk stands for something");
    assert_eq!(find(""), Some(3));
}

#[test]
fn there_is_no_way_back_from_a_step() {
    let port = FilterChainMatch {
        destination_port: Some(443),
        server_names: vec!["a".into()],
        ..FilterChainMatch::default()
    };
    let matcher = matcher(&[port, FilterChainMatch::default()]);
    let mut to_443 = connection("1.2.3.4:443", "5.6.7.8:1");
    assert_eq!(matcher.find(&to_443), None, "the port leads away from the chain for all");
    to_443.requested_server_name = Some("a".into());
    assert_eq!(matcher.find(&to_443), Some(0));
    assert_eq!(matcher.find(&connection("1.2.3.4:80", "5.6.7.8:1")), Some(1));
}

#[test]
fn addresses_protocols_and_sources() {
    let with = |change: fn(&mut FilterChainMatch)| {
        let mut criteria = FilterChainMatch::default();
        change(&mut criteria);
        criteria
    };
    let matcher = matcher(&[
        with(|c| c.prefix_ranges = vec![range("10.0.0.0/8")]),
        with(|c| c.prefix_ranges = vec![range("10.1.0.0/16"), range("10.2.0.0/16")]),
        with(|c| c.transport_protocol = "tls".into()),
        with(|c| c.application_protocols = vec!["h2".into(), "http/1.1".into()]),
        with(|c| c.source_type = ConnectionSourceType::SameIpOrLoopback),
        with(|c| c.source_prefix_ranges = vec![range("5.0.0.0/8")]),
        with(|c| {
            c.source_prefix_ranges = vec![range("5.0.0.0/8")];
            c.source_ports = vec![77, 78];
        }),
    ]);
    let find = |local: &str, remote: &str| matcher.find(&connection(local, remote));
    assert_eq!(find("10.9.0.1:1", "9.9.9.9:1"), Some(0));
    assert_eq!(find("10.2.0.1:1", "9.9.9.9:1"), Some(1));
    assert_eq!(find("1.1.1.1:1", "127.0.0.1:1"), Some(4));
    assert_eq!(find("1.1.1.1:1", "1.1.1.1:2"), Some(4));
    assert_eq!(find("1.1.1.1:1", "5.5.5.5:2"), Some(5));
    assert_eq!(find("1.1.1.1:1", "5.5.5.5:78"), Some(6));
    assert_eq!(find("1.1.1.1:1", "6.5.5.5:78"), None);
    let mut tls = connection("1.1.1.1:1", "6.6.6.6:6");
    tls.transport_protocol = "tls";
    assert_eq!(matcher.find(&tls), Some(2));
    let mut http = connection("1.1.1.1:1", "6.6.6.6:6");
    http.application_protocols = vec!["x".into(), "http/1.1".into()];
    assert_eq!(matcher.find(&http), Some(3));
    let unix = || PeerAddress::Unix("".into());
    assert_eq!(matcher.find(&ConnectionInfo::new(1, unix(), unix())), Some(4));
}

#[test]
fn overlaps_are_found() {
    let mut matcher = matcher(&[names(&["a", "b"])]);
    assert_eq!(matcher.add(1, &names(&["c", "b"])), Err(Overlap { with: 0 }));
    assert_eq!(matcher.add(2, &names(&["d"])), Ok(()));
    assert_eq!(matcher.add(3, &names(&["e", "e"])), Ok(()), "a chain is no rival to itself");
}

/// Does what Envoy's documentation says with a plain list: at each step the candidates with the most specific
/// criterion that fits stay, or those without any.
mod naive {
    use super::*;

    /// How well a criterion fits.
    enum Fit {
        /// The larger, the more specific.
        Specific(usize),
        /// The chain does not ask.
        Any,
        No,
    }

    pub fn find(criteria: &[FilterChainMatch], connection: &ConnectionInfo) -> Option<usize> {
        let mut left: Vec<usize> = (0..criteria.len()).collect();
        let mut step = |fit: &dyn Fn(&FilterChainMatch) -> Fit| {
            let rank = |chain: &usize| match fit(&criteria[*chain]) {
                Fit::Specific(rank) => Some(rank + 1),
                Fit::Any => Some(0),
                Fit::No => None,
            };
            let best = left.iter().filter_map(rank).max();
            left.retain(|chain| rank(chain).is_some() && rank(chain) == best);
        };
        step(&|c| optional(c.destination_port, connection.local_address.port()));
        step(&|c| block(&c.prefix_ranges, &connection.local_address));
        step(&|c| name(&c.server_names, connection.requested_server_name.as_deref().unwrap_or("")));
        step(&|c| match c.transport_protocol.as_str() {
            "" => Fit::Any,
            own if own == connection.transport_protocol => Fit::Specific(0),
            _ => Fit::No,
        });
        step(&|c| protocol(&c.application_protocols, &connection.application_protocols));
        step(&|c| block(&c.direct_source_prefix_ranges, &connection.direct_remote_address));
        step(&|c| match (c.source_type, is_local(connection)) {
            (ConnectionSourceType::Any, _) => Fit::Any,
            (ConnectionSourceType::SameIpOrLoopback, true) | (ConnectionSourceType::External, false) => {
                Fit::Specific(0)
            }
            _ => Fit::No,
        });
        step(&|c| block(&c.source_prefix_ranges, &connection.remote_address));
        step(&|c| {
            let port = connection.remote_address.port();
            list(&c.source_ports, &|own| (Some(*own) == port).then_some(0))
        });
        assert!(left.len() < 2, "chains {left:?} are for the same connection");
        left.pop()
    }

    fn optional(asked: Option<u16>, own: Option<u16>) -> Fit {
        match asked {
            None => Fit::Any,
            Some(_) if asked == own => Fit::Specific(0),
            Some(_) => Fit::No,
        }
    }

    fn list<T>(asked: &[T], rank: &dyn Fn(&T) -> Option<usize>) -> Fit {
        match asked.iter().filter_map(rank).max() {
            _ if asked.is_empty() => Fit::Any,
            Some(rank) => Fit::Specific(rank),
            None => Fit::No,
        }
    }

    fn block(ranges: &[CidrRange], address: &PeerAddress) -> Fit {
        list(ranges, &|range| {
            address.ip().is_some_and(|ip| range.contains(ip)).then_some(range.prefix_len.into())
        })
    }

    fn name(names: &[String], own: &str) -> Fit {
        list(names, &|name| match name.strip_prefix('*') {
            None => (name == own).then_some(1_000),
            Some(suffix) => (own.len() > suffix.len() && own.ends_with(suffix)).then_some(suffix.len()),
        })
    }

    fn protocol(protocols: &[String], own: &[Arc<str>]) -> Fit {
        list(protocols, &|protocol| {
            own.iter().position(|own| **own == **protocol).map(|position| 1_000 - position)
        })
    }
}

/// Few enough values that criteria meet.
fn few_ips() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u8..3, 0u8..3).prop_map(|(a, b)| IpAddr::from([10, a, 0, b])),
        Just(IpAddr::from([127, 0, 0, 1])),
        (0u16..2).prop_map(|a| IpAddr::from([0x2001, a, 0, 0, 0, 0, 0, 1])),
    ]
}

fn few_blocks() -> impl Strategy<Value = Vec<CidrRange>> {
    let lens = prop_oneof![Just(0u8), Just(8), Just(16), Just(32)];
    let block = (few_ips(), lens).prop_map(|(ip, len)| CidrRange::new(ip, len));
    prop_oneof![3 => Just(Vec::new()), 2 => proptest::collection::vec(block, 1..3)]
}

fn some_of<T: Clone + std::fmt::Debug + 'static>(values: &'static [T]) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![2 => Just(Vec::new()), 1 => proptest::sample::subsequence(values, 1..=values.len())]
}

const PORTS: &[u16] = &[1, 2, 3];
const NAMES: &[&str] = &["a.b.c", "*.b.c", "*.c", "b.c"];
const PROTOCOLS: &[&str] = &["h2", "http/1.1", "x"];

fn criteria() -> impl Strategy<Value = FilterChainMatch> {
    let owned = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
    let destination = (proptest::option::of(1u16..4), few_blocks());
    let names = (some_of(NAMES), some_of(PROTOCOLS), prop_oneof![Just(""), Just("tls"), Just("raw_buffer")]);
    let kinds = prop_oneof![
        Just(ConnectionSourceType::Any),
        Just(ConnectionSourceType::SameIpOrLoopback),
        Just(ConnectionSourceType::External)
    ];
    let source = (few_blocks(), kinds, few_blocks(), some_of(PORTS));
    (destination, names, source).prop_map(move |(destination, names, source)| FilterChainMatch {
        destination_port: destination.0,
        prefix_ranges: destination.1,
        server_names: owned(names.0),
        application_protocols: owned(names.1),
        transport_protocol: names.2.to_owned(),
        direct_source_prefix_ranges: source.0,
        source_type: source.1,
        source_prefix_ranges: source.2,
        source_ports: source.3,
    })
}

fn connections() -> impl Strategy<Value = ConnectionInfo> {
    let name =
        proptest::option::of(prop_oneof![Just("a.b.c"), Just("x.b.c"), Just("b.c"), Just("c"), Just("x.y")]);
    let protocols = some_of(PROTOCOLS).prop_shuffle();
    (few_ips(), few_ips(), few_ips(), (1u16..4, 1u16..4), name, protocols, any::<bool>()).prop_map(
        |(local, direct, remote, ports, name, protocols, is_tls)| {
            let at = |ip, port| PeerAddress::Ip(std::net::SocketAddr::new(ip, port));
            let mut connection = ConnectionInfo::new(1, at(local, ports.0), at(direct, 9));
            connection.remote_address = at(remote, ports.1);
            connection.requested_server_name = name.map(Into::into);
            connection.application_protocols = protocols.into_iter().map(Into::into).collect();
            connection.transport_protocol = if is_tls { "tls" } else { "raw_buffer" };
            connection
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn agrees_with_a_list_that_is_narrowed_down(
        offered in proptest::collection::vec(criteria(), 0..8),
        connections in proptest::collection::vec(connections(), 8)
    ) {
        let mut matcher = ChainMatcher::default();
        let mut taken: Vec<FilterChainMatch> = Vec::new();
        for criteria in offered {
            taken.push(criteria);
            // One that overlaps has perhaps left something behind.
            let mut with = ChainMatcher::default();
            if taken.iter().enumerate().all(|(i, criteria)| with.add(i, criteria).is_ok()) {
                matcher = with;
            } else {
                taken.pop();
            }
        }
        for connection in &connections {
            prop_assert_eq!(matcher.find(connection), naive::find(&taken, connection));
        }
    }
}
