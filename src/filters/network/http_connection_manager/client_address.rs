//! Who the client is: the peer, or an address in `x-forwarded-for` that trusted proxies vouch for.
//!
//! Follows Envoy's rules (`ConnectionManagerUtility::mutateRequestHeaders`): a request is internal
//! only if one single address is known and `internal_address_config` covers it.

use std::net::{IpAddr, SocketAddr};

use crate::config::ForwardingOptions;
use crate::http::{HeaderMap, header};
use crate::stream_info::PeerAddress;

/// What was found out about the client.
#[derive(Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address, as logged and matched on.
    pub address: PeerAddress,
    /// Whether it belongs to the mesh, so that its `x-envoy-*` headers are believed.
    pub is_internal: bool,
}

/// Finds the client of a request that came from `peer`. Must be called before the peer is appended
/// to `x-forwarded-for`.
pub fn detect(options: &ForwardingOptions, headers: &HeaderMap, peer: &PeerAddress) -> Client {
    let hops = options.xff_num_trusted_hops as usize;
    let (forwarded, single) = if !options.use_remote_address {
        forwarded_address(headers, hops)
    } else if hops > 0 {
        (forwarded_address(headers, hops - 1).0, !headers.contains(header::X_FORWARDED_FOR))
    } else {
        (None, !headers.contains(header::X_FORWARDED_FOR))
    };
    let address = forwarded.map_or_else(|| peer.clone(), |ip| PeerAddress::Ip(SocketAddr::new(ip, 0)));
    let is_internal = single && is_internal(options, &address);
    Client { address, is_internal }
}

fn is_internal(options: &ForwardingOptions, address: &PeerAddress) -> bool {
    match address {
        PeerAddress::Ip(address) => {
            options.internal_cidr_ranges.iter().any(|range| range.contains(address.ip()))
        }
        PeerAddress::Unix(_) => options.internal_unix_sockets,
    }
}

/// The address `hops` places before the last one of `x-forwarded-for`, and whether it stood alone.
fn forwarded_address(headers: &HeaderMap, hops: usize) -> (Option<IpAddr>, bool) {
    let parts =
        || headers.get_all(header::X_FORWARDED_FOR).flat_map(|value| value.split(|byte| *byte == b','));
    let count = parts().count();
    let part = count.checked_sub(hops + 1).and_then(|index| parts().nth(index));
    let text = part.and_then(|part| std::str::from_utf8(part.trim_ascii()).ok());
    (text.and_then(|text| text.parse().ok()), count == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(options: &ForwardingOptions, forwarded: &[&str]) -> Client {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append(header::X_FORWARDED_FOR, value.as_bytes());
        }
        detect(options, &headers, &PeerAddress::Ip(([127, 0, 0, 1], 9).into()))
    }

    fn ip(client: &Client) -> String {
        client.address.ip().map(|ip| ip.to_string()).unwrap_or_default()
    }

    #[test]
    fn without_use_remote_address_the_last_forwarded_address_counts() {
        let options = ForwardingOptions::default();
        assert_eq!(ip(&client(&options, &[])), "127.0.0.1");
        assert_eq!(ip(&client(&options, &["1.2.3.4"])), "1.2.3.4");
        assert_eq!(ip(&client(&options, &["1.2.3.4, 5.6.7.8"])), "5.6.7.8");
        assert_eq!(ip(&client(&options, &["1.2.3.4", "junk"])), "127.0.0.1");
        let hops = ForwardingOptions { xff_num_trusted_hops: 1, ..options };
        assert_eq!(ip(&client(&hops, &["1.2.3.4", "5.6.7.8"])), "1.2.3.4");
        assert_eq!(ip(&client(&hops, &["1.2.3.4"])), "127.0.0.1");
    }

    #[test]
    fn with_use_remote_address_hops_are_skipped_behind_the_peer() {
        let options = ForwardingOptions { use_remote_address: true, ..ForwardingOptions::default() };
        assert_eq!(ip(&client(&options, &["1.2.3.4"])), "127.0.0.1");
        let hops = ForwardingOptions { xff_num_trusted_hops: 1, ..options };
        assert_eq!(ip(&client(&hops, &["1.2.3.4, 5.6.7.8"])), "5.6.7.8");
    }

    #[test]
    fn no_address_is_internal_unless_configured() {
        assert!(!client(&ForwardingOptions::default(), &["10.1.2.3"]).is_internal);
    }
}
