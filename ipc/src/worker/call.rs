//! What a handler knows about the call it serves.

use super::{
    Host, SourceError,
    host::{called, seconds},
};
use crate::egress::{awake, credential_of_call};
use crate::frame::{FrameSender, WeakFrameSender};
use crate::message::{
    Chunk, Commit, FromWorker, HostAsk, MAX_CHUNK, MAX_QUESTION_WAIT, PROGRESS_WINDOW, Progress,
    Question, Role, Secret,
};
use crate::text::{Output, Text};
use plexus_protocol::{AuditId, Constraint, Digest, PendingId};
use serde::Serialize;
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

/// Largest piece of text: characters that are replaced grow, one byte to three.
const PIECE: usize = MAX_CHUNK / 3;

/// One call, as its handler sees it. Clones are the same call.
#[derive(Clone, Debug)]
pub struct CallContext(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    id: u64,
    audit: Option<AuditId>,
    owner: bool,
    conversation: Option<Digest>,
    is_approved_plan: bool,
    role: Role,
    constraint: Option<Constraint>,
    deadline: Instant,
    over: Arc<CancelFlag>,
    /// An effect has begun: what cancels it is for its handler to heed.
    begun: AtomicBool,
    cancelled: CancelFlag,
    stopped: CancelFlag,
    /// Progress that may be sent, in bytes; closed when no more is wanted.
    credit: Semaphore,
    /// Weak: a blocking thread that outlives its call must not keep the writer waiting.
    out: Option<WeakFrameSender<FromWorker>>,
    host: Option<Host>,
}

/// Says that nobody waits for a call any more.
#[derive(Debug, Default)]
pub(super) struct CancelFlag {
    flag: AtomicBool,
    notify: Notify,
}

impl CancelFlag {
    pub(super) fn set(&self) {
        self.flag.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }
    pub(super) fn is_set(&self) -> bool {
        self.flag.load(Ordering::Acquire)
    }
    pub(super) async fn wait(&self) {
        let notified = self.notify.notified();
        if !self.is_set() {
            notified.await;
        }
    }
}

impl CallContext {
    pub(super) fn new(
        call: &crate::message::Call,
        commit: Option<&Commit>,
        role: Role,
        deadline: Instant,
        over: Arc<CancelFlag>,
        out: &FrameSender<FromWorker>,
        host: &Host,
    ) -> Self {
        Self(Arc::new(Inner {
            id: call.id,
            audit: call.audit.clone(),
            owner: call.owner,
            conversation: commit.and_then(|commit| commit.conversation),
            is_approved_plan: commit.is_some_and(|commit| commit.state_token.is_some()),
            role,
            constraint: call.constraint.clone(),
            deadline,
            over,
            begun: AtomicBool::new(false),
            cancelled: CancelFlag::default(),
            stopped: CancelFlag::default(),
            credit: Semaphore::new(PROGRESS_WINDOW as usize),
            out: Some(out.downgrade()),
            host: Some(host.clone()),
        }))
    }

    /// A call that no gateway made: for a connector's own tests of its handlers.
    #[must_use]
    pub fn detached(role: Role, constraint: Option<Constraint>, time: Duration) -> Self {
        Self(Arc::new(Inner {
            id: 0,
            audit: None,
            owner: false,
            conversation: None,
            is_approved_plan: false,
            role,
            constraint,
            deadline: Instant::now() + time,
            over: Arc::default(),
            begun: AtomicBool::new(false),
            cancelled: CancelFlag::default(),
            stopped: CancelFlag::default(),
            credit: Semaphore::new(0),
            out: None,
            host: None,
        }))
    }

    /// Whether the owner asks: of a read, nobody else has the answer.
    #[must_use]
    pub fn is_owners(&self) -> bool {
        self.0.owner
    }

    /// The role that this worker has.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0.role
    }

    /// The intent's event of a commit: what a source files its record of the effect under, for `Source::settle`.
    #[must_use]
    pub fn audit(&self) -> Option<&AuditId> {
        self.0.audit.as_ref()
    }

    /// Of a commit, the conversation that it is a turn of: the same for all that one approval permits.
    #[must_use]
    pub fn conversation(&self) -> Option<Digest> {
        self.0.conversation
    }

    /// Of a commit, whether the owner approved just this plan.
    #[must_use]
    pub fn is_approved_plan(&self) -> bool {
        self.0.is_approved_plan
    }

    /// The narrowing of the permit.
    #[must_use]
    pub fn constraint(&self) -> Option<&Constraint> {
        self.0.constraint.as_ref()
    }

    /// Whether the constraint lets `resolved`, the value that the input's `field` came to, pass. If the input lacks
    /// the field (a search), a handler leaves out what this says no to.
    #[must_use]
    pub fn allows(&self, field: &str, resolved: &str) -> bool {
        self.0
            .constraint
            .as_ref()
            .is_none_or(|constraint| constraint.lets_pass(field, &json!(resolved)))
    }

    /// As [`CallContext::allows`]; to be asked before a thing is opened.
    ///
    /// # Errors
    /// `constraint_miss`.
    pub fn require(&self, field: &str, resolved: &str) -> Result<(), SourceError> {
        if self.allows(field, resolved) {
            Ok(())
        } else {
            Err(SourceError::constraint_miss(field))
        }
    }

    /// The time that is left.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.0.deadline.saturating_duration_since(Instant::now())
    }

    /// What opens the egress for a program that this commit starts, until its time is over; made from `own`, the worker's.
    ///
    /// # Errors
    /// It is no commit, or the machine's clock cannot be read.
    pub fn credential(&self, own: &Secret) -> Result<Secret, SourceError> {
        let id = self
            .audit()
            .ok_or_else(|| SourceError::internal("a commit without an event"))?;
        let now = awake().ok_or_else(|| SourceError::internal("no clock"))?;
        let until = now + self.remaining();
        Ok(credential_of_call(own, id, until.as_secs()))
    }

    /// Whether nobody waits for a read or a plan any more: cancelled, or past its deadline. A loop on a blocking thread
    /// asks this, because dropping its handler does not stop it. An effect that has begun is never over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.over.is_set()
    }

    /// Whether an effect that has begun is not wanted any more. A worker that heeds it answers [`SourceError::cancelled`] with
    /// what was done by then; one that does not carries the effect to its end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.is_set()
    }

    /// Waits until [`CallContext::is_cancelled`].
    pub async fn cancelled(&self) {
        self.0.cancelled.wait().await;
    }

    /// Waits until this call is cancelled because its worker is to end: what it has not answered some 4 s later is lost.
    pub async fn stopped(&self) {
        self.0.stopped.wait().await;
    }

    /// Streams `text` to followers of the call, in pieces if it is long. Waits while the gateway takes no more: who
    /// reads slowly slows the worker. What a read or a plan streams is shown to nobody, and lost where it is much.
    pub async fn progress(&self, text: impl AsRef<str>) {
        let mut rest = text.as_ref();
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.floor_char_boundary(PIECE));
            self.stream(Chunk::Text(Text::new(piece))).await;
            rest = more;
        }
    }

    /// The same with one event.
    ///
    /// # Errors
    /// It is no JSON, or of more than 16 KiB.
    pub async fn progress_event(&self, event: &impl Serialize) -> Result<(), SourceError> {
        let json = Output::of(event)
            .ok()
            .filter(|json| json.len() <= MAX_CHUNK);
        let json =
            json.ok_or_else(|| SourceError::internal("an event of progress is too large"))?;
        self.stream(Chunk::Json(json)).await;
        Ok(())
    }

    /// Calls `capability` of another source for the agent that made this call, as an agent of its own that the gateway
    /// derives: `<agent>.via.<source>`. Answers what `POST /invoke` would: refusals and pending approvals are answers
    /// too. Only for reads, which call reads alone, and commits; of a manifest with `hostCalls`.
    ///
    /// # Errors
    /// An input that is no JSON; a commit that still plans; no gateway.
    pub async fn host_call(
        &self,
        capability: &str,
        input: &impl Serialize,
    ) -> Result<serde_json::Value, SourceError> {
        // The plan that a commit makes again.
        if self.0.role == Role::Writer && !self.0.begun.load(Ordering::Acquire) {
            return Err(SourceError::refused("plan", "a plan calls nobody"));
        }
        self.host_ask(called(capability, input)?).await
    }

    /// What [`CallContext::host_call`] may call, as `{"capabilities": […]}`.
    ///
    /// # Errors
    /// No gateway.
    pub async fn host_capabilities(&self) -> Result<serde_json::Value, SourceError> {
        self.host_ask(HostAsk::List).await
    }

    /// How a call of [`CallContext::host_call`] that waits for the owner stands, as `{"ok": true, "state": …}` with a
    /// `reason` where there is one; `state` is `pending`, `approved` (then the same call is made again), `denied` or
    /// `expired`. A decision is waited for as long as `wait` says, 20 s at most.
    ///
    /// # Errors
    /// No gateway.
    pub async fn host_item(
        &self,
        item: &PendingId,
        wait: Duration,
    ) -> Result<serde_json::Value, SourceError> {
        self.host_ask(HostAsk::Item {
            item: item.clone(),
            seconds: seconds(wait),
        })
        .await
    }

    /// Withdraws such a call: nothing comes of it any more. Also where this call is cancelled.
    ///
    /// # Errors
    /// No gateway.
    pub async fn host_withdraw(&self, item: &PendingId) -> Result<serde_json::Value, SourceError> {
        self.host_ask(HostAsk::Withdraw { item: item.clone() })
            .await
    }

    /// Has the owner asked, and waits for the answer as long as `wait` says, 10 minutes at most: `{"action": "accept",
    /// "content"}`, `decline`, or `cancel` where there is none; with `why` where that is not the owner's word. Only for
    /// a worker whose manifest is that of an MCP server.
    ///
    /// # Errors
    /// No gateway.
    pub async fn ask_owner(
        &self,
        question: Question,
        wait: Duration,
    ) -> Result<serde_json::Value, SourceError> {
        let seconds = u16::try_from(wait.as_secs()).unwrap_or(u16::MAX);
        self.host_ask(HostAsk::Owner {
            question: Box::new(question),
            seconds: seconds.min(MAX_QUESTION_WAIT),
        })
        .await
    }

    async fn host_ask(&self, ask: HostAsk) -> Result<serde_json::Value, SourceError> {
        self.host()?.ask_in(Some(self.0.id), ask).await
    }

    fn host(&self) -> Result<&Host, SourceError> {
        let host = self.0.host.as_ref();
        host.ok_or_else(|| SourceError::internal("this call has no gateway"))
    }

    async fn stream(&self, chunk: Chunk) {
        let Some(out) = &self.0.out else { return };
        let (id, cost) = (self.0.id, chunk.cost());
        let credit = match self.0.role {
            Role::Reader => self.0.credit.try_acquire_many(cost).ok(),
            Role::Writer => self.0.credit.acquire_many(cost).await.ok(),
        };
        let Some(credit) = credit else { return };
        credit.forget();
        // The gateway is gone, and this process with it.
        drop(
            out.send(&FromWorker::Progress(Progress { id, chunk }))
                .await,
        );
    }

    pub(super) fn deadline(&self) -> Instant {
        self.0.deadline
    }
    pub(super) async fn over(&self) {
        self.0.over.wait().await;
    }
    pub(super) fn end(&self) {
        self.0.over.set();
    }
    /// Nobody wants it any more: what has not begun ends.
    pub(super) fn cancel(&self) {
        self.0.cancelled.set();
        if !self.0.begun.load(Ordering::Acquire) {
            self.0.over.set();
        }
    }
    pub(super) fn stop(&self) {
        self.0.stopped.set();
        self.cancel();
    }
    pub(super) fn begin(&self) {
        self.0.begun.store(true, Ordering::Release);
    }
    pub(super) fn credit(&self, bytes: u32) {
        let room = Semaphore::MAX_PERMITS - self.0.credit.available_permits();
        self.0.credit.add_permits(room.min(bytes as usize));
    }
    pub(super) fn stop_streaming(&self) {
        self.0.credit.close();
    }
}
