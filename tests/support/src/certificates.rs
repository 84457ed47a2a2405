//! Certificates for tests, made on the spot: authorities and what they issue, as PEM. All are for P-256 keys and valid
//! from 2020 to 2100 unless they say otherwise.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, IsCa,
    Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    params: CertificateParams,
    key: KeyPair,
    pem: String,
}

/// A certificate chain and the key of its first certificate, as PEM.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The chain.
    pub chain: String,
    /// The private key, PKCS #8.
    pub key: String,
}

/// What a certificate says.
#[derive(Debug, Clone)]
pub struct Leaf {
    params: CertificateParams,
}

impl Authority {
    /// One that signed itself.
    ///
    /// # Panics
    /// When there are no random numbers.
    pub fn new(name: &str) -> Authority {
        Authority::with(name, |_| {})
    }

    /// One whose own certificate is not valid any more.
    pub fn expired(name: &str) -> Authority {
        Authority::with(name, |params| params.not_after = rcgen::date_time_ymd(2021, 1, 1))
    }

    fn with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Authority {
        let key = KeyPair::generate().expect("a key");
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        change(&mut params);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Authority { params, key, pem }
    }

    /// Its own certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues a certificate for these DNS names; the first is the subject's common name.
    pub fn issue(&self, names: &[&str]) -> Certificate {
        self.issue_leaf(&Leaf::new(names))
    }

    /// Issues a certificate that says this.
    ///
    /// # Panics
    /// When there are no random numbers.
    pub fn issue_leaf(&self, leaf: &Leaf) -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let issuer = Issuer::from_params(&self.params, &self.key);
        let chain = leaf.params.signed_by(&key, &issuer).expect("a certificate").pem();
        Certificate { chain, key: key.serialize_pem() }
    }
}

impl Authority {
    /// A list that revokes these certificates of the authority, as PEM; valid as long as everything here.
    ///
    /// # Panics
    /// When a test has damaged one of them.
    pub fn revoke(&self, revoked: &[&Certificate]) -> String {
        let this_update = rcgen::date_time_ymd(2020, 1, 1);
        let revoke = |certificate: &&Certificate| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&certificate.serial()),
            revocation_time: this_update,
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update,
            next_update: rcgen::date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(revoke).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&Issuer::from_params(&self.params, &self.key)).expect("a list");
        list.pem().expect("a text")
    }
}

impl Leaf {
    /// For these DNS names; the first is the subject's common name.
    pub fn new(names: &[&str]) -> Leaf {
        Leaf { params: params(names, names.first().copied().unwrap_or("nameless")) }
    }

    /// Also for this URI.
    ///
    /// # Panics
    /// When it is not ASCII.
    pub fn uri(mut self, uri: &str) -> Leaf {
        self.params.subject_alt_names.push(SanType::URI(uri.try_into().expect("ASCII")));
        self
    }

    /// Valid until 2021.
    pub fn expired(mut self) -> Leaf {
        self.params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        self
    }
}

impl Certificate {
    /// The certificate as it stands in a handshake.
    ///
    /// # Panics
    /// When a test has damaged it.
    pub fn der(&self) -> Vec<u8> {
        CertificateDer::from_pem_slice(self.chain.as_bytes()).expect("a certificate").to_vec()
    }

    /// The serial number, which stands behind the version.
    fn serial(&self) -> Vec<u8> {
        const VERSION_3: &[u8] = &[0xa0, 3, 2, 1, 2, 2];
        let der = self.der();
        let at = der.windows(VERSION_3.len()).position(|bytes| bytes == VERSION_3).expect("a version");
        let rest = &der[at + VERSION_3.len()..];
        rest[1..=usize::from(rest[0])].to_vec()
    }

    /// Writes `<name>.pem` and `<name>.key` and gives their paths.
    ///
    /// # Panics
    /// When they cannot be written.
    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let chain = directory.join(format!("{name}.pem"));
        let key = directory.join(format!("{name}.key"));
        std::fs::write(&chain, &self.chain).expect("written");
        std::fs::write(&key, &self.key).expect("written");
        (chain, key)
    }

    /// As an item of `tls_certificates` with both in the text itself.
    pub fn inline(&self) -> String {
        format!(
            "{{certificate_chain: {{inline_string: {}}}, private_key: {{inline_string: {}}}}}",
            quoted(&self.chain),
            quoted(&self.key)
        )
    }
}

/// A text in quotes for YAML, in one line.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn params(names: &[&str], common_name: &str) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    params
}
