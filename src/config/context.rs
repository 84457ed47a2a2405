//! What conversions share: the list of errors, so that one run reports all of them, and the way to read
//! files and variables, which is the caller's so that conversions perform no I/O.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::google::protobuf as pb;

use super::FieldPath;
use super::tls::Secret;
use crate::api::ConfigError;

/// Something outside the configuration that it refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExternalData<'a> {
    /// The content of a file.
    File(&'a str),
    /// The value of an environment variable.
    Environment(&'a str),
    /// Nothing, if there is a file or directory at this path; else an error.
    Existence(&'a str),
}

/// Reads external data.
pub type ReadData<'a> = dyn Fn(ExternalData<'_>) -> io::Result<Vec<u8>> + 'a;

/// The state of a conversion. After it, the results are only good if there are no errors.
pub struct Context<'a> {
    errors: Vec<ConfigError>,
    read: &'a ReadData<'a>,
    /// The bootstrap's secrets.
    secrets: Vec<Arc<Secret>>,
}

impl<'a> Context<'a> {
    /// A conversion without errors so far that reads files and variables through `read`.
    pub fn new(read: &'a ReadData<'a>) -> Context<'a> {
        Context { errors: Vec::new(), read, secrets: Vec::new() }
    }

    /// The same, of something that may refer to the bootstrap's secrets.
    pub fn with_secrets(read: &'a ReadData<'a>, secrets: Vec<Arc<Secret>>) -> Context<'a> {
        Context { errors: Vec::new(), read, secrets }
    }

    /// A conversion of something that this one refers to, with errors of its own.
    pub(super) fn nested(&self) -> Context<'a> {
        Context::new(self.read)
    }

    /// Makes the bootstrap's secrets known.
    pub(super) fn set_secrets(&mut self, secrets: Vec<Arc<Secret>>) {
        self.secrets = secrets;
    }

    /// The bootstrap's secrets.
    pub(super) fn secrets(&self) -> &[Arc<Secret>] {
        &self.secrets
    }

    /// Records an error.
    pub(super) fn push(&mut self, error: ConfigError) {
        self.errors.push(error);
    }

    /// Records an error about the field at `path`.
    pub fn error(&mut self, path: &FieldPath, message: impl Into<String>) {
        self.errors.push(ConfigError::new(path.as_str(), message));
    }

    /// Records an error with advice.
    pub fn error_with_help(&mut self, path: &FieldPath, message: impl Into<String>, help: impl Into<String>) {
        self.errors.push(ConfigError::new(path.as_str(), message).with_help(help));
    }

    /// The errors so far, in the order in which they were found.
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }

    /// `value` if there were no errors.
    ///
    /// # Errors
    /// All recorded errors.
    pub fn finish<T>(self, value: T) -> Result<T, Vec<ConfigError>> {
        if self.errors.is_empty() { Ok(value) } else { Err(self.errors) }
    }

    /// Reads external data through the caller.
    pub(super) fn read(&self, data: ExternalData<'_>) -> io::Result<Vec<u8>> {
        (self.read)(data)
    }

    /// The enum value of number `value`; records an error and gives the default for an unknown number.
    pub fn enum_value<E: TryFrom<i32> + Default>(&mut self, value: i32, path: &FieldPath) -> E {
        E::try_from(value).unwrap_or_else(|_| {
            self.error(path, format!("{value} is no value of this enum"));
            E::default()
        })
    }

    /// A duration; records an error and gives zero for a negative one.
    pub fn duration(&mut self, value: &pb::Duration, path: &FieldPath) -> Duration {
        match (u64::try_from(value.seconds), u32::try_from(value.nanos)) {
            (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Duration::new(seconds, nanos),
            _ => {
                self.error(path, "a duration must not be negative");
                Duration::ZERO
            }
        }
    }

    /// A duration, or `default` if it is not set.
    pub(super) fn duration_or(
        &mut self,
        value: &Option<pb::Duration>,
        default: Duration,
        path: &FieldPath,
    ) -> Duration {
        value.as_ref().map_or(default, |value| self.duration(value, path))
    }

    /// A duration where it is set.
    pub(super) fn optional_duration(
        &mut self,
        value: &Option<pb::Duration>,
        path: &FieldPath,
    ) -> Option<Duration> {
        value.as_ref().map(|value| self.duration(value, path))
    }

    /// A time limit that zero turns off, or `default` if it is not set.
    pub(super) fn timeout(
        &mut self,
        value: &Option<pb::Duration>,
        default: Option<Duration>,
        path: &FieldPath,
    ) -> Option<Duration> {
        match value {
            None => default,
            Some(value) => Some(self.duration(value, path)).filter(|duration| !duration.is_zero()),
        }
    }

    /// A lower-case header name; records an error if it is not made of RFC 9110 token characters.
    /// Pseudo-headers (`:path`) pass.
    pub fn header_name(&mut self, name: &str, path: &FieldPath) -> String {
        let token = name.strip_prefix(':').unwrap_or(name);
        if token.is_empty() || !token.bytes().all(is_token_byte) {
            self.error(path, format!("{name:?} is not a valid header name"));
        }
        name.to_ascii_lowercase()
    }
}

/// The inner value of a wrapper message, or `default`.
macro_rules! wrapped_or {
    ($value:expr, $default:expr) => {
        $value.as_ref().map_or($default, |wrapper| wrapper.value)
    };
}
pub(super) use wrapped_or;

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
