//! Fuzzing on stable Rust: seeded mutations of valid inputs, keeping those that go a new way. A short run with every
//! `cargo test`; `FUZZ_SECONDS=60` is the time for each target, `FUZZ_SEED=n` where chance begins, `FUZZ_ONLY=name` one target.
//! The targets are in `fuzz/targets.rs`, where cargo-fuzz uses them too.

mod driver;
#[path = "../../fuzz/targets.rs"]
mod targets;

use std::time::Duration;

use driver::{Finding, fuzz};
use targets::{TARGETS, Target};

/// Time for each target unless told otherwise.
const SECONDS: u64 = 1;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_input_breaks_a_promise() {
    let time = Duration::from_secs(variable("FUZZ_SECONDS").unwrap_or(SECONDS));
    let seed = variable("FUZZ_SEED").unwrap_or(1);
    let only = std::env::var("FUZZ_ONLY").unwrap_or_default();
    let mut findings = Vec::new();
    for target in TARGETS.iter().filter(|target| target.name.contains(&only)) {
        let report = fuzz(target, seed, time);
        eprintln!("{}: {} inputs, {} ways", target.name, report.inputs, report.ways);
        assert!(report.ways > 1 && report.inputs > 50, "{} does nothing", target.name);
        findings.extend(report.finding.map(|Finding { input, message }| {
            format!("{}: {message}\n  input: b\"{}\"", target.name, input.escape_ascii())
        }));
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// A parser with the usual mistake: it believes a length.
fn planted(input: &[u8]) -> u64 {
    let Some(rest) = input.strip_prefix(b"LEN") else { return 0 };
    let Some((&length, rest)) = rest.split_first() else { return 1 };
    if rest.len() < 4 {
        return 2;
    }
    3 + u64::from(rest[..usize::from(length)].contains(&b'x'))
}

#[test]
fn a_planted_bug_is_found_and_made_small() {
    let target = Target {
        name: "planted",
        run: planted,
        corpus: || vec![b"LEN\x04abcdefgh".to_vec()],
        words: &[b"LEN"],
    };
    let finding = fuzz(&target, 1, Duration::from_secs(20)).finding.expect("the bug");
    assert!(finding.message.contains("out of range"), "{}", finding.message);
    assert!(finding.input.len() <= 8 && finding.input.starts_with(b"LEN"), "{:?}", finding.input);
}
