//! A manifest, `plexus-extension/0.1`, as its author writes it and as it is kept; and what the owner agrees to with it.
//!
//! Invariant: an unknown member is refused.
//!
//! Must not know: what stands against a manifest, how it becomes an offer.

use super::rest::BaseUrl;
use plexus_ipc::manifest::HttpMethod;
use plexus_protocol::{
    Digest, Verbs,
    json::{Exact, in_plain_words},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

/// What a manifest says that it is.
pub const FORMAT: &str = "plexus-extension/0.1";

/// An extension, as its author declares it. Names of members are those of other gateways of this protocol; `folders` is ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtensionManifest {
    /// [`FORMAT`].
    pub manifest: String,
    /// The source's id.
    pub source: String,
    /// Its name for people.
    pub label: String,
    /// How its capabilities are reached.
    pub transport: Transport,
    /// Folders that the owner gives it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<DeclaredFolder>,
    /// Secrets that its app asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<DeclaredSecret>,
    /// SHA-256 fingerprint of its app's certificate, where no authority signed that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// What it can do.
    pub capabilities: Vec<DeclaredCapability>,
    /// Its texts, which authors write among the capabilities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skills: Vec<DeclaredSkill>,
    /// Its workflows, which authors write there too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workflows: Vec<DeclaredWorkflow>,
}

impl ExtensionManifest {
    /// The names of what agents may call: capabilities and workflows, no texts.
    pub fn callable(&self) -> impl Iterator<Item = &str> {
        let workflows = self.workflows.iter().map(|one| &*one.name);
        let names = self.capabilities.iter().map(|one| &*one.name);
        names.chain(workflows)
    }
}

/// Reads a part of a manifest.
///
/// # Errors
/// What does not fit, behind its path.
pub(super) fn read_part<T: DeserializeOwned>(part: Value) -> Result<T, String> {
    serde_path_to_error::deserialize(Exact(part)).map_err(|error| {
        let path = error.path().to_string();
        let why = error.into_inner().to_string();
        let unknown = why.strip_prefix("unknown field `");
        // The words name that field already.
        let named = unknown.and_then(|rest| rest.split_once('`'));
        let named = named.map_or("", |(name, _)| name);
        let path = path.strip_suffix(named).unwrap_or(&path);
        match (path.trim_end_matches('.'), in_plain_words(&why)) {
            ("", why) => why,
            (path, why) => format!("{path}: {why}"),
        }
    })
}

/// How a capability is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// By a run of a program.
    Cli,
    /// By an HTTP request to an app on this machine or in its network.
    LocalRest,
    /// By a run of a program that is asked, and answers, in lines of JSON.
    Stdio,
    /// By a question to an app that listens on a Unix socket, in the same lines.
    Ipc,
    /// It is a text to read.
    Skill,
    /// It calls other capabilities.
    Workflow,
}

/// How a capability is reached, by its transport.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Route {
    /// Of [`Transport::Cli`].
    Cli(CliRoute),
    /// Of [`Transport::LocalRest`].
    Rest(RestRoute),
    /// Of [`Transport::Stdio`].
    Stdio(StdioRoute),
    /// Of [`Transport::Ipc`].
    Ipc(IpcRoute),
}

impl Route {
    fn read(transport: Transport, route: Value) -> Result<Self, String> {
        let read = match transport {
            Transport::Cli => read_part(route).map(Self::Cli),
            Transport::LocalRest => read_part(route).map(Self::Rest),
            Transport::Stdio => read_part(route).map(Self::Stdio),
            Transport::Ipc => read_part(route).map(Self::Ipc),
            Transport::Skill => return Err("a text has no route of a call".to_owned()),
            Transport::Workflow => return Err("a workflow has members and no route".to_owned()),
        };
        read.map_err(|why| format!("route: {why}"))
    }

    /// The program that it runs.
    #[must_use]
    pub fn bin(&self) -> Option<&String> {
        match self {
            Self::Cli(route) => Some(&route.bin),
            Self::Stdio(route) => Some(&route.bin),
            Self::Rest(_) | Self::Ipc(_) => None,
        }
    }

    /// The variables that its program is given.
    pub(super) fn env(&self) -> Option<&BTreeMap<String, String>> {
        match self {
            Self::Cli(route) => Some(&route.env),
            Self::Stdio(route) => Some(&route.env),
            Self::Rest(_) | Self::Ipc(_) => None,
        }
    }
}

/// A folder that the owner names when the extension is added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeclaredFolder {
    /// Stands for it in arguments, as `{folder.<name>}`.
    pub name: String,
    /// Its name for people.
    pub label: String,
    /// What the extension does there.
    pub access: Access,
}

/// What an extension does in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// It reads.
    Read,
    /// It reads, and its effects write.
    ReadWrite,
}

/// One capability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawCapability")]
pub struct DeclaredCapability {
    /// Its name within the source.
    pub name: String,
    /// `capability`: a skill is not carried yet.
    pub kind: Kind,
    /// Its name for people.
    pub label: String,
    /// What it does, for the agent and the owner.
    pub describe: String,
    /// Its verbs.
    pub grants: Verbs,
    /// As the whole extension's.
    pub transport: Transport,
    /// What goes in.
    #[serde(default)]
    pub io: Io,
    /// How it is reached.
    pub route: Route,
}

/// A capability whose route is not read yet: the transport says what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawCapability {
    name: String,
    kind: Kind,
    label: String,
    describe: String,
    grants: Verbs,
    transport: Transport,
    #[serde(default)]
    io: Io,
    route: Value,
}

impl TryFrom<RawCapability> for DeclaredCapability {
    type Error = String;

    fn try_from(raw: RawCapability) -> Result<Self, String> {
        Ok(Self {
            route: Route::read(raw.transport, raw.route)?,
            name: raw.name,
            kind: raw.kind,
            label: raw.label,
            describe: raw.describe,
            grants: raw.grants,
            transport: raw.transport,
            io: raw.io,
        })
    }
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// It can be called.
    Capability,
}

/// Schemas of a capability.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Io {
    /// JSON schema of its input; absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
}

/// One run of a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CliRoute {
    /// The program: a bare name, or the absolute path of the file.
    pub bin: String,
    /// Its arguments, each a template.
    #[serde(default)]
    pub args: Vec<String>,
    /// The field of the input that is its standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Whether it answers JSON; otherwise it answers text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub json: bool,
    /// Its environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The exit statuses that are answers.
    #[serde(default = "zero")]
    pub exit_statuses: BTreeSet<u8>,
    /// How long a run may take, in milliseconds.
    #[serde(default = "half_a_minute")]
    pub timeout_ms: u32,
    /// Longest output, in bytes.
    #[serde(default = "a_mebibyte")]
    pub output_bytes: u32,
}

fn zero() -> BTreeSet<u8> {
    BTreeSet::from([0])
}

fn half_a_minute() -> u32 {
    30_000
}

fn a_mebibyte() -> u32 {
    1 << 20
}

/// A program of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedProgram {
    /// The file.
    pub path: PathBuf,
    /// SHA-256 of its content.
    pub sha256: Digest,
}

/// What the owner agrees to, as it is kept: the manifest, and the programs that it means by their names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agreed {
    /// The manifest.
    pub manifest: ExtensionManifest,
    /// Its programs, by the names that it has for them.
    pub programs: BTreeMap<String, PinnedProgram>,
    /// Whether its workers name each program by itself. Earlier versions counted them, and what is granted on those stays as
    /// it is.
    #[serde(
        default,
        rename = "stableNames",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub stable_names: bool,
}

/// One exchange with a program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StdioRoute {
    /// The program: a bare name, or the absolute path of the file.
    pub bin: String,
    /// Its arguments, each a template.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// How long a call may take, in milliseconds.
    #[serde(default = "half_a_minute")]
    pub timeout_ms: u32,
    /// Longest output, in bytes: progress and answer together.
    #[serde(default = "a_mebibyte")]
    pub output_bytes: u32,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestRoute {
    /// The app, and the beginning of the path where there is one.
    pub base_url: BaseUrl,
    /// The method.
    #[serde(default)]
    pub method: HttpMethod,
    /// The rest of the path, a template.
    pub path: String,
    /// The query: a template by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// The JSON body, whose texts are templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Whether it answers JSON; otherwise it answers text.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub json: bool,
    /// The statuses that are answers.
    #[serde(default = "success")]
    pub statuses: BTreeSet<u16>,
    /// How long a request may take, in milliseconds.
    #[serde(default = "half_a_minute")]
    pub timeout_ms: u32,
    /// Largest answer, in bytes.
    #[serde(default = "a_mebibyte")]
    pub output_bytes: u32,
}

fn success() -> BTreeSet<u16> {
    BTreeSet::from([200, 201, 202, 204])
}

/// A secret that the owner gives the app's egress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredSecret {
    /// Its field.
    pub name: String,
    /// How it is added to each request.
    pub attach: Attach,
    /// Of [`Attach::Header`]: the header's name, in lower case.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
}

/// How a secret is added to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// `Authorization: Bearer …`
    Bearer,
    /// A header of its own.
    Header,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IpcRoute {
    /// Where the app listens: an absolute path.
    pub socket: String,
    /// How long the app may take, in milliseconds.
    #[serde(default = "half_a_minute")]
    pub timeout_ms: u32,
    /// Longest output, in bytes: progress and answer together.
    #[serde(default = "a_mebibyte")]
    pub output_bytes: u32,
}

/// A text, as its author declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeclaredSkill {
    /// Its name within the source.
    pub name: String,
    /// What it is.
    pub kind: SkillKind,
    /// Its name for people.
    pub label: String,
    /// What it is about, for the agent and the owner.
    pub describe: String,
    /// No verbs: there is nothing to grant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Value>,
    /// As its kind.
    pub transport: SkillKind,
    /// The text.
    pub body: Body,
    /// What it goes with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<SkillRoute>,
}

/// `skill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SkillKind {
    /// A text.
    Skill,
}

/// A text and its format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// Which.
    pub format: Format,
    /// The text.
    pub markdown: String,
}

/// Formats of texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Markdown.
    Markdown,
}

/// What a text goes with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SkillRoute {
    /// Ids of capabilities of the same source: an agent that sees one of them sees the text.
    #[serde(default)]
    pub attach_to: Vec<String>,
}

/// A workflow, as its author declares it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeclaredWorkflow {
    /// Its name within the source.
    pub name: String,
    /// What it is.
    pub kind: WorkflowKind,
    /// Its name for people.
    pub label: String,
    /// What it does, for the agent and the owner.
    pub describe: String,
    /// Its verbs: at least the strongest of its members'.
    pub grants: Verbs,
    /// As its kind.
    pub transport: WorkflowKind,
    /// What goes in.
    #[serde(default)]
    pub io: Io,
    /// What it calls, in order.
    pub members: Vec<DeclaredMember>,
}

/// `workflow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkflowKind {
    /// A workflow.
    Workflow,
}

/// A call of a workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeclaredMember {
    /// The capability.
    pub id: String,
    /// Its verbs.
    pub verbs: Verbs,
    /// Whether it may be of another source.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_cross_source: bool,
    /// Its input, a template; absent: the workflow's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
}

impl DeclaredMember {
    /// The source that it is of.
    pub(super) fn source(&self) -> &str {
        self.id.split_once('.').map_or("", |(source, _)| source)
    }
}
