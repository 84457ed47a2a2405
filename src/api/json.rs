//! JSON text → the same tree as YAML.
//!
//! RFC 8259 with what Envoy's reader tolerates besides: single quotes and a comma before a closing
//! bracket. A reader of its own and not the YAML one, because of surrogate pairs, `\/`, and
//! integers that YAML would take for octal.

use super::position::Pos;
use super::tree::{Entry, Kind, Limits, Node, SyntaxError, refuse_duplicate_keys};
use std::rc::Rc;

/// Reads the one value of `text`; positions carry `source`.
pub fn parse(text: &str, source: u32) -> Result<Rc<Node>, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader =
        Reader { rest: text, pos: Pos { source, line: 1, column: 1 }, limits: Limits::default() };
    reader.skip_space();
    let root = reader.value(0)?;
    reader.skip_space();
    match reader.peek() {
        None => Ok(root),
        Some(c) => Err(reader.unexpected(c, "nothing may follow the end of the JSON value")),
    }
}

struct Reader<'a> {
    rest: &'a str,
    pos: Pos,
    limits: Limits,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.pos.line += 1;
            self.pos.column = 1;
        } else {
            self.pos.column += 1;
        }
        Some(c)
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\r' | '\n')) {
            self.bump();
        }
    }

    fn unexpected(&self, found: char, expected: &str) -> SyntaxError {
        let found = if found.is_control() { found.escape_default().to_string() } else { found.to_string() };
        SyntaxError::new(self.pos, format!("unexpected `{found}`: {expected}"))
    }

    fn end_of_text(&self) -> SyntaxError {
        SyntaxError::new(self.pos, "the text ends in the middle of a JSON value")
    }

    /// Recursion is bounded by `Limits::enter`.
    fn value(&mut self, depth: usize) -> Result<Rc<Node>, SyntaxError> {
        let pos = self.pos;
        self.limits.enter(pos, depth)?;
        let kind = match self.peek().ok_or_else(|| self.end_of_text())? {
            '{' => self.object(depth)?,
            '[' => self.array(depth)?,
            '"' | '\'' => Kind::Str(self.string()?),
            '-' | '0'..='9' => self.number()?,
            'a'..='z' => self.word()?,
            c => return Err(self.unexpected(c, "a JSON value is expected")),
        };
        Ok(Rc::new(Node::new(pos, kind)))
    }

    fn object(&mut self, depth: usize) -> Result<Kind, SyntaxError> {
        let mut entries = Vec::new();
        self.bump();
        loop {
            self.skip_space();
            let key_pos = self.pos;
            let key = match self.peek().ok_or_else(|| self.end_of_text())? {
                '}' => break,
                '"' | '\'' => self.string()?,
                c => return Err(self.unexpected(c, "a quoted key or `}` is expected")),
            };
            self.skip_space();
            match self.peek().ok_or_else(|| self.end_of_text())? {
                ':' => self.bump(),
                c => return Err(self.unexpected(c, "`:` is expected after a key")),
            };
            self.skip_space();
            let value = self.value(depth + 1)?;
            entries.push(Entry { key, key_pos, value });
            if !self.comma('}')? {
                break;
            }
        }
        self.bump();
        refuse_duplicate_keys(&entries)?;
        Ok(Kind::Map(entries))
    }

    fn array(&mut self, depth: usize) -> Result<Kind, SyntaxError> {
        let mut items = Vec::new();
        self.bump();
        loop {
            self.skip_space();
            if self.peek() == Some(']') {
                break;
            }
            items.push(self.value(depth + 1)?);
            if !self.comma(']')? {
                break;
            }
        }
        self.bump();
        Ok(Kind::Seq(items))
    }

    /// After an element: eats a comma (true) or stops before `close` (false).
    fn comma(&mut self, close: char) -> Result<bool, SyntaxError> {
        self.skip_space();
        match self.peek().ok_or_else(|| self.end_of_text())? {
            ',' => {
                self.bump();
                Ok(true)
            }
            c if c == close => Ok(false),
            c => Err(self.unexpected(c, &format!("`,` or `{close}` is expected"))),
        }
    }

    fn string(&mut self) -> Result<String, SyntaxError> {
        let start = self.pos;
        let quote = self.bump();
        let mut out = String::new();
        loop {
            match self.bump() {
                None => return Err(SyntaxError::new(start, "a string without its closing quote")),
                end if end == quote => return Ok(out),
                Some('\\') => out.push(self.escape()?),
                Some(c) if c < ' ' => {
                    return Err(SyntaxError::new(
                        start,
                        "a control character inside a string; write it as an escape",
                    ));
                }
                Some(c) => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        let pos = self.pos;
        Ok(match self.bump().ok_or_else(|| self.end_of_text())? {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'b' => '\u{8}',
            'f' => '\u{c}',
            c @ ('"' | '\'' | '\\' | '/') => c,
            'u' => {
                let high = self.hex4()?;
                let code = if (0xD800..0xDC00).contains(&high) && self.rest.starts_with("\\u") {
                    self.bump();
                    self.bump();
                    let low = self.hex4()?;
                    if !(0xDC00..0xE000).contains(&low) {
                        return Err(SyntaxError::new(pos, "half a surrogate pair"));
                    }
                    0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)
                } else {
                    high
                };
                char::from_u32(code).ok_or_else(|| SyntaxError::new(pos, "half a surrogate pair"))?
            }
            c => return Err(SyntaxError::new(pos, format!("unknown escape `\\{}`", c.escape_debug()))),
        })
    }

    fn hex4(&mut self) -> Result<u32, SyntaxError> {
        let mut code = 0;
        for _ in 0..4 {
            let pos = self.pos;
            let digit = self.bump().and_then(|c| c.to_digit(16));
            code = code * 16 + digit.ok_or_else(|| SyntaxError::new(pos, "`\\u` needs four hex digits"))?;
        }
        Ok(code)
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let text = self.rest;
        while self.peek().is_some_and(&accept) {
            self.bump();
        }
        &text[..text.len() - self.rest.len()]
    }

    fn number(&mut self) -> Result<Kind, SyntaxError> {
        let pos = self.pos;
        let text = self.take_while(|c| matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'));
        let malformed = || SyntaxError::new(pos, format!("`{text}` is not a JSON number"));
        let digits = text.strip_prefix('-').unwrap_or(text);
        let starts_well = digits.starts_with(|c: char| c.is_ascii_digit());
        let leading_zero =
            digits.len() > 1 && digits.starts_with('0') && digits.as_bytes()[1].is_ascii_digit();
        if !starts_well || leading_zero {
            return Err(malformed());
        }
        if let Ok(int) = text.parse() {
            return Ok(Kind::Int(int));
        }
        let float: f64 = text.parse().map_err(|_| malformed())?;
        if float.is_finite() { Ok(Kind::Float(float)) } else { Err(malformed()) }
    }

    fn word(&mut self) -> Result<Kind, SyntaxError> {
        let pos = self.pos;
        match self.take_while(|c| c.is_ascii_alphanumeric()) {
            "null" => Ok(Kind::Null),
            "true" => Ok(Kind::Bool(true)),
            "false" => Ok(Kind::Bool(false)),
            other => Err(SyntaxError::new(pos, format!("`{other}` is not a JSON value"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(node: &Node) -> String {
        match &node.kind {
            Kind::Null => "null".into(),
            Kind::Bool(b) => b.to_string(),
            Kind::Int(i) => i.to_string(),
            Kind::Float(f) => format!("{f:?}"),
            Kind::Str(s) => format!("{s:?}"),
            Kind::Seq(items) => format!("[{}]", items.iter().map(|n| shown(n)).collect::<Vec<_>>().join(",")),
            Kind::Map(entries) => {
                let fields: Vec<_> =
                    entries.iter().map(|e| format!("{}:{}", e.key, shown(&e.value))).collect();
                format!("{{{}}}", fields.join(","))
            }
        }
    }

    #[test]
    fn values_of_every_kind() {
        let text = "{\"a\": [1, -2, 1.5, 1e3, true, null,], 'b': 'x\\n\\u00e9\\ud83d\\ude00\\/', \"c\": {}}";
        let root = parse(text, 0).expect("valid");
        assert_eq!(shown(&root), r#"{a:[1,-2,1.5,1000.0,true,null],b:"x\né😀/",c:{}}"#);
    }

    #[test]
    fn faults_have_a_place() {
        let place = |text: &str| parse(text, 0).map_err(|e| (e.pos.line, e.pos.column)).expect_err(text);
        assert_eq!(place("{\n  \"é\": x9}"), (2, 8));
        assert_eq!(place("{} {}"), (1, 4));
        assert_eq!(place("[010]"), (1, 2));
        assert_eq!(place("[-]"), (1, 2));
        assert_eq!(place("[1.2.3]"), (1, 2));
        assert_eq!(place("[1e999]"), (1, 2));
        assert_eq!(place("{\"a\": 1,\n \"a\": 2}"), (2, 2));
        assert_eq!(place("[\"abc"), (1, 2));
        assert_eq!(place("[\"\\ud83dx\"]"), (1, 4));
        assert_eq!(place("{\"a\" 1}"), (1, 6));
        assert_eq!(place(""), (1, 1));
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(parse(&format!("{}{}", "[".repeat(100), "]".repeat(100)), 0).is_ok());
        let error = parse(&"[".repeat(1_000_000), 0).expect_err("too deep");
        assert!(error.message.contains("100 levels"), "{error}");
    }
}
