//! The load generator as its users meet it: the program against real origins that behave and misbehave. They live here
//! and not in the workspace's `tests/it` because only here cargo builds the program for them.

/// Makes two tests of each function: one with the `ring` driver, one with `epoll`.
macro_rules! on_both_drivers {
    ($($name:ident)*) => {
        mod ring {
            $(#[test]
            fn $name() {
                super::$name(ringway_test_support::Driver::Ring);
            })*
        }
        mod epoll {
            $(#[test]
            fn $name() {
                super::$name(ringway_test_support::Driver::Epoll);
            })*
        }
    };
}

mod command_line;
mod failures;
mod http2;
mod modes;
mod requests;
mod run;
mod tls;
