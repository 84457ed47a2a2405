//! Runtime values: numbers and switches with a key under which an operator may override the configured
//! default (`envoy.config.core.v3.RuntimeFractionalPercent` and its like; Envoy's layered runtime).
//! A snapshot is immutable; randomness is an argument.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::config::bootstrap::v3 as bootstrap;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::r#type::v3 as types;
use envoy_types::pb::google::protobuf::{Struct, Value, value::Kind};

use super::{Context, FieldPath};

/// A fraction: `numerator` in `denominator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FractionalPercent {
    /// Parts; above the denominator counts as all.
    pub numerator: u32,
    /// 100, 10,000 or 1,000,000.
    pub denominator: u32,
}

impl FractionalPercent {
    /// Always.
    pub const ALL: FractionalPercent = FractionalPercent { numerator: 100, denominator: 100 };
    /// Never.
    pub const NONE: FractionalPercent = FractionalPercent { numerator: 0, denominator: 100 };

    /// Converts a fraction.
    pub fn from_proto(
        proto: &types::FractionalPercent,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> FractionalPercent {
        use types::fractional_percent::DenominatorType;
        let denominator = match context.enum_value(proto.denominator, &path.field("denominator")) {
            DenominatorType::Hundred => 100,
            DenominatorType::TenThousand => 10_000,
            DenominatorType::Million => 1_000_000,
        };
        FractionalPercent { numerator: proto.numerator, denominator }
    }

    /// Whether `random` (uniform over `u64`) falls into the fraction.
    pub fn contains(self, random: u64) -> bool {
        random % u64::from(self.denominator) < u64::from(self.numerator)
    }
}

/// A fraction that a runtime key may override.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeFraction {
    /// Used when the runtime has no value under the key.
    pub default: FractionalPercent,
    /// Empty if nothing overrides the default.
    pub runtime_key: String,
}

impl RuntimeFraction {
    /// Converts a fraction; one that is not set is `unset`.
    pub fn from_proto(
        proto: &core::RuntimeFractionalPercent,
        unset: FractionalPercent,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> RuntimeFraction {
        let default = proto.default_value.as_ref().map_or(unset, |value| {
            FractionalPercent::from_proto(value, &path.field("default_value"), context)
        });
        RuntimeFraction { default, runtime_key: proto.runtime_key.clone() }
    }

    /// A fraction without a key.
    pub const fn fixed(default: FractionalPercent) -> RuntimeFraction {
        RuntimeFraction { default, runtime_key: String::new() }
    }
}

/// An integer that a runtime key may override (`RuntimeUInt32`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeU32 {
    /// Used when the runtime has no value under the key.
    pub default: u32,
    /// Empty if nothing overrides the default.
    pub runtime_key: String,
}

impl From<&core::RuntimeUInt32> for RuntimeU32 {
    fn from(proto: &core::RuntimeUInt32) -> RuntimeU32 {
        RuntimeU32 { default: proto.default_value, runtime_key: proto.runtime_key.clone() }
    }
}

/// A number that a runtime key may override (`RuntimeDouble`).
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeDouble {
    /// Used when the runtime has no value under the key.
    pub default: f64,
    /// Empty if nothing overrides the default.
    pub runtime_key: String,
}

impl From<&core::RuntimeDouble> for RuntimeDouble {
    fn from(proto: &core::RuntimeDouble) -> RuntimeDouble {
        RuntimeDouble { default: proto.default_value, runtime_key: proto.runtime_key.clone() }
    }
}

/// A switch that a runtime key may override (`RuntimeFeatureFlag`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeFlag {
    /// Used when the runtime has no value under the key.
    pub default: bool,
    /// Empty if nothing overrides the default.
    pub runtime_key: String,
}

impl From<&core::RuntimeFeatureFlag> for RuntimeFlag {
    fn from(proto: &core::RuntimeFeatureFlag) -> RuntimeFlag {
        let default = proto.default_value.as_ref().is_some_and(|value| value.value);
        RuntimeFlag { default, runtime_key: proto.runtime_key.clone() }
    }
}

/// One layer of the runtime, lowest first in `Runtime::layers`.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeLayer {
    /// Name of the layer; unique.
    pub name: String,
    /// Whether `/runtime_modify` writes to this layer.
    pub is_admin: bool,
    /// Values by full key (`a.b.c`).
    pub values: BTreeMap<String, RuntimeValue>,
}

/// A value of the runtime.
#[derive(Debug, Clone, PartialEq)]
pub enum RuntimeValue {
    /// A number.
    Number(f64),
    /// A switch.
    Bool(bool),
    /// Any other text.
    Text(String),
    /// A fraction, given as `{numerator, denominator}`.
    Fraction(FractionalPercent),
}

/// A snapshot of the runtime: its layers, and lookups in the order in which they override each other.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Runtime {
    /// Lowest first: a later layer overrides an earlier one.
    pub layers: Vec<RuntimeLayer>,
}

impl Runtime {
    /// Converts the layers of a bootstrap. Disk and RTDS layers are not implemented.
    pub fn from_proto(
        proto: &bootstrap::LayeredRuntime,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> Runtime {
        use bootstrap::runtime_layer::LayerSpecifier;
        let mut layers: Vec<RuntimeLayer> = Vec::new();
        for (i, layer) in proto.layers.iter().enumerate() {
            let path = path.element("layers", i);
            if layers.iter().any(|other| other.name == layer.name) {
                context.error(&path.field("name"), format!("duplicate layer name: {}", layer.name));
            }
            let mut values = BTreeMap::new();
            let is_admin = matches!(layer.layer_specifier, Some(LayerSpecifier::AdminLayer(_)));
            match &layer.layer_specifier {
                Some(LayerSpecifier::StaticLayer(tree)) => {
                    collect_values(tree, "", &path.field("static_layer"), &mut values, context);
                }
                Some(LayerSpecifier::AdminLayer(_)) if layers.iter().any(|other| other.is_admin) => {
                    context.error(&path.field("admin_layer"), "at most one admin layer may be specified");
                }
                Some(LayerSpecifier::AdminLayer(_)) => {}
                Some(LayerSpecifier::DiskLayer(_)) => {
                    context.error(&path.field("disk_layer"), "disk layers are not implemented yet");
                }
                Some(LayerSpecifier::RtdsLayer(_)) => {
                    context.error(&path.field("rtds_layer"), "RTDS layers are not implemented yet");
                }
                None => context.error(&path, "a layer_specifier is required"),
            }
            layers.push(RuntimeLayer { name: layer.name.clone(), is_admin, values });
        }
        Runtime { layers }
    }

    /// The value under `key` of the highest layer that has one.
    pub fn get(&self, key: &str) -> Option<&RuntimeValue> {
        if key.is_empty() {
            return None;
        }
        self.layers.iter().rev().find_map(|layer| layer.values.get(key))
    }

    /// The fraction in force: an overriding integer counts as per cent.
    pub fn fraction(&self, fraction: &RuntimeFraction) -> FractionalPercent {
        self.fraction_under(&fraction.runtime_key, fraction.default)
    }

    /// The fraction in force under `key`, or `default`.
    pub fn fraction_under(&self, key: &str, default: FractionalPercent) -> FractionalPercent {
        match self.get(key) {
            Some(RuntimeValue::Fraction(value)) => *value,
            Some(RuntimeValue::Number(value)) if *value >= 0.0 => {
                FractionalPercent { numerator: value.min(100.0) as u32, denominator: 100 }
            }
            _ => default,
        }
    }

    /// The integer in force under `key`, or `default`.
    pub fn integer_under(&self, key: &str, default: u64) -> u64 {
        match self.get(key) {
            Some(RuntimeValue::Number(number)) if *number >= 0.0 => *number as u64,
            _ => default,
        }
    }

    /// The integer in force.
    pub fn integer(&self, value: &RuntimeU32) -> u32 {
        match self.get(&value.runtime_key) {
            Some(RuntimeValue::Number(number)) if *number >= 0.0 => *number as u32,
            _ => value.default,
        }
    }

    /// The number in force.
    pub fn double(&self, value: &RuntimeDouble) -> f64 {
        match self.get(&value.runtime_key) {
            Some(RuntimeValue::Number(number)) => *number,
            _ => value.default,
        }
    }

    /// The switch in force.
    pub fn flag(&self, value: &RuntimeFlag) -> bool {
        match self.get(&value.runtime_key) {
            Some(RuntimeValue::Bool(flag)) => *flag,
            Some(RuntimeValue::Number(number)) => *number != 0.0,
            _ => value.default,
        }
    }
}

impl RuntimeValue {
    /// The value that `text` stands for: a switch, a number, or itself.
    pub fn parse(text: &str) -> RuntimeValue {
        match (text, text.parse::<f64>()) {
            ("true", _) => RuntimeValue::Bool(true),
            ("false", _) => RuntimeValue::Bool(false),
            (_, Ok(number)) => RuntimeValue::Number(number),
            _ => RuntimeValue::Text(text.to_owned()),
        }
    }
}

/// Adds the leaves of `tree` under `prefix`, keys joined by dots.
fn collect_values(
    tree: &Struct,
    prefix: &str,
    path: &FieldPath,
    values: &mut BTreeMap<String, RuntimeValue>,
    context: &mut Context<'_>,
) {
    for (name, value) in &tree.fields {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        let value = match &value.kind {
            Some(Kind::NumberValue(number)) => RuntimeValue::Number(*number),
            Some(Kind::BoolValue(switch)) => RuntimeValue::Bool(*switch),
            Some(Kind::StringValue(text)) => RuntimeValue::parse(text),
            Some(Kind::StructValue(inner)) => match fraction(inner) {
                Some(fraction) => RuntimeValue::Fraction(fraction),
                None => {
                    collect_values(inner, &key, path, values, context);
                    continue;
                }
            },
            Some(Kind::ListValue(_) | Kind::NullValue(_)) | None => {
                context.error(path, format!("invalid runtime entry value for {key}"));
                continue;
            }
        };
        values.insert(key, value);
    }
}

/// The fraction that `{numerator: N, denominator: HUNDRED | TEN_THOUSAND | MILLION}` gives.
fn fraction(tree: &Struct) -> Option<FractionalPercent> {
    let numerator = tree.fields.get("numerator").map(|value| &value.kind);
    let denominator = tree.fields.get("denominator").map(|value| &value.kind);
    if (numerator, denominator) == (None, None) {
        return None;
    }
    let numerator = match numerator {
        Some(Some(Kind::NumberValue(number))) if *number >= 0.0 => *number as u32,
        None => 0,
        _ => return None,
    };
    let denominator = match denominator {
        Some(Some(Kind::StringValue(name))) => match name.as_str() {
            "HUNDRED" => 100,
            "TEN_THOUSAND" => 10_000,
            "MILLION" => 1_000_000,
            _ => return None,
        },
        None => 100,
        _ => return None,
    };
    Some(FractionalPercent { numerator, denominator })
}

/// A protobuf struct as a JSON object, members sorted by name; numbers without fraction become integers.
pub(super) fn struct_to_json(tree: &Struct) -> serde_json::Map<String, serde_json::Value> {
    let sorted: BTreeMap<_, _> = tree.fields.iter().collect();
    sorted.into_iter().map(|(name, value)| (name.clone(), value_to_json(value))).collect()
}

fn value_to_json(value: &Value) -> serde_json::Value {
    match &value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(switch)) => (*switch).into(),
        Some(Kind::StringValue(text)) => text.clone().into(),
        Some(Kind::NumberValue(number)) if number.fract() == 0.0 && number.abs() < 9e15 => {
            (*number as i64).into()
        }
        Some(Kind::NumberValue(number)) => (*number).into(),
        Some(Kind::ListValue(list)) => list.values.iter().map(value_to_json).collect(),
        Some(Kind::StructValue(tree)) => struct_to_json(tree).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(values: &[(&str, RuntimeValue)]) -> RuntimeLayer {
        let values = values.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        RuntimeLayer { name: String::new(), is_admin: false, values }
    }

    #[test]
    fn a_later_layer_overrides_and_a_key_overrides_the_default() {
        let half = FractionalPercent { numerator: 5_000, denominator: 10_000 };
        let runtime = Runtime {
            layers: vec![
                layer(&[("a", RuntimeValue::Number(10.0)), ("b", RuntimeValue::Fraction(half))]),
                layer(&[("a", RuntimeValue::Number(20.0))]),
            ],
        };
        let fraction =
            |key: &str| RuntimeFraction { default: FractionalPercent::ALL, runtime_key: key.into() };
        assert_eq!(runtime.fraction(&fraction("a")).numerator, 20);
        assert_eq!(runtime.fraction(&fraction("b")), half);
        assert_eq!(runtime.fraction(&fraction("c")), FractionalPercent::ALL);
        assert_eq!(runtime.fraction(&fraction("")), FractionalPercent::ALL);
    }

    #[test]
    fn a_fraction_is_a_share_of_the_random_numbers() {
        let fraction = FractionalPercent { numerator: 25, denominator: 100 };
        assert_eq!((0..1000).filter(|random| fraction.contains(*random)).count(), 250);
        assert!(FractionalPercent::ALL.contains(u64::MAX) && !FractionalPercent::NONE.contains(0));
    }
}
