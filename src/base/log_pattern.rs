//! The pattern of a log line, in the notation of spdlog that Envoy's `--log-format` takes.
//!
//! Times are UTC. Flags that mean nothing here (colours, elapsed time) print nothing; unknown ones
//! print as they stand.

use std::fmt;
use std::io::Write;

use time::OffsetDateTime;

use crate::base::log::{Level, Record};

/// Envoy's default.
pub(super) const DEFAULT_PATTERN: &str = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v";

/// A parsed pattern.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    parts: Vec<Part>,
    escaped: bool,
}

#[derive(Debug, Clone)]
enum Part {
    Literal(String),
    Flag(char),
}

impl Pattern {
    /// Never fails: what is no flag is text.
    pub(super) fn parse(text: &str, escaped: bool) -> Pattern {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars();
        while let Some(next) = rest.next() {
            match (next, next == '%') {
                (_, true) => match rest.next() {
                    Some('%') => literal.push('%'),
                    Some(flag) => {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                        parts.push(Part::Flag(flag));
                    }
                    None => literal.push('%'),
                },
                (other, false) => literal.push(other),
            }
        }
        parts.push(Part::Literal(literal));
        Pattern { parts, escaped }
    }

    /// Appends one line, line break included.
    pub(super) fn write(&self, record: &Record, message: fmt::Arguments<'_>, out: &mut Vec<u8>) {
        let nanos = i128::try_from(record.since_epoch.as_nanos()).unwrap_or_default();
        let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Part::Flag('v' | '_' | 'j') => write_message(message, self.escaped || part.escapes(), out),
                // Writing to memory does not fail.
                Part::Flag(flag) => drop(write_flag(*flag, record, &time, out)),
            }
        }
        out.push(b'\n');
    }
}

impl Part {
    /// Envoy's own `%_` and `%j` escape line breaks in the message.
    fn escapes(&self) -> bool {
        matches!(self, Part::Flag('_' | 'j'))
    }
}

fn write_message(message: fmt::Arguments<'_>, escaped: bool, out: &mut Vec<u8>) {
    let start = out.len();
    let _ = out.write_fmt(message);
    let needs_escape = |byte: &u8| matches!(byte, b'\n' | b'\r' | b'"' | b'\\');
    if escaped && out[start..].iter().any(needs_escape) {
        let plain = out.split_off(start);
        for byte in plain {
            match byte {
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                other => out.push(other),
            }
        }
    }
}

fn write_flag(flag: char, record: &Record, time: &OffsetDateTime, out: &mut Vec<u8>) -> std::io::Result<()> {
    let (year, month, day) = (time.year(), u8::from(time.month()), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    match flag {
        'Y' => write!(out, "{year}"),
        'C' => write!(out, "{:02}", year % 100),
        'm' => write!(out, "{month:02}"),
        'd' => write!(out, "{day:02}"),
        'H' => write!(out, "{hour:02}"),
        'I' => write!(out, "{:02}", (hour + 11) % 12 + 1),
        'M' => write!(out, "{minute:02}"),
        'S' => write!(out, "{second:02}"),
        'p' => write!(out, "{}", if hour < 12 { "AM" } else { "PM" }),
        'T' | 'X' => write!(out, "{hour:02}:{minute:02}:{second:02}"),
        'R' => write!(out, "{hour:02}:{minute:02}"),
        'D' | 'x' => write!(out, "{month:02}/{day:02}/{:02}", year % 100),
        'a' => write!(out, "{:.3}", time.weekday().to_string()),
        'A' => write!(out, "{}", time.weekday()),
        'b' => write!(out, "{:.3}", time.month().to_string()),
        'B' => write!(out, "{}", time.month()),
        'z' => write!(out, "+00:00"),
        'e' => write!(out, "{:03}", time.millisecond()),
        'f' => write!(out, "{:06}", time.microsecond()),
        'F' => write!(out, "{:09}", time.nanosecond()),
        'E' => write!(out, "{}", time.unix_timestamp()),
        't' => THREAD.with(|id| write!(out, "{id}")),
        'P' => write!(out, "{}", std::process::id()),
        'l' => write!(out, "{}", record.level.name()),
        'L' => write!(out, "{}", short(record.level)),
        'n' => write!(out, "{}", record.component.name()),
        'g' => write!(out, "{}", record.file),
        's' => write!(out, "{}", record.file.rsplit('/').next().unwrap_or_default()),
        '#' => write!(out, "{}", record.line),
        '@' => write!(out, "{}:{}", record.file, record.line),
        '^' | '$' | 'u' | 'i' | 'o' | 'O' | '!' | '&' => Ok(()),
        other => write!(out, "%{other}"),
    }
}

fn short(level: Level) -> char {
    level.name().chars().next().unwrap_or('?').to_ascii_uppercase()
}

thread_local! {
    /// The kernel's number of this thread; 0 where `/proc` does not tell.
    static THREAD: u64 = std::fs::read_link("/proc/thread-self")
        .ok()
        .and_then(|path| path.file_name()?.to_str()?.parse().ok())
        .unwrap_or(0);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::base::log::Component;

    fn line(pattern: &str, escaped: bool, message: &str) -> String {
        let record = Record {
            component: Component::Upstream,
            level: Level::Warning,
            file: "src/upstream/pool.rs",
            line: 7,
            since_epoch: Duration::new(1_700_000_000, 123_456_789),
        };
        let mut out = Vec::new();
        Pattern::parse(pattern, escaped).write(&record, format_args!("{message}"), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_follow_the_pattern() {
        let text = line(DEFAULT_PATTERN, false, "hello");
        assert!(text.starts_with("[2023-11-14 22:13:20.123]["), "{text}");
        assert!(text.ends_with("][warning][upstream] [src/upstream/pool.rs:7] hello\n"), "{text}");
        assert_eq!(
            line("%L|%s|%f|%F|%I %p|%b %a|100%%|%q|%", false, ""),
            "W|pool.rs|123456|123456789|10 PM|Nov Tue|100%|%q|%\n"
        );
    }

    #[test]
    fn line_breaks_are_escaped_where_asked_for() {
        assert_eq!(line("%v", false, "a\nb"), "a\nb\n");
        assert_eq!(line("%v", true, "a\nb"), "a\\nb\n");
        assert_eq!(line("%j", false, "say \"x\"\r\n"), "say \\\"x\\\"\\r\\n\n");
        assert_ne!(THREAD.with(|id| *id), 0);
    }
}
