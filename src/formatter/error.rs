//! What can be wrong with a format string. The texts are Envoy's, so that its users recognise them.

use thiserror::Error;

/// Why a format string was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormatError {
    /// A `%` that begins no well-formed command.
    #[error("Incorrect configuration: {format}. Couldn't find valid command at position {position}")]
    Malformed {
        /// The whole format string.
        format: String,
        /// Byte position of the `%`.
        position: usize,
    },
    /// Envoy has no such command.
    #[error("Not supported field in StreamInfo: {0}")]
    UnknownCommand(String),
    /// Envoy has this command, Ringway does not yet.
    #[error("%{0}% is not implemented by Ringway yet")]
    Unsupported(String),
    /// A command without its required parameters.
    #[error("{0} requires parameters")]
    MissingParameters(String),
    /// A parameter or length behind a command that takes neither.
    #[error("{0} does not take any parameters or length")]
    TakesNothing(String),
    /// A length behind a command that takes none.
    #[error("{0} does not allow length to be specified.")]
    TakesNoLength(String),
    /// A parameter with a value that the command does not know.
    #[error("Invalid {command} option: '{value}', only {allowed} are allowed")]
    InvalidOption {
        /// The command.
        command: &'static str,
        /// The value given.
        value: String,
        /// What may stand there.
        allowed: &'static str,
    },
    /// More than one `?` in a header command.
    #[error("More than 1 alternative header specified in token: {0}")]
    TooManyAlternatives(String),
    /// A header name with characters that no header name has.
    #[error("Invalid header configuration. Format string contains invalid characters.")]
    InvalidHeaderName(String),
    /// `COMMON_DURATION` without two points in time.
    #[error("Invalid common duration configuration: {0}.")]
    InvalidDuration(String),
    /// `COMMON_DURATION` with an unknown unit.
    #[error("Invalid common duration precision: {0}.")]
    InvalidPrecision(String),
    /// A JSON format that is no object.
    #[error("a JSON format must be an object, got {0}")]
    NotAnObject(&'static str),
    /// A JSON format nested too deep.
    #[error("a JSON format may be nested at most {0} levels deep")]
    TooDeep(usize),
}
