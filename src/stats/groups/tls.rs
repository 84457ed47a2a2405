//! TLS: `listener.<address>.ssl.`, `cluster.<name>.ssl.` and what belongs to them.

use crate::stats::{LazyCounters, StatSource, stats_group};
use crate::tls::parameters::{cipher_names, group_names, signature_scheme_names};
use crate::tls::{FailureKind, HandshakeFacts, OcspOutcome, TlsError, TlsVersion};

stats_group! {
    /// `listener.<address>.ssl.`, `cluster.<name>.ssl.`: handshakes and why they failed.
    pub struct TlsStats {
        counters: [
            connection_error, fail_verify_cert_hash, fail_verify_error, fail_verify_no_cert, fail_verify_san,
            handshake, no_certificate, ocsp_staple_failed, ocsp_staple_omitted, ocsp_staple_requests,
            ocsp_staple_responses, session_reused,
        ],
    }
}

stats_group! {
    /// `listener.<address>.server_ssl_socket_factory.`, `cluster.<name>.client_ssl_socket_factory.`: secrets that are
    /// discovered.
    pub struct TlsSocketFactoryStats {
        counters: [
            downstream_context_secrets_not_ready, ssl_context_update_by_sds,
            upstream_context_secrets_not_ready,
        ],
    }
}

/// Everything that is counted of the handshakes of a listener or a cluster.
#[derive(Debug, Clone)]
pub struct TlsStatsSet {
    /// How they ended.
    pub stats: TlsStats,
    ciphers: LazyCounters,
    curves: LazyCounters,
    signature_algorithms: LazyCounters,
    versions: LazyCounters,
}

impl TlsStatsSet {
    /// Registers all of it under `prefix`, which ends with `ssl.`; what was negotiated is listed once it occurs.
    pub fn register(source: &impl StatSource, prefix: &str) -> TlsStatsSet {
        let versions = [TlsVersion::Tls12, TlsVersion::Tls13].map(TlsVersion::name);
        TlsStatsSet {
            stats: TlsStats::register(source, prefix),
            ciphers: LazyCounters::register(source, &format!("{prefix}ciphers."), cipher_names()),
            curves: LazyCounters::register(source, &format!("{prefix}curves."), group_names()),
            signature_algorithms: LazyCounters::register(
                source,
                &format!("{prefix}sigalgs."),
                signature_scheme_names(),
            ),
            versions: LazyCounters::register(source, &format!("{prefix}versions."), versions),
        }
    }

    /// Counts a handshake that succeeded.
    pub fn record_handshake(&self, facts: &HandshakeFacts) {
        self.stats.handshake.inc();
        if facts.is_resumed {
            self.stats.session_reused.inc();
        }
        if facts.peer_certificates.is_none() {
            self.stats.no_certificate.inc();
        }
        if let Some(kind) = facts.tolerated {
            self.count_failure(kind);
        }
        self.record_ocsp(facts.ocsp);
        self.ciphers.inc(facts.cipher_name());
        self.versions.inc(facts.version.name());
        if let Some(group) = facts.group_name() {
            self.curves.inc(group);
        }
        if let Some(scheme) = facts.peer_signature_scheme_name() {
            self.signature_algorithms.inc(scheme);
        }
    }

    /// Counts a session that failed.
    pub fn record_failure(&self, error: &TlsError) {
        self.count_failure(error.failure_kind());
    }

    fn count_failure(&self, kind: FailureKind) {
        match kind {
            FailureKind::NoCertificate => self.stats.fail_verify_no_cert.inc(),
            FailureKind::Chain => self.stats.fail_verify_error.inc(),
            FailureKind::SubjectAltName => self.stats.fail_verify_san.inc(),
            FailureKind::Hash => self.stats.fail_verify_cert_hash.inc(),
            FailureKind::Connection => self.stats.connection_error.inc(),
        }
    }

    /// Counts what became of a client's wish for an OCSP response, if it had one; [`TlsStatsSet::record_handshake`] does so
    /// itself.
    pub fn record_ocsp(&self, outcome: Option<OcspOutcome>) {
        let Some(outcome) = outcome else { return };
        self.stats.ocsp_staple_requests.inc();
        match outcome {
            OcspOutcome::Stapled => self.stats.ocsp_staple_responses.inc(),
            OcspOutcome::Omitted => self.stats.ocsp_staple_omitted.inc(),
            OcspOutcome::Failed => self.stats.ocsp_staple_failed.inc(),
        }
    }
}

/// Shows when a certificate expires, in seconds since the Unix epoch: `<prefix>certificate.<name>.expiration_unix_time_seconds`.
/// To be called by the control thread.
pub fn set_certificate_expiry(source: &impl StatSource, prefix: &str, name: &str, expires_at: u64) {
    source.gauge(&format!("{prefix}certificate.{name}.expiration_unix_time_seconds")).set(expires_at);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Registry;
    use crate::tls::testing::{self, Ca, Pair};

    /// The names that Envoy 1.40 listed after two handshakes.
    #[test]
    fn a_handshake_counts_what_was_negotiated() {
        let registry = Registry::new();
        let set = TlsStatsSet::register(&registry, "listener.a.ssl.");
        let ca = Ca::new("ca");
        let server = testing::server_context(testing::server_options(&ca));
        let mut options = testing::client_options();
        options.max_session_keys = 1;
        let client = testing::client_context(options);
        for _ in 0..2 {
            let pair = Pair::new(&client, &server).open();
            set.record_handshake(pair.server.facts().expect("open"));
        }
        let listed: Vec<(String, u64)> = registry
            .snapshot(|_| true)
            .counters
            .iter()
            .filter(|counter| counter.used)
            .map(|counter| (counter.name.trim_start_matches("listener.a.ssl.").to_owned(), counter.value))
            .collect();
        let expected = [
            ("ciphers.TLS_AES_128_GCM_SHA256", 2),
            ("curves.X25519MLKEM768", 2),
            ("handshake", 2),
            ("no_certificate", 2),
            ("ocsp_staple_omitted", 2),
            ("ocsp_staple_requests", 2),
            ("session_reused", 1),
            ("versions.TLSv1.3", 2),
        ];
        assert_eq!(listed, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn failures_are_counted_by_reason() {
        let registry = Registry::new();
        let set = TlsStatsSet::register(&registry, "cluster.c.ssl.");
        testing::one_error_of_each_kind().iter().for_each(|error| set.record_failure(error));
        for name in [
            "fail_verify_no_cert",
            "fail_verify_error",
            "fail_verify_san",
            "fail_verify_cert_hash",
            "connection_error",
        ] {
            assert_eq!(registry.counter_value(&format!("cluster.c.ssl.{name}")), Some(1), "{name}");
        }
    }

    #[test]
    fn expiry_is_a_gauge() {
        let registry = Registry::new();
        set_certificate_expiry(&registry, "listener.a.ssl.", "unnamed_cert_e3b0c442", 2_111_005_763);
        let name = "listener.a.ssl.certificate.unnamed_cert_e3b0c442.expiration_unix_time_seconds";
        assert_eq!(registry.gauge_value(name), Some(2_111_005_763));
    }
}
