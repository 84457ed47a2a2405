//! Additions to and removals from headers, compiled: what route tables, connection managers and filters do
//! with `config::HeaderMutations`.
//!
//! Follows Envoy 1.40: removals come first; then all values are formatted from the headers as they are
//! (so that one addition never sees another); then values that replace are set, then the others appended.

use std::cell::Cell;

use crate::api::ConfigError;
use crate::config;
use crate::config::HeaderAppendAction;
use crate::formatter::{FormatContext, Formatter};
use crate::http::{HeaderMap, HeaderNameBuf, RequestHead, ResponseHead};

/// The additions and removals of one level of configuration to one header map.
#[derive(Debug, Clone, Default)]
pub struct HeaderMutations {
    remove: Vec<HeaderNameBuf>,
    add: Vec<Addition>,
}

#[derive(Debug, Clone)]
struct Addition {
    name: HeaderNameBuf,
    value: Formatter,
    append_action: HeaderAppendAction,
    keep_empty_value: bool,
}

impl HeaderMutations {
    /// Compiles names and value formats.
    ///
    /// # Errors
    /// One for every name and format that is wrong.
    pub fn compile(source: &config::HeaderMutations) -> Result<HeaderMutations, Vec<ConfigError>> {
        let mut compiled = HeaderMutations::default();
        let mut errors = Vec::new();
        for name in &source.remove {
            match HeaderNameBuf::parse(name) {
                Ok(name) => compiled.remove.push(name),
                Err(error) => errors.push(ConfigError::new("", error.to_string())),
            }
        }
        for header in &source.add {
            match Addition::compile(header) {
                Ok(addition) => compiled.add.push(addition),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(compiled) } else { Err(errors) }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.add.is_empty()
    }

    /// Changes a request; formats see it as it was when the removals were done. What `cx` says about the
    /// request is ignored.
    pub fn apply_request(&self, head: &mut RequestHead, cx: &FormatContext<'_>) {
        if self.is_empty() {
            return;
        }
        self.remove_from(&mut head.headers);
        let evaluated = self.evaluate(&head.headers, &cx.with_request(head));
        self.apply(&mut head.headers, evaluated);
    }

    /// Changes a response, likewise.
    pub fn apply_response(&self, head: &mut ResponseHead, cx: &FormatContext<'_>) {
        if self.is_empty() {
            return;
        }
        self.remove_from(&mut head.headers);
        let evaluated = self.evaluate(&head.headers, &cx.with_response(head));
        self.apply(&mut head.headers, evaluated);
    }

    /// Changes trailers or any other header map; formats see what `cx` holds.
    pub fn apply_headers(&self, headers: &mut HeaderMap, cx: &FormatContext<'_>) {
        if self.is_empty() {
            return;
        }
        self.remove_from(headers);
        let evaluated = self.evaluate(headers, cx);
        self.apply(headers, evaluated);
    }

    fn remove_from(&self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
    }

    fn evaluate(&self, headers: &HeaderMap, cx: &FormatContext<'_>) -> Evaluated {
        let mut evaluated = SCRATCH.take();
        for addition in &self.add {
            let start = evaluated.values.len();
            let wanted = match addition.append_action {
                HeaderAppendAction::AppendIfExistsOrAdd | HeaderAppendAction::OverwriteIfExistsOrAdd => true,
                HeaderAppendAction::AddIfAbsent => !headers.contains(&addition.name),
                HeaderAppendAction::OverwriteIfExists => headers.contains(&addition.name),
            };
            if wanted {
                addition.value.write(cx, &mut evaluated.values);
            }
            let end = evaluated.values.len();
            let keep = wanted && (end > start || addition.keep_empty_value);
            evaluated.ends.push(Value { end, keep });
        }
        evaluated
    }

    /// First the values that replace, then those that are appended.
    fn apply(&self, headers: &mut HeaderMap, mut evaluated: Evaluated) {
        for replacing in [true, false] {
            let mut start = 0;
            for (addition, value) in self.add.iter().zip(&evaluated.ends) {
                let text = &evaluated.values[start..value.end];
                start = value.end;
                if !value.keep || addition.replaces() != replacing {
                    continue;
                }
                if replacing {
                    headers.set(&addition.name, text);
                } else {
                    headers.append(&addition.name, text);
                }
            }
        }
        evaluated.values.clear();
        evaluated.ends.clear();
        SCRATCH.set(evaluated);
    }
}

impl Addition {
    fn compile(header: &config::HeaderToAdd) -> Result<Addition, ConfigError> {
        let path = header.path.as_str();
        Ok(Addition {
            name: HeaderNameBuf::parse(&header.name)
                .map_err(|error| ConfigError::new(path, error.to_string()))?,
            value: Formatter::parse_omitting_empty(&header.value)
                .map_err(|error| ConfigError::new(path, error.to_string()))?,
            append_action: header.append_action,
            keep_empty_value: header.keep_empty_value,
        })
    }

    fn replaces(&self) -> bool {
        matches!(
            self.append_action,
            HeaderAppendAction::OverwriteIfExists | HeaderAppendAction::OverwriteIfExistsOrAdd
        )
    }
}

/// Formatted values, one after the other.
#[derive(Default)]
struct Evaluated {
    values: Vec<u8>,
    ends: Vec<Value>,
}

struct Value {
    end: usize,
    keep: bool,
}

thread_local! {
    /// Memory for the values, kept from request to request.
    static SCRATCH: Cell<Evaluated> = const { Cell::new(Evaluated { values: Vec::new(), ends: Vec::new() }) };
}
