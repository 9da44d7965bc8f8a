//! A connector's manifest: what it can do, as data that both ends embed.
//!
//! Purpose: rights, schemas, words and limits come from this file and never from a worker. Parsing checks everything
//! that later code relies on, so nobody asks twice.
//!
//! Invariants of a parsed [`Manifest`]: names are unique and well formed; a skill has markdown and neither verbs nor
//! schemas; every other entry has at least one verb and an input schema; what an entry refers to exists; limits are
//! within bounds; [`Manifest::digest`] is that of the file's bytes.
//!
//! Must not know: sources, grants, how a worker is started.

mod ask;
mod check;
mod children;
mod command;
mod detect;
mod egress;
mod host;
mod mcp;
mod place;
mod request;
mod template;
mod workflow;

pub use ask::AppQuestion;
pub use children::{
    COPY, ChildArgument, ChildLimits, ChildProgram, List, NamedArgument, Program, SignIn,
    SignInFile, Words,
};
pub use command::{ARGUMENTS, CommandLine};
pub use detect::{Detect, FolderList};
pub use egress::{
    Admitted, AdmittedSocket, Auth, Egress, EgressEntry, EgressHost, MAX_EGRESS, SocketPath,
    UnixEgress, admits, is_host, is_method, is_path, owners_host, path_of, paths_below,
};
pub use host::EventTopic;
pub use mcp::{McpPins, ServerFeature, ServerMethod};
pub use place::FolderField;
pub use plexus_sandbox::reach::Platform;
pub use request::{HttpMethod, RenderedRequest, RequestTemplate, admits_whole};
pub use workflow::{MINUTES_OF_MEMBERS, Member};

use crate::frame::MAX_FRAME;
use crate::message::Role;
use plexus_protocol::{Digest, Provenance, Sensitivity, Verb, Verbs, json};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Most entries of a manifest.
pub const MAX_ENTRIES: usize = 256;
/// Largest markdown of a skill, in bytes: 64 KiB, and room for a line that says whose it is.
pub const MAX_MARKDOWN: usize = 66_560;

/// Why a file is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not of this shape.
    #[error("not a manifest: {0}")]
    Shape(#[from] json::NotStrict),
    /// Of the right shape and wrong; names the place.
    #[error("{at}: {why}")]
    Invalid {
        /// The entry or field.
        at: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

fn invalid(at: impl Into<String>, why: &'static str) -> ManifestError {
    ManifestError::Invalid { at: at.into(), why }
}

/// A connector, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The connector's name, which its crate, worker, profile and docs page share.
    pub connector: String,
    /// The wire's name of it (`GET /admin/api/connectors`).
    pub kind: String,
    /// Its name for people.
    pub label: String,
    /// One sentence for people.
    pub blurb: String,
    /// Where its capabilities come from.
    pub provenance: Provenance,
    /// The wire's name of how it is reached.
    pub transport: String,
    /// Where an app lists what could be a source of this kind; absent: the gateway finds none by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect: Option<Detect>,
    /// The daemon's option that names the root folder of one, without dashes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flag: Option<String>,
    /// Whether the owner can lend a folder as a source of this kind.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lendable: bool,
    /// What the owner fills in.
    #[serde(default)]
    pub fields: Vec<Field>,
    /// The field that holds the source's root folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// The systems that it serves on; empty: every one that the gateway runs on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// The roles its worker is started in.
    pub roles: Vec<Role>,
    /// Whether its workers start with the gateway and stay; otherwise they come with a call and go when idle.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resident: bool,
    /// What its workers may tell of unasked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<EventTopic>,
    /// Whether its workers may call what other sources offer, as agents of their own.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub host_calls: bool,
    /// What its worker may use.
    pub limits: Limits,
    /// What of a source the owner can hide from agents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hides: Vec<HideKind>,
    /// How much of what it replaces its worker keeps; absent: nothing, and no effect of it can be taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeepLimits>,
    /// The effect that takes back what its worker keeps of an earlier one: its input is `{"id": …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<String>,
    /// The owner's read that lists what effects have changed: its input is `{"calls": […]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<String>,
    /// Where effects change nothing of the owner's before a change set is applied: how the owner sees and applies one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_sets: Option<ChangeSets>,
    /// The read that shows the owner boards of tasks: its input is `{}`, or `{"board": …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boards: Option<String>,
    /// Where it holds conversations of people and agents: how the owner takes part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Channels>,
    /// The hosts and the Unix socket that its workers reach; absent: none, and no way to the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<EgressEntry>,
    /// The programs that its worker may have started, each in a cage of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<ChildProgram>,
    /// Of an MCP server, the definitions that the owner agreed to; absent: none yet, and no tool of it can be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp: Option<McpPins>,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// Digest of the file.
    #[serde(skip, default = "no_digest")]
    digest: Digest,
}

/// Replaced by [`Manifest::parse`], which is the only way to a manifest.
fn no_digest() -> Digest {
    Digest([0; 32])
}

/// One thing that the owner fills in to make a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Field {
    /// Its key in the source's route.
    pub name: String,
    /// Its name for people.
    pub label: String,
    /// What may stand in it.
    #[serde(rename = "type")]
    pub kind: FieldKind,
    /// Whether a source cannot do without.
    pub required: bool,
    /// Where its value goes.
    pub target: FieldTarget,
    /// Of a secret: the field of the route that replaces it. If that one has a value, the secret is neither needed nor
    /// given to anybody, and the forwarder leaves the credential that a request brings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<String>,
    /// Of a secret: whether the worker uses it once. A source that has started before starts without it, and its worker says
    /// whether it still needs it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// Of a path: whether the writer may change what lies in that folder. Otherwise no worker may.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub writable: bool,
    /// Of a path that no worker may change: whether the owner agrees to every file in that folder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pinned: bool,
    /// What it holds when the owner leaves it empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Of a program: where the owner's command looks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find: Option<FindProgram>,
    /// An example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placeholder: Option<String>,
    /// One sentence about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Where a program may be installed. In a path `*` stands for any part of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FindProgram {
    /// Its name in the folders of PATH.
    pub command: String,
    /// Where npm's packages have it, below the `node_modules` that the command leads into.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub npm: Vec<String>,
    /// Where installers put it, below the owner's home folder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub home: Vec<String>,
}

impl Field {
    /// Whether a source with this `route` has no use for this secret, because another field replaces it.
    #[must_use]
    pub fn is_replaced(&self, route: &Value) -> bool {
        let by = self.unless.as_ref().and_then(|name| route.get(name));
        by.and_then(Value::as_str)
            .is_some_and(|value| !value.is_empty())
    }
}

/// What may stand in a [`Field`] (docs/protocol/owner.md#sources).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldKind {
    /// Any line.
    Text,
    /// A URL.
    Url,
    /// A secret, never shown again.
    Password,
    /// An absolute path on this machine.
    Path,
}

/// Where the value of a [`Field`] goes (docs/protocol/owner.md#sources).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldTarget {
    /// The source's name for people.
    Label,
    /// The configuration that the worker is given.
    Route,
    /// The secret store.
    Secret,
}

/// What a worker may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Largest output of a call, in bytes; at most [`MAX_OUTPUT`].
    pub frame_bytes: u32,
    /// Open descriptors.
    pub open_files: u32,
    /// Largest file it can write, in bytes; 0 for one that writes none.
    pub file_bytes: u64,
    /// How long a call may take, in milliseconds of awake time.
    pub call_ms: u32,
    /// Memory at which it is ended, in MiB.
    #[serde(rename = "memoryMiB")]
    pub memory_mib: u32,
    /// Files that it maps at one time, in MiB, beyond those that are as good as none; 0 for one that only reads them.
    #[serde(rename = "mapsMiB", default, skip_serializing_if = "is_none")]
    pub maps_mib: u32,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands over a reference"
)]
fn is_none(mib: &u32) -> bool {
    *mib == 0
}

/// Memory that a process may ask for beyond what it may hold, in bytes: stacks that are hardly used, and what the
/// allocator keeps for each thread. Beyond both it gets none; between the two it is ended when that is noticed.
const ASKED_FOR: u64 = 256 << 20;

/// Addresses that a process may have in use beyond its memory and the files that it maps, in bytes: its libraries,
/// and what the allocator reserves for each thread. That is up to 128 MiB, so there is room for thrice the threads of
/// this harness.
const RESERVED: u64 = 4 << 30;

impl Limits {
    /// What the kernel is to hold the process to.
    #[must_use]
    pub fn of_process(&self) -> plexus_sandbox::Limits {
        let memory = (u64::from(self.memory_mib) << 20) + ASKED_FOR;
        plexus_sandbox::Limits {
            files: Some(self.open_files.into()),
            file_size: Some(self.file_bytes),
            memory: Some(memory),
            addresses: Some(memory + RESERVED + (u64::from(self.maps_mib) << 20)),
        }
    }
}

/// How much a worker keeps of what it replaces; the oldest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeepLimits {
    /// Contents, in MiB.
    #[serde(rename = "MiB")]
    pub mib: u32,
    /// Changes.
    pub changes: u32,
}

/// The capabilities by which the owner sees, applies and drops change sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChangeSets {
    /// The owner's read that lists them: its input is `{}`.
    pub list: String,
    /// The read that shows one: its input is `{"changes": …, "path"?, "after"?}`.
    pub read: String,
    /// The effect that applies one: its input is `{"changes": …, "paths"?: […]}`.
    pub apply: String,
    /// The owner's effect that drops one: its input is `{"changes": …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop: Option<String>,
}

/// The capabilities by which the owner takes part in conversations, or looks after an identity that speaks by itself: such
/// a one names no effect by which the owner would speak as it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channels {
    /// The read that lists them: its input is `{}`.
    pub list: String,
    /// The owner's read of who is in one, or could be, a page of them after a user: its input is `{"channel"? | "after"?: …}`.
    pub members: String,
    /// The read of messages: its input is `{"channel": …, "after"? | "before"?, "limit"?}`.
    pub read: String,
    /// The effect that sends one: its input is `{"channel": …, "text": …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<String>,
    /// The effect that makes a channel: its input is `{"name": …, "members": […]}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<String>,
    /// The effect that adds a user to one: its input is `{"channel": …, "user": …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add: Option<String>,
    /// The effect that removes one from it: its input is `{"channel": …, "user": …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove: Option<String>,
    /// The effect that archives one, or opens it again: its input is `{"channel": …, "archived": …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    /// The effect that gives one another name: its input is `{"channel": …, "name": …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rename: Option<String>,
    /// The effect by which the source leaves one: its input is `{"channel": …}`.
    pub leave: String,
    /// The effect that renews the key of one: its input is `{"channel": …}`.
    pub rotate: String,
    /// The owner's read of messages that were kept and refused later: its input is `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsent: Option<String>,
    /// The effect that forgets one of these: its input is `{"message": …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forget: Option<String>,
}

impl Channels {
    fn effects(&self) -> Vec<&String> {
        let optional = [
            &self.send,
            &self.create,
            &self.add,
            &self.remove,
            &self.archive,
            &self.rename,
            &self.forget,
        ];
        let named = optional.into_iter().flatten();
        named.chain([&self.leave, &self.rotate]).collect()
    }
}

/// By what a part of a source can be hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HideKind {
    /// A folder, with all it holds.
    Folder,
    /// A pattern of paths.
    Glob,
    /// A tag of notes.
    Tag,
}

/// Who may know of an entry and call it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Audience {
    /// Agents, as far as the owner lets them.
    #[default]
    Agents,
    /// The owner alone, through the gateway; for agents it does not exist.
    Owner,
}

impl Audience {
    fn is_agents(&self) -> bool {
        *self == Self::Agents
    }
}

/// Largest output of a call, in bytes: what a frame holds, less room for what is said about it.
pub const MAX_OUTPUT: u32 = MAX_FRAME as u32 - 6 * 1024 * 1024;

/// The limits that a single capability sets otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CallLimits {
    /// Largest output, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frame_bytes: Option<u32>,
    /// How long a call may take, in milliseconds of awake time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_ms: Option<u32>,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// It can be called.
    Capability,
    /// Text that teaches an agent; the gateway serves it, no worker is asked.
    Skill,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Capability {
    /// Its name within the source: `<source>.<name>` is its id.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Who may know of it.
    #[serde(default, skip_serializing_if = "Audience::is_agents")]
    pub audience: Audience,
    /// Its name for people.
    pub label: String,
    /// What it does, for the agent and the owner.
    pub describe: String,
    /// Other words that it is looked for by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// What a call may do.
    pub verbs: Verbs,
    /// How much harm one call can do.
    #[serde(default = "low")]
    pub sensitivity: Sensitivity,
    /// Whether a call may outlast its caller's patience.
    #[serde(default)]
    pub long_running: bool,
    /// JSON schema of its input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// JSON schema of its output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// The input fields that a constraint may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub constrainable: Vec<Constrainable>,
    /// Names of the skills that go with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skills: Vec<String>,
    /// Limits of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<CallLimits>,
    /// Where its approval permits further calls, as the turns of one conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<Turns>,
    /// Where its approval permits calls of what other sources offer, made by its own worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<ChildCalls>,
    /// Whether it works on a copy and changes nothing of the owner's, unless its input asks for another `mode` than
    /// `staged`: only such a capability may be a child call, and only in that mode.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub staged: bool,
    /// Where it is one run of a program: how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<CommandLine>,
    /// Where it is one HTTP request: which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestTemplate>,
    /// Where it is one question to the app at the manifest's socket: its limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<AppQuestion>,
    /// Where it is a workflow: the capabilities that it calls, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Member>,
    /// The text of a skill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub markdown: Option<String>,
    /// Of an effect: the reads of which each shows what its plan looks at. An agent is told at once, and the owner is not
    /// asked, where its input cannot be carried out: with a standing grant of one of them in the source's words, else
    /// only what the input alone shows. A grant that is narrowed by a field that the effect has not counts as none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_by: Option<ShowingReads>,
}

/// The names of reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ShowingReads {
    /// One.
    One(String),
    /// Several, of which each is enough.
    Any(Vec<String>),
}

impl ShowingReads {
    /// Their names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Any(names) => names,
        }
    }
}

/// How an effect is a conversation: its approval permits up to so many calls within so many minutes. The first has the
/// approved input, each further one the field `message` alone. The input's fields `turns` and `minutes` may ask for
/// other numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Turns {
    /// The input field that a further message goes into.
    pub message: String,
    /// Turns, where the input names no number; the first is one of them.
    pub turns: u32,
    /// Minutes from the first turn on, where the input names no number.
    pub minutes: u32,
}

impl Turns {
    /// Turns and minutes that a call with this input asks for.
    #[must_use]
    pub fn asked(&self, input: &Value) -> (u32, u32) {
        let number = |field, usual| number(input, field, usual);
        (number("turns", self.turns), number("minutes", self.minutes))
    }
}

/// How the approval of an effect permits child calls: up to so many within so many minutes, so many side by side. The
/// input's fields `runs`, `minutes` and `parallel` may ask for other numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChildCalls {
    /// The input field that lists the ids of the capabilities which may be called.
    pub field: String,
    /// Calls, where the input names no number.
    pub runs: u32,
    /// Minutes from the start of the approved call on, where the input names no number.
    pub minutes: u32,
    /// Calls side by side, where the input names no number.
    pub parallel: u32,
}

/// What a call asks for with [`ChildCalls`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildCallsAsked {
    /// Ids of capabilities, as they were typed.
    pub capabilities: Vec<String>,
    /// Calls.
    pub runs: u32,
    /// Minutes.
    pub minutes: u32,
    /// Calls side by side.
    pub parallel: u32,
}

impl ChildCalls {
    /// What a call with this input asks for.
    #[must_use]
    pub fn asked(&self, input: &Value) -> ChildCallsAsked {
        let listed = input.get(&self.field).and_then(Value::as_array);
        let ids = listed.into_iter().flatten().filter_map(Value::as_str);
        ChildCallsAsked {
            capabilities: ids.map(str::to_owned).collect(),
            runs: number(input, "runs", self.runs),
            minutes: number(input, "minutes", self.minutes),
            parallel: number(input, "parallel", self.parallel),
        }
    }
}

/// A number of an input, or the usual one; one beyond all bounds is no small one.
fn number(input: &Value, field: &str, usual: u32) -> u32 {
    let given = input.get(field).and_then(Value::as_u64);
    given.map_or(usual, |given| u32::try_from(given).unwrap_or(u32::MAX))
}

fn low() -> Sensitivity {
    Sensitivity::Low
}

/// An input field that a constraint may name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constrainable {
    /// Dotted path into the input.
    pub field: String,
    /// The kind of `touched` that it resolves to: then the worker judges what it resolved to. Absent: the gateway
    /// judges the input as it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub touched: Option<String>,
}

impl Capability {
    /// Whether it can be called.
    #[must_use]
    pub fn callable(&self) -> bool {
        self.kind == EntryKind::Capability
    }
    /// Whether it only reads; every other callable entry is an effect.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.verbs.is_read()
    }
    /// Whether it calls other capabilities, and does nothing beside that.
    #[must_use]
    pub fn is_workflow(&self) -> bool {
        !self.members.is_empty()
    }
    /// The strongest of its verbs: what a plan of it is rated at least.
    #[must_use]
    pub fn rating(&self) -> Verb {
        self.verbs.iter().max().unwrap_or(Verb::Read)
    }
    /// The `touched` kind that `field` resolves to.
    #[must_use]
    pub fn resolves_to(&self, field: &str) -> Option<&str> {
        self.constrainable
            .iter()
            .find(|c| c.field == field)
            .and_then(|c| c.touched.as_deref())
    }
    /// The role that a call of it runs in: a plan runs in the reader, whatever this says.
    #[must_use]
    pub fn role(&self) -> Role {
        if self.is_read() {
            Role::Reader
        } else {
            Role::Writer
        }
    }
}

impl Manifest {
    /// Reads a manifest file.
    ///
    /// # Errors
    /// [`ManifestError`] names the place.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        // Of a lent server it holds the server's own schemas, whose bounds may have 64 bits.
        let mut manifest = json::parse_many(text.as_bytes()).and_then(json::read_value::<Self>)?;
        manifest.digest = Digest::of(text.as_bytes());
        manifest.check()?;
        Ok(manifest)
    }

    /// SHA-256 of the file; what a worker states in `Described`.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The entry of that name.
    #[must_use]
    pub fn capability(&self, name: &str) -> Option<&Capability> {
        self.capabilities.iter().find(|c| c.name == name)
    }

    /// Its field of that name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// The fields whose values lie in the secret store, as `secrets/<source>.<field>`.
    pub fn secrets(&self) -> impl Iterator<Item = &Field> {
        let secret = |field: &&Field| field.target == FieldTarget::Secret;
        self.fields.iter().filter(secret)
    }

    /// The fields that hold the fingerprint of a host's certificate.
    pub fn pins(&self) -> impl Iterator<Item = &str> {
        self.hosts().filter_map(|entry| entry.pin.as_deref())
    }

    /// Whether its sources can serve on `platform`.
    #[must_use]
    pub fn serves_on(&self, platform: Platform) -> bool {
        self.platforms.is_empty() || self.platforms.contains(&platform)
    }

    /// The limits of one call: the connector's, as far as the capability does not set its own.
    #[must_use]
    pub fn limits_of(&self, capability: &Capability) -> Limits {
        let own = capability.limits.unwrap_or_default();
        Limits {
            frame_bytes: own.frame_bytes.unwrap_or(self.limits.frame_bytes),
            call_ms: own.call_ms.unwrap_or(self.limits.call_ms),
            ..self.limits
        }
    }
}
