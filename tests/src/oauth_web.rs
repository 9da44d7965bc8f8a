//! An MCP server over HTTP whose users sign in (OAuth 2.1), and its authorization server, on one port. Its user always says yes.
//!
//! It checks what a client proves: code, verifier, redirect address, client, resource; a refresh token is good for once, and one
//! that comes twice ends the sign-in. A story names one way in which it lies.

use crate::http::Client;
use crate::mcp_web::{Era, Heard, http, opened, read};
use crate::waiting::PATIENCE;
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use plexus_protocol::Digest;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// In what it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lie {
    /// In nothing.
    None,
    /// Its metadata names another issuer.
    Issuer,
    /// The browser comes back with this issuer.
    CameFrom(String),
    /// It says that it names itself, and does not.
    Nameless,
    /// Its users sign in at this address.
    Page(String),
    /// It offers no PKCE.
    NoPkce,
    /// What it says of its sign-in is at this address.
    Metadata(String),
    /// Its authorization server is this.
    Server(String),
    /// It says that it is another server.
    Resource,
    /// Tokens are had at this address.
    Tokens(String),
    /// Tokens are no bearer tokens.
    TokenType,
    /// Where clients register is this.
    Registration(String),
    /// Its tokens are good for no more than the first scope that was asked for, and it says so.
    Narrow,
    /// It offers no way to end a sign-in.
    Endless,
    /// A sign-in is ended at this address.
    Revocation(String),
    /// Nobody registers: its one client is [`OWN_CLIENT`], which proves itself in this way alone.
    Unregistered(&'static str),
    /// A request at this path is sent on to this address.
    Sends(&'static str, String),
    /// Its tokens are of another server, which takes none of them.
    Audience,
}

const OFFLINE_ACCESS: &str = "offline_access";

/// Id and secret of a client that somebody registered by hand.
pub const OWN_CLIENT: (&str, &str) = ("own client", "own:secret");

/// A point of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RenewalPoint {
    /// It is asked for a token, and has not taken what renews it.
    Asked,
    /// It has taken that, and has not answered.
    Spent,
    /// A request with a token that is good has come.
    Used,
}

/// A request that waits at a point. Once this is dropped it is answered with nothing.
pub struct Stopped {
    came: Receiver<()>,
    _let_go: Sender<()>,
}

impl Stopped {
    /// Waits until one is there.
    ///
    /// # Panics
    /// Where none comes.
    #[track_caller]
    pub fn wait(&self) {
        let came = self.came.recv_timeout(PATIENCE);
        came.expect("a request that waits");
    }
}

/// What a request that comes to a point does there.
struct Stop {
    at: RenewalPoint,
    comes: Sender<()>,
    waits: Receiver<()>,
}

#[derive(Default)]
struct Kept {
    /// The origins that it goes by, where something stands before it: as an MCP server, and as an authorization server.
    origins: Option<[String; 2]>,
    stop: Option<Stop>,
    /// How long the token endpoint takes.
    takes: Duration,
    heard: Vec<Heard>,
    clients: BTreeMap<String, String>,
    /// What each code was asked with.
    codes: BTreeMap<String, BTreeMap<String, String>>,
    access: BTreeSet<String>,
    refresh: Option<String>,
    spent: BTreeSet<String>,
    /// Seconds that a token is said to be good for.
    life: Option<u64>,
    exchanges: usize,
    refreshes: usize,
    /// What its tokens are good for.
    scope: String,
    /// A tool that takes a token of a further scope, and what it says of that.
    needs: Option<(String, String)>,
    /// The tokens that clients ended.
    revoked: Vec<String>,
    /// What the next end of a sign-in waits for.
    held: Option<Receiver<()>>,
    /// The token endpoint answers 503.
    is_away: bool,
    /// It lists `offline_access`, and renews no token of a sign-in without it.
    wants_offline_access: bool,
    made: usize,
}

/// A server that serves until its process ends.
pub struct OAuthWeb {
    port: u16,
    kept: Arc<Mutex<Kept>>,
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OAuthWeb {
    /// Starts it on a free loopback port.
    ///
    /// # Panics
    /// When this machine has no port.
    #[must_use]
    #[track_caller]
    pub fn start(lie: Lie) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let kept: Arc<Mutex<Kept>> = Arc::default();
        let keeps = Arc::clone(&kept);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (keeps, lie) = (Arc::clone(&keeps), lie.clone());
                thread::spawn(move || {
                    if let Some(request) = read(&client) {
                        let answer = answer(port, &lie, &keeps, &request);
                        drop((&client).write_all(answer.as_bytes()));
                    }
                });
            }
        });
        Self { port, kept }
    }
    /// Where the server is.
    #[must_use]
    pub fn url(&self) -> String {
        let [server, _] = origins(self.port, &self.kept);
        format!("{server}/mcp")
    }
    /// Where it listens, on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
    /// From now on it goes by these origins: as an MCP server, and as an authorization server.
    pub fn goes_by(&self, server: &str, authorization: &str) {
        let origins = [server, authorization].map(str::to_owned);
        lock(&self.kept).origins = Some(origins);
    }
    /// Has the next request that comes to a point wait there.
    #[must_use]
    pub fn stops(&self, at: RenewalPoint) -> Stopped {
        let (comes, came) = channel();
        let (let_go, waits) = channel();
        lock(&self.kept).stop = Some(Stop { at, comes, waits });
        Stopped {
            came,
            _let_go: let_go,
        }
    }
    /// From now on its token endpoint takes so long.
    pub fn takes(&self, time: Duration) {
        lock(&self.kept).takes = time;
    }
    /// All that it was asked so far.
    #[must_use]
    pub fn heard(&self) -> Vec<Heard> {
        lock(&self.kept).heard.clone()
    }
    /// How many codes were exchanged, and how often a token was renewed.
    #[must_use]
    pub fn tokens(&self) -> (usize, usize) {
        let kept = lock(&self.kept);
        (kept.exchanges, kept.refreshes)
    }
    /// The tokens that it gave and that are good now, the one that renews them last.
    #[must_use]
    pub fn good(&self) -> Vec<String> {
        let kept = lock(&self.kept);
        kept.access.iter().chain(&kept.refresh).cloned().collect()
    }
    /// From now on its tokens are said to be good for so long.
    pub fn lives(&self, seconds: u64) {
        lock(&self.kept).life = Some(seconds);
    }
    /// Answers the next end of a sign-in once what is returned is dropped.
    #[must_use]
    pub fn holds_revocation(&self) -> Sender<()> {
        let (let_go, held) = channel();
        lock(&self.kept).held = Some(held);
        let_go
    }
    /// Ends every token, but the one that renews them.
    pub fn expire(&self) {
        lock(&self.kept).access.clear();
    }
    /// Ends the sign-in as a whole.
    pub fn end(&self) {
        let mut kept = lock(&self.kept);
        kept.access.clear();
        kept.refresh = None;
    }
    /// What its tokens are good for.
    #[must_use]
    pub fn scope(&self) -> String {
        lock(&self.kept).scope.clone()
    }
    /// From now on this tool takes a token that is good for `scope` too.
    pub fn needs(&self, tool: &str, scope: &str) {
        lock(&self.kept).needs = Some((tool.to_owned(), scope.to_owned()));
    }
    /// The tokens that clients ended, in their order.
    #[must_use]
    pub fn revoked(&self) -> Vec<String> {
        lock(&self.kept).revoked.clone()
    }
    /// From now on it lists `offline_access`, and gives what renews a token for that scope alone.
    pub fn wants_offline_access(&self) {
        lock(&self.kept).wants_offline_access = true;
    }
    /// Whether the token endpoint gives nothing now.
    pub fn is_away(&self, away: bool) {
        lock(&self.kept).is_away = away;
    }
}

/// What a browser does with the page of a sign-in: its user says yes, and it goes where it is sent. Gives the page there.
///
/// # Panics
/// Where a page sends it nowhere.
#[must_use]
#[track_caller]
pub fn browse(address: &str) -> String {
    let there = visit(address);
    let back = there
        .header("location")
        .unwrap_or_else(|| panic!("{address}: {}", there.text()))
        .to_owned();
    visit(&back).text()
}

#[track_caller]
fn visit(address: &str) -> crate::http::Response {
    let rest = address.strip_prefix("http://").expect("a plain address");
    let (authority, path) = rest.split_once('/').expect("a path");
    let port = authority
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    let client = Client::tcp(port.expect("a port")).with("host", authority);
    client.get(&format!("/{path}"))
}

/// Its origins, as an MCP server and as an authorization server.
fn origins(port: u16, kept: &Mutex<Kept>) -> [String; 2] {
    let plain = || [(); 2].map(|()| format!("http://127.0.0.1:{port}"));
    lock(kept).origins.clone().unwrap_or_else(plain)
}

/// Waits where the story has a request stop; whether it did.
fn is_stopped(kept: &Mutex<Kept>, at: RenewalPoint) -> bool {
    let stop = lock(kept).stop.take_if(|stop| stop.at == at);
    let Some(stop) = stop else {
        return false;
    };
    let _ = stop.comes.send(());
    let _ = stop.waits.recv();
    true
}

fn answer(port: u16, lie: &Lie, kept: &Mutex<Kept>, request: &Heard) -> String {
    let [server, here] = origins(port, kept);
    let (method, whole) = request.line.split_once(' ').unwrap_or_default();
    let (path, query) = whole.split_once('?').unwrap_or((whole, ""));
    lock(kept).heard.push(request.clone());
    let json = |status: u16, body: Value| http(status, "application/json", "", &body.to_string());
    match (method, path) {
        (_, path) if matches!(lie, Lie::Sends(from, _) if *from == path) => {
            let Lie::Sends(_, target) = lie else {
                return String::new();
            };
            http(307, "text/plain", &format!("Location: {target}\r\n"), "")
        }
        ("GET", "/.well-known/oauth-protected-resource/mcp") => {
            let issuer = match lie {
                Lie::Server(other) => other.clone(),
                _ => here,
            };
            let resource = match lie {
                Lie::Resource => "http://127.0.0.1:1/mcp".to_owned(),
                _ => format!("{server}/mcp"),
            };
            json(
                200,
                json!({"resource": resource, "authorization_servers": [issuer], "scopes_supported": ["notes:read"]}),
            )
        }
        ("GET", "/.well-known/oauth-authorization-server") => {
            let or = |other: Option<&String>, path: &str| {
                other.cloned().unwrap_or(format!("{here}{path}"))
            };
            let of = |lie: &Lie| match lie {
                Lie::Page(other) => [Some(other.clone()), None, None, None],
                Lie::Tokens(other) => [None, Some(other.clone()), None, None],
                Lie::Registration(other) => [None, None, Some(other.clone()), None],
                Lie::Revocation(other) => [None, None, None, Some(other.clone())],
                _ => [None, None, None, None],
            };
            let [page, tokens, registration, revocation] = of(lie);
            let revocation = match lie {
                Lie::Endless => Value::Null,
                _ => or(revocation.as_ref(), "/revoke").into(),
            };
            let scopes = match lock(kept).wants_offline_access {
                true => json!(["notes:read", OFFLINE_ACCESS]),
                false => Value::Null,
            };
            json(
                200,
                json!({
                    "scopes_supported": scopes,
                    "revocation_endpoint": revocation,
                    "issuer": if *lie == Lie::Issuer { format!("{here}/other") } else { here.clone() },
                    "authorization_endpoint": or(page.as_ref(), "/authorize"),
                    "token_endpoint": or(tokens.as_ref(), "/token"),
                    "registration_endpoint": (!matches!(lie, Lie::Unregistered(_))).then(|| or(registration.as_ref(), "/register")),
                    "code_challenge_methods_supported": if *lie == Lie::NoPkce { vec!["plain"] } else { vec!["S256"] },
                    "authorization_response_iss_parameter_supported": *lie == Lie::Nameless,
                    "token_endpoint_auth_methods_supported": match lie {
                        Lie::Unregistered(way) => [*way],
                        _ => ["none"],
                    },
                }),
            )
        }
        ("POST", "/register") => {
            let mut kept = lock(kept);
            let id = format!("client {}", kept.clients.len() + 1);
            let redirect = request.body["redirect_uris"][0]
                .as_str()
                .unwrap_or_default();
            kept.clients.insert(id.clone(), redirect.to_owned());
            json(201, json!({"client_id": id, "redirect_uris": [redirect]}))
        }
        ("GET", "/authorize") => authorize(lie, kept, fields(query)),
        ("POST", "/token") => {
            let form = fields(request.body.as_str().unwrap_or_default());
            if let Lie::Unregistered(way) = lie
                && !is_own_client(way, request, &form)
            {
                return json(401, json!({"error": "invalid_client"}));
            }
            if is_stopped(kept, RenewalPoint::Asked) {
                return String::new();
            }
            let takes = lock(kept).takes;
            thread::sleep(takes);
            let (status, told) = tokens(&server, lie, &mut lock(kept), &form);
            if is_stopped(kept, RenewalPoint::Spent) {
                return String::new();
            }
            json(status, told)
        }
        ("POST", "/revoke") => {
            let form = fields(request.body.as_str().unwrap_or_default());
            let held = lock(kept).held.take();
            held.map(|held| held.recv());
            let mut kept = lock(kept);
            let of = |name: &str| form.get(name).cloned().unwrap_or_default();
            if kept.is_away || !kept.clients.contains_key(&of("client_id")) {
                return json(503, json!({"error": "temporarily_unavailable"}));
            }
            let token = of("token");
            match &*of("token_type_hint") {
                "refresh_token" => kept.refresh = kept.refresh.take().filter(|one| *one != token),
                _ => drop(kept.access.remove(&token)),
            }
            kept.revoked.push(token);
            http(200, "text/plain", "", "")
        }
        (_, "/mcp") => {
            let given = request
                .headers
                .get("authorization")
                .and_then(|given| given.strip_prefix("Bearer "));
            let is_good = *lie != Lie::Audience
                && given.is_some_and(|given| lock(kept).access.contains(given));
            if let (true, Some(missing)) = (is_good, missing(&lock(kept), &request.body)) {
                let challenge = format!(
                    "WWW-Authenticate: Bearer error=\"insufficient_scope\", scope=\"{missing}\"\r\n"
                );
                return http(403, "text/plain", &challenge, "not with this token");
            }
            if is_good {
                return match is_stopped(kept, RenewalPoint::Used) {
                    true => String::new(),
                    false => opened(Era::Handshake, request),
                };
            }
            let at = match lie {
                Lie::Metadata(other) => other.clone(),
                _ => format!("{server}/.well-known/oauth-protected-resource/mcp"),
            };
            let challenge = format!(
                "WWW-Authenticate: Bearer error=\"invalid_token\", resource_metadata=\"{at}\"\r\n"
            );
            http(401, "text/plain", &challenge, "who are you?")
        }
        _ => http(404, "text/plain", "", "nothing"),
    }
}

/// Whether a client proves in this way that it is [`OWN_CLIENT`].
fn is_own_client(way: &str, request: &Heard, form: &BTreeMap<String, String>) -> bool {
    let (id, secret) = OWN_CLIENT;
    let is = |name: &str, value: &str| form.get(name).is_some_and(|given| given == value);
    match way {
        "client_secret_post" => is("client_id", id) && is("client_secret", secret),
        _ => {
            let basic = BASE64_STANDARD.encode(format!("{}:{}", escaped(id), escaped(secret)));
            request.headers.get("authorization") == Some(&format!("Basic {basic}"))
        }
    }
}

/// The scope that a call needs and its token has not.
fn missing(kept: &Kept, asked: &Value) -> Option<String> {
    let (tool, scope) = kept.needs.as_ref()?;
    let is_call = asked["method"] == "tools/call" && asked["params"]["name"] == **tool;
    let is_held = kept.scope.split(' ').any(|one| one == scope);
    (is_call && !is_held).then(|| scope.clone())
}

fn authorize(lie: &Lie, kept: &Mutex<Kept>, asked: BTreeMap<String, String>) -> String {
    let mut kept = lock(kept);
    let of = |name: &str| asked.get(name).cloned().unwrap_or_default();
    let is_own = matches!(lie, Lie::Unregistered(_)) && of("client_id") == OWN_CLIENT.0;
    if !is_own && kept.clients.get(&of("client_id")) != Some(&of("redirect_uri"))
        || of("code_challenge_method") != "S256"
    {
        return http(400, "text/plain", "", "no such client");
    }
    kept.made += 1;
    let code = format!("code&{}", kept.made);
    let from = match lie {
        Lie::CameFrom(other) => format!("&iss={}", escaped(other)),
        _ => String::new(),
    };
    let back = format!(
        "Location: {}?code={}&state={}{from}\r\n",
        of("redirect_uri"),
        escaped(&code),
        escaped(&of("state"))
    );
    kept.codes.insert(code, asked);
    http(302, "text/plain", &back, "")
}

fn tokens(
    server: &str,
    lie: &Lie,
    kept: &mut Kept,
    form: &BTreeMap<String, String>,
) -> (u16, Value) {
    if kept.is_away {
        return (503, json!({"error": "temporarily_unavailable"}));
    }
    let of = |name: &str| form.get(name).cloned().unwrap_or_default();
    let refused = |why: &str| {
        (
            400,
            json!({"error": "invalid_grant", "error_description": why}),
        )
    };
    if of("resource") != format!("{server}/mcp") {
        return (400, json!({"error": "invalid_target"}));
    }
    match &*of("grant_type") {
        "authorization_code" => {
            let Some(asked) = kept.codes.remove(&of("code")) else {
                return refused("no such code");
            };
            let challenge =
                BASE64_URL_SAFE_NO_PAD.encode(Digest::of(of("code_verifier").as_bytes()).0);
            let is = |name: &str, value: &str| asked.get(name).map(String::as_str) == Some(value);
            if !is("code_challenge", &challenge)
                || !is("redirect_uri", &of("redirect_uri"))
                || form.contains_key("client_id") && !is("client_id", &of("client_id"))
            {
                return refused("not who asked");
            }
            let scope = asked.get("scope").cloned().unwrap_or_default();
            kept.scope = match lie {
                Lie::Narrow => scope.split(' ').next().unwrap_or_default().to_owned(),
                _ => scope,
            };
            kept.exchanges += 1;
        }
        "refresh_token" => {
            let token = of("refresh_token");
            if kept.spent.contains(&token) {
                // Somebody has a copy.
                kept.access.clear();
                kept.refresh = None;
            }
            if kept.refresh.as_ref() != Some(&token) {
                return refused("no such token");
            }
            kept.spent.insert(token);
            kept.refreshes += 1;
        }
        _ => return (400, json!({"error": "unsupported_grant_type"})),
    }
    kept.made += 1;
    let (access, refresh) = (
        format!("hush-access-{}", kept.made),
        format!("hush-refresh-{}", kept.made),
    );
    kept.access = BTreeSet::from([access.clone()]);
    let is_renewed = !kept.wants_offline_access || kept.scope.contains(OFFLINE_ACCESS);
    kept.refresh = is_renewed.then(|| refresh.clone());
    let kind = if *lie == Lie::TokenType {
        "mac"
    } else {
        "Bearer"
    };
    let mut told = json!({"access_token": access, "token_type": kind});
    if is_renewed {
        told["refresh_token"] = refresh.into();
    }
    if *lie == Lie::Narrow {
        told["scope"] = kept.scope.clone().into();
    }
    if let Some(life) = kept.life {
        told["expires_in"] = life.into();
    }
    (200, told)
}

/// The fields of a form, or of a query.
fn fields(text: &str) -> BTreeMap<String, String> {
    let fields = text.split('&').filter_map(|field| field.split_once('='));
    fields
        .map(|(name, value)| (plain(name), plain(value)))
        .collect()
}

fn plain(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let hex: String = [rest.next(), rest.next()]
                    .into_iter()
                    .flatten()
                    .map(char::from)
                    .collect();
                out.push(u8::from_str_radix(&hex, 16).unwrap_or(b'?'));
            }
            byte => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(
            |byte| match byte.is_ascii_alphanumeric() || b"-_".contains(&byte) {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            },
        )
        .collect()
}
