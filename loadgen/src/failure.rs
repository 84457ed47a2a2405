//! Why the program ends without doing its job.

use std::process::ExitCode;

use crate::target::Wrong;

/// A failure, and with it the exit code.
#[derive(Debug)]
pub enum Failure {
    /// The arguments cannot be used.
    Arguments(String),
    /// The run could not be made, or its report not be written.
    Run(String),
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Failure {
        Failure::Arguments(wrong.0)
    }
}

impl Failure {
    /// Says it and gives the exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            Failure::Arguments(reason) => {
                eprintln!("loadgen: {reason}\n\nFor more information, try '--help'.");
                ExitCode::from(2)
            }
            Failure::Run(reason) => {
                eprintln!("loadgen: {reason}");
                ExitCode::FAILURE
            }
        }
    }
}
