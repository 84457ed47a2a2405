//! At most so many new connections in a span of time
//! (`envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit`), counted over all workers, before a
//! filter chain is chosen.

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::listener::local_ratelimit::v3 as proto;

use crate::api::{ConfigError, MessageSupport};
use crate::base::token_bucket::TokenBucket;
use crate::config::{Context, FieldPath};
use crate::filters::{BuildContext, token_bucket};
use crate::io;
use crate::stats::groups::LocalRateLimitStats;
use crate::stream_info::ConnectionInfo;

use super::{Inspected, ListenerFilter, ListenerFilterDefinition, ListenerFilterFactory};

/// The local rate limit listener filter.
pub struct LocalRateLimit {
    bucket: TokenBucket,
    stats: LocalRateLimitStats,
}

impl ListenerFilterDefinition for LocalRateLimit {
    type Config = proto::LocalRateLimit;

    const SUPPORT: &'static [MessageSupport] = &[MessageSupport {
        message: "envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit",
        honoured: &["stat_prefix", "token_bucket"],
        no_effect: &[],
    }];

    fn build(
        config: proto::LocalRateLimit,
        path: &FieldPath,
        cx: &mut BuildContext<'_>,
    ) -> Result<Arc<dyn ListenerFilterFactory>, Vec<ConfigError>> {
        let mut context = Context::new(cx.read);
        let bucket = token_bucket::from_proto(config.token_bucket.as_ref(), path, &mut context);
        let prefix = format!("listener_local_ratelimit.{}.", config.stat_prefix);
        let stats = LocalRateLimitStats::register(cx.registry, &prefix);
        let filter = Arc::new(LocalRateLimit { bucket, stats });
        context.finish(Arc::new(Factory(filter)))
    }
}

struct Factory(Arc<LocalRateLimit>);

impl ListenerFilterFactory for Factory {
    fn create(&self) -> Box<dyn ListenerFilter> {
        Box::new(Gate(Arc::clone(&self.0)))
    }
}

struct Gate(Arc<LocalRateLimit>);

impl ListenerFilter for Gate {
    fn need_bytes(&self) -> usize {
        0
    }

    fn inspect(&mut self, _bytes: &[u8], _end: bool, _info: &mut ConnectionInfo) -> Inspected {
        if self.0.bucket.try_take(io::now()) {
            return Inspected::Done { taken: 0 };
        }
        self.0.stats.rate_limited.inc();
        Inspected::Refused
    }
}
