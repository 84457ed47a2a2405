//! At most so many new connections in a span of time
//! (`envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit`), counted over all workers, for each
//! filter chain by itself.

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::network::local_ratelimit::v3 as proto;

use crate::api::{ConfigError, MessageSupport};
use crate::base::token_bucket::TokenBucket;
use crate::config::{Context, FieldPath, RuntimeFlag};
use crate::filters::{BuildContext, token_bucket};
use crate::io;
use crate::stats::groups::LocalRateLimitStats;
use crate::stream_info::ResponseFlags;

use super::{
    BuiltFilter, Closing, NetworkContext, NetworkFilter, NetworkFilterDefinition, NetworkFilterFactory,
    Verdict,
};

/// The local rate limit filter.
pub struct LocalRateLimit {
    bucket: TokenBucket,
    /// None is on.
    enabled: Option<RuntimeFlag>,
    stats: LocalRateLimitStats,
}

impl NetworkFilterDefinition for LocalRateLimit {
    type Config = proto::LocalRateLimit;

    const SUPPORT: &'static [MessageSupport] = &[MessageSupport {
        message: "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit",
        honoured: &["stat_prefix", "token_bucket", "runtime_enabled"],
        no_effect: &[],
    }];

    fn build(
        config: proto::LocalRateLimit,
        path: &FieldPath,
        cx: &mut BuildContext<'_>,
    ) -> Result<BuiltFilter, Vec<ConfigError>> {
        let mut context = Context::new(cx.read);
        let filter = LocalRateLimit {
            bucket: token_bucket::from_proto(config.token_bucket.as_ref(), path, &mut context),
            enabled: config.runtime_enabled.as_ref().map(RuntimeFlag::from),
            stats: LocalRateLimitStats::register(
                cx.registry,
                &format!("local_rate_limit.{}.", config.stat_prefix),
            ),
        };
        context.finish(BuiltFilter::Filter(Arc::new(Factory(Arc::new(filter)))))
    }
}

struct Factory(Arc<LocalRateLimit>);

impl NetworkFilterFactory for Factory {
    fn create(&self) -> Box<dyn NetworkFilter> {
        Box::new(Gate(Arc::clone(&self.0)))
    }
}

struct Gate(Arc<LocalRateLimit>);

impl NetworkFilter for Gate {
    fn on_new_connection(&mut self, cx: &NetworkContext<'_>) -> Verdict {
        let runtime = &cx.worker.server.runtime;
        if self.0.enabled.as_ref().is_some_and(|flag| !runtime.flag(flag))
            || self.0.bucket.try_take(io::now())
        {
            return Verdict::Continue;
        }
        self.0.stats.rate_limited.inc();
        // The flag that Envoy sets here.
        let response_flags = ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED;
        Verdict::Close(Closing { response_flags, ..Closing::default() })
    }
}
