//! A lent MCP server: what the owner asks for, and the manifest that is made of that and of what the server says.
//!
//! Invariants: a tool that is not agreed to is no capability, nor is a method beside them; a secret's value is in no manifest; a server at a URL has no
//! folder; a program reaches the hosts that the owner names and nothing else, and a tool of one that reaches any is no read.
//!
//! Must not know: how a server is started, who may call it.

use super::{LISTING, definitions, registered, shown_line};
use crate::{
    Registered,
    budget::{self, SchemaBudget},
    naming::kind_of,
    schema::{PatternHolder, Schema},
};
use plexus_ipc::{
    egress::PROXY_VARIABLES,
    manifest::{
        ChildArgument, FieldTarget, MAX_EGRESS, Manifest, McpPins, Program, ServerFeature,
        ServerMethod, owners_host, path_of,
    },
    sign_in_step::SIGN_IN_STEP,
    text::Text,
};
use plexus_protocol::{CapabilityId, SourceId, json};
use plexus_trust::Proposal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json as object};
use std::collections::{BTreeMap, BTreeSet};

/// Most tools: with the listing, as many as a manifest has room for.
const MAX_TOOLS: usize = plexus_ipc::manifest::MAX_ENTRIES - 1;
/// How many of its tools a refusal names.
const NAMED: usize = 20;
/// How long a call may take, in milliseconds: what the worker gives the server, and what the owner may take to answer a
/// question of the server's.
const CALL_MS: u32 = 740_000;
/// Variables that every program has. Python's modules of a home are none: here the server writes its home.
const BASE: [(&str, &str); 3] = [
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("LANG", "C.UTF-8"),
    ("PYTHONNOUSERSITE", "1"),
];

/// A server, as the owner asks for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerRequest {
    /// The source's id.
    pub name: SourceId,
    /// Its name for people; its id where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The program, an absolute path; empty where the server is at a URL.
    #[serde(default)]
    pub program: String,
    /// The URL of a server that no worker starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Its environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Names of its secrets: variables of a program, or the one header that is added for a URL.
    #[serde(default)]
    pub secrets: BTreeSet<String>,
    /// Folders that it reads, and changes in its writer.
    #[serde(default)]
    pub folders: Vec<String>,
    /// Folders with its own files, which it only reads.
    #[serde(default)]
    pub code: Vec<String>,
    /// Hosts that a program reaches, each `host` or `host:port`; 443 where no port is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The token endpoint of the owner's sign-in, for a URL: then its secret is that sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<String>,
    /// A PEM file with further certificate authorities, an absolute path, for an https URL and its authorization server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The tools that only read, by the owner's word.
    #[serde(default)]
    pub reads: BTreeSet<String>,
}

/// What a server says of itself, as the worker answers it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// Name and version, as it claims them.
    #[serde(default)]
    pub server_info: Value,
    /// Its instructions.
    #[serde(default)]
    pub instructions: Option<String>,
    /// Its tools, each as it came.
    pub tools: Vec<Value>,
    /// What it offers beside them.
    #[serde(default)]
    pub features: BTreeSet<ServerFeature>,
    /// What there is of that now.
    #[serde(default)]
    pub found: BTreeMap<ServerFeature, Vec<String>>,
}

/// A manifest that was made of a listing.
#[derive(Debug)]
pub struct Generated {
    /// The manifest.
    pub text: String,
    /// Tools that cannot be lent, each with the reason.
    pub refused: Vec<(String, String)>,
}

impl ServerRequest {
    /// A server at a URL that nothing else is said of.
    #[must_use]
    pub fn at(name: &SourceId, url: &str) -> Self {
        Self {
            name: name.clone(),
            label: None,
            program: String::new(),
            url: Some(url.to_owned()),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            secrets: BTreeSet::new(),
            folders: Vec::new(),
            code: Vec::new(),
            hosts: Vec::new(),
            sign_in: None,
            ca: None,
            reads: BTreeSet::new(),
        }
    }

    /// As it was installed, where its folders are those of `route`.
    ///
    /// # Errors
    /// The manifest is none that was made here.
    pub fn installed(id: &SourceId, manifest: &Manifest, route: &Value) -> Result<Self, String> {
        let child = manifest.children.first();
        let program = match child.map(|child| &child.program) {
            Some(Program::Path(program)) => program.clone(),
            Some(Program::Field(_)) => return Err("its program has no path".to_owned()),
            None => String::new(),
        };
        let url = route["url"].as_str().map(str::to_owned);
        if program.is_empty() == url.is_none() {
            return Err("it has neither a program nor a URL".to_owned());
        }
        let fixed = child
            .into_iter()
            .flat_map(|child| &child.arguments)
            .filter_map(|argument| match argument {
                ChildArgument::Fixed(text) => Some(text.clone()),
                ChildArgument::Named(_) | ChildArgument::Words(_) | ChildArgument::List(_) => None,
            });
        let named = |begins: &str| {
            let fields = manifest
                .fields
                .iter()
                .filter(|f| f.name.starts_with(begins) && f.target == FieldTarget::Route);
            let texts = fields.filter_map(|field| route[&field.name].as_str());
            texts.map(str::to_owned).collect()
        };
        let reads = manifest.capabilities.iter();
        let reads = reads.filter(|c| c.is_read() && c.name != LISTING);
        let environment = child
            .into_iter()
            .flat_map(|child| child.environment.clone());
        Ok(Self {
            name: id.clone(),
            label: None,
            program,
            url,
            secrets: manifest.secrets().map(|field| field.name.clone()).collect(),
            arguments: fixed.collect(),
            environment: environment
                .filter_map(|(name, value)| Some((name, value?)))
                .filter(|(name, value)| !BASE.contains(&(&**name, &**value)))
                .collect(),
            folders: named("folder"),
            code: named("code"),
            hosts: named("host"),
            sign_in: manifest.hosts().find_map(|host| host.sign_in.clone()),
            ca: route["ca"].as_str().map(str::to_owned),
            reads: reads.map(|c| c.name.clone()).collect(),
        })
    }

    /// Its variables, without those that every program has.
    pub(super) fn own_variables(&self) -> BTreeMap<String, String> {
        let own = |name: &String, value: &String| !BASE.contains(&(&**name, &**value));
        let mut variables = self.environment.clone();
        variables.retain(|name, value| own(name, value));
        variables
    }

    /// The source's route.
    fn route(&self) -> Value {
        let numbered = |what: &'static str, texts: &[String]| {
            let texts = texts.iter().cloned().enumerate();
            let texts = texts.map(move |(at, text)| (format!("{what}{}", at + 1), text.into()));
            texts.collect::<Vec<(String, Value)>>()
        };
        let mut route = numbered("code", &self.code);
        route.extend(numbered("folder", &self.folders));
        route.extend(numbered("host", &self.hosts));
        route.extend(self.url.clone().map(|url| ("url".to_owned(), url.into())));
        route.extend(self.ca.clone().map(|ca| ("ca".to_owned(), ca.into())));
        Value::Object(route.into_iter().collect())
    }

    /// The source, as a body adds it.
    #[must_use]
    pub fn source(&self, id: &SourceId) -> Value {
        let kind = kind_of(&self.name);
        let label = self.label.as_deref().unwrap_or(self.name.as_str());
        object!({"id": id, "kind": kind, "label": label, "route": self.route()})
    }

    /// The manifest that is good for nothing but to ask the server what it has.
    ///
    /// # Errors
    /// What stands against it.
    pub fn to_ask(&self) -> Result<Registered, String> {
        self.check()?;
        registered(&self.text(Vec::new(), None)).map_err(|why| format!("{why:#}"))
    }

    /// The manifest that is good for one step of a sign-in, at the host of this URL alone. If the owner has not named that
    /// host, it leads to public addresses.
    ///
    /// # Errors
    /// What stands against it.
    pub fn to_step(&self, is_owners: bool) -> Result<Registered, String> {
        self.check()?;
        let text = self.text(Vec::new(), None);
        let mut whole: Value = serde_json::from_str(&text).map_err(|why| why.to_string())?;
        whole["capabilities"][0] = object!({
            "name": SIGN_IN_STEP, "kind": "capability", "audience": "owner", "label": "A step of a sign-in",
            "describe": "What one host says of how it signs in.", "verbs": ["read"],
            "input": {"type": "object"}, "output": {"type": "object"},
        });
        whole["egress"][0]["paths"] = object!(["/"]);
        if !is_owners {
            let url = self.url.as_deref().unwrap_or_default();
            if !url.starts_with("https://") {
                return Err(format!("{} is no https URL", shown_line(url)));
            }
            let to = owners_host(url, 443).map_err(|why| format!("{}: {why}", shown_line(url)))?;
            whole["egress"][0]["host"] = to.host.into();
            whole["egress"][0]["port"] = to.port.into();
        }
        registered(&whole.to_string()).map_err(|why| format!("{why:#}"))
    }

    /// Whether it names one program or one URL, with what belongs to it.
    pub(super) fn check(&self) -> Result<(), String> {
        let odd = self.odd();
        match odd.is_empty() {
            true => Ok(()),
            false => Err(odd.join("; ")),
        }
    }

    /// All that stands against it.
    pub(super) fn odd(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let mut add = |why: &str| reasons.push(why.to_owned());
        let address = self.url.as_deref().unwrap_or_default();
        if self.ca.is_some() && !address.starts_with("https://") {
            add("certificate authorities belong to a server at an https URL");
        }
        if self.url.is_none() {
            if self.program.is_empty() {
                add("name a program or a URL");
            }
            reasons.extend(self.odd_hosts());
            return reasons;
        }
        let of_program = [&self.arguments, &self.folders, &self.code, &self.hosts];
        let alone = self.program.is_empty()
            && self.environment.is_empty()
            && of_program.iter().all(|given| given.is_empty());
        if !alone {
            add("a server at a URL has no program, arguments, variables, folders or hosts");
        }
        if self.secrets.len() > 1 {
            add("one header alone is added for a URL");
        }
        let mut schemes = ["http://", "https://"].iter();
        if !schemes.any(|begin| address.starts_with(begin)) {
            add(&format!("{address} is no http or https URL"));
        }
        reasons
    }

    fn odd_hosts(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.hosts.is_empty() {
            return reasons;
        }
        if self.hosts.len() > MAX_EGRESS {
            reasons.push(format!("more than {MAX_EGRESS} hosts"));
        }
        let distinct: BTreeSet<_> = self.hosts.iter().collect();
        if distinct.len() < self.hosts.len() {
            reasons.push("a host is named twice".to_owned());
        }
        if let Some(read) = self.reads.first() {
            reasons.push(format!(
                "{read} can be no read: the server reaches hosts, so what it is given can leave this machine, and each call of it asks you"
            ));
        }
        let given = self.environment.keys().chain(&self.secrets);
        let given = given.filter(|name| PROXY_VARIABLES.contains(&name.as_str()));
        reasons.extend(given.map(|name| {
            format!("{name} is given by Plexus to a server that reaches hosts: leave it out")
        }));
        reasons
    }

    /// The manifest of what the server says. Every tool and method executes, unless the owner says that it reads. Those of
    /// `withheld` are known and not lent.
    ///
    /// # Errors
    /// What stands against it.
    pub fn generate(
        &self,
        listing: &Listing,
        withheld: &BTreeSet<String>,
    ) -> Result<Generated, String> {
        let names = listing.tools.iter().map(|tool| tool["name"].as_str());
        let names: Vec<&str> = names.map(Option::unwrap_or_default).collect();
        let methods: Vec<_> = listing.methods().collect();
        let most = MAX_TOOLS - methods.len();
        let (mut entries, mut refused) = (Vec::new(), Vec::new());
        let mut budget = SchemaBudget::default();
        let mut pins = McpPins {
            instructions: listing
                .instructions
                .as_ref()
                .map(|text| json::digest(&object!(text))),
            ..McpPins::default()
        };
        for tool in &listing.tools {
            let name = tool["name"].as_str().unwrap_or_default();
            if methods.iter().any(|method| method.name() == name) {
                let why = "its name is that of what the server offers beside its tools";
                refused.push((shown_line(name), why.to_owned()));
                continue;
            }
            if withheld.contains(name) {
                let digest = json::digest(tool);
                pins.withheld.insert(name.to_owned(), digest);
                continue;
            }
            let is_one = names.iter().filter(|other| **other == name).count() == 1;
            let entry = match (is_one, entries.len() < most) {
                (true, true) => self.entry(name, tool, &mut budget),
                (false, _) => Err("it has another tool of this name".to_owned()),
                (_, false) => Err(format!("a server may lend {most} tools")),
            };
            match entry {
                Ok(entry) => {
                    pins.tools.insert(name.to_owned(), json::digest(tool));
                    entries.push(entry);
                }
                Err(why) => {
                    pins.withheld.insert(name.to_owned(), json::digest(tool));
                    refused.push((shown_line(name), why));
                }
            }
        }
        for method in methods {
            let (name, digest) = (method.name().to_owned(), method.digest());
            match withheld.contains(&name) {
                true => _ = pins.withheld.insert(name, digest),
                false => {
                    _ = pins.tools.insert(name, digest);
                    entries.push(self.method_entry(method));
                }
            }
        }
        // One that is refused is no read, and its refusal says why.
        let is_one = |read: &str| {
            pins.tools.contains_key(read) || names.contains(&read) && !withheld.contains(read)
        };
        if let Some(unknown) = self.reads.iter().find(|read| !is_one(read)) {
            let mut has: Vec<_> = pins
                .tools
                .keys()
                .take(NAMED)
                .map(|name| shown_line(name))
                .collect();
            if pins.tools.len() > NAMED {
                has.push("…".to_owned());
            }
            return Err(format!(
                "it has no tool {unknown:?} that could be a read; its tools: {}",
                has.join(", ")
            ));
        }
        let text = self.text(entries, Some(pins));
        registered(&text).map_err(|why| format!("{why:#}"))?;
        Ok(Generated { text, refused })
    }

    /// One tool as a capability, or why it can be none.
    fn entry(&self, name: &str, tool: &Value, budget: &mut SchemaBudget) -> Result<Value, String> {
        let fits = name.len() <= 128
            && !name.starts_with('.')
            && CapabilityId::parse(&format!("source.{name}")).is_ok();
        if !fits {
            let why = "its name is not 1 to 128 ASCII letters, digits, '.', '_' or '-', without a dot at either end";
            return Err(why.to_owned());
        }
        if [LISTING, SIGN_IN_STEP].contains(&name) {
            return Err("its name is that of Plexus's own question to the server".to_owned());
        }
        if name == Proposal::NAME {
            return Err("its name is that of a request to add an extension".to_owned());
        }
        if tool["execution"]["taskSupport"] == "required" {
            return Err("it can only be called as a task, which Plexus does not offer".to_owned());
        }
        let input = &tool["inputSchema"];
        if !input.is_object() {
            return Err("its input schema is no object".to_owned());
        }
        let takes_object = match &input["type"] {
            Value::String(kind) => kind == "object",
            Value::Array(kinds) => kinds.iter().any(|kind| kind == "object"),
            _ => true,
        };
        if !takes_object {
            return Err("its input schema takes no object, as arguments are".to_owned());
        }
        if let Some(why) = budget::refused(input) {
            return Err(format!("its input schema has {why}"));
        }
        budget.take(input)?;
        Schema::compile(input, PatternHolder::Server)
            .map_err(|why| format!("its input schema: {}", shown_line(&why)))?;
        Ok(self.capability(name, &described(tool), input))
    }

    fn method_entry(&self, method: ServerMethod) -> Value {
        let words = definitions::words(method);
        self.capability(method.name(), words, &definitions::input(method))
    }

    fn capability(&self, name: &str, words: &str, input: &Value) -> Value {
        let is_read = self.reads.contains(name);
        let sensitivity = match (is_read, &self.url) {
            (true, None) => "low",
            // Nothing holds it, and its arguments leave the machine.
            (true, Some(_)) => "elevated",
            (false, _) => "high",
        };
        object!({
            "name": name,
            "kind": "capability",
            "label": name,
            "describe": format!("Third-party tool of {}:\n{words}", self.name),
            "verbs": [if is_read { "read" } else { "execute" }],
            "sensitivity": sensitivity,
            "input": input,
            "output": {
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    // The server's own schema has words in it, which no owner was shown.
                    "structured": {},
                    "images": {"type": "array", "items": {"type": "object"}},
                    "audio": {"type": "array", "items": {"type": "object"}},
                    "files": {"type": "array", "items": {"type": "object"}},
                    "links": {"type": "array", "items": {"type": "object"}},
                    "warnings": {"type": "array", "items": {"type": "string"}},
                },
                "additionalProperties": false,
            },
        })
    }

    fn text(&self, tools: Vec<Value>, pins: Option<McpPins>) -> String {
        let field = |what: &str, label: &str, at: usize, writable: bool| {
            object!({
                "name": format!("{what}{at}"), "label": format!("{label} {at}"), "type": "path",
                "required": true, "target": "route", "writable": writable, "pinned": !writable,
            })
        };
        let secrets = self.secrets.iter().map(|name| {
            object!({"name": name, "label": name, "type": "password", "required": true, "target": "secret"})
        });
        let url = self.url.iter().map(|_| {
            object!({"name": "url", "label": "URL", "type": "url", "required": true, "target": "route"})
        });
        let ca = self.ca.iter().map(|_| {
            object!({"name": "ca", "label": "Certificate authorities", "type": "text", "required": true, "target": "route"})
        });
        let hosts = (1..=self.hosts.len()).map(|at| {
            object!({"name": format!("host{at}"), "label": format!("Host {at}"), "type": "text", "required": true, "target": "route"})
        });
        let code = (1..=self.code.len()).map(|at| field("code", "Program folder", at, false));
        let folders = (1..=self.folders.len()).map(|at| field("folder", "Folder", at, true));
        let child = |role: &str| {
            let base = BASE.map(|(name, value)| (name.to_owned(), object!(value)));
            let mut environment = BTreeMap::from(base);
            let given = self.environment.iter();
            environment.extend(given.map(|(name, value)| (name.clone(), object!(value))));
            // Their values are the worker's to give: what the keeper is told stands on its command line.
            environment.extend(self.secrets.iter().map(|name| (name.clone(), Value::Null)));
            if !self.hosts.is_empty() {
                environment.extend(PROXY_VARIABLES.map(|name| (name.to_owned(), Value::Null)));
            }
            object!({
                "name": role, "program": {"path": self.program}, "tools": true,
                "discard": role == "reader",
                "arguments": self.arguments, "environment": environment,
                "limits": {"openFiles": 1024, "fileBytes": 268_435_456, "memoryMiB": 1024, "processes": 16},
            })
        };
        let listing = object!({
            "name": LISTING, "kind": "capability", "audience": "owner", "label": "What the server says",
            "describe": "All that the server says of itself.", "verbs": ["read"],
            "input": {"type": "object"}, "output": {"type": "object"},
        });
        let kind = kind_of(&self.name);
        let capabilities: Vec<Value> = [listing].into_iter().chain(tools).collect();
        let tunnels = (1..=self.hosts.len())
            .map(|at| object!({"host": {"field": format!("host{at}")}, "port": 443}));
        let egress = self.url.iter().map(|url| self.egress(url)).chain(tunnels);
        let children = match &self.url {
            None => vec![child("reader"), child("writer")],
            Some(_) => Vec::new(),
        };
        let whole = object!({
            "connector": kind,
            "kind": kind,
            "label": self.name,
            "blurb": "An MCP server that you lend. Each of its tools asks you first, unless you class it as a read.",
            "provenance": "extension",
            "transport": "mcp",
            "fields": code.chain(folders).chain(hosts).chain(url).chain(ca).chain(secrets).collect::<Vec<_>>(),
            "roles": ["reader", "writer"],
            "limits": {"frameBytes": 8_388_608, "openFiles": 256, "fileBytes": 1_048_576, "callMs": CALL_MS, "memoryMiB": 512},
            "egress": egress.collect::<Vec<_>>(),
            "children": children,
            "mcp": pins,
            "capabilities": capabilities,
        });
        let mut text = format!("{whole:#}");
        text.push('\n');
        text
    }

    /// The way to the URL: the egress adds TLS and the secret, so that the worker has neither.
    fn egress(&self, url: &str) -> Value {
        let path = path_of(url.split(['?', '#']).next().unwrap_or_default());
        let mut host = object!({"host": {"field": "url"}, "port": 443, "paths": [path]});
        if let Some(header) = self.secrets.first() {
            host["secret"] = header.as_str().into();
            if let Some(tokens) = &self.sign_in {
                host["signIn"] = tokens.as_str().into();
            }
            if header != "authorization" {
                host["auth"] = object!({"header": header});
            }
        }
        if self.ca.is_some() {
            host["ca"] = "ca".into();
        }
        host
    }
}

/// A third party's title and description, as text without what would reorder or imitate.
#[must_use]
pub fn described(tool: &Value) -> Text<16_384> {
    let description = tool["description"].as_str();
    let title = tool["title"]
        .as_str()
        .or(tool["annotations"]["title"].as_str());
    let title = title.filter(|title| !title.is_empty() && tool["name"] != *title);
    Text::new(match (title, description) {
        (Some(title), Some(description)) => format!("{title}: {description}"),
        (Some(words), None) | (None, Some(words)) => words.to_owned(),
        (None, None) => "(no description)".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(reads: &[&str]) -> ServerRequest {
        ServerRequest {
            name: SourceId::parse("notes").unwrap(),
            label: None,
            program: "/usr/bin/node".into(),
            url: None,
            secrets: BTreeSet::from(["API_KEY".to_owned()]),
            arguments: vec!["/srv/mcp/index.js".into()],
            environment: BTreeMap::from([("TOKEN".into(), "hush".into())]),
            folders: vec!["/srv/notes".into()],
            code: vec!["/srv/mcp".into()],
            hosts: Vec::new(),
            sign_in: None,
            ca: None,
            reads: reads.iter().map(|read| (*read).to_owned()).collect(),
        }
    }

    fn listing(tools: &[Value]) -> Listing {
        Listing {
            tools: tools.to_vec(),
            ..Listing::default()
        }
    }

    fn tool(name: &str) -> Value {
        object!({"name": name, "description": "Does\u{202e}it", "inputSchema": {"type": "object"}})
    }

    #[test]
    fn manifest_is_what_was_asked_for() {
        let asked = request(&["look"]);
        let made = asked
            .generate(&listing(&[tool("look"), tool("do")]), &BTreeSet::new())
            .unwrap();
        let offer = registered(&made.text).unwrap().offer;
        let look = offer.manifest.capability("look").unwrap();
        let act = offer.manifest.capability("do").unwrap();
        assert!(look.is_read() && !act.is_read());
        assert_eq!(act.describe, "Third-party tool of notes:\nDoes\u{fffd}it");
        let pins = offer.manifest.mcp.as_ref().unwrap();
        assert_eq!(pins.tools["do"], json::digest(&tool("do")));
        let again = ServerRequest::installed(&asked.name, &offer.manifest, &asked.route());
        assert_eq!(again.unwrap(), asked);
        let child = &offer.manifest.children[0];
        // Its value is not in the manifest.
        assert_eq!(child.environment["API_KEY"], None);
    }

    #[test]
    fn only_the_writers_cages_write() {
        let made = request(&[]).generate(&listing(&[tool("do")]), &BTreeSet::new());
        let offer = registered(&made.unwrap().text).unwrap().offer;
        let rule = "(allow file-write* (subpath (param \"FOLDER1\")))";
        let writes = |text: &str| text.matches(rule).count();
        let of = |name: &str| {
            let found = offer.children.iter().find(|(of, _)| of == name);
            found.unwrap().1.clone()
        };
        assert_eq!(writes(&of("reader")), 0);
        assert_eq!(writes(&of("writer")), 1);
        assert!(!of("writer").contains("/srv"), "a path in its text");
        assert!(of("writer").contains("(param \"CODE1\")"));
    }

    #[test]
    fn program_with_hosts_has_a_way_to_them_and_no_reads() {
        let mut asked = request(&[]);
        asked.hosts = vec!["api.example.com".into(), "10.0.0.2:8443".into()];
        let made = asked.generate(&listing(&[tool("do")]), &BTreeSet::new());
        let offer = registered(&made.unwrap().text).unwrap().offer;
        let admitted = offer.manifest.admitted(&asked.route()).unwrap();
        let admitted: Vec<_> = admitted
            .iter()
            .map(|(entry, host)| (entry.is_forwarded(), host.host.as_str(), host.port))
            .collect();
        let expected = [(false, "api.example.com", 443), (false, "10.0.0.2", 8443)];
        assert_eq!(admitted, expected);
        let again = ServerRequest::installed(&asked.name, &offer.manifest, &asked.route());
        assert_eq!(again.unwrap(), asked);
        let rule = "localhost:\" (param \"EGRESS_PORT\")";
        assert!(offer.children.iter().all(|(_, text)| text.contains(rule)));
        // The control: without hosts there is no such rule.
        let made = request(&[]).generate(&listing(&[tool("do")]), &BTreeSet::new());
        let alone = registered(&made.unwrap().text).unwrap().offer;
        assert!(!alone.children.iter().any(|(_, text)| text.contains(rule)));

        let refused = |change: fn(&mut ServerRequest)| {
            let mut other = asked.clone();
            change(&mut other);
            other.check().unwrap_err()
        };
        let why = refused(|other| _ = other.reads.insert("look".into()));
        assert!(why.starts_with("look can be no read"), "{why}");
        let why = refused(|other| _ = other.environment.insert("HTTP_PROXY".into(), "x".into()));
        assert!(why.starts_with("HTTP_PROXY is given by Plexus"), "{why}");
        let why = refused(|other| other.hosts = (1..=9).map(|n| format!("a{n}.example")).collect());
        assert_eq!(why, "more than 8 hosts");
    }

    #[test]
    fn method_is_lent_by_its_own_name_and_a_tool_of_that_name_is_not() {
        let mut told = listing(&[tool("resources.read"), tool("prompts.get"), tool("do")]);
        told.features = BTreeSet::from([ServerFeature::Resources]);
        let reads = request(&["resources.read"]);
        let made = reads.generate(&told, &BTreeSet::new()).unwrap();
        let manifest = Manifest::parse(&made.text).unwrap();
        let names = manifest.capabilities.iter().map(|c| c.name.as_str());
        let expected = [
            LISTING,
            "prompts.get",
            "do",
            "resources.list",
            "resources.read",
        ];
        assert_eq!(names.collect::<Vec<_>>(), expected);
        assert!(manifest.capability("resources.read").unwrap().is_read());
        assert!(!manifest.capability("resources.list").unwrap().is_read());
        let refused: Vec<_> = made.refused.iter().map(|(name, _)| &**name).collect();
        assert_eq!(refused, ["resources.read"]);
        let pins = manifest.mcp.unwrap();
        let digest = ServerMethod::ReadResource.digest();
        assert_eq!(pins.tools["resources.read"], digest);
        // The control: without the feature it is a tool.
        told.features.clear();
        let made = reads.generate(&told, &BTreeSet::new()).unwrap();
        let pins = Manifest::parse(&made.text).unwrap().mcp.unwrap();
        assert!(made.refused.is_empty() && pins.tools["resources.read"] != digest);
        // One that is known and not lent is no capability.
        told.features = BTreeSet::from([ServerFeature::Prompts]);
        let idle = told.idle(None);
        assert_eq!(idle.len(), 2);
        let made = request(&[]).generate(&told, &idle).unwrap();
        let manifest = Manifest::parse(&made.text).unwrap();
        assert!(manifest.capability("prompts.list").is_none());
        assert_eq!(manifest.mcp.unwrap().withheld.len(), 2);
    }

    #[test]
    fn tool_that_fits_no_capability_is_refused() {
        let bare = object!({"name": "bare"});
        let odd = [
            tool("two words"),
            tool(LISTING),
            tool(Proposal::NAME),
            bare,
            tool("do"),
        ];
        let made = request(&[]).generate(&listing(&odd), &BTreeSet::new());
        let made = made.unwrap();
        let names: Vec<_> = made.refused.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["two words", LISTING, Proposal::NAME, "bare"]);
        let of = |input: Value| object!({"name": "do", "inputSchema": input});
        let refused = |input: Value| {
            let made = request(&[]).generate(&listing(&[of(input)]), &BTreeSet::new());
            made.unwrap().refused.pop().map(|(_, why)| why)
        };
        let pointing = |at: &str| object!({"type": "object", "properties": {"a": {"$ref": at}}, "$defs": {"b": {"type": "string"}}});
        let outward = "https://example.com/schema.json file:///etc/passwd other.json#/b";
        for outward in outward.split(' ') {
            let why = refused(pointing(outward)).unwrap();
            assert!(why.contains("its input schema: "), "{outward}: {why}");
        }
        assert_eq!(refused(pointing("#/$defs/b")), None);
        let long = |bytes: usize| object!({"type": "object", "description": "x".repeat(bytes)});
        let why = refused(long(64 << 10)).unwrap();
        assert!(why.contains("more than 64 KiB"), "{why}");
        assert_eq!(refused(long(63 << 10)), None);
        let twice = [tool("do"), tool("other"), tool("do")];
        let twice = request(&[]).generate(&listing(&twice), &BTreeSet::new());
        let refused = twice.unwrap().refused;
        assert!(refused.len() == 2 && refused.iter().all(|(_, why)| why.contains("another tool")));
        let mut task = tool("do");
        task["execution"] = object!({"taskSupport": "required"});
        let task = request(&[]).generate(&listing(&[task]), &BTreeSet::new());
        assert!(task.unwrap().refused[0].1.contains("as a task"));
        let blank = object!({"name": "blank", "inputSchema": 1});
        let refused = request(&["blank"]).generate(&listing(&[blank]), &BTreeSet::new());
        assert_eq!(refused.unwrap().refused[0].0, "blank");
        let unknown = request(&["no"]).generate(&listing(&[tool("do")]), &BTreeSet::new());
        assert!(
            unknown
                .unwrap_err()
                .contains("could be a read; its tools: do")
        );
    }
}
