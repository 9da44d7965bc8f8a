//! A server that answers as the plugin's published OpenAPI (5.1.0) has it, on a loopback port of its own, with a vault in
//! memory. What a test wants of another server is a script before that.

#![allow(
    dead_code,
    reason = "each test that has this as a module uses a part of it"
)]

use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

/// The API key, as the plugin makes them: 64 hex digits.
pub(crate) const KEY: &str = "5d0c1f7a9d35be0c1f7a9d35be0c1f7a9d35be0c1f7a9d35be0c1f7a9d35be0c";

/// What a connection is, once TLS or nothing stands on it.
pub(crate) trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// What is answered to a method and a path instead; `None` for what the plugin would.
type Script = dyn Fn(&str, &str) -> Option<Vec<u8>> + Send + Sync;

/// What is on the other side of a connection.
type Wrap = dyn Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync;

/// Serves until the test ends.
#[derive(Clone)]
pub(crate) struct Plugin {
    pub(crate) port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    state: Mutex<State>,
    script: Mutex<Arc<Script>>,
    wrap: Mutex<Arc<Wrap>>,
}

struct State {
    key: String,
    notes: BTreeMap<String, Vec<u8>>,
    active: Option<String>,
    /// Offered up to 5.0.1.
    daily: Option<String>,
    /// Method and path of each request.
    asked: Vec<String>,
}

impl Plugin {
    /// Without TLS: it stands for the egress, whose credential is the key.
    pub(crate) fn start() -> Self {
        Self::wrapped(|stream| Some(Box::new(stream)))
    }

    pub(crate) fn wrapped(
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state = State {
            key: KEY.to_owned(),
            notes: BTreeMap::new(),
            active: None,
            daily: None,
            asked: Vec::new(),
        };
        let inner = Arc::new(Inner {
            state: Mutex::new(state),
            script: Mutex::new(Arc::new(|_: &str, _: &str| None)),
            wrap: Mutex::new(Arc::new(wrap)),
        });
        let plugin = Self { port, inner };
        let serving = plugin.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let plugin = serving.clone();
                thread::spawn(move || {
                    let wrap = Arc::clone(&*plugin.inner.wrap.lock().expect("a wrap"));
                    wrap(stream).and_then(|stream| plugin.serve(stream))
                });
            }
        });
        plugin
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("the state")
    }

    /// Another key from now on.
    pub(crate) fn set_key(&self, key: &str) {
        key.clone_into(&mut self.state().key);
    }

    /// Another certificate from now on, say.
    pub(crate) fn set_wrap(
        &self,
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static,
    ) {
        *self.inner.wrap.lock().expect("a wrap") = Arc::new(wrap);
    }

    /// Answers by this script from now on.
    pub(crate) fn set_script(
        &self,
        script: impl Fn(&str, &str) -> Option<Vec<u8>> + Send + Sync + 'static,
    ) {
        *self.inner.script.lock().expect("a script") = Arc::new(script);
    }

    /// Writes a note, as somebody at the app would.
    pub(crate) fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let text = text.as_ref().to_vec();
        self.state().notes.insert(path.to_owned(), text);
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state().notes.remove(path);
    }

    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let state = self.state();
        let text = state.notes.get(path).cloned();
        text.map(|text| String::from_utf8(text).expect("text"))
    }

    /// The vault with these notes alone.
    pub(crate) fn fill(&self, notes: &[(&str, &str)]) {
        let notes = notes.iter();
        self.state().notes = notes
            .map(|(path, text)| ((*path).to_owned(), (*text).as_bytes().to_vec()))
            .collect();
    }

    /// Which note is open, and which is today's.
    pub(crate) fn open(&self, active: Option<&str>, daily: Option<&str>) {
        let mut state = self.state();
        state.active = active.map(str::to_owned);
        state.daily = daily.map(str::to_owned);
    }

    /// Method and path of each request so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    fn serve(&self, stream: Box<dyn Stream>) -> Option<()> {
        let mut stream = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        let (mut authorized, mut accept) = (false, String::new());
        let bearer = format!("authorization: Bearer {}", self.state().key);
        loop {
            let from = head.len();
            stream.read_line(&mut head).ok()?;
            let line = head[from..].trim();
            match line
                .split_once(": ")
                .map(|(name, value)| (name.to_ascii_lowercase(), value))
            {
                Some((name, value)) if name == "content-length" => length = value.parse().ok()?,
                Some((name, value)) if name == "accept" => value.clone_into(&mut accept),
                Some((name, value)) if name == "authorization" => {
                    authorized = format!("{name}: {value}") == bearer;
                }
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let mut words = head.split(' ');
        let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
        self.state().asked.push(format!("{method} {path}"));
        let script = Arc::clone(&*self.inner.script.lock().expect("a script"));
        let answer = script(&method, &path).unwrap_or_else(|| match authorized {
            true => self.answer(&method, &path, &accept, &body),
            false => error(40101, "Authorization required."),
        });
        let stream = stream.get_mut();
        stream.write_all(&answer).ok()?;
        stream.flush().ok()
    }

    fn answer(&self, method: &str, path: &str, accept: &str, body: &[u8]) -> Vec<u8> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut state = self.state();
        let is_json = accept == "application/vnd.olrapi.note+json";
        let chosen = |state: &State, path: Option<&String>| match path {
            Some(path) if is_json => state.note(path),
            Some(path) => file(path, &state.notes[path]),
            None => error(40400, "Not Found"),
        };
        match (method, path) {
            ("GET", "/active/") => chosen(&state, state.active.as_ref()),
            ("GET", "/periodic/daily/") => chosen(&state, state.daily.as_ref()),
            ("GET", "/commands/") => json_answer(&json!({"commands": [
                {"id": "app:reload", "name": "Reload app without saving"},
                {"id": "editor:\u{202e}fold", "name": "Fold \u{202e}more"},
            ]})),
            ("POST", "/search/simple/") => {
                let asked = query
                    .split('&')
                    .find_map(|pair| pair.strip_prefix("query="));
                json_answer(&state.search(&decoded(asked.unwrap_or_default())))
            }
            _ => match path.strip_prefix("/vault/") {
                Some(path) => state.vault(method, &decoded(path), body),
                None => error(40400, "Not Found"),
            },
        }
    }
}

impl State {
    fn vault(&mut self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        if path.split('/').any(|part| part == "..") {
            return error(40021, "Path traversal is not allowed.");
        }
        let is_folder = path.is_empty() || path.ends_with('/');
        let name = path.strip_suffix('/').unwrap_or(path);
        match method {
            "GET" => match self.notes.get(name) {
                Some(text) => file(name, text),
                None => self.listing(name),
            },
            _ if is_folder => error(40510, "This method is valid only for files."),
            "PUT" => {
                self.notes.insert(path.to_owned(), body.to_vec());
                empty()
            }
            "POST" => {
                match self.notes.get_mut(path) {
                    Some(text) => {
                        if !text.ends_with(b"\n") {
                            text.push(b'\n');
                        }
                        text.extend_from_slice(body);
                    }
                    None => {
                        self.notes.insert(path.to_owned(), body.to_vec());
                    }
                }
                empty()
            }
            "DELETE" => match self.notes.remove(path) {
                Some(_) => empty(),
                None => error(40400, "Not Found"),
            },
            _ => error(40500, "Method Not Allowed"),
        }
    }

    fn listing(&self, folder: &str) -> Vec<u8> {
        let prefix = match folder {
            "" => String::new(),
            folder => format!("{folder}/"),
        };
        let below = self
            .notes
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix));
        // Hidden files are in no list of Obsidian's.
        let below = below.filter(|path| !path.starts_with('.'));
        let mut files: Vec<String> = below
            .map(|path| match path.split_once('/') {
                Some((folder, _)) => format!("{folder}/"),
                None => path.to_owned(),
            })
            .collect();
        files.dedup();
        match files.is_empty() && !folder.is_empty() {
            true => error(40400, "Not Found"),
            false => json_answer(&json!({ "files": files })),
        }
    }

    fn note(&self, path: &str) -> Vec<u8> {
        let text = String::from_utf8_lossy(&self.notes[path]);
        json_answer(
            &json!({"path": path, "content": text, "tags": [], "frontmatter": {},
            "stat": {"ctime": 1_763_800_000_000_u64, "mtime": 1_763_800_000_123_u64, "size": text.len()}}),
        )
    }

    fn search(&self, words: &str) -> Value {
        let fits = self.notes.iter().filter_map(|(path, text)| {
            let text = String::from_utf8_lossy(text);
            let at = text.find(words)?;
            let context = json!({"match": {"start": at, "end": at + words.len(), "source": "content"}, "context": text});
            Some(json!({"filename": path, "score": -1.0, "matches": [context]}))
        });
        fits.collect()
    }
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut out) = (text.bytes(), Vec::new());
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digits = [
                    bytes.next().expect("a digit"),
                    bytes.next().expect("a digit"),
                ];
                let digits = std::str::from_utf8(&digits).expect("digits");
                out.push(u8::from_str_radix(digits, 16).expect("digits"));
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).expect("UTF-8")
}

/// An answer with this status and body.
pub(crate) fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn empty() -> Vec<u8> {
    b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_vec()
}

fn file(path: &str, text: &[u8]) -> Vec<u8> {
    let name: String = path.chars().filter(char::is_ascii_alphanumeric).collect();
    let headers = format!(
        "content-type: text/markdown\r\ncontent-disposition: attachment; filename=\"{name}\"\r\n"
    );
    answer("200 OK", &headers, text)
}

fn json_answer(value: &Value) -> Vec<u8> {
    let headers = "content-type: application/json; charset=utf-8\r\n";
    answer("200 OK", headers, value.to_string().as_bytes())
}

/// An error as the plugin says it: a code of five digits, of which the first three are the status.
pub(crate) fn error(code: u32, message: &str) -> Vec<u8> {
    let body = json!({"errorCode": code, "message": message}).to_string();
    let headers = "content-type: application/json; charset=utf-8\r\n";
    answer(&format!("{} Error", code / 100), headers, body.as_bytes())
}
