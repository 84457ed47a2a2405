//! What all threads know about a cluster: its configuration, its statistics, its circuit breakers.
//! Immutable but for the atomics inside.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::breaker::{BreakerShared, ResourceKind};
use super::lb::{BalancerOptions, LbPolicy, LeastRequestChoices};
use super::peer_name::wanted_name;
use crate::config::cluster::{self as config, LeastRequestSelection};
use crate::config::route::RoutingPriority;
use crate::config::{HeaderKeyFormat, Runtime, SocketOptionValue, SocketState};
use crate::http::RequestHead;
use crate::http::h1::{H1Settings, HeaderCase};
use crate::http::h2::H2Settings;
use crate::io::{self, Keepalive, RawSocketOption, SocketOptions};
use crate::stats::groups::{
    CircuitBreakerRemainingStats, CircuitBreakerStats, ClusterBalancerStats, ClusterTrafficStats,
    EndpointMatchStats, Http1CodecStats, Http2CodecStats,
};
use crate::stats::{ResponseCodeStats, Scope, StatSource};
use crate::transport::UpstreamTls;

/// A cluster as all threads see it.
#[derive(Debug)]
pub struct ClusterInfo {
    /// The cluster's name.
    pub name: Arc<str>,
    /// Its configuration.
    pub config: Arc<config::Cluster>,
    /// Its statistics.
    pub stats: ClusterStats,
    /// Its circuit breakers.
    pub breakers: Arc<BreakerShared>,
    /// How hosts are balanced.
    pub balancer: BalancerOptions,
    /// How connections' sockets are set up.
    pub socket_options: SocketOptions,
    /// TLS to its hosts; none is raw.
    pub tls: Option<UpstreamTls>,
    /// What the HTTP/1 decoder accepts from hosts.
    pub h1_settings: H1Settings,
    /// What is announced to hosts over HTTP/2, and accepted from them.
    pub h2_settings: H2Settings,
    /// How header names are written to hosts.
    pub h1_header_case: HeaderCase,
    /// Unsent bytes of one connection above which its sender should pause; `usize::MAX` for no limit.
    pub high_watermark_bytes: usize,
    /// A connection was made for a request, ever.
    had_traffic: AtomicBool,
    /// Keeps its statistics: requests on a cluster that was removed go on counting in them.
    _scope: Scope,
}

/// The statistics `cluster.<name>.`.
#[derive(Debug)]
pub struct ClusterStats {
    /// What workers count.
    pub traffic: ClusterTrafficStats,
    /// The HTTP/1 codec's refusals.
    pub http1: Http1CodecStats,
    /// The HTTP/2 codec's doings.
    pub http2: Http2CodecStats,
    /// Hosts' transport socket matches; one per host added.
    pub endpoint_match: EndpointMatchStats,
    codes: ResponseCodeStats,
    external: ResponseCodeStats,
    internal: ResponseCodeStats,
    canary: ResponseCodeStats,
    breakers: [(CircuitBreakerStats, Option<CircuitBreakerRemainingStats>); 2],
}

const PRIORITIES: [(RoutingPriority, &str); 2] =
    [(RoutingPriority::Default, "default"), (RoutingPriority::High, "high")];

impl ClusterInfo {
    /// Prepares a cluster; registers its statistics, which go with it.
    pub fn new(config: Arc<config::Cluster>, runtime: &Runtime, scope: &Scope) -> ClusterInfo {
        let prefix = format!("cluster.{}.", config.stat_name());
        ClusterInfo {
            name: config.name.as_str().into(),
            stats: ClusterStats::register(&config, &prefix, scope),
            breakers: BreakerShared::new(&config.circuit_breakers),
            balancer: balancer_options(&config, runtime),
            socket_options: socket_options(&config),
            tls: config.transport_socket.tls().map(|tls| UpstreamTls::new(tls, &prefix, scope)),
            h1_settings: H1Settings {
                max_head_bytes: config.common_http.max_response_headers_kb.saturating_mul(1024),
                max_header_count: config.common_http.max_headers_count,
                enable_trailers: config.http1.enable_trailers,
                allow_chunked_length: config.http1.allow_chunked_length,
                ..H1Settings::default()
            },
            h2_settings: H2Settings {
                max_header_bytes: config.common_http.max_response_headers_kb.saturating_mul(1024),
                max_header_count: config.common_http.max_headers_count,
                stream_send_buffer_bytes: match config.per_connection_buffer_limit_bytes {
                    0 => u32::MAX,
                    bytes => bytes,
                },
                ..config.http2.settings
            },
            h1_header_case: match config.http1.header_key_format {
                HeaderKeyFormat::LowerCase => HeaderCase::Lower,
                HeaderKeyFormat::ProperCaseWords => HeaderCase::Proper,
            },
            high_watermark_bytes: match config.per_connection_buffer_limit_bytes {
                0 => usize::MAX,
                bytes => bytes as usize,
            },
            had_traffic: AtomicBool::new(false),
            _scope: scope.clone(),
            config,
        }
    }

    /// The name that `request` wants its connection to be made for, if requests decide that here; see
    /// [`super::Host::check_out_for`].
    pub fn wanted_name(&self, request: &RequestHead) -> Option<Rc<str>> {
        let auto = self.config.auto_peer_name.as_ref().filter(|_| self.tls.is_some())?;
        Some(wanted_name(auto, request))
    }

    /// A connection is made for a request.
    pub fn note_traffic(&self) {
        // Read first: the line stays shared among the workers.
        if !self.had_traffic() {
            self.had_traffic.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a connection was ever made for a request; hosts of a cluster without traffic are checked less often.
    pub fn had_traffic(&self) -> bool {
        self.had_traffic.load(Ordering::Relaxed)
    }

    /// Counts a response for the request that got it: `upstream_rq_<code>` and its like, and how long it
    /// took from the request's last byte.
    pub fn charge_response(&self, status: u16, is_internal: bool, is_canary: bool, elapsed: Duration) {
        let stats = &self.stats;
        stats.codes.record(status);
        if is_internal { &stats.internal } else { &stats.external }.record(status);
        if is_canary {
            stats.canary.record(status);
        }
        stats.traffic.upstream_rq_time.record(elapsed.as_millis() as u64);
    }

    /// Counts the status of an internal answer that no host gave: of a filter, or for want of one.
    pub fn charge_code(&self, status: u16) {
        self.stats.codes.record(status);
        self.stats.internal.record(status);
    }

    /// Sets the gauges of the circuit breakers; called on the control thread before statistics are read,
    /// as no worker maintains them.
    pub fn refresh_breaker_gauges(&self) {
        for ((priority, _), (open, remaining)) in PRIORITIES.iter().zip(&self.stats.breakers) {
            let breaker = self.breakers.priority(*priority);
            let is_open = |kind| u64::from(breaker.is_open(kind));
            open.cx_open.set(is_open(ResourceKind::Connections));
            open.rq_open.set(is_open(ResourceKind::Requests));
            open.rq_pending_open.set(is_open(ResourceKind::PendingRequests));
            open.rq_retry_open.set(is_open(ResourceKind::Retries));
            if let Some(remaining) = remaining {
                remaining.remaining_cx.set(breaker.remaining(ResourceKind::Connections));
                remaining.remaining_rq.set(breaker.remaining(ResourceKind::Requests));
                remaining.remaining_pending.set(breaker.remaining(ResourceKind::PendingRequests));
                remaining.remaining_retries.set(breaker.remaining(ResourceKind::Retries));
                remaining.remaining_cx_pools.set(u64::MAX);
            }
        }
    }
}

impl ClusterStats {
    fn register(config: &config::Cluster, prefix: &str, source: &impl StatSource) -> ClusterStats {
        let codes = |tree: &str| ResponseCodeStats::register(source, &format!("{prefix}{tree}"));
        ClusterBalancerStats::register(source, prefix);
        ClusterStats {
            traffic: ClusterTrafficStats::register(source, prefix),
            http1: Http1CodecStats::register(source, &format!("{prefix}http1.")),
            http2: Http2CodecStats::register(source, &format!("{prefix}http2.")),
            endpoint_match: EndpointMatchStats::register(source, &format!("{prefix}default.")),
            codes: codes(""),
            external: codes("external."),
            internal: codes("internal."),
            canary: codes("canary."),
            breakers: PRIORITIES.map(|(priority, name)| {
                let prefix = format!("{prefix}circuit_breakers.{name}.");
                let track = config.circuit_breakers.get(priority).track_remaining;
                let remaining = track.then(|| CircuitBreakerRemainingStats::register(source, &prefix));
                (CircuitBreakerStats::register(source, &prefix), remaining)
            }),
        }
    }
}

fn balancer_options(config: &config::Cluster, runtime: &Runtime) -> BalancerOptions {
    BalancerOptions {
        policy: match &config.lb_policy {
            config::LbPolicy::RoundRobin => LbPolicy::RoundRobin,
            config::LbPolicy::LeastRequest { choice_count, active_request_bias, selection, .. } => {
                LbPolicy::LeastRequest {
                    choices: match selection {
                        LeastRequestSelection::NChoices => LeastRequestChoices::Random(*choice_count),
                        LeastRequestSelection::FullScan => LeastRequestChoices::All,
                    },
                    active_request_bias: runtime.double(active_request_bias),
                }
            }
            config::LbPolicy::Random => LbPolicy::Random,
        },
        overprovisioning_percent: config.load_assignment.overprovisioning_factor,
        panic_threshold_percent: panic_threshold_percent(config, runtime),
        fail_traffic_on_panic: config.common_lb.fail_traffic_on_panic,
    }
}

/// Whole per cent, as in Envoy; `upstream.healthy_panic_threshold` of the runtime overrides the configuration.
fn panic_threshold_percent(config: &config::Cluster, runtime: &Runtime) -> f64 {
    let configured = config.common_lb.healthy_panic_threshold_percent.round() as u64;
    runtime.integer_under("upstream.healthy_panic_threshold", configured).min(100) as f64
}

fn socket_options(config: &config::Cluster) -> SocketOptions {
    SocketOptions {
        nodelay: true,
        keepalive: config.tcp_keepalive.map(|keepalive| Keepalive {
            probes: keepalive.probes,
            idle: keepalive.time_s.map(|seconds| Duration::from_secs(seconds.into())),
            interval: keepalive.interval_s.map(|seconds| Duration::from_secs(seconds.into())),
        }),
        source_address: config.bind.source_address,
        raw: config
            .bind
            .socket_options
            .iter()
            .map(|option| RawSocketOption {
                level: option.level,
                name: option.name,
                value: match &option.value {
                    SocketOptionValue::Int(value) => value.to_ne_bytes().to_vec(),
                    SocketOptionValue::Bytes(value) => value.to_vec(),
                },
                state: match option.state {
                    SocketState::Prebind => io::SocketState::Prebind,
                    SocketState::Bound => io::SocketState::Bound,
                    SocketState::Listening => io::SocketState::Listening,
                },
            })
            .collect(),
    }
}
