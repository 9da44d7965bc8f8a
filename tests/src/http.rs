//! A small blocking HTTP/1.1 client over TCP and Unix sockets, one connection a request, with nothing hidden: a test
//! that asks about header bytes must be able to send any.

use crate::answers;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longer than any long poll may take (60 s).
const ANSWER_WITHIN: Duration = Duration::from_secs(90);

/// A connected stream of either kind.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// Where requests go.
#[derive(Clone, Debug)]
enum Endpoint {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Sends requests to one gateway with the same headers each.
#[derive(Clone, Debug)]
pub struct Client {
    endpoint: Endpoint,
    headers: Vec<(String, String)>,
}

impl Client {
    /// Speaks to 127.0.0.1 with the `Host` that belongs to it.
    #[must_use]
    pub fn tcp(port: u16) -> Self {
        Self {
            endpoint: Endpoint::Tcp((Ipv4Addr::LOCALHOST, port).into()),
            headers: vec![("host".into(), format!("127.0.0.1:{port}"))],
        }
    }
    /// Speaks to a Unix socket.
    #[must_use]
    pub fn unix(path: &Path) -> Self {
        Self {
            endpoint: Endpoint::Unix(path.to_path_buf()),
            headers: vec![("host".into(), "localhost".into())],
        }
    }
    /// The same client with a header set (of the same name: replaced).
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut other = self.without(name);
        other.headers.push((name.to_lowercase(), value.to_owned()));
        other
    }
    /// The same client without a header.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut other = self.clone();
        other
            .headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        other
    }
    /// Begins a request.
    #[must_use]
    pub fn request(&self, method: &str, path: &str) -> Request {
        Request {
            client: self.clone(),
            method: method.to_owned(),
            path: path.to_owned(),
            body: None,
        }
    }
    /// A GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.request("GET", path).send()
    }
    /// A POST of JSON.
    #[track_caller]
    pub fn post(&self, path: &str, body: Value) -> Response {
        self.request("POST", path).json(body).send()
    }
    /// A PUT of JSON.
    #[track_caller]
    pub fn put(&self, path: &str, body: Value) -> Response {
        self.request("PUT", path).json(body).send()
    }
    /// As [`Client::get`], and holds that it succeeded; gives the body, as the next two do.
    #[track_caller]
    pub fn must_get(&self, path: &str) -> Value {
        self.get(path).expect_ok()
    }
    /// As [`Client::post`], and holds that it succeeded.
    #[track_caller]
    pub fn must_post(&self, path: &str, body: Value) -> Value {
        self.post(path, body).expect_ok()
    }
    /// As [`Client::put`], and holds that it succeeded.
    #[track_caller]
    pub fn must_put(&self, path: &str, body: Value) -> Value {
        self.put(path, body).expect_ok()
    }
    /// A DELETE.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Response {
        self.request("DELETE", path).send()
    }
    /// Sends `bytes` as they are and reads until the other side closes.
    #[track_caller]
    pub fn raw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        // The other side may refuse before it has read everything: what it said still counts.
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    }
    /// Opens a connection without sending anything.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    #[track_caller]
    pub fn connect(&self) -> Box<dyn Stream> {
        match &self.endpoint {
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address).expect("the gateway listens");
                stream
                    .set_read_timeout(Some(ANSWER_WITHIN))
                    .expect("a timeout");
                stream.set_nodelay(true).expect("no delay");
                Box::new(stream)
            }
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                stream
                    .set_read_timeout(Some(ANSWER_WITHIN))
                    .expect("a timeout");
                Box::new(stream)
            }
        }
    }
    /// Sends a request, waits for a sign that it is under way, and goes away without reading the answer.
    #[track_caller]
    pub fn leave_after(&self, request: &Request, under_way: impl FnOnce()) {
        let Endpoint::Tcp(address) = &self.endpoint else {
            panic!("only over TCP");
        };
        let mut stream = TcpStream::connect(address).expect("the gateway listens");
        stream
            .write_all(&request.bytes_on_wire())
            .expect("the request is taken");
        under_way();
        // The gateway may have answered and closed already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Request {
    client: Client,
    method: String,
    path: String,
    body: Option<Vec<u8>>,
}

impl Request {
    /// Whose it is.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
    /// Sets a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.client = self.client.with(name, value);
        self
    }
    /// Sets a JSON body.
    #[must_use]
    pub fn json(self, body: Value) -> Self {
        self.header("content-type", "application/json")
            .bytes(body.to_string())
    }
    /// Sets a body of any bytes.
    #[must_use]
    pub fn bytes(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }
    /// The request as it goes over the wire, asking the server to close afterwards.
    #[must_use]
    pub fn bytes_on_wire(&self) -> Vec<u8> {
        self.bytes_with("connection: close\r\n")
    }
    /// The request as it goes over a connection that stays open.
    #[must_use]
    pub fn bytes_kept_alive(&self) -> Vec<u8> {
        self.bytes_with("")
    }
    fn bytes_with(&self, connection: &str) -> Vec<u8> {
        let mut bytes =
            format!("{} {} HTTP/1.1\r\n{connection}", self.method, self.path).into_bytes();
        for (name, value) in &self.client.headers {
            bytes.extend(format!("{name}: {value}\r\n").bytes());
        }
        if let Some(body) = &self.body {
            bytes.extend(format!("content-length: {}\r\n\r\n", body.len()).bytes());
            bytes.extend(body);
        } else {
            bytes.extend(b"\r\n");
        }
        bytes
    }
    /// Sends it where nobody may be listening any more; gives the bytes of an answer.
    #[must_use]
    pub fn try_send(self) -> Option<Vec<u8>> {
        let Endpoint::Tcp(address) = &self.client.endpoint else {
            return None;
        };
        let mut stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(ANSWER_WITHIN)).ok()?;
        stream.write_all(&self.bytes_on_wire()).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    }
    /// Sends it and reads the whole answer, which is held against what every answer must be.
    #[track_caller]
    pub fn send(self) -> Response {
        let answer = self.client.raw(&self.bytes_on_wire());
        let what = format!("{} {}", self.method, self.path);
        let response = Response::parse(&what, &answer).unwrap_or_else(|| {
            panic!(
                "{what}: not an HTTP answer: {:?}",
                String::from_utf8_lossy(&answer)
            )
        });
        answers::check(&self.method, &self.path, &response);
        response
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// What was asked, for messages.
    pub asked: String,
    /// The HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, with chunks joined.
    pub body: Vec<u8>,
}

impl Response {
    /// Reads an answer that ends with the connection.
    #[must_use]
    pub fn parse(asked: &str, bytes: &[u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
        let head = std::str::from_utf8(&bytes[..end]).ok()?;
        let mut lines = head.split("\r\n");
        let status = lines
            .next()?
            .strip_prefix("HTTP/1.")?
            .get(2..5)?
            .parse()
            .ok()?;
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
            .collect();
        let mut response = Self {
            asked: asked.to_owned(),
            status,
            headers,
            body: bytes[end + 4..].to_vec(),
        };
        if response.header("transfer-encoding") == Some("chunked") {
            response.body = joined(&response.body)?;
        }
        Some(response)
    }
    /// A header by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// The body as JSON.
    #[must_use]
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(body) => body,
            Err(error) => panic!("{self}: {error}"),
        }
    }
    /// A value by JSON pointer; `null` where there is none.
    #[must_use]
    #[track_caller]
    pub fn at(&self, pointer: &str) -> Value {
        self.json().pointer(pointer).cloned().unwrap_or(Value::Null)
    }
    /// A string by JSON pointer.
    #[must_use]
    #[track_caller]
    pub fn text_at(&self, pointer: &str) -> String {
        match self.at(pointer) {
            Value::String(text) => text,
            other => panic!("{self}: {pointer} is {other}, not a string"),
        }
    }
    /// Holds that the request succeeded and, where the body says `ok`, that it says true; gives the body.
    #[track_caller]
    pub fn expect_ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self}");
        if self.body.is_empty() {
            return Value::Null;
        }
        let body = self.json();
        assert_ne!(body["ok"], Value::Bool(false), "{self}");
        body
    }
    /// Holds status and code of a refusal; gives the error object.
    #[track_caller]
    pub fn expect_error(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{self}");
        let error = self.at("/error");
        assert_eq!(error["code"], code, "{self}");
        error
    }
    /// Holds the status alone.
    #[track_caller]
    pub fn expect_status(&self, status: u16) -> &Self {
        assert_eq!(self.status, status, "{self}");
        self
    }
}

impl std::fmt::Display for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} answered {}: {}",
            self.asked,
            self.status,
            self.text()
        )
    }
}

/// Joins the chunks of a chunked body; `None` when it ends early.
fn joined(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..line]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        rest = rest.get(line + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n3;x=y\r\n\":1\r\n1\r\n}\r\n0\r\n\r\n";
        assert_eq!(Response::parse("", chunked).unwrap().json()["a"], 1);
        assert!(Response::parse("", &chunked[..chunked.len() - 8]).is_none());
        assert!(Response::parse("", b"nonsense").is_none());
        let plain = b"HTTP/1.1 404 Not Found\r\nX-A: b\r\n\r\nhello";
        let plain = Response::parse("", plain).unwrap();
        assert_eq!(
            (plain.status, plain.header("x-a"), plain.text().as_str()),
            (404, Some("b"), "hello")
        );
    }
}
