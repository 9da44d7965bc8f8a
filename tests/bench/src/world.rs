//! A gateway with one agent that may read and do, and what is asked of it.

use crate::bare;
use crate::load::Target;
use anyhow::{Context as _, Result, ensure};
use plexus_tests::oauth_web::{Lie, OAuthWeb, browse};
use plexus_tests::{Agent, Builder, Client, Folder, Gateway, Response};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

/// A note by its exact path.
const READ: &str = "obsidian.vault.read";
/// An effect that costs its source next to nothing: it appends a line, and forces it out.
const COUNT: &str = "fixture.count";
/// An effect as people use it: the before-image is kept on disk, then the file is replaced.
const WRITE: &str = "workspace.write";
/// An effect that is never granted.
const RUN: &str = "fixture.run";
/// Files that [`Kind::Write`] goes round: more than are written at once, fewer than the gateway remembers of an agent.
const FILES: u32 = 512;
/// Bytes by which the answers and tokens of two servers may differ.
const SLACK: usize = 24;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A note of 1 KiB, with its record.
    Read,
    /// [`COUNT`].
    Effect,
    /// [`WRITE`].
    Write,
    /// A call for which the owner has to be asked, asked again and again.
    Pending,
    /// What the gateway says of itself.
    Discovery,
    /// A call without a credential.
    Refused,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::Read,
        Self::Effect,
        Self::Write,
        Self::Pending,
        Self::Discovery,
        Self::Refused,
    ];
    /// As figures name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Effect => "effect",
            Self::Write => "write",
            Self::Pending => "pending",
            Self::Discovery => "discovery",
            Self::Refused => "refused",
        }
    }
    /// The bare path beside it, where there is one.
    pub(crate) const fn bare(self) -> Option<&'static str> {
        match self {
            Self::Read => Some("read"),
            Self::Effect => Some("effect"),
            Self::Write | Self::Pending | Self::Discovery | Self::Refused => None,
        }
    }
}

/// A gateway, its folders, and an agent.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    _vault: Folder,
    /// Where a write costs nothing, on systems that have such a place.
    free: TempDir,
    pub(crate) agent: Agent,
    token: String,
}

impl World {
    /// Starts a gateway on a fresh home and lets an agent in.
    pub(crate) fn new(environment: &[(String, String)]) -> Result<Self> {
        let vault = Folder::empty();
        vault.write("note.md", note());
        let free = free_folder()?;
        for name in ["fixture", "workspace"] {
            std::fs::create_dir(free.path().join(name))?;
        }
        let gateway = builder(&vault, free.path(), environment).start();
        let owner = gateway.owner();
        let route = json!({"path": free.path().join("fixture").canonicalize()?});
        let source =
            json!({"id": "fixture", "kind": "fixture-dir", "label": "Fixture", "route": route});
        owner.client.post("/admin/api/sources", source).expect_ok();
        // Longer than any run of the bench.
        owner
            .client
            .must_put("/v1/config", json!({"tokenLifetimeMs": 3_600_000}));
        let agent = enter(&gateway)?;
        let mut world = Self {
            gateway,
            _vault: vault,
            free,
            agent,
            token: String::new(),
        };
        world.renew()?;
        Ok(world)
    }

    /// Takes up a gateway that was stopped and started again: sessions and tokens have ended with the launch.
    pub(crate) fn renew(&mut self) -> Result<()> {
        self.agent = Agent::with_pat(&self.gateway.client(), &self.agent.id, &self.agent.pat);
        let token = self.agent.token(&[READ, COUNT, WRITE]);
        self.token = token["token"].as_str().context("no token")?.to_owned();
        Ok(())
    }

    /// What a load of this kind sends.
    pub(crate) fn target(&self, kind: Kind) -> Target {
        let (port, server) = (self.gateway.port(), self.gateway.pid());
        let call = |body: &Value| Target::call(port, server, &self.token, &body.to_string());
        match kind {
            Kind::Read => call(&json!({"id": READ, "input": {"path": "note.md"}})),
            Kind::Effect => call(&json!({"id": COUNT, "input": {"line": "one more"}})),
            Kind::Write => Target {
                round: FILES,
                ..call(&json!({"id": WRITE, "input": {"path": "file-{n}.md", "content": note()}}))
            },
            Kind::Pending => Target {
                refused: true,
                ..call(&json!({"id": RUN, "input": {"prompt": "go"}}))
                    .with("x-plexus-session", &self.agent.session)
            },
            Kind::Discovery => Target {
                method: "GET",
                path: "/.well-known/plexus",
                headers: Vec::new(),
                body: String::new(),
                ..call(&Value::Null)
            },
            Kind::Refused => Target {
                headers: Vec::new(),
                refused: true,
                ..call(&json!({"id": READ, "input": {"path": "note.md"}}))
            },
        }
    }

    /// Calls once; gives the answer.
    pub(crate) fn once(&self, kind: Kind) -> Response {
        let target = self.target(kind);
        let client = target
            .headers
            .iter()
            .fold(self.gateway.client(), |client, (name, value)| {
                client.with(name, value)
            });
        let mut request = client.request(target.method, target.path);
        if !target.body.is_empty() {
            request = request
                .header("content-type", "application/json")
                .bytes(target.body.replace("{n}", "0"));
        }
        request.send()
    }

    /// How long the events of one call of this kind are in the ledger, in bytes.
    fn recorded(&self, kind: Kind) -> Result<usize> {
        self.once(kind).expect_ok();
        let events = self.gateway.owner().audit(2);
        let export = self
            .gateway
            .owner()
            .client
            .get("/admin/api/audit/export")
            .text();
        let lines = if kind == Kind::Read { 1 } else { 2 };
        ensure!(events.len() >= lines, "no records: {events:?}");
        // A line is the hash in hex, a space, the event; the ledger has the hash in 32 bytes.
        let lines = export.lines().rev().take(lines);
        Ok(lines.map(|line| line.len() - 65 + 32).sum())
    }

    /// Starts the bare path of this kind, with answers, tokens and records as long as this gateway's.
    pub(crate) fn bare_path(
        &self,
        kind: Kind,
        environment: &[(String, String)],
    ) -> Result<BarePath> {
        let record = self.recorded(kind)?;
        let answer = self.once(kind).body.len();
        let folder = Folder::empty();
        folder.write("note.md", note());
        let file = match kind {
            Kind::Read => folder.path().join("note.md"),
            _ => self.free.path().join("bare.log"),
        };
        let name = kind.bare().context("there is no bare path of that")?;
        let server = bare::Server::start(
            &[
                "path",
                &folder.path().to_string_lossy(),
                &file.to_string_lossy(),
                name,
                &record.to_string(),
                &answer.to_string(),
            ],
            environment,
        )?;
        let token = bare::token(self.token.len());
        let target = Target {
            port: server.port,
            server: server.pid(),
            headers: vec![("authorization", format!("Bearer {token}"))],
            ..self.target(kind)
        };
        let same = bare_answer(&target)?;
        ensure!(
            same.abs_diff(answer) <= SLACK && token.len().abs_diff(self.token.len()) <= SLACK,
            "unlike is compared: answers of {same} and {answer} bytes, tokens of {} and {}",
            token.len(),
            self.token.len()
        );
        Ok(BarePath {
            target,
            _server: server,
            _folder: folder,
        })
    }

    /// The folder where writes are free.
    pub(crate) fn free(&self) -> &Path {
        self.free.path()
    }
}

/// A bare path that serves.
pub(crate) struct BarePath {
    pub(crate) target: Target,
    _server: bare::Server,
    _folder: Folder,
}

fn builder(vault: &Folder, free: &Path, environment: &[(String, String)]) -> Builder {
    let builder = Gateway::builder()
        .fixture()
        .vault(&vault.path())
        .workspace(&free.join("workspace"));
    environment
        .iter()
        .fold(builder, |builder, (name, value)| builder.env(name, value))
}

/// Lets the bench's agent in, with everything that it is going to use.
fn enter(gateway: &Gateway) -> Result<Agent> {
    let agent = gateway.agent_with("bench", &[READ]);
    for effect in [COUNT, WRITE] {
        gateway.owner().must_grant("bench", effect, "until-revoked");
    }
    // What one agent may do is no part of what is measured.
    let most = json!({"callsPerSecond": 1_000_000, "ledgerBytesPerDay": 1_u64 << 40});
    let limits = gateway
        .owner()
        .client
        .post("/admin/api/agents/bench/limits", most);
    ensure!(limits.status == 200, "{limits}");
    Ok(agent)
}

/// On tmpfs where there is one, so that what the effects write costs nothing.
fn free_folder() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    Ok(if memory.is_dir() {
        TempDir::with_prefix_in("plx", memory)?
    } else {
        TempDir::with_prefix("plx")?
    })
}

/// How long the body of a bare server's answer is.
fn bare_answer(target: &Target) -> Result<usize> {
    let (name, value) = &target.headers[0];
    let client = Client::tcp(target.port).with(name, value);
    let request = client
        .request(target.method, target.path)
        .header("content-type", "application/json")
        .bytes(target.body.clone());
    let answer = client.raw(&request.bytes_on_wire());
    let answer = Response::parse("a bare server", &answer).context("a bare server said nothing")?;
    ensure!(answer.status == 200, "{answer}");
    Ok(answer.body.len())
}

/// 1 KiB of text.
pub(crate) fn note() -> String {
    let mut note = "one word, one meaning. ".repeat(47);
    note.truncate(1024);
    note
}

/// A server `notes` at a URL that its owner is signed in at; its tool `look` only reads.
pub(crate) fn signed_in(gateway: &Gateway) -> OAuthWeb {
    let web = OAuthWeb::start(Lie::None);
    let owner = gateway.owner();
    let begun = json!({"name": "notes", "url": web.url()});
    let begun = owner.post("/admin/api/sign-ins", begun).expect_ok();
    let of = |name: &str| begun["sign_in"][name].as_str().unwrap_or_default();
    drop(browse(of("address")));
    let mut draft =
        json!({"name": "notes", "url": web.url(), "sign_in": of("id"), "reads": ["look"]});
    let seen = owner.post("/admin/api/extensions/preview", draft.clone());
    draft["digest"] = seen.expect_ok()["digest"].clone();
    owner.post("/admin/api/extensions", draft).expect_ok();
    web
}
