//! JSON as Envoy's admin server prints it: one space of indentation, addresses as in the API.

use serde_json::{Value, json};

use crate::io::Address;

/// The value over many lines, with a line end.
pub(super) fn pretty(value: &Value) -> String {
    let two_spaces = format!("{value:#}");
    let mut out = String::with_capacity(two_spaces.len());
    // A line break inside a string is escaped, so what begins a line is indentation.
    for line in two_spaces.lines() {
        let text = line.trim_start_matches(' ');
        out.extend(std::iter::repeat_n(' ', (line.len() - text.len()) / 2));
        out.push_str(text);
        out.push('\n');
    }
    out
}

/// `envoy.config.core.v3.Address`.
pub(super) fn address(address: &Address) -> Value {
    match address {
        Address::Ip(ip) => {
            json!({"socket_address": {"address": ip.ip().to_string(), "port_value": ip.port()}})
        }
        Address::Unix(path) => json!({"pipe": {"path": path.to_string_lossy()}}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_values_are_indented_by_one() {
        let text = pretty(&json!({"a": [{"b": "  x\n y"}], "c": [], "d": {}}));
        assert_eq!(text, "{\n \"a\": [\n  {\n   \"b\": \"  x\\n y\"\n  }\n ],\n \"c\": [],\n \"d\": {}\n}\n");
    }
}
