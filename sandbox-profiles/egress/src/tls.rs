//! TLS to the host of a secret: rustls on graviola, so no C and nothing of the machine's libraries.
//!
//! Roots: Mozilla's list as compiled in, and the owner's own authorities, for the one host that the owner named. Or none:
//! the one certificate whose fingerprint the owner pinned.
//!
//! Invariant: under a pin each connection is a full handshake, in which the host shows exactly that certificate and signs
//! with its key. No ticket of an earlier connection stands for it.
//!
//! Must not know: what is sent.

use crate::proxy::{Body, OURS, refusal};
use graviola::util::is_cpu_supported;
use hyper::{Response, StatusCode, header::HeaderValue};
use plexus_ipc::egress::{Digest, Proof};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore,
    SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime, pem::PemObject as _},
};
use std::{io, sync::Arc};
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

/// A connector to a host with this proof.
pub(crate) fn connector(proof: &Proof) -> Result<TlsConnector, TlsError> {
    // Asked first: graviola would panic in the middle of a handshake.
    if !is_cpu_supported() {
        return Err(TlsError::Processor);
    }
    let provider = Arc::new(rustls_graviola::default_provider());
    let mut config = match proof {
        Proof::Name(authorities) => ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(authorities)?)
            .with_no_client_auth(),
        Proof::Certificate(pinned) => pinning(provider, *pinned)?,
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Mozilla's roots and those in `authorities`, which is PEM and may be empty.
fn roots(authorities: &[u8]) -> Result<RootCertStore, TlsError> {
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
    Ok(roots)
}

fn pinning(
    provider: Arc<CryptoProvider>,
    pinned: Option<Digest>,
) -> Result<ClientConfig, TlsError> {
    let verifier = Pin {
        pinned,
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Accepts the one certificate with this fingerprint.
#[derive(Debug)]
struct Pin {
    pinned: Option<Digest>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let met = Digest::of(certificate);
        if self.pinned == Some(met) {
            return Ok(ServerCertVerified::assertion());
        }
        let unpinned = Unpinned {
            met,
            pinned: self.pinned,
        };
        let why = CertificateError::Other(OtherError(Arc::new(unpinned)));
        Err(rustls::Error::InvalidCertificate(why))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// The host showed another certificate than the pinned one. Whether it holds the key of that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host showed a certificate that is not pinned")]
pub(crate) struct Unpinned {
    met: Digest,
    pinned: Option<Digest>,
}

impl Unpinned {
    /// Why a handshake failed, where it is this.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref()? {
            rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => {
                why.downcast_ref().copied()
            }
            _ => None,
        }
    }

    /// The answer to a worker: the fingerprint met, and the pinned one behind a blank.
    pub(crate) fn answer(self) -> Response<Body> {
        let pinned = self.pinned.map(|pinned| format!(" {pinned}"));
        let fingerprints = format!("{}{}", self.met, pinned.unwrap_or_default());
        let mut answer = refusal(StatusCode::BAD_GATEWAY, fingerprints);
        let ours = HeaderValue::from_static("certificate");
        answer.headers_mut().insert(OURS, ours);
        answer
    }
}

/// What the host has to prove: its name, or its address.
pub(crate) fn name(host: &str) -> Result<ServerName<'static>, TlsError> {
    Ok(ServerName::try_from(host.to_owned())?)
}

#[cfg(test)]
mod tests;
