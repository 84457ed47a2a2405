//! What a case showed on one proxy, as text in which everything that may differ has been replaced.

use std::collections::BTreeMap;

use ringway_test_support::PeerEnd;
use ringway_test_support::tcp::Seen;

use super::Case;

/// What one proxy did in one case.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What the client received.
    pub received: Vec<u8>,
    /// How its connection ended.
    pub end: PeerEnd,
    /// What the origins saw, each with its name.
    pub origins: Vec<(&'static str, Seen)>,
    /// Access log lines.
    pub logs: Vec<String>,
    /// What statistics changed, and by how much.
    pub stats: BTreeMap<String, i64>,
}

impl Outcome {
    /// Change of a statistic.
    pub fn stat(&self, name: &str) -> i64 {
        self.stats.get(name).copied().unwrap_or(0)
    }

    /// Change of the one statistic whose name ends so.
    pub fn stat_ending(&self, end_of_name: &str) -> i64 {
        self.stats.iter().find(|(name, _)| name.ends_with(end_of_name)).map_or(0, |(_, change)| *change)
    }

    /// As lines.
    pub fn text(&self, case: &Case) -> String {
        let mut out = format!("client got {}\n", shown(&self.received));
        let ended = match self.end {
            PeerEnd::Closed | PeerEnd::Reset if !case.ends_matter => "ended".to_string(),
            end => format!("{end:?}"),
        };
        out.push_str(&format!("client {ended}\n"));
        // Connections end in any order, and so do their loggers write.
        let mut lines: Vec<_> = self
            .origins
            .iter()
            .map(|(name, seen)| {
                let end = seen.end.map_or("not looked at".to_string(), |end| format!("{end:?}"));
                format!("{name} got {}, {end}\n", shown(&seen.bytes))
            })
            .chain(self.logs.iter().map(|line| {
                let line = with_sorted_flags(line);
                let is_unsettled = case.is_unsettled || line.contains(" failed=<TLS error>");
                format!("log {}\n", if is_unsettled { without_tls(&line) } else { line })
            }))
            .collect();
        lines.sort();
        out.push_str(&lines.concat());
        for (name, change) in &self.stats {
            if !case.ignored_stats.iter().any(|end| name.ends_with(end)) {
                out.push_str(&format!("stat {name} {change:+}\n"));
            }
        }
        out
    }
}

/// Envoy prints response flags in the order in which they were set, Ringway in an order of its own. Why TLS failed is
/// told in the words of BoringSSL and of rustls.
fn with_sorted_flags(line: &str) -> String {
    let sorted = |word: &str| match word.strip_prefix("flags=") {
        None => match word.split_once("TLS_error") {
            None => word.to_string(),
            Some((before, _reason)) => format!("{before}<TLS error>"),
        },
        Some(flags) => {
            let mut flags: Vec<_> = flags.split(',').collect();
            flags.sort_unstable();
            format!("flags={}", flags.join(","))
        }
    };
    line.split(' ').map(sorted).collect::<Vec<_>>().join(" ")
}

/// Without what the handshake with the client has settled: where it failed, Envoy tells what it had come to by then.
fn without_tls(line: &str) -> String {
    match (line.split_once(" tls="), line.split_once(" failed=")) {
        (Some((before, _)), Some((_, after))) => format!("{before} failed={after}"),
        _ => line.to_string(),
    }
}

fn shown(bytes: &[u8]) -> String {
    if bytes.len() > 300 {
        let sum = bytes.iter().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
        return format!("{} bytes, {sum:x}", bytes.len());
    }
    format!("{:?}", String::from_utf8_lossy(bytes))
}
