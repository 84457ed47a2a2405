//! Access control for raw connections (`envoy.extensions.filters.network.rbac.v3.RBAC`).
//!
//! Decides when the client's first bytes or its end come, as Envoy does: a server that speaks first is heard
//! before that.

use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::extensions::filters::network::rbac::v3 as proto;

use crate::api::{ConfigError, MessageSupport};
use crate::config::{Context, FieldPath};
use crate::filters::BuildContext;
use crate::filters::rbac::{self, Engine, RbacShadowStats, RbacStats, Subject};
use crate::io;

use super::{
    BuiltFilter, Closing, NetworkContext, NetworkFilter, NetworkFilterDefinition, NetworkFilterFactory,
    Verdict,
};

/// The RBAC network filter.
pub struct Rbac {
    /// None allows everyone.
    rules: Option<Engine>,
    shadow_rules: Option<Engine>,
    /// Decide anew whenever bytes come, not only the first time.
    is_continuous: bool,
    /// How long a denied connection is kept before it is closed.
    delay_deny: Duration,
    stats: RbacStats,
    shadow_stats: RbacShadowStats,
}

impl NetworkFilterDefinition for Rbac {
    type Config = proto::Rbac;

    const SUPPORT: &'static [MessageSupport] = &[MessageSupport {
        message: "envoy.extensions.filters.network.rbac.v3.RBAC",
        honoured: &[
            "rules",
            "shadow_rules",
            "shadow_rules_stat_prefix",
            "stat_prefix",
            "enforcement_type",
            "delay_deny",
        ],
        no_effect: &[],
    }];

    fn build(
        config: proto::Rbac,
        path: &FieldPath,
        cx: &mut BuildContext<'_>,
    ) -> Result<BuiltFilter, Vec<ConfigError>> {
        let mut context = Context::new(cx.read);
        let mut engine = |rules: &Option<_>, field| {
            rules.as_ref().map(|rules| Engine::from_proto(rules, &path.field(field), &mut context))
        };
        let (rules, shadow_rules) =
            (engine(&config.rules, "rules"), engine(&config.shadow_rules, "shadow_rules"));
        let enforcement: proto::rbac::EnforcementType =
            context.enum_value(config.enforcement_type, &path.field("enforcement_type"));
        let delay = config.delay_deny.as_ref();
        let delay_deny =
            delay.map_or(Duration::ZERO, |delay| context.duration(delay, &path.field("delay_deny")));
        let (prefix, shadow) = rbac::stat_prefix(&config.stat_prefix, &config.shadow_rules_stat_prefix);
        let filter = Rbac {
            rules,
            shadow_rules,
            is_continuous: enforcement == proto::rbac::EnforcementType::Continuous,
            delay_deny,
            stats: RbacStats::register(cx.registry, &prefix),
            shadow_stats: RbacShadowStats::register(cx.registry, &shadow),
        };
        context.finish(BuiltFilter::Filter(Arc::new(Factory(Arc::new(filter)))))
    }
}

struct Factory(Arc<Rbac>);

impl NetworkFilterFactory for Factory {
    fn create(&self) -> Box<dyn NetworkFilter> {
        Box::new(Guard { filter: Arc::clone(&self.0), is_decided: false })
    }
}

/// The filter at work on one connection.
struct Guard {
    filter: Arc<Rbac>,
    is_decided: bool,
}

impl NetworkFilter for Guard {
    fn wants_data(&self) -> bool {
        true
    }

    fn on_read(&mut self, _bytes: &[u8], _end: bool, cx: &NetworkContext<'_>) -> Verdict {
        if self.is_decided && !self.filter.is_continuous {
            return Verdict::Continue;
        }
        self.is_decided = true;
        self.filter.decide(&Subject::connection(cx.info))
    }
}

impl Rbac {
    fn decide(&self, subject: &Subject<'_>) -> Verdict {
        if let Some(rules) = &self.shadow_rules {
            match rules.decide(subject).is_allowed {
                true => self.shadow_stats.shadow_allowed.inc(),
                false => self.shadow_stats.shadow_denied.inc(),
            }
        }
        let Some(rules) = &self.rules else { return Verdict::Continue };
        let decision = rules.decide(subject);
        if decision.is_allowed {
            self.stats.allowed.inc();
            return Verdict::Continue;
        }
        self.stats.denied.inc();
        let closing =
            Closing { termination_details: Some(Arc::clone(decision.details)), ..Closing::default() };
        if self.delay_deny.is_zero() {
            return Verdict::Close(closing);
        }
        let delay = self.delay_deny;
        Verdict::Await(Box::pin(async move {
            io::sleep(delay).await;
            Verdict::Close(closing)
        }))
    }
}
