//! `/etc/hosts`: names that need no DNS. Parses a text; where the text comes from is the caller's business.

use std::collections::HashMap;
use std::net::IpAddr;

/// The names of a hosts file, lower case, with their addresses in the file's order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostsFile {
    names: HashMap<String, Vec<IpAddr>>,
}

impl HostsFile {
    /// Parses `address name [name...]` lines; `#` begins a comment. Lines that are not so are skipped.
    pub fn parse(text: &str) -> HostsFile {
        let mut names: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse().ok()) else {
                continue;
            };
            for name in words {
                let addresses = names.entry(name.trim_end_matches('.').to_ascii_lowercase()).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        HostsFile { names }
    }

    /// The addresses of `name`, in any case and with or without a final dot. `localhost` and names below it are
    /// loopback addresses (RFC 6761) if the file does not mention them.
    pub fn lookup(&self, name: &str) -> Option<Vec<IpAddr>> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Some(addresses) = self.names.get(&name) {
            return Some(addresses.clone());
        }
        let is_localhost = name == "localhost" || name.ends_with(".localhost");
        is_localhost.then(|| vec![[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_any_case() {
        let file = HostsFile::parse(
            "127.0.0.1 localhost\n# 10.0.0.9 commented\n10.0.0.1\tApp.Example app # both\n\n10.0.0.2 app\n10.0.0.2 app\nnonsense x\n10.0.0.3",
        );
        let addresses = |list: &[&str]| Some(list.iter().map(|ip| ip.parse().expect("an address")).collect());
        assert_eq!(file.lookup("APP."), addresses(&["10.0.0.1", "10.0.0.2"]));
        assert_eq!(file.lookup("app.example"), addresses(&["10.0.0.1"]));
        assert_eq!(file.lookup("localhost"), addresses(&["127.0.0.1"]));
        assert_eq!(file.lookup("a.localhost"), addresses(&["127.0.0.1", "::1"]));
        assert_eq!(file.lookup("x"), None);
        assert_eq!(file.lookup("commented"), None);
    }
}
