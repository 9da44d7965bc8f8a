//! What waits for the owner, beside the machine's own rows: inputs on disk, previews in memory, answers of approved runs.
//!
//! ```text
//! item made ─▶ input kept ─▶ plan made (reader) ─▶ card complete ─▶ approved ─▶ run by the gateway, or by the agent
//! ```
//! Invariants: an input lies in `pending/` (0600) before the item that names it exists, and until the item has left
//! `pending` and `approved`; a preview is never written, logged or shown to an agent; the card's digest covers all of
//! what the owner sees. What an approved run read is given only on the terms on which it was read, while its agent may
//! know of the capability, and not past what the owner took back since.

pub mod card;
pub mod change;
mod choices;
mod differs;
mod foreseen;
mod names;
pub mod planner;
mod planning;
pub mod run;
pub mod store;
use crate::{
    answer::Answer,
    answers::{Answers, KEPT_MS, KeptAnswer, Key, RunFacts},
    approvals::store::{Approvals, INPUTS_AT_ONCE, Planned, TOKENS_OF_AN_ITEM, withheld_answer},
    call::Asked,
    given::{self, may_still_be_given},
    kernel::{Kernel, Phase},
    member_reads, refusal,
    runs::OneRun,
    terms::Terms,
};
use bytes::Bytes;
use plexus_home::{
    state_dir::{StateDir, write_private},
    tasks::blocking,
};
use plexus_ipc::message::{Form, PlanMade, Touched};
use plexus_ledger::{Condition, Lane, SubmitError};
use plexus_protocol::{
    AgentId, AuditId, CapabilityId, Digest, ErrorBody, PendingId, RunId, SessionId, Timestamp,
    body::InvokeResponse,
};
use plexus_trust::{Approval, Ask, Command, Item, ItemState, OutcomeKind, Plan, Refusal, State};
use serde_json::Value;
use std::{
    collections::HashSet,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{Semaphore, watch};

impl Kernel {
    /// Keeps an input for an item that is about to exist, and what it differs in from the agent's last approved call.
    ///
    /// # Errors
    /// [`SubmitError::Unavailable`] while the ledger takes nothing of agents: an input that no item can name would lie on the
    /// last space that the owner has. So it is where the disk does not take it; nothing of it is left then.
    pub async fn keep_input(
        &self,
        item: &PendingId,
        agent: Option<&AgentId>,
        id: &CapabilityId,
        input: &Bytes,
    ) -> Result<(), SubmitError<Refusal>> {
        let kept = self.put_input(item, agent, id, input).await;
        kept.inspect_err(|_| self.approvals.drop_input(item))
    }

    /// Keeps the inputs again that an item that waits has lost: it could only be denied. All else that is kept for it stays; if
    /// a plan failed for want of one, the item is planned again once all of them are back.
    ///
    /// # Errors
    /// [`SubmitError::Unavailable`], as where they are kept first.
    pub async fn keep_lost_inputs(
        self: &Arc<Self>,
        item: &PendingId,
        agent: Option<&AgentId>,
        inputs: &[(&CapabilityId, &Bytes)],
    ) -> Result<(), SubmitError<Refusal>> {
        let mut failed = false;
        for &(id, input) in inputs {
            let digest = Digest::of(input);
            let is_it = |ask: &Ask| ask.capability == *id && ask.input == Some(digest);
            let state = self.ledger.snapshot();
            let held = state.item(item);
            let waits = held.filter(|held| held.state == ItemState::Pending);
            let Some(ask) = waits.and_then(|held| held.asks.iter().find(|ask| is_it(ask))) else {
                continue;
            };
            let (file, same) = (self.approvals.input_file(item, id), input.clone());
            let kept = blocking(move || fs::read(file).is_ok_and(|kept| kept == same)).await;
            if !matches!(kept, Ok(true)) {
                self.put_input(item, agent, id, input).await?;
                failed |= ask.plan == Plan::Failed;
            }
        }
        if failed {
            let again = Command::PlanAgain { item: item.clone() };
            let submitted = match agent {
                Some(agent) => self.submit_for(agent, again).await,
                None => self.ledger.submit(again, Lane::Agent).await,
            };
            // If that is not recorded, the owner can have it planned.
            if submitted.is_ok() {
                planner::start(self, item);
            }
        }
        Ok(())
    }

    async fn put_input(
        &self,
        item: &PendingId,
        agent: Option<&AgentId>,
        id: &CapabilityId,
        input: &Bytes,
    ) -> Result<(), SubmitError<Refusal>> {
        let unavailable = |why: String| SubmitError::Unavailable(why);
        let places = &self.approvals.writing;
        let _place = places
            .acquire()
            .await
            .map_err(|e| unavailable(e.to_string()))?;
        if let Some(why) = self.takes_nothing() {
            return Err(why);
        }
        let entry = self.catalogue.load().get(id).cloned();
        let things = entry.map_or_else(Vec::new, |entry| entry.facts.resolved.clone());
        let kept = self.approvals.write_input(item, agent, id, input, things);
        let kept = kept.await;
        kept.map_err(|error| {
            tracing::error!(name: "pending.unsaved", %error, "an input could not be kept");
            unavailable(error.to_string())
        })
    }

    /// Why the ledger takes nothing of agents now, if it does not.
    fn takes_nothing(&self) -> Option<SubmitError<Refusal>> {
        let why = match self.ledger.condition().0 {
            Condition::Open => return None,
            Condition::DiskFull => "the disk is full".to_owned(),
            Condition::Closed(reason) => reason,
        };
        Some(SubmitError::Unavailable(why))
    }
}

impl Approvals {
    /// With the inputs and answers that an earlier launch left in `pending/`.
    pub fn open(state_dir: &StateDir) -> Self {
        Self::in_folder(state_dir.join("pending"))
    }

    fn in_folder(dir: PathBuf) -> Self {
        Self {
            answers: Answers::in_folder(dir.clone()),
            dir,
            plans: Mutex::default(),
            planning: planning::PlanSlots::default(),
            ran: Mutex::default(),
            under_way: Mutex::default(),
            tokens: Mutex::default(),
            writing: Semaphore::new(INPUTS_AT_ONCE),
            changed: watch::Sender::new(0),
        }
    }

    /// Changes with every item that does.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
    pub(crate) fn note_change(&self) {
        self.changed.send_modify(|n| *n += 1);
    }

    /// A call was recorded: each waiter for the run of an approved item looks again.
    pub(crate) fn note_change_of_calls(&self, record: &plexus_ledger::Recorded) {
        if is_of_an_item(record) {
            self.note_change();
        }
    }

    pub(crate) fn input_file(&self, item: &PendingId, id: &CapabilityId) -> PathBuf {
        self.dir.join(format!("{item}.{id}.input"))
    }

    fn differs_file(&self, item: &PendingId, id: &CapabilityId) -> PathBuf {
        self.dir.join(format!("{item}.{id}.differs"))
    }

    async fn write_input(
        &self,
        item: &PendingId,
        agent: Option<&AgentId>,
        id: &CapabilityId,
        input: &Bytes,
        things: Vec<String>,
    ) -> io::Result<()> {
        let (path, beside) = (self.input_file(item, id), self.differs_file(item, id));
        let (dir, agent, id, input) = (self.dir.clone(), agent.cloned(), id.clone(), input.clone());
        let keep = move || {
            let differs =
                agent.and_then(|agent| differs::compared(&dir, &agent, &id, &input, &things));
            if let Some(differs) = differs {
                write_private(&beside, &serde_json::to_vec(&differs)?)?;
            }
            write_private(&path, &input)
        };
        blocking(keep).await?
    }

    /// What a call differs in from the last approved one, as it was when its item was made.
    fn differs(&self, item: &PendingId, ask: &Ask) -> Option<Value> {
        ask.input?;
        serde_json::from_slice(&fs::read(self.differs_file(item, &ask.capability)).ok()?).ok()
    }

    /// The owner has approved these calls: the next of their kind are compared with them.
    pub fn remember_approved(
        &self,
        agent: &AgentId,
        calls: &[(CapabilityId, Vec<u8>)],
        at: Timestamp,
    ) {
        for (capability, input) in calls {
            if let Err(error) = differs::keep(&self.dir, agent, capability, input, at) {
                // The next card compares with nothing, or with an older call, and says which.
                tracing::warn!(name: "pending.unsaved", %error, %capability, "an approved input could not be kept for comparing");
            }
        }
    }

    /// The input of an item's ask, as it was asked with; none where the file is gone or holds something else.
    pub fn input(&self, item: &PendingId, ask: &Ask) -> Option<Vec<u8>> {
        self.kept_input(item, ask).map(|(bytes, _)| bytes)
    }

    /// The same as what it says.
    pub fn input_value(&self, item: &PendingId, ask: &Ask) -> Option<Value> {
        self.kept_input(item, ask).map(|(_, value)| value)
    }

    /// The same, as bytes and as what they say. One that an earlier build took and that cannot be shown as it will be
    /// made is not there either.
    fn kept_input(&self, item: &PendingId, ask: &Ask) -> Option<(Vec<u8>, Value)> {
        let wanted = ask.input?;
        let kept = fs::read(self.input_file(item, &ask.capability)).ok()?;
        if Digest::of(&kept) != wanted {
            return None;
        }
        let value = plexus_protocol::json::parse_wide(&kept).ok()?;
        Some((kept, value))
    }

    /// The plan that the machine has for an ask, if it is the one whose preview is kept: of two that were made at the
    /// same time, the preview of one must not be shown for the other.
    fn preview(&self, item: &PendingId, ask: &Ask) -> Option<Arc<PlanMade>> {
        let Plan::Ready {
            preview,
            state_token,
            ..
        } = &ask.plan
        else {
            return None;
        };
        match self.plan(item, &ask.capability)? {
            Planned::Made(made, shown, _)
                if shown == *preview && made.state_token == *state_token =>
            {
                Some(made)
            }
            Planned::Made(..) | Planned::Failed(_) | Planned::Named(_) => None,
        }
    }

    /// What the plans of a workflow's members assume about the world, as the approved card showed them. Empty where the card
    /// had no plan; none where it had one that is kept no more, as after a restart.
    pub(crate) fn members_planned(
        &self,
        state: &State,
        item: &PendingId,
        id: &CapabilityId,
    ) -> Option<Vec<Option<Digest>>> {
        let asks = &state.item(item)?.asks;
        let ask = asks.iter().find(|ask| ask.capability == *id)?;
        if !matches!(ask.plan, Plan::Ready { .. }) {
            return Some(Vec::new());
        }
        self.preview(item, ask)?;
        match self.plan(item, id)? {
            Planned::Made(_, _, members) => Some(members),
            Planned::Failed(_) | Planned::Named(_) => None,
        }
    }

    /// In one line, what an ask's call would do or read, where that is known.
    pub fn headline(&self, item: &PendingId, ask: &Ask) -> Option<String> {
        if let Some(Planned::Named(facts)) = self.plan(item, &ask.capability) {
            let first = facts.first()?;
            return Some(format!("{}: {}", first.name.as_str(), first.value.as_str()));
        }
        self.preview(item, ask)
            .map(|made| made.preview.headline.to_string())
    }

    /// What the approved plan of an ask says that it would change, with what was there.
    pub(crate) fn would_touch(
        &self,
        state: &State,
        item: &PendingId,
        id: &CapabilityId,
    ) -> Option<Vec<Touched>> {
        let item = state.item(item)?;
        let ask = item.asks.iter().find(|ask| ask.capability == *id)?;
        Some(self.preview(&item.id, ask)?.touched.clone())
    }

    /// The change that an ask's call would make, line by line, and its form, where that is known.
    pub fn change(&self, item: &PendingId, ask: &Ask) -> Option<(Form, String)> {
        let made = self.preview(item, ask)?;
        let diff = made.preview.diff.as_ref()?;
        Some((made.preview.form, diff.to_string()))
    }

    /// Forgets everything that is kept for an item.
    pub fn drop_input(&self, item: &PendingId) {
        self.drop_plans(item);
        let Ok(files) = fs::read_dir(&self.dir) else {
            return;
        };
        for file in files.flatten() {
            let name = file.file_name();
            if name
                .to_str()
                .is_some_and(|n| n.starts_with(&format!("{item}.")) && is_of_call(n))
            {
                let _ = fs::remove_file(file.path());
            }
        }
    }

    fn plan(&self, item: &PendingId, id: &CapabilityId) -> Option<Planned> {
        self.plans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&(item.clone(), id.clone()))
            .cloned()
    }

    fn drop_plans(&self, item: &PendingId) {
        self.plans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(of, _), _| of != item);
    }

    fn keep_plan(&self, item: &PendingId, id: &CapabilityId, plan: Planned) {
        self.plans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((item.clone(), id.clone()), plan);
    }

    /// The token that was made for this item and session, while it lasts.
    pub fn made_token(
        &self,
        item: &PendingId,
        session: &SessionId,
        now: Timestamp,
    ) -> Option<Value> {
        let mut made = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|_, (until, _)| now < *until);
        made.get(&(item.clone(), session.clone()))
            .map(|(_, token)| token.clone())
    }

    /// Keeps a token for the one request that may collect it.
    pub fn keep_token(
        &self,
        state: &State,
        item: &PendingId,
        session: &SessionId,
        until: Timestamp,
        token: &Value,
    ) {
        let mut made = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        made.retain(|(item, session), _| is_open(state, item, session));
        let of_item = || made.iter().filter(|((of, _), _)| of == item);
        if of_item().count() >= TOKENS_OF_AN_ITEM {
            let first = of_item().min_by_key(|(_, (until, _))| *until);
            if let Some(key) = first.map(|(key, _)| key.clone()) {
                made.remove(&key);
            }
        }
        made.insert((item.clone(), session.clone()), (until, token.clone()));
    }

    // --- answers of approved runs ---

    /// Keeps the answer of a run, made on `terms`; what was read is kept only if what allowed it `stands`.
    fn keep_result(
        &self,
        item: &Item,
        ask: &Ask,
        answer: &Answer,
        terms: Option<Digest>,
        stands: bool,
    ) {
        let ran = KeptAnswer {
            terms,
            ..KeptAnswer::of(answer)
        };
        self.keep_ran(&item.id, &ask.capability, ran);
        if !stands {
            self.take_back_read(item, ask);
        }
        self.note_change();
    }

    /// Takes back what was read for an agent's items, on disk too: called before the end of the permission is recorded.
    pub(crate) fn take_back(&self, state: &State, agent: &AgentId, id: &CapabilityId) {
        let agent = state.agent(agent).into_iter();
        for item in agent.flat_map(|agent| agent.items.values()) {
            let asks = item.asks.iter().filter(|ask| &ask.capability == id);
            asks.for_each(|ask| self.take_back_read(item, ask));
        }
    }

    fn take_back_read(&self, item: &Item, ask: &Ask) {
        let id = &ask.capability;
        let kept = || self.ran(&item.id, id).is_some_and(|r| r.terms.is_some());
        if item.runs(ask) && ask.verbs.is_read() && kept() {
            let over = withheld_answer(id, given::read_is_over(id));
            self.keep_ran(&item.id, id, over);
        }
    }

    fn keep_ran(&self, item: &PendingId, id: &CapabilityId, ran: KeptAnswer) {
        self.answers.keep(Key::Item(item, id), &ran);
        self.ran
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((item.clone(), id.clone()), ran);
    }

    /// The answer of one call of an item, where it is kept.
    fn ran(&self, item: &PendingId, id: &CapabilityId) -> Option<KeptAnswer> {
        let mut known = self.ran.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (item.clone(), id.clone());
        if let Some(ran) = known.get(&key) {
            return Some(ran.clone());
        }
        let ran = self.answers.get(Key::Item(item, id))?;
        known.insert(key, ran.clone());
        Some(ran)
    }

    /// The answer of a call that the gateway makes, or has made, for an approved item; none while it is due or under way.
    fn answer(&self, kernel: &Kernel, item: &Item, ask: &Ask) -> Option<KeptAnswer> {
        // Looked up first: a run that ends meanwhile has kept its answer by then.
        let under_way = self.under_way().contains(&item.id);
        // A call without an outcome that is known, as it was read here, has no better answer than the kept one.
        let is_known_since = |ran: &KeptAnswer| {
            let state = kernel.ledger.snapshot();
            ask.outcome.is_some_and(|is| is != OutcomeKind::Unknown)
                && refusal::is_known_since(&state, &item.agent, &ran.response)
        };
        let ran = self
            .ran(&item.id, &ask.capability)
            .filter(|ran| !is_known_since(ran))
            .or_else(|| {
                (!under_way)
                    .then(|| self.lost_answer(kernel, item, ask))
                    .flatten()
            })?;
        Some(match withheld(kernel, item, ask, &ran) {
            Some(error) => withheld_answer(&ask.capability, error),
            None => ran,
        })
    }

    /// What is known of a call whose answer was lost: in a crash before it was kept, or because it could not be.
    fn lost_answer(&self, kernel: &Kernel, item: &Item, ask: &Ask) -> Option<KeptAnswer> {
        if !item.runs(ask) || !matches!(ask.approval, Approval::Used | Approval::Ended) {
            return None;
        }
        let alone = item.asks.iter().filter(|ask| item.runs(ask)).count() == 1;
        let outcome = match (ask.outcome, &item.state) {
            (Some(outcome), _) => outcome,
            // An earlier version noted how the last call of an item went, and not which one that was.
            (None, ItemState::Over { outcome }) if alone && ask.approval == Approval::Ended => {
                *outcome
            }
            (None, _) => OutcomeKind::Unknown,
        };
        let state = kernel.ledger.snapshot();
        let intent = match outcome {
            OutcomeKind::Ok | OutcomeKind::Refused => ask.intent.as_ref(),
            // An answer of unknown effect that names no intent is the last word.
            OutcomeKind::Failed | OutcomeKind::Unknown => unsettled(&state, item, ask),
        };
        let mut answer = crate::denial::of_outcome(&ask.capability, outcome, intent);
        if outcome == OutcomeKind::Ok {
            answer.body.undo.clone_from(&ask.undo);
        }
        Some(KeptAnswer::of(&answer))
    }

    /// The answers of an item's runs, in the order of its asks, once there is one for each. If they are `given` to the
    /// agent, the same calls are new wishes from then on; by its id the item has them as long as they are kept.
    pub fn results(
        &self,
        kernel: &Kernel,
        item: &Item,
        given: bool,
    ) -> Option<Vec<InvokeResponse>> {
        let runs: Vec<_> = item.asks.iter().filter(|ask| item.runs(ask)).collect();
        let answered = |ask: &&Ask| Some(self.answer(kernel, item, ask)?.response);
        let results: Vec<_> = runs.iter().map(answered).collect::<Option<_>>()?;
        runs.iter()
            .filter(|_| given)
            .for_each(|ask| self.collect_one(kernel, item, ask));
        (!results.is_empty()).then_some(results)
    }

    /// What is known of an approved call, by its run.
    pub(crate) fn of_run(
        &self,
        kernel: &Kernel,
        run: &RunId,
        id: &CapabilityId,
    ) -> Option<InvokeResponse> {
        let state = kernel.ledger.snapshot();
        let item = state.item(&run.item())?;
        let ask = item.asks.iter().find(|ask| ask.capability == *id)?;
        Some(self.answer(kernel, item, ask)?.response)
    }

    /// The run of an approved effect as its item tells it, where no run of this launch does. Of several calls it is the first
    /// that was not done, else the last, as in the answer of the item.
    pub(crate) fn run_of_item(&self, kernel: &Kernel, run: &RunId) -> Option<OneRun> {
        let state = kernel.ledger.snapshot();
        let item = state.item(&run.item())?;
        let effects = item.asks.iter().filter(|ask| !ask.verbs.is_read());
        let answered: Vec<_> = effects
            .filter_map(|ask| Some((ask, self.answer(kernel, item, ask)?.response)))
            .collect();
        let undone = answered.iter().find(|(_, answer)| !answer.ok);
        let (ask, answer) = undone.or(answered.last())?.clone();
        // An approval makes the call, and the item lapses a day after it.
        let at = Timestamp(item.expires_at.0.saturating_sub(KEPT_MS));
        let agent = state.agent(&item.agent);
        let facts = RunFacts {
            agent: item.agent.clone(),
            epoch: item.agent_epoch.or(agent.map(|agent| agent.epoch))?,
            capability: ask.capability.clone(),
            is_read: false,
            started: at,
            ended: at,
            constraint: None,
            // It read nothing.
            read: Digest::of(b""),
            grant: None,
        };
        Some(OneRun::kept(run.clone(), facts, answer))
    }

    fn collect_one(&self, kernel: &Kernel, item: &Item, ask: &Ask) {
        let uncollected = |ran: &KeptAnswer| !ran.collected;
        if let Some(ran) = self.answer(kernel, item, ask).filter(uncollected) {
            let ran = KeptAnswer {
                collected: true,
                ..ran
            };
            self.keep_ran(&item.id, &ask.capability, ran);
        }
    }

    /// Whether the gateway itself runs, or has run, what this item allows and an answer is still to come.
    pub fn is_running(&self, kernel: &Kernel, item: &Item) -> bool {
        let mut asks = item.asks.iter();
        asks.any(|ask| self.runs_now(kernel, item, ask))
    }

    /// The same of one call.
    fn runs_now(&self, kernel: &Kernel, item: &Item, ask: &Ask) -> bool {
        item.runs(ask)
            && (matches!(item.state, ItemState::Approved { .. } | ItemState::Consumed)
                || self.under_way().contains(&item.id))
            && self.answer(kernel, item, ask).is_none()
    }

    /// Items whose run was begun in this launch and whose answer is not kept yet: the outcome is recorded a moment
    /// before the answer is.
    fn under_way(&self) -> MutexGuard<'_, HashSet<PendingId>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody had begun it before.
    pub(crate) fn begin_run(&self, item: &PendingId) -> bool {
        self.under_way().insert(item.clone())
    }

    pub(crate) fn end_run(&self, item: &PendingId) {
        self.under_way().remove(item);
        self.note_change();
    }

    /// Joins a call to the approved run of the same call. Its agent gets the answer once, in whatever session; by its `key` as
    /// long as it is kept (docs/decisions/0125).
    pub(crate) async fn join_run(
        &self,
        kernel: &Kernel,
        asked: &Asked,
        key: Option<Digest>,
    ) -> Option<Answer> {
        asked.caller.by.session()?;
        let mut changed = self.changed();
        loop {
            let state = kernel.ledger.snapshot();
            let (item, ask) = self.approved_twin(kernel, &state, asked, key)?;
            if let Some(ran) = self.answer(kernel, &item, &ask) {
                self.collect_one(kernel, &item, &ask);
                return Some(Answer {
                    status: ran.status,
                    body: InvokeResponse {
                        replayed: true,
                        ..ran.response
                    },
                });
            }
            if !self.runs_now(kernel, &item, &ask) {
                return None;
            }
            // What is not begun yet is left to the next launch: nobody waits for that.
            let begun = self.under_way().contains(&item.id);
            if !begun && kernel.phase() != Phase::Serving {
                return None;
            }
            // Nor for a run that cannot be begun before there is room for its record. It stays due.
            if let Some(why) = kernel.takes_nothing().filter(|_| !begun) {
                return Some(crate::denial::unrecorded(asked.id(), &why));
            }
            tokio::select! {
                moved = changed.changed() => moved.ok()?,
                () = kernel.ending(), if !begun => {}
            }
        }
    }

    /// The newest approved item, and its ask, by which the gateway makes or has made this very call.
    fn approved_twin(
        &self,
        kernel: &Kernel,
        state: &State,
        asked: &Asked,
        key: Option<Digest>,
    ) -> Option<(Arc<Item>, Ask)> {
        let agent = state.agent(&asked.caller.agent)?;
        let own = agent.items.values().filter(|item| item.is_of(agent));
        let twins = own.filter_map(|item| {
            let same = |ask: &&Ask| {
                &ask.capability == asked.id()
                    && ask.input == Some(asked.digest)
                    && (key.is_none() || ask.key == key)
                    && item.runs(ask)
            };
            let ask = item.asks.iter().find(same)?;
            let owed = || {
                let answer = self.answer(kernel, item, ask);
                key.is_some() || answer.is_none_or(|ran| !ran.collected)
            };
            (is_approved(item) && owed()).then_some((item, ask))
        });
        let newest = twins.max_by_key(|(item, _)| item.created_at);
        newest.map(|(item, ask)| (item.clone(), ask.clone()))
    }

    /// Whether a key stands for a call of this capability with another input, which waits or was approved.
    pub(crate) fn is_of_another_call(&self, kernel: &Kernel, asked: &Asked, key: Digest) -> bool {
        let state = kernel.ledger.snapshot();
        let Some(agent) = state.agent(&asked.caller.agent) else {
            return false;
        };
        let now = kernel.clock.now();
        let stands = |item: &Item| item.wire_state(now) == "pending" || is_approved(item);
        let own = agent.items.values().filter(|item| item.is_of(agent));
        let mut asks = own.filter(|item| stands(item)).flat_map(|item| &item.asks);
        // A digest of a key is of its capability.
        asks.any(|ask| ask.key == Some(key) && ask.input != Some(asked.digest))
    }

    /// Forgets what no item needs any more: inputs of items that are decided, results of items that are gone. `state` is
    /// asked after each list is there: in an older one an item that was made meanwhile would be gone.
    pub fn tidy(&self, state: impl Fn() -> Arc<State>) {
        let open = |item: &Item| item.state == ItemState::Pending || item.has_call_left();
        let Ok(files) = fs::read_dir(&self.dir) else {
            return;
        };
        let files: Vec<_> = files.flatten().collect();
        let now = state();
        for file in files {
            let name = file.file_name().to_string_lossy().into_owned();
            let Some(item) = name
                .split('.')
                .next()
                .and_then(|p| PendingId::parse(p).ok())
            else {
                continue;
            };
            let known = now.item(&item);
            let needed = if is_of_call(&name) {
                known.is_some_and(|i| open(i))
            } else {
                known.is_some()
            };
            // A file younger than its item's commit belongs to a request that is under way.
            let fresh = file
                .metadata()
                .and_then(|m| m.modified())
                .is_ok_and(|t| t.elapsed().is_ok_and(|e| e.as_secs() < 60));
            if !needed && !fresh {
                let _ = fs::remove_file(file.path());
            }
        }
        differs::tidy(&self.dir, &state);
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state();
        plans.retain(|(item, _), _| now.item(item).is_some_and(|i| open(i)));
        drop(plans);
        let mut ran = self.ran.lock().unwrap_or_else(PoisonError::into_inner);
        let now = state();
        ran.retain(|(item, _), _| now.item(item).is_some());
    }
}

/// The input of an item's ask as bytes and as what they say, read on a thread of the pool: it may be large. If the system
/// gives no thread, it is read here.
async fn input_aside(
    kernel: &Arc<Kernel>,
    item: &PendingId,
    ask: &Ask,
) -> Option<(Vec<u8>, Value)> {
    let (aside, id, asked) = (kernel.clone(), item.clone(), ask.clone());
    let read = blocking(move || aside.approvals.kept_input(&id, &asked)).await;
    read.unwrap_or_else(|_| kernel.approvals.kept_input(item, ask))
}

/// Whether a session that looked at an item is still there: with it its token has ended.
fn is_open(state: &State, item: &PendingId, session: &SessionId) -> bool {
    let agent = state.item(item).and_then(|item| state.agent(&item.agent));
    agent.is_some_and(|agent| agent.sessions.contains_key(session))
}

/// The intent of an item's call of which nobody knows whether it happened.
fn unsettled<'s>(state: &'s State, item: &Item, ask: &Ask) -> Option<&'s AuditId> {
    let unknown = &state.agent(&item.agent)?.unknown;
    let intents = &unknown.get(&(ask.capability.clone(), ask.input?))?.items;
    intents
        .iter()
        .find_map(|(intent, of)| (*of == item.id).then_some(intent))
}

/// Whether the owner approved it, and did not take that back.
fn is_approved(item: &Item) -> bool {
    matches!(
        item.state,
        ItemState::Approved { .. } | ItemState::Consumed | ItemState::Over { .. }
    )
}

/// The terms on which a read of this item is made now; none of an effect.
fn terms(kernel: &Kernel, item: &Item, ask: &Ask) -> Option<Digest> {
    let state = kernel.ledger.snapshot();
    let agent = state.agent(&item.agent)?;
    let (source, _) = state.capability(&ask.capability)?;
    let terms = || {
        let members = member_reads::read_on(kernel, &agent.id, &ask.capability).unwrap_or_default();
        let constraint = ask.constraint.as_ref();
        crate::terms::digest(agent.epoch, source.revision, constraint, &members)
    };
    ask.verbs.is_read().then(terms)
}

/// Why what was read is not given now, if it is not. The outcome of an effect, or that nothing was read, always is.
fn withheld(kernel: &Kernel, item: &Item, ask: &Ask, ran: &KeptAnswer) -> Option<ErrorBody> {
    if !ask.verbs.is_read() || ask.outcome == Some(OutcomeKind::Refused) {
        return None;
    }
    let now = kernel.ledger.snapshot().time(kernel.clock.now());
    let Some(read) = ran.terms.filter(|_| now < item.expires_at) else {
        return Some(given::read_is_over(&ask.capability));
    };
    let terms = Terms {
        agent: &item.agent,
        capability: &ask.capability,
        constraint: ask.constraint.as_ref(),
        read,
        grant: None,
    };
    may_still_be_given(kernel, &terms).err().map(|error| *error)
}

/// Whether a file of this name is needed only while its item waits or is approved.
fn is_of_call(name: &str) -> bool {
    name.ends_with(".input") || name.ends_with(".differs")
}

/// Whether somebody may wait for this call: only those that an item allowed name one.
pub(crate) fn is_of_an_item(record: &plexus_ledger::Recorded) -> bool {
    memchr::memmem::find(record.json().as_bytes(), b"\"pend_").is_some()
}

#[cfg(test)]
mod tests;
