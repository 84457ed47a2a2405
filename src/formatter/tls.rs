//! The commands about TLS: what the handshakes with the client and with the host have settled. Absent on plain connections,
//! and where a certificate does not have what is asked for.

use std::rc::Rc;

use super::FormatContext;
use super::command::Cut;
use super::evaluate::write_outside;
use super::time_format::TimeFormat;
use crate::base::clock::UnixTime;
use crate::tls::{HandshakeFacts, LeafFacts, PeerCertificates};

/// A command about one of the two handshakes.
#[derive(Debug, Clone)]
pub struct TlsCommand {
    side: Side,
    fact: Fact,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Downstream,
    Upstream,
}

#[derive(Debug, Clone)]
enum Fact {
    Version,
    Cipher,
    Group,
    ServerName,
    /// Of our own certificate.
    Local(OfLeaf),
    /// Of the peer's certificate.
    Peer(OfLeaf),
    Fingerprint1,
    Pem,
    ValidFrom(TimeFormat),
    ValidUntil(TimeFormat),
}

#[derive(Debug, Clone, Copy)]
enum OfLeaf {
    Uri,
    Dns,
    Ip,
    Email,
    OtherName,
    Subject,
    Issuer,
    Serial,
    Fingerprint256,
}

impl TlsCommand {
    /// The command of this name; `parameters` are allowed where it gives a time. None if there is no such command.
    pub fn from_name(name: &str, parameters: &str) -> Option<TlsCommand> {
        let (side, what) = if let Some(what) = name.strip_prefix("DOWNSTREAM_") {
            (Side::Downstream, what)
        } else {
            (Side::Upstream, name.strip_prefix("UPSTREAM_")?)
        };
        let fact = match (side, what) {
            (_, "TLS_VERSION") => Fact::Version,
            (_, "TLS_CIPHER") => Fact::Cipher,
            (_, "TLS_GROUP") => Fact::Group,
            (Side::Upstream, "SERVER_NAME") => Fact::ServerName,
            (_, "PEER_CERT") => Fact::Pem,
            (_, "PEER_CERT_V_START") => Fact::ValidFrom(TimeFormat::compile(parameters)),
            (_, "PEER_CERT_V_END") => Fact::ValidUntil(TimeFormat::compile(parameters)),
            (Side::Downstream, "PEER_FINGERPRINT_1") => Fact::Fingerprint1,
            (Side::Downstream, "PEER_FINGERPRINT_256") => Fact::Peer(OfLeaf::Fingerprint256),
            (Side::Downstream, "PEER_SERIAL") => Fact::Peer(OfLeaf::Serial),
            (_, "PEER_ISSUER") => Fact::Peer(OfLeaf::Issuer),
            (_, "PEER_SUBJECT") => Fact::Peer(OfLeaf::Subject),
            (Side::Downstream, "LOCAL_SUBJECT") => Fact::Local(OfLeaf::Subject),
            _ => match what.strip_prefix("LOCAL_") {
                Some(what) => Fact::Local(OfLeaf::names(side, what)?),
                None => Fact::Peer(OfLeaf::names(side, what.strip_prefix("PEER_")?)?),
            },
        };
        Some(TlsCommand { side, fact })
    }

    /// Whether it takes parameters.
    pub fn is_time(&self) -> bool {
        matches!(self.fact, Fact::ValidFrom(_) | Fact::ValidUntil(_))
    }

    /// Appends the value; false (and nothing appended) if it is absent.
    pub fn write(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        let facts: Option<&Rc<HandshakeFacts>> = match self.side {
            Side::Downstream => cx.info.connection.tls.as_ref(),
            Side::Upstream => cx.info.upstream.as_ref().and_then(|upstream| upstream.tls.as_ref()),
        };
        let Some(facts) = facts else { return false };
        let peer = facts.peer_certificates.as_deref();
        let text = |text: Option<&str>, out: &mut Vec<u8>| {
            write_outside(text.filter(|text| !text.is_empty()).map(str::as_bytes), Cut(None), out)
        };
        let time = |format: &TimeFormat, seconds: Option<u64>, out: &mut Vec<u8>| match seconds {
            Some(seconds) => {
                format.write(UnixTime::from_nanos(seconds.saturating_mul(1_000_000_000)), out);
                true
            }
            None => false,
        };
        match &self.fact {
            Fact::Version => text(Some(facts.version.name()), out),
            Fact::Cipher => text(Some(facts.cipher_name()), out),
            Fact::Group => text(facts.group_name(), out),
            Fact::ServerName => text(facts.server_name.as_deref(), out),
            Fact::Local(what) => facts.local_certificate.as_ref().is_some_and(|leaf| what.write(leaf, out)),
            Fact::Peer(what) => peer.is_some_and(|peer| what.write(peer.leaf(), out)),
            Fact::Fingerprint1 => text(peer.map(PeerCertificates::sha1).as_deref(), out),
            Fact::Pem => text(peer.map(PeerCertificates::url_encoded_pem), out),
            Fact::ValidFrom(format) => time(format, peer.map(|peer| peer.leaf().validity.0), out),
            Fact::ValidUntil(format) => time(format, peer.map(|peer| peer.leaf().validity.1), out),
        }
    }
}

impl OfLeaf {
    fn names(side: Side, what: &str) -> Option<OfLeaf> {
        match (side, what) {
            (_, "URI_SAN") => Some(OfLeaf::Uri),
            (_, "DNS_SAN") => Some(OfLeaf::Dns),
            (_, "IP_SAN") => Some(OfLeaf::Ip),
            (Side::Downstream, "EMAIL_SAN") => Some(OfLeaf::Email),
            (Side::Downstream, "OTHERNAME_SAN") => Some(OfLeaf::OtherName),
            _ => None,
        }
    }

    fn write(self, leaf: &LeafFacts, out: &mut Vec<u8>) -> bool {
        let text = match self {
            OfLeaf::Uri => return write_list(&leaf.uri_sans, out),
            OfLeaf::Dns => return write_list(&leaf.dns_sans, out),
            OfLeaf::Ip => return write_list(&leaf.ip_sans, out),
            OfLeaf::Email => return write_list(&leaf.email_sans, out),
            OfLeaf::OtherName => return write_list(&leaf.other_name_sans, out),
            OfLeaf::Subject => &leaf.subject,
            OfLeaf::Issuer => &leaf.issuer,
            OfLeaf::Serial => &leaf.serial,
            OfLeaf::Fingerprint256 => &leaf.sha256,
        };
        !text.is_empty() && write_outside(Some(text.as_bytes()), Cut(None), out)
    }
}

fn write_list(names: &[String], out: &mut Vec<u8>) -> bool {
    for (i, name) in names.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_outside(Some(name.as_bytes()), Cut(None), out);
    }
    !names.is_empty()
}
