//! TLS to the host of a secret: rustls on graviola, so no C and nothing of the machine's libraries.
//!
//! Roots: Mozilla's list as compiled in, and the owner's own authorities, for the one host that the owner named.
//!
//! Must not know: what is sent.

use graviola::util::is_cpu_supported;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, pem::PemObject as _},
};
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error(
        "this processor lacks instructions that the cryptography needs (x86-64: AVX2, ADX, BMI2, AES, PCLMULQDQ; aarch64: AES, PMULL, SHA2)"
    )]
    Processor,
    #[error("the file of certificate authorities: {0}")]
    Authorities(String),
    #[error("the host's name: {0}")]
    Name(#[from] InvalidDnsNameError),
    #[error("the secret, its user or its header holds what no header may")]
    Secret,
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
}

/// A connector that trusts Mozilla's roots and those in `authorities`, which is PEM and may be empty.
pub(crate) fn connector(authorities: &[u8]) -> Result<TlsConnector, TlsError> {
    // Asked first: graviola would panic in the middle of a handshake.
    if !is_cpu_supported() {
        return Err(TlsError::Processor);
    }
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if !authorities.is_empty() {
        let before = roots.len();
        for authority in CertificateDer::pem_slice_iter(authorities) {
            let authority = authority.map_err(|why| TlsError::Authorities(why.to_string()))?;
            roots.add(authority)?;
        }
        if roots.len() == before {
            return Err(TlsError::Authorities("it holds no certificate".into()));
        }
    }
    let provider = Arc::new(rustls_graviola::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What the host has to prove: its name, or its address.
pub(crate) fn name(host: &str) -> Result<ServerName<'static>, TlsError> {
    Ok(ServerName::try_from(host.to_owned())?)
}
