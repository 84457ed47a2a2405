//! Rules of lists and maps.

use super::Checker;
use super::plan::FieldPlan;
use crate::api::path::map_key_text;
use envoy_types::pb::validate::field_rules::Type;
use prost_reflect::{MapKey, Value};
use std::collections::{HashMap, HashSet};

impl Checker {
    /// A list: its size, then each element.
    pub(super) fn list(&mut self, field: &FieldPlan, items: &[Value]) {
        let rules = match field.rules.as_ref().and_then(|rules| rules.r#type.as_ref()) {
            Some(Type::Repeated(rules)) => Some(rules),
            _ => None,
        };
        if let Some(rules) = rules
            && !(rules.ignore_empty() && items.is_empty())
        {
            self.size(items.len(), rules.min_items, rules.max_items, "elements");
            if rules.unique() {
                self.unique(items);
            }
        }
        let item_rules = rules.and_then(|rules| rules.items.as_deref());
        if item_rules.is_none() && !matches!(items.first(), Some(Value::Message(_))) {
            return;
        }
        for (index, item) in items.iter().enumerate() {
            let mark = self.path.push_index(index);
            self.value(item_rules, &field.desc, item);
            self.path.cut(mark);
        }
    }

    /// A map: its size, then each key and value.
    pub(super) fn map(&mut self, field: &FieldPlan, entries: &HashMap<MapKey, Value>) {
        let rules = match field.rules.as_ref().and_then(|rules| rules.r#type.as_ref()) {
            Some(Type::Map(rules)) => Some(rules),
            _ => None,
        };
        if let Some(rules) = rules
            && !(rules.ignore_empty() && entries.is_empty())
        {
            self.size(entries.len(), rules.min_pairs, rules.max_pairs, "entries");
        }
        let key_rules = rules.and_then(|rules| rules.keys.as_deref());
        let value_rules = rules.and_then(|rules| rules.values.as_deref());
        // A HashMap's order is random, and errors are not.
        let mut sorted: Vec<(String, &MapKey, &Value)> =
            entries.iter().map(|(key, value)| (map_key_text(key), key, value)).collect();
        sorted.sort_by(|a, b| a.0.cmp(&b.0));
        for (text, key, value) in sorted {
            let mark = self.path.push_key(&text);
            if key_rules.is_some() {
                self.value(key_rules, &field.desc, &Value::from(key.clone()));
            }
            self.value(value_rules, &field.desc, value);
            self.path.cut(mark);
        }
    }

    fn size(&mut self, len: usize, min: Option<u64>, max: Option<u64>, noun: &str) {
        if let Some(min) = min.filter(|min| (len as u64) < *min) {
            self.field_fault(match (len, min) {
                (0, 1) => "must not be empty".to_owned(),
                _ => format!("needs at least {min} {noun}, has {len}"),
            });
        }
        if let Some(max) = max.filter(|max| len as u64 > *max) {
            self.field_fault(format!("may have at most {max} {noun}, has {len}"));
        }
    }

    fn unique(&mut self, items: &[Value]) {
        let mut seen = HashSet::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            // Values have no hash of their own (floats); their text form tells them apart.
            if !seen.insert(format!("{item:?}")) {
                let mark = self.path.push_index(index);
                self.field_fault("is in the list already");
                self.path.cut(mark);
            }
        }
    }
}
