//! The hosts that a source reaches: one with TLS, which remembers what it was asked, and one that echoes.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

/// A file of `tests/fixture/tls`.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixture/tls")
        .join(name)
}

/// The authority that signed the server's certificate.
pub(crate) fn authority() -> PathBuf {
    file("ca.pem")
}

/// `https://localhost:<port>`: a path that ends in `moved` is answered with a redirect, any other with a cookie.
pub(crate) struct Https {
    pub(crate) port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Https {
    pub(crate) fn start() -> Self {
        let provider = Arc::new(rustls_graviola::default_provider());
        let certificate = CertificateDer::from_pem_file(file("server.pem")).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("a key");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .expect("a server");
        let (config, heads) = (Arc::new(config), Arc::<Mutex<Vec<String>>>::default());
        let remembered = Arc::clone(&heads);
        let port = listen(move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).expect("a connection");
            let mut stream = BufReader::new(StreamOwned::new(connection, stream));
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_until(b'\n', &mut head)? > 0 {}
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            remembered.lock().expect("the list").push(head);
            let (status, more) = if path.ends_with("moved") {
                ("302 Found", "location: https://localhost/dav/elsewhere\r\n")
            } else {
                (
                    "200 OK",
                    "set-cookie: crumb=1\r\nx-plexus-egress: refused\r\n",
                )
            };
            let body = format!("this is {path}");
            let answer = format!(
                "HTTP/1.1 {status}\r\n{more}content-length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.get_mut().write_all(answer.as_bytes())?;
            stream.get_mut().conn.send_close_notify();
            stream.get_mut().flush()
        });
        Self { port, heads }
    }

    /// The heads of all requests so far, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        let heads = self.heads.lock().expect("the list");
        heads.iter().map(|head| head.to_lowercase()).collect()
    }
}

/// A server without TLS, which tells `heard` the head of each request.
pub(crate) fn plain(heard: impl Fn(String) + Send + Sync + 'static) -> u16 {
    listen(move |stream| {
        let mut stream = BufReader::new(stream);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") && stream.read_until(b'\n', &mut head)? > 0 {}
        heard(String::from_utf8_lossy(&head).into_owned());
        let answer =
            b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\nconnection: close\r\n\r\nin the clear";
        stream.get_mut().write_all(answer)
    })
}

/// Says back what it hears, until that ends.
pub(crate) fn echo() -> u16 {
    listen(|mut stream| {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        stream.write_all(&heard)
    })
}

fn listen(serve: impl Fn(TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that breaks off is not this host's failure.
            let _ = serve(stream);
        }
    });
    port
}
