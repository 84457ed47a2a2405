//! The PROXY protocol's header, versions 1 and 2, read and written without I/O ("The PROXY protocol",
//! sections 2.1 and 2.2).
//!
//! Type-length-value fields are skipped when read, if they are well-formed. A header claims at most 65,551 bytes.
//! Where the protocol leaves a choice, it is made as Envoy makes it.

use std::net::{IpAddr, SocketAddr};

/// What version 2 begins with.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;
/// What version 1 begins with.
const V1_PREFIX: &[u8] = b"PROXY";
/// The longest line of version 1, its end included.
const V1_MAX_BYTES: usize = 108;
/// Type and length of a field of version 2.
const TLV_FIXED_BYTES: usize = 3;

/// The versions of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// Where a connection came from and where it went to, as the proxy in front saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where the client connected to.
    pub destination: SocketAddr,
}

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its version.
    pub version: Version,
    /// What it tells; none if it says that the proxy speaks for itself, or does not know.
    pub addresses: Option<Addresses>,
    /// Bytes of the header.
    pub len_bytes: usize,
}

/// What first bytes turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// A header.
    Header(Header),
    /// Something else.
    Absent,
    /// Perhaps the beginning of a header; these many bytes must be seen to go on.
    More {
        /// Bytes from the beginning.
        need_bytes: usize,
    },
}

/// A header that is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed PROXY protocol header: {reason}")]
pub struct ParseError {
    /// Its version.
    pub version: Version,
    /// What is wrong.
    pub reason: &'static str,
}

/// Reads the header that `bytes` begin with.
///
/// # Errors
/// If it is malformed.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ParseError> {
    if begins(bytes, V2_SIGNATURE) {
        parse_v2(bytes).map_err(|reason| ParseError { version: Version::V2, reason })
    } else if begins(bytes, V1_PREFIX) {
        parse_v1(bytes).map_err(|reason| ParseError { version: Version::V1, reason })
    } else {
        Ok(Parsed::Absent)
    }
}

/// Appends a header. Without addresses, or with addresses of two families, it says that nothing is known
/// (version 1) or that the proxy speaks for itself (version 2). Version 2 carries `fields`, encoded
/// type-length-values of at most 65,499 bytes; longer ones are left out.
pub fn write(version: Version, addresses: Option<Addresses>, fields: &[u8], out: &mut Vec<u8>) {
    let same_family = |both: &Addresses| both.source.is_ipv4() == both.destination.is_ipv4();
    let addresses = addresses.filter(same_family);
    match version {
        Version::V1 => write_v1(addresses, out),
        Version::V2 => write_v2(addresses, fields, out),
    }
}

/// Whether `bytes`, as far as they go, are the beginning of `expected`.
fn begins(bytes: &[u8], expected: &[u8]) -> bool {
    let len = bytes.len().min(expected.len());
    bytes[..len] == expected[..len]
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, &'static str> {
    let line = &bytes[..bytes.len().min(V1_MAX_BYTES)];
    let Some(end) = memchr::memchr(b'\n', line) else {
        // What does not end in time is something else.
        let need_bytes = V1_MAX_BYTES;
        return Ok(if bytes.len() < need_bytes { Parsed::More { need_bytes } } else { Parsed::Absent });
    };
    let line = line[..end].strip_suffix(b"\r").ok_or("the line does not end in CR LF")?;
    let text = std::str::from_utf8(line).map_err(|_| "not ASCII")?;
    let fields: Vec<&str> = text.split(' ').collect();
    let header = |addresses| Parsed::Header(Header { version: Version::V1, addresses, len_bytes: end + 1 });
    if fields.first() != Some(&"PROXY") {
        return Err("no space after the first word");
    }
    let is_v4 = match fields.get(1) {
        // Whatever follows is to be ignored.
        Some(&"UNKNOWN") => return Ok(header(None)),
        Some(&"TCP4") => true,
        Some(&"TCP6") => false,
        _ => return Err("unknown protocol"),
    };
    let [_, _, source, destination, source_port, destination_port] = fields[..] else {
        return Err("six fields are necessary");
    };
    let address = |text: &str| -> Result<IpAddr, &'static str> {
        let parsed: IpAddr = text.parse().map_err(|_| "malformed address")?;
        if parsed.is_ipv4() == is_v4 { unicast(parsed) } else { Err("an address of the other family") }
    };
    let port = |text: &str| -> Result<u16, &'static str> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|_| is_number).ok_or("malformed port")
    };
    Ok(header(Some(Addresses {
        source: SocketAddr::new(address(source)?, port(source_port)?),
        destination: SocketAddr::new(address(destination)?, port(destination_port)?),
    })))
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, &'static str> {
    let Some(fixed) = bytes.get(..V2_FIXED_BYTES) else {
        return Ok(Parsed::More { need_bytes: V2_FIXED_BYTES });
    };
    let (version_command, family) = (fixed[12], fixed[13]);
    if version_command >> 4 != 2 {
        return Err("unknown version");
    }
    let len_bytes = V2_FIXED_BYTES + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let is_local = match version_command & 0xf {
        0 => true,
        1 => false,
        _ => return Err("unknown command"),
    };
    // Told apart before the rest has come, so that nothing is waited for in vain.
    let address_bytes = match family {
        _ if is_local => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        _ => return Err("an address family or protocol other than TCP or UDP over IP"),
    };
    if len_bytes < V2_FIXED_BYTES + address_bytes {
        return Err("too short for its addresses");
    }
    let Some(all) = bytes.get(..len_bytes) else {
        return Ok(Parsed::More { need_bytes: len_bytes });
    };
    let (addresses, fields) = all[V2_FIXED_BYTES..].split_at(address_bytes);
    // What follows the addresses that a proxy has of its own is not looked at.
    if !is_local && !are_well_formed(fields) {
        return Err("fields that do not end with the header");
    }
    let addresses = if is_local { None } else { Some(read_addresses(addresses)?) };
    Ok(Parsed::Header(Header { version: Version::V2, addresses, len_bytes }))
}

/// Whether type-length-value fields fill `bytes` up to the end.
fn are_well_formed(mut bytes: &[u8]) -> bool {
    while let [_, high, low, ..] = bytes {
        let len = TLV_FIXED_BYTES + usize::from(u16::from_be_bytes([*high, *low]));
        match bytes.get(len..) {
            Some(rest) => bytes = rest,
            None => return false,
        }
    }
    bytes.is_empty()
}

/// Addresses and ports of version 2.
fn read_addresses(bytes: &[u8]) -> Result<Addresses, &'static str> {
    let (ips, ports) = bytes.split_at(bytes.len().saturating_sub(4));
    let (source, destination) = ips.split_at(ips.len() / 2);
    let &[a, b, c, d] = ports else { return Err("no ports") };
    Ok(Addresses {
        source: SocketAddr::new(read_ip(source)?, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(read_ip(destination)?, u16::from_be_bytes([c, d])),
    })
}

fn read_ip(bytes: &[u8]) -> Result<IpAddr, &'static str> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    unicast(v4.or(v6).map_err(|_| "neither an IPv4 nor an IPv6 address")?)
}

/// The address, if a connection can have it.
fn unicast(ip: IpAddr) -> Result<IpAddr, &'static str> {
    let is_broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || is_broadcast {
        return Err("an address that no connection has");
    }
    Ok(ip)
}

fn write_v1(addresses: Option<Addresses>, out: &mut Vec<u8>) {
    let line = match addresses {
        Some(Addresses { source, destination }) => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (source.ip(), destination.ip());
            format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port())
        }
        None => "PROXY UNKNOWN\r\n".to_owned(),
    };
    out.extend_from_slice(line.as_bytes());
}

fn write_v2(addresses: Option<Addresses>, fields: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(V2_SIGNATURE);
    let Some(Addresses { source, destination }) = addresses else {
        return out.extend_from_slice(&[0x20, 0x00, 0, 0]);
    };
    let (family, address_bytes) = if source.is_ipv4() { (0x11, 12) } else { (0x21, 36) };
    let (len, fields) = match u16::try_from(fields.len()).ok().and_then(|len| len.checked_add(address_bytes))
    {
        Some(len) => (len, fields),
        None => (address_bytes, &[][..]),
    };
    out.extend_from_slice(&[0x21, family]);
    out.extend_from_slice(&len.to_be_bytes());
    for ip in [source.ip(), destination.ip()] {
        match ip {
            IpAddr::V4(v4) => out.extend_from_slice(&v4.octets()),
            IpAddr::V6(v6) => out.extend_from_slice(&v6.octets()),
        }
    }
    out.extend_from_slice(&source.port().to_be_bytes());
    out.extend_from_slice(&destination.port().to_be_bytes());
    out.extend_from_slice(fields);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn addresses(source: &str, destination: &str) -> Addresses {
        let parse = |text: &str| text.parse().expect("an address");
        Addresses { source: parse(source), destination: parse(destination) }
    }

    fn header(bytes: &[u8]) -> Header {
        match parse(bytes) {
            Ok(Parsed::Header(header)) => header,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lines_of_version_1() {
        let read = header(b"PROXY TCP4 1.2.3.4 5.6.7.8 65535 443\r\nGET");
        assert_eq!(read.addresses, Some(addresses("1.2.3.4:65535", "5.6.7.8:443")));
        assert_eq!(read.len_bytes, 38);
        let read = header(b"PROXY TCP6 ::1 2001:db8::2 1 2\r\n");
        assert_eq!(read.addresses, Some(addresses("[::1]:1", "[2001:db8::2]:2")));
        assert_eq!(header(b"PROXY UNKNOWN\r\n").addresses, None);
        assert_eq!(header(b"PROXY UNKNOWN ffff:f...f:ffff 1 2 3\r\n").addresses, None);
        for bad in [
            "PROXY TCP4 1.2.3.4 5.6.7.8 65536 443\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 +1 443\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8  443\r\n",
            "PROXY TCP4 ::1 ::2 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
            "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXYTCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 224.0.0.1 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 255.255.255.255 1 2\r\n",
            "PROXY TCP6 :: ::1 1 2\r\n",
        ] {
            assert_eq!(parse(bad.as_bytes()).map_err(|error| error.version), Err(Version::V1), "{bad}");
        }
        assert_eq!(parse(&[b"PROXY TCP4 ", &[b'1'; 120][..]].concat()), Ok(Parsed::Absent), "too long");
    }

    #[test]
    fn binary_headers_of_version_2() {
        let mut bytes = Vec::new();
        write(Version::V2, Some(addresses("1.2.3.4:5", "6.7.8.9:10")), &[4, 0, 1, 7], &mut bytes);
        let read = header(&bytes);
        assert_eq!(read.addresses, Some(addresses("1.2.3.4:5", "6.7.8.9:10")));
        assert_eq!(read.len_bytes, 32);
        let mut local = bytes.clone();
        local[12] = 0x20;
        assert_eq!(header(&local).addresses, None);
        let changed = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            parse(&bytes).map_err(|error| error.reason)
        };
        assert_eq!(changed(12, 0x31), Err("unknown version"));
        assert_eq!(changed(12, 0x22), Err("unknown command"));
        assert!(changed(13, 0x31).is_err() && changed(13, 0x13).is_err() && changed(13, 0).is_err());
        assert_eq!(changed(13, 0x12), Ok(Parsed::Header(read)), "UDP is taken as TCP is");
        assert_eq!(changed(16, 224), Err("an address that no connection has"));
        assert_eq!(changed(30, 9), Err("fields that do not end with the header"));
        assert_eq!(changed(15, 14), Err("fields that do not end with the header"));
        assert_eq!(changed(15, 11), Err("too short for its addresses"));
        assert_eq!(changed(14, 0xff), Ok(Parsed::More { need_bytes: 16 + 0xff10 }));
    }

    #[test]
    fn other_bytes_are_no_header() {
        for other in [&b"GET / HTTP/1.1\r\n"[..], b"PROX Y", b"\r\n\r\nX", b"\x16\x03\x01"] {
            assert_eq!(parse(other), Ok(Parsed::Absent));
        }
        for beginning in [&b"P"[..], b"PROXY", b"\r\n\r\n\0\r\nQUI"] {
            assert!(matches!(parse(beginning), Ok(Parsed::More { .. })));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again_however_it_comes(
            v4 in any::<bool>(), a in any::<u128>(), b in any::<u128>(), ports in any::<(u16, u16)>(), v1 in any::<bool>()
        ) {
            let ip = |bits: u128| -> IpAddr {
                if v4 { Ipv4Addr::from(bits as u32).into() } else { Ipv6Addr::from(bits).into() }
            };
            prop_assume!(unicast(ip(a)).is_ok() && unicast(ip(b)).is_ok());
            let sent = Addresses {
                source: SocketAddr::new(ip(a), ports.0),
                destination: SocketAddr::new(ip(b), ports.1),
            };
            let mut bytes = Vec::new();
            let version = if v1 { Version::V1 } else { Version::V2 };
            write(version, Some(sent), &[], &mut bytes);
            for len in 1..bytes.len() {
                let is_more = matches!(parse(&bytes[..len]), Ok(Parsed::More { .. }));
                prop_assert!(is_more, "{} bytes", len);
            }
            let len_bytes = bytes.len();
            bytes.extend_from_slice(b"rest");
            let expected = Header { version, addresses: Some(sent), len_bytes };
            prop_assert_eq!(parse(&bytes), Ok(Parsed::Header(expected)));
        }

        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let mut signed = V2_SIGNATURE.to_vec();
            signed.extend_from_slice(&bytes);
            let _ = parse(&signed);
        }
    }
}
