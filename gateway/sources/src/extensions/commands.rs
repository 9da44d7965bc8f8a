//! An extension that the owner agreed to, as an offer: a manifest, and the profiles of its worker and of its commands.
//!
//! Invariants: a path of the owner's is a parameter of a profile and no text of it; a run of a read has no rule that lets it
//! write.
//!
//! Must not know: what the commands do, who may call them.

use super::{
    WORKER, by_manifest_kind,
    declared::{Access, Agreed, CliRoute, DeclaredCapability},
    with_folders,
};
use crate::Registered;
use plexus_ipc::{
    manifest::{ARGUMENTS, Manifest},
    message::Role,
    offer::Offer,
    text::{Line, Text},
};
use plexus_protocol::Verb;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

const COMMAND: &str = include_str!("../../../../sandbox-profiles/children/command.sb");
/// What a call may take beyond its run, in milliseconds: the wait for a slot, the start, the end.
const BESIDE: u32 = 15_000;
/// Largest answer, in bytes: the longest output, each byte escaped.
const FRAME: u32 = 7 << 20;

/// What makes a program of the manifest: a file, an environment, a role.
type ChildKey<'a> = (&'a str, &'a BTreeMap<String, String>, Role);

impl Agreed {
    /// The text that is kept, and agreed to.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{:#}\n", json!(self))
    }

    /// The offer.
    ///
    /// # Errors
    /// What stands against it.
    pub fn registered(&self) -> anyhow::Result<Registered> {
        let text = self.offered()?;
        let manifest = Manifest::parse(&text)?;
        let worker = with_folders(
            WORKER,
            &manifest,
            "; Only the writer changes it.\n(if (string=? (param \"ROLE\") \"writer\")\n  (allow file-write* (subpath (param \"FIELD\"))))\n",
        );
        let reader = with_folders(COMMAND, &manifest, "");
        let writes = "(allow file-write* (subpath (param \"FIELD\"))) ; and changes it\n";
        let writer = with_folders(COMMAND, &manifest, writes);
        let end = writer
            .rfind("(deny file-write-create")
            .unwrap_or(writer.len());
        let (rules, last) = writer.split_at(end);
        let own = "(allow file-write* (subpath (param \"SCRATCH\"))) ; temporary files\n";
        let writer = format!("{rules}{own}{last}");
        let profiles = manifest.children.iter().map(|child| {
            let profile = match child.role {
                Some(Role::Writer) => writer.as_str(),
                Some(Role::Reader) | None => reader.as_str(),
            };
            (child.name.as_str(), profile)
        });
        let profiles: Vec<_> = profiles.collect();
        let mut offer = Offer::of_connector(&text, &worker)?.with_children(&profiles)?;
        offer.program = "plexus-worker-extension".into();
        offer.given = Some(text.as_str().into());
        Registered::of(Arc::new(offer))
    }

    fn children(&self) -> Vec<ChildKey<'_>> {
        let mut children = Vec::new();
        for capability in &self.manifest.capabilities {
            let key = key(capability);
            if !children.contains(&key) {
                children.push(key);
            }
        }
        children
    }

    /// The manifest of the offer.
    fn offered(&self) -> anyhow::Result<String> {
        let declared = &self.manifest;
        let children = self.children();
        let mut programs = Vec::new();
        for (at, (bin, environment, role)) in children.iter().enumerate() {
            let program = self.programs.get(*bin);
            let program = program.ok_or_else(|| anyhow::anyhow!("no program {bin:?}"))?;
            let mut with = BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]);
            with.extend((*environment).clone());
            programs.push(json!({
                "name": child_name(*role, at), "program": {"path": program.path}, "role": role, "tools": true,
                "discard": true, "arguments": [{"list": ARGUMENTS}], "environment": with,
                "limits": {"openFiles": 256, "fileBytes": 268_435_456, "memoryMiB": 512, "processes": 4},
            }));
        }
        let fields = declared.folders.iter().map(|folder| {
            json!({
                "name": folder.name, "label": folder.label, "type": "path", "required": true,
                "target": "route", "writable": folder.access == Access::ReadWrite,
            })
        });
        let mut capabilities = Vec::new();
        for capability in &declared.capabilities {
            let route = &capability.route;
            let at = children.iter().position(|known| *known == key(capability));
            let at = at.unwrap_or(children.len());
            capabilities.push(entry(capability, route, &child_name(role(capability), at)));
        }
        let kind = by_manifest_kind(&declared.source);
        let whole = json!({
            "connector": kind,
            "kind": kind,
            "label": declared.label,
            "blurb": "An extension by manifest: each call is one run of a declared program, in a sandbox of its own.",
            "provenance": "extension",
            "transport": declared.transport,
            "platforms": ["linux"],
            "fields": fields.collect::<Vec<_>>(),
            "roles": ["reader", "writer"],
            "limits": {"frameBytes": FRAME, "openFiles": 256, "fileBytes": 1_048_576, "callMs": 30_000, "memoryMiB": 256},
            "children": programs,
            "capabilities": capabilities,
        });
        Ok(format!("{whole:#}\n"))
    }
}

fn entry(capability: &DeclaredCapability, route: &CliRoute, child: &str) -> Value {
    let sensitivity = if capability.grants.contains(Verb::Execute) {
        "high"
    } else if capability.grants.is_read() {
        "low"
    } else {
        "elevated"
    };
    let mut answer = json!({"status": {"type": "integer"}});
    match route.json {
        true => answer["json"] = json!({}),
        false => answer["text"] = json!({"type": "string"}),
    }
    json!({
        "name": capability.name,
        "kind": "capability",
        "label": Line::<256>::new(&capability.label),
        "describe": Text::<16_384>::new(&capability.describe),
        "verbs": capability.grants,
        "sensitivity": sensitivity,
        "input": capability.schema(),
        "output": {"type": "object", "properties": answer, "additionalProperties": false},
        "limits": {"callMs": route.timeout_ms.saturating_add(BESIDE)},
        "command": {
            "child": child, "arguments": route.args, "stdin": route.stdin, "json": route.json,
            "exitStatuses": route.exit_statuses, "outputBytes": route.output_bytes, "timeoutMs": route.timeout_ms,
        },
    })
}

fn role(capability: &DeclaredCapability) -> Role {
    match capability.grants.is_read() {
        true => Role::Reader,
        false => Role::Writer,
    }
}

fn key(capability: &DeclaredCapability) -> ChildKey<'_> {
    (
        &capability.route.bin,
        &capability.route.env,
        role(capability),
    )
}

fn child_name(role: Role, at: usize) -> String {
    format!("{role}-{}", at + 1)
}
