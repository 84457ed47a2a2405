//! Block-style YAML: lists whose elements begin with a dash at one column, in mappings whose keys stand at
//! one column. What belongs to an element stands deeper than its dash (YAML 1.2.2 section 8.2.1), so elements
//! can be told apart by indentation alone, whatever is in them.
//!
//! Texts are not cut in which a piece may mean something else by itself (anchors and aliases), or in which a
//! line may not be what it seems (quoted text over several lines, tabs, several documents).

use std::ops::Range;

use super::{HostOutline, Outline};

/// The lines of a text that matter, each with its place and its indentation.
struct Lines<'t> {
    text: &'t str,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    start: usize,
    end: usize,
    /// Column of the first character that is no space; none for blank lines and comments.
    indent: Option<usize>,
}

/// Lines of a text by number.
type Span = Range<usize>;

/// The pieces of `text`; none if it is not as described above.
pub(super) fn outline(text: &str) -> Option<Outline> {
    let lines = Lines::of(text)?;
    let resources = lines.key(0..lines.lines.len(), 0, "resources")?;
    let list = lines.list(resources + 1..lines.lines.len(), 0)?;
    let [resource] = &list.items[..] else { return None };
    let column = lines.content_column(resource.start)?;
    let key = lines.key(resource.clone(), column, "virtual_hosts")?;
    let hosts = lines.list(key + 1..resource.end, column)?;
    let all = 0..lines.lines.len();
    let head = lines.without(all, key, column, "virtual_hosts", hosts.span());
    let virtual_hosts = hosts.items.iter().map(|host| lines.host(host.clone()));
    Some(Outline { head, virtual_hosts: virtual_hosts.collect::<Option<_>>()? })
}

/// Whether a line ends outside of quotes and has no anchor, alias or carriage return.
fn is_plain(line: &[u8]) -> bool {
    let mut quote = None;
    // Quotes, anchors and aliases are such only where a value may begin.
    let mut may_begin = true;
    let mut bytes = line.iter().copied();
    while let Some(byte) = bytes.next() {
        match (quote, byte) {
            (Some(b'"'), b'\\') => drop(bytes.next()),
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') if may_begin => quote = Some(byte),
            (None, b'&' | b'*') if may_begin => return false,
            (None, b'\r') => return false,
            (None, b'#') if may_begin => return true,
            (None, _) => {}
        }
        may_begin = matches!(byte, b' ' | b'[' | b'{' | b',' | b':' | b'-');
    }
    quote.is_none()
}

/// A list's elements.
struct List {
    items: Vec<Span>,
}

impl List {
    /// All lines of it.
    fn span(&self) -> Span {
        match (self.items.first(), self.items.last()) {
            (Some(first), Some(last)) => first.start..last.end,
            _ => 0..0,
        }
    }
}

impl<'t> Lines<'t> {
    /// None if the text has what makes it unsafe to cut.
    fn of(text: &'t str) -> Option<Lines<'t>> {
        let mut lines = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let end =
                memchr::memchr(b'\n', &text.as_bytes()[start..]).map_or(text.len(), |at| start + at + 1);
            let line = &text.as_bytes()[start..end];
            let indent = line.iter().position(|byte| *byte != b' ').unwrap_or(line.len());
            let first = line.get(indent).copied();
            match first {
                Some(b'\t' | b'%') => return None,
                Some(b'-' | b'.')
                    if indent == 0 && (line.starts_with(b"---") || line.starts_with(b"...")) =>
                {
                    return None;
                }
                _ => {}
            }
            let is_blank = matches!(first, None | Some(b'\n' | b'#'));
            if !is_blank && !is_plain(line) {
                return None;
            }
            lines.push(Line { start, end, indent: (!is_blank).then_some(indent) });
            start = end;
        }
        Some(Lines { text, lines })
    }

    fn line(&self, number: usize) -> &'t str {
        let line = self.lines[number];
        self.text[line.start..line.end].trim_end()
    }

    /// The line in `span` that is `key:` alone, at `column`. The dash of an element counts as indentation.
    fn key(&self, span: Span, column: usize, key: &str) -> Option<usize> {
        span.clone().find(|&number| {
            let line = self.line(number);
            let is_at_column = match self.lines[number].indent {
                Some(indent) if indent == column => true,
                Some(indent) => {
                    number == span.start && indent < column && self.content_column(number) == Some(column)
                }
                None => false,
            };
            is_at_column && line.get(column..).and_then(|rest| rest.strip_prefix(key)) == Some(":")
        })
    }

    /// The elements of a list that begins in `span`, under a key at `column`.
    fn list(&self, span: Span, column: usize) -> Option<List> {
        let first = span.clone().find(|number| self.lines[*number].indent.is_some())?;
        let dash = self.lines[first].indent?;
        if dash < column || !self.is_element(first, dash) {
            return None;
        }
        let mut items: Vec<Span> = Vec::new();
        let mut end = span.end;
        for number in first..span.end {
            match self.lines[number].indent {
                Some(indent) if indent == dash && self.is_element(number, dash) => {
                    if let Some(last) = items.last_mut() {
                        last.end = number;
                    }
                    items.push(number..span.end);
                }
                Some(indent) if indent <= dash => {
                    end = number;
                    break;
                }
                _ => {}
            }
        }
        items.last_mut()?.end = end;
        Some(List { items })
    }

    fn is_element(&self, number: usize, dash: usize) -> bool {
        let line = self.line(number).as_bytes();
        line.get(dash) == Some(&b'-') && line.get(dash + 1) == Some(&b' ')
    }

    /// The column of what follows the dash in this line.
    fn content_column(&self, number: usize) -> Option<usize> {
        let dash = self.lines[number].indent?;
        let rest = self.line(number).get(dash..)?.strip_prefix('-')?;
        let spaces = rest.len() - rest.trim_start_matches(' ').len();
        (spaces > 0 && spaces < rest.len()).then_some(dash + 1 + spaces)
    }

    fn host(&self, span: Span) -> Option<HostOutline> {
        let column = self.content_column(span.start)?;
        let (head, routes) = match self.key(span.clone(), column, "routes") {
            None => (self.text_of(&span).to_owned(), Vec::new()),
            Some(key) => {
                let routes = self.list(key + 1..span.end, column)?;
                let head = self.without(span.clone(), key, column, "routes", routes.span());
                (head, routes.items)
            }
        };
        let routes = routes.iter().map(|route| self.range(route));
        Some(HostOutline { range: self.range(&span), head, routes: routes.collect() })
    }

    fn range(&self, span: &Span) -> Range<usize> {
        let place = |number: usize| self.lines.get(number).map_or(self.text.len(), |line| line.start);
        place(span.start)..place(span.end)
    }

    fn text_of(&self, span: &Span) -> &'t str {
        &self.text[self.range(span)]
    }

    /// The lines of `span` with the list under the key in line `key` empty.
    fn without(&self, span: Span, key: usize, column: usize, name: &str, list: Span) -> String {
        let mut out = self.text_of(&(span.start..key)).to_owned();
        let line = self.lines[key];
        out.push_str(&self.text[line.start..line.start + column]);
        out.push_str(name);
        out.push_str(": []\n");
        out.push_str(self.text_of(&(list.end..span.end)));
        out
    }
}
