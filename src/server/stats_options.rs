//! What the configuration says about statistics, in the terms of the statistics module.

use std::sync::Arc;

use crate::config::{HistogramBuckets, StatsConfig, StatsMatcher, StringMatcher, TagSpecifier, TagValue};
use crate::stats::{BucketRule, CustomTag, NameMatcher, StatsOptions, TagExtractor};

/// Converts the configuration of statistics.
pub fn stats_options(config: &StatsConfig) -> StatsOptions {
    StatsOptions {
        keep: keep(&config.matcher),
        tags: TagExtractor::new(
            config.use_all_default_tags,
            config.tags.iter().filter_map(custom_tag).collect(),
        ),
        buckets: config.histogram_buckets.iter().map(bucket_rule).collect(),
    }
}

fn keep(matcher: &StatsMatcher) -> Option<NameMatcher> {
    let any = |matchers: &[StringMatcher]| {
        let matchers = matchers.to_vec();
        move |name: &str| matchers.iter().any(|matcher| matcher.matches(name.as_bytes()))
    };
    match matcher {
        StatsMatcher::All => None,
        StatsMatcher::Nothing => Some(Box::new(|_| false)),
        StatsMatcher::Include(matchers) => Some(Box::new(any(matchers))),
        StatsMatcher::Exclude(matchers) => {
            let excluded = any(matchers);
            Some(Box::new(move |name| !excluded(name)))
        }
    }
}

/// None only for an expression that does not compile, which the configuration's conversion refuses.
fn custom_tag(tag: &TagSpecifier) -> Option<CustomTag> {
    let name = tag.name.clone();
    Some(match &tag.value {
        TagValue::Fixed(value) => CustomTag::Fixed { name, value: value.clone() },
        TagValue::Regex(pattern) => CustomTag::Regex { name, regex: regex::Regex::new(pattern).ok()? },
        TagValue::Default => CustomTag::Default { name },
    })
}

fn bucket_rule(buckets: &HistogramBuckets) -> BucketRule {
    let matcher = buckets.matcher.clone();
    BucketRule {
        matches: Box::new(move |name| matcher.matches(name.as_bytes())),
        bounds: Arc::from(buckets.buckets.as_slice()),
    }
}
