//! `loadgen`: Ringway's load generator on the command line. It plans and reports; the driving is `ringway::load`.

mod cli;
mod compare;
mod document;
mod drive;
mod failure;
mod hold;
mod html;
mod live;
mod machine;
mod process;
mod self_check;
mod serve;
mod target;
mod text;
mod tls;
mod warnings;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Some(Command::Compare(args)) => compare::run(args),
        Some(Command::Origin(args)) => serve::origin(args),
        Some(Command::Relay(args)) => serve::relay(args),
        None if cli.run.self_check => self_check::run(),
        None => match cli.run.hold_idle {
            Some(connections) => hold::run(&cli.run, connections),
            None => drive::run(&cli.run),
        },
    };
    done.unwrap_or_else(|failure| failure.report())
}
