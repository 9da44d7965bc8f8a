//! [`Address`]: where the NATS servers are, and how a relay shows them who it is.
//!
//! Invariants: a password or token comes from a file that only this user reads; beyond this machine it travels by TLS.

use super::{PATIENCE, StoreError, failed};
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Notify;

/// The servers of a store.
#[derive(Clone, Debug)]
pub struct Address {
    servers: Vec<ServerAddr>,
    tls: bool,
    /// A file with `USER:PASSWORD`, or with a token.
    pub credentials: Option<PathBuf>,
    /// A PEM file of the certificates that sign the servers'.
    pub authority: Option<PathBuf>,
}

impl Address {
    /// Reads `nats://HOST:PORT[,HOST:PORT…]` for servers on this machine, or `tls://…`.
    ///
    /// # Errors
    /// Where it is neither, or `nats` names another machine.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, hosts) = text.split_once("://").ok_or("a store of NATS is a URL")?;
        let tls = match scheme {
            "nats" => false,
            "tls" => true,
            _ => return Err("a store of NATS begins with nats:// or tls://".to_owned()),
        };
        let mut servers = Vec::new();
        for host in hosts.split(',') {
            let server: Result<ServerAddr, _> = format!("{scheme}://{host}").parse();
            let server = server.map_err(|why| format!("{host:?}: {why}"))?;
            if host.is_empty() || server.has_user_pass() {
                let why = "a server is HOST:PORT; its credentials are in --nats-credentials";
                return Err(why.to_owned());
            }
            let name = server.host();
            let is_here = name == "localhost"
                || name
                    .parse()
                    .is_ok_and(|address: IpAddr| address.is_loopback());
            if !tls && !is_here {
                return Err(format!("{name} is another machine: use tls://"));
            }
            servers.push(server);
        }
        Ok(Self {
            servers,
            tls,
            credentials: None,
            authority: None,
        })
    }

    /// Connects; `reconnected` is notified at every later connection.
    pub(super) async fn connect(&self, reconnected: Arc<Notify>) -> Result<Client, StoreError> {
        let mut options = ConnectOptions::new()
            .name("plexus-relay")
            // Only the servers that were named get the credentials.
            .ignore_discovered_servers()
            .connection_timeout(PATIENCE)
            .request_timeout(Some(PATIENCE))
            .event_callback(move |event| {
                match &event {
                    Event::Connected => reconnected.notify_one(),
                    other => {
                        tracing::warn!(name: "store.connection", event = %other, "the connection to NATS");
                    }
                }
                std::future::ready(())
            });
        if let Some(file) = &self.credentials {
            let secret = secret(file)?;
            options = match secret.split_once(':') {
                Some((user, password)) => {
                    options.user_and_password(user.to_owned(), password.to_owned())
                }
                None => options.token(secret),
            };
        }
        if self.tls {
            options = options.require_tls(true).tls_client_config(self.client()?);
        }
        let connected = options.connect(self.servers.as_slice()).await;
        connected.map_err(|why| failed(format!("no NATS server takes the connection: {why}")))
    }

    fn client(&self) -> Result<ClientConfig, StoreError> {
        if !graviola::util::is_cpu_supported() {
            let why = "this processor lacks instructions that the cryptography of TLS needs";
            return Err(failed(why));
        }
        let file = self.authority.as_deref();
        let file = file.ok_or_else(|| failed("tls:// needs --nats-ca, a PEM file"))?;
        let in_file = |why: &dyn std::fmt::Display| failed(format!("{}: {why}", file.display()));
        let pem = std::fs::read(file).map_err(|why| in_file(&why))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|why| in_file(&why))?;
            roots.add(certificate).map_err(|why| in_file(&why))?;
        }
        let provider = Arc::new(rustls_graviola::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(config)
    }
}

/// The first line of a file that only its owner may read.
fn secret(file: &Path) -> Result<String, StoreError> {
    let in_file = |why: &dyn std::fmt::Display| failed(format!("{}: {why}", file.display()));
    let facts = std::fs::metadata(file).map_err(|why| in_file(&why))?;
    if facts.permissions().mode() & 0o077 != 0 {
        return Err(in_file(&"others may read it; type: chmod 600 on it"));
    }
    let text = std::fs::read_to_string(file).map_err(|why| in_file(&why))?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() {
        return Err(in_file(&"it holds neither USER:PASSWORD nor a token"));
    }
    Ok(line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_beyond_this_machine_needs_tls() {
        for good in [
            "nats://127.0.0.1:4222",
            "nats://localhost:1,[::1]:2",
            "tls://nats.example:4222,10.0.0.1:4222",
        ] {
            let servers = Address::parse(good).expect(good).servers;
            assert_eq!(servers.len(), good.split(',').count());
        }
        for (bad, words) in [
            (
                "nats://nats.example:4222",
                "nats.example is another machine",
            ),
            ("nats://127.0.0.1:4222,10.0.0.1:4222", "10.0.0.1 is another"),
            ("nats://ann:secret@127.0.0.1:4222", "a server is HOST:PORT"),
            ("nats://", "a server is HOST:PORT"),
            ("http://127.0.0.1", "begins with nats:// or tls://"),
            ("127.0.0.1:4222", "is a URL"),
        ] {
            let why = Address::parse(bad).expect_err(bad);
            assert!(why.contains(words), "{bad}: {why}");
        }
    }

    #[test]
    fn credentials_that_others_may_read_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("credentials");
        std::fs::write(&file, "ann:secret\n").expect("written");
        let mode = |mode| {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(&file, permissions).expect("set");
        };
        mode(0o640);
        let refused = secret(&file).expect_err("others may read it").to_string();
        assert!(refused.contains("others may read it"), "{refused}");
        mode(0o600);
        assert_eq!(secret(&file).expect("read"), "ann:secret");
    }
}
