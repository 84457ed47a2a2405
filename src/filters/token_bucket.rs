//! The token bucket of rate-limiting filters, from its message (`envoy.type.v3.TokenBucket`).

use std::time::Duration;

use envoy_types::pb::envoy::r#type::v3 as proto;

use crate::api::MessageSupport;
use crate::base::token_bucket::TokenBucket;
use crate::config::{Context, FieldPath};

/// Shortest `fill_interval`.
const MIN_FILL_INTERVAL: Duration = Duration::from_millis(50);

/// What is honoured of the message.
pub(super) const SUPPORT: &[MessageSupport] = &[MessageSupport::all("envoy.type.v3.TokenBucket")];

/// Makes the bucket in the field `token_bucket` of the message at `path`. Records errors in `context`.
pub(super) fn from_proto(
    proto: Option<&proto::TokenBucket>,
    path: &FieldPath,
    context: &mut Context<'_>,
) -> TokenBucket {
    let path = path.field("token_bucket");
    let Some(proto) = proto else {
        context.error(&path, "must be set");
        return TokenBucket::new(0, 1, MIN_FILL_INTERVAL);
    };
    let interval_path = path.field("fill_interval");
    let interval =
        proto.fill_interval.as_ref().map_or(Duration::ZERO, |given| context.duration(given, &interval_path));
    if interval < MIN_FILL_INTERVAL {
        context.error(&interval_path, "local rate limit token bucket fill timer must be >= 50ms");
    }
    let tokens_per_fill = proto.tokens_per_fill.as_ref().map_or(1, |tokens| tokens.value);
    TokenBucket::new(proto.max_tokens, tokens_per_fill, interval)
}
