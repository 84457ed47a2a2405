//! Engines made from messages, beside an evaluator that reads the messages themselves.

#![allow(deprecated, reason = "deprecated fields of the API are still read, as Envoy reads them")]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::r#type::matcher::v3 as matcher;
use envoy_types::pb::envoy::r#type::v3::Int32Range;
use envoy_types::pb::google::protobuf::UInt32Value;
use proptest::prelude::*;
use proto::permission::Rule as PermissionKind;
use proto::principal::Identifier as PrincipalKind;

use super::*;
use crate::stream_info::{ConnectionInfo, PeerAddress};
use crate::tls::testing::facts_of_client;

fn permission(rule: PermissionKind) -> proto::Permission {
    proto::Permission { rule: Some(rule) }
}

fn principal(identifier: PrincipalKind) -> proto::Principal {
    proto::Principal { identifier: Some(identifier) }
}

fn rbac(action: proto::rbac::Action, policies: Vec<(&str, proto::Policy)>) -> proto::Rbac {
    let policies = policies.into_iter().map(|(name, policy)| (name.to_owned(), policy)).collect();
    proto::Rbac { action: action.into(), policies, ..proto::Rbac::default() }
}

fn policy(permissions: Vec<proto::Permission>, principals: Vec<proto::Principal>) -> proto::Policy {
    proto::Policy { permissions, principals, ..proto::Policy::default() }
}

fn compile(proto: &proto::Rbac) -> Result<Engine, Vec<String>> {
    let read = |_: crate::config::ExternalData<'_>| Err(std::io::ErrorKind::NotFound.into());
    let mut context = Context::new(&read);
    let engine = Engine::from_proto(proto, &FieldPath::root().field("rules"), &mut context);
    context.finish(engine).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn address(text: &str) -> PeerAddress {
    PeerAddress::Ip(text.parse().expect("an address"))
}

fn connection() -> ConnectionInfo {
    let mut connection = ConnectionInfo::new(1, address("10.0.0.1:443"), address("1.2.3.4:99"));
    connection.remote_address = address("5.6.7.8:99");
    connection
}

fn range(prefix: &str, len: u32) -> core::CidrRange {
    core::CidrRange { address_prefix: prefix.into(), prefix_len: Some(UInt32Value { value: len }) }
}

fn exact(text: &str) -> matcher::StringMatcher {
    let match_pattern = Some(matcher::string_matcher::MatchPattern::Exact(text.into()));
    matcher::StringMatcher { match_pattern, ignore_case: false }
}

/// Whether a policy with this permission allows `subject`.
#[track_caller]
fn permits(rule: PermissionKind, subject: &Subject<'_>) -> bool {
    let policies = vec![("a", policy(vec![permission(rule)], vec![principal(PrincipalKind::Any(true))]))];
    compile(&rbac(proto::rbac::Action::Allow, policies)).expect("right").decide(subject).is_allowed
}

/// Whether a policy with this principal allows `subject`.
#[track_caller]
fn admits(identifier: PrincipalKind, subject: &Subject<'_>) -> bool {
    let rules = vec![permission(PermissionKind::Any(true))];
    let policies = vec![("a", policy(rules, vec![principal(identifier)]))];
    compile(&rbac(proto::rbac::Action::Allow, policies)).expect("right").decide(subject).is_allowed
}

#[test]
fn the_first_policy_by_name_counts_and_is_named() {
    let any =
        || policy(vec![permission(PermissionKind::Any(true))], vec![principal(PrincipalKind::Any(true))]);
    let policies = || vec![("b c\td", any()), ("a\u{b}e", any())];
    let connection = connection();
    let subject = Subject::connection(&connection);
    let decide = |action, policies| {
        let engine = compile(&rbac(action, policies)).expect("right");
        let decision = engine.decide(&subject);
        (decision.is_allowed, decision.details.to_string())
    };
    let details = |name: &str| format!("rbac_access_denied_matched_policy[{name}]");
    use proto::rbac::Action;
    assert_eq!(decide(Action::Deny, policies()), (false, details("a_e")));
    assert_eq!(decide(Action::Deny, vec![("b c\td", any())]), (false, details("b_c_d")));
    assert_eq!(decide(Action::Allow, policies()), (true, details("a_e")));
    assert_eq!(decide(Action::Allow, vec![]), (false, details("none")));
    assert_eq!(decide(Action::Deny, vec![]), (true, details("none")));
    assert_eq!(decide(Action::Log, vec![]), (true, details("none")));
    assert_eq!(decide(Action::Log, policies()), (true, details("a_e")));
}

#[test]
fn each_kind_looks_at_its_own_fact() {
    let connection = connection();
    let client = address("9.9.9.9:1");
    fn subject<'a>(connection: &'a ConnectionInfo, client: &'a PeerAddress) -> Subject<'a> {
        Subject { remote_address: client, path: Some(b"/a"), ..Subject::connection(connection) }
    }
    let plain = subject(&connection, &client);
    assert!(permits(PermissionKind::DestinationIp(range("10.0.0.0", 24)), &plain));
    assert!(!permits(PermissionKind::DestinationIp(range("10.0.1.0", 24)), &plain));
    assert!(permits(PermissionKind::DestinationPort(443), &plain));
    assert!(!permits(PermissionKind::DestinationPort(99), &plain));
    let ports = |start, end| PermissionKind::DestinationPortRange(Int32Range { start, end });
    assert!(permits(ports(443, 444), &plain) && !permits(ports(442, 443), &plain));
    assert!(permits(PermissionKind::RequestedServerName(exact("")), &plain));
    let path = |text| matcher::PathMatcher { rule: Some(matcher::path_matcher::Rule::Path(exact(text))) };
    assert!(permits(PermissionKind::UrlPath(path("/a")), &plain));
    assert!(!permits(PermissionKind::UrlPath(path("")), &Subject { path: None, ..plain }));
    assert!(admits(PrincipalKind::SourceIp(range("5.6.7.8", 32)), &plain));
    assert!(admits(PrincipalKind::DirectRemoteIp(range("1.2.3.4", 32)), &plain));
    assert!(admits(PrincipalKind::RemoteIp(range("9.9.9.9", 32)), &plain));
    assert!(!admits(PrincipalKind::RemoteIp(range("5.6.7.8", 32)), &plain));

    let authenticated = |name: Option<&str>| {
        let principal_name = name.map(exact);
        PrincipalKind::Authenticated(proto::principal::Authenticated { principal_name })
    };
    assert!(!admits(authenticated(None), &plain));
    assert!(!admits(authenticated(Some("a.test")), &plain), "without TLS");
    let mut over_tls = connection.clone();
    over_tls.tls = Some(facts_of_client(None));
    over_tls.requested_server_name = Some("host.test".into());
    let tls = subject(&over_tls, &client);
    assert!(admits(authenticated(None), &tls) && !admits(authenticated(Some("a.test")), &tls));
    let mut mutual = over_tls.clone();
    mutual.tls = Some(facts_of_client(Some("a.test")));
    assert!(admits(authenticated(Some("a.test")), &subject(&mutual, &client)));
    assert!(!admits(authenticated(Some("b.test")), &subject(&mutual, &client)));
    assert!(permits(PermissionKind::RequestedServerName(exact("host.test")), &tls));
}

#[test]
fn unix_sockets_have_no_addresses() {
    let unix = PeerAddress::Unix("/a".into());
    let connection = ConnectionInfo::new(1, unix.clone(), unix);
    let subject = Subject::connection(&connection);
    assert!(!permits(PermissionKind::DestinationIp(range("0.0.0.0", 0)), &subject));
    assert!(!permits(PermissionKind::DestinationPort(0), &subject));
    assert!(!admits(PrincipalKind::DirectRemoteIp(range("::", 0)), &subject));
}

#[test]
fn what_is_wrong_is_refused_where_it_stands() {
    let refuse = |rule: Option<PermissionKind>| {
        let inner = proto::Permission { rule };
        let not = permission(PermissionKind::NotRule(Box::new(inner)));
        let policies = vec![("a", policy(vec![not], vec![principal(PrincipalKind::Any(true))]))];
        compile(&rbac(proto::rbac::Action::Allow, policies)).map(|_| ()).expect_err("wrong").join("\n")
    };
    let path = "rules.policies[\"a\"].permissions[0].not_rule";
    assert!(refuse(None).contains(path));
    assert!(refuse(Some(PermissionKind::DestinationPort(65_536))).contains("destination_port"));
    for (start, end) in [(5, 5), (6, 5), (-1, 5), (0, 65_537)] {
        let range = PermissionKind::DestinationPortRange(Int32Range { start, end });
        assert!(refuse(Some(range)).contains("destination_port_range"), "{start} to {end}");
    }
    assert!(refuse(Some(PermissionKind::Header(Default::default()))).contains("not implemented"));
}

/// Reads the messages as their documentation says, with bits as text.
mod naive {
    use super::*;

    pub fn is_allowed(rbac: &proto::Rbac, connection: &ConnectionInfo) -> bool {
        let matched = rbac.policies.values().any(|policy| {
            policy.permissions.iter().filter(|rule| permits(rule, connection)).count() > 0
                && policy.principals.iter().filter(|id| admits(id, connection)).count() > 0
        });
        match rbac.action() {
            proto::rbac::Action::Allow => matched,
            proto::rbac::Action::Deny => !matched,
            proto::rbac::Action::Log => true,
        }
    }

    fn permits(permission: &proto::Permission, connection: &ConnectionInfo) -> bool {
        let port = connection.local_address.port().map(i64::from);
        match permission.rule.as_ref().expect("a rule") {
            PermissionKind::Any(_) => true,
            PermissionKind::AndRules(set) => {
                set.rules.iter().filter(|rule| permits(rule, connection)).count() == set.rules.len()
            }
            PermissionKind::OrRules(set) => {
                set.rules.iter().filter(|rule| permits(rule, connection)).count() > 0
            }
            PermissionKind::NotRule(rule) => !permits(rule, connection),
            PermissionKind::DestinationIp(range) => is_in(&connection.local_address, range),
            PermissionKind::DestinationPort(expected) => port == Some(i64::from(*expected)),
            PermissionKind::DestinationPortRange(range) => {
                port.is_some_and(|port| i64::from(range.start) <= port && port < i64::from(range.end))
            }
            other => unreachable!("{other:?} is not generated"),
        }
    }

    fn admits(principal: &proto::Principal, connection: &ConnectionInfo) -> bool {
        match principal.identifier.as_ref().expect("an identifier") {
            PrincipalKind::Any(_) => true,
            PrincipalKind::AndIds(set) => {
                set.ids.iter().filter(|id| admits(id, connection)).count() == set.ids.len()
            }
            PrincipalKind::OrIds(set) => set.ids.iter().filter(|id| admits(id, connection)).count() > 0,
            PrincipalKind::NotId(id) => !admits(id, connection),
            PrincipalKind::SourceIp(range) | PrincipalKind::RemoteIp(range) => {
                is_in(&connection.remote_address, range)
            }
            PrincipalKind::DirectRemoteIp(range) => is_in(&connection.direct_remote_address, range),
            other => unreachable!("{other:?} is not generated"),
        }
    }

    fn is_in(address: &PeerAddress, range: &core::CidrRange) -> bool {
        let prefix = bits(range.address_prefix.parse().expect("an address"));
        let own = bits(address.ip().expect("an IP address"));
        let len = range.prefix_len.as_ref().map_or(0, |len| len.value as usize);
        own.len() == prefix.len() && own[..len] == prefix[..len]
    }

    fn bits(ip: IpAddr) -> String {
        match ip {
            IpAddr::V4(v4) => format!("{:032b}", u32::from(v4)),
            IpAddr::V6(v6) => format!("{:0128b}", u128::from(v6)),
        }
    }
}

/// Few enough addresses that blocks are hit.
fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (0u8..4, 0u8..4).prop_map(|(a, b)| IpAddr::from([10, a, 0, b])),
        (0u16..3, 0u16..3).prop_map(|(a, b)| IpAddr::from([0x2001, a, 0, 0, 0, 0, 0, b])),
    ]
}

fn block() -> impl Strategy<Value = core::CidrRange> {
    (ip(), 0u32..=32).prop_map(|(ip, len)| range(&ip.to_string(), len))
}

fn permissions() -> impl Strategy<Value = proto::Permission> {
    let leaf = prop_oneof![
        Just(PermissionKind::Any(true)),
        block().prop_map(PermissionKind::DestinationIp),
        (1u32..6).prop_map(PermissionKind::DestinationPort),
        (0i32..5, 1i32..4).prop_map(|(start, len)| PermissionKind::DestinationPortRange(Int32Range {
            start,
            end: start + len
        })),
    ]
    .prop_map(permission);
    leaf.prop_recursive(4, 20, 4, |inner| {
        let set = proptest::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            set.clone().prop_map(|rules| PermissionKind::AndRules(proto::permission::Set { rules })),
            set.prop_map(|rules| PermissionKind::OrRules(proto::permission::Set { rules })),
            inner.prop_map(|rule| PermissionKind::NotRule(Box::new(rule))),
        ]
        .prop_map(permission)
    })
}

fn principals() -> impl Strategy<Value = proto::Principal> {
    let leaf = prop_oneof![
        Just(PrincipalKind::Any(true)),
        block().prop_map(PrincipalKind::SourceIp),
        block().prop_map(PrincipalKind::DirectRemoteIp),
        block().prop_map(PrincipalKind::RemoteIp),
    ]
    .prop_map(principal);
    leaf.prop_recursive(4, 20, 4, |inner| {
        let set = proptest::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            set.clone().prop_map(|ids| PrincipalKind::AndIds(proto::principal::Set { ids })),
            set.prop_map(|ids| PrincipalKind::OrIds(proto::principal::Set { ids })),
            inner.prop_map(|id| PrincipalKind::NotId(Box::new(id))),
        ]
        .prop_map(principal)
    })
}

fn messages() -> impl Strategy<Value = proto::Rbac> {
    let policy =
        (proptest::collection::vec(permissions(), 1..3), proptest::collection::vec(principals(), 1..3))
            .prop_map(|(permissions, principals)| policy(permissions, principals));
    let policies = proptest::collection::vec(policy, 0..4);
    (0i32..3, policies).prop_map(|(action, policies)| {
        let policies: HashMap<_, _> =
            policies.into_iter().enumerate().map(|(i, policy)| (format!("policy {i}"), policy)).collect();
        proto::Rbac { action, policies, ..proto::Rbac::default() }
    })
}

proptest! {
    #[test]
    fn agrees_with_the_evaluator_of_messages(
        rbac in messages(), local in ip(), direct in ip(), remote in ip(), port in 0u16..7
    ) {
        let at = |ip, port| PeerAddress::Ip(SocketAddr::new(ip, port));
        let mut connection = ConnectionInfo::new(1, at(local, port), at(direct, 1));
        connection.remote_address = at(remote, 2);
        let engine = compile(&rbac).expect("right");
        let decision = engine.decide(&Subject::connection(&connection));
        prop_assert_eq!(decision.is_allowed, naive::is_allowed(&rbac, &connection));
    }
}
