//! Per-filter configuration of route tables (`typed_per_filter_config`): kept by slot, one slot for each
//! filter name that the table mentions, so that filters find theirs without comparing names. What the
//! configurations mean is known to the filters only, whose registry compiles them.

use std::any::Any;
use std::sync::Arc;

use crate::api::ConfigError;
use crate::config::{PerFilterConfigs, TypedExtension};

/// A filter's own configuration; the filter knows the type.
pub type FilterConfig = Arc<dyn Any + Send + Sync>;

/// Number of a filter name in one route table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FilterSlot(pub(super) usize);

/// Why a per-filter configuration could not be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PerFilterError {
    /// No filter has configuration of this type. Optional configuration is then left out.
    #[error("no filter takes route configuration of type {0}")]
    UnknownType(String),
    /// The filter refused it; paths are relative to the configuration.
    #[error("invalid filter configuration")]
    Invalid(Vec<ConfigError>),
}

/// Makes a filter's own configuration: takes the filter instance's name and the message.
pub type PerFilterCompiler<'a> = dyn Fn(&str, &TypedExtension) -> Result<FilterConfig, PerFilterError> + 'a;

/// What one level of a route table says about one filter.
#[derive(Clone)]
pub struct PerFilterEntry {
    /// Turns the filter off or on; none leaves it as a wider level has it.
    pub disabled: Option<bool>,
    /// Its configuration here.
    pub config: Option<FilterConfig>,
}

impl std::fmt::Debug for PerFilterEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PerFilterEntry")
            .field("disabled", &self.disabled)
            .field("has_config", &self.config.is_some())
            .finish()
    }
}

/// What one level of a route table says about filters, by slot.
#[derive(Debug, Clone, Default)]
pub struct PerFilterLevel(Vec<(FilterSlot, PerFilterEntry)>);

impl PerFilterLevel {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What it says about the filter in `slot`.
    #[inline]
    pub fn get(&self, slot: FilterSlot) -> Option<&PerFilterEntry> {
        self.0.iter().find(|(other, _)| *other == slot).map(|(_, entry)| entry)
    }
}

/// Compiles levels and gives out slots.
pub struct PerFilterBuilder<'a> {
    compile: &'a PerFilterCompiler<'a>,
    names: Vec<Box<str>>,
}

impl<'a> PerFilterBuilder<'a> {
    /// A builder that compiles by `compile`. The names in `slots` have the first slots, in order.
    pub fn new(compile: &'a PerFilterCompiler<'a>, slots: &[Box<str>]) -> PerFilterBuilder<'a> {
        PerFilterBuilder { compile, names: slots.to_vec() }
    }

    /// Compiles one level; errors go to `errors`.
    pub fn level(&mut self, source: &PerFilterConfigs, errors: &mut Vec<ConfigError>) -> PerFilterLevel {
        let mut level = PerFilterLevel::default();
        for (name, source) in &source.0 {
            let compiled = source.config.as_ref().map(|config| ((self.compile)(name, config), &config.path));
            let config = match compiled {
                None => None,
                Some((Ok(config), _)) => Some(config),
                Some((Err(PerFilterError::UnknownType(_)), _)) if source.is_optional => None,
                Some((Err(PerFilterError::Invalid(inner)), path)) => {
                    errors.extend(inner.into_iter().map(|error| error.under(path.as_str())));
                    None
                }
                Some((Err(error), path)) => {
                    errors.push(ConfigError::new(path.as_str(), error.to_string()));
                    None
                }
            };
            let slot = self.slot(name);
            level.0.push((slot, PerFilterEntry { disabled: source.disabled, config }));
        }
        level
    }

    /// The filter names by slot.
    pub fn finish(self) -> Vec<Box<str>> {
        self.names
    }

    fn slot(&mut self, name: &str) -> FilterSlot {
        let known = self.names.iter().position(|other| &**other == name);
        FilterSlot(known.unwrap_or_else(|| {
            self.names.push(name.into());
            self.names.len() - 1
        }))
    }
}
