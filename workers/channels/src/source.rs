//! The identity as a source: calls in, answers out.
//!
//! Invariant: a constraint is asked about a channel's id before anything of it is asked of the relay.
//!
//! Must not know: how a stream to the relay comes about.

use crate::acts::{
    self, Act, ActOutput, ArchiveInput, ChannelInput, CreateInput, ForgetInput, MemberInput,
    RenameInput, SendInput,
};
use crate::failed::{REMOVED, is_removed, told};
use crate::identity;
use crate::listen::{self, Ailing, KIND, listen, note};
use crate::reads::{
    self, ChannelList, FIELD, Members, MembersInput, Messages, ReadInput, UnsentList,
};
use plexus_channels::Api;
use plexus_channels::account::{Account, AccountError};
use plexus_ipc::worker::{
    CallContext, Handlers, Health, NoInput, OpenError, Plan, Reply, Role, Secrets, Source,
    SourceContext, SourceError, Touched, Verdict,
};
use plexus_protocol::AuditId;
use serde::Deserialize;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    task::{AbortHandle, JoinHandle},
    time::timeout,
};

/// From one check of a relay that does not answer to the next.
const CHECK_AGAIN: Duration = Duration::from_secs(10);
/// How long the first health waits for the relay's word on the identity; the gateway waits 0.5 s for the health.
const FIRST_WITHIN: Duration = Duration::from_millis(400);

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
        let id = given.name();
        let (Some(scratch), Some(egress)) = (given.scratch, given.egress) else {
            return Ok(source);
        };
        let account = identity::account(
            &scratch,
            &config,
            &mut given.secrets,
            given.role,
            egress,
            &id,
        )
        .await?;
        if given.role == Role::Writer {
            let (account, ailing) = (Arc::clone(&account), Arc::clone(&source.ailing));
            let task = tokio::spawn(listen(account, given.host, ailing));
            source.listening = Some(task.abort_handle());
        }
        source.account = Some(account);
        Ok(source)
    }

    async fn health(&self) -> Health {
        let first = self
            .account
            .as_ref()
            .and_then(|account| self.check(account.api()));
        if let Some(asked) = first {
            // Without an answer nothing is known against it.
            let _ = timeout(FIRST_WITHIN, asked).await;
        }
        let ailing = self.ailing.lock().unwrap_or_else(PoisonError::into_inner);
        match &*ailing {
            None => Health::Well,
            Some(why) => Health::Unavailable(why.as_str().into()),
        }
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("list", Self::list)
            .read("members", Self::members)
            .read("read", Self::read)
            .read("unsent", Self::unsent)
            .effect("send", Self::plan_send, Self::commit)
            .effect("create", Self::plan_create, Self::commit)
            .effect("add", Self::plan_add, Self::commit)
            .effect("remove", Self::plan_remove, Self::commit)
            .effect("archive", Self::plan_archive, Self::commit)
            .effect("rename", Self::plan_rename, Self::commit)
            .effect("forget", Self::plan_forget, Self::commit)
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

    /// The account of a read or a plan, with what the writer has pinned and read.
    fn reading(&self) -> Result<&Arc<Account>, SourceError> {
        let account = self.account()?;
        let reloaded = account.reload();
        reloaded.map_err(|error| told(&AccountError::Disk(error)))?;
        Ok(account)
    }

    /// Notes how the relay is, and tells a failure.
    fn heard<T>(&self, result: Result<T, AccountError>) -> Result<T, SourceError> {
        if self.listening.is_none() {
            let away = match &result {
                Err(AccountError::Relay(error)) if error.is_passing() => Some(error.to_string()),
                Err(AccountError::Relay(error)) if is_removed(error) => Some(REMOVED.to_owned()),
                _ => None,
            };
            note(&self.ailing, away);
        }
        result.map_err(|error| match &error {
            AccountError::Relay(of_relay) if is_removed(of_relay) => {
                SourceError::unavailable(REMOVED)
            }
            _ => told(&error),
        })
    }

    /// Asks the relay whether it knows this identity: at first, and now and then where the reader ails or the relay did not know
    /// it. The writer's connection finds out by itself whether the relay is back. The first check can be waited for.
    fn check(&self, api: &Arc<Api>) -> Option<JoinHandle<()>> {
        let ailing = self.ailing.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = ailing.as_deref() != Some(REMOVED);
        let asks_again = ailing.is_some() && (self.listening.is_none() || !is_known);
        drop(ailing);
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = checked.is_none();
        let is_late = checked.is_some_and(|at| at.elapsed() > CHECK_AGAIN);
        if !(is_first || asks_again && is_late) {
            return None;
        }
        *checked = Some(Instant::now());
        let (api, ailing) = (Arc::clone(api), Arc::clone(&self.ailing));
        let is_reader = self.listening.is_none();
        let asked = tokio::spawn(async move {
            match api.me().await {
                Ok(_) if is_reader || !is_known => note(&ailing, None),
                Err(error) if is_removed(&error) => note(&ailing, Some(REMOVED.to_owned())),
                Ok(_) | Err(_) => {}
            }
        });
        is_first.then_some(asked)
    }

    async fn list(
        self: Arc<Self>,
        call: CallContext,
        _: NoInput,
    ) -> Result<Reply<ChannelList>, SourceError> {
        let account = self.reading()?;
        self.heard(reads::list(account, &call).await)
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
        self.heard(reads::members(account, &input).await)
    }

    async fn read(
        self: Arc<Self>,
        call: CallContext,
        input: ReadInput,
    ) -> Result<Reply<Messages>, SourceError> {
        call.require(FIELD, &input.channel.to_string())?;
        let cursor = input.cursor()?;
        let account = self.reading()?;
        self.heard(reads::read(account, &input, cursor).await)
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

    async fn unsent(
        self: Arc<Self>,
        _: CallContext,
        _: NoInput,
    ) -> Result<Reply<UnsentList>, SourceError> {
        Ok(reads::unsent(self.reading()?))
    }

    async fn plan_rename(
        self: Arc<Self>,
        call: CallContext,
        input: RenameInput,
    ) -> Result<Plan<Act>, SourceError> {
        call.require(FIELD, &input.channel.to_string())?;
        acts::plan_rename(self.planning()?, input).await
    }

    async fn plan_forget(
        self: Arc<Self>,
        _: CallContext,
        input: ForgetInput,
    ) -> Result<Plan<Act>, SourceError> {
        acts::plan_forget(self.planning()?, input)
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

    /// The writer plans with what it has itself.
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
    ) -> Result<Reply<ActOutput>, SourceError> {
        let summary = act.summary();
        let done = acts::commit(self.account()?, call.audit(), act).await?;
        let touched = Touched::write(KIND, done.channel.to_string(), None);
        Ok(Reply::new(done, summary).touched([touched]))
    }
}
