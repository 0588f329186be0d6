//! TLS: which certificates are trusted, and by which cryptography. Layer: above `error`.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::fault::ConfigFault;

/// TLS with the ring provider named here, so that no process-wide default is needed or changed,
/// and with the Mozilla root certificates and those of the PEM text.
pub(super) fn config(roots_pem: &[u8]) -> Result<ClientConfig, ConfigFault> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if !roots_pem.is_empty() {
        let known = roots.len();
        for certificate in CertificateDer::pem_slice_iter(roots_pem) {
            let certificate = certificate.map_err(|_| ConfigFault::Certificates)?;
            roots.add(certificate).map_err(|_| ConfigFault::Certificates)?;
        }
        if roots.len() == known {
            return Err(ConfigFault::Certificates);
        }
    }
    let provider = rustls::crypto::ring::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|_| ConfigFault::HttpClient)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
