//! TLS to the host of a secret: rustls on graviola, so no C and nothing of the machine's libraries.
//!
//! Roots: Mozilla's list as compiled in, and the owner's own authorities, for the host that the owner named and the server
//! where its sign-in is made. A host's own certificate may stand among those: many are made so that they are their own
//! authority, which no verifier takes for a host's (`openssl req -x509`); then it is taken as exactly that certificate, for
//! its name, whatever its dates. Or no roots: the one certificate whose fingerprint the owner pinned.
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
    CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, OtherError,
    RootCertStore, SignatureScheme,
    client::{
        Resumption, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName, UnixTime, pem::PemObject as _},
    server::{ParsedCertificate, VerifierBuilderError},
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
    NoSignIn(&'static str),
    #[error("{0}")]
    Rustls(#[from] rustls::Error),
    #[error("the authorities: {0}")]
    Verifier(#[from] VerifierBuilderError),
}

/// A connector to a host with this proof; `further` authorities are known beside Mozilla's, where it is a name.
pub(crate) fn connector(proof: &Proof, further: &[u8]) -> Result<TlsConnector, TlsError> {
    // Asked first: graviola would panic in the middle of a handshake.
    if !is_cpu_supported() {
        return Err(TlsError::Processor);
    }
    let provider = Arc::new(rustls_graviola::default_provider());
    let mut config = match proof {
        Proof::Name(authorities) => {
            let (by_roots, own) = named(&provider, authorities, further)?;
            verifying(provider, Accepted::Named { by_roots, own })?
        }
        Proof::Certificate(pinned) => {
            let mut config = verifying(provider, Accepted::Pinned(*pinned))?;
            config.resumption = Resumption::disabled();
            config
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// What proves a name: Mozilla's roots, those in `further` and those in `authorities`, which is PEM and may be empty; and the
/// latter themselves.
fn named(
    provider: &Arc<CryptoProvider>,
    authorities: &[u8],
    further: &[u8],
) -> Result<(Arc<WebPkiServerVerifier>, Vec<CertificateDer<'static>>), TlsError> {
    let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let read = |pem: &[u8]| {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        all.map_err(|why| TlsError::Authorities(why.to_string()))
    };
    let own = read(authorities)?;
    if own.is_empty() && !authorities.is_empty() {
        return Err(TlsError::Authorities("it holds no certificate".into()));
    }
    for authority in own.iter().cloned().chain(read(further)?) {
        roots.add(authority)?;
    }
    let by_roots =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    Ok((by_roots.build()?, own))
}

fn verifying(provider: Arc<CryptoProvider>, accepted: Accepted) -> Result<ClientConfig, TlsError> {
    let verifier = Verifier {
        accepted,
        algorithms: provider.signature_verification_algorithms,
    };
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// Which certificates are accepted. That the host holds the key of one is proven in each handshake alike.
#[derive(Debug)]
enum Accepted {
    /// What the roots lead to, and one that the owner gave itself; for its name.
    Named {
        by_roots: Arc<WebPkiServerVerifier>,
        own: Vec<CertificateDer<'static>>,
    },
    /// The one with this fingerprint.
    Pinned(Option<Digest>),
}

#[derive(Debug)]
struct Verifier {
    accepted: Accepted,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.accepted {
            Accepted::Named { own, .. } if own.contains(certificate) => {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            Accepted::Named { by_roots, .. } => {
                by_roots.verify_server_cert(certificate, chain, name, ocsp, now)
            }
            Accepted::Pinned(pinned) => {
                let met = Digest::of(certificate);
                if *pinned == Some(met) {
                    return Ok(ServerCertVerified::assertion());
                }
                let unpinned = Unpinned {
                    met,
                    pinned: *pinned,
                };
                let why = CertificateError::Other(OtherError(Arc::new(unpinned)));
                Err(rustls::Error::InvalidCertificate(why))
            }
        }
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

/// Whether a handshake failed because what the host answered is no TLS.
pub(crate) fn is_other_protocol(error: &io::Error) -> bool {
    let why = error.get_ref().and_then(|why| why.downcast_ref());
    matches!(
        why,
        Some(rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType
        ))
    )
}

/// What the host has to prove: its name, or its address.
pub(crate) fn name(host: &str) -> Result<ServerName<'static>, TlsError> {
    Ok(ServerName::try_from(host.to_owned())?)
}

#[cfg(test)]
mod tests;
