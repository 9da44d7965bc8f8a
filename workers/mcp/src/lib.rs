//! The worker of lent MCP servers: calls the tools of a server that runs in a cage of its own, and reads its resources and prompts.
//!
//! ```text
//! reader: listing, plan, read ─▶ a server of its own for this call ─▶ its definitions as pinned? ─▶ call ─▶ thrown away
//! writer: commit ─▶ the one server, started when first needed ─▶ its definitions as pinned? ─▶ call ─▶ kept
//! ```
//!
//! Invariants: a tool is called only while the server defines it, and its instructions, as the owner agreed; the reader's
//! servers share nothing, not even between two calls; an effect is sent once.
//!
//! A server that is a program has no network, or the hosts that the owner names: its proxy is the source's egress, which knows it
//! by the credential of this worker's start.
//!
//! A server at a URL is spoken to by way of the source's egress. No cage of ours is around it: that a tool of it only reads is
//! the server's word.
//!
//! Must not know: agents, grants, the gateway, which server it is.

mod http;
#[cfg(test)]
mod oracles;
mod output;
mod question;
mod refusal;
mod session;
mod sign_in;
mod wire;

use http::{Http, ServerAddress};
use output::{ToolOutput, as_blocks, output};
use plexus_ipc::text::{Text, counted};
use plexus_ipc::{
    egress::{NODE_PROXY, PROXY_VARIABLES},
    manifest::{Manifest, McpPins, ServerMethod},
    message::{Failure, SERVER_REFUSED},
    sign_in_step::{SIGN_IN_STEP, SignInStep},
    worker::{
        CallContext, EgressAccess, Handlers, Health, OpenError, Plan, Preview, Reply, Role,
        Secrets, Source, SourceContext, SourceError, children::Children,
    },
};
use plexus_protocol::{Effect, SourceId, json::digest};
use serde_json::{Map, Value, json};
use session::{Defined, Request, Response, Session, SessionError, network_advice};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::sync::{Mutex, Semaphore};

/// The owner's read that answers all that a server says of itself.
pub const LISTING: &str = "server.tools";
/// Longest of each fact about a failure, in bytes: two of them fit into one detail.
const MAX_DETAIL: usize = 1_500;
/// How a server says that it has no such resource.
const NO_RESOURCE: i64 = -32002;
/// Servers of a reader at one time. The keeper has room for 16.
const AT_ONCE: usize = 8;

/// One server.
#[derive(Debug)]
pub struct McpServer {
    source: SourceId,
    server: ServerLocation,
    role: Role,
    pins: McpPins,
    /// The owner's fields: folders, or a URL.
    route: Map<String, Value>,
    next_run: AtomicU64,
    slots: Arc<Semaphore>,
    /// The writer's server, while it runs.
    kept: Mutex<Option<Session>>,
    /// The server has defined something otherwise than the owner agreed to.
    differs: AtomicBool,
}

/// Where the server is.
#[derive(Debug)]
enum ServerLocation {
    /// A program that the keeper starts, with these variables of its environment: the owner's secrets, and its way to hosts.
    Program(Children, Secrets, Vec<(&'static str, String)>),
    /// A URL.
    Url(ServerAddress),
}

impl Source for McpServer {
    /// The folders that the owner gives the server, or its URL, by field.
    type Config = Map<String, Value>;

    async fn open(_: Self::Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        Err(OpenError::internal("an MCP server is opened with a keeper"))
    }

    async fn open_with(config: Self::Config, given: SourceContext) -> Result<Self, OpenError> {
        let missing = |what| OpenError::internal(format!("this worker has no {what}"));
        let server = match config.get("url").and_then(Value::as_str) {
            Some(url) => {
                let egress = given.egress.ok_or_else(|| missing("way to the network"))?;
                let place = ServerAddress::new(&egress, url);
                ServerLocation::Url(place.ok_or_else(|| missing("way that can be opened"))?)
            }
            None => {
                let children = given.children.ok_or_else(|| missing("keeper"))?;
                let proxy = given.egress.as_ref().map(proxy).unwrap_or_default();
                ServerLocation::Program(children, given.secrets, proxy)
            }
        };
        Ok(Self {
            source: given.source.ok_or_else(|| missing("source"))?,
            server,
            role: given.role,
            pins: given.pins.unwrap_or_default(),
            route: config,
            next_run: AtomicU64::new(0),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            kept: Mutex::default(),
            differs: AtomicBool::new(false),
        })
    }

    async fn health(&self) -> Health {
        self.hear_kept().await;
        if self.differs.load(Ordering::Acquire) {
            Health::Degraded(self.differently("the server").into())
        } else {
            Health::Well
        }
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
    }

    fn handlers_of(manifest: &Manifest) -> Handlers<Self> {
        let tools = manifest.capabilities.iter().filter(|c| c.callable());
        tools.fold(Handlers::new(), |handlers, tool| {
            let name = tool.name.clone();
            if name == LISTING {
                return handlers.read(name, |server, _, _: Value| server.listed());
            }
            if name == SIGN_IN_STEP {
                return handlers.read(name, |server, _, step: SignInStep| server.stepped(step));
            }
            if tool.is_read() {
                let of = name.clone();
                return handlers.read(name, move |server, call, arguments| {
                    server.read(of.clone(), call, arguments)
                });
            }
            let (of, describe) = (name.clone(), tool.describe.clone());
            handlers.effect(
                name,
                move |server, _, arguments| server.plan(of.clone(), describe.clone(), arguments),
                |server, call, (tool, arguments): (String, Value)| {
                    server.commit(tool, call, arguments)
                },
            )
        })
    }
}

impl McpServer {
    /// All that the server says of itself.
    async fn listed(self: Arc<Self>) -> Result<Reply<Value>, SourceError> {
        let mut session = self.fresh().await?;
        let mut listing = json!(session.defined);
        listing["found"] = json!(session.found().await);
        let summary = counted(session.defined.tools.len(), "tool");
        session.end().await;
        Ok(Reply::new(listing, summary))
    }

    /// What the host says of a sign-in.
    async fn stepped(self: Arc<Self>, step: SignInStep) -> Result<Reply<Value>, SourceError> {
        let ServerLocation::Url(place) = &self.server else {
            return Err(SourceError::internal("a program has no sign-in"));
        };
        let told = sign_in::answer(place, step).await;
        let told = told.map_err(|why| SourceError::unavailable(one_line(&why)))?;
        Ok(Reply::new(told, "a step of the sign-in"))
    }

    async fn read(
        self: Arc<Self>,
        tool: String,
        call: CallContext,
        arguments: Value,
    ) -> Result<Reply<ToolOutput>, SourceError> {
        let mut session = self.fresh().await?;
        let asked = self.agreed(&session.defined, &tool)?;
        let answered = session.call(asked, &arguments, &call).await;
        session.end().await;
        self.answer(asked, answered, Effect::None)
    }

    /// Says what the tool would be given. What it does with it, nobody but the server knows.
    async fn plan(
        self: Arc<Self>,
        tool: String,
        describe: String,
        arguments: Value,
    ) -> Result<Plan<(String, Value)>, SourceError> {
        let asked = match self.role {
            Role::Reader => {
                let session = self.fresh().await?;
                let agreed = self.agreed(&session.defined, &tool);
                session.end().await;
                agreed?
            }
            Role::Writer => {
                let mut kept = self.kept.lock().await;
                let session = self.running(&mut kept).await?;
                self.agreed(&session.defined, &tool)?
            }
        };
        let preview = match asked {
            Request::Tool(_) => Preview::new(format!("run the tool {tool} of {}", self.source))
                .fact("tool", &tool)
                .fact("pinned description", one_line(&describe)),
            Request::Method(method) => {
                let asks = format!("ask {} for {}", self.source, method.method());
                Preview::new(asks).fact("method", method.method())
            }
        };
        let mut preview = preview;
        // Before what an agent can add to.
        if let ServerLocation::Program(_, secrets, _) = &self.server
            && !secrets.is_empty()
        {
            let names: Vec<_> = secrets.iter().map(|(name, _)| name).collect();
            preview = preview.fact("reads its secret", names.join(", "));
        }
        preview = preview.fact("reaches", self.reach());
        for (name, value) in arguments.as_object().into_iter().flatten() {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            preview = preview.fact(&format!("argument {name}"), one_line(&value));
        }
        let whole = serde_json::to_string_pretty(&arguments).unwrap_or_default();
        let preview = preview.text(&whole);
        let token = digest(&json!([self.pins.tools.get(&tool), tool, arguments]));
        let summary = format!("run {tool}");
        Ok(Plan::new((tool, arguments), token, preview, summary)
            .warning("Plexus cannot preview what this tool will do: a third party wrote it."))
    }

    async fn commit(
        self: Arc<Self>,
        tool: String,
        call: CallContext,
        arguments: Value,
    ) -> Result<Reply<ToolOutput>, SourceError> {
        let mut kept = self.kept.lock().await;
        let session = self.running(&mut kept).await?;
        let asked = self.agreed(&session.defined, &tool)?;
        let answered = session.call(asked, &arguments, &call).await;
        if !matches!(answered, Ok(_) | Err(SessionError::Refused(_))) {
            // A server that failed once is started afresh: its state is not known either.
            end(&mut kept).await;
        }
        self.answer(asked, answered, Effect::Done)
    }

    /// A server for one call of the reader.
    async fn fresh(&self) -> Result<Session, SourceError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(|_| SourceError::internal("no slot"))?;
        let run = format!("call-{}", self.next_run.fetch_add(1, Ordering::Relaxed));
        let session = self
            .start(run)
            .await
            .map_err(|error| self.unusable(&error))?;
        Ok(session.holding(slot))
    }

    /// Hears what the kept server says while nobody calls it: that its tools have changed is told before somebody meets it.
    async fn hear_kept(&self) {
        // One that serves a call is heard by that.
        let Ok(mut kept) = self.kept.try_lock() else {
            return;
        };
        if let Some(session) = kept.as_mut()
            && session.has_changed().await
        {
            let differs = !self.pins.covers(&session.defined.pins());
            self.differs.store(differs, Ordering::Release);
        }
    }

    async fn start(&self, run: String) -> Result<Session, SessionError> {
        match &self.server {
            ServerLocation::Program(children, secrets, proxy) => {
                let named = secrets.iter().map(|(name, secret)| (name, secret.expose()));
                let proxy = proxy.iter().map(|(name, value)| (*name, &**value));
                let named: Vec<_> = named.chain(proxy).collect();
                Session::start(children, self.role, run, &named).await
            }
            ServerLocation::Url(place) => Session::at(Http::new(place.clone())).await,
        }
    }

    /// The writer's server: the one that runs, or a new one.
    async fn running<'k>(
        &self,
        kept: &'k mut Option<Session>,
    ) -> Result<&'k mut Session, SourceError> {
        let usable = match kept {
            Some(session) => session.refresh().await,
            None => false,
        };
        if !usable {
            end(kept).await;
            let started = self.start("server".to_owned()).await;
            *kept = Some(started.map_err(|error| self.unusable(&error))?);
        }
        kept.as_mut()
            .ok_or_else(|| SourceError::internal("no server"))
    }

    /// What this capability asks of the server, if that is still what the owner agreed to, as far as this capability goes.
    fn agreed<'t>(&self, defined: &Defined, tool: &'t str) -> Result<Request<'t>, SourceError> {
        let now = defined.pins();
        let differs = !self.pins.covers(&now);
        self.differs.store(differs, Ordering::Release);
        let same = now.instructions == self.pins.instructions
            && now.tools.contains_key(tool)
            && now.tools.get(tool) == self.pins.tools.get(tool);
        match defined.method(tool) {
            Some(method) if same => Ok(Request::Method(method)),
            None if same => Ok(Request::Tool(tool)),
            _ => Err(SourceError::changed(
                "definition_changed",
                self.differently(&format!("the tool {tool}")),
            )),
        }
    }

    fn differently(&self, what: &str) -> String {
        let source = &self.source;
        format!(
            "{source} defines {what} otherwise than the owner agreed to; the owner compares and decides: plexusctl approvals, or plexusctl mcp refresh {source}"
        )
    }

    /// What the cage of the writer's server lets it reach.
    fn reach(&self) -> String {
        if let Some(url) = self.route.get("url").and_then(Value::as_str) {
            return format!(
                "whatever the server at {} reaches: no sandbox is around it",
                one_line(url)
            );
        }
        let named = |what: &str| {
            let folders = self
                .route
                .iter()
                .filter(|(field, _)| field.starts_with(what));
            let folders: Vec<_> = folders.filter_map(|(_, path)| path.as_str()).collect();
            match folders.is_empty() {
                true => "nothing of yours".to_owned(),
                false => folders.join(", "),
            }
        };
        let network = match self.route.contains_key("host1") {
            true => format!("{} and nothing else of the network", named("host")),
            false => "no network".to_owned(),
        };
        format!(
            "{network}, no other program; writes {}; reads {}",
            named("folder"),
            named("code")
        )
    }

    fn unusable(&self, error: &SessionError) -> SourceError {
        if let SessionError::Failed { words, .. } = error {
            // For plexusctl logs: the one line of an error has no room for them.
            for line in words {
                tracing::warn!(line, "the server said before it failed");
            }
        }
        let source = &self.source;
        let next = match error {
            // One that is not added yet has no pins.
            SessionError::Unauthorized(_) if self.pins.tools.is_empty() => {
                "; added without a secret, it asks you to sign in; where it is lent already: plexusctl mcp login SOURCE, or plexusctl sources secret SOURCE NAME".to_owned()
            }
            SessionError::Unauthorized(_) => format!(
                "; the owner signs in with plexusctl mcp login {source}, or sets a secret with plexusctl sources secret {source} NAME"
            ),
            _ => String::new(),
        };
        match error {
            SessionError::ScopeMissing(wanted) => SourceError::new(
                Failure::ScopeMissing {
                    wanted: wanted.clone(),
                },
                format!("the MCP server did nothing: {error}"),
            ),
            error => {
                SourceError::unavailable(format!("the MCP server cannot be used: {error}{next}"))
            }
        }
    }

    /// The answer to what was asked; `ran` is what is true of a call that has come to its end.
    fn answer(
        &self,
        asked: Request<'_>,
        answered: Result<Response, SessionError>,
        ran: Effect,
    ) -> Result<Reply<ToolOutput>, SourceError> {
        let tool = match asked {
            Request::Tool(tool) => tool,
            Request::Method(method) => method.name(),
        };
        let is_effect = ran != Effect::None;
        let failed = |reason: &str, words: String, detail: Map<String, Value>| {
            let hint = match &self.server {
                ServerLocation::Program(..) => network_advice(&words),
                ServerLocation::Url(_) => "",
            };
            let words = format!("{tool} {}{hint}", words.trim_end_matches(['.', '\n']));
            SourceError::transport(reason, one_line(&words)).detail(Value::Object(detail))
        };
        let mut response = answered.map_err(|error| match error {
            SessionError::Cancelled => SourceError::cancelled(match is_effect {
                true => Effect::Unknown,
                false => Effect::None,
            }),
            SessionError::Refused(failure) => {
                let mut detail = Map::new();
                detail.extend(
                    failure
                        .code
                        .map(|code| ("serverCode".to_owned(), json!(code))),
                );
                let data = Some(failure.data.clone()).filter(|data| !data.is_null());
                detail.extend(data.and_then(small).map(|data| ("data".to_owned(), data)));
                let words = format!("was answered with an error of the server: {failure}");
                let is_missing = matches!(asked, Request::Method(ServerMethod::ReadResource))
                    && failure.code == Some(NO_RESOURCE);
                match is_missing || failure.is_before() {
                    true => failed(SERVER_REFUSED, words, detail),
                    false => failed("tool_failed", words, detail).effect(failure.effect(ran)),
                }
            }
            error if is_effect => self.unusable(&error).effect(error.effect()),
            error => self.unusable(&error),
        })?;
        if let Request::Method(method) = asked {
            as_blocks(method, &mut response);
        }
        output(response)
            .map(|output| Reply::new(output, format!("ran {tool}")))
            .map_err(|failure| {
                let mut detail = Map::new();
                let structured = failure
                    .structured
                    .and_then(|raw| small(serde_json::from_str(raw.get()).unwrap_or_default()));
                // The message is one line: what has more is there as it came.
                let has_lines = failure
                    .words
                    .trim()
                    .contains('\n')
                    .then_some(&failure.words);
                let lines = has_lines.map(|words| {
                    let end = words.floor_char_boundary(MAX_DETAIL);
                    json!(Text::<MAX_DETAIL>::new(&words[..end]))
                });
                detail.extend(lines.map(|lines| ("text".to_owned(), lines)));
                let mut words = failure.words;
                if words.trim().is_empty() {
                    words = match &structured {
                        Some(structured) => structured.to_string(),
                        None => "it does not say why".to_owned(),
                    };
                }
                detail.extend(structured.map(|told| ("structured".to_owned(), told)));
                failed(
                    "tool_failed",
                    format!("ran and says that it failed: {words}"),
                    detail,
                )
                .effect(ran)
            })
    }
}

/// Variables by which a program finds its way to its hosts: nobody else holds the credential in them, and it ends with this
/// worker.
fn proxy(egress: &EgressAccess) -> Vec<(&'static str, String)> {
    let credential = egress.credential.expose();
    let address = format!("http://plexus:{credential}@127.0.0.1:{}", egress.port);
    let value = |name| match name {
        NODE_PROXY => "1".to_owned(),
        _ => address.clone(),
    };
    PROXY_VARIABLES.map(|name| (name, value(name))).to_vec()
}

/// Ends the server that is kept, and waits for that: the next one may take what this one holds, such as a lock or a port.
async fn end(kept: &mut Option<Session>) {
    if let Some(session) = kept.take() {
        session.end().await;
    }
}

/// What fits into a detail beside a text.
fn small(value: Value) -> Option<Value> {
    (value.to_string().len() <= MAX_DETAIL).then_some(value)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
