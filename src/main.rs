//! The `ringway` binary: parses the command line and hands over to the library.

use std::process::ExitCode;

use clap::Parser;
use ringway::cli::{Cli, Command};
use ringway::server;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Demo(args)) => server::demo(&args),
        Some(Command::Validate(args)) => server::validate(&args),
        None => server::serve(&cli.serve),
    }
}
