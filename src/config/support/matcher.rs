//! What is carried over of matchers of texts (`envoy.type.matcher.v3`). Every field in no list is refused.

use super::entry;
use crate::api::MessageSupport;

pub(super) const TABLE: &[MessageSupport] = &[
    entry(
        "envoy.type.matcher.v3.StringMatcher",
        &["exact", "prefix", "suffix", "safe_regex", "contains", "ignore_case"],
        &[],
    ),
    MessageSupport::all("envoy.type.matcher.v3.ListStringMatcher"),
    entry(
        "envoy.type.matcher.v3.RegexMatcher",
        &["regex"],
        // There is one engine; its size limit does not count RE2's instructions.
        &["google_re2"],
    ),
    MessageSupport::all("envoy.type.matcher.v3.RegexMatchAndSubstitute"),
];
