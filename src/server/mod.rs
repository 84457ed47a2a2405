//! The process: from the command line to serving workers, and to their end.

mod admin_state;
mod bind;
mod certificates;
mod command;
mod config_dump;
mod configuration;
mod control;
mod demo;
mod dynamic;
mod event_logs;
mod listener_manager;
mod retired;
mod signals;
mod startup;
mod stats_options;
mod traffic;
mod worker;
mod worker_listeners;
mod workers;

pub use command::{AddressId, Command, ListenerCommand, ListenerId};
pub use configuration::{Configuration, ListenerCompiler, Slots};
pub use demo::demo;
pub use startup::{serve, validate};
pub use traffic::Traffic;
