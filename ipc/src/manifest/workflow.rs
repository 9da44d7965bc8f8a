//! A capability that is a workflow: the capabilities that it calls in order, each with an input of its own.
//!
//! Invariants: a workflow has the strongest verb of its members, and one of reads alone is a read; a member's input is a
//! template, and takes no value from a member behind it.
//!
//! Must not know: who may call, in which process a workflow runs.

use super::{
    Capability, Manifest, ManifestError, invalid,
    template::{Reference, RenderContext, Rendered, admits, each_reference, shown, whole},
};
use plexus_protocol::{CapabilityId, Verb, Verbs};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most members of a workflow.
const MAX_MEMBERS: usize = 16;
/// How long the approval of a workflow lasts from its start on, in minutes.
pub const MINUTES_OF_MEMBERS: u32 = 10;

/// One call of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The capability, `<source>.<name>`.
    pub id: String,
    /// Its verbs.
    pub verbs: Verbs,
    /// Its input, whose texts are templates; absent: the workflow's own input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
}

impl Member {
    /// Its input.
    ///
    /// # Errors
    /// Why there is none: in words for the caller that hold no value.
    pub fn render(&self, input: &Value, outputs: &[Value]) -> Result<Value, String> {
        let Some(template) = &self.input else {
            return Ok(input.clone());
        };
        let known = RenderContext {
            input,
            outputs: Some(outputs),
        };
        match whole(template, known)? {
            Rendered::Value(value) => Ok(value),
            Rendered::LeftOut | Rendered::Later => Err("its input is left out".to_owned()),
        }
    }

    /// Its input as far as the workflow's input says: a text that waits for an answer stands as it is written.
    #[must_use]
    pub fn shown(&self, input: &Value) -> Value {
        let known = RenderContext {
            input,
            outputs: None,
        };
        let template = self.input.as_ref();
        template.map_or_else(|| input.clone(), |template| shown(template, known))
    }

    /// Its input, where that waits for no answer.
    #[must_use]
    pub fn planned(&self, input: &Value) -> Option<Value> {
        let Some(template) = &self.input else {
            return Some(input.clone());
        };
        let known = RenderContext {
            input,
            outputs: None,
        };
        match whole(template, known) {
            Ok(Rendered::Value(value)) => Some(value),
            Ok(Rendered::LeftOut | Rendered::Later) | Err(_) => None,
        }
    }

    /// Whether `candidate` is an input that this member may have for the workflow's `input`, whatever earlier members answer.
    #[must_use]
    pub fn admits(&self, input: &Value, candidate: &Value) -> bool {
        let known = RenderContext {
            input,
            outputs: None,
        };
        match &self.input {
            None => candidate == input,
            Some(template) => admits(template, known, candidate),
        }
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.verbs.is_read()
    }

    pub(super) fn check(&self, at: usize, schema: &Value) -> Result<(), &'static str> {
        if CapabilityId::parse(&self.id).is_err() || self.id.len() > 200 {
            return Err("its id is none of a capability");
        }
        if self.verbs.is_empty() {
            return Err("it has no verb");
        }
        let Some(template) = &self.input else {
            return Ok(());
        };
        if !template.is_object() {
            return Err("its input is no object");
        }
        let mut refers = |reference: Reference<'_>| match reference {
            Reference::Field(name) if schema["properties"].get(name).is_some() => Ok(()),
            Reference::Field(_) => Err("a field in braces is no property of the workflow's input"),
            Reference::Output(of, _) if of < at => Ok(()),
            Reference::Output(..) => {
                Err("it takes a value from the answer of a member that is not before it")
            }
        };
        each_reference(template, 0, &mut refers)
    }
}

impl Manifest {
    pub(super) fn check_workflows(&self) -> Result<(), ManifestError> {
        let mut workflows = self.capabilities.iter().filter(|entry| entry.is_workflow());
        workflows.try_for_each(|entry| self.check_workflow(entry))
    }

    fn check_workflow(&self, entry: &Capability) -> Result<(), ManifestError> {
        let at = || format!("workflow {:?}", entry.name);
        if entry.members.len() > MAX_MEMBERS {
            return Err(invalid(at(), "more than 16 members"));
        }
        if !self.host_calls || !entry.long_running {
            return Err(invalid(at(), "a workflow needs hostCalls and longRunning"));
        }
        if self.resident {
            let why =
                "a workflow has no resident worker: its members are calls of whoever calls it";
            return Err(invalid(at(), why));
        }
        let needed = entry.members.iter().flat_map(|member| member.verbs.iter());
        let strongest = needed.max().unwrap_or(Verb::Read);
        if strongest == Verb::Read && !entry.is_read() {
            return Err(invalid(at(), "a workflow of reads alone is a read"));
        }
        if strongest > entry.rating() {
            return Err(invalid(
                at(),
                "a member has a stronger verb than the workflow",
            ));
        }
        let schema = entry.input.as_ref().unwrap_or(&Value::Null);
        let mut members = entry.members.iter().enumerate();
        members.try_for_each(|(index, member)| {
            let at = || format!("{}, member {} ({})", at(), index + 1, member.id);
            member
                .check(index, schema)
                .map_err(|why| invalid(at(), why))
        })
    }
}
