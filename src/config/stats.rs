//! Which statistics are kept and how they are tagged (`envoy.config.metrics.v3.StatsConfig`).

use envoy_types::pb::envoy::config::metrics::v3 as metrics;

use super::context::wrapped_or;
use super::{Context, FieldPath, StringMatcher};

/// Which statistics are kept and how they are tagged.
#[derive(Debug, Clone)]
pub struct StatsConfig {
    /// Which are kept.
    pub matcher: StatsMatcher,
    /// Extract Envoy's default tags. Default true.
    pub use_all_default_tags: bool,
    /// Further tags.
    pub tags: Vec<TagSpecifier>,
    /// Buckets of histograms whose names match; the first match counts.
    pub histogram_buckets: Vec<HistogramBuckets>,
}

impl Default for StatsConfig {
    fn default() -> Self {
        StatsConfig {
            matcher: StatsMatcher::All,
            use_all_default_tags: true,
            tags: Vec::new(),
            histogram_buckets: Vec::new(),
        }
    }
}

/// Which statistics are kept.
#[derive(Debug, Clone, Default)]
pub enum StatsMatcher {
    /// All.
    #[default]
    All,
    /// None.
    Nothing,
    /// All but those that match.
    Exclude(Vec<StringMatcher>),
    /// Those that match.
    Include(Vec<StringMatcher>),
}

/// One tag.
#[derive(Debug, Clone)]
pub struct TagSpecifier {
    /// Its name.
    pub name: String,
    /// Where its value comes from.
    pub value: TagValue,
}

/// Where a tag's value comes from.
#[derive(Debug, Clone)]
pub enum TagValue {
    /// Every statistic has this value.
    Fixed(String),
    /// Searched in names: group 1 is taken out of the name, group 2 (or 1) is the value.
    Regex(String),
    /// The rule of this name among Envoy's default tags.
    Default,
}

/// Buckets of some histograms.
#[derive(Debug, Clone)]
pub struct HistogramBuckets {
    /// Which histograms, by name.
    pub matcher: StringMatcher,
    /// Upper bounds, ascending.
    pub buckets: Vec<f64>,
}

impl StatsConfig {
    /// Converts the configuration of statistics.
    pub fn from_proto(
        proto: &metrics::StatsConfig,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> StatsConfig {
        let tags = proto.stats_tags.iter().enumerate();
        let histograms = proto.histogram_bucket_settings.iter().enumerate();
        StatsConfig {
            matcher: StatsMatcher::from_proto(&proto.stats_matcher, &path.field("stats_matcher"), context),
            use_all_default_tags: wrapped_or!(proto.use_all_default_tags, true),
            tags: tags
                .map(|(i, tag)| TagSpecifier::from_proto(tag, &path.element("stats_tags", i), context))
                .collect(),
            histogram_buckets: histograms
                .map(|(i, setting)| {
                    let matcher = setting.r#match.clone().unwrap_or_default();
                    let path = path.element("histogram_bucket_settings", i).field("match");
                    let mut buckets = setting.buckets.clone();
                    buckets.sort_by(f64::total_cmp);
                    HistogramBuckets { matcher: StringMatcher::from_proto(&matcher, &path, context), buckets }
                })
                .collect(),
        }
    }
}

impl StatsMatcher {
    fn from_proto(
        proto: &Option<metrics::StatsMatcher>,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> StatsMatcher {
        use metrics::stats_matcher::StatsMatcher as Proto;
        let mut list =
            |patterns, field| StringMatcher::list(patterns, &path.field(field), "patterns", context);
        match proto.as_ref().and_then(|matcher| matcher.stats_matcher.as_ref()) {
            None | Some(Proto::RejectAll(false)) => StatsMatcher::All,
            Some(Proto::RejectAll(true)) => StatsMatcher::Nothing,
            Some(Proto::ExclusionList(matchers)) => {
                StatsMatcher::Exclude(list(&matchers.patterns, "exclusion_list"))
            }
            Some(Proto::InclusionList(matchers)) => {
                StatsMatcher::Include(list(&matchers.patterns, "inclusion_list"))
            }
        }
    }
}

impl TagSpecifier {
    fn from_proto(
        proto: &metrics::TagSpecifier,
        path: &FieldPath,
        context: &mut Context<'_>,
    ) -> TagSpecifier {
        let value = match &proto.tag_value {
            Some(metrics::tag_specifier::TagValue::FixedValue(value)) => TagValue::Fixed(value.clone()),
            Some(metrics::tag_specifier::TagValue::Regex(pattern)) if !pattern.is_empty() => {
                if let Err(error) = regex::Regex::new(pattern) {
                    context.error(&path.field("regex"), format!("invalid regex '{pattern}': {error}"));
                }
                TagValue::Regex(pattern.clone())
            }
            _ => TagValue::Default,
        };
        TagSpecifier { name: proto.tag_name.clone(), value }
    }
}
