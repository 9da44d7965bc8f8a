//! What an agent on any machine is set up from (docs/protocol/owner.md#set-up-another-machine): the owner fetches a
//! command line, the other machine a script.
//!
//! ```text
//! owner ──GET /integration/ID, with the key──▶ one command line, with a fresh code where one is needed
//! other machine ──GET …/install.sh | …/setup.sh──▶ script ──GET …/engine/PLATFORM──▶ the `plexus` command
//! ```
//! Invariants: a code is in the owner's answer and nowhere else; scripts and the command hold no credential, no name of
//! a capability and nothing of the person's; what ends a credential is asked for in words (`reissue`); the public routes
//! answer every name alike.

mod scripts;

use super::acting::{Acting, Narrowing};
use crate::{
    acts::{act, failed},
    desk::Desk,
};
use axum::{
    Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    response::Response,
    routing::get,
};
use bytes::Bytes;
use plexus_edge::{
    grant_reply,
    reply::{self, Refused, ok},
};
use plexus_home::tasks;
use plexus_protocol::{
    AgentId, ErrorBody, ErrorCode, Timestamp, credential::EnrollmentCode, shell,
};
use plexus_trust::{CODE_MS, Command, Deliver, Reply};
use scripts::Script;
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

/// The program that other machines fetch.
const ENGINE: &str = "plexus";
/// It, once somebody has fetched it: any peer that reaches the gateway may, on as many connections as there are.
static DOWNLOADED: OnceLock<Bytes> = OnceLock::new();

/// For the owner.
pub(super) fn owner_routes() -> Router<Arc<Desk>> {
    Router::new().route("/integration/{id}", get(deliver))
}

/// For the machine that is set up.
pub(super) fn public_routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/integration/{id}/install.sh", get(install))
        .route("/integration/{id}/setup.sh", get(setup))
        .route("/integration/{id}/engine/{platform}", get(engine))
}

/// The forms of material (docs/protocol/owner.md#agents); an agent without a type is Claude Code's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    ClaudeCode,
    Generic,
    InContext,
}

impl Form {
    fn named(word: &str) -> Option<Self> {
        match word {
            "claude-code" => Some(Self::ClaudeCode),
            "generic" => Some(Self::Generic),
            "in-context" => Some(Self::InContext),
            _ => None,
        }
    }
    fn of(stored: Option<&str>) -> Self {
        stored.and_then(Self::named).unwrap_or(Self::ClaudeCode)
    }
    fn word(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::Generic => "generic",
            Self::InContext => "in-context",
        }
    }
}

/// What an agent is called in a path.
fn named(id: &str) -> Result<AgentId, Refused> {
    AgentId::parse(id).map_err(|_| {
        Refused::malformed("`agentId` (a non-empty string, not the admin id) is required")
    })
}

async fn deliver(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refused> {
    if request.method() == Method::HEAD {
        // Asking whether there is something must not end the code that another answer gave.
        return Ok(plain(StatusCode::OK, String::new()));
    }
    let agent = named(&id)?;
    let form = reply::query(&request, "as").and_then(|word| Form::named(&word));
    let reissue = reply::query(&request, "reissue");
    let reissue = form.is_none() && matches!(reissue.as_deref(), Some("1" | "true" | "yes"));
    // A rotation of the key comes before the code, or ends it.
    let acting = narrowing.wider(&desk).await?;
    let delivery = delivery(&desk, &acting, agent, form, reissue).await?;
    Ok(ok(&delivery.answer(&desk)?))
}

/// What an agent was delivered.
struct Delivery {
    agent: AgentId,
    form: Form,
    script: Script,
    /// A fresh code where one was needed, with its end.
    code: Option<(EnrollmentCode, Timestamp)>,
    /// Whether it had a credential already.
    enrolled: bool,
    /// Whether that was to end.
    reissue: bool,
}

/// Makes a delivery: a fresh code where one is needed, and what brings it to the agent.
async fn delivery(
    desk: &Desk,
    acting: &Acting,
    agent: AgentId,
    form: Option<Form>,
    reissue: bool,
) -> Result<Delivery, Refused> {
    let code = EnrollmentCode::fresh().map_err(|e| failed(e.to_string()))?;
    let receipt = act(
        desk,
        acting,
        Command::Deliver(Deliver {
            agent: agent.clone(),
            form: form.map(|form| form.word().to_owned()),
            reissue,
            code: code.digest(),
            code_ms: CODE_MS,
        }),
    )
    .await
    .map_err(|refused| match refused.code() {
        ErrorCode::UnknownAgent | ErrorCode::SessionExpired => unknown(&agent),
        _ => refused,
    })?;
    let Reply::Delivered {
        code_expires_at,
        enrolled,
    } = receipt.reply
    else {
        return Err(failed("a delivery was answered with something else"));
    };
    if code_expires_at.is_some() {
        desk.contents.forget(&agent);
    }
    let state = desk.ledger.snapshot();
    let row = state.agent(&agent).ok_or_else(|| unknown(&agent))?;
    Ok(Delivery {
        form: Form::of(row.agent_type.as_deref()),
        script: script(desk, &agent),
        code: code_expires_at.map(|until| (code, until)),
        agent,
        enrolled,
        reissue,
    })
}

impl Delivery {
    fn code(&self) -> Option<&str> {
        self.code.as_ref().map(|(code, _)| code.expose())
    }

    /// It, as the owner's client gets it.
    fn answer(&self, desk: &Desk) -> Result<Value, Refused> {
        let state = desk.ledger.snapshot();
        let row = state
            .agent(&self.agent)
            .ok_or_else(|| unknown(&self.agent))?;
        let mut capabilities: Vec<String> = grant_reply::standing(desk, &state, row)
            .into_iter()
            .filter(|grant| state.exposed(&grant.capability_id))
            .map(|grant| grant.capability_id.to_string())
            .collect();
        capabilities.sort();
        let mut answer = json!({"ok": true, "agentId": self.agent, "agentType": self.form.word()});
        material(&mut answer, self.form, &self.script, self.code());
        answer["capabilities"] = json!(capabilities);
        answer["alreadyEnrolled"] = self.enrolled.into();
        answer["reissued"] = (self.enrolled && self.reissue).into();
        if let Some((code, until)) = &self.code {
            answer["enrollCode"] = code.expose().into();
            answer["codeExpiresAt"] = json!(until);
        }
        Ok(answer)
    }
}

/// How a freshly connected agent gets to work, for the owner who hands it over.
pub(crate) struct HandOver {
    /// Commands of a shell where the agent works, in their order.
    pub(crate) commands: Vec<String>,
    /// The program that they write, through which the agent reaches this gateway.
    pub(crate) launcher: String,
    /// What an agent is told that runs no shell.
    pub(crate) instruction: Option<String>,
    /// When the code in them ends.
    pub(crate) until: Option<Timestamp>,
}

/// Delivers what an agent that has just been connected is set up from.
///
/// # Errors
/// As a delivery over HTTP.
pub(crate) async fn hand_over(
    desk: &Desk,
    acting: &Acting,
    agent: AgentId,
) -> Result<HandOver, Refused> {
    let made = delivery(desk, acting, agent, None, false).await?;
    let script = &made.script;
    let user = std::env::var_os("HOME").map(PathBuf::from);
    let home = shell::home_prefix(desk.state_dir.path(), user.as_deref());
    let code = made.code();
    let enroll = |program: &str| code.map(|code| format!("{home}{program} enroll {code}"));
    let (commands, instruction) = match made.form {
        Form::ClaudeCode => (vec![script.install_in(&home, code)], None),
        Form::Generic => {
            let setup = [script.setup_in(&home)].into_iter();
            let launcher = shell::quote(&script.launcher());
            (setup.chain(enroll(&launcher)).collect(), None)
        }
        Form::InContext => {
            let first = enroll("plexus").into_iter().collect();
            (first, Some(script.instruction()))
        }
    };
    Ok(HandOver {
        commands,
        launcher: script.launcher(),
        instruction,
        until: made.code.as_ref().map(|(_, until)| *until),
    })
}

/// The members that belong to one form.
fn material(answer: &mut Value, form: Form, script: &Script, code: Option<&str>) {
    match form {
        Form::ClaudeCode => {
            answer["dirName"] = script.folder().into();
            answer["version"] = script.version().into();
            answer["installCommand"] = script.install_command(code).into();
            answer["manual"] = script.manual(&script.install_command(None)).into();
            answer["files"] = script
                .files()
                .into_iter()
                .map(|file| json!({"path": file.path, "mode": file.mode, "content": file.text}))
                .collect();
        }
        Form::Generic => {
            answer["setupCommand"] = script.setup_command().into();
            answer["manual"] = script.manual(&script.setup_command()).into();
            answer["installCommand"] = script.setup_command().into();
            answer["instruction"] = script.instruction().into();
            if let Some(code) = code {
                answer["enrollCommand"] = format!("{} enroll {code}", script.launcher()).into();
            }
        }
        Form::InContext => {
            answer["installCommand"] = "".into();
            answer["instruction"] = script.instruction().into();
            answer["manual"] = script.manual("").into();
            answer["enrollHint"] =
                "Give the agent the instruction, and the code for its first command: plexus enroll CODE"
                    .into();
        }
    }
}

fn unknown(agent: &AgentId) -> Refused {
    let why =
        format!("agent '{agent}' is not connected; connect it first: plexusctl connect {agent}");
    Refused::new(ErrorBody::new(ErrorCode::UnknownAgent, why).next("plexusctl agents list"))
}

async fn install(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Response {
    scripted(&desk, &id, Script::install_sh)
}

async fn setup(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Response {
    scripted(&desk, &id, Script::setup_sh)
}

/// A script for this name, as plain text; so are the refusals, because a shell reads them. Whether an agent is called so
/// is not looked up: without the owner's code a script lets nobody in, and a peer that may fetch it may not learn of names.
fn scripted(desk: &Desk, id: &str, text: fn(&Script) -> String) -> Response {
    match AgentId::parse(id) {
        Ok(agent) => plain(StatusCode::OK, text(&script(desk, &agent))),
        Err(_) => not_a_name(),
    }
}

fn not_a_name() -> Response {
    let why = "plexus: `agentId` (a non-empty string, not the admin id) is required\n";
    plain(StatusCode::BAD_REQUEST, why.to_owned())
}

fn script(desk: &Desk, agent: &AgentId) -> Script {
    let (base, home) = (desk.address.base(), desk.state_dir.path());
    Script::new(agent, &base, home, desk.clock.now())
}

/// The `plexus` command itself, for a machine of the same kind as this one.
async fn engine(Path((id, platform)): Path<(String, String)>) -> Response {
    if AgentId::parse(&id).is_err() {
        return not_a_name();
    }
    let own = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
    if platform != own {
        let why = format!("plexus: this gateway has the command for {own} only\n");
        return plain(StatusCode::NOT_FOUND, why);
    }
    let read = tasks::blocking(|| match DOWNLOADED.get() {
        Some(known) => Ok::<_, std::io::Error>(known.clone()),
        None => {
            let beside = std::env::current_exe()?.with_file_name(ENGINE);
            let read = Bytes::from(std::fs::read(beside)?);
            Ok(DOWNLOADED.get_or_init(|| read).clone())
        }
    });
    match read.await {
        Ok(Ok(bytes)) => {
            let mut response = Response::new(Body::from(bytes));
            let kind = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        _ => plain(
            StatusCode::NOT_FOUND,
            "plexus: the command is not beside the gateway\n".to_owned(),
        ),
    }
}

fn plain(status: StatusCode, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    let store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(header::CACHE_CONTROL, store);
    response
}
