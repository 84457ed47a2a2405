//! What an endpoint answers.

use serde_json::Value;

use crate::admin::json;

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

pub(super) const TEXT: &str = "text/plain; charset=UTF-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=UTF-8";

impl Reply {
    pub(super) fn text(body: impl Into<String>) -> Reply {
        Reply { status: 200, content_type: TEXT, body: body.into() }
    }

    /// What commands answer.
    pub(super) fn ok() -> Reply {
        Reply::text("OK\n")
    }

    pub(super) fn html(body: String) -> Reply {
        Reply { status: 200, content_type: HTML, body }
    }

    /// JSON over many lines.
    pub(super) fn json(value: &Value) -> Reply {
        Reply { status: 200, content_type: JSON, body: json::pretty(value) }
    }

    /// JSON on one line.
    pub(super) fn compact_json(value: &Value) -> Reply {
        Reply { status: 200, content_type: JSON, body: value.to_string() }
    }

    pub(super) fn error(status: u16, body: impl Into<String>) -> Reply {
        Reply { status, content_type: TEXT, body: body.into() }
    }
}
