//! Where a relay is, and how a byte stream to it comes about.
//!
//! [`Dial`] is the seam: a program in a sandbox reaches the relay through its own way out. [`Direct`] is a plain connection,
//! with TLS (rustls on graviola, Mozilla's roots) where the address says `https`.
//!
//! Invariant: `http` goes to this machine only.

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{CertificateError, ClientConfig, InvalidMessage, RootCertStore};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::{fmt, io};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Why a certificate is not believed: the owner may name its authority.
pub const UNKNOWN_AUTHORITY: &str = "no authority that is known here signed its certificate";

/// A relay's address: `https://host[:port]`, or `http` to this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    tls: bool,
    host: String,
    port: u16,
}

/// Why an address is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Not a scheme and a host.
    #[error(
        "a relay's address is https://HOST[:PORT], or http:// on this machine, without path, user and query"
    )]
    Form,
    /// Unencrypted beyond this machine.
    #[error("http is for a relay on this machine; elsewhere the address is https")]
    Plain,
}

impl Endpoint {
    /// Reads an address.
    ///
    /// # Errors
    /// For other schemes, for `http` beyond this machine, and for more than host and port.
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let (scheme, rest) = text.split_once("://").ok_or(EndpointError::Form)?;
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(EndpointError::Form),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| EndpointError::Form)?)
            }
            _ => (authority, if tls { 443 } else { 80 }),
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_address = bare.parse::<IpAddr>().is_ok();
        let is_name = !bare.is_empty()
            && bare
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
        if !(is_address || is_name && host == bare) {
            return Err(EndpointError::Form);
        }
        let here = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        if !tls && !here {
            return Err(EndpointError::Plain);
        }
        let host = bare.to_ascii_lowercase();
        Ok(Self { tls, host, port })
    }

    /// What goes into `Host`.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Whether bytes to it are encrypted.
    #[must_use]
    pub const fn tls(&self) -> bool {
        self.tls
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

/// A stream of bytes to a relay.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// A connection that is being made.
pub type Dialing<'a> = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send + 'a>>;

/// How a stream to a relay comes about.
pub trait Dial: Send + Sync {
    /// Connects, TLS included.
    fn dial<'a>(&'a self, to: &'a Endpoint) -> Dialing<'a>;
}

/// A connection of this process.
#[derive(Default)]
pub struct Direct {
    authorities: Vec<CertificateDer<'static>>,
}

impl Direct {
    /// One that also trusts the certificate authorities in a PEM text.
    ///
    /// # Errors
    /// Where the text holds no certificate.
    pub fn trusting(pem: &[u8]) -> io::Result<Self> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let authorities = read.map_err(io::Error::other)?;
        if authorities.is_empty() {
            return Err(io::Error::other("the file holds no certificate"));
        }
        Ok(Self { authorities })
    }

    /// TLS over a stream that leads to the relay, where the address says `https`; else the stream as it is.
    ///
    /// # Errors
    /// Where the relay does not prove its name.
    pub async fn secure<S: Stream + 'static>(
        &self,
        stream: S,
        to: &Endpoint,
    ) -> io::Result<Box<dyn Stream>> {
        if !to.tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(to.host.clone()).map_err(io::Error::other)?;
        let secured = self.connector()?.connect(name, stream).await;
        Ok(Box::new(secured.map_err(in_plain_words)?))
    }

    fn connector(&self) -> io::Result<TlsConnector> {
        if !graviola::util::is_cpu_supported() {
            return Err(io::Error::other(
                "this processor lacks instructions that the cryptography of TLS needs",
            ));
        }
        let mut roots = RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        for authority in &self.authorities {
            roots.add(authority.clone()).map_err(io::Error::other)?;
        }
        let provider = Arc::new(rustls_graviola::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

impl Dial for Direct {
    fn dial<'a>(&'a self, to: &'a Endpoint) -> Dialing<'a> {
        Box::pin(async move {
            let stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
            stream.set_nodelay(true)?;
            self.secure(stream, to).await
        })
    }
}

/// Why TLS did not come about, in words for somebody who runs a relay.
fn in_plain_words(error: io::Error) -> io::Error {
    let why = error.get_ref().and_then(|why| why.downcast_ref());
    let words = match why {
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "it does not speak TLS: the address of a relay without a certificate begins with http://"
        }
        Some(rustls::Error::InvalidCertificate(why)) => match why {
            CertificateError::UnknownIssuer => UNKNOWN_AUTHORITY,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another name or address"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired"
            }
            // The word of the library that checks, which has no type here.
            other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                "its certificate is that of an authority: let the authority sign one for the relay"
            }
            _ => return error,
        },
        _ => return error,
    };
    io::Error::new(error.kind(), words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::OtherError;

    /// As the library that checks certificates says it.
    #[derive(Debug, thiserror::Error)]
    #[error("of that library")]
    struct CaUsedAsEndEntity;

    #[test]
    fn failures_of_tls_are_in_plain_words() {
        let other = CertificateError::Other(OtherError(Arc::new(CaUsedAsEndEntity)));
        for (error, words) in [
            (
                InvalidMessage::InvalidContentType.into(),
                "begins with http://",
            ),
            (other.into(), "that of an authority"),
            (CertificateError::UnknownIssuer.into(), "no authority"),
            (CertificateError::Expired.into(), "has expired"),
            (CertificateError::NotValidForName.into(), "another name"),
            (CertificateError::BadSignature.into(), "BadSignature"),
        ] {
            let error: rustls::Error = error;
            let shown = in_plain_words(io::Error::other(error)).to_string();
            assert!(shown.contains(words), "{shown}");
        }
    }

    #[test]
    fn addresses_are_read_and_plain_ones_stay_here() {
        for (text, shown) in [
            ("https://Relay.example", "https://relay.example:443"),
            ("https://relay.example:8443/", "https://relay.example:8443"),
            ("http://127.0.0.1:9", "http://127.0.0.1:9"),
            ("http://localhost:9", "http://localhost:9"),
            ("http://[::1]:9", "http://[::1]:9"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]:443"),
        ] {
            assert_eq!(Endpoint::parse(text).expect(text).to_string(), shown);
        }
        for text in [
            "http://relay.example",
            "http://10.0.0.1",
            "http://127.0.0.1.example",
            "http://[2001:db8::1]:1",
        ] {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::Plain), "{text}");
        }
        for text in [
            "",
            "relay",
            "ftp://relay",
            "https://",
            "https://u@relay",
            "https://relay/path",
            "https://relay?x",
            "https://relay:99999",
            "https://re lay",
            "https://[relay]",
        ] {
            assert_eq!(Endpoint::parse(text), Err(EndpointError::Form), "{text}");
        }
    }
}
