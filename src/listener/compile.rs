//! A listener's configuration made ready for workers: statistics registered, filters compiled.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::access_log::AccessLogSet;
use crate::api::ConfigError;
use crate::config::{FilterChain, FilterChainMatch, Listener, NetworkFilter};
use crate::filters::BuildContext;
use crate::filters::listener::{self, ListenerFilterFactory};
use crate::filters::network::{self, BuiltFilter, NetworkFilterFactory, TerminalFilter};
use crate::log_warn;
use crate::stats::Scope;
use crate::stats::groups::{ListenerStats, listener_stat_name};
use crate::transport::DownstreamTls;

use super::chain_match::ChainMatcher;

/// A listener as workers use it; immutable.
pub struct CompiledListener {
    /// Its configuration.
    pub config: Arc<Listener>,
    /// Its statistics.
    pub stats: ListenerStats,
    /// Prefix of its statistics, with a dot at its end.
    pub stat_prefix: String,
    /// Logs written when a connection ends.
    pub access_logs: AccessLogSet,
    /// Who sees a connection before its chain is chosen, in order.
    pub listener_filters: Vec<Arc<dyn ListenerFilterFactory>>,
    /// Its chains.
    pub filter_chains: Vec<Arc<CompiledFilterChain>>,
    /// Which of them is for which connections, by their numbers.
    pub chain_matcher: ChainMatcher,
    /// The chain for connections that no other one is for; none closes them.
    pub default_filter_chain: Option<Arc<CompiledFilterChain>>,
    /// Keeps its statistics listed.
    pub scope: Scope,
}

/// A filter chain as workers use it; immutable.
pub struct CompiledFilterChain {
    /// Its name; may be empty.
    pub name: Arc<str>,
    /// Who sees its connections before they are served, in order.
    pub filters: Vec<Arc<dyn NetworkFilterFactory>>,
    /// What serves its connections; none closes them.
    pub terminal: Option<Arc<dyn TerminalFilter>>,
    /// TLS of its connections; none is raw.
    pub tls: Option<Arc<DownstreamTls>>,
    /// How long the handshake may take.
    pub handshake_timeout: Duration,
    /// Keeps its statistics listed; it may outlive the listener that it was first part of.
    pub scope: Scope,
}

/// Which chain of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChainPlace {
    /// An element of `filter_chains`.
    Index(usize),
    /// `default_filter_chain`.
    Default,
}

/// Chains of a listener's predecessor whose configuration has not changed, by their place in the new one.
pub type ReusedChains = HashMap<ChainPlace, Arc<CompiledFilterChain>>;

impl CompiledListener {
    /// All its chains.
    pub fn chains(&self) -> impl Iterator<Item = &Arc<CompiledFilterChain>> {
        self.filter_chains.iter().chain(&self.default_filter_chain)
    }

    /// The chain at a place of the configuration.
    pub fn chain_at(&self, place: ChainPlace) -> Option<&Arc<CompiledFilterChain>> {
        match place {
            ChainPlace::Index(index) => self.filter_chains.get(index),
            ChainPlace::Default => self.default_filter_chain.as_ref(),
        }
    }
}

/// Compiles a listener. Chains in `reused` are taken as they are.
///
/// # Errors
/// All that is wrong with its filters' configurations.
pub fn compile(
    config: &Arc<Listener>,
    reused: &ReusedChains,
    cx: &mut BuildContext<'_>,
) -> Result<CompiledListener, Vec<ConfigError>> {
    let prefix = stat_prefix(config);
    let stats = ListenerStats::register(cx.registry, &prefix);
    let mut cx = BuildContext { listener_stat_prefix: &prefix, ..*cx };
    let mut errors = Vec::new();
    let access_logs = cx.compile_access_logs(&config.access_log, &config.path).unwrap_or_else(|error| {
        errors.push(error);
        AccessLogSet::default()
    });
    let listener_filters = compile_listener_filters(config, &mut cx, &mut errors);
    let mut chain = |place, chain: &FilterChain, errors: &mut Vec<ConfigError>| match reused.get(&place) {
        Some(reused) => Some(Arc::clone(reused)),
        None => compile_chain(chain, &mut cx, errors).map(Arc::new),
    };
    let in_order = config.filter_chains.iter().enumerate();
    let filter_chains =
        in_order.filter_map(|(i, config)| chain(ChainPlace::Index(i), config, &mut errors)).collect();
    let default_filter_chain = config
        .default_filter_chain
        .as_ref()
        .and_then(|config| chain(ChainPlace::Default, config, &mut errors));
    let chain_matcher = match_chains(&config.filter_chains, &mut errors);
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(CompiledListener {
        scope: cx.registry.clone(),
        config: Arc::clone(config),
        stats,
        stat_prefix: prefix,
        access_logs,
        listener_filters,
        filter_chains,
        chain_matcher,
        default_filter_chain,
    })
}

/// `listener.<address or stat_prefix>.`
fn stat_prefix(config: &Listener) -> String {
    let name = match (config.stat_prefix.as_str(), config.addresses.first()) {
        ("", Some(first)) => listener_stat_name(&first.address.to_string()),
        (given, _) => given.to_owned(),
    };
    format!("listener.{name}.")
}

fn compile_listener_filters(
    config: &Listener,
    cx: &mut BuildContext<'_>,
    errors: &mut Vec<ConfigError>,
) -> Vec<Arc<dyn ListenerFilterFactory>> {
    let built = config.listener_filters.iter().map(|filter| listener::build(filter, cx));
    let filters = built.filter_map(|built| built.map_err(|more| errors.extend(more)).ok()).collect();
    let chains = &config.filter_chains;
    if !config.listener_filters.iter().any(listener::TlsInspector::is_configured_by)
        && chains.iter().any(|chain| needs_tls_inspector(&chain.filter_chain_match))
    {
        log_warn!(
            Config,
            "listener '{}': filter chain match rules require the TLS inspector listener filter, but it isn't \
             configured: they match no connection",
            config.name
        );
    }
    filters
}

/// Whether criteria ask for what only the TLS inspector finds out.
fn needs_tls_inspector(criteria: &FilterChainMatch) -> bool {
    criteria.transport_protocol == "tls"
        || (criteria.transport_protocol.is_empty()
            && (!criteria.server_names.is_empty() || !criteria.application_protocols.is_empty()))
}

fn match_chains(chains: &[Arc<FilterChain>], errors: &mut Vec<ConfigError>) -> ChainMatcher {
    let mut matcher = ChainMatcher::default();
    for (number, chain) in chains.iter().enumerate() {
        if let Err(overlap) = matcher.add(number, &chain.filter_chain_match) {
            let message = format!(
                "multiple filter chains with overlapping matching rules are defined: {:?} and {:?}",
                chains[overlap.with].name, chain.name
            );
            errors.push(ConfigError::new(chain.path.as_str(), message));
        }
    }
    matcher
}

fn compile_chain(
    chain: &FilterChain,
    cx: &mut BuildContext<'_>,
    errors: &mut Vec<ConfigError>,
) -> Option<CompiledFilterChain> {
    let server_names = &chain.filter_chain_match.server_names;
    let tls = chain.transport_socket.tls();
    let tls = tls.map(|tls| DownstreamTls::new(tls, server_names, cx.listener_stat_prefix, cx.registry));
    let mut compiled = CompiledFilterChain {
        name: chain.name.as_str().into(),
        filters: Vec::new(),
        terminal: None,
        tls: tls.map(Arc::new),
        handshake_timeout: chain.transport_socket_connect_timeout,
        scope: cx.registry.clone(),
    };
    let before = errors.len();
    for (i, filter) in chain.filters.iter().enumerate() {
        let is_last = i + 1 == chain.filters.len();
        match network::build(filter, cx) {
            Ok(BuiltFilter::Filter(factory)) if !is_last => compiled.filters.push(factory),
            Ok(BuiltFilter::Terminal(terminal)) if is_last => compiled.terminal = Some(terminal),
            Ok(BuiltFilter::Filter(_)) => errors.push(misplaced(filter, "must not be the last filter of")),
            Ok(BuiltFilter::Terminal(_)) => errors.push(misplaced(filter, "must be the last filter of")),
            Err(more) => errors.extend(more),
        }
    }
    (errors.len() == before).then_some(compiled)
}

/// A filter that serves connections stands before others, or one that does not stands last.
fn misplaced(filter: &NetworkFilter, rule: &str) -> ConfigError {
    let (path, type_name) = match filter {
        NetworkFilter::Extension(extension) => (&extension.path, extension.type_name()),
        NetworkFilter::HttpConnectionManager(manager) => (&manager.path, "the HTTP connection manager"),
    };
    ConfigError::new(path.as_str(), format!("{type_name} {rule} a network filter chain"))
}
