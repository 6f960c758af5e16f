//! Decides which servers are trusted when `--ca-cert` is given: those that the system trusts, those whose certificate
//! was issued by an authority in the file, and a server whose own certificate is in the file (a pinned certificate).
//!
//! Pinning is needed for self-signed server certificates: many are marked as certificate authorities, and the usual
//! verifiers refuse such a certificate for a server. A pinned certificate must be byte for byte the one in the file; its
//! dates and its host names are checked as for any other.

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

use super::silence::is_authority_as_server;

/// Returns the TLS settings of a client that trusts these certificates besides the system's.
///
/// # Errors
///
/// One of the certificates can't be read, or the system's can't be loaded.
pub(super) fn tls_config(given: Vec<CertificateDer<'static>>) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let system = Verifier::new_with_extra_roots(given.clone(), Arc::clone(&provider))?;
    let verifier = Arc::new(PinningVerifier { system, given });
    // A verifier of our own can only be set through this call. It is stricter than none: it accepts what the system's
    // verifier accepts, and in addition only a certificate that the user has given.
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The system's verifier, which in addition accepts the certificates of `--ca-cert` from the server itself.
#[derive(Debug)]
struct PinningVerifier {
    system: Verifier,
    given: Vec<CertificateDer<'static>>,
}

impl PinningVerifier {
    /// Checks whether a certificate is one of those that were given.
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

/// Checks whether the only objection is that no trusted authority has issued the certificate. Its dates have been
/// checked before that, its names have not.
fn lacks_only_an_issuer(error: &CertificateError) -> bool {
    *error == CertificateError::UnknownIssuer || is_authority_as_server(error)
}
