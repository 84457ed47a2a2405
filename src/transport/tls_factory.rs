//! TLS of a filter chain or of a cluster, as its connections begin with it
//! (`DownstreamTlsContext`, `UpstreamTlsContext`). Shared by all workers; the context is replaced while connections
//! go on with the one they began with.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::Stream;
use super::tls::TlsStream;
use crate::config::tls::{DownstreamTlsContext, UpstreamTlsContext};
use crate::io::Socket;
use crate::stats::StatSource;
use crate::stats::groups::{TlsSocketFactoryStats, TlsStatsSet, set_certificate_expiry};
use crate::tls::{BufferedClient, ClientContext, DefaultTimeProvider, ServerContext, TlsError};

/// TLS of a filter chain.
pub struct DownstreamTls(Factory<ServerContext>);

/// TLS of a cluster.
pub struct UpstreamTls {
    factory: Factory<ClientContexts>,
    /// Decides on the names to ask for.
    config: Arc<UpstreamTlsContext>,
}

/// Application protocols that are offered to a host if the context names none, as Envoy's connection pools have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferedProtocols {
    /// None: raw bytes.
    Nothing,
    /// `http/1.1`.
    Http1,
    /// `h2`.
    Http2,
    /// `h2` rather than `http/1.1`.
    Http2OrHttp1,
}

/// Whom a connection is to be with, as far as requests decide that and not the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WantedPeer {
    /// The name to ask for (`auto_sni`).
    server_name: Option<Arc<str>>,
    /// A name that the certificate must have (`auto_san_validation`).
    alt_name: Option<Arc<str>>,
}

impl WantedPeer {
    /// The one of this name or address, to be asked for, or to be looked for in the certificate, or both. Addresses
    /// are not asked for (RFC 6066 3).
    pub fn new(name: &str, is_asked_for: bool, is_validated: bool) -> WantedPeer {
        let name: Arc<str> = name.into();
        let is_asked_for = is_asked_for && name.parse::<IpAddr>().is_err();
        WantedPeer {
            server_name: is_asked_for.then(|| Arc::clone(&name)),
            alt_name: is_validated.then_some(name),
        }
    }
}

/// By what is offered.
struct ClientContexts([ClientContext; 4]);

struct Factory<Context> {
    /// None until its secrets are found.
    context: ArcSwapOption<Context>,
    stats: Arc<TlsStatsSet>,
    secrets: TlsSocketFactoryStats,
}

impl DownstreamTls {
    /// TLS for the chain that is chosen by `server_names`; statistics go under the listener's `prefix`. A
    /// contradiction within the context is as if secrets were missing: configurations with one are refused earlier.
    pub fn new(
        config: &DownstreamTlsContext,
        server_names: &[String],
        prefix: &str,
        source: &impl StatSource,
    ) -> DownstreamTls {
        let factory = Factory::register(source, prefix, "server_ssl_socket_factory");
        let tls = DownstreamTls(factory);
        tls.replace(config, server_names);
        for (name, expiry) in config.common.expiries() {
            set_certificate_expiry(source, &format!("{prefix}ssl."), name, expiry);
        }
        tls
    }

    /// Takes another context for new connections; keeps the one that is there if the other has no use.
    pub fn replace(&self, config: &DownstreamTlsContext, server_names: &[String]) {
        if let Ok(context) = config.compile(server_names, Arc::new(DefaultTimeProvider)) {
            self.0.context.store(Some(Arc::new(context)));
        }
    }

    /// Counts a replacement that came with new secrets.
    pub fn count_update(&self) {
        self.0.secrets.ssl_context_update_by_sds.inc();
    }

    /// Begins TLS on a connection that was accepted. Without a context yet, the handshake fails.
    pub fn accept(&self, socket: Socket) -> Stream {
        let stats = Arc::clone(&self.0.stats);
        match &*self.0.context.load() {
            Some(context) => Stream::tls(TlsStream::server(socket, context, stats)),
            None => {
                self.0.secrets.downstream_context_secrets_not_ready.inc();
                Stream::tls(TlsStream::refused(socket, TlsError::SecretsNotReady, stats))
            }
        }
    }
}

impl UpstreamTls {
    /// TLS for a cluster; statistics go under the cluster's `prefix`. Contradictions as in [`DownstreamTls::new`].
    pub fn new(config: &Arc<UpstreamTlsContext>, prefix: &str, source: &impl StatSource) -> UpstreamTls {
        let factory = Factory::register(source, prefix, "client_ssl_socket_factory");
        let tls = UpstreamTls { factory, config: Arc::clone(config) };
        tls.replace(config);
        for (name, expiry) in config.common.expiries() {
            set_certificate_expiry(source, &format!("{prefix}ssl."), name, expiry);
        }
        tls
    }

    /// Takes another context for new connections; keeps the one that is there if the other has no use.
    pub fn replace(&self, config: &UpstreamTlsContext) {
        if let Ok(context) = config.compile(Arc::new(DefaultTimeProvider)) {
            self.factory.context.store(Some(Arc::new(ClientContexts::new(context, config))));
        }
    }

    /// Counts a replacement that came with new secrets.
    pub fn count_update(&self) {
        self.factory.secrets.ssl_context_update_by_sds.inc();
    }

    /// Begins TLS with the host of this name and address for one who is not on the data path, offering `protocols`; if
    /// there are none, those of the context.
    ///
    /// # Errors
    /// Without a context yet.
    pub fn begin_buffered(
        &self,
        hostname: &str,
        address: Option<IpAddr>,
        protocols: &[Vec<u8>],
    ) -> Result<BufferedClient, TlsError> {
        let contexts = self.factory.context.load();
        let Some(contexts) = &*contexts else {
            self.factory.secrets.upstream_context_secrets_not_ready.inc();
            return Err(TlsError::SecretsNotReady);
        };
        let name = self.config.server_name(None, hostname, address);
        let context = &contexts.0[OfferedProtocols::Nothing as usize];
        if protocols.is_empty() {
            return BufferedClient::new(context, name);
        }
        let protocols: Vec<&[u8]> = protocols.iter().map(Vec::as_slice).collect();
        BufferedClient::new(&context.offering(&protocols), name)
    }

    /// Where handshakes are counted.
    pub fn stats(&self) -> &Arc<TlsStatsSet> {
        &self.factory.stats
    }

    /// Begins TLS on a connection to the host of this name and address; it need not stand yet. Without a context yet,
    /// the handshake fails.
    pub fn connect(
        &self,
        socket: Socket,
        hostname: &str,
        address: Option<IpAddr>,
        offered: OfferedProtocols,
        wanted: &WantedPeer,
    ) -> Stream {
        let stats = Arc::clone(&self.factory.stats);
        match &*self.factory.context.load() {
            Some(contexts) => {
                let name = self.config.server_name(wanted.server_name.as_deref(), hostname, address);
                let context = &contexts.0[offered as usize];
                match &wanted.alt_name {
                    None => Stream::tls(TlsStream::client(socket, context, name, stats)),
                    Some(alt_name) => {
                        let context = context.expecting(Arc::clone(alt_name));
                        Stream::tls(TlsStream::client(socket, &context, name, stats))
                    }
                }
            }
            None => {
                self.factory.secrets.upstream_context_secrets_not_ready.inc();
                Stream::tls(TlsStream::refused(socket, TlsError::SecretsNotReady, stats))
            }
        }
    }
}

impl ClientContexts {
    fn new(context: ClientContext, config: &UpstreamTlsContext) -> ClientContexts {
        let offering = |protocols: &[&[u8]]| match config.common.alpn_protocols.is_empty() {
            true => context.offering(protocols),
            false => context.clone(),
        };
        let http1 = offering(&[b"http/1.1"]);
        let http2 = offering(&[b"h2"]);
        let both = offering(&[b"h2", b"http/1.1"]);
        ClientContexts([context, http1, http2, both])
    }
}

impl<Context> Factory<Context> {
    fn register(source: &impl StatSource, prefix: &str, kind: &str) -> Factory<Context> {
        Factory {
            context: ArcSwapOption::empty(),
            stats: Arc::new(TlsStatsSet::register(source, &format!("{prefix}ssl."))),
            secrets: TlsSocketFactoryStats::register(source, &format!("{prefix}{kind}.")),
        }
    }
}

impl std::fmt::Debug for DownstreamTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DownstreamTls")
    }
}

impl std::fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UpstreamTls")
    }
}
