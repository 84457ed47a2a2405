//! The same for raw connections: bytes at both ends, how each was ended, access logs and statistics.

mod case;
mod outcome;
mod side;

use std::thread;

pub use case::{Case, case};
pub use outcome::Outcome;
pub use side::{LOG, Ports};

use ringway_test_support::l4_config::{L4, access_log, tcp_proxy};
use ringway_test_support::{Driver, Server};
use side::Side;

/// What the access logs tell.
pub const FORMAT: &str = "%ACCESS_LOG_TYPE% flags=%RESPONSE_FLAGS% details=%RESPONSE_CODE_DETAILS% \
    end=%CONNECTION_TERMINATION_DETAILS% received=%BYTES_RECEIVED% sent=%BYTES_SENT% cluster=%UPSTREAM_CLUSTER% \
    host=%UPSTREAM_HOST% failure=%UPSTREAM_TRANSPORT_FAILURE_REASON% from=%DOWNSTREAM_REMOTE_ADDRESS% \
    direct=%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% to=%DOWNSTREAM_LOCAL_ADDRESS% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% chain=%FILTER_CHAIN_NAME% \
    protocol=%PROTOCOL% code=%RESPONSE_CODE% down=%DOWNSTREAM_WIRE_BYTES_RECEIVED%/%DOWNSTREAM_WIRE_BYTES_SENT% \
    up=%UPSTREAM_WIRE_BYTES_SENT%/%UPSTREAM_WIRE_BYTES_RECEIVED% local=%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% \
    remote=%UPSTREAM_REMOTE_ADDRESS% name=%REQUESTED_SERVER_NAME% route=%ROUTE_NAME%";

/// A TCP proxy with these fields and an access log.
pub fn logged(fields: &str) -> String {
    tcp_proxy(&format!("{fields}\n{}", access_log(LOG, FORMAT)))
}

/// Cases that share a configuration, thus a process.
pub struct Group {
    /// Name of its module and test.
    pub name: &'static str,
    /// The bootstrap.
    pub config: fn(&Ports) -> L4,
    /// Its rows.
    pub cases: Vec<Case>,
}

macro_rules! l4_groups {
    ($($name:ident)*) => {
        mod l4_tables {
            $(#[test]
            fn $name() {
                crate::l4::compare(&crate::$name::group());
            })*

            #[test]
            fn the_table_is_as_large_as_promised_and_names_each_case_once() {
                let groups = [$(crate::$name::group()),*];
                let names: Vec<_> =
                    groups.iter().flat_map(|g| g.cases.iter().map(move |c| (g.name, c.name.as_str()))).collect();
                let distinct: std::collections::BTreeSet<_> = names.iter().collect();
                assert_eq!(distinct.len(), names.len(), "a name twice");
                assert!(names.len() >= 60, "{} cases", names.len());
            }

            #[test]
            fn the_readme_lists_every_deliberate_difference() {
                let readme = include_str!("../../README.md");
                for case in [$(crate::$name::group()),*].iter().flat_map(|group| &group.cases) {
                    if let Some(difference) = &case.difference {
                        assert!(readme.contains(difference.reason), "README.md lacks {:?}", difference.reason);
                    }
                }
            }
        }
    };
}
pub(crate) use l4_groups;

/// Plays a group on Envoy and on Ringway.
pub fn compare(group: &Group) {
    let Some(envoy) = Server::envoy() else {
        eprintln!("\n*** SKIPPED: no `envoy` program here; {} was not compared.\n", group.name);
        return;
    };
    let only = std::env::var("ENVOY_DIFF_ONLY").unwrap_or_default();
    let cases: Vec<&Case> = group.cases.iter().filter(|case| case.name.contains(&only)).collect();
    let mode = std::env::var("ENVOY_DIFF").unwrap_or_default();
    let mode = mode.as_str();
    let others: Vec<(&str, Server)> = match mode {
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
    let show = mode == "show";
    // What Envoy does is of no interest where Ringway differs on purpose.
    let play_unless_skipped = |side: &Side, is_envoy: bool, case: &Case| {
        let is_skipped = is_envoy && !show && case.difference.is_some();
        (!is_skipped).then(|| side.play(case))
    };
    let play = |side: &Side, is_envoy: bool| -> Vec<Option<Outcome>> {
        cases.iter().map(|case| play_unless_skipped(side, is_envoy, case)).collect()
    };
    let (expected, outcomes) = thread::scope(|scope| {
        let play = &play;
        let expected = scope.spawn(|| play(&envoy, true));
        let others: Vec<_> =
            others.iter().map(|(_, side)| scope.spawn(move || play(side, mode == "self"))).collect();
        let expected = expected.join().expect("envoy's side");
        (expected, others.into_iter().map(|side| side.join().expect("a side")).collect::<Vec<_>>())
    });
    let text =
        |case: &Case, outcome: &Option<Outcome>| outcome.as_ref().map_or(String::new(), |o| o.text(case));
    if mode == "show" {
        for (case, outcome) in cases.iter().zip(&expected) {
            println!("== {}\n{}", case.name, text(case, outcome));
        }
        return;
    }
    let mut failures = Vec::new();
    let judge = |case: &Case, expected: &Option<Outcome>, found: &Option<Outcome>| {
        let (expected, shown) = (text(case, expected), text(case, found));
        match (&case.difference, found) {
            (Some(difference), Some(found)) if !(difference.check)(found) => {
                Some(format!("not its own outcome ({}):\n{shown}", difference.reason))
            }
            (Some(_), _) => None,
            (None, _) if shown == expected => None,
            (None, _) => Some(format!("\n{}", crate::side_by_side(&expected, &shown))),
        }
    };
    for ((name, side), outcomes) in others.iter().zip(&outcomes) {
        for ((case, expected), found) in cases.iter().zip(&expected).zip(outcomes) {
            let Some(failure) = judge(case, expected, found) else { continue };
            // A machine under load makes timings that no proxy is to blame for.
            eprintln!("RUN AGAIN: {name}: {}: {failure}", case.name);
            let expected = play_unless_skipped(&envoy, true, case);
            let found = play_unless_skipped(side, mode == "self", case);
            let failure = judge(case, &expected, &found);
            failures.extend(failure.map(|failure| format!("{name}: {}: {failure}", case.name)));
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
