//! An extension that the owner agreed to, as an offer: a manifest, and the profiles of its worker and of its commands. What
//! reaches an app has no command, and its worker a way to its egress.
//!
//! Invariants: a path of the owner's is a parameter of a profile and no text of it; a run of a read has no rule that lets it
//! write.
//!
//! Must not know: what the commands do, who may call them.

use super::{
    WORKER, before_denials,
    manifest::{
        Access, Agreed, CliRoute, DeclaredCapability, DeclaredWorkflow, PinnedProgram, Route,
    },
    with_folders,
};
use crate::{Registered, code::programs_of, naming::by_manifest_kind};
use plexus_ipc::{
    manifest::{ARGUMENTS, Manifest},
    message::Role,
    offer::Offer,
    text::{Line, Text},
};
use plexus_protocol::{Digest, Verb};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

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

    /// The offer, compiled.
    ///
    /// # Errors
    /// What stands against it.
    pub fn registered(&self) -> anyhow::Result<Registered> {
        Registered::of(Arc::new(self.offer()?))
    }

    /// The same, to look at and not to serve: an owner's list compiles nothing.
    ///
    /// # Errors
    /// What stands against it, beside its schemas.
    pub fn uncompiled(&self) -> anyhow::Result<Registered> {
        Registered::uncompiled(Arc::new(self.offer()?))
    }

    fn offer(&self) -> anyhow::Result<Offer> {
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
        let own = "(allow file-write* (subpath (param \"SCRATCH\"))) ; temporary files\n";
        let writer = before_denials(&writer, own);
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
        Ok(offer)
    }

    /// The program that is not, by these rules of a source, the file that is agreed to: it was replaced between two looks.
    #[must_use]
    pub fn unlike(&self, rules: &[String]) -> Option<&Path> {
        let mut programs = self.programs.values();
        let is_seen = |program: &PinnedProgram| {
            let seen = format!(" {} {}", program.path.display(), program.sha256);
            rules
                .iter()
                .any(|rule| rule.starts_with("program ") && rule.ends_with(&seen))
        };
        programs
            .find(|program| !is_seen(program))
            .map(|program| &*program.path)
    }

    /// The same, with each program as the owner last agreed to it: by these rules of its source, which a card renews.
    #[must_use]
    pub fn as_pinned(mut self, rules: &[String]) -> Self {
        let pinned = programs_of(rules);
        let children = self.children().into_iter();
        let agreed: Vec<_> = children
            .filter_map(|(name, (bin, ..))| {
                let (path, digest) = pinned.get(&*name)?;
                let path = PathBuf::from(path);
                let sha256 = Digest::parse(digest)?;
                Some((bin.to_owned(), PinnedProgram { path, sha256 }))
            })
            .collect();
        self.programs.extend(agreed);
        self
    }

    /// Its programs, each with its name for workers and for the rules of the source.
    fn children(&self) -> Vec<(String, ChildKey<'_>)> {
        let mut children: Vec<(String, ChildKey<'_>)> = Vec::new();
        for key in self.manifest.capabilities.iter().filter_map(key) {
            if !children.iter().any(|(_, known)| *known == key) {
                children.push((self.child_name(children.len(), key), key));
            }
        }
        children
    }

    /// Another program that comes or goes changes no name.
    fn child_name(&self, at: usize, (bin, environment, role): ChildKey<'_>) -> String {
        if !self.stable_names {
            return format!("{role}-{}", at + 1);
        }
        let digest = Digest::of(json!([bin, environment]).to_string().as_bytes()).to_string();
        format!("{role}-{}", digest.get(..16).unwrap_or(&digest))
    }

    /// The manifest of the offer.
    fn offered(&self) -> anyhow::Result<String> {
        let declared = &self.manifest;
        let children = self.children();
        let mut programs = Vec::new();
        for (name, (bin, environment, role)) in &children {
            let program = self.programs.get(*bin);
            let program = program.ok_or_else(|| anyhow::anyhow!("no program {bin:?}"))?;
            let mut with = BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]);
            with.extend((*environment).clone());
            programs.push(json!({
                "name": name, "program": {"path": program.path}, "role": role, "tools": true,
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
        let fields: Vec<Value> = fields.chain(declared.secret_fields()).collect();
        let mut capabilities = Vec::new();
        for capability in &declared.capabilities {
            let child = || {
                let key = key(capability);
                let mut named = children.iter();
                let found = named.find(|(_, known)| Some(*known) == key);
                found.map(|(name, _)| name.clone()).unwrap_or_default()
            };
            let mut entry = entry(capability, child);
            entry["skills"] = declared.skills_of(&capability.name).into();
            capabilities.push(entry);
        }
        let workflows = declared.workflows.iter();
        capabilities.extend(workflows.map(DeclaredWorkflow::entry));
        let texts = declared.skills.iter();
        capabilities.extend(texts.map(|skill| skill.entry(&declared.label)));
        let kind = by_manifest_kind(&declared.source);
        let blurb = match (declared.app(), declared.socket()) {
            (None, None) if declared.capabilities.is_empty() => {
                "An extension by manifest: texts, and workflows that call other capabilities in order."
            }
            (None, None) => {
                "An extension by manifest: each call is one run of a declared program, in a sandbox of its own."
            }
            (Some(_), _) => {
                "An extension by manifest: each call is one declared request to an app of yours."
            }
            (None, Some(_)) => {
                "An extension by manifest: each call is one question to an app of yours, by its Unix socket."
            }
        };
        let mut whole = json!({
            "connector": kind,
            "kind": kind,
            "label": declared.label,
            "blurb": blurb,
            "provenance": "extension",
            "transport": declared.transport,
            "fields": fields,
            "roles": ["reader", "writer"],
            "limits": {"frameBytes": FRAME, "openFiles": 256, "fileBytes": 1_048_576, "callMs": 30_000, "memoryMiB": 256},
            "children": programs,
            "capabilities": capabilities,
        });
        if !declared.workflows.is_empty() {
            whole["hostCalls"] = json!(true);
        }
        let egress = declared.egress().or_else(|| declared.socket_egress());
        if let Some(entry) = egress {
            whole["egress"] = json!([entry]);
        }
        Ok(format!("{whole:#}\n"))
    }
}

/// What is data of others has warnings beside it where it was written again.
fn with_warnings(mut answer: Value) -> Value {
    if answer.get("text").is_none() {
        answer["warnings"] = json!({"type": "array", "items": {"type": "string"}});
    }
    answer
}

fn entry(capability: &DeclaredCapability, child: impl FnOnce() -> String) -> Value {
    let sensitivity = if capability.grants.contains(Verb::Execute) {
        "high"
    } else if capability.grants.is_read() {
        "low"
    } else {
        "elevated"
    };
    let status = |is_json: bool| match is_json {
        true => json!({"status": {"type": "integer"}, "json": {}}),
        false => json!({"status": {"type": "integer"}, "text": {"type": "string"}}),
    };
    let (answer, timeout, how) = match &capability.route {
        Route::Cli(route) => (
            status(route.json),
            route.timeout_ms,
            ("command", line(route, child())),
        ),
        Route::Rest(route) => (
            status(route.json),
            route.timeout_ms,
            ("request", json!(route.template())),
        ),
        Route::Stdio(route) => {
            let mut exchange = line(&route.run(), child());
            exchange["exchange"] = json!(true);
            (
                json!({"output": {}}),
                route.timeout_ms,
                ("command", exchange),
            )
        }
        Route::Ipc(route) => {
            let limits = json!({"outputBytes": route.output_bytes, "timeoutMs": route.timeout_ms});
            (json!({"output": {}}), route.timeout_ms, ("ask", limits))
        }
    };
    let mut entry = json!({
        "name": capability.name,
        "kind": "capability",
        "label": Line::<256>::new(&capability.label),
        "describe": Text::<16_384>::new(&capability.describe),
        "verbs": capability.grants,
        "sensitivity": sensitivity,
        "input": capability.io.schema(),
        "output": {"type": "object", "properties": with_warnings(answer), "additionalProperties": false},
        "limits": {"callMs": timeout.saturating_add(BESIDE)},
    });
    entry[how.0] = how.1;
    entry
}

fn line(route: &CliRoute, child: String) -> Value {
    json!({
        "child": child, "arguments": route.args, "stdin": route.stdin, "json": route.json,
        "exitStatuses": route.exit_statuses, "outputBytes": route.output_bytes, "timeoutMs": route.timeout_ms,
    })
}

fn role(capability: &DeclaredCapability) -> Role {
    match capability.grants.is_read() {
        true => Role::Reader,
        false => Role::Writer,
    }
}

fn key(capability: &DeclaredCapability) -> Option<ChildKey<'_>> {
    let (bin, env) = match &capability.route {
        Route::Cli(route) => (&route.bin, &route.env),
        Route::Stdio(route) => (&route.bin, &route.env),
        Route::Rest(_) | Route::Ipc(_) => return None,
    };
    Some((bin, env, role(capability)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::json as strict;

    /// One capability of each verb, all by one program.
    fn agreed(verbs: &[&str], stable: bool) -> Agreed {
        let capability = |verb: &&str| {
            json!({
                "name": format!("{verb}s"), "kind": "capability", "label": verb, "describe": "Does it.", "grants": [verb],
                "transport": "cli", "route": {"bin": "cat", "args": []},
            })
        };
        let capabilities: Vec<_> = verbs.iter().map(capability).collect();
        let mut whole = json!({
            "manifest": {
                "manifest": "plexus-extension/0.1", "source": "box", "label": "Box", "transport": "cli",
                "capabilities": capabilities,
            },
            "programs": {"cat": {"path": "/usr/bin/cat", "sha256": Digest::of(b"")}},
        });
        if stable {
            whole["stableNames"] = json!(true);
        }
        strict::parse_as(whole.to_string().as_bytes()).unwrap()
    }

    fn names(agreed: &Agreed) -> Vec<String> {
        let children = agreed.children().into_iter();
        children.map(|(name, _)| name).collect()
    }

    #[test]
    fn program_keeps_its_name_when_another_goes() {
        let both = agreed(&["read", "write"], true);
        both.uncompiled().unwrap();
        let both = names(&both);
        assert_eq!(both.len(), 2);
        assert_eq!(names(&agreed(&["write"], true)), &both[1..]);
        // What an earlier version kept has the names that were granted upon.
        let earlier = agreed(&["read", "write"], false);
        assert_eq!(names(&earlier), ["reader-1", "writer-2"]);
        assert!(!earlier.text().contains("stableNames"));
    }

    #[test]
    fn program_is_the_one_its_owner_last_agreed_to() {
        let (kept, other) = (agreed(&["read"], true), Digest::of(b"other"));
        let sha256 = |rule: String| kept.clone().as_pinned(&[rule]).programs["cat"].sha256;
        let name = names(&kept).concat();
        assert_eq!(
            sha256(format!("program {name} /usr/bin/cat {other}")),
            other
        );
        // The control: a rule about a program that is no longer there.
        let gone = format!("program writer-2 /usr/bin/cat {other}");
        assert_eq!(sha256(gone), Digest::of(b""));
    }
}
