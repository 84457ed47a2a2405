//! Mutates, runs, keeps what goes a new way, and makes small what breaks.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::{Duration, Instant};

use ringway::base::rng::Rng;

use crate::targets::Target;

/// Longest time for one input, in an unoptimised build on a busy machine.
const SLOW: Duration = Duration::from_secs(5);
/// Longest input.
const INPUT_MAX_BYTES: usize = 4_096;
/// Tries at making a finding smaller.
const SHRINK_TRIES: usize = 2_000;

/// An input that broke a promise.
pub struct Finding {
    pub input: Vec<u8>,
    pub message: String,
}

/// What came of a run.
pub struct Report {
    pub inputs: u64,
    /// Different signatures seen.
    pub ways: usize,
    pub finding: Option<Finding>,
}

/// Fuzzes a target for so long, or until something is found.
pub fn fuzz(target: &Target, seed: u64, time: Duration) -> Report {
    be_quiet();
    let mut rng = Rng::from_seed(seed);
    let mut corpus = (target.corpus)();
    let (mut inputs, mut ways) = (0, HashSet::new());
    let began = Instant::now();
    for input in &corpus {
        match run(target, input) {
            Ok(way) => drop(ways.insert(way)),
            Err(message) => return report(target, inputs, &ways, input, message),
        }
    }
    while began.elapsed() < time {
        let input = mutate(&corpus, target.words, &mut rng);
        inputs += 1;
        match run(target, &input) {
            Ok(way) if ways.insert(way) => corpus.push(input),
            Ok(_) => {}
            Err(message) => return report(target, inputs, &ways, &input, message),
        }
    }
    Report { inputs, ways: ways.len(), finding: None }
}

fn report(target: &Target, inputs: u64, ways: &HashSet<u64>, input: &[u8], message: String) -> Report {
    let input = shrink(target, input.to_vec());
    Report { inputs, ways: ways.len(), finding: Some(Finding { input, message }) }
}

fn run(target: &Target, input: &[u8]) -> Result<u64, String> {
    let began = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let way = result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_string()
    })?;
    let took = began.elapsed();
    if took > SLOW { Err(format!("took {took:?}")) } else { Ok(way) }
}

/// One to eight changes of an input of the corpus.
fn mutate(corpus: &[Vec<u8>], words: &[&[u8]], rng: &mut Rng) -> Vec<u8> {
    let mut input = pick(corpus, rng).clone();
    for _ in 0..=rng.below(8) {
        let at = below(rng, input.len() + 1);
        let length = below(rng, 1 + (input.len() - at).min(16));
        match rng.below(10) {
            0 if at < input.len() => input[at] ^= 1 << rng.below(8),
            1 if at < input.len() => input[at] = rng.next_u64() as u8,
            2 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff, b'\r', b'\n', b' '][below(rng, 8)],
            3 => drop(input.drain(at..at + length)),
            4 => drop(input.splice(at..at, input[at..at + length].to_vec())),
            5 | 6 => drop(input.splice(at..at, pick(words, rng).iter().copied())),
            7 => drop(input.splice(at..at + length, pick(words, rng).iter().copied())),
            8 => {
                // The front of this one, the end of another.
                let other = pick(corpus, rng);
                input.truncate(at);
                input.extend_from_slice(&other[below(rng, other.len() + 1)..]);
            }
            _ => input.truncate(input.len() - length),
        }
    }
    input.truncate(INPUT_MAX_BYTES);
    input
}

/// Removes what the failure does not need.
fn shrink(target: &Target, mut input: Vec<u8>) -> Vec<u8> {
    let mut tries = 0;
    let mut length = input.len() / 2;
    while length > 0 && tries < SHRINK_TRIES {
        let mut at = 0;
        while at + length <= input.len() && tries < SHRINK_TRIES {
            tries += 1;
            let mut smaller = input.clone();
            smaller.drain(at..at + length);
            if run(target, &smaller).is_err() {
                input = smaller;
            } else {
                at += length;
            }
        }
        length /= 2;
    }
    input
}

fn below(rng: &mut Rng, limit: usize) -> usize {
    rng.below(limit as u64) as usize
}

fn pick<'a, T>(from: &'a [T], rng: &mut Rng) -> &'a T {
    &from[below(rng, from.len())]
}

/// Panics of targets are findings, and told as such.
fn be_quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_ours = info.location().is_some_and(|place| place.file().ends_with("tests/fuzz/main.rs"));
            if is_ours {
                usual(info);
            }
        }));
    });
}
