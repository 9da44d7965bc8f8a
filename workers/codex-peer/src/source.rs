//! The source: calls in, answers out. The writer holds the identity and is the member; the reader looks at both.
//!
//! Must not know: what a message says.

use crate::acts::{self, Act, TurnInput};
use crate::member::{Ailing, Due, Slot, Unconnected, Work};
use crate::pended::{Apart, Notes, follow};
use crate::turn::{Codex, TurnError};
use plexus_channels::Id;
use plexus_channels::account::{Account, Agreed};
use plexus_ipc::text::counted;
use plexus_ipc::worker::{
    CallContext, Handlers, Health, Host, NoInput, OpenError, Plan, Reply, Role, Secrets, Source,
    SourceContext, SourceError, Touched, Verdict,
};
use plexus_participant::{Terms, ToolError, Tools};
use plexus_protocol::{AuditId, CapabilityId, Effect};
use plexus_worker_channels::reads::{
    self, ChannelList, Members, MembersInput, Messages, ReadInput,
};
use plexus_worker_channels::{Act as OwnAct, ActOutput, ChannelInput, KIND, settled, told};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};
use tokio::{sync::mpsc, task::AbortHandle};

/// The field that a constraint may narrow.
const FIELD: &str = "channel_id";
/// The manifest's capability of turns, and its topic.
const TURN: &str = "turn";
/// The turn that is under way, by its intent: one that a kill cut off is in it.
const UNDER_WAY: &str = "turn.json";
/// Channels that an event names.
const NAMED: usize = 64;
/// Tools that read.
const READS: [&str; 10] = [
    "me",
    "list-agents",
    "list-humans",
    "get-agent",
    "get-human",
    "list-channels",
    "list-active-channels",
    "list-archived-channels",
    "get-channel",
    "list-messages",
];
/// Tools that have an effect.
const EFFECTS: [&str; 5] = [
    "reply",
    "start-discussion",
    "add-member",
    "archive-channel",
    "unarchive-channel",
];

/// One peer, served.
pub struct PeerSource {
    model: String,
    /// None where the worker was given no folder or no way to a relay.
    account: Option<Arc<Account>>,
    tools: Option<Arc<Tools>>,
    ailing: Ailing,
    unconnected: Unconnected,
    /// Its id.
    name: String,
    /// In a writer.
    works: Option<Works>,
}

/// What the writer has beside the reader.
struct Works {
    slot: Slot,
    codex: Codex,
    scratch: PathBuf,
    host: Host,
    apart: Apart,
    tasks: Vec<AbortHandle>,
}

/// The source's route.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The relay's address, as the owner typed it; the egress has read its host from it.
    pub relay: String,
    /// The name that others see.
    pub display_name: String,
    /// The model of every turn.
    pub model: String,
    /// Where the model is served; the egress has read its host from it.
    #[serde(default)]
    pub server: String,
}

impl fmt::Debug for PeerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerSource").finish_non_exhaustive()
    }
}

impl Drop for Works {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Source for PeerSource {
    type Config = Config;

    async fn open(_: Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        Err(OpenError::internal("opened with all that it is given"))
    }

    async fn open_with(config: Config, mut given: SourceContext) -> Result<Self, OpenError> {
        let mut source = Self {
            model: config.model.clone(),
            account: None,
            tools: None,
            ailing: Arc::default(),
            unconnected: Arc::default(),
            name: given.name(),
            works: None,
        };
        let (Some(scratch), Some(egress)) = (given.scratch, given.egress) else {
            return Ok(source);
        };
        let egress = Arc::new(egress);
        let as_member = plexus_worker_channels::Config {
            relay: config.relay,
            display_name: config.display_name,
            authority_field: "relayCa",
        };
        let account = plexus_worker_channels::account(
            &scratch,
            &as_member,
            &mut given.secrets,
            given.role,
            Arc::clone(&egress),
            &source.name,
        );
        let account = account.await?;
        let tools = Arc::new(Tools::new(Arc::clone(&account)));
        if let (Role::Writer, Some(children), Some(id)) = (given.role, given.children, given.source)
        {
            let (pended, waiting) = mpsc::unbounded_channel();
            let own = format!("{id}.{TURN}");
            let codex = Codex {
                children,
                egress,
                dir: scratch.join("runs/writer"),
                model: config.model,
                server: config.server,
                own: own.clone(),
                host: given.host.clone(),
                pended,
                thread: Mutex::default(),
            };
            let (slot, notes, host) = (Slot::default(), Notes::default(), given.host);
            let apart = Apart::default();
            let told = (notes.clone(), apart.clone());
            let followed = tokio::spawn(follow(host.clone(), told, waiting));
            let member = Work {
                account: Arc::clone(&account),
                host: host.clone(),
                slot: slot.clone(),
                own,
                notes,
                ailing: Arc::clone(&source.ailing),
                unconnected: Arc::clone(&source.unconnected),
            };
            let working = tokio::spawn(member.work());
            source.works = Some(Works {
                slot,
                codex,
                scratch,
                host,
                apart,
                tasks: vec![followed.abort_handle(), working.abort_handle()],
            });
        }
        source.account = Some(account);
        source.tools = Some(tools);
        Ok(source)
    }

    async fn health(&self) -> Health {
        let ailing = self.ailing.lock().unwrap_or_else(PoisonError::into_inner);
        match &*ailing {
            Some(why) => Health::Unavailable(why.as_str().into()),
            None if self.unconnected.load(Ordering::Relaxed) => {
                let name = &self.name;
                let why = format!(
                    "it takes no turn before you connect it: plexusctl connect via.{name} --allow {name}.{TURN}"
                );
                Health::Degraded(why.as_str().into())
            }
            None => Health::Well,
        }
    }

    fn handlers() -> Handlers<Self> {
        let mut handlers = Handlers::new()
            .effect(TURN, Self::plan_turn, Self::commit_turn)
            .read("channels", Self::channels)
            .read("members", Self::members)
            .read("messages", Self::messages)
            .effect("leave", Self::plan_leave, Self::commit_own)
            .effect("rotate", Self::plan_rotate, Self::commit_own);
        for name in READS {
            let read = move |source, call, input| Self::read(source, call, name, input);
            handlers = handlers.read(name, read);
        }
        for name in EFFECTS {
            let plan = move |source, call, input| Self::plan(source, call, name, input);
            handlers = handlers.effect(name, plan, Self::commit);
        }
        handlers
    }

    async fn settle(&self, intent: AuditId) -> Verdict {
        let (Some(works), Some(account)) = (&self.works, &self.account) else {
            return Verdict::CannotTell;
        };
        match cut_off(&works.scratch.join(UNDER_WAY)) {
            // What its tools did is on record by itself; the messages are shown again.
            Some(of) if of == intent => Verdict::DidNot,
            // A message of a turn goes by the turn's name; what becomes of another is known by its call.
            _ => settled(account, &intent).await,
        }
    }
}

impl PeerSource {
    fn tools(&self) -> Result<&Tools, SourceError> {
        let tools = self.tools.as_deref();
        tools.ok_or_else(|| SourceError::unavailable("this worker has no identity"))
    }

    /// With what the writer has pinned and read.
    fn account(&self) -> Result<&Account, SourceError> {
        let account = self.account.as_deref();
        let account =
            account.ok_or_else(|| SourceError::unavailable("this worker has no identity"))?;
        if self.works.is_none() {
            let reloaded = account.reload();
            reloaded.map_err(|error| told(&error.into()))?;
        }
        Ok(account)
    }

    async fn read(
        self: Arc<Self>,
        call: CallContext,
        name: &'static str,
        input: Value,
    ) -> Result<Reply<Value>, SourceError> {
        self.account()?;
        let id = allowed(&call, &input)?;
        let tool = tool_of(name);
        let answered = self.tools()?.answer(&tool, input, Terms::default()).await;
        let answered = answered.ok_or_else(|| SourceError::internal("no such tool"))?;
        let mut output = answered.map_err(|error| failed(&error, Effect::None))?;
        let mut touched: Vec<String> = id.into_iter().collect();
        if let Some(channels) = output.get_mut("channels").and_then(Value::as_array_mut) {
            channels
                .retain(|channel| call.allows(FIELD, channel["id"].as_str().unwrap_or_default()));
            let ids = channels.iter().filter_map(|channel| channel["id"].as_str());
            touched.extend(ids.map(str::to_owned));
        }
        let touched = touched.into_iter().map(|id| Touched::read(KIND, id, None));
        Ok(Reply::new(output, format!("answered {name}")).touched(touched))
    }

    async fn plan(
        self: Arc<Self>,
        call: CallContext,
        name: &'static str,
        input: Value,
    ) -> Result<Plan<Act>, SourceError> {
        allowed(&call, &input)?;
        let tool = tool_of(name);
        let act = Act {
            tool,
            input,
            agreed: Agreed::default(),
        };
        acts::plan(self.account()?, act).await
    }

    async fn commit(
        self: Arc<Self>,
        call: CallContext,
        act: Act,
    ) -> Result<Reply<Value>, SourceError> {
        let id = act.input[FIELD].as_str().map(str::to_owned);
        let (tool, tools) = (act.tool, self.tools()?);
        // No turn waits for the owner: what the owner approved is a write of its own, beside those of the turn under way.
        let is_apart = self.works.as_ref().is_some_and(|works| {
            let source = works.codex.own.trim_end_matches(TURN);
            let capability = format!("{source}{}", tool.replace('_', "-"));
            works.apart.take(&capability, &act.input)
        });
        let is_own = is_apart || !tools.is_in_turn();
        let terms = Terms {
            call: call.audit().filter(|_| is_own).map(AuditId::as_str),
            agreed: Some(&act.agreed),
        };
        let answered = tools.answer(&tool, act.input, terms).await;
        let answered = answered.ok_or_else(|| SourceError::internal("no such tool"))?;
        // A message that is not in the outbox has not left; of anything else nobody keeps a copy.
        let lost = match &*tool {
            "reply" => Effect::None,
            _ => Effect::Unknown,
        };
        let output = answered.map_err(|error| failed(&error, lost))?;
        let id = id.or_else(|| output["channel_id"].as_str().map(str::to_owned));
        let touched = id.map(|id| Touched::write(KIND, id, None));
        let summary = if output["duplicate"] == true {
            "found it done already"
        } else if output["queued"] == true {
            "kept a message that the relay has not taken yet"
        } else {
            acts::summary(&tool)
        };
        Ok(Reply::new(output, summary).touched(touched))
    }

    async fn channels(
        self: Arc<Self>,
        call: CallContext,
        _: NoInput,
    ) -> Result<Reply<ChannelList>, SourceError> {
        let listed = reads::list(self.account()?, &call).await;
        listed.map_err(|error| told(&error))
    }

    async fn members(
        self: Arc<Self>,
        _: CallContext,
        input: MembersInput,
    ) -> Result<Reply<Members>, SourceError> {
        let members = reads::members(self.account()?, &input).await;
        members.map_err(|error| told(&error))
    }

    async fn messages(
        self: Arc<Self>,
        _: CallContext,
        input: ReadInput,
    ) -> Result<Reply<Messages>, SourceError> {
        let read = reads::read(self.account()?, &input, input.cursor()?).await;
        read.map_err(|error| told(&error))
    }

    async fn plan_leave(
        self: Arc<Self>,
        call: CallContext,
        input: ChannelInput,
    ) -> Result<Plan<OwnAct>, SourceError> {
        call.require(reads::FIELD, &input.channel.to_string())?;
        plexus_worker_channels::plan_leave(self.account()?, input.channel).await
    }

    async fn plan_rotate(
        self: Arc<Self>,
        call: CallContext,
        input: ChannelInput,
    ) -> Result<Plan<OwnAct>, SourceError> {
        call.require(reads::FIELD, &input.channel.to_string())?;
        plexus_worker_channels::plan_rotate(self.account()?, input.channel).await
    }

    /// An act that is no tool of a turn.
    async fn commit_own(
        self: Arc<Self>,
        call: CallContext,
        act: OwnAct,
    ) -> Result<Reply<ActOutput>, SourceError> {
        let summary = act.summary();
        let done = plexus_worker_channels::commit(self.account()?, call.audit(), act).await?;
        let touched = Touched::write(KIND, done.channel.to_string(), None);
        Ok(Reply::new(done, summary).touched([touched]))
    }

    async fn plan_turn(
        self: Arc<Self>,
        _: CallContext,
        input: TurnInput,
    ) -> Result<Plan<Id>, SourceError> {
        Ok(acts::turn(input, &self.model))
    }

    async fn commit_turn(
        self: Arc<Self>,
        call: CallContext,
        id: Id,
    ) -> Result<Reply<Value>, SourceError> {
        let missing = || {
            let why = "no turn of this id waits: the source alone takes turns";
            SourceError::transport("no_turn", why)
        };
        let works = self.works.as_ref().ok_or_else(missing)?;
        let Due {
            input,
            shows,
            stop,
            done,
            ..
        } = works.slot.take(id).ok_or_else(missing)?;
        let path = works.scratch.join(UNDER_WAY);
        if let Some(intent) = call.audit() {
            let noted = fs::write(&path, json!(intent).to_string());
            noted.map_err(|error| SourceError::transport("io", error.to_string()))?;
        }
        let tools = self.tools()?;
        tools.begin_turn(shows.clone());
        let taken = self.take(works, &call, input, stop).await;
        tools.end_turn();
        let _ = fs::remove_file(&path);
        let failed = taken.as_ref().err().map(SourceError::from);
        if failed.is_none() {
            tools.complete_turn().await;
        }
        let channels: BTreeSet<Id> = shows.iter().map(|(channel, _)| *channel).collect();
        // If nobody waits for it any more, the messages are shown again.
        let _ = done.send(taken);
        if let Some(failed) = failed {
            return Err(failed);
        }
        tell(&works.host, &channels, shows.len()).await;
        let touched = channels
            .iter()
            .map(|id| Touched::read(KIND, id.to_string(), None));
        let summary = format!("took a turn for {}", counted(shows.len(), "message"));
        Ok(Reply::new(json!({"ok": true}), summary).touched(touched))
    }

    async fn take(
        &self,
        works: &Works,
        call: &CallContext,
        input: String,
        stop: tokio::sync::watch::Receiver<bool>,
    ) -> Result<(), TurnError> {
        let account = self.account().map_err(TurnError::Gateway)?;
        let me = account.api().me().await;
        let me = me.map_err(|error| TurnError::Gateway(told(&error.into())))?;
        let source = works.codex.own.trim_end_matches(TURN);
        let name = |tool: &str| {
            let id = format!("{source}{}", tool.replace('_', "-")).parse::<CapabilityId>();
            // Codex writes an underscore for what is no letter of a name.
            let name = id.map_or_else(|_| tool.to_owned(), |id| plexus_mcp::tool_name(&id));
            name.replace('-', "_")
        };
        let instructions = plexus_participant::instructions(&me, &name);
        works.codex.take(call, (&instructions, input), stop).await
    }
}

/// Tells of a turn.
async fn tell(host: &Host, channels: &BTreeSet<Id>, messages: usize) {
    let named: Vec<Id> = channels.iter().take(NAMED).copied().collect();
    let touched = named
        .iter()
        .map(|id| Touched::read(KIND, id.to_string(), None));
    let payload = json!({"channels": named, "messages": messages});
    let told = host.event(TURN, "took a turn", &payload, touched.collect());
    if let Err(error) = told.await {
        tracing::warn!(?error, "an event could not be sent");
    }
}

/// The channel that an input names, if the grant allows it.
fn allowed(call: &CallContext, input: &Value) -> Result<Option<String>, SourceError> {
    let id = input[FIELD].as_str();
    id.map_or(Ok(()), |id| call.require(FIELD, id))?;
    Ok(id.map(str::to_owned))
}

/// The tool of a capability.
fn tool_of(name: &str) -> String {
    name.replace('-', "_")
}

fn failed(error: &ToolError, lost: Effect) -> SourceError {
    let effect = match &*error.code {
        _ if error.may_be_there => Effect::Unknown,
        "unreachable" | "unavailable" | "unknown" => lost,
        _ => Effect::None,
    };
    SourceError::transport(&error.code, &error.message).effect(effect)
}

/// The intent of a turn that never ended.
fn cut_off(path: &Path) -> Option<AuditId> {
    let read: io::Result<Vec<u8>> = fs::read(path);
    serde_json::from_slice(&read.ok()?).ok()
}
