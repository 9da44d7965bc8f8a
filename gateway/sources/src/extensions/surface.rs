//! All that an extension by manifest is and may reach, as data for the owner; and what differs between two of them, in words.
//!
//! Must not know: how it is drawn.

use super::{
    manifest::{Access, Agreed, CliRoute, IpcRoute, RestRoute, Route, StdioRoute},
    sections::sections,
};
use plexus_ipc::{
    offer::Offer,
    text::{Line, Text},
};
use plexus_trust::Target;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The surface, and the same in words as `sections`.
#[must_use]
pub fn whole_surface(agreed: &Agreed, offer: &Offer, folders: &BTreeMap<String, Target>) -> Value {
    let mut whole = surface(agreed, folders);
    whole["sections"] = json!(sections(&whole, offer, folders));
    whole
}

/// The surface as data. The members of a surface on the wire, and what the owner has to know beside them.
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
        let is_read = capability.grants.is_read();
        let mut about = json!({
            "id": format!("{}.{}", declared.source, capability.name),
            "label": Line::<256>::new(&capability.label),
            "kind": capability.kind,
            "transport": capability.transport,
            "verbs": capability.grants,
            "describe": Text::<16_384>::new(&capability.describe),
            "input": capability.io.schema(),
            "asksEachTime": !is_read,
        });
        let how = match &capability.route {
            Route::Cli(route) => run(agreed, route, !is_read),
            Route::Rest(route) => request(agreed, route),
            Route::Stdio(route) => exchange(agreed, route, !is_read),
            Route::Ipc(route) => question(route),
        };
        if let (Some(about), Value::Object(how)) = (about.as_object_mut(), how) {
            about.extend(how);
        }
        about
    });
    let hosts: Vec<&str> = declared.app().into_iter().collect();
    let sockets = declared.socket().into_iter();
    let sockets = sockets.map(|path| json!({"path": Line::<256>::new(path)}));
    let texts = declared.skills.iter();
    let texts = texts.map(|skill| skill.shown(&declared.source));
    let workflows = declared.workflows.iter();
    let workflows = workflows.map(|workflow| workflow.shown(&declared.source));
    json!({
        "source": declared.source,
        "label": declared.label,
        "programs": programs.collect::<Vec<_>>(),
        "folders": places.collect::<Vec<_>>(),
        "network": !hosts.is_empty(),
        "hosts": hosts.iter().map(|url| host(agreed, url)).collect::<Vec<_>>(),
        "sockets": sockets.collect::<Vec<_>>(),
        "secrets": declared.secrets,
        "capabilities": capabilities.chain(workflows).chain(texts).collect::<Vec<_>>(),
        "cliBins": agreed.programs.keys().collect::<Vec<_>>(),
        "restHosts": hosts.iter().map(|url| after_scheme(url)).collect::<Vec<_>>(),
        "crossSource": declared.cross_sources(),
        "transportBacked": !declared.capabilities.is_empty(),
    })
}

/// The app that is reached, and what of it is not protected.
fn host(agreed: &Agreed, url: &str) -> Value {
    json!({
        "url": Line::<256>::new(url),
        "encrypted": url.starts_with("https://"),
        "certificate": agreed.manifest.certificate,
    })
}

fn after_scheme(url: &str) -> Line<256> {
    Line::new(url.split_once("://").map_or(url, |(_, host)| host))
}

/// A run of a program.
fn run(agreed: &Agreed, route: &CliRoute, effect: bool) -> Value {
    let mut how = program(agreed, &route.bin, &route.args, &route.env, effect);
    how["stdin"] = json!(route.stdin);
    how["output"] = json!(if route.json { "json" } else { "text" });
    how["exitStatuses"] = json!(route.exit_statuses);
    how["timeoutMs"] = json!(route.timeout_ms);
    how["outputBytes"] = json!(route.output_bytes);
    how
}

/// A program that is asked and answers in lines of JSON.
fn exchange(agreed: &Agreed, route: &StdioRoute, effect: bool) -> Value {
    let mut how = program(agreed, &route.bin, &route.args, &route.env, effect);
    how["exchange"] = json!(true);
    how["output"] = json!("json");
    how["timeoutMs"] = json!(route.timeout_ms);
    how["outputBytes"] = json!(route.output_bytes);
    how
}

fn program(
    agreed: &Agreed,
    bin: &str,
    args: &[String],
    env: &BTreeMap<String, String>,
    effect: bool,
) -> Value {
    let folders = agreed.manifest.folders.iter();
    let writes = folders.filter(|f| f.access == Access::ReadWrite && effect);
    json!({
        "program": agreed.programs.get(bin).map(|pinned| &pinned.path),
        "arguments": args,
        "environment": env,
        "writes": writes.map(|folder| &folder.name).collect::<Vec<_>>(),
    })
}

/// A question to the app at its socket.
fn question(route: &IpcRoute) -> Value {
    json!({
        "socket": Line::<256>::new(&route.socket),
        "exchange": true,
        "output": "json",
        "timeoutMs": route.timeout_ms,
        "outputBytes": route.output_bytes,
    })
}

/// A request to the app.
fn request(agreed: &Agreed, route: &RestRoute) -> Value {
    let request = route.template();
    json!({
        "method": request.method,
        "url": format!("{}{}", agreed.manifest.app().unwrap_or_default(), request.path),
        "query": request.query,
        "body": request.body,
        "output": if route.json { "json" } else { "text" },
        "statuses": route.statuses,
        "timeoutMs": route.timeout_ms,
        "outputBytes": route.output_bytes,
    })
}

/// What the second surface has otherwise than the first, each as one sentence; all that it has, where the first is null.
#[must_use]
pub fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut words = Vec::new();
    if before.is_null() {
        words.push("what you agreed to before cannot be read: all of it is new".to_owned());
    } else if before["label"] != after["label"] {
        words.push(format!(
            "its label {} is now {}",
            before["label"], after["label"]
        ));
    }
    for (list, name, what) in [
        ("programs", "bin", "the program"),
        ("folders", "name", "the folder"),
        ("hosts", "url", "the host"),
        ("sockets", "path", "the socket"),
        ("secrets", "name", "the secret"),
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
