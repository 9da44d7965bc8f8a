//! All that an extension by manifest is and may reach, for the owner; and what differs between two of them, in words.
//!
//! Must not know: how it is drawn.

use super::declared::{Access, Agreed};
use plexus_ipc::text::{Line, Text};
use plexus_trust::Target;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The whole surface. The members of a surface on the wire, and what the owner has to know beside them.
#[must_use]
pub fn surface(agreed: &Agreed, folders: &BTreeMap<String, Target>) -> Value {
    let declared = &agreed.manifest;
    let programs = agreed.programs.iter();
    let programs = programs
        .map(|(bin, pinned)| json!({"bin": bin, "path": pinned.path, "sha256": pinned.sha256}));
    let places = declared.folders.iter().map(|folder| {
        let path = folders.get(&folder.name).map(|target| &target.path);
        json!({
            "name": folder.name, "label": Line::<256>::new(&folder.label), "path": path,
            "access": folder.access,
        })
    });
    let capabilities = declared.capabilities.iter().map(|capability| {
        let route = &capability.route;
        let program = agreed.programs.get(&route.bin).map(|pinned| &pinned.path);
        let is_read = capability.grants.is_read();
        let writes = declared
            .folders
            .iter()
            .filter(|f| f.access == Access::ReadWrite && !is_read);
        json!({
            "id": format!("{}.{}", declared.source, capability.name),
            "label": Line::<256>::new(&capability.label),
            "kind": capability.kind,
            "transport": capability.transport,
            "verbs": capability.grants,
            "describe": Text::<16_384>::new(&capability.describe),
            "program": program,
            "arguments": route.args,
            "stdin": route.stdin,
            "environment": route.env,
            "input": capability.schema(),
            "output": if route.json { "json" } else { "text" },
            "exitStatuses": route.exit_statuses,
            "timeoutMs": route.timeout_ms,
            "outputBytes": route.output_bytes,
            "writes": writes.map(|folder| &folder.name).collect::<Vec<_>>(),
            "asksEachTime": !is_read,
        })
    });
    json!({
        "source": declared.source,
        "label": declared.label,
        "programs": programs.collect::<Vec<_>>(),
        "folders": places.collect::<Vec<_>>(),
        "network": false,
        "capabilities": capabilities.collect::<Vec<_>>(),
        "cliBins": agreed.programs.keys().collect::<Vec<_>>(),
        "restHosts": [],
        "crossSource": [],
        "transportBacked": true,
    })
}

/// What the second surface has otherwise than the first, each as one sentence.
#[must_use]
pub fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut words = Vec::new();
    if before["label"] != after["label"] {
        words.push(format!(
            "its label {} is now {}",
            before["label"], after["label"]
        ));
    }
    for (list, name, what) in [
        ("programs", "bin", "the program"),
        ("folders", "name", "the folder"),
        ("capabilities", "id", "the capability"),
    ] {
        let (was, is) = (named(before, list, name), named(after, list, name));
        for (key, entry) in &is {
            match was.get(key) {
                None => words.push(format!("{what} {key} is new")),
                Some(earlier) => words.extend(changed(earlier, entry).map(|(member, was, is)| {
                    format!("{what} {key}: {member} was {was} and is {is}")
                })),
            }
        }
        let gone = was.keys().filter(|key| !is.contains_key(*key));
        words.extend(gone.map(|key| format!("{what} {key} is gone")));
    }
    words
}

fn named<'v>(
    surface: &'v Value,
    list: &str,
    name: &str,
) -> BTreeMap<&'v str, &'v Map<String, Value>> {
    let entries = surface[list].as_array().into_iter().flatten();
    let entries = entries.filter_map(Value::as_object);
    entries
        .filter_map(|entry| Some((entry.get(name)?.as_str()?, entry)))
        .collect()
}

fn changed<'v>(
    was: &'v Map<String, Value>,
    is: &'v Map<String, Value>,
) -> impl Iterator<Item = (&'v str, &'v Value, &'v Value)> {
    is.iter().filter_map(|(member, now)| {
        let earlier = was.get(member).unwrap_or(&Value::Null);
        (earlier != now).then_some((member.as_str(), earlier, now))
    })
}
