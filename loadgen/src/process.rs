//! Processor time and memory of a process and all that it started, from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// Bytes of a page on every machine that Ringway runs on.
const PAGE_BYTES: u64 = 4_096;
/// `USER_HZ` is 100 on every Linux that Ringway runs on.
const MS_PER_TICK: u64 = 10;

/// What a process and its descendants use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Processor time so far, of all threads that live.
    pub cpu: Duration,
    /// Resident memory.
    pub resident_bytes: u64,
}

/// The footprint of `pid` and its descendants; `None` if there is no such process.
pub fn footprint(pid: u32) -> Option<Footprint> {
    fs::metadata(format!("/proc/{pid}")).ok()?;
    let mut sum = Footprint::default();
    for each in with_descendants(pid) {
        sum.cpu += cpu(each);
        sum.resident_bytes += resident_bytes(each);
    }
    Some(sum)
}

/// Waits until child process `pid` of this one has ended, and says how much processor time it used; it must not have
/// been waited for.
pub fn await_end(pid: u32) -> Duration {
    loop {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace().collect();
        match fields.first() {
            Some(&"Z") | None => {
                let ticks: u64 =
                    fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
                return Duration::from_millis(ticks * MS_PER_TICK);
            }
            Some(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn with_descendants(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in processes {
        let Some(each) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = parent(each) {
            children.entry(parent).or_default().push(each);
        }
    }
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        found.extend(children.remove(&found[at]).unwrap_or_default());
        at += 1;
    }
    found
}

fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may contain anything; fields are counted after its closing bracket.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn cpu(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn resident_bytes(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = text.split_ascii_whitespace().nth(1).and_then(|field| field.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_there_and_another_is_not() {
        let own = footprint(std::process::id()).expect("this process");
        assert!(own.resident_bytes > 100_000 && own.cpu > Duration::ZERO);
        assert_eq!(footprint(4_000_000_000), None);
    }
}
