//! Permissions and principals (`envoy.config.rbac.v3.Permission`, `Principal`): conditions on a subject that
//! are put together from simpler ones.

#![allow(deprecated, reason = "deprecated fields of the API are still read, as Envoy reads them")]

use std::ops::Range;

use envoy_types::pb::envoy::config::rbac::v3 as proto;
use envoy_types::pb::envoy::r#type::matcher::v3::{PathMatcher, path_matcher};
use envoy_types::pb::envoy::r#type::v3::Int32Range;

use super::Subject;
use crate::config::{CidrRange, Context, FieldPath, StringMatcher};
use crate::stream_info::PeerAddress;
use crate::tls::HandshakeFacts;

/// Ports that a range may name: its end is the first one that does not count.
const MAX_PORT_RANGE_END: i32 = 65_536;

/// A condition on a subject.
#[derive(Debug, Clone)]
pub enum Rule {
    /// Everyone.
    Any,
    /// All of these.
    And(Vec<Rule>),
    /// At least one of these.
    Or(Vec<Rule>),
    /// Not this one.
    Not(Box<Rule>),
    /// Where the client connected to.
    DestinationIp(CidrRange),
    /// The port that it connected to.
    DestinationPort(u16),
    /// Ports that it connected to.
    DestinationPortRange(Range<u32>),
    /// The server name that it asked for; without TLS the empty one.
    RequestedServerName(StringMatcher),
    /// The path of the request without its query.
    UrlPath(StringMatcher),
    /// The connection's remote address, as listener filters have it.
    SourceIp(CidrRange),
    /// The connection's remote address, as the kernel has it.
    DirectRemoteIp(CidrRange),
    /// The client's address.
    RemoteIp(CidrRange),
    /// The connection is encrypted; if there is a matcher, it matches one of the names of the client's certificate.
    Authenticated(Option<StringMatcher>),
}

impl Rule {
    /// Converts the permissions in the list field `name` of the message at `path`. Records errors in `context`.
    pub fn permissions(
        protos: &[proto::Permission],
        path: &FieldPath,
        name: &str,
        context: &mut Context<'_>,
    ) -> Vec<Rule> {
        let rules = protos.iter().enumerate();
        rules.map(|(i, proto)| Rule::permission(proto, &path.element(name, i), context)).collect()
    }

    /// Converts the principals in the list field `name` of the message at `path`. Records errors in `context`.
    pub fn principals(
        protos: &[proto::Principal],
        path: &FieldPath,
        name: &str,
        context: &mut Context<'_>,
    ) -> Vec<Rule> {
        let rules = protos.iter().enumerate();
        rules.map(|(i, proto)| Rule::principal(proto, &path.element(name, i), context)).collect()
    }

    /// Whether the condition holds.
    pub fn matches(&self, subject: &Subject<'_>) -> bool {
        let connection = subject.connection;
        let destination_port = connection.local_address.port();
        match self {
            Rule::Any => true,
            Rule::And(rules) => rules.iter().all(|rule| rule.matches(subject)),
            Rule::Or(rules) => rules.iter().any(|rule| rule.matches(subject)),
            Rule::Not(rule) => !rule.matches(subject),
            Rule::DestinationIp(range) => lies_in(&connection.local_address, range),
            Rule::DestinationPort(port) => destination_port == Some(*port),
            Rule::DestinationPortRange(range) => {
                destination_port.is_some_and(|port| range.contains(&port.into()))
            }
            Rule::RequestedServerName(matcher) => {
                matcher.matches(connection.requested_server_name.as_deref().unwrap_or_default().as_bytes())
            }
            Rule::UrlPath(matcher) => subject.path.is_some_and(|path| matcher.matches(path)),
            Rule::SourceIp(range) => lies_in(&connection.remote_address, range),
            Rule::DirectRemoteIp(range) => lies_in(&connection.direct_remote_address, range),
            Rule::RemoteIp(range) => lies_in(subject.remote_address, range),
            Rule::Authenticated(None) => connection.is_tls(),
            Rule::Authenticated(Some(matcher)) => {
                connection.tls.as_deref().is_some_and(|facts| is_peer_name(facts, matcher))
            }
        }
    }

    fn permission(proto: &proto::Permission, path: &FieldPath, context: &mut Context<'_>) -> Rule {
        use proto::permission::Rule as Kind;
        match &proto.rule {
            Some(Kind::Any(_)) => Rule::Any,
            Some(Kind::AndRules(set)) => {
                Rule::And(Rule::permissions(&set.rules, &path.field("and_rules"), "rules", context))
            }
            Some(Kind::OrRules(set)) => {
                Rule::Or(Rule::permissions(&set.rules, &path.field("or_rules"), "rules", context))
            }
            Some(Kind::NotRule(rule)) => {
                Rule::Not(Box::new(Rule::permission(rule, &path.field("not_rule"), context)))
            }
            Some(Kind::DestinationIp(range)) => {
                Rule::DestinationIp(CidrRange::from_proto(range, &path.field("destination_ip"), context))
            }
            Some(Kind::DestinationPort(port)) => match u16::try_from(*port) {
                Ok(port) => Rule::DestinationPort(port),
                Err(_) => {
                    let message = format!("{port} is no port: the largest is 65535");
                    refused(&path.field("destination_port"), message, context)
                }
            },
            Some(Kind::DestinationPortRange(range)) => {
                port_range(range, &path.field("destination_port_range"), context)
            }
            Some(Kind::RequestedServerName(matcher)) => Rule::RequestedServerName(StringMatcher::from_proto(
                matcher,
                &path.field("requested_server_name"),
                context,
            )),
            Some(Kind::UrlPath(matcher)) => url_path(matcher, &path.field("url_path"), context),
            Some(
                Kind::Header(_)
                | Kind::Metadata(_)
                | Kind::SourcedMetadata(_)
                | Kind::Matcher(_)
                | Kind::UriTemplate(_),
            ) => refused(path, "this kind of permission is not implemented yet", context),
            None => refused(path, "a rule is required", context),
        }
    }

    fn principal(proto: &proto::Principal, path: &FieldPath, context: &mut Context<'_>) -> Rule {
        use proto::principal::Identifier as Kind;
        match &proto.identifier {
            Some(Kind::Any(_)) => Rule::Any,
            Some(Kind::AndIds(set)) => {
                Rule::And(Rule::principals(&set.ids, &path.field("and_ids"), "ids", context))
            }
            Some(Kind::OrIds(set)) => {
                Rule::Or(Rule::principals(&set.ids, &path.field("or_ids"), "ids", context))
            }
            Some(Kind::NotId(id)) => Rule::Not(Box::new(Rule::principal(id, &path.field("not_id"), context))),
            Some(Kind::SourceIp(range)) => {
                Rule::SourceIp(CidrRange::from_proto(range, &path.field("source_ip"), context))
            }
            Some(Kind::DirectRemoteIp(range)) => {
                Rule::DirectRemoteIp(CidrRange::from_proto(range, &path.field("direct_remote_ip"), context))
            }
            Some(Kind::RemoteIp(range)) => {
                Rule::RemoteIp(CidrRange::from_proto(range, &path.field("remote_ip"), context))
            }
            Some(Kind::Authenticated(authenticated)) => {
                let path = path.field("authenticated").field("principal_name");
                let name = authenticated.principal_name.as_ref();
                Rule::Authenticated(name.map(|matcher| StringMatcher::from_proto(matcher, &path, context)))
            }
            Some(Kind::UrlPath(matcher)) => url_path(matcher, &path.field("url_path"), context),
            Some(
                Kind::Header(_)
                | Kind::Metadata(_)
                | Kind::SourcedMetadata(_)
                | Kind::FilterState(_)
                | Kind::Custom(_),
            ) => refused(path, "this kind of principal is not implemented yet", context),
            None => refused(path, "an identifier is required", context),
        }
    }
}

/// Whether a name of the client's certificate matches: a URI or DNS name, or the subject.
fn is_peer_name(facts: &HandshakeFacts, matcher: &StringMatcher) -> bool {
    let Some(peer) = &facts.peer_certificates else { return false };
    let leaf = peer.leaf();
    let names = leaf.uri_sans.iter().chain(&leaf.dns_sans).chain([&leaf.subject]);
    names.into_iter().any(|name| matcher.matches(name.as_bytes()))
}

fn lies_in(address: &PeerAddress, range: &CidrRange) -> bool {
    address.ip().is_some_and(|ip| range.contains(ip))
}

/// The rule that stands for one that is wrong: it matches nobody.
fn refused(path: &FieldPath, message: impl Into<String>, context: &mut Context<'_>) -> Rule {
    context.error(path, message);
    Rule::Or(Vec::new())
}

fn port_range(range: &Int32Range, path: &FieldPath, context: &mut Context<'_>) -> Rule {
    let port = |end: i32| u32::try_from(end).ok().filter(|_| end <= MAX_PORT_RANGE_END);
    match (port(range.start), port(range.end)) {
        (Some(start), Some(end)) if start < end => Rule::DestinationPortRange(start..end),
        (Some(start), Some(end)) => {
            refused(path, format!("range start {start} must be less than range end {end}"), context)
        }
        _ => refused(path, "the ends of a range of ports lie from 0 to 65536", context),
    }
}

fn url_path(proto: &PathMatcher, path: &FieldPath, context: &mut Context<'_>) -> Rule {
    match &proto.rule {
        Some(path_matcher::Rule::Path(matcher)) => {
            Rule::UrlPath(StringMatcher::from_proto(matcher, &path.field("path"), context))
        }
        None => refused(path, "a rule is required", context),
    }
}
