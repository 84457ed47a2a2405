//! `--config-yaml` over the file, as protobuf's MergeFrom does and so Envoy: scalars replace (a
//! default does not), lists append, messages merge, entries of a map replace.
//!
//! Durations are messages too: `1s` under `0.5s` gives `1.5s`, in Envoy as here.

use super::path::FieldPath;
use super::position::PositionMap;
use prost_reflect::{DynamicMessage, Value};

/// Merges `overlay` into `base` and its places into those of `base`. Depth of recursion is that of
/// messages which came from a bounded text.
pub fn merge(
    base: &mut DynamicMessage,
    positions: &mut PositionMap,
    overlay: &DynamicMessage,
    overlay_positions: PositionMap,
) {
    let mut shifts = Vec::new();
    merge_message(base, overlay, &mut FieldPath::default(), &mut shifts);
    positions.absorb(overlay_positions, |path| shifted(path, &shifts));
}

/// Elements of the list at `path` moved up by `by` places.
struct Shift {
    path: String,
    by: usize,
}

fn merge_message(
    base: &mut DynamicMessage,
    overlay: &DynamicMessage,
    path: &mut FieldPath,
    shifts: &mut Vec<Shift>,
) {
    for (field, value) in overlay.fields() {
        let mark = path.push_field(field.name());
        let is_set = base.has_field(&field);
        match value {
            Value::List(items) if is_set => {
                if let Some(base_items) = base.get_field_mut(&field).as_list_mut() {
                    shifts.push(Shift { path: path.as_str().to_owned(), by: base_items.len() });
                    base_items.extend(items.iter().cloned());
                }
            }
            Value::Map(entries) if is_set => {
                if let Some(base_entries) = base.get_field_mut(&field).as_map_mut() {
                    base_entries.extend(entries.iter().map(|(key, value)| (key.clone(), value.clone())));
                }
            }
            Value::Message(message) if is_set => {
                if let Some(base_message) = base.get_field_mut(&field).as_message_mut() {
                    merge_message(base_message, message, path, shifts);
                }
            }
            // Another alternative of a oneof replaces the one that is set.
            value => base.set_field(&field, value.clone()),
        }
        path.cut(mark);
    }
}

/// The path that an overlay's path has in the merged message.
fn shifted(path: &str, shifts: &[Shift]) -> String {
    for shift in shifts {
        let index_and_rest = path.strip_prefix(shift.path.as_str()).and_then(|rest| rest.strip_prefix('['));
        if let Some((index, rest)) = index_and_rest.and_then(|text| text.split_once(']'))
            && let Ok(index) = index.parse::<usize>()
        {
            return format!("{}[{}]{rest}", shift.path, index + shift.by);
        }
    }
    path.to_owned()
}
