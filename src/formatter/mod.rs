//! Envoy's substitution format engine: `%REQ(X?Y):Z%` and its like, for access logs, header values and
//! local replies. A format is compiled once and written without allocating.
//!
//! Follows Envoy 1.40's "Command operators", checked against the binary. Differs on purpose: line breaks
//! and NUL in values that a client chose are escaped, so that nobody can forge a log line.

mod address;
mod command;
mod context;
mod error;
mod evaluate;
mod grpc_status;
mod json;
mod number;
mod parse;
#[cfg(test)]
mod tests;
mod time_format;
mod tls;

pub use context::{AccessLogType, FormatContext};
pub use error::FormatError;
pub use grpc_status::status_of_any_request as grpc_status_of_any_request;
pub use json::JsonFormatter;
pub use number::write_u64;

use command::Command;
use parse::Token;

/// Envoy's default access log line, line end included.
pub const DEFAULT_ACCESS_LOG_FORMAT: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% \
    %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n";

/// A compiled text format.
#[derive(Debug, Clone)]
pub struct Formatter {
    ops: Vec<Op>,
    omit_empty_values: bool,
}

#[derive(Debug, Clone)]
enum Op {
    Literal(Box<str>),
    Command(Command),
}

impl Formatter {
    /// Compiles a format in which an absent value prints as `-`, as in access logs.
    ///
    /// # Errors
    /// If the format is malformed or names a command that is unknown, not there yet, or wrongly used.
    pub fn parse(format: &str) -> Result<Formatter, FormatError> {
        Formatter::compile(format, false)
    }

    /// Compiles a format in which an absent value prints as nothing, as in header values.
    ///
    /// # Errors
    /// As [`Formatter::parse`].
    pub fn parse_omitting_empty(format: &str) -> Result<Formatter, FormatError> {
        Formatter::compile(format, true)
    }

    /// Compiles a format; `omit_empty_values` chooses between the two above.
    ///
    /// # Errors
    /// As [`Formatter::parse`].
    pub fn compile(format: &str, omit_empty_values: bool) -> Result<Formatter, FormatError> {
        let mut ops: Vec<Op> = Vec::new();
        for token in parse::tokenize(format)? {
            match token {
                Token::Literal(text) => push_literal(&mut ops, text),
                Token::Command(raw) => match Command::compile(&raw)? {
                    Command::Fixed(Some(text)) => push_literal(&mut ops, &text),
                    command => ops.push(Op::Command(command)),
                },
            }
        }
        Ok(Formatter { ops, omit_empty_values })
    }

    /// Appends the text.
    pub fn write(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) {
        for op in &self.ops {
            match op {
                Op::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Op::Command(command) => {
                    if !command.write(cx, out) && !self.omit_empty_values {
                        out.push(b'-');
                    }
                }
            }
        }
    }

    /// The text, if it is the same for every stream.
    pub fn as_literal(&self) -> Option<&str> {
        match self.ops.as_slice() {
            [] => Some(""),
            [Op::Literal(text)] => Some(text),
            _ => None,
        }
    }
}

/// Literals that follow each other become one.
fn push_literal(ops: &mut Vec<Op>, text: &str) {
    if text.is_empty() {
        return;
    }
    if let Some(Op::Literal(last)) = ops.last_mut() {
        *last = format!("{last}{text}").into();
    } else {
        ops.push(Op::Literal(text.into()));
    }
}
