//! Blocks of IP addresses to values; a look-up finds the value of the smallest block around an address.
//!
//! One bit a step, IPv4 and IPv6 apart. Made once, read often; never shrinks.

use std::net::IpAddr;

/// A map from blocks of addresses.
#[derive(Debug, Clone)]
pub struct IpTrie<T> {
    v4: Tree<T>,
    v6: Tree<T>,
}

#[derive(Debug, Clone)]
struct Tree<T> {
    /// The first one is the root.
    nodes: Vec<Node<T>>,
}

#[derive(Debug, Clone)]
struct Node<T> {
    /// Indices of the nodes for the next bit; 0 for none, as the root is nobody's child.
    children: [u32; 2],
    value: Option<T>,
}

impl<T> IpTrie<T> {
    /// No blocks.
    pub fn new() -> IpTrie<T> {
        IpTrie { v4: Tree::new(), v6: Tree::new() }
    }

    /// Whether there are no blocks.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The value of the smallest block that `address` lies in.
    pub fn get(&self, address: IpAddr) -> Option<&T> {
        let (bits, len) = key(address);
        self.tree(address).get(bits, len)
    }

    /// The place for the value of a block: the first `prefix_len` bits of `address` (0 to 32, or to 128 for
    /// IPv6; larger numbers count as those).
    pub fn entry(&mut self, address: IpAddr, prefix_len: u8) -> &mut Option<T> {
        let (bits, len) = key(address);
        let tree = if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 };
        tree.entry(bits, u32::from(prefix_len).min(len))
    }

    fn tree(&self, address: IpAddr) -> &Tree<T> {
        if address.is_ipv4() { &self.v4 } else { &self.v6 }
    }
}

impl<T> Default for IpTrie<T> {
    fn default() -> IpTrie<T> {
        IpTrie::new()
    }
}

impl<T> Tree<T> {
    fn new() -> Tree<T> {
        Tree { nodes: vec![Node { children: [0; 2], value: None }] }
    }

    fn is_empty(&self) -> bool {
        self.nodes.iter().all(|node| node.value.is_none())
    }

    fn get(&self, mut bits: u128, len: u32) -> Option<&T> {
        let mut node = &self.nodes[0];
        let mut found = node.value.as_ref();
        for _ in 0..len {
            let child = node.children[(bits >> 127) as usize];
            if child == 0 {
                break;
            }
            node = &self.nodes[child as usize];
            found = node.value.as_ref().or(found);
            bits <<= 1;
        }
        found
    }

    fn entry(&mut self, mut bits: u128, len: u32) -> &mut Option<T> {
        let mut at = 0;
        for _ in 0..len {
            let bit = (bits >> 127) as usize;
            if self.nodes[at].children[bit] == 0 {
                self.nodes[at].children[bit] = self.nodes.len() as u32;
                self.nodes.push(Node { children: [0; 2], value: None });
            }
            at = self.nodes[at].children[bit] as usize;
            bits <<= 1;
        }
        &mut self.nodes[at].value
    }
}

/// The address's bits from the top, and their number.
fn key(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (v6.into(), 128),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_smallest_block_wins_and_families_are_apart() {
        let mut trie = IpTrie::new();
        assert!(trie.is_empty());
        for (block, len) in [("10.0.0.0", 8), ("10.1.0.0", 16), ("10.1.2.3", 32), ("2001:db8::", 32)] {
            *trie.entry(address(block), len) = Some((block, len));
        }
        let find = |text| trie.get(address(text)).map(|(block, len)| format!("{block}/{len}"));
        assert_eq!(find("10.1.2.3").as_deref(), Some("10.1.2.3/32"));
        assert_eq!(find("10.1.2.4").as_deref(), Some("10.1.0.0/16"));
        assert_eq!(find("10.9.2.4").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(find("11.0.0.0"), None);
        assert_eq!(find("2001:db8:1::").as_deref(), Some("2001:db8::/32"));
        assert_eq!(find("::a00:1"), None);
        *trie.entry(address("0.0.0.0"), 0) = Some(("all", 0));
        assert_eq!(trie.get(address("200.1.1.1")), Some(&("all", 0)));
        assert_eq!(trie.get(address("::1")), None);
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(blocks in proptest::collection::vec((any::<u32>(), 0u8..=32), 0..40), probe in any::<u32>()) {
            let mut trie = IpTrie::new();
            for &(bits, len) in &blocks {
                *trie.entry(IpAddr::V4(bits.into()), len) = Some(len);
            }
            let is_in = |bits: u32, len: u8| len == 0 || bits >> (32 - len) == probe >> (32 - len);
            let expected = blocks.iter().filter(|(bits, len)| is_in(*bits, *len)).map(|(_, len)| *len).max();
            prop_assert_eq!(trie.get(IpAddr::V4(probe.into())).copied(), expected);
        }
    }
}
