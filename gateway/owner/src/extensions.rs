//! What the owner installs beside the connectors: extensions by manifest, and MCP servers that are lent.
//!
//! ```text
//! Draft ─Preview─▶ ExtensionPreview, with a digest ─the owner agrees─▶ Add, with that digest ─▶ InstallResult
//! ```

use crate::{
    Done, Malformed, MayWiden, of_members,
    pending::{Client, MissingSecret, MovedSecret, Surface},
    sign_ins::ServerSignOut,
    sources::AddResult,
    wire,
};
use plexus_protocol::{CapabilityId, Sensitivity, SourceId, Verb, Verbs};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// All that is installed.
#[derive(Debug, Serialize, Deserialize)]
pub struct List {}

/// All that is installed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Extensions {
    /// Each of them.
    pub extensions: Vec<ExtensionRow>,
    /// The catalogue that this is of.
    pub revision: u64,
}

/// What is installed, in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExtensionRow {
    /// The source that it is.
    pub source: String,
    /// Its name for people.
    pub label: String,
    /// What agents may ask for.
    pub capabilities: Vec<CapabilityId>,
    /// How its app is reached; `mcp` of a server.
    pub transport: String,
    /// The source again.
    pub name: String,
    /// Whether the source is configured.
    pub configured: bool,
    /// Why it cannot be used.
    pub unusable: Option<String>,
    /// How many capabilities it has.
    pub tools: Option<usize>,
    /// What of it the owner is asked about, and agents do not see until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<String>,
    /// Tools of a server that are not lent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
}

impl ExtensionRow {
    /// Whether it is an MCP server.
    #[must_use]
    pub fn is_server(&self) -> bool {
        self.transport == MCP
    }
}

/// The transport of a server.
const MCP: &str = "mcp";

/// What the owner agreed to.
#[derive(Debug, Serialize, Deserialize)]
pub struct Show {
    /// The source.
    pub id: String,
}

/// What the owner agreed to.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum InstalledExtension {
    /// Of an extension by manifest.
    Declared(Box<AgreedExtension>),
    /// Of a server.
    Server(Box<LentServer>),
}

/// What the owner agreed to of an extension by manifest, and what is otherwise now.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct AgreedExtension {
    /// It is there.
    pub ok: Done,
    /// The source.
    pub source: SourceId,
    /// What it is and may reach.
    pub surface: Surface,
    /// Its manifest.
    pub manifest: Value,
    /// Whether grants on it are suspended.
    pub suspended: bool,
    /// What is otherwise now.
    pub changes: Vec<String>,
}

/// What the owner agreed to of a server.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct LentServer {
    /// What it is given.
    #[serde(flatten)]
    pub server: ServerFacts,
    /// It is there.
    pub ok: Done,
    /// Why it cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
    /// What it lends.
    pub tools: Vec<LentTool>,
    /// What of it the owner is asked about, and agents do not see until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<String>,
    /// What it has and does not lend: it cannot be lent, or the owner blocked it. A preview of a refresh has the reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub withheld: Vec<String>,
}

/// What a server is given. Values of variables may be secrets: only their names are shown, unless a manifest has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// The source.
    pub name: SourceId,
    /// Its program; empty where it is at a URL.
    pub program: String,
    /// Its URL.
    pub url: Option<String>,
    /// Names of its secrets.
    pub secrets: BTreeSet<String>,
    /// Arguments of its program.
    pub arguments: Vec<String>,
    /// Its variables.
    pub environment: Vec<String>,
    /// Folders that it reads, and changes in a call that is approved.
    pub folders: Vec<String>,
    /// Folders with its own files.
    pub code: Vec<String>,
    /// Hosts that its program reaches, each `host` or `host:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Where the tokens of the owner's sign-in are had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<String>,
    /// The file with further certificate authorities for its URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Its tools that only read, by the owner's word.
    pub reads: BTreeSet<String>,
    /// Whether it is elsewhere, or reaches hosts.
    pub network: bool,
}

impl ServerFacts {
    /// What of the owner's a server that reaches hosts can send to them, in words.
    #[must_use]
    pub fn within_reach(&self) -> String {
        let folders = self.folders.iter().chain(&self.code);
        let mut all: Vec<_> = folders
            .map(|folder| format!("the files in {folder}"))
            .collect();
        all.push("what a call gives it".to_owned());
        all.extend(self.secrets.iter().map(|name| format!("the secret {name}")));
        all.join(", ")
    }
}

/// A tool that is lent.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct LentTool {
    /// Its name.
    pub name: String,
    /// What the server says of it.
    pub description: String,
    /// What a call of it is.
    pub verbs: Verbs,
    /// How much harm it can do.
    pub sensitivity: Sensitivity,
    /// What it takes, as a schema.
    pub input: Option<Value>,
}

/// Removes what is installed, with every grant on it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Remove {
    /// The source.
    pub id: String,
}

/// It is not there any more.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct RemovedExtension {
    /// Whether it was.
    pub ok: bool,
    /// The same.
    pub known: bool,
    /// The source.
    pub source: String,
    /// What agents cannot ask for any more.
    pub removed: Vec<CapabilityId>,
    /// How many grants it had, suspended ones too; none where it was not installed.
    #[serde(
        default,
        rename = "grantCount",
        skip_serializing_if = "Option::is_none"
    )]
    pub grant_count: Option<usize>,
    /// What came of the owner's sign-in at its server; none where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_out: Option<ServerSignOut>,
}

/// Something to install. No `Debug`: it holds secrets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", untagged)]
pub enum Draft {
    /// A server that is there, as it is now.
    Refresh(Refresh),
    /// A server, by its program or URL.
    Server(ServerDraft),
    /// What a manifest says.
    Manifest(ManifestDraft),
}

impl TryFrom<Map<String, Value>> for Draft {
    type Error = Malformed;

    fn try_from(mut members: Map<String, Value>) -> Result<Self, Malformed> {
        // The digest of what was shown is no part of it.
        members.retain(|name, value| name != "digest" && !value.is_null());
        let refreshes = members.get(REFRESH).cloned().unwrap_or_default();
        Ok(match (members.contains_key("name"), refreshes) {
            (true, Value::Bool(true)) => Self::Refresh(of_members(members)?),
            (true, Value::Null | Value::Bool(false)) => {
                members.shift_remove(REFRESH);
                Self::Server(of_members(members)?)
            }
            (true, _) => return Err(Malformed::new(format!("`{REFRESH}` is true or false"))),
            (false, _) => Self::Manifest(of_members(members)?),
        })
    }
}

const REFRESH: &str = "refresh";

impl Draft {
    /// Whether a server is started, or asked, to see what it says.
    #[must_use]
    pub fn lends_server(&self) -> bool {
        match self {
            Self::Refresh(_) | Self::Server(_) => true,
            Self::Manifest(draft) => draft.lends_server(),
        }
    }
}

/// A server that is there, as it is now.
#[derive(Clone, Serialize, Deserialize)]
pub struct Refresh {
    /// The source.
    pub name: String,
    /// True.
    pub refresh: Done,
    /// Its tools that only read; absent, those of before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<BTreeSet<String>>,
}

/// A server, by its program or URL. A member that is not known here is refused: it would be a limit that limits nothing.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerDraft {
    /// The source's id.
    pub name: SourceId,
    /// The source's name for people; its id where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The program, an absolute path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The URL of one that no worker starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Arguments of the program.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Its variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Its secrets, by name.
    #[serde(default, deserialize_with = "wire::unsaid")]
    pub secrets: BTreeMap<String, String>,
    /// Folders that it reads, and changes in a call that is approved.
    #[serde(default)]
    pub folders: Vec<String>,
    /// Folders with its own files, which it only reads.
    #[serde(default)]
    pub code: Vec<String>,
    /// Hosts that its program reaches, each `host` or `host:port`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// The sign-in that the owner has made for its URL, by its id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<String>,
    /// A PEM file with further certificate authorities, an absolute path, for an https URL and its authorization server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Its tools that only read.
    #[serde(default)]
    pub reads: BTreeSet<String>,
}

impl ServerDraft {
    /// Adds folders with its own files; of two folders of which one is inside of the other the outer one is left.
    ///
    /// # Errors
    /// A folder whose name is no text.
    pub fn add_code<'a>(
        &mut self,
        folders: impl IntoIterator<Item = &'a PathBuf>,
    ) -> Result<(), String> {
        for folder in folders {
            let text = folder.to_str();
            let text = text.ok_or_else(|| format!("{} is not UTF-8", folder.display()))?;
            if !self.code.iter().any(|code| folder.starts_with(code)) {
                let is_inside = |code: &String| Path::new(code).starts_with(folder);
                self.code.retain(|code| !is_inside(code));
                self.code.push(text.to_owned());
            }
        }
        Ok(())
    }
}

/// What a manifest says, with what its owner names.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct ManifestDraft {
    /// The manifest; none is refused in the words of a manifest that is not valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Value>,
    /// Its folders, by name; those of one that is there may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folders: Option<BTreeMap<String, String>>,
    /// Secrets of a server, by name: it starts with them.
    #[serde(
        default,
        deserialize_with = "wire::unsaid",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub secrets: BTreeMap<String, String>,
}

impl ManifestDraft {
    /// Whether it is of a server.
    #[must_use]
    pub fn lends_server(&self) -> bool {
        let manifest = self.manifest.as_ref();
        manifest.is_some_and(|manifest| manifest["transport"] == MCP)
    }

    /// The source that the manifest names; empty where it names none.
    #[must_use]
    pub fn source(&self) -> &str {
        let source = self.manifest.as_ref().map(|manifest| &manifest["source"]);
        source.and_then(Value::as_str).unwrap_or_default()
    }
}

/// Shows what would be installed. No `Debug`: it holds secrets.
#[derive(Serialize, Deserialize)]
pub struct Preview {
    /// What that is.
    #[serde(flatten)]
    pub draft: Draft,
}

impl MayWiden for Preview {
    fn widens(&self) -> bool {
        self.draft.lends_server()
    }
}

/// What would be installed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ExtensionPreview {
    /// A server, with what it says.
    Server(Box<ServerPreview>),
    /// An extension by manifest.
    Declared(Box<DeclaredPreview>),
    /// Nothing.
    Invalid(InvalidManifest),
}

impl ExtensionPreview {
    /// What is agreed to; empty where there is nothing.
    #[must_use]
    pub fn digest(&self) -> &str {
        match self {
            Self::Server(server) => &server.digest,
            Self::Declared(declared) => &declared.digest,
            Self::Invalid(_) => "",
        }
    }

    /// The source that it would be; empty where there is none.
    #[must_use]
    pub fn source(&self) -> &str {
        match self {
            Self::Server(server) => server.server.name.as_str(),
            Self::Declared(declared) => declared.surface.source.as_str(),
            Self::Invalid(_) => "",
        }
    }
}

/// A server that was looked at.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerPreview {
    /// What it is given.
    #[serde(flatten)]
    pub server: ServerFacts,
    /// It was looked at.
    pub ok: Done,
    /// What is agreed to.
    pub digest: String,
    /// Which program it is.
    pub resolved: Option<String>,
    /// Its files, with the digest of all of them.
    pub pinned: Vec<String>,
    /// What of its code agents can change.
    pub changeable: Vec<String>,
    /// What it says that it is.
    pub server_info: Value,
    /// What it says that its callers should know.
    pub instructions: Option<String>,
    /// What it has.
    pub tools: Vec<OfferedTool>,
    /// The same in the members of an extension, where a manifest asks for it.
    #[serde(flatten)]
    pub as_extension: Option<ServerExtension>,
    /// What is not as it was agreed to; none of a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<ServerChanges>,
}

impl ServerPreview {
    /// What it says that it is, as far as that is of the usual form.
    #[must_use]
    pub fn claims(&self) -> Client {
        Client::deserialize(&self.server_info).unwrap_or_default()
    }
}

/// What a server has.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct OfferedTool {
    /// Its name.
    pub name: String,
    /// What the server says of it.
    pub description: String,
    /// What it takes, as a schema.
    pub input: Value,
    /// What the server claims of it.
    pub claims: Value,
    /// What a call of it is.
    pub verbs: [Verb; 1],
    /// Where that runs.
    pub cage: ToolCage,
    /// Why it is not lent.
    pub refused: Option<String>,
}

/// Where a tool runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToolCage {
    /// Elsewhere.
    None,
    /// Where it can change nothing.
    Reader,
    /// Where it can change its folders.
    Writer,
}

/// A server in the members of an extension.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerExtension {
    /// Its manifest is.
    pub valid: Done,
    /// Nothing stands against it.
    pub reasons: [(); 0],
    /// What it is and may reach.
    pub surface: Surface,
}

/// What of a server is not as it was agreed to.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerChanges {
    /// Tools that are new.
    pub new: Vec<String>,
    /// Tools that are gone.
    pub gone: Vec<String>,
    /// Tools that are otherwise.
    pub changed: Vec<String>,
    /// Whether its instructions are.
    pub instructions: bool,
    /// What of its programs, scripts and folders of code is, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<String>,
    /// It is what was agreed to as a whole, its files too, and no decision on it is due.
    #[serde(default)]
    pub unchanged: bool,
}

/// An extension by manifest that was looked at.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeclaredPreview {
    /// It was looked at.
    pub ok: Done,
    /// Its manifest is.
    pub valid: Done,
    /// Nothing stands against it.
    pub reasons: [(); 0],
    /// What it is and may reach.
    pub surface: Surface,
    /// What is agreed to.
    pub digest: String,
    /// What an approval does.
    pub if_approved: String,
    /// Stored secrets that would go to another host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved_secrets: Vec<MovedSecret>,
    /// What an approval does that keeps those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_kept: Option<String>,
    /// What differs from what the owner agreed to before; none of a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Vec<String>>,
}

/// A manifest that is not valid.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct InvalidManifest {
    /// It was looked at.
    pub ok: Done,
    /// False.
    pub valid: bool,
    /// What stands against it.
    pub reasons: Vec<String>,
    /// There is none.
    pub surface: (),
}

/// Installs what a preview showed. No `Debug`: it holds secrets.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    /// What that is.
    #[serde(flatten)]
    pub draft: Draft,
    /// The digest that the preview showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The stored secrets that may go to another host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep_secrets: Vec<String>,
}

/// It is installed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum InstallResult {
    /// What a manifest said.
    Extension(AddedExtension),
    /// A server, by its program or URL.
    Server(Box<AddResult>),
}

/// An extension that is installed.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddedExtension {
    /// It is.
    pub ok: Done,
    /// The source.
    pub source: SourceId,
    /// What agents may ask for.
    pub registered: Vec<String>,
    /// The catalogue that has it.
    pub revision: u64,
    /// The secrets that it still needs.
    pub secrets_missing: Vec<MissingSecret>,
}

/// An extension that is not installed: what is answered in place of [`AddedExtension`].
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusedExtension {
    /// False.
    pub ok: bool,
    /// The source that it would be; empty where it names none.
    pub source: String,
    /// Nothing is.
    pub registered: [(); 0],
    /// The catalogue that does not have it.
    pub revision: u64,
    /// Why.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{read, write};
    use serde_json::json;

    fn asked(body: Value) -> Result<Draft, String> {
        let members = body.as_object().cloned().unwrap();
        let read = read::<Preview>([], &[], members);
        read.map(|preview| preview.draft)
            .map_err(|malformed| malformed.to_string())
    }

    #[test]
    fn draft_is_what_its_members_say_and_comes_back() {
        let server = json!({"name": "time", "program": "/bin/time", "secrets": {"KEY": "x"}, "folders": ["/a"], "digest": "d"});
        let server = asked(server).ok().unwrap();
        let Draft::Server(named) = &server else {
            panic!("a server")
        };
        assert_eq!((&*named.secrets["KEY"], named.folders.len()), ("x", 1));
        let sent = write(&Add {
            draft: server,
            digest: Some("d".to_owned()),
            keep_secrets: Vec::new(),
        });
        assert_eq!(sent.path, "/extensions");
        let back: Add = read([], &[], sent.body.unwrap().as_object().cloned().unwrap())
            .ok()
            .unwrap();
        assert_eq!(back.digest.as_deref(), Some("d"));
        assert!(matches!(back.draft, Draft::Server(_)));
        let refresh = asked(json!({"name": "time", "refresh": true, "reads": null}));
        assert!(matches!(
            refresh,
            Ok(Draft::Refresh(Refresh { reads: None, .. }))
        ));
        let declared =
            asked(json!({"manifest": {"source": "a", "transport": "cli"}, "folders": {"b": "/c"}}));
        let declared = Preview {
            draft: declared.unwrap_or_else(|why| panic!("{why}")),
        };
        assert!(!declared.widens());
        let lent = asked(json!({"manifest": {"transport": "mcp"}}));
        assert!(lent.is_ok_and(|draft| draft.lends_server()));
        assert!(matches!(
            asked(json!({})),
            Ok(Draft::Manifest(ManifestDraft { manifest: None, .. }))
        ));
    }

    #[test]
    fn what_is_wrong_with_a_draft_is_named_and_no_secret_is_repeated() {
        let why = |body: Value| asked(body).err().unwrap();
        assert_eq!(
            why(json!({"name": "time", "secrets": {"KEY": 31_415}})),
            "`secrets.KEY`: a string is wanted"
        );
        assert_eq!(
            why(json!({"name": "time", "arguments": "x"})),
            "`arguments`: got string \"x\", expected a list"
        );
        // A limit that is misspelt would limit nothing.
        assert!(why(json!({"name": "time", "folder": []})).contains("unknown field `folder`"));
        assert!(why(json!({"name": "time", "refresh": 1})).contains("refresh"));
        assert!(why(json!({"name": "NO SOURCE", "program": "/x"})).starts_with("`name`"));
    }
}
