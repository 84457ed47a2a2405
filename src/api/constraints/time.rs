//! Rules of durations and timestamps.

use super::number::Bounds;
use crate::api::proto_json::time_text::{format_duration, format_timestamp};
use envoy_types::pb::google::protobuf::{Duration, Timestamp};
use envoy_types::pb::validate::{DurationRules, TimestampRules};
use prost_reflect::DynamicMessage;

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// What is wrong with a `google.protobuf.Duration`.
pub fn check_duration(rules: &DurationRules, message: &DynamicMessage) -> Vec<String> {
    let of = |duration: &Duration| nanos_of(duration.seconds, duration.nanos);
    let bounds = Bounds {
        equal: rules.r#const.as_ref().map(of),
        lt: rules.lt.as_ref().map(of),
        lte: rules.lte.as_ref().map(of),
        gt: rules.gt.as_ref().map(of),
        gte: rules.gte.as_ref().map(of),
        within: rules.r#in.iter().map(of).collect(),
        without: rules.not_in.iter().map(of).collect(),
    };
    bounds.check(nanos_in(message), |nanos| {
        let (seconds, nanos) = split(nanos);
        format_duration(seconds, nanos)
    })
}

/// What is wrong with a `google.protobuf.Timestamp`. Rules relative to the present (`lt_now`,
/// `gt_now`, `within`) do not occur in Envoy's API, and the clock is not ours to read.
pub fn check_timestamp(rules: &TimestampRules, message: &DynamicMessage) -> Vec<String> {
    let of = |time: &Timestamp| nanos_of(time.seconds, time.nanos);
    let bounds = Bounds {
        equal: rules.r#const.as_ref().map(of),
        lt: rules.lt.as_ref().map(of),
        lte: rules.lte.as_ref().map(of),
        gt: rules.gt.as_ref().map(of),
        gte: rules.gte.as_ref().map(of),
        within: Vec::new(),
        without: Vec::new(),
    };
    bounds.check(nanos_in(message), |nanos| {
        let seconds = i64::try_from(nanos.div_euclid(NANOS_PER_SECOND)).unwrap_or(0);
        format_timestamp(seconds, i32::try_from(nanos.rem_euclid(NANOS_PER_SECOND)).unwrap_or(0))
    })
}

fn nanos_of(seconds: i64, nanos: i32) -> i128 {
    i128::from(seconds) * NANOS_PER_SECOND + i128::from(nanos)
}

fn nanos_in(message: &DynamicMessage) -> i128 {
    let seconds = message.get_field_by_name("seconds").and_then(|value| value.as_i64());
    let nanos = message.get_field_by_name("nanos").and_then(|value| value.as_i32());
    nanos_of(seconds.unwrap_or(0), nanos.unwrap_or(0))
}

fn split(nanos: i128) -> (i64, i32) {
    let seconds = i64::try_from(nanos / NANOS_PER_SECOND).unwrap_or(0);
    (seconds, i32::try_from(nanos % NANOS_PER_SECOND).unwrap_or(0))
}
