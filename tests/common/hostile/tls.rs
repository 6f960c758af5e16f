//! Certificates made on the spot, good ones and bad ones, and the server's side of TLS with them.

use std::io::Write;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::NamedTempFile;

/// A certificate authority that is trusted only where a test names it.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("keys can be made");
        // Of two authorities with one name, a client would try the wrong one's key.
        let name = format!("Authority {:?}", &key.public_key_raw()[..8]);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params
            .self_signed(&key)
            .expect("the parameters are sound")
            .pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// Its certificate in a file, as `--ca-cert` takes it.
    pub fn file(&self) -> NamedTempFile {
        let mut file = NamedTempFile::new().expect("there is room for a temporary file");
        file.write_all(self.pem.as_bytes())
            .expect("a temporary file can be written");
        file
    }

    /// A server with a good certificate for these names or addresses.
    pub fn server(&self, names: &[&str]) -> ServerConfig {
        self.certified(&Self::params(names))
    }

    /// The same for a server that speaks HTTP/2 only.
    pub fn http2_server(&self, names: &[&str]) -> ServerConfig {
        let mut server = self.server(names);
        server.alpn_protocols = vec![b"h2".to_vec()];
        server
    }

    /// A server whose certificate ended in 2001.
    pub fn expired_server(&self, names: &[&str]) -> ServerConfig {
        let mut params = Self::params(names);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(2001, 1, 1);
        self.certified(&params)
    }

    /// A server with a self-signed certificate for these names, marked as an authority's or not and
    /// valid until this year, and the certificate in a file.
    pub fn self_signed(names: &[&str], is_ca: bool, until: i32) -> (ServerConfig, NamedTempFile) {
        let mut params = Self::params(names);
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = params.self_signed(&key).expect("the parameters are sound");
        let mut file = NamedTempFile::new().expect("there is room for a temporary file");
        file.write_all(certificate.pem().as_bytes())
            .expect("a temporary file can be written");
        (config(&certificate, &key), file)
    }

    /// A server with a certificate of an authority that nobody knows, and that server's certificate
    /// in a file.
    pub fn issued(names: &[&str]) -> (ServerConfig, NamedTempFile) {
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = Self::params(names)
            .signed_by(&key, &Self::new().issuer)
            .expect("the parameters are sound");
        let mut file = NamedTempFile::new().expect("there is room for a temporary file");
        file.write_all(certificate.pem().as_bytes())
            .expect("a temporary file can be written");
        (config(&certificate, &key), file)
    }

    fn params(names: &[&str]) -> CertificateParams {
        CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>())
            .expect("the names are sound")
    }

    fn certified(&self, params: &CertificateParams) -> ServerConfig {
        let key = KeyPair::generate().expect("keys can be made");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("the parameters are sound");
        config(&certificate, &key)
    }
}

fn config(certificate: &Certificate, key: &KeyPair) -> ServerConfig {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has the default versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("key and certificate belong together")
}
