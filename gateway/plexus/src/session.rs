//! A session of this agent (docs/protocol/agents.md#open-a-session): opened for one command, used by it alone, over one
//! connection or several.

use crate::{
    command, credential,
    gateway::{Gateway, Route},
    manifest::{Entry, Manifest},
    settings::Settings,
};
use hyper::{Response, body::Incoming};
use plexus_client::{Exit, Failure, Reply, Request, Stop, near};
use plexus_protocol::{
    AgentId, CapabilityId, ErrorCode, NEW_CODE, SESSION_HEADER, SessionId, Timestamp,
    body::{RunningCall, StandingGrant, WaitingRequest},
    credential::Pat,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::rc::Rc;

/// A connection of an open session.
pub(crate) struct Session {
    /// The gateway it is with.
    pub(crate) gateway: Gateway,
    /// What the gateway said at the session's opening.
    pub(crate) opened: Rc<Opened>,
    /// Who we are, where that is known.
    pub(crate) agent: Option<AgentId>,
    pat: Pat,
}

/// What the gateway says at the opening of a session.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Opened {
    session_id: SessionId,
    /// What this agent may see.
    pub(crate) manifest: Manifest,
    /// When the session ends.
    pub(crate) expires_at: Timestamp,
    agent_id: Option<AgentId>,
}

/// What an agent has: grants, requests that wait, calls that are under way.
#[derive(Deserialize)]
pub(crate) struct Grants {
    grants: Vec<StandingGrant>,
    /// A gateway of an earlier version does not list them.
    #[serde(default)]
    pub(crate) waiting: Vec<WaitingRequest>,
    /// Nor these.
    #[serde(default)]
    pub(crate) running: Vec<RunningCall>,
}

impl Session {
    /// Opens a session with the agent's credential.
    pub(crate) async fn open(settings: &Settings) -> Result<Self, Stop> {
        let (agent, pat) = credential::load(settings)?;
        let mut gateway = Gateway::find(settings).await?;
        let opened = Rc::new(handshake(&mut gateway, &pat, agent.as_ref()).await?);
        Ok(Self {
            gateway,
            agent: opened.agent_id.clone().or(agent),
            opened,
            pat,
        })
    }

    /// Another connection of a session that is open. Whether it still is shows at the first exchange.
    pub(crate) async fn join(settings: &Settings, opened: Rc<Opened>) -> Result<Self, Stop> {
        let (agent, pat) = credential::load(settings)?;
        Ok(Self {
            gateway: Gateway::find(settings).await?,
            agent: opened.agent_id.clone().or(agent),
            opened,
            pat,
        })
    }

    /// Opens it again: the gateway has restarted, or the hour is over.
    pub(crate) async fn reopen(&mut self) -> Result<(), Stop> {
        self.opened = Rc::new(handshake(&mut self.gateway, &self.pat, self.agent.as_ref()).await?);
        Ok(())
    }

    /// One exchange in this session. If the gateway knows the session no more, because it was restarted or changed
    /// over to another build, nothing was done: the session is opened anew and the request sent again, once.
    pub(crate) async fn send(&mut self, request: Request) -> Result<Reply, Failure> {
        let reply = self.exchange(request.clone()).await?;
        if reply.status != 401 || refusal(&reply).code != "session_expired" {
            return Ok(reply);
        }
        match self.reopen().await {
            Ok(()) => self.exchange(request).await,
            // The next opener says why that failed; this is what was answered.
            Err(_) => Ok(reply),
        }
    }

    async fn exchange(&mut self, request: Request) -> Result<Reply, Failure> {
        let request = request.secret(SESSION_HEADER, self.opened.session_id.as_str());
        self.gateway.send(request).await
    }

    /// Opens a stream at `path`.
    pub(crate) async fn stream(&mut self, path: String) -> Result<Response<Incoming>, Stop> {
        let request = Request::get(path).secret(SESSION_HEADER, self.opened.session_id.as_str());
        let response = self.gateway.stream(request).await?;
        if response.status() != 200 {
            return Err(refusal(&Reply::collect(response).await?));
        }
        Ok(response)
    }

    /// The standing grants of this agent.
    pub(crate) async fn grants(&mut self) -> Result<Vec<StandingGrant>, Stop> {
        Ok(self.listed().await?.grants)
    }

    /// What of this agent's waits for the owner.
    pub(crate) async fn waiting(&mut self) -> Result<Vec<WaitingRequest>, Stop> {
        Ok(self.listed().await?.waiting)
    }

    /// The same with its grants and the calls that are under way.
    pub(crate) async fn listed(&mut self) -> Result<Grants, Stop> {
        let request = Request::get(self.gateway.path(Route::GrantsList));
        let reply = self.send(request).await?;
        if !reply.is_success() {
            return Err(refusal(&reply));
        }
        Ok(reply.json()?)
    }

    /// The entry of `id`, where this agent may see it.
    pub(crate) fn entry(&self, id: &CapabilityId) -> Option<&Entry> {
        let mut entries = self.opened.manifest.entries.iter();
        entries.find(|entry| entry.id == *id)
    }

    /// Says which capability may have been meant by `id`, where a call of it was refused because there is none of that name.
    pub(crate) fn meant(&self, id: &CapabilityId, refused: Stop) -> Stop {
        if refused.code != ErrorCode::UnknownCapability.as_str() || self.entry(id).is_some() {
            return refused;
        }
        let entries = self.opened.manifest.entries.iter();
        let names = entries.map(|entry| entry.id.as_str());
        match near(id.as_str(), names) {
            Some(near) => {
                let why = format!("{id} is not among what you may see; did you mean {near}?");
                let next = command::line(format_args!("describe {near}"));
                Stop { why, ..refused }.next(next)
            }
            None => refused,
        }
    }
}

/// The stop that an error reply stands for.
pub(crate) fn refusal(reply: &Reply) -> Stop {
    let body = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    command::advise(Stop::of_reply(reply.status, &body))
}

async fn handshake(
    gateway: &mut Gateway,
    pat: &Pat,
    agent: Option<&AgentId>,
) -> Result<Opened, Stop> {
    let client = json!({"client": {"name": "plexus-cli", "version": env!("CARGO_PKG_VERSION")}});
    let bearer = zeroize::Zeroizing::new(format!("Bearer {}", pat.expose()));
    let request =
        Request::post(gateway.path(Route::Handshake), &client).secret("authorization", &bearer);
    let reply = gateway.send(request).await?;
    if reply.is_success() {
        return Ok(reply.json()?);
    }
    let mut stop = refusal(&reply);
    if reply.status == 401 {
        stop.exit = Exit::Failed;
        // The gateway does not know whose it was.
        if stop.next.is_empty() || stop.next == NEW_CODE {
            stop.next = plexus_protocol::new_code(agent);
        }
    }
    Err(stop)
}
