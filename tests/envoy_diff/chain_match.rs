//! Which filter chain is chosen: connections that claim all kinds of addresses by a PROXY header are answered
//! with the chain's name.

use ringway_test_support::l4_config::{L4, access_log, chain_for, direct_response, listener_filter};

use crate::l4::{Case, FORMAT, Group, LOG, Ports, case};

/// Chains by listener: their criteria, and what they answer.
const LISTENERS: &[(&str, &[(&str, &str)])] = &[
    (
        "ports",
        &[
            ("{destination_port: 1000}", "1000"),
            (
                "{destination_port: 2000, source_prefix_ranges: [{address_prefix: 5.0.0.0, prefix_len: 8}]}",
                "2000 from 5",
            ),
            ("{source_prefix_ranges: [{address_prefix: 6.0.0.0, prefix_len: 8}]}", "from 6"),
            ("", "any"),
        ],
    ),
    (
        "blocks",
        &[
            ("{prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}", "10/8"),
            (
                "{prefix_ranges: [{address_prefix: 10.1.0.0, prefix_len: 16}, {address_prefix: 10.2.0.0, prefix_len: 16}]}",
                "10.1/16",
            ),
            ("{prefix_ranges: [{address_prefix: 10.1.2.3, prefix_len: 32}]}", "10.1.2.3"),
            ("{prefix_ranges: [{address_prefix: '2001:db8::', prefix_len: 32}]}", "v6"),
            ("{prefix_ranges: [{address_prefix: 0.0.0.0, prefix_len: 0}]}", "all v4"),
        ],
    ),
    (
        "sources",
        &[
            ("{source_prefix_ranges: [{address_prefix: 5.0.0.0, prefix_len: 8}]}", "5/8"),
            (
                "{source_prefix_ranges: [{address_prefix: 5.0.0.0, prefix_len: 8}], source_ports: [77, 78]}",
                "5/8 of 77",
            ),
            (
                "{source_prefix_ranges: [{address_prefix: 5.5.0.0, prefix_len: 16}], source_ports: [99]}",
                "5.5/16 of 99",
            ),
            ("{source_ports: [77]}", "77"),
            ("", "any"),
        ],
    ),
    ("types", &[("{source_type: SAME_IP_OR_LOOPBACK}", "local"), ("{source_type: EXTERNAL}", "external")]),
    (
        "types_and_any",
        &[("{source_type: EXTERNAL, source_ports: [1]}", "external of 1"), ("{source_type: ANY}", "any")],
    ),
    (
        "direct",
        &[
            ("{direct_source_prefix_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}", "loopback"),
            ("{source_prefix_ranges: [{address_prefix: 5.0.0.0, prefix_len: 8}]}", "5/8"),
        ],
    ),
    (
        "direct_not",
        &[("{direct_source_prefix_ranges: [{address_prefix: 5.0.0.0, prefix_len: 8}]}", "5/8"), ("", "any")],
    ),
    ("transport", &[("{transport_protocol: tls}", "tls"), ("{transport_protocol: raw_buffer}", "raw")]),
    ("transport_other", &[("{transport_protocol: tls}", "tls"), ("", "any")]),
    ("names", &[("{server_names: [a.test, '*.b.test']}", "named"), ("", "any")]),
    ("names_only", &[("{server_names: [a.test]}", "named")]),
    ("protocols", &[("{application_protocols: [h2]}", "h2"), ("", "any")]),
    (
        "order",
        &[
            ("{prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}", "10/8"),
            (
                "{destination_port: 1000, prefix_ranges: [{address_prefix: 11.0.0.0, prefix_len: 8}]}",
                "11/8 on 1000",
            ),
            ("{destination_port: 1000, source_type: EXTERNAL, transport_protocol: raw_buffer}", "1000 raw"),
            ("{transport_protocol: raw_buffer}", "raw"),
            ("{source_type: EXTERNAL}", "external"),
        ],
    ),
];

fn config(_: &Ports) -> L4 {
    let log = access_log(LOG, &format!("listener {FORMAT}"));
    let filters = format!("listener_filters:\n{}", listener_filter("proxy_protocol.v3.ProxyProtocol", ""));
    let listener = |chains: &[(&str, &str)]| {
        let chains: Vec<_> = chains
            .iter()
            .map(|(criteria, answer)| {
                let chain = chain_for(criteria, &direct_response(answer));
                chain.replacen("- ", &format!("- name: '{answer}'\n  "), 1)
            })
            .collect();
        format!("{log}\n{filters}\nfilter_chains:\n{}", chains.join("\n"))
    };
    let default = format!(
        "{}\ndefault_filter_chain:\n  name: default\n  filters:\n  {}",
        listener(&[("{destination_port: 1000}", "1000")]),
        ringway_test_support::config::indent(&direct_response("default"), 2)
    );
    LISTENERS
        .iter()
        .fold(L4::new(), |l4, (name, chains)| l4.listener(name, &listener(chains)))
        .listener("default", &default)
}

/// Listener, source, destination.
const CONNECTIONS: &[(&str, &str, &str)] = &[
    ("ports", "5.1.1.1 1", "1.1.1.1 1000"),
    ("ports", "5.1.1.1 1", "1.1.1.1 2000"),
    ("ports", "6.1.1.1 1", "1.1.1.1 2000"),
    ("ports", "6.1.1.1 1", "1.1.1.1 1000"),
    ("ports", "6.1.1.1 1", "1.1.1.1 3000"),
    ("ports", "7.1.1.1 1", "1.1.1.1 3000"),
    ("ports", "2001:db8::1 1", "2001:db8::2 3000"),
    ("blocks", "5.1.1.1 1", "10.9.9.9 1"),
    ("blocks", "5.1.1.1 1", "10.2.9.9 1"),
    ("blocks", "5.1.1.1 1", "10.1.2.3 1"),
    ("blocks", "5.1.1.1 1", "11.1.2.3 1"),
    ("blocks", "2001:db8::1 1", "2001:db8::2 1"),
    ("blocks", "2001:db8::1 1", "2001:db9::2 1"),
    ("sources", "5.1.1.1 1", "1.1.1.1 1"),
    ("sources", "5.1.1.1 78", "1.1.1.1 1"),
    ("sources", "5.5.1.1 99", "1.1.1.1 1"),
    ("sources", "5.5.1.1 1", "1.1.1.1 1"),
    ("sources", "6.5.1.1 77", "1.1.1.1 1"),
    ("sources", "6.5.1.1 1", "1.1.1.1 1"),
    ("types", "127.0.0.9 1", "1.1.1.1 1"),
    ("types", "1.1.1.1 1", "1.1.1.1 2"),
    ("types", "1.1.1.2 1", "1.1.1.1 2"),
    ("types", "::1 1", "2001:db8::1 2"),
    ("types", "2001:db8::1 1", "2001:db8::1 2"),
    ("types", "2001:db8::2 1", "2001:db8::1 2"),
    ("types_and_any", "1.1.1.2 1", "1.1.1.1 2"),
    ("types_and_any", "1.1.1.2 2", "1.1.1.1 2"),
    ("types_and_any", "127.0.0.1 1", "1.1.1.1 2"),
    ("direct", "5.1.1.1 1", "1.1.1.1 1"),
    ("direct", "6.1.1.1 1", "1.1.1.1 1"),
    ("direct_not", "5.1.1.1 1", "1.1.1.1 1"),
    ("transport", "5.1.1.1 1", "1.1.1.1 1"),
    ("transport_other", "5.1.1.1 1", "1.1.1.1 1"),
    ("names", "5.1.1.1 1", "1.1.1.1 1"),
    ("names_only", "5.1.1.1 1", "1.1.1.1 1"),
    ("protocols", "5.1.1.1 1", "1.1.1.1 1"),
    ("order", "5.1.1.1 1", "10.1.1.1 1"),
    ("order", "5.1.1.1 1", "10.1.1.1 1000"),
    ("order", "5.1.1.1 1", "11.1.1.1 1000"),
    ("order", "5.1.1.1 1", "11.1.1.1 1"),
    ("order", "127.0.0.1 1", "12.1.1.1 1000"),
    ("order", "127.0.0.1 1", "12.1.1.1 1"),
    ("default", "5.1.1.1 1", "1.1.1.1 1000"),
    ("default", "5.1.1.1 1", "1.1.1.1 1001"),
];

fn connection((listener, source, destination): (&'static str, &str, &str)) -> Case {
    let (source_ip, source_port) = source.split_once(' ').expect("a port");
    let (destination_ip, destination_port) = destination.split_once(' ').expect("a port");
    let family = if source_ip.contains(':') { "TCP6" } else { "TCP4" };
    let header = format!("PROXY {family} {source_ip} {destination_ip} {source_port} {destination_port}\r\n");
    case(&format!("{listener}: {source} to {destination}")).on(listener).any_end().client(move |client| {
        client.send(&header);
    })
}

pub fn group() -> Group {
    let cases = CONNECTIONS.iter().map(|row| connection(*row)).collect();
    Group { name: "chain_match", config, cases }
}
