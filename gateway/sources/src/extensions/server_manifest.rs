//! A manifest (`plexus-extension/0.1`) of the transport `mcp`: which MCP server it would lend, and what the server is given.
//!
//! Invariants: it becomes the request that `plexusctl mcp add` makes, and nothing else; a folder stands for its path by name
//! alone; its tools are what the server says, so it declares none.
//!
//! Must not know: how a server is started, what it says.

use super::{
    checks::odd_name,
    manifest::{Access, DeclaredFolder, FORMAT, read_part},
    servers::ServerRequest,
};
use crate::{Registry, labels};
use plexus_protocol::SourceId;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Largest manifest, in bytes: a server's definitions are no part of it.
const MAX_MANIFEST: usize = 65_536;

/// Whether a manifest is of an MCP server.
#[must_use]
pub fn lends_server(manifest: &Value) -> bool {
    manifest["transport"] == "mcp"
}

/// The folders of a manifest, by name.
#[derive(Clone, Copy, Debug)]
pub struct NamedFolders<'a> {
    /// As the owner names them now.
    pub given: &'a BTreeMap<String, String>,
    /// The route of the source that is there: those that nobody names now stay.
    pub there: Option<&'a Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ServerManifest {
    manifest: String,
    source: String,
    label: String,
    #[serde(rename = "transport")]
    _transport: McpTransport,
    #[serde(default)]
    folders: Vec<DeclaredFolder>,
    mcp: DeclaredServer,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum McpTransport {
    Mcp,
}

/// The server. Texts of a program may name folders, as `{folder.<name>}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclaredServer {
    command: Option<String>,
    url: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Names: variables of a program, the header of a URL.
    #[serde(default)]
    secrets: BTreeSet<String>,
    /// What a program reaches.
    #[serde(default)]
    hosts: Vec<String>,
    /// The tools that the owner would class as reads.
    #[serde(default)]
    reads: BTreeSet<String>,
}

impl ServerRequest {
    /// What a manifest of the transport `mcp` asks for.
    ///
    /// # Errors
    /// All that stands against it.
    pub fn of_manifest(
        value: &Value,
        folders: NamedFolders<'_>,
        registry: &Registry,
    ) -> Result<Self, Vec<String>> {
        if value.to_string().len() > MAX_MANIFEST {
            let why = "a manifest of a server has more than 64 KiB";
            return Err(vec![why.to_owned()]);
        }
        let mut reasons = Vec::new();
        let mut value = value.clone();
        let members = value.as_object_mut();
        if members.is_some_and(|members| members.remove("capabilities").is_some()) {
            let why = "capabilities: an MCP server says itself which tools it has; leave them out, and name those that only read in mcp.reads";
            reasons.push(why.to_owned());
        }
        let read: ServerManifest = match read_part(value) {
            Ok(read) => read,
            Err(why) => {
                reasons.push(why);
                return Err(reasons);
            }
        };
        reasons.extend(odd_name(&read.source, &read.label, registry));
        if read.manifest != FORMAT {
            reasons.push(format!("manifest is {:?}, not {FORMAT:?}", read.manifest));
        }
        let names_one = read.mcp.command.is_some() != read.mcp.url.is_some();
        if !names_one {
            reasons.push("mcp names either a command or a url".to_owned());
        }
        let absolute = |path: &String| path.starts_with('/');
        if !read.mcp.command.as_ref().is_none_or(absolute) {
            reasons.push("mcp.command is no absolute path".to_owned());
        }
        let placed = read.placed(folders);
        let ((of, code, changed), name) = match (placed, SourceId::parse(&read.source)) {
            (Ok(placed), Ok(name)) => (placed, name),
            (placed, _) => {
                reasons.extend(placed.err().into_iter().flatten());
                return Err(reasons);
            }
        };
        let mut filled = |text: &String| {
            filled(text, &of).unwrap_or_else(|why| {
                reasons.push(why);
                String::new()
            })
        };
        let variables = read.mcp.env.iter();
        let variables = variables.map(|(name, value)| (name.clone(), filled(value)));
        let environment = variables.collect();
        let arguments = read.mcp.args.iter().map(&mut filled).collect();
        let asked = Self {
            name,
            label: Some(read.label),
            program: read.mcp.command.unwrap_or_default(),
            url: read.mcp.url,
            arguments,
            environment,
            secrets: read.mcp.secrets,
            folders: changed,
            code,
            hosts: read.mcp.hosts,
            sign_in: None,
            ca: None,
            reads: read.mcp.reads,
        };
        if names_one {
            reasons.extend(asked.odd());
        }
        match reasons.is_empty() {
            true => Ok(asked),
            false => Err(reasons),
        }
    }

    /// Whether this asks for the same server as `other`, whatever it is called and whichever tools only read.
    #[must_use]
    pub fn is_same_server(&self, other: &Self) -> bool {
        let alone = |request: &Self| Self {
            label: None,
            reads: BTreeSet::new(),
            environment: request.own_variables(),
            ..request.clone()
        };
        alone(self) == alone(other)
    }
}

/// Paths by name; and those of folders that are only read, and of folders that are changed, each in the manifest's order.
type Placed = (BTreeMap<String, String>, Vec<String>, Vec<String>);

impl ServerManifest {
    fn placed(&self, named: NamedFolders<'_>) -> Result<Placed, Vec<String>> {
        let is_declared = |name: &&String| self.folders.iter().any(|f| f.name == **name);
        let stray = named.given.keys().filter(|name| !is_declared(name));
        let mut reasons: Vec<String> = stray
            .map(|stray| format!("the manifest declares no folder {stray:?}"))
            .collect();
        let (mut of, mut code, mut changed) = (BTreeMap::new(), Vec::new(), Vec::new());
        for DeclaredFolder {
            name,
            label,
            access,
        } in &self.folders
        {
            if let Some(why) = labels::refused(label) {
                reasons.push(format!("the label of the folder {name:?} {why}"));
            }
            let (paths, field) = match access {
                Access::Read => (&mut code, "code"),
                Access::ReadWrite => (&mut changed, "folder"),
            };
            let field = format!("{field}{}", paths.len() + 1);
            let there = || named.there?[&field].as_str().map(str::to_owned);
            let path = named.given.get(name).cloned().or_else(there);
            let Some(path) = path else {
                reasons.push(format!(
                    "the folder {name} ({label}) is not named: --folder {name}=PATH"
                ));
                continue;
            };
            paths.push(path.clone());
            if of.insert(name.clone(), path).is_some() {
                reasons.push(format!("it has two folders {name:?}"));
            }
        }
        match reasons.is_empty() {
            true => Ok((of, code, changed)),
            false => Err(reasons),
        }
    }
}

/// A text with the paths of the folders that it names.
fn filled(text: &str, folders: &BTreeMap<String, String>) -> Result<String, String> {
    let mut parts = text.split("{folder.");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let named = part.split_once('}');
        let named = named.and_then(|(name, rest)| Some((folders.get(name)?, rest)));
        let (path, rest) = named.ok_or_else(|| format!("{text:?} names a folder that is none"))?;
        whole.push_str(path);
        whole.push_str(rest);
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json as object;

    fn manifest() -> Value {
        object!({
            "manifest": FORMAT, "source": "notes", "label": "Notes", "transport": "mcp",
            "folders": [
                {"name": "server", "label": "The server", "access": "read"},
                {"name": "pages", "label": "Pages", "access": "read-write"},
            ],
            "mcp": {
                "command": "/usr/bin/node", "args": ["{folder.server}/index.js", "--in={folder.pages}/a"],
                "env": {"IN": "{folder.pages}"}, "secrets": ["TOKEN"], "reads": ["look"],
            },
        })
    }

    fn read(manifest: &Value, there: Option<&Value>) -> Result<ServerRequest, String> {
        let given = match there {
            Some(_) => BTreeMap::new(),
            None => BTreeMap::from([
                ("server".to_owned(), "/srv/{folder.pages}".to_owned()),
                ("pages".to_owned(), "/srv/pages".to_owned()),
            ]),
        };
        let folders = NamedFolders {
            given: &given,
            there,
        };
        let registry = Registry::read(&[]).unwrap();
        let read = ServerRequest::of_manifest(manifest, folders, &registry);
        read.map_err(|reasons| reasons.join("; "))
    }

    #[test]
    fn folders_stand_for_their_paths_once() {
        let asked = read(&manifest(), None).unwrap();
        let texts = ["/srv/{folder.pages}/index.js", "--in=/srv/pages/a"];
        assert_eq!(asked.arguments, texts);
        assert_eq!(asked.environment["IN"], "/srv/pages");
        assert_eq!(asked.code, ["/srv/{folder.pages}"]);
        assert_eq!(asked.folders, ["/srv/pages"]);
        let route = object!({"code1": "/srv/{folder.pages}", "folder1": "/srv/pages"});
        let again = read(&manifest(), Some(&route)).unwrap();
        assert!(again.is_same_server(&read(&manifest(), None).unwrap()));
        let mut other = manifest();
        other["mcp"]["args"] = object!(["{folder.pages}"]);
        assert!(!read(&other, Some(&route)).unwrap().is_same_server(&again));
    }
}
