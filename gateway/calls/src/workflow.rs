//! A workflow's call while it is under way: which member comes next, and what its members answered.
//!
//! Invariants: the members of an effect come in the order of the manifest, each once; one that failed ends its workflow.
//!
//! Must not know: how a member is called, and what it may.

use crate::refusal::{PARTLY_DONE, RETRY_AFTER};
use plexus_protocol::{Digest, Effect, ErrorBody, NextKind, body::InvokeResponse, json};
use plexus_sources::catalogue::Entry;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Why a worker says that a workflow ended: the member's own answer says more.
const MEMBER_FAILED: &str = "member_failed";

/// A workflow's call while it is under way.
pub struct Workflow {
    entry: Arc<Entry>,
    input: Arc<Value>,
    /// What the card showed of its members' plans.
    planned: OnceLock<Vec<Option<Digest>>>,
    made: Mutex<MemberCalls>,
}

/// What was made of it.
#[derive(Default)]
struct MemberCalls {
    /// The members that were called, in order: id, whether it was done, its event, its code.
    over: Vec<Value>,
    /// The refusal or failure of the last.
    failed: Option<Box<ErrorBody>>,
}

impl Workflow {
    /// The workflow that a call with this canonical input is; none where it calls no other.
    pub(crate) fn of(entry: &Arc<Entry>, canonical: &[u8]) -> Option<Self> {
        entry.capability().is_workflow().then(|| Self {
            entry: entry.clone(),
            // As the worker gets it: 5.0 is 5 there.
            input: Arc::new(json::parse_wide(canonical).unwrap_or_default()),
            planned: OnceLock::new(),
            made: Mutex::default(),
        })
    }

    /// Holds its members to what the approved card showed of them.
    pub(crate) fn hold_to(&self, planned: Vec<Option<Digest>>) {
        let _ = self.planned.set(planned);
    }

    fn made(&self) -> MutexGuard<'_, MemberCalls> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which member this is; none where it is not the one that the manifest has now. A member that failed ends
    /// its workflow; one of reads may be made twice, from its start.
    pub(crate) fn place(&self, id: &str, input: &Value) -> Option<usize> {
        let capability = self.entry.capability();
        let fits = |at: usize| {
            let member = capability.members.get(at);
            member.is_some_and(|member| member.id == id && member.admits(&self.input, input))
        };
        let made = self.made();
        let (next, has_failed) = (made.over.len(), made.failed.is_some());
        drop(made);
        match (capability.is_read(), has_failed) {
            (true, false) => (0..capability.members.len()).find(|at| fits(*at)),
            (true, true) => fits(0).then_some(0),
            (false, false) => fits(next).then_some(next),
            (false, true) => None,
        }
    }

    pub(crate) fn note(&self, at: usize, answer: &InvokeResponse) {
        let mut made = self.made();
        if at == 0 {
            made.over.clear();
        }
        let mut told = json!({"id": answer.id, "ok": answer.ok, "auditId": answer.audit_id});
        if let Some(error) = &answer.error {
            told["code"] = json!(error.code);
        }
        made.over.push(told);
        made.failed.clone_from(&answer.error);
    }

    /// What the card showed of the plan of its member at this place.
    pub(crate) fn planned(&self, at: usize) -> Option<Digest> {
        self.planned.get().and_then(|planned| *planned.get(at)?)
    }

    /// Its failure: that of the member that ended it, with all that were called.
    pub(crate) fn failure(&self, error: ErrorBody) -> ErrorBody {
        let made = self.made();
        let by_member = error.reason() == Some(MEMBER_FAILED);
        let mut told = match made.failed.clone().filter(|_| by_member) {
            Some(failed) => ErrorBody {
                message: error.message,
                effect: error.effect,
                capability_id: failed.capability_id.or(error.capability_id),
                ..*failed
            },
            None => error,
        };
        let mut detail = told
            .detail
            .take()
            .filter(Value::is_object)
            .unwrap_or_else(|| json!({}));
        detail["members"] = json!(made.over);
        if told.effect != Effect::None {
            // What its member says of a next call would do the others again.
            told.more.remove("retryAfterMs");
            if let Some(members) = detail.as_object_mut() {
                members.remove(RETRY_AFTER);
            }
            told = told.then(NextKind::ReadFirst, PARTLY_DONE);
        }
        told.detail(detail)
    }
}
