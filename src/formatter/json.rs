//! JSON formats: an object whose strings are format strings. Members are printed sorted by name; a
//! string that is a single command with a numeric value is printed as a number, and as `null` if it is
//! absent. Checked against Envoy 1.40.

use serde_json::{Map, Value};

use super::{Command, FormatContext, FormatError, Formatter, Op};

/// Deepest nesting of a JSON format.
const MAX_DEPTH: usize = 100;

/// A compiled JSON format.
#[derive(Debug, Clone)]
pub struct JsonFormatter {
    root: Vec<Member>,
    omit_empty_values: bool,
}

#[derive(Debug, Clone)]
struct Member {
    /// The name with its quotes and the colon.
    key: Box<str>,
    value: Node,
}

#[derive(Debug, Clone)]
enum Node {
    /// Already JSON.
    Fixed(Box<str>),
    /// `null` as configured.
    Null,
    /// A command alone.
    Command(Command),
    /// Text with commands in it.
    Text(Formatter),
    Object(Vec<Member>),
    List(Vec<Node>),
}

impl JsonFormatter {
    /// Compiles `format`. With `omit_empty_values`, members that are absent, `null` or an empty object
    /// are left out.
    pub fn compile(
        format: &Map<String, Value>,
        omit_empty_values: bool,
    ) -> Result<JsonFormatter, FormatError> {
        Ok(JsonFormatter { root: compile_members(format, omit_empty_values, 1)?, omit_empty_values })
    }

    /// Appends the object, without a line end.
    pub fn write(&self, cx: &FormatContext<'_>, out: &mut Vec<u8>) {
        self.write_members(&self.root, cx, out);
    }

    fn write_members(&self, members: &[Member], cx: &FormatContext<'_>, out: &mut Vec<u8>) {
        out.push(b'{');
        let mut separate = false;
        for member in members {
            let before = out.len();
            if separate {
                out.push(b',');
            }
            out.extend_from_slice(member.key.as_bytes());
            if self.write_node(&member.value, cx, out) {
                separate = true;
            } else {
                out.truncate(before);
            }
        }
        out.push(b'}');
    }

    /// Appends a value; false if it is to be left out.
    fn write_node(&self, node: &Node, cx: &FormatContext<'_>, out: &mut Vec<u8>) -> bool {
        match node {
            Node::Fixed(text) => out.extend_from_slice(text.as_bytes()),
            Node::Null => return self.write_null(out),
            Node::Command(command) if command.is_number() => {
                if !command.write(cx, out) {
                    return self.write_null(out);
                }
            }
            Node::Command(command) => {
                let start = out.len();
                out.push(b'"');
                if !command.write(cx, out) {
                    out.truncate(start);
                    return self.write_null(out);
                }
                escape_tail(out, start + 1);
                out.push(b'"');
            }
            Node::Text(formatter) => {
                out.push(b'"');
                let start = out.len();
                formatter.write(cx, out);
                escape_tail(out, start);
                out.push(b'"');
            }
            Node::Object(members) => {
                let start = out.len();
                self.write_members(members, cx, out);
                return !(self.omit_empty_values && out.len() == start + 2);
            }
            Node::List(nodes) => {
                out.push(b'[');
                let mut separate = false;
                for node in nodes {
                    let before = out.len();
                    if separate {
                        out.push(b',');
                    }
                    if self.write_node(node, cx, out) {
                        separate = true;
                    } else {
                        out.truncate(before);
                    }
                }
                out.push(b']');
            }
        }
        true
    }

    fn write_null(&self, out: &mut Vec<u8>) -> bool {
        if !self.omit_empty_values {
            out.extend_from_slice(b"null");
        }
        !self.omit_empty_values
    }
}

fn compile_members(
    members: &Map<String, Value>,
    omit_empty_values: bool,
    depth: usize,
) -> Result<Vec<Member>, FormatError> {
    if depth > MAX_DEPTH {
        return Err(FormatError::TooDeep(MAX_DEPTH));
    }
    let mut compiled = Vec::with_capacity(members.len());
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    sorted.sort_by_key(|(name, _)| name.as_bytes());
    for (name, value) in sorted {
        let key = format!("{}:", quoted(name)).into();
        compiled.push(Member { key, value: compile_node(value, omit_empty_values, depth + 1)? });
    }
    Ok(compiled)
}

fn compile_node(value: &Value, omit_empty_values: bool, depth: usize) -> Result<Node, FormatError> {
    Ok(match value {
        Value::Null => Node::Null,
        Value::Bool(value) => Node::Fixed(value.to_string().into()),
        Value::Number(number) => Node::Fixed(number_text(number.as_f64().unwrap_or(0.0)).into()),
        Value::String(text) => compile_text(text, omit_empty_values)?,
        Value::Array(values) => {
            if depth > MAX_DEPTH {
                return Err(FormatError::TooDeep(MAX_DEPTH));
            }
            let nodes = values.iter().map(|value| compile_node(value, omit_empty_values, depth + 1));
            Node::List(nodes.collect::<Result<_, _>>()?)
        }
        Value::Object(members) => Node::Object(compile_members(members, omit_empty_values, depth)?),
    })
}

fn compile_text(text: &str, omit_empty_values: bool) -> Result<Node, FormatError> {
    let mut formatter = Formatter::compile(text, omit_empty_values)?;
    if let Some(literal) = formatter.as_literal() {
        return Ok(Node::Fixed(quoted(literal).into()));
    }
    match formatter.ops.as_mut_slice() {
        [Op::Command(command)] => Ok(Node::Command(command.clone())),
        _ => Ok(Node::Text(formatter)),
    }
}

/// A number as Envoy prints the doubles that JSON formats hold: shortest form, exponent from 1e16 up.
fn number_text(number: f64) -> String {
    let magnitude = number.abs();
    if number == number.trunc() && magnitude < 9.2e18 {
        return if number == 0.0 && number.is_sign_negative() {
            "-0".to_owned()
        } else {
            (number as i64).to_string()
        };
    }
    if (1e-5..1e17).contains(&magnitude) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, digits) = match exponent.strip_prefix('-') {
        Some(digits) => ('-', digits),
        None => ('+', exponent),
    };
    format!("{mantissa}e{sign}{digits:0>2}")
}

fn quoted(text: &str) -> String {
    let mut out = b"\"".to_vec();
    out.extend_from_slice(text.as_bytes());
    escape_tail(&mut out, 1);
    out.push(b'"');
    String::from_utf8_lossy(&out).into_owned()
}

/// Escapes everything from `start` on as the inside of a JSON string, in place. Text that is not UTF-8 has
/// each of its special and non-ASCII bytes written as `\u00xx`, as Envoy does.
fn escape_tail(out: &mut Vec<u8>, start: usize) {
    let tail = &out[start..];
    if tail.iter().all(|byte| (0x20..0x7f).contains(byte) && !matches!(byte, b'"' | b'\\')) {
        return;
    }
    let as_bytes = std::str::from_utf8(tail).is_err();
    let grown: usize = tail.iter().map(|byte| escaped_len(*byte, as_bytes)).sum();
    let (mut read, mut write) = (out.len(), start + grown);
    out.resize(write, 0);
    // From the end backwards, so that nothing is overwritten before it was read.
    while read > start {
        read -= 1;
        let byte = out[read];
        let len = escaped_len(byte, as_bytes);
        write -= len;
        write_escaped(byte, &mut out[write..write + len]);
    }
}

/// 1 stands for itself, 2 is a backslash and a letter, 6 is `\u00xx`.
fn escaped_len(byte: u8, as_bytes: bool) -> usize {
    match byte {
        b'"' | b'\\' | 0x08 | 0x09 | 0x0a | 0x0c | 0x0d => {
            if as_bytes {
                6
            } else {
                2
            }
        }
        0x00..0x20 | 0x7f => 6,
        0x80.. if as_bytes => 6,
        _ => 1,
    }
}

fn write_escaped(byte: u8, out: &mut [u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match out {
        [only] => *only = byte,
        [slash, letter] => {
            *slash = b'\\';
            *letter = match byte {
                0x08 => b'b',
                0x09 => b't',
                0x0a => b'n',
                0x0c => b'f',
                0x0d => b'r',
                other => other,
            };
        }
        long => long.copy_from_slice(&[
            b'\\',
            b'u',
            b'0',
            b'0',
            HEX[usize::from(byte >> 4)],
            HEX[usize::from(byte & 15)],
        ]),
    }
}
