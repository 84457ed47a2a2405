//! Passes a connection's bytes on to a host of a cluster, and back
//! (`envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`). Looks at no byte and copies only small pieces.

mod connect;
mod relay;
mod session;
mod settings;

use std::sync::Arc;

use envoy_types::pb::envoy::extensions::filters::network::tcp_proxy::v3 as proto;

use crate::access_log::AccessLogSet;
use crate::api::{ConfigError, MessageSupport};
use crate::config::{Context, FieldPath};
use crate::filters::BuildContext;
use crate::formatter::AccessLogType;
use crate::stats::groups::TcpProxyStats;
use crate::stream_info::StreamInfo;

use super::{BuiltFilter, Connection, NetworkFilterDefinition, Serve, TerminalFilter};
use settings::Settings;

/// The TCP proxy filter.
pub struct TcpProxy {
    settings: Settings,
    access_logs: AccessLogSet,
    stats: TcpProxyStats,
}

impl NetworkFilterDefinition for TcpProxy {
    type Config = proto::TcpProxy;

    const SUPPORT: &'static [MessageSupport] = settings::SUPPORT;

    fn build(
        config: proto::TcpProxy,
        path: &FieldPath,
        cx: &mut BuildContext<'_>,
    ) -> Result<BuiltFilter, Vec<ConfigError>> {
        let mut context = Context::new(cx.read);
        let settings = Settings::from_proto(&config, path, &mut context);
        let mut settings = context.finish(settings)?;
        let access_logs = cx
            .compile_access_logs(&std::mem::take(&mut settings.access_log), path)
            .map_err(|error| vec![error])?;
        let stats = TcpProxyStats::register(cx.registry, &format!("tcp.{}.", config.stat_prefix));
        Ok(BuiltFilter::Terminal(Arc::new(TcpProxy { settings, access_logs, stats })))
    }
}

impl TerminalFilter for TcpProxy {
    fn serve(self: Arc<Self>, connection: Connection) -> Serve {
        Box::pin(async { Some(session::serve(self, connection).await) })
    }

    fn on_refused(&self, info: &StreamInfo) {
        self.stats.downstream_cx_total.inc();
        self.log(info, AccessLogType::TcpConnectionEnd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the future that an async function returns.
    fn future_size<A, B, F: Future>(_: impl FnOnce(A, B) -> F) -> usize {
        size_of::<F>()
    }

    /// There is one for each open connection, idle or not. Whoever makes it larger does so on purpose.
    #[test]
    fn a_connections_state_stays_within_its_budget() {
        let serve = future_size::<Arc<TcpProxy>, Connection, _>(session::serve);
        let sizes = [
            ("the future that serves a connection", serve, 680),
            ("Session", size_of::<session::Session<'_>>(), 680),
        ];
        for (name, size, budget) in sizes {
            assert!(size <= budget, "{name}: {size} bytes, more than {budget}: {sizes:?}");
        }
    }
}
