//! The surface of an extension in words: sections of facts. It is the one rendering that the console and `plexusctl` show.
//!
//! ```text
//! surface (data) ─┐
//! offer, folders ─┴─▶ sections ─▶ card, preview ─▶ console | plexusctl
//! ```
//! Invariants: every member of a capability is in a fact, also one that is not known here; the words of a sandbox are of the
//! profile that is enforced; a name is ours, and a value or text holds the author's words as they are; nothing is cut here.
//!
//! Must not know: how it is drawn.

use plexus_ipc::{
    manifest::{ChildProgram, Egress, Program, owners_host},
    message::Role,
    offer::Offer,
};
use plexus_sandbox::{
    reach::{Platform, Reach, reach},
    ruleset::Parameters,
};
use plexus_trust::Target;
use serde::Serialize;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::Path,
};

/// A part of a surface, as the owner reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    /// What it is about: our words, or a capability's id.
    pub title: String,
    /// What holds for all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// It is a capability, and its title that one's id.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub capability: bool,
    /// One after the other.
    pub facts: Vec<Fact>,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// Our word for it.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub what: FactValue,
}

/// What a fact is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum FactValue {
    /// One line.
    Value(String),
    /// An author's text of any length.
    Text(String),
}

impl Section {
    /// One that says `none` where it has no facts.
    #[must_use]
    pub fn new(title: impl Into<String>, facts: Vec<Fact>) -> Self {
        Self {
            title: title.into(),
            note: facts.is_empty().then(|| "none".to_owned()),
            capability: false,
            facts,
        }
    }
}

impl Fact {
    /// A fact of one line.
    #[must_use]
    pub fn line(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            what: FactValue::Value(value.into()),
        }
    }

    fn text(name: &str, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            what: FactValue::Text(text.to_owned()),
        }
    }
}

/// All of a surface, in the order in which the owner reads it.
#[must_use]
pub fn sections(
    surface: &Value,
    offer: &Offer,
    folders: &BTreeMap<String, Target>,
) -> Vec<Section> {
    let mut sections = vec![
        Section::new("Programs", programs(surface)),
        Section::new(
            "Folders",
            list(surface, "folders").iter().map(folder).collect(),
        ),
        Section::new("Network", network(surface, offer)),
        Section::new("Secrets", secrets(surface)),
    ];
    let others = others(surface, &SURFACE);
    sections.extend((!others.is_empty()).then(|| Section::new("Further", others)));
    sections.extend(sandboxes(offer, folders));
    sections.extend(list(surface, "capabilities").iter().map(|one| {
        let mut section = capability(one);
        section.facts.extend(unread(one, folders));
        section
    }));
    sections
}

/// Where a sandbox reads some of what a program of the system comes with.
const OF_THE_SYSTEM: [&str; 8] = [
    "/usr", "/lib", "/lib64", "/etc", "/dev", "/bin", "/System", "/Library",
];

/// The absolute paths among the arguments that no run can read.
fn unread(one: &Value, folders: &BTreeMap<String, Target>) -> Vec<Fact> {
    let is_read = |path: &Path| {
        let given = folders.values().map(|target| target.path.as_str());
        let mut read = given.chain(OF_THE_SYSTEM);
        read.any(|folder| path.starts_with(folder))
    };
    let arguments = list(one, "arguments").iter().filter_map(Value::as_str);
    let values = arguments.map(|word| word.rsplit_once('=').map_or(word, |(_, value)| value));
    let unread = values.filter(|value| value.starts_with('/') && !is_read(Path::new(value)));
    let facts = unread.map(|value| {
        let why = "as a path it lies outside of what the sandbox reads";
        Fact::line("warning", format!("{value}: {why}"))
    });
    facts.collect()
}

fn programs(surface: &Value) -> Vec<Fact> {
    let programs = list(surface, "programs").iter();
    let facts = programs.flat_map(|program| {
        let (path, bin) = (text(program, "path"), text(program, "bin"));
        let path = match path == bin {
            true => path.to_owned(),
            false => format!("{path} ({bin})"),
        };
        [
            Fact::line("program", path),
            Fact::line("SHA-256", text(program, "sha256")),
        ]
    });
    facts.collect()
}

fn folder(folder: &Value) -> Fact {
    let does = match text(folder, "access") {
        "read" => "reads",
        _ => "reads, and writes in a call that you approve",
    };
    let path = folder["path"].as_str().unwrap_or("not named yet");
    let (name, label) = (text(folder, "name"), text(folder, "label"));
    Fact::line("folder", format!("{path} ({name}, “{label}”): {does}"))
}

/// The hosts, and the requests that the egress admits to them.
fn network(surface: &Value, offer: &Offer) -> Vec<Fact> {
    let mut facts = Vec::new();
    for host in list(surface, "hosts") {
        let how = match (host["encrypted"] == true, host["certificate"].as_str()) {
            (false, _) => "not encrypted".to_owned(),
            (true, Some(pin)) => format!("with the certificate {pin}"),
            (true, None) => "encrypted".to_owned(),
        };
        let url = text(host, "url");
        let near = match offer.manifest.hosts().any(Egress::is_agreed) {
            true => near(url).unwrap_or_default(),
            false => "",
        };
        facts.push(Fact::line("host", format!("{url} alone, {how}{near}")));
    }
    for socket in list(surface, "sockets") {
        facts.push(Fact::line(
            "socket",
            format!("{} alone, of an app of yours", text(socket, "path")),
        ));
    }
    for host in offer.manifest.hosts() {
        facts.extend(
            host.reads
                .iter()
                .map(|line| Fact::line("a read sends", line)),
        );
        let effects = host.paths.iter().filter(|line| !host.reads.contains(line));
        facts.extend(effects.map(|line| Fact::line("an approved call sends", line)));
    }
    facts
}

/// What the name of an extension's host has to lead to; none for an address and for this machine.
fn near(url: &str) -> Option<&'static str> {
    let name = owners_host(url.split_once("://")?.1, 80).ok()?.host;
    let is_here = name == "localhost" || name.ends_with(".localhost");
    if is_here || name.parse::<IpAddr>().is_ok() {
        return None;
    }
    Some(match name.ends_with(".local") {
        true => "; calls fail unless /etc/hosts or DNS has this name: nothing else resolves .local",
        false => "; calls fail unless this name leads to this machine or its own network",
    })
}

fn secrets(surface: &Value) -> Vec<Fact> {
    let secrets = list(surface, "secrets").iter();
    let facts = secrets.map(|secret| {
        let how = match secret["as"].as_str() {
            Some(header) => format!("the header {header}"),
            None => "Authorization: Bearer".to_owned(),
        };
        let hosts = list(surface, "hosts").iter().map(|host| text(host, "url"));
        let hosts = hosts.collect::<Vec<_>>().join(", ");
        let name = text(secret, "name");
        Fact::line(
            "secret",
            format!("{name}: sent to {hosts} as {how}; added outside of the sandbox"),
        )
    });
    facts.collect()
}

/// Stand-ins for paths that are made at each start, as they read behind their slash.
const MADE: [(&str, &str); 2] = [
    ("ROOT", "/its own empty folder, where it starts"),
    ("SCRATCH", "/its own temporary folder"),
];

/// What the programs of each role may reach.
fn sandboxes(offer: &Offer, folders: &BTreeMap<String, Target>) -> Vec<Section> {
    let of_role = |role: Role| {
        let title = match role {
            Role::Reader => "Sandbox of a read",
            Role::Writer => "Sandbox of a call that you approve",
        };
        let children = offer.manifest.children.iter();
        let children: Vec<_> = children.filter(|child| child.role == Some(role)).collect();
        let first = children.first()?;
        let mut facts = Vec::new();
        let mut seen = BTreeSet::new();
        for child in &children {
            let all = match reached(offer, child, folders) {
                Ok(all) => all,
                Err(why) => vec![Fact::line("unknown", why)],
            };
            facts.extend(
                all.into_iter()
                    .filter(|fact| seen.insert((fact.name.clone(), fact.what.clone()))),
            );
        }
        // Lists that several programs share are read together.
        facts.sort_by_key(|fact| LISTS.iter().position(|list| *list == fact.name));
        let limits = &first.limits;
        facts.push(Fact::line(
            "limits",
            format!(
                "{} MiB of memory, {} processes, {} open files, files of {} MiB",
                limits.memory_mib,
                limits.processes,
                limits.open_files,
                limits.file_bytes >> 20
            ),
        ));
        Some(Section::new(title, facts))
    };
    [Role::Reader, Role::Writer]
        .into_iter()
        .filter_map(of_role)
        .collect()
}

const LISTS: [&str; 5] = ["may read", "may write", "may run", "network", "may also"];

fn reached(
    offer: &Offer,
    child: &ChildProgram,
    folders: &BTreeMap<String, Target>,
) -> Result<Vec<Fact>, String> {
    let mut profiles = offer.children.iter();
    let profile = profiles.find(|(name, _)| *name == child.name);
    let (_, profile) = profile.ok_or("it has no profile")?;
    let mut parameters =
        Parameters::from(MADE.map(|(name, path)| (name.to_owned(), path.to_owned())));
    if let Program::Path(path) = &child.program {
        parameters.insert("PROGRAM".to_owned(), path.clone());
    }
    for (field, parameter) in offer.manifest.paths() {
        let path = match folders.get(&field.name) {
            Some(target) => target.path.clone(),
            None => format!("/the folder {}", field.name),
        };
        parameters.insert(parameter, path);
    }
    let reach = reach(profile, &parameters, Platform::here()).map_err(|why| why.to_string())?;
    Ok(facts_of(reach))
}

fn facts_of(reach: Reach) -> Vec<Fact> {
    let lists = [
        reach.may_read,
        reach.may_write,
        reach.may_run,
        reach.may_talk_to,
        reach.may_also,
    ];
    let facts = LISTS.iter().zip(lists).flat_map(|(name, list)| {
        let none = list.is_empty() && *name != "may also";
        let nothing = none.then(|| Fact::line(*name, "nothing"));
        let facts = list.into_iter().map(|may| {
            let made = MADE.iter().chain(&[("", "/the folder ")]);
            let made = made.filter(|(_, path)| may.what.starts_with(path)).count();
            // A stand-in is no path.
            let what = may.what.get(made.min(1)..).unwrap_or_default();
            Fact::line(*name, what)
        });
        facts.collect::<Vec<_>>().into_iter().chain(nothing)
    });
    facts.collect()
}

/// Members of a surface that sections hold.
const SURFACE: [&str; 14] = [
    "source",
    "label",
    "programs",
    "folders",
    "network",
    "hosts",
    "sockets",
    "secrets",
    "crossSource",
    "capabilities",
    "cliBins",
    "restHosts",
    "transportBacked",
    "sections",
];

/// Members that have no words of their own here, as other transports have them.
fn others(of: &Value, placed: &[&str]) -> Vec<Fact> {
    let members = of.as_object().into_iter().flatten();
    let others = members.filter(|(name, value)| !placed.contains(&&***name) && !is_empty(value));
    others
        .map(|(name, value)| Fact::line(name, shown(value)))
        .collect()
}

/// Members of a capability that other facts hold, or its title.
const PLACED: [&str; 26] = [
    "id",
    "label",
    "kind",
    "transport",
    "verbs",
    "describe",
    "input",
    "asksEachTime",
    "program",
    "arguments",
    "environment",
    "stdin",
    "exchange",
    "writes",
    "method",
    "url",
    "socket",
    "members",
    "query",
    "body",
    "output",
    "exitStatuses",
    "statuses",
    "text",
    "timeoutMs",
    "outputBytes",
];

fn capability(one: &Value) -> Section {
    let mut facts = vec![
        Fact::line("called", text(one, "label")),
        Fact::text("its author says", text(one, "describe")),
    ];
    let is_text = text(one, "kind") == "skill";
    if is_text {
        facts.push(Fact::text("its text", text(one, "text")));
    }
    if one["program"].is_string() {
        facts.extend(run(one));
    }
    if one["url"].is_string() {
        facts.extend(request(one));
    }
    if one["socket"].is_string() {
        facts.push(Fact::line("asks at", text(one, "socket")));
    }
    facts.extend(calls(one));
    facts.extend(others(one, &PLACED));
    if !is_text {
        facts.extend(answer(one));
        facts.push(Fact::line("input", one["input"].to_string()));
    }
    let mut section = Section::new(text(one, "id"), facts);
    section.note = Some(asks(one, is_text));
    section.capability = true;
    section
}

fn asks(one: &Value, is_text: bool) -> String {
    let is_workflow = !list(one, "members").is_empty();
    let to_app = one["url"].is_string() || one["socket"].is_string();
    let asks = match (one["asksEachTime"] == true, to_app) {
        _ if is_text => return "a text that agents read without asking".to_owned(),
        (true, _) if is_workflow => "asks you each time, once for all of its calls",
        (true, _) => "asks you each time",
        _ if is_workflow => {
            "once granted it asks no more; what it reads, the agent must be granted too"
        }
        (false, true) => {
            "once granted it asks no more, and can send no other request than these reads"
        }
        (false, false) => "once granted it asks no more, and runs where it can write nothing",
    };
    format!("{}: {asks}", strings(one, "verbs").join(", "))
}

/// The run of a program.
fn run(one: &Value) -> Vec<Fact> {
    let arguments = list(one, "arguments").iter().map(Value::to_string);
    let arguments: Vec<_> = arguments.collect();
    let line = format!("{} {}", text(one, "program"), arguments.join(" "));
    let mut facts = vec![Fact::line("runs", line)];
    if one["exchange"] == true {
        facts.push(Fact::line(
            "standard input",
            "all fields, as one line of JSON",
        ));
    }
    if let Some(field) = one["stdin"].as_str() {
        facts.push(Fact::line(
            "standard input",
            format!("the field {{{field}}}"),
        ));
    }
    facts.extend(pairs(&one["environment"]).map(|pair| Fact::line("environment", pair)));
    facts.extend(
        strings(one, "writes")
            .into_iter()
            .map(|folder| Fact::line("writes in the folder", folder)),
    );
    facts
}

/// The request to an app.
fn request(one: &Value) -> Vec<Fact> {
    let line = format!("{} {}", text(one, "method"), text(one, "url"));
    let mut facts = vec![Fact::line("sends", line)];
    facts.extend(pairs(&one["query"]).map(|pair| Fact::line("query", pair)));
    if !one["body"].is_null() {
        facts.push(Fact::line("body", one["body"].to_string()));
    }
    facts
}

/// The calls of a workflow, in order.
fn calls(one: &Value) -> Vec<Fact> {
    let members = list(one, "members").iter().zip(1..);
    let facts = members.map(|(member, at)| {
        let input = match &member["input"] {
            Value::Null => "the same input".to_owned(),
            input => input.to_string(),
        };
        let verbs = strings(member, "verbs").join(", ");
        let call = format!("{} ({verbs}) with {input}", text(member, "id"));
        Fact::line(format!("call {at}"), call)
    });
    facts.collect()
}

/// What comes back, within which limits.
fn answer(one: &Value) -> Vec<Fact> {
    let statuses = |member: &str, words: &str| {
        let all = list(one, member).iter().map(Value::to_string);
        let all = all.collect::<Vec<_>>().join(", ");
        (!all.is_empty()).then(|| Fact::line(words, all))
    };
    let mut facts = Vec::new();
    if let (Some(bytes), Some(ms)) = (one["outputBytes"].as_u64(), one["timeoutMs"].as_u64()) {
        let output = text(one, "output");
        let size = match (bytes % 1_048_576, bytes % 1_024) {
            (0, _) => format!("{} MiB", bytes / 1_048_576),
            (_, 0) => format!("{} KiB", bytes / 1_024),
            _ => format!("{bytes} bytes"),
        };
        let time = match ms % 1_000 {
            0 => format!("{} s", ms / 1_000),
            _ => format!("{ms} ms"),
        };
        facts.push(Fact::line(
            "answers",
            format!("{output} of at most {size} within {time}"),
        ));
    }
    facts.extend(statuses("exitStatuses", "exit statuses that are answers"));
    facts.extend(statuses("statuses", "HTTP statuses that are answers"));
    facts
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        _ => false,
    }
}

fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// `name=value` of each member.
fn pairs(members: &Value) -> impl Iterator<Item = String> {
    let members: Option<&Map<_, _>> = members.as_object();
    let members = members.into_iter().flatten();
    members.map(|(name, value)| format!("{name}={}", shown(value)))
}

fn strings<'v>(of: &'v Value, member: &str) -> Vec<&'v str> {
    list(of, member).iter().filter_map(Value::as_str).collect()
}

fn text<'v>(of: &'v Value, member: &str) -> &'v str {
    of[member].as_str().unwrap_or_default()
}

fn list<'v>(of: &'v Value, member: &str) -> &'v [Value] {
    of[member].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn host_that_is_a_name_says_what_it_leads_to() {
        for url in [
            "http://127.0.0.1:8123",
            "https://[::1]",
            "http://localhost",
            "http://a.localhost",
        ] {
            assert_eq!(near(url), None, "{url}");
        }
        let said = |url| near(url).unwrap_or_default();
        assert!(said("https://api.example.com").contains("unless this name leads to"));
        assert!(said("http://home:8123/x").contains("unless this name leads to"));
        assert!(said("http://home.local:8123").contains("nothing else resolves"));
    }

    #[test]
    fn path_that_no_run_can_read_is_said() {
        let words = json!({"arguments": ["-f", "/home/me/x.sed", "--file=/srv/y", "/usr/share/z", "{folder.a}/b", "a/b"]});
        let said = unread(&words, &BTreeMap::new());
        let named: Vec<_> = said.iter().map(|fact| format!("{:?}", fact.what)).collect();
        assert_eq!(named.len(), 2, "{named:?}");
        assert!(named[0].contains("/home/me/x.sed: as a path it lies outside"));
        assert!(named[1].contains("/srv/y: "));
    }

    #[test]
    fn member_without_words_of_its_own_is_shown() {
        let one = json!({
            "id": "box.do", "label": "Do", "kind": "capability", "transport": "other", "verbs": ["write"],
            "describe": "Does.", "input": {"type": "object"}, "asksEachTime": true, "outputBytes": 5, "timeoutMs": 7,
            "output": "json", "steps": [{"call": "vault.read"}], "pipe": "/run/app.pipe", "none": [], "unset": null,
        });
        let section = capability(&one);
        assert_eq!(section.note.as_deref(), Some("write: asks you each time"));
        let line = |name: &str, value: &str| Fact::line(name, value);
        for fact in [
            line("steps", r#"[{"call":"vault.read"}]"#),
            line("pipe", "/run/app.pipe"),
            line("answers", "json of at most 5 bytes within 7 ms"),
            line("input", r#"{"type":"object"}"#),
        ] {
            assert!(section.facts.contains(&fact), "{fact:?}: {section:?}");
        }
        let mut names = section.facts.iter().map(|fact| &*fact.name);
        assert!(!names.any(|name| ["none", "unset"].contains(&name)));
    }
}
