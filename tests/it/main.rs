//! Ringway as its users meet it: the program, real sockets, real files, real signals. Every test that
//! concerns the data path runs on both I/O drivers.

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

mod access_log;
mod admin;
mod command_line;
mod configs;
mod configs_filters;
mod configs_l4;
mod configs_tls;
mod drivers;
mod dynamic;
mod dynamic_listeners;
mod dynamic_load;
mod dynamic_rejections;
mod filters;
mod health;
mod http1;
mod http2;
mod lifecycle;
mod listener_filters;
mod network;
mod pools;
mod refused_l4;
mod refused_tls;
mod secrets;
mod secrets_in_use;
mod streaming;
mod timeouts;
mod tls;
mod upgrades;
mod upstream;
mod workers;
