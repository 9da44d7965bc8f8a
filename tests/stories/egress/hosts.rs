//! The hosts that a source reaches: one with TLS, which remembers what it was asked, and one that echoes.

use plexus_tests::tls;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The authority that signed the server's certificate.
pub(crate) fn authority() -> PathBuf {
    tls("ca.pem")
}

/// One that signed nothing but itself.
pub(crate) fn other_authority() -> PathBuf {
    tls("app.pem")
}

/// `https://localhost:<port>`: a path that ends in `moved` is answered with a redirect, any other with a cookie.
pub(crate) struct Https {
    pub(crate) port: u16,
    heads: Arc<Mutex<Vec<String>>>,
}

/// TLS with the certificate and the key of this name.
fn shows(name: &str) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls_graviola::default_provider());
    let certificate = CertificateDer::from_pem_file(tls(&format!("{name}.pem")));
    let key = PrivateKeyDer::from_pem_file(tls(&format!("{name}.key")));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.expect("a certificate")],
            key.expect("a key"),
        );
    Arc::new(config.expect("a server"))
}

/// `https://localhost:<port>` before a server without TLS on this machine.
pub(crate) struct Front {
    pub(crate) port: u16,
    is_wrong: Arc<AtomicBool>,
    /// The first line of each request, and whether it came although the certificate was another's.
    lines: Arc<Mutex<Vec<(String, bool)>>>,
}

impl Front {
    pub(crate) fn before(server: u16) -> Self {
        let (is_wrong, lines) = (
            Arc::<AtomicBool>::default(),
            Arc::<Mutex<Vec<_>>>::default(),
        );
        let certificates = [shows("server"), shows("other")];
        let (wrong, heard) = (Arc::clone(&is_wrong), Arc::clone(&lines));
        let port = listen(move |stream| {
            let is_wrong = wrong.load(Ordering::Relaxed);
            let config = &certificates[usize::from(is_wrong)];
            let connection = ServerConnection::new(Arc::clone(config)).expect("a connection");
            let mut stream = BufReader::new(StreamOwned::new(connection, stream));
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") && stream.read_until(b'\n', &mut asked)? > 0 {}
            let head = String::from_utf8_lossy(&asked).to_lowercase();
            let Some(line) = head.lines().next() else {
                return Ok(());
            };
            let came = (line.to_owned(), is_wrong);
            heard.lock().expect("the list").push(came);
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .and_then(|length| length.parse().ok());
            stream
                .by_ref()
                .take(length.unwrap_or(0))
                .read_to_end(&mut asked)?;
            let mut behind = TcpStream::connect(("127.0.0.1", server))?;
            behind.write_all(&asked)?;
            let mut answer = Vec::new();
            behind.read_to_end(&mut answer)?;
            stream.get_mut().write_all(&answer)?;
            stream.get_mut().conn.send_close_notify();
            stream.get_mut().flush()
        });
        Self {
            port,
            is_wrong,
            lines,
        }
    }

    pub(crate) fn origin(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// Whether it shows another's certificate from now on.
    pub(crate) fn is_wrong(&self, wrong: bool) {
        self.is_wrong.store(wrong, Ordering::Relaxed);
    }

    /// The first lines of all requests so far, in lower case.
    pub(crate) fn lines(&self) -> Vec<String> {
        let lines = self.lines.lock().expect("the list");
        lines.iter().map(|(line, _)| line.clone()).collect()
    }

    /// Whether it was asked anything while it showed another's certificate.
    pub(crate) fn is_trusted_by_mistake(&self) -> bool {
        let lines = self.lines.lock().expect("the list");
        lines.iter().any(|(_, is_wrong)| *is_wrong)
    }
}

impl Https {
    pub(crate) fn start() -> Self {
        let config = shows("server");
        let heads = Arc::<Mutex<Vec<String>>>::default();
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
