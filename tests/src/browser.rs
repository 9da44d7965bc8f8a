//! Chromium, through its own driver: a thin client of the WebDriver protocol (W3C), because that is all it takes.
//!
//! ```text
//! Browser::start ─▶ driver, then a browser with a fresh profile ─drop─▶ both gone
//! ```
//! Invariant: nothing of it outlives the test; it stays in the test's own process group, so a runner that ends the test
//! ends it too.

use crate::http::{Client, Response};
use crate::waiting::{PATIENCE, until, until_true};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use tempfile::TempDir;

/// Debian's `chromium-driver`.
const DRIVER: &str = "chromedriver";
/// How often it is started where another program took its port.
const TRIES: usize = 5;
/// The key under which the protocol names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// One browser with one profile.
pub struct Browser {
    driver: Child,
    client: Client,
    session: String,
    _profile: TempDir,
}

/// Keys that are not letters, as the protocol spells them.
pub mod key {
    /// Enter.
    pub const ENTER: &str = "\u{e007}";
    /// Tab.
    pub const TAB: &str = "\u{e004}";
    /// Escape.
    pub const ESCAPE: &str = "\u{e00c}";
    /// Space.
    pub const SPACE: &str = " ";
    /// Down.
    pub const DOWN: &str = "\u{e015}";
}

/// A driver and its port; none where it ended before it had one.
fn driver(profile: &Path) -> Option<(Child, u16)> {
    let mut driver = Command::new(DRIVER)
        .arg("--port=0")
        .env("HOME", profile)
        .env("TMPDIR", profile)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{DRIVER} (apt-get install chromium-driver): {error}"));
    let pipe = driver.stdout.take().expect("a pipe");
    let (said, heard) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if let Some(port) = line
                .strip_prefix("ChromeDriver was started successfully on port ")
                .and_then(|rest| rest.trim_end_matches('.').parse::<u16>().ok())
            {
                let _ = said.send(port);
            }
        }
    });
    match heard.recv_timeout(PATIENCE) {
        Ok(port) => Some((driver, port)),
        Err(RecvTimeoutError::Disconnected) => {
            driver.wait().expect("reaped");
            None
        }
        Err(RecvTimeoutError::Timeout) => panic!("{DRIVER} says no port"),
    }
}

impl Browser {
    /// Starts a browser with a fresh profile, 1440 by 900, light.
    ///
    /// # Panics
    /// Where the driver or the browser is missing or does not start.
    #[must_use]
    #[track_caller]
    pub fn start() -> Self {
        let profile = TempDir::with_prefix("plxb").expect("a temporary folder");
        // A driver binds its port on both protocols one after the other, and ends where another program was between.
        let started = (0..TRIES).find_map(|_| driver(profile.path()));
        let (driver, port) = started.expect("a driver with a port");
        let mut browser = Self {
            driver,
            client: Client::tcp(port),
            session: String::new(),
            _profile: profile,
        };
        let user_data = browser._profile.path().join("profile");
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--force-device-scale-factor=1",
            "--window-size=1440,900",
            &format!("--user-data-dir={}", user_data.display()),
        ];
        let made = browser.ask(
            "POST",
            "/session",
            Some(json!({"capabilities": {"alwaysMatch": {
                "browserName": "chrome",
                "goog:loggingPrefs": {"browser": "ALL"},
                "goog:chromeOptions": {"args": arguments},
                "unhandledPromptBehavior": "ignore",
            }}})),
        );
        browser.session = format!(
            "/session/{}",
            made["sessionId"].as_str().expect("a session")
        );
        browser.size(1440, 900);
        browser
    }

    #[track_caller]
    fn try_ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value, Value> {
        let mut request = self.client.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut stream = self.client.connect();
        stream
            .write_all(&request.bytes_kept_alive())
            .expect("the driver takes commands");
        let answer = read_one(path, stream);
        let value = answer.json()["value"].take();
        if answer.status == 200 {
            Ok(value)
        } else {
            Err(value)
        }
    }
    #[track_caller]
    fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        self.try_ask(method, path, body).unwrap_or_else(|error| {
            panic!("{method} {path}: {}: {}", error["error"], error["message"])
        })
    }
    #[track_caller]
    fn post(&self, path: &str, body: Value) -> Value {
        self.ask("POST", &format!("{}{path}", self.session), Some(body))
    }
    #[track_caller]
    fn get(&self, path: &str) -> Value {
        self.ask("GET", &format!("{}{path}", self.session), None)
    }

    /// A command of the browser's own protocol.
    #[track_caller]
    pub fn devtools(&self, command: &str, parameters: Value) -> Value {
        self.post(
            "/goog/cdp/execute",
            json!({"cmd": command, "params": parameters}),
        )
    }
    /// The size of what is seen, in CSS pixels.
    #[track_caller]
    pub fn size(&self, width: u32, height: u32) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}),
        );
    }
    /// Dark, or light.
    #[track_caller]
    pub fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        self.devtools(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": value}]}),
        );
    }
    /// Opens a page and waits until it is there.
    #[track_caller]
    pub fn go(&self, url: &str) {
        self.post("/url", json!({"url": url}));
    }
    /// The address that is shown.
    #[must_use]
    #[track_caller]
    pub fn address(&self) -> String {
        self.get("/url").as_str().expect("an address").to_owned()
    }
    /// Loads the page again.
    #[track_caller]
    pub fn reload(&self) {
        self.post("/refresh", json!({}));
    }
    /// Opens another tab and looks at it; gives the one that was looked at before.
    #[track_caller]
    pub fn new_tab(&self) -> String {
        let before = self.get("/window").as_str().expect("a tab").to_owned();
        let made = self.post("/window/new", json!({"type": "tab"}));
        self.look_at(made["handle"].as_str().expect("a tab"));
        before
    }
    /// Looks at a tab.
    #[track_caller]
    pub fn look_at(&self, tab: &str) {
        self.post("/window", json!({"handle": tab}));
    }
    /// Runs a function body in the page; gives what it returns.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []}))
    }
    /// The same for one that awaits.
    #[track_caller]
    pub fn run_async(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().then(done, e => done('threw ' + e));"
        );
        self.post("/execute/async", json!({"script": script, "args": []}))
    }
    /// The first element of a selector, once it is shown.
    #[must_use]
    #[track_caller]
    pub fn see(&self, selector: &str) -> Element<'_> {
        until(selector, || self.sees(selector))
    }
    /// Presses the pointer on the first element of a selector, once it is shown.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        self.see(selector).click();
    }
    /// Types into the first element of a selector, once it is shown: anew where the page was drawn meanwhile.
    #[track_caller]
    pub fn fill(&self, selector: &str, text: &str) {
        until(selector, || self.sees(selector)?.try_fill(text).ok());
    }
    /// An attribute of the first element of a selector, once it is shown: anew where the page was drawn meanwhile.
    #[must_use]
    #[track_caller]
    pub fn attribute(&self, selector: &str, name: &str) -> Option<String> {
        until(selector, || self.sees(selector)?.try_attribute(name))
    }
    /// The first element of a selector, if it is shown now.
    #[must_use]
    #[track_caller]
    pub fn sees(&self, selector: &str) -> Option<Element<'_>> {
        let found = self.try_ask(
            "POST",
            &format!("{}/element", self.session),
            Some(json!({"using": "css selector", "value": selector})),
        );
        let element = Element {
            browser: self,
            selector: selector.to_owned(),
            id: found.ok()?[ELEMENT].as_str()?.to_owned(),
        };
        let path = format!("{}/element/{}/displayed", self.session, element.id);
        (self.try_ask("GET", &path, None) == Ok(Value::Bool(true))).then_some(element)
    }
    /// The text of what a selector finds, as it is shown; waits for it.
    #[must_use]
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        until(selector, || self.sees(selector)?.try_text())
    }
    /// Waits until the text of a selector holds `wanted`.
    #[track_caller]
    pub fn reads(&self, selector: &str, wanted: &str) {
        let mut last = String::new();
        let began = std::time::Instant::now();
        while began.elapsed() < PATIENCE {
            last = self
                .sees(selector)
                .and_then(|e| e.try_text())
                .unwrap_or_default();
            if last.contains(wanted) {
                return;
            }
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        panic!(
            "{selector} does not read {wanted:?}: {last:?}\n{:#?}",
            self.log()
        );
    }
    /// Waits until a selector finds nothing that is shown.
    #[track_caller]
    pub fn loses(&self, selector: &str) {
        until_true(&format!("the end of {selector}"), || {
            self.sees(selector).is_none()
        });
    }
    /// Presses keys where the focus is.
    #[track_caller]
    pub fn press(&self, keys: &str) {
        let strokes: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                [
                    json!({"type": "keyDown", "value": key.to_string()}),
                    json!({"type": "keyUp", "value": key.to_string()}),
                ]
            })
            .collect();
        self.post(
            "/actions",
            json!({"actions": [{"type": "key", "id": "keys", "actions": strokes}]}),
        );
    }
    /// Presses the pointer at a place of what is seen, in CSS pixels, whatever is there.
    #[track_caller]
    pub fn press_at(&self, x: i64, y: i64) {
        self.hold_at(x, y);
        self.let_go();
    }
    /// Presses the pointer there, and holds it.
    #[track_caller]
    pub fn hold_at(&self, x: i64, y: i64) {
        self.point(&json!([
            {"type": "pointerMove", "duration": 0, "origin": "viewport", "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
        ]));
    }
    /// Lets go of what is held.
    #[track_caller]
    pub fn let_go(&self) {
        self.point(&json!([{"type": "pointerUp", "button": 0}]));
    }
    #[track_caller]
    fn point(&self, acts: &Value) {
        let pointer = json!({"pointerType": "mouse"});
        self.post(
            "/actions",
            json!({"actions": [{"type": "pointer", "id": "mouse", "parameters": pointer, "actions": acts}]}),
        );
    }
    /// What is seen, as PNG.
    #[must_use]
    #[track_caller]
    pub fn picture(&self) -> Vec<u8> {
        let shot = self.get("/screenshot");
        STANDARD
            .decode(shot.as_str().expect("a picture"))
            .expect("base64")
    }
    /// The whole page, as PNG, however long it is.
    #[must_use]
    #[track_caller]
    pub fn whole_picture(&self) -> Vec<u8> {
        let shot = self.devtools(
            "Page.captureScreenshot",
            json!({"captureBeyondViewport": true}),
        );
        STANDARD
            .decode(shot["data"].as_str().expect("a picture"))
            .expect("base64")
    }
    /// What the page logged since the last time: errors, refusals of its policy, words of scripts.
    #[must_use]
    #[track_caller]
    pub fn log(&self) -> Vec<Value> {
        match self.post("/se/log", json!({"type": "browser"})) {
            Value::Array(entries) => entries,
            other => panic!("the log is {other}"),
        }
    }
    /// Every cookie of the page, those that scripts do not see included.
    #[must_use]
    #[track_caller]
    pub fn cookies(&self) -> Vec<Value> {
        match self.get("/cookie") {
            Value::Array(cookies) => cookies,
            other => panic!("the cookies are {other}"),
        }
    }
}

/// Reads one answer; the driver leaves its connections open, whatever it is asked.
#[track_caller]
fn read_one(asked: &str, stream: Box<dyn crate::http::Stream>) -> Response {
    let mut reader = BufReader::new(stream);
    let (mut bytes, mut length) = (Vec::new(), 0);
    loop {
        let begins = bytes.len();
        let read = reader
            .read_until(b'\n', &mut bytes)
            .expect("the driver answers");
        assert!(read > 0, "{asked}: the driver went away");
        let line = String::from_utf8_lossy(&bytes[begins..]).to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a whole answer");
    bytes.extend(body);
    Response::parse(asked, &bytes).unwrap_or_else(|| panic!("{asked}: not an answer"))
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            let _ = self.try_ask("DELETE", &self.session.clone(), None);
        }
        // The browser has gone with its session.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// An element of the page.
#[derive(Clone)]
pub struct Element<'b> {
    browser: &'b Browser,
    selector: String,
    id: String,
}

/// What the driver says of an element that the page replaced or covered between finding it and
/// pressing it (WebDriver §6.6): nothing was pressed.
const NOT_PRESSED: [&str; 3] = [
    "stale element reference",
    "element not interactable",
    "element click intercepted",
];

impl Element<'_> {
    fn path(&self, rest: &str) -> String {
        format!("{}/element/{}{rest}", self.browser.session, self.id)
    }
    /// Presses the pointer on it, where it is; finds it anew if the page drew it again meanwhile,
    /// as a person would.
    #[track_caller]
    pub fn click(&self) {
        if !self.pressed() {
            until_true(&format!("{} to be pressed", self.selector), || {
                self.browser
                    .sees(&self.selector)
                    .is_some_and(|found| found.pressed())
            });
        }
    }
    /// Presses it once; whether it could be pressed. A person waits until what has just appeared takes acts.
    #[track_caller]
    pub fn pressed(&self) -> bool {
        let appeared = self.browser.try_ask(
            "POST",
            &format!("{}/execute/sync", self.browser.session),
            Some(json!({
                "script": "return arguments[0].closest('[data-fresh]') !== null",
                "args": [{ELEMENT: self.id}],
            })),
        );
        if appeared == Ok(Value::Bool(true)) {
            return false;
        }
        let answer = self
            .browser
            .try_ask("POST", &self.path("/click"), Some(json!({})));
        match answer {
            Ok(_) => true,
            Err(error) if NOT_PRESSED.iter().any(|kind| error["error"] == **kind) => false,
            Err(error) => panic!(
                "{}: {}: {}",
                self.selector, error["error"], error["message"]
            ),
        }
    }
    /// Types into it.
    #[track_caller]
    pub fn fill(&self, text: &str) {
        self.browser
            .ask("POST", &self.path("/clear"), Some(json!({})));
        self.browser
            .ask("POST", &self.path("/value"), Some(json!({"text": text})));
    }
    fn try_fill(&self, text: &str) -> Result<Value, Value> {
        let (clear, value) = (self.path("/clear"), self.path("/value"));
        self.browser.try_ask("POST", &clear, Some(json!({})))?;
        let text = json!({ "text": text });
        self.browser.try_ask("POST", &value, Some(text))
    }
    fn try_text(&self) -> Option<String> {
        let text = self
            .browser
            .try_ask("GET", &self.path("/text"), None)
            .ok()?;
        text.as_str().map(str::to_owned)
    }
    fn try_attribute(&self, name: &str) -> Option<Option<String>> {
        let path = self.path(&format!("/attribute/{name}"));
        let value = self.browser.try_ask("GET", &path, None).ok()?;
        Some(value.as_str().map(str::to_owned))
    }
}
