//! Decides which servers are trusted if `--ca-cert` is given.
//!
//! Trusted are servers that the system trusts, servers whose certificate was issued by an authority
//! in the file, and servers whose own certificate is in the file (a pinned certificate).
//!
//! Pinning is needed for self-signed server certificates. Many of them are marked as certificate
//! authorities, and the usual verifiers refuse such a certificate for a server. A pinned
//! certificate must be identical to the one in the file, byte for byte. Its dates and host names
//! are checked as usual.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
};
use rustls_platform_verifier::Verifier;

use super::transport_error::is_authority_as_server;

/// Returns the TLS configuration of a client that trusts these certificates in addition to the
/// system's.
///
/// # Errors
///
/// A certificate that can't be parsed, or system certificates that can't be loaded.
pub(super) fn tls_config(given: Vec<CertificateDer<'static>>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let system = Verifier::new_with_extra_roots(given.clone(), Arc::clone(&provider))?;
    let verifier = Arc::new(PinningVerifier { system, given });
    // This call is the only way to set a verifier of our own, which accepts what the system's
    // verifier accepts and certificates that the user has given.
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// A verifier that accepts what the system's verifier accepts, and servers with a certificate of
/// `--ca-cert`.
#[derive(Debug)]
struct PinningVerifier {
    system: Verifier,
    given: Vec<CertificateDer<'static>>,
}

impl PinningVerifier {
    /// Checks whether a certificate is one of `--ca-cert`.
    fn is_given(&self, certificate: &CertificateDer<'_>) -> bool {
        self.given
            .iter()
            .any(|given| given.as_ref() == certificate.as_ref())
    }
}

impl ServerCertVerifier for PinningVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let result = self.system.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match result {
            Err(TlsError::InvalidCertificate(error))
                if self.is_given(end_entity) && lacks_only_an_issuer(&error) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.system
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.system
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.system.supported_verify_schemes()
    }
}

/// Checks whether a certificate was refused only because no trusted authority has issued it.
///
/// The system's verifier checks the dates before the issuer, and the names after it.
fn lacks_only_an_issuer(error: &CertificateError) -> bool {
    *error == CertificateError::UnknownIssuer || is_authority_as_server(error)
}
