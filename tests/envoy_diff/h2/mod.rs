//! The same for HTTP/2 on either side: frames of a client, deeds of an origin, and what each saw of them.

mod outcome;
mod side;

use std::thread;

pub use outcome::Outcome;
use ringway_test_support::config::Http;
use ringway_test_support::h2::H2Connection;
use ringway_test_support::{Driver, Server};
pub use side::Ports;
use side::Side;

/// Whether Ringway's own outcome is what it should be.
pub type Check = fn(&Outcome) -> bool;

/// Who asks.
pub enum Client {
    /// A connection of HTTP/2 on which a function does what it likes.
    Http2(fn(&mut H2Connection)),
    /// A connection of HTTP/1.1 that sends these bytes.
    Http1(&'static str),
}

/// One row.
pub struct Case {
    pub name: &'static str,
    /// Name of the listener.
    pub listener: &'static str,
    pub client: Client,
    /// Why Ringway does something else, and the check of what it does.
    pub difference: Option<(&'static str, Check)>,
    /// Whether requests at the origins are compared.
    pub compare_origin: bool,
}

/// A row: what a client of HTTP/2 does on the listener `main`.
pub fn case(name: &'static str, play: fn(&mut H2Connection)) -> Case {
    Case { name, listener: "main", client: Client::Http2(play), difference: None, compare_origin: true }
}

/// A row: what a client of HTTP/1.1 sends to the listener `main`.
pub fn h1_case(name: &'static str, request: &'static str) -> Case {
    Case { client: Client::Http1(request), ..case(name, |_| {}) }
}

impl Case {
    /// Connects to this listener.
    pub fn on(self, listener: &'static str) -> Case {
        Case { listener, ..self }
    }

    /// Ringway differs on purpose.
    pub fn differs(self, reason: &'static str, check: Check) -> Case {
        Case { difference: Some((reason, check)), ..self }
    }

    /// How much of a broken request reaches the origin is a matter of timing.
    pub fn ignore_origin(self) -> Case {
        Case { compare_origin: false, ..self }
    }
}

/// Cases that share a configuration, thus a process.
pub struct Group {
    pub name: &'static str,
    pub config: fn(&Ports) -> Http,
    pub cases: Vec<Case>,
}

macro_rules! h2_groups {
    ($($name:ident)*) => {
        mod h2_tables {
            $(#[test]
            fn $name() {
                crate::h2::compare(&crate::$name::group());
            })*

            #[test]
            fn the_table_is_as_large_as_promised_and_names_each_case_once() {
                let groups = [$(crate::$name::group()),*];
                let names: Vec<_> = groups.iter().flat_map(|g| g.cases.iter().map(move |c| (g.name, c.name))).collect();
                let distinct: std::collections::BTreeSet<_> = names.iter().collect();
                assert_eq!(distinct.len(), names.len(), "a name twice");
                assert!(names.len() >= 60, "{} cases", names.len());
            }

            #[test]
            fn the_readme_lists_every_deliberate_difference() {
                let readme = include_str!("../../README.md");
                for case in [$(crate::$name::group()),*].iter().flat_map(|group| &group.cases) {
                    if let Some((reason, _)) = &case.difference {
                        assert!(readme.contains(reason), "README.md lacks {reason:?}");
                    }
                }
            }
        }
    };
}
pub(crate) use h2_groups;

/// Plays a group on Envoy and on Ringway.
pub fn compare(group: &Group) {
    let Some(envoy) = Server::envoy() else {
        eprintln!("\n*** SKIPPED: no `envoy` program here; {} was not compared.\n", group.name);
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
    // Started here: a proxy ends with the thread that has started it.
    let envoy = Side::start(envoy, config);
    let others: Vec<(&str, Side)> =
        others.into_iter().map(|(name, server)| (name, Side::start(server, config))).collect();
    let play = |side: &Side| cases.iter().map(|case| side.play(case)).collect::<Vec<Outcome>>();
    let (expected, outcomes) = thread::scope(|scope| {
        let play = &play;
        let expected = scope.spawn(|| play(&envoy));
        let others: Vec<_> = others.iter().map(|(_, side)| scope.spawn(move || play(side))).collect();
        let expected = expected.join().expect("envoy's side");
        (expected, others.into_iter().map(|side| side.join().expect("a side")).collect::<Vec<_>>())
    });
    if mode == "show" {
        for (case, outcome) in cases.iter().zip(&expected) {
            println!("== {}\n{}", case.name, outcome.text(case.compare_origin));
        }
        return;
    }
    let mut failures = Vec::new();
    for ((name, side), outcomes) in others.iter().zip(&outcomes) {
        for ((case, envoys), found) in cases.iter().zip(&expected).zip(outcomes) {
            let judge = |envoys: &Outcome, found: &Outcome| judge(case, envoys, found, mode == "self");
            if let Some(failure) = judge(envoys, found) {
                // A machine under load makes timings that no proxy is to blame for.
                eprintln!("RUN AGAIN: {name}: {}: {failure}", case.name);
                let (envoys, found) = (envoy.play(case), side.play(case));
                failures.extend(judge(&envoys, &found).map(|why| format!("{name}: {}: {why}", case.name)));
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
fn judge(case: &Case, envoys: &Outcome, found: &Outcome, is_envoy: bool) -> Option<String> {
    let (expected, text) = (envoys.text(case.compare_origin), found.text(case.compare_origin));
    match &case.difference {
        _ if is_envoy => (expected != text).then(|| format!("\n{}", crate::side_by_side(&expected, &text))),
        Some(_) if expected == text => Some(format!("as Envoy, although it is said to differ:\n{text}")),
        Some((_, check)) if check(found) => None,
        Some((reason, _)) => Some(format!("not its own outcome ({reason}):\n{text}")),
        None if text == expected => None,
        None => Some(format!("\n{}", crate::side_by_side(&expected, &text))),
    }
}
