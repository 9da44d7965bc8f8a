//! Handshakes with a server that shows what it likes, on a pair of streams.

use super::*;
use rustls::{
    ServerConfig,
    pki_types::PrivateKeyDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::path::{Path, PathBuf};
use tokio_rustls::TlsAcceptor;

fn file(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixture/tls");
    tests.join(name)
}

fn certificate(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file(name)).unwrap()
}

/// Shows a chain and signs with a key, whether they belong together or not.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn server(chain: &[&str], key: &str) -> TlsAcceptor {
    let provider = Arc::new(rustls_graviola::default_provider());
    let key = PrivateKeyDer::from_pem_file(file(key)).unwrap();
    let key = provider.key_provider.load_private_key(key).unwrap();
    let chain = chain.iter().map(|name| certificate(name)).collect();
    let shows = Shows(Arc::new(CertifiedKey::new(chain, key)));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shows));
    TlsAcceptor::from(Arc::new(config))
}

/// What comes of a handshake with that server.
async fn met(proof: &Proof, host: &str, chain: &[&str], key: &str) -> Result<(), io::Error> {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let server = server(chain, key);
    tokio::spawn(async move { server.accept(far).await.map(drop) });
    let connector = connector(proof, &[]).unwrap();
    connector.connect(name(host).unwrap(), near).await.map(drop)
}

fn pin(name: &str) -> Proof {
    Proof::Certificate(Some(Digest::of(&certificate(name))))
}

#[tokio::test]
async fn pinned_certificate_passes_whatever_its_name_and_chain() {
    for (pinned, chain, key) in [
        ("app.pem", &["app.pem"][..], "app.key"),
        ("app-again.pem", &["app-again.pem"], "app.key"),
        ("server.pem", &["server.pem", "ca.pem"], "server.key"),
    ] {
        for host in ["127.0.0.1", "elsewhere.example"] {
            let met = met(&pin(pinned), host, chain, key).await;
            assert!(met.is_ok(), "{pinned} {host}: {met:?}");
        }
    }
}

#[tokio::test]
async fn another_certificate_is_refused_with_both_fingerprints() {
    let of = |name| Digest::of(&certificate(name));
    #[rustfmt::skip]
    let rows = [
        ("another one", "app.pem", &["other.pem"][..], "other.key"),
        ("the same key", "app.pem", &["app-again.pem"], "app.key"),
        ("a chain", "app.pem", &["server.pem", "ca.pem"], "server.key"),
        ("its authority", "ca.pem", &["server.pem", "ca.pem"], "server.key"),
        ("the pinned one behind", "app.pem", &["other.pem", "app.pem"], "other.key"),
    ];
    for (what, pinned, chain, key) in rows {
        let refused = met(&pin(pinned), "127.0.0.1", chain, key).await;
        let refused = Unpinned::of(&refused.unwrap_err());
        let expected = Unpinned {
            met: of(chain[0]),
            pinned: Some(of(pinned)),
        };
        assert_eq!(refused, Some(expected), "{what}");
    }
}

#[tokio::test]
async fn missing_pin_refuses_and_names_what_was_met() {
    let nothing = Proof::Certificate(None);
    let refused = met(&nothing, "127.0.0.1", &["app.pem"], "app.key").await;
    let refused = Unpinned::of(&refused.unwrap_err()).unwrap();
    let met = Digest::of(&certificate("app.pem"));
    assert_eq!(refused, Unpinned { met, pinned: None });
    let answer = refused.answer();
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert_eq!(answer.headers()["x-plexus-egress"], "certificate");
}

#[tokio::test]
async fn pinned_certificate_without_its_key_is_refused() {
    let shown = met(&pin("app.pem"), "127.0.0.1", &["app.pem"], "other.key").await;
    let refused = shown.unwrap_err();
    assert_eq!(Unpinned::of(&refused), None, "{refused}");
    assert!(refused.to_string().contains("BadSignature"), "{refused}");
}

#[tokio::test]
async fn name_is_proven_where_nothing_is_pinned() {
    let authority = std::fs::read(file("ca.pem")).unwrap();
    let by_name = Proof::Name(authority.into());
    let chain = &["server.pem"][..];
    let met_as = |host| met(&by_name, host, chain, "server.key");
    assert!(met_as("localhost").await.is_ok());
    let elsewhere = met_as("elsewhere.example").await.unwrap_err().to_string();
    assert!(elsewhere.contains("not valid for name"), "{elsewhere}");
    let unknown = met(&by_name, "127.0.0.1", &["app.pem"], "app.key").await;
    let unknown = unknown.unwrap_err().to_string();
    // It is its own authority, and no host's.
    let is_known = ["CaUsedAsEndEntity", "UnknownIssuer"].map(|why| unknown.contains(why));
    assert!(is_known.contains(&true), "{unknown}");
}

/// As `openssl req -x509` makes it: the host's own certificate, which is its own authority.
#[tokio::test]
async fn a_host_that_signs_itself_is_taken_as_exactly_the_owners_file() {
    let given = |name: &str| Proof::Name(std::fs::read(file(name)).unwrap().into());
    let (own, chain) = (given("app.pem"), &["app.pem"][..]);
    assert!(met(&own, "127.0.0.1", chain, "app.key").await.is_ok());
    #[rustfmt::skip]
    let rows = [
        ("another name", &own, "elsewhere.example", chain, "app.key", "not valid for name"),
        ("without its key", &own, "127.0.0.1", chain, "other.key", "BadSignature"),
        ("the same key again", &own, "127.0.0.1", &["app-again.pem"], "app.key", "invalid peer certificate"),
        ("behind another", &own, "127.0.0.1", &["other.pem", "app.pem"], "other.key", "invalid peer certificate"),
        ("not given", &given("ca.pem"), "127.0.0.1", chain, "app.key", "invalid peer certificate"),
    ];
    for (what, proof, host, chain, key, why) in rows {
        let refused = met(proof, host, chain, key).await.unwrap_err().to_string();
        assert!(refused.contains(why), "{what}: {refused}");
    }
}
