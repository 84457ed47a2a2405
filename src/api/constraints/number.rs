//! Rules of numbers: `const`, `lt`, `lte`, `gt`, `gte`, `in`, `not_in`, `ignore_empty`.

use envoy_types::pb::validate::field_rules::Type;
use prost_reflect::Value;
use std::fmt::Display;

/// The bounds of any kind of number (or of an amount of time).
pub struct Bounds<T> {
    /// The only value allowed.
    pub equal: Option<T>,
    /// Below this.
    pub lt: Option<T>,
    /// This or below.
    pub lte: Option<T>,
    /// Above this.
    pub gt: Option<T>,
    /// This or above.
    pub gte: Option<T>,
    /// The only values allowed, unless empty.
    pub within: Vec<T>,
    /// Values not allowed.
    pub without: Vec<T>,
}

impl<T: PartialOrd + Copy> Bounds<T> {
    /// What is wrong with `value`; `show` gives a value's text.
    pub fn check(&self, value: T, show: impl Fn(T) -> String) -> Vec<String> {
        let mut faults = Vec::new();
        let list = |values: &[T]| values.iter().map(|v| show(*v)).collect::<Vec<_>>().join(", ");
        if let Some(equal) = self.equal.filter(|equal| *equal != value) {
            faults.push(format!("must be {}, is {}", show(equal), show(value)));
        }
        if !self.in_range(value) {
            let words = [
                self.gt.map(|bound| format!("greater than {}", show(bound))),
                self.gte.map(|bound| format!("at least {}", show(bound))),
                self.lt.map(|bound| format!("less than {}", show(bound))),
                self.lte.map(|bound| format!("at most {}", show(bound))),
            ];
            let joint = if self.is_inverted() { " or " } else { " and " };
            let range = words.into_iter().flatten().collect::<Vec<_>>().join(joint);
            faults.push(format!("must be {range}, is {}", show(value)));
        }
        if !self.within.is_empty() && !self.within.contains(&value) {
            faults.push(format!("must be one of {}, is {}", list(&self.within), show(value)));
        }
        if self.without.contains(&value) {
            faults.push(format!("must not be {}", show(value)));
        }
        faults
    }

    fn in_range(&self, value: T) -> bool {
        let below = self.lt.is_none_or(|bound| value < bound) && self.lte.is_none_or(|bound| value <= bound);
        let above = self.gt.is_none_or(|bound| value > bound) && self.gte.is_none_or(|bound| value >= bound);
        if self.is_inverted() { below || above } else { below && above }
    }

    /// An upper bound below the lower one excludes what lies between them.
    fn is_inverted(&self) -> bool {
        match (self.lt.or(self.lte), self.gt.or(self.gte)) {
            (Some(upper), Some(lower)) => upper < lower,
            _ => false,
        }
    }
}

/// What is wrong with a number; nothing when `rule` is not about numbers.
pub fn check(rule: &Type, value: &Value) -> Vec<String> {
    // Thirteen generated types of the same shape.
    macro_rules! check {
        ($rules:expr, $value:expr) => {{
            let (rules, value) = ($rules, *$value);
            if rules.ignore_empty() && is_default(&value) {
                return Vec::new();
            }
            let bounds = Bounds {
                equal: rules.r#const,
                lt: rules.lt,
                lte: rules.lte,
                gt: rules.gt,
                gte: rules.gte,
                within: rules.r#in.clone(),
                without: rules.not_in.clone(),
            };
            bounds.check(value, show)
        }};
    }
    match (rule, value) {
        (Type::Float(rules), Value::F32(value)) => check!(rules, value),
        (Type::Double(rules), Value::F64(value)) => check!(rules, value),
        (Type::Int32(rules), Value::I32(value)) => check!(rules, value),
        (Type::Int64(rules), Value::I64(value)) => check!(rules, value),
        (Type::Uint32(rules), Value::U32(value)) => check!(rules, value),
        (Type::Uint64(rules), Value::U64(value)) => check!(rules, value),
        (Type::Sint32(rules), Value::I32(value)) => check!(rules, value),
        (Type::Sint64(rules), Value::I64(value)) => check!(rules, value),
        (Type::Fixed32(rules), Value::U32(value)) => check!(rules, value),
        (Type::Fixed64(rules), Value::U64(value)) => check!(rules, value),
        (Type::Sfixed32(rules), Value::I32(value)) => check!(rules, value),
        (Type::Sfixed64(rules), Value::I64(value)) => check!(rules, value),
        _ => Vec::new(),
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn show<T: Display>(value: T) -> String {
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::validate::{DoubleRules, UInt32Rules};

    fn u32_faults(rules: UInt32Rules, value: u32) -> String {
        check(&Type::Uint32(rules), &Value::U32(value)).join("; ")
    }

    #[test]
    fn every_rule_of_numbers() {
        let rules = UInt32Rules::default;
        assert_eq!(u32_faults(UInt32Rules { r#const: Some(3), ..rules() }, 3), "");
        assert_eq!(u32_faults(UInt32Rules { r#const: Some(3), ..rules() }, 4), "must be 3, is 4");
        assert_eq!(u32_faults(UInt32Rules { lt: Some(3), ..rules() }, 2), "");
        assert_eq!(u32_faults(UInt32Rules { lt: Some(3), ..rules() }, 3), "must be less than 3, is 3");
        assert_eq!(u32_faults(UInt32Rules { lte: Some(3), ..rules() }, 3), "");
        assert_eq!(u32_faults(UInt32Rules { lte: Some(3), ..rules() }, 4), "must be at most 3, is 4");
        assert_eq!(u32_faults(UInt32Rules { gt: Some(3), ..rules() }, 4), "");
        assert_eq!(u32_faults(UInt32Rules { gt: Some(3), ..rules() }, 3), "must be greater than 3, is 3");
        assert_eq!(u32_faults(UInt32Rules { gte: Some(3), ..rules() }, 3), "");
        assert_eq!(u32_faults(UInt32Rules { gte: Some(3), ..rules() }, 2), "must be at least 3, is 2");
        assert_eq!(u32_faults(UInt32Rules { r#in: vec![1, 3], ..rules() }, 3), "");
        assert_eq!(u32_faults(UInt32Rules { r#in: vec![1, 3], ..rules() }, 2), "must be one of 1, 3, is 2");
        assert_eq!(u32_faults(UInt32Rules { not_in: vec![2], ..rules() }, 2), "must not be 2");
        let between = || UInt32Rules { gte: Some(2), lte: Some(4), ..rules() };
        assert_eq!(u32_faults(between(), 3), "");
        assert_eq!(u32_faults(between(), 5), "must be at least 2 and at most 4, is 5");
        let outside = || UInt32Rules { lt: Some(2), gt: Some(4), ..rules() };
        assert_eq!(u32_faults(outside(), 1) + &u32_faults(outside(), 5), "");
        assert_eq!(u32_faults(outside(), 3), "must be greater than 4 or less than 2, is 3");
        let lenient = UInt32Rules { gt: Some(3), ignore_empty: Some(true), ..rules() };
        assert_eq!(u32_faults(lenient, 0), "");
    }

    #[test]
    fn not_a_number_is_out_of_every_range() {
        let rules = DoubleRules { gte: Some(0.0), lte: Some(100.0), ..Default::default() };
        assert_eq!(check(&Type::Double(rules), &Value::F64(f64::NAN)).len(), 1);
    }
}
