//! A workflow: calls of other capabilities in order, each a call of the agent's that the gateway decides and records.
//!
//! ```text
//! input ─▶ input of the next member ─▶ the gateway: allowed? ─▶ its answer ─┬▶ the next member …
//!                                                                           └▶ failed: what was done, what was not
//! ```
//! Invariants: a member is called once, and nothing after one that was not done; what was done by then is said.
//!
//! Must not know: as whom a member is called, what it does.

use crate::Extension;
use plexus_ipc::{
    manifest::{Capability, Member},
    worker::{CallContext, Plan, Preview, Reply, SourceError},
};
use plexus_protocol::{Effect, json::digest};
use serde_json::{Value, json};
use std::{fmt::Write as _, sync::Arc};

/// Most that the members answer in all, in bytes: it is kept until the last is over, and a read passes it on.
const MAX_OUTPUTS: usize = 4 << 20;
/// Why a workflow ended before its end.
const MEMBER_FAILED: &str = "member_failed";

/// A capability that is a workflow.
#[derive(Debug)]
pub(crate) struct Workflow {
    name: String,
    is_read: bool,
    members: Vec<Member>,
}

/// A run of it.
struct Run<'w> {
    workflow: &'w Workflow,
    /// What the members answered, in order.
    outputs: Vec<Value>,
    /// The same, as the workflow answers it.
    told: Vec<Value>,
    bytes: usize,
    /// What the members have done.
    effect: Effect,
}

impl Workflow {
    pub(crate) fn of(entry: &Capability) -> Self {
        Self {
            name: entry.name.clone(),
            is_read: entry.is_read(),
            members: entry.members.clone(),
        }
    }
}

impl Extension {
    /// Says what would be called, and with what.
    pub(crate) fn plan_workflow(&self, workflow: &Workflow, input: Value) -> Plan<Value> {
        let headline = format!("run {} of {}", workflow.name, self.source);
        let (mut preview, mut whole) = (Preview::new(headline), String::new());
        let (mut inputs, mut is_known) = (Vec::new(), true);
        for (at, member) in workflow.members.iter().enumerate() {
            let shown = member.shown(&input);
            is_known &= member.planned(&input).is_some();
            let does = match member.is_read() {
                true => "reads",
                false => "changes something",
            };
            let (place, id) = (at + 1, &member.id);
            preview = preview.fact(&format!("member {place}"), format!("{id} ({does})"));
            let _ = write!(whole, "{place}. {id} ({does})\n{shown:#}\n\n");
            inputs.push(json!([id, shown]));
        }
        let token = digest(&json!(inputs));
        let summary = format!("run {}", workflow.name);
        let plan = Plan::new(input, token, preview.text(&whole), summary);
        match is_known {
            true => plan,
            false => plan.warning(
                "{1.…} stands for a value that the first member answers, {2.…} for one of the second: you do not see it first.",
            ),
        }
    }

    pub(crate) async fn run_workflow(
        self: Arc<Self>,
        workflow: Arc<Workflow>,
        call: CallContext,
        input: Value,
    ) -> Result<Reply<Value>, SourceError> {
        let mut run = Run {
            workflow: &workflow,
            outputs: Vec::new(),
            told: Vec::new(),
            bytes: 0,
            effect: Effect::None,
        };
        for member in &workflow.members {
            if call.is_cancelled() {
                return Err(SourceError::cancelled(run.effect));
            }
            run.call(member, &call, &input).await?;
        }
        let name = format!("{}.{}", self.source, workflow.name);
        let output = json!({"workflow": name, "members": run.told});
        Ok(Reply::new(output, format!("ran {}", workflow.name)))
    }
}

impl Run<'_> {
    async fn call(
        &mut self,
        member: &Member,
        call: &CallContext,
        input: &Value,
    ) -> Result<(), SourceError> {
        let asked = member.render(input, &self.outputs);
        let asked = asked.map_err(|why| self.stopped(member, "template", &why, Effect::None))?;
        self.report(call, member, json!({"state": "begun"})).await;
        let answer = call.host_call(&member.id, &asked).await;
        let mut answer = answer
            .map_err(|error| self.stopped(member, "host_call", &error.message, error.effect))?;
        let audit = answer["auditId"].take();
        if answer["ok"] != true {
            let error = &answer["error"];
            let effect = serde_json::from_value(error["effect"].clone()).unwrap_or_default();
            let why = error["message"].as_str().unwrap_or("It was not done.");
            let over = json!({"state": "failed", "auditId": audit, "code": error["code"]});
            self.report(call, member, over).await;
            return Err(self.stopped(member, MEMBER_FAILED, why, effect));
        }
        if !member.is_read() {
            self.effect = Effect::Partial;
        }
        let output = answer["output"].take();
        self.bytes += output.to_string().len();
        if self.bytes > MAX_OUTPUTS {
            let why = "The members answered more than 4 MiB in all.";
            return Err(self.stopped(member, "too_large", why, Effect::None));
        }
        let over = json!({"state": "done", "auditId": audit});
        self.report(call, member, over).await;
        let mut told = json!({"id": member.id, "ok": true, "auditId": audit});
        // What an effect reads goes where its card says, and to nobody else.
        if self.workflow.is_read {
            told["output"] = output.clone();
        }
        self.told.push(told);
        self.outputs.push(output);
        Ok(())
    }

    /// Notifies the followers of the call. An event that cannot be sent ends nothing: the answer says the same.
    async fn report(&self, call: &CallContext, member: &Member, mut event: Value) {
        event["member"] = json!(self.outputs.len() + 1);
        event["of"] = json!(self.workflow.members.len());
        event["id"] = json!(member.id);
        let _ = call.progress_event(&event).await;
    }

    /// It ends here: what was done by then, and what was not begun.
    fn stopped(&self, member: &Member, reason: &str, why: &str, effect: Effect) -> SourceError {
        let members = &self.workflow.members;
        let at = self.outputs.len();
        let ids = |members: &[Member]| match members {
            [] => "none".to_owned(),
            some => some
                .iter()
                .map(|one| one.id.as_str())
                .collect::<Vec<_>>()
                .join(", "),
        };
        let words = format!(
            "Member {} of {} ({}) ended it. Done before: {}. Not begun: {}. {why}",
            at + 1,
            members.len(),
            member.id,
            ids(&members[..at]),
            ids(members.get(at + 1..).unwrap_or_default()),
        );
        let effect = match (self.effect, effect) {
            (_, Effect::Unknown) => Effect::Unknown,
            (Effect::None, Effect::None) => Effect::None,
            _ => Effect::Partial,
        };
        SourceError::transport(reason, words).effect(effect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_ipc::message::Role;
    use std::time::Duration;

    #[tokio::test]
    async fn call_that_is_not_sent_says_what_was_done() {
        let member = |id: &str| -> Member {
            serde_json::from_value(json!({"id": id, "verbs": ["write"], "input": {}})).unwrap()
        };
        let workflow = Workflow {
            name: "file".to_owned(),
            is_read: false,
            members: vec![member("notes.first"), member("notes.second")],
        };
        // It has no gateway.
        let call = CallContext::detached(Role::Writer, None, Duration::from_secs(5));
        for (effect, done) in [(Effect::None, 0), (Effect::Partial, 1)] {
            let mut run = Run {
                workflow: &workflow,
                outputs: vec![json!({}); done],
                told: Vec::new(),
                bytes: 0,
                effect,
            };
            let member = &workflow.members[done];
            let error = run.call(member, &call, &json!({})).await.unwrap_err();
            assert_eq!(error.effect, effect, "{error}");
            assert!(error.message.contains(&member.id), "{error}");
        }
    }
}
