//! The running app: a server with TLS that answers as the plugin's OpenAPI has it, with a certificate of `tests/fixture/tls`.

#[path = "../../../workers/obsidian-rest/tests/plugin.rs"]
pub(crate) mod plugin;

use plexus_protocol::Digest;
use plugin::Stream;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::net::TcpStream;
use std::sync::Arc;

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(plexus_tests::tls(name)).expect("a certificate")
}

/// What the owner compares.
pub(crate) fn fingerprint(name: &str) -> String {
    Digest::of(&certificate(name)).to_string()
}

/// A server's side of TLS, with this chain.
pub(crate) fn tls(
    chain: &[&str],
    key: &str,
) -> impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static {
    let provider = Arc::new(rustls_graviola::default_provider());
    let key = PrivateKeyDer::from_pem_file(plexus_tests::tls(key)).expect("a key");
    let chain = chain.iter().map(|name| certificate(name)).collect();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a server");
    let config = Arc::new(config);
    move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).ok()?;
        Some(Box::new(Ends(StreamOwned::new(connection, stream))))
    }
}

/// Says at its end that it is one.
struct Ends(StreamOwned<ServerConnection, TcpStream>);

impl std::io::Read for Ends {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl std::io::Write for Ends {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.conn.send_close_notify();
        let _ = std::io::Write::flush(&mut self.0);
    }
}
