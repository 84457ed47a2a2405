//! What one level of a route table (table, virtual host, route, weighted cluster) does to heads and says about
//! filters. Most levels do and say nothing: they take one word. How levels work together is `matched`'s matter.

use super::per_filter::{FilterSlot, PerFilterBuilder, PerFilterEntry, PerFilterLevel};
use super::{HeaderMutations, compile_mutations};
use crate::api::ConfigError;
use crate::config::{self, PerFilterConfigs};

/// One level.
#[derive(Debug, Default)]
pub struct Level(Option<Box<Parts>>);

#[derive(Debug)]
struct Parts {
    request_headers: HeaderMutations,
    response_headers: HeaderMutations,
    per_filter: PerFilterLevel,
}

impl Level {
    /// Compiles a level; errors go to `errors`.
    pub(super) fn compile(
        request_headers: &config::HeaderMutations,
        response_headers: &config::HeaderMutations,
        filters: &PerFilterConfigs,
        per_filter: &mut PerFilterBuilder<'_>,
        errors: &mut Vec<ConfigError>,
    ) -> Level {
        let parts = Parts {
            request_headers: compile_mutations(request_headers, errors),
            response_headers: compile_mutations(response_headers, errors),
            per_filter: per_filter.level(filters, errors),
        };
        let is_empty = parts.request_headers.is_empty()
            && parts.response_headers.is_empty()
            && parts.per_filter.is_empty();
        Level((!is_empty).then(|| Box::new(parts)))
    }

    /// Whether it does and says nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Changes to requests.
    #[inline]
    pub fn request_headers(&self) -> Option<&HeaderMutations> {
        self.0.as_ref().map(|parts| &parts.request_headers)
    }

    /// Changes to responses.
    #[inline]
    pub fn response_headers(&self) -> Option<&HeaderMutations> {
        self.0.as_ref().map(|parts| &parts.response_headers)
    }

    /// What it says about the filter in `slot`.
    #[inline]
    pub fn filter(&self, slot: FilterSlot) -> Option<&PerFilterEntry> {
        self.0.as_ref()?.per_filter.get(slot)
    }
}
