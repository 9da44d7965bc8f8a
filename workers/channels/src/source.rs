//! The identity as a source: calls in, answers out.
//!
//! Invariants: a constraint is asked about a channel's id before anything of it is asked of the relay; channels that a
//! grant leaves out are not listed; an answer is bounded in messages and bytes.
//!
//! Must not know: how a stream to the relay comes about.

use crate::acts::{
    self, Act, ArchiveInput, ChannelInput, CreateInput, Done, MemberInput, SendInput,
};
use crate::failed::told;
use crate::identity;
use crate::listen::{self, Ailing, KIND, listen, note};
use crate::shown::{Person, Said, Shown, User, You};
use plexus_channels::account::{Account, AccountError};
use plexus_channels::api::Cursor;
use plexus_channels::{Api, Id};
use plexus_ipc::worker::{
    CallContext, Handlers, Health, OpenError, Plan, Reply, Role, Secrets, Source, SourceContext,
    SourceError, Touched, Verdict,
};
use plexus_protocol::AuditId;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::task::AbortHandle;

/// The field that a constraint may narrow.
const FIELD: &str = "channel";
/// Messages of an answer, unless asked otherwise.
const MESSAGES: usize = 50;
/// Text of one answer, in bytes.
const TEXT: usize = 512 * 1024;
/// Channels of one answer; more are counted.
const CHANNELS: usize = 500;
/// From one check of a relay that does not answer to the next.
const CHECK_AGAIN: Duration = Duration::from_secs(10);

/// One identity, served.
pub struct ChannelsSource {
    /// None where the worker was given no folder or no way to a relay.
    account: Option<Arc<Account>>,
    ailing: Ailing,
    checked: Mutex<Option<Instant>>,
    /// The writer's connection; it ends with the source.
    listening: Option<AbortHandle>,
}

/// The source's route.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The relay's address, as the owner typed it; the egress has read its host from it.
    pub relay: String,
    /// The name that others see.
    pub display_name: String,
    /// The field with the file of the relay's authority.
    #[serde(skip, default = "authority_field")]
    pub authority_field: &'static str,
}

const fn authority_field() -> &'static str {
    "ca"
}

/// Input of `list`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Input of `members`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MembersInput {
    channel: Option<Id>,
}

/// Input of `read`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadInput {
    channel: Id,
    after: Option<Id>,
    before: Option<Id>,
    limit: Option<usize>,
}

#[derive(Debug, Serialize)]
struct Listed {
    you: You,
    channels: Vec<Shown>,
    more: usize,
}

#[derive(Debug, Serialize)]
struct Members {
    members: Vec<Person>,
    /// Who asks to be added to the channel.
    asking: Vec<User>,
}

#[derive(Debug, Serialize)]
struct Messages {
    channel: Id,
    messages: Vec<Said>,
    more: bool,
}

impl fmt::Debug for ChannelsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelsSource").finish_non_exhaustive()
    }
}

impl Drop for ChannelsSource {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

impl Source for ChannelsSource {
    type Config = Config;

    async fn open(_: Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        Err(OpenError::internal("opened with all that it is given"))
    }

    async fn open_with(config: Config, mut given: SourceContext) -> Result<Self, OpenError> {
        let mut source = Self {
            account: None,
            ailing: Arc::default(),
            checked: Mutex::default(),
            listening: None,
        };
        let (Some(scratch), Some(egress)) = (given.scratch, given.egress) else {
            return Ok(source);
        };
        let account =
            identity::account(&scratch, &config, &mut given.secrets, given.role, egress).await?;
        if given.role == Role::Writer {
            let (account, ailing) = (Arc::clone(&account), Arc::clone(&source.ailing));
            let task = tokio::spawn(listen(account, given.host, ailing));
            source.listening = Some(task.abort_handle());
        }
        source.account = Some(account);
        Ok(source)
    }

    async fn health(&self) -> Health {
        let ailing = self.ailing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(why) = ailing.clone() else {
            return Health::Well;
        };
        drop(ailing);
        // The writer's connection finds out by itself.
        if let (None, Some(account)) = (&self.listening, &self.account) {
            self.check(account.api());
        }
        Health::Unavailable(why.as_str().into())
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("list", Self::list)
            .read("members", Self::members)
            .read("read", Self::read)
            .effect("send", Self::plan_send, Self::commit)
            .effect("create", Self::plan_create, Self::commit)
            .effect("add", Self::plan_add, Self::commit)
            .effect("remove", Self::plan_remove, Self::commit)
            .effect("archive", Self::plan_archive, Self::commit)
            .effect("leave", Self::plan_leave, Self::commit)
            .effect("rotate", Self::plan_rotate, Self::commit)
    }

    async fn settle(&self, intent: AuditId) -> Verdict {
        match &self.account {
            Some(account) => listen::settled(account, &intent).await,
            None => Verdict::CannotTell,
        }
    }
}

impl ChannelsSource {
    fn account(&self) -> Result<&Arc<Account>, SourceError> {
        let account = self.account.as_ref();
        account.ok_or_else(|| SourceError::unavailable("this worker has no identity"))
    }

    /// The account of a read or a plan, with the keys that the writer has pinned.
    fn reading(&self) -> Result<&Arc<Account>, SourceError> {
        let account = self.account()?;
        let reloaded = account.reload_pins();
        reloaded.map_err(|error| told(&AccountError::Disk(error)))?;
        Ok(account)
    }

    /// Notes how the relay is, and tells a failure.
    fn heard<T>(&self, result: Result<T, AccountError>) -> Result<T, SourceError> {
        if self.listening.is_none() {
            let away = match &result {
                Err(AccountError::Relay(error)) if error.is_passing() => Some(error.to_string()),
                _ => None,
            };
            note(&self.ailing, away);
        }
        result.map_err(|error| told(&error))
    }

    /// Asks the relay again, now and then, whether it is back.
    fn check(&self, api: &Arc<Api>) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.is_none_or(|at| at.elapsed() > CHECK_AGAIN) {
            *checked = Some(Instant::now());
            let (api, ailing) = (Arc::clone(api), Arc::clone(&self.ailing));
            tokio::spawn(async move {
                if api.me().await.is_ok() {
                    note(&ailing, None);
                }
            });
        }
    }

    async fn list(
        self: Arc<Self>,
        call: CallContext,
        _: Nothing,
    ) -> Result<Reply<Listed>, SourceError> {
        let account = self.reading()?;
        let mut channels = self.heard(account.api().channels(None).await.map_err(Into::into))?;
        channels.retain(|channel| call.allows(FIELD, &channel.id.to_string()));
        // Those that somebody wrote in lately: anybody can make channels with this member.
        channels.sort_by_key(|channel| Reverse(channel.last_message_id));
        let more = channels.len().saturating_sub(CHANNELS);
        channels.truncate(CHANNELS);
        let mut shown = Vec::new();
        for channel in &channels {
            shown.push(self.heard(Shown::of(account, channel).await)?);
        }
        let facts = &account.identity().facts;
        let you = You {
            id: facts.agent_id,
            name: facts.first_name.clone(),
            fingerprint: account.identity().key.public().shown_fingerprint(),
            relay: account.api().endpoint().to_string(),
        };
        let touched: Vec<_> = shown
            .iter()
            .map(|channel| Touched::read(KIND, channel.id.to_string(), None))
            .collect();
        let summary = format!("listed {} channels", shown.len());
        let listed = Listed {
            you,
            channels: shown,
            more,
        };
        Ok(Reply::new(listed, summary).touched(touched))
    }

    async fn members(
        self: Arc<Self>,
        call: CallContext,
        input: MembersInput,
    ) -> Result<Reply<Members>, SourceError> {
        let account = self.reading()?;
        if let Some(id) = input.channel {
            call.require(FIELD, &id.to_string())?;
        }
        let mut users = self.heard(account.api().users().await.map_err(Into::into))?;
        let (mut touched, mut asking) = (None, Vec::new());
        if let Some(id) = input.channel {
            let channel = self.heard(account.api().channel(id).await.map_err(Into::into))?;
            users.retain(|user| channel.members.iter().any(|member| member.id == user.id));
            let asked = self.heard(account.api().join_requests(id).await.map_err(Into::into))?;
            asking = asked.iter().map(User::of).collect();
            touched = Some(Touched::read(KIND, id.to_string(), None));
        }
        let members: Vec<_> = users.iter().map(|user| Person::of(account, user)).collect();
        let summary = format!("listed {} users", members.len());
        Ok(Reply::new(Members { members, asking }, summary).touched(touched))
    }

    async fn read(
        self: Arc<Self>,
        call: CallContext,
        input: ReadInput,
    ) -> Result<Reply<Messages>, SourceError> {
        let id = input.channel;
        call.require(FIELD, &id.to_string())?;
        let account = self.reading()?;
        let cursor = match (input.after, input.before) {
            (None, None) => Cursor::Newest,
            (Some(after), None) => Cursor::After(after),
            (None, Some(before)) => Cursor::Before(before),
            (Some(_), Some(_)) => {
                let why = "after and before exclude each other";
                return Err(SourceError::invalid(why));
            }
        };
        let limit = input.limit.unwrap_or(MESSAGES);
        let page = self.heard(account.history(id, cursor, limit).await)?;
        let (opened, mut more) = page;
        let mut messages: Vec<Said> = opened
            .into_iter()
            .map(|opened| Said::of(account, opened))
            .collect();
        // Those after a message lose the last ones, the others the oldest.
        while messages.len() > 1 && messages.iter().map(Said::len).sum::<usize>() > TEXT {
            more = true;
            match cursor {
                Cursor::Newest | Cursor::Before(_) => drop(messages.remove(0)),
                Cursor::After(_) => drop(messages.pop()),
            }
        }
        let summary = format!("read {} messages", messages.len());
        let touched = Touched::read(KIND, id.to_string(), None);
        let read = Messages {
            channel: id,
            messages,
            more,
        };
        Ok(Reply::new(read, summary).touched([touched]))
    }

    async fn plan_send(
        self: Arc<Self>,
        call: CallContext,
        input: SendInput,
    ) -> Result<Plan<Act>, SourceError> {
        call.require(FIELD, &input.channel.to_string())?;
        acts::plan_send(self.planning()?, input).await
    }

    async fn plan_create(
        self: Arc<Self>,
        _: CallContext,
        input: CreateInput,
    ) -> Result<Plan<Act>, SourceError> {
        acts::plan_create(self.planning()?, input).await
    }

    async fn plan_add(
        self: Arc<Self>,
        call: CallContext,
        input: MemberInput,
    ) -> Result<Plan<Act>, SourceError> {
        call.require(FIELD, &input.channel.to_string())?;
        acts::plan_add(self.planning()?, input).await
    }

    async fn plan_remove(
        self: Arc<Self>,
        call: CallContext,
        input: MemberInput,
    ) -> Result<Plan<Act>, SourceError> {
        call.require(FIELD, &input.channel.to_string())?;
        acts::plan_remove(self.planning()?, input).await
    }

    async fn plan_archive(
        self: Arc<Self>,
        call: CallContext,
        input: ArchiveInput,
    ) -> Result<Plan<Act>, SourceError> {
        call.require(FIELD, &input.channel.to_string())?;
        acts::plan_archive(self.planning()?, input).await
    }

    async fn plan_leave(
        self: Arc<Self>,
        call: CallContext,
        input: ChannelInput,
    ) -> Result<Plan<Act>, SourceError> {
        call.require(FIELD, &input.channel.to_string())?;
        acts::plan_leave(self.planning()?, input.channel).await
    }

    async fn plan_rotate(
        self: Arc<Self>,
        call: CallContext,
        input: ChannelInput,
    ) -> Result<Plan<Act>, SourceError> {
        call.require(FIELD, &input.channel.to_string())?;
        acts::plan_rotate(self.planning()?, input.channel).await
    }

    /// The writer plans with its own pins, which are those of the file.
    fn planning(&self) -> Result<&Account, SourceError> {
        match self.listening {
            Some(_) => self.account(),
            None => self.reading(),
        }
        .map(|account| &**account)
    }

    async fn commit(
        self: Arc<Self>,
        call: CallContext,
        act: Act,
    ) -> Result<Reply<Done>, SourceError> {
        let summary = act.summary();
        let done = acts::commit(self.account()?, call.audit(), act).await?;
        let touched = Touched::write(KIND, done.channel.to_string(), None);
        Ok(Reply::new(done, summary).touched([touched]))
    }
}
