//! Workflows of extensions: capabilities that call others in order, with values of the input and of earlier answers.
//!
//! Invariants: each member is there, has the verbs that the manifest says, and is no workflow, so none calls itself; a member
//! of another source says so by `allowCrossSource`, and the owner is shown which.
//!
//! Must not know: how a member is called.

use super::manifest::{DeclaredMember, DeclaredWorkflow, ExtensionManifest};
use crate::catalogue::Catalogue;
use plexus_ipc::{
    manifest::{MINUTES_OF_MEMBERS, Member},
    text::{Line, Text},
};
use plexus_protocol::{CapabilityId, Verbs};
use serde_json::{Value, json};
use std::collections::BTreeSet;

impl ExtensionManifest {
    fn id_of(&self, workflow: &DeclaredWorkflow) -> String {
        format!("{}.{}", self.source, workflow.name)
    }

    /// What stands against its workflows by the manifest's own words.
    pub(super) fn odd_workflows(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        for workflow in &self.workflows {
            let id = self.id_of(workflow);
            let odd = workflow.io.odd();
            reasons.extend(odd.map(|why| format!("workflow {:?}: {why}", workflow.name)));
            if workflow.members.is_empty() {
                reasons.push(format!("workflow {id} has no members"));
            }
            for member in &workflow.members {
                reasons.extend(self.odd_member(&id, member));
            }
        }
        reasons
    }

    fn odd_member(&self, workflow: &str, member: &DeclaredMember) -> Option<String> {
        let id = &member.id;
        if id == workflow {
            return Some(format!("workflow cycle detected: {workflow} → {id}"));
        }
        let source = member.source();
        if source != self.source {
            return (!member.allow_cross_source).then(|| {
                format!(
                    "workflow {workflow} member {id} belongs to another source ({source}): say so by \"allowCrossSource\": true"
                )
            });
        }
        let name = id.strip_prefix(source)?.strip_prefix('.')?;
        if self.workflows.iter().any(|other| other.name == name) {
            return Some(calls_workflow(workflow, id));
        }
        let mut own = self.capabilities.iter();
        match own.find(|capability| capability.name == name) {
            Some(capability) => other_verbs(workflow, member, capability.grants),
            None => Some(not_there(workflow, id)),
        }
    }

    /// What stands against its members of other sources, as those are now.
    #[must_use]
    pub fn odd_members(&self, catalogue: &Catalogue) -> Vec<String> {
        let members = self.workflows.iter().flat_map(|workflow| {
            let members = workflow.members.iter();
            members.map(|member| (self.id_of(workflow), member))
        });
        let others = members.filter(|(_, member)| member.source() != self.source);
        let odd = others.filter_map(|(workflow, member)| {
            let id = CapabilityId::parse(&member.id).ok();
            let entry = id.and_then(|id| catalogue.get(&id));
            let callable = entry.filter(|entry| entry.capability().callable());
            let Some(entry) = callable else {
                return Some(not_there(&workflow, &member.id));
            };
            if entry.capability().is_workflow() {
                return Some(calls_workflow(&workflow, &member.id));
            }
            other_verbs(&workflow, member, entry.capability().verbs)
        });
        odd.collect()
    }

    /// Its workflows with members of other sources, and which.
    pub(super) fn cross_sources(&self) -> Vec<Value> {
        let workflows = self.workflows.iter().filter_map(|workflow| {
            let sources = workflow.members.iter().map(DeclaredMember::source);
            let others: BTreeSet<&str> = sources.filter(|source| *source != self.source).collect();
            let id = self.id_of(workflow);
            (!others.is_empty()).then(|| json!({"id": id, "sources": others}))
        });
        workflows.collect()
    }
}

fn not_there(workflow: &str, id: &str) -> String {
    format!("workflow {workflow} calls {id}, which is not there")
}

fn calls_workflow(workflow: &str, id: &str) -> String {
    format!("workflow {workflow} calls {id}, which is a workflow: name its members instead")
}

fn other_verbs(workflow: &str, member: &DeclaredMember, verbs: Verbs) -> Option<String> {
    (verbs != member.verbs).then(|| {
        format!(
            "workflow {workflow} member {} has the verbs {}, not {}",
            member.id,
            json!(verbs),
            json!(member.verbs)
        )
    })
}

impl DeclaredWorkflow {
    /// As the offer has it.
    pub(super) fn entry(&self) -> Value {
        let sensitivity = match self.grants.is_read() {
            true => "low",
            false => "high",
        };
        let members = self.members.iter().map(|member| Member {
            id: member.id.clone(),
            verbs: member.verbs,
            input: member.input.clone(),
        });
        let member = json!({
            "type": "object",
            "properties": {
                "id": {"type": "string"}, "ok": {"type": "boolean"}, "auditId": {"type": "string"}, "output": {},
            },
        });
        json!({
            "name": self.name,
            "kind": "capability",
            "label": Line::<256>::new(&self.label),
            "describe": Text::<16_384>::new(&self.describe),
            "verbs": self.grants,
            "sensitivity": sensitivity,
            "longRunning": true,
            "input": self.io.schema(),
            "output": {
                "type": "object",
                "properties": {"workflow": {"type": "string"}, "members": {"type": "array", "items": member}},
                "additionalProperties": false,
            },
            "limits": {"callMs": MINUTES_OF_MEMBERS * 60_000},
            "members": members.collect::<Vec<_>>(),
        })
    }

    /// As the owner is shown it.
    pub(super) fn shown(&self, source: &str) -> Value {
        json!({
            "id": format!("{source}.{}", self.name),
            "label": Line::<256>::new(&self.label),
            "kind": "workflow",
            "transport": "workflow",
            "verbs": self.grants,
            "describe": Text::<16_384>::new(&self.describe),
            "input": self.io.schema(),
            "members": self.members,
            "asksEachTime": !self.grants.is_read(),
        })
    }
}
