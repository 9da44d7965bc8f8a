//! Questions that a source asks the owner while it serves a call: shown beside the requests, answered by the owner alone.
//!
//! ```text
//! worker ─▶ recorded ─▶ waits ─▶ answered, recorded ─▶ worker
//!              │           └─ declined, or its time or its call is over ─▶ worker
//!              └ asks for what looks like a password: declined, and the owner is not asked
//! ```
//! Invariants: an answer goes to the call that asked, and only once it is recorded; the audit log has its digest and no
//! value; no agent is shown a question or answers one. A question ends with its call, so nothing of it is kept on disk.
//!
//! Must not know: HTTP, how a source asks; how it is asked and answered is in `ask_owner`.

pub(crate) mod form;

use crate::approvals::card;
use plexus_ipc::message::{Question, Wants};
use plexus_protocol::{AgentId, CapabilityId, PendingId, SourceId, Timestamp};
use plexus_trust::State;
use serde_json::{Map, Value, json as object};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::oneshot;

/// Questions of one agent's calls, and of all, that wait at a time.
const OF_AN_AGENT: usize = 4;
const IN_ALL: usize = 32;

/// Those that wait.
#[derive(Debug, Default)]
pub struct Questions(Mutex<BTreeMap<PendingId, Open>>);

/// One that waits.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) source: SourceId,
    pub(crate) agent: AgentId,
    pub(crate) capability: CapabilityId,
    pub(crate) question: Question,
    pub(crate) asked: Timestamp,
    pub(crate) until: Timestamp,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// What the owner answers.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// These values; none for a page that was opened.
    Accept(Map<String, Value>),
    /// Not to answer.
    Decline,
}

/// Why the owner's values are no answer.
#[derive(Debug)]
pub struct UnfitAnswer {
    /// The first field that has none, or takes no such value.
    pub field: Option<String>,
    /// All that is wrong with them, in words.
    pub why: String,
}

/// A question that was taken out to be answered. Dropped, its call goes on as if nobody had answered.
#[derive(Debug)]
pub struct ClaimedQuestion {
    pub(crate) id: PendingId,
    pub(crate) open: Open,
}

/// Ends a question with the call that asked.
pub(crate) struct QuestionGuard<'k> {
    questions: &'k Questions,
    id: PendingId,
}

impl Drop for QuestionGuard<'_> {
    fn drop(&mut self) {
        self.questions.open().remove(&self.id);
    }
}

impl Questions {
    fn open(&self) -> MutexGuard<'_, BTreeMap<PendingId, Open>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one in place until its guard goes; none where too many wait.
    pub(crate) fn put(&self, id: &PendingId, open: Open) -> Option<QuestionGuard<'_>> {
        let mut all = self.open();
        let of_agent = all.values().filter(|other| other.agent == open.agent);
        if all.len() >= IN_ALL || of_agent.count() >= OF_AN_AGENT {
            return None;
        }
        all.insert(id.clone(), open);
        Some(QuestionGuard {
            questions: self,
            id: id.clone(),
        })
    }

    /// The cards of all that wait, the oldest first.
    pub fn cards(&self, state: &State) -> Vec<Map<String, Value>> {
        let all = self.open();
        let mut cards: Vec<_> = all.iter().collect();
        cards.sort_by_key(|(id, open)| (open.asked, (*id).clone()));
        cards
            .into_iter()
            .map(|(id, open)| open.card(id, state))
            .collect()
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.open().len()
    }

    /// The card of one.
    pub fn card(&self, id: &PendingId, state: &State) -> Option<Map<String, Value>> {
        Some(self.open().get(id)?.card(id, state))
    }

    /// Whether this one waits.
    pub fn waits(&self, id: &PendingId) -> bool {
        self.open().contains_key(id)
    }

    /// What the owner's values come to, before anything is done with them.
    ///
    /// # Errors
    /// A field that is missing, unknown, or takes no such value; none waits.
    pub fn check(
        &self,
        id: &PendingId,
        given: Map<String, Value>,
    ) -> Option<Result<Answer, UnfitAnswer>> {
        let all = self.open();
        let checked = match &all.get(id)?.question.wants {
            Wants::Form { fields } => form::content(fields, given),
            Wants::Url { .. } if given.is_empty() => Ok(given),
            Wants::Url { .. } => Err(UnfitAnswer {
                field: None,
                why: "a page is opened, and has no fields here".to_owned(),
            }),
        };
        Some(checked.map(Answer::Accept))
    }

    /// Takes it out to be answered: from here on nobody else answers it.
    pub fn take(&self, id: &PendingId) -> Option<ClaimedQuestion> {
        let open = self.open().remove(id)?;
        Some(ClaimedQuestion {
            id: id.clone(),
            open,
        })
    }
}

impl Open {
    fn card(&self, id: &PendingId, state: &State) -> Map<String, Value> {
        let source = state.sources.get(&self.source);
        let label = source.map_or(self.source.as_str(), |source| &source.config.label);
        let given = match self.question.wants {
            Wants::Form { .. } => format!(
                "what you type goes to {}, and what it answers goes to {}",
                self.source, self.agent
            ),
            Wants::Url { .. } => format!("{} is notified that you opened the page", self.source),
        };
        let refused = format!("{} is notified that you do not answer", self.source);
        let card = object!({
            "pendingId": id, "kind": "question", "state": "pending",
            "createdAt": self.asked, "expiresAt": self.until,
            "agentId": self.agent, "capabilities": [self.capability],
            "source": {"id": self.source, "label": label},
            "question": form::shown(&self.question),
            "reasons": ["a third party asks this, not Plexus: type no password, and nothing that the agent may not see"],
            "pendingNarration": [], "asks": [], "narrow": [], "differs": null,
            "choices": [{"window": "once", "words": given, "default": true}],
            "ifApproved": given, "ifDenied": refused,
        });
        let Value::Object(mut card) = card else {
            return Map::new();
        };
        let digest = card::digest(&card);
        card.insert("cardDigest".into(), object!(digest));
        card
    }
}
