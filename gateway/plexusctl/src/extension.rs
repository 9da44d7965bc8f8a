//! `plexusctl extension`: extensions by manifest as sources. All that one is and may reach is shown before it is added.

mod surface;

use crate::{
    mcp,
    owner::{Desk, or_meant},
    prompt,
    sources::{confirm_removal, ended_since, heard_open_on, removed, secret},
    table::table,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, out, text};
use plexus_owner::{
    extensions::{
        self, Add, Draft, ExtensionPreview, ExtensionRow, InstallResult, InstalledExtension, List,
        ManifestDraft, Preview, Remove,
    },
    pending::MissingSecret,
};
use plexus_protocol::{SourceId, json as strict};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
};
use zeroize::Zeroizing;

/// Largest manifest file that is read, in bytes: what the gateway takes, and the white space of a person's file.
const MAX_FILE: u64 = 1 << 20;
/// How a script agrees to what is added.
const DIGEST: &str = "--digest DIGEST, from the end of `plexusctl extension preview`";
/// What `new` writes, under another id.
const EXAMPLE: &str = include_str!("../../../docs/extensions/journal.json");
/// The same of requests to an app.
const EXAMPLE_OF_REQUESTS: &str = include_str!("../../../docs/extensions/home.json");
/// The same of questions to an app with a Unix socket.
const EXAMPLE_OF_QUESTIONS: &str = include_str!("../../../docs/extensions/player.json");

/// The same of a workflow.
const EXAMPLE_OF_A_WORKFLOW: &str = include_str!("../../../docs/extensions/filing.json");

/// The same of an MCP server.
const EXAMPLE_OF_A_SERVER: &str = include_str!("../../../docs/extensions/memory.json");

/// Extensions by manifest.
#[derive(Args)]
pub(crate) struct Extension {
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Subcommand)]
enum Act {
    /// Show the extensions that are added
    List,
    /// Show what an extension is, may reach and offers, and what has changed since you agreed to it
    Show {
        /// Source
        name: SourceId,
    },
    /// Check a manifest, and show all that it would add; nothing is added, and only an MCP server is started, in its sandbox
    Preview(Given),
    /// Show all that a manifest adds, and add it once you agree; again for a changed manifest or program
    Add {
        #[command(flatten)]
        given: Given,
        /// Agree, without being asked, to the preview with this digest
        #[arg(long, value_name = "DIGEST")]
        digest: Option<String>,
        /// Secret that the manifest declares, from a file, or from standing input with -
        #[arg(long = "secret", value_name = "NAME=FILE")]
        secrets: Vec<SecretFrom>,
        /// Stored secret to keep although it goes to another host now; may be given again
        #[arg(long = "keep-secret", value_name = "NAME")]
        keeps: Vec<String>,
    },
    /// Remove an extension, its secrets and every grant on it
    Remove {
        /// Source
        name: SourceId,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Write a manifest to begin with, as NAME.json in this folder
    New {
        /// Its id, the first part of its capabilities' names
        name: SourceId,
        #[command(flatten)]
        example: Example,
    },
}

/// What the manifest to begin with is for; commands without one of these.
#[derive(Args)]
#[group(multiple = false)]
struct Example {
    /// For an app with an HTTP API
    #[arg(long)]
    rest: bool,
    /// For an app that listens on a Unix socket
    #[arg(long)]
    socket: bool,
    /// For a workflow that calls other capabilities
    #[arg(long)]
    workflow: bool,
    /// For an MCP server
    #[arg(long)]
    mcp: bool,
}

/// A manifest, and what the owner says to it.
#[derive(Args)]
struct Given {
    /// Manifest file
    file: PathBuf,
    /// Folder that the manifest declares; may be given again
    #[arg(long = "folder", value_name = "NAME=PATH")]
    folders: Vec<String>,
}

/// Where a secret is read from. It is never an argument: other programs see those.
#[derive(Clone)]
struct SecretFrom {
    name: String,
    file: String,
}

impl FromStr for SecretFrom {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, file) = text
            .split_once('=')
            .ok_or("it is not NAME=FILE, or NAME=-")?;
        Ok(Self {
            name: name.to_owned(),
            file: file.to_owned(),
        })
    }
}

impl SecretFrom {
    fn read(&self) -> Result<Zeroizing<String>, Stop> {
        match self.file.as_str() {
            "-" => secret::from_stdin(),
            file => secret::from_file(Path::new(file)),
        }
    }
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, extension: Extension) -> Result<Exit, Stop> {
    match extension.act.unwrap_or(Act::List) {
        Act::List => {
            let mut reply = desk.open().await?.call(&List {}).await?;
            reply.extensions.retain(|row| !row.is_server());
            desk.show(&reply, || rows(&reply.extensions))
        }
        Act::Show { name } => {
            let id = name.to_string();
            let shown = desk.open().await?.call(&extensions::Show { id }).await;
            match or_meant(&name, shown, installed(desk)).await? {
                InstalledExtension::Declared(agreed) => desk.show(&agreed, || {
                    surface::surface_lines(&agreed.surface, Some(&agreed.changes))
                }),
                InstalledExtension::Server(_) => {
                    let why = format!("{name} is an MCP server");
                    let next = format!("plexusctl mcp show {name}");
                    Err(Stop::new(Exit::Failed, "not_found", why).next(next))
                }
            }
        }
        Act::Preview(given) => {
            let preview = Preview {
                draft: Draft::Manifest(given.draft()?),
            };
            desk.ask_for_person_by(&preview)?;
            let (seen, _) = previewed(desk, preview.draft).await?;
            desk.show(&seen, || {
                format!("{}\n\ndigest       {}", seen_as_text(&seen), seen.digest())
            })
        }
        Act::Add {
            given,
            digest,
            secrets,
            keeps,
        } => {
            let piped = secrets.iter().any(|from| from.file == "-");
            secret::judge_piped::<Add>(desk, piped)?;
            if piped && digest.is_none() {
                let why = "with a secret on standing input nobody can be asked";
                return Err(Stop::usage(why).next("name what you agree to with --digest"));
            }
            add(desk, given.draft()?, keeps, digest, &secrets).await
        }
        Act::Remove { name, yes } => {
            let mut owner = desk.open().await?;
            confirm_removal(desk, &name, yes).await?;
            let open = heard_open_on(&mut owner, &name).await;
            let id = name.to_string();
            let reply = owner.call(&Remove { id }).await?;
            if !reply.known {
                let why = format!("there is no extension {name}");
                let stop = Stop::new(Exit::Failed, "not_found", why);
                let stop = stop.next("plexusctl extension list");
                return or_meant(&name, Err(stop), installed(desk)).await;
            }
            let ended = ended_since(&mut owner, &name, open.as_ref()).await;
            desk.show(&reply, || {
                format!("{}{ended}", removed(&name, reply.grant_count))
            })
        }
        Act::New { name, example } => new(desk, &name, &example),
    }
}

/// The names of the extensions and servers that are installed.
pub(crate) async fn installed(desk: &Desk) -> Result<Vec<String>, Stop> {
    let all = desk.open().await?.call(&List {}).await?.extensions;
    Ok(all.into_iter().map(|row| row.name).collect())
}

/// All that it is and may reach; of an MCP server what `mcp add` shows.
fn seen_as_text(seen: &ExtensionPreview) -> String {
    match seen {
        ExtensionPreview::Server(server) => mcp::surface::previewed(server),
        ExtensionPreview::Declared(declared) => surface::previewed(declared),
        ExtensionPreview::Invalid(manifest) => manifest.reasons.join("; "),
    }
}

/// What the gateway says of it; and the draft again.
///
/// # Errors
/// It is not valid.
async fn previewed(desk: &Desk, draft: Draft) -> Result<(ExtensionPreview, Draft), Stop> {
    let preview = Preview { draft };
    let mut owner = desk.open().await?;
    match owner.call_within(&preview, mcp::LOOK).await? {
        ExtensionPreview::Invalid(manifest) => Err(invalid(&manifest.reasons)),
        seen => Ok((seen, preview.draft)),
    }
}

fn invalid(reasons: &[impl AsRef<str>]) -> Stop {
    let reasons: Vec<&str> = reasons.iter().map(AsRef::as_ref).collect();
    let why = text::line(&reasons.join("; "));
    let stop = Stop::new(Exit::Failed, "invalid_manifest", why);
    let mut folders: Vec<String> = reasons
        .iter()
        .filter_map(|why| folder_to_give(why))
        .collect();
    let asked = folders.len();
    folders.dedup();
    let is_stray = |why: &&&str| why.starts_with("the manifest declares no folder");
    let stray = reasons.iter().filter(is_stray).count();
    stop.next(match (asked, stray) {
        (asked, stray) if asked + stray < reasons.len() => {
            "change the manifest, and preview it again".to_owned()
        }
        (_, 0) => format!("give {}", folders.join(" ")),
        (_, _) => "name a folder of the manifest with --folder".to_owned(),
    })
}

/// The folder that a reason asks for: it is given beside the manifest.
fn folder_to_give(why: &str) -> Option<String> {
    let (_, given) = why.rsplit_once(": --folder ")?;
    let name = given.strip_suffix("=PATH")?;
    // The rest of a reason is the manifest's: this much of it can only be a name.
    let is_of_name = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    let is_name = !name.is_empty() && name.bytes().all(is_of_name);
    is_name.then(|| format!("--folder {given}"))
}

/// As much of a manifest as is looked at before the gateway does.
#[derive(Default, Deserialize)]
#[serde(default)]
struct ManifestSketch {
    secrets: Vec<DeclaredSecret>,
    mcp: DeclaredServer,
}

#[derive(Deserialize)]
struct DeclaredSecret {
    name: String,
}

/// The server that a manifest lends.
#[derive(Default, Deserialize)]
#[serde(default)]
struct DeclaredServer {
    url: Option<String>,
    command: Option<String>,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    secrets: Vec<String>,
}

impl ManifestSketch {
    fn of(draft: &ManifestDraft) -> Result<Self, Stop> {
        let declared = draft.manifest.as_ref().map(Self::deserialize);
        declared
            .unwrap_or_else(|| Ok(Self::default()))
            .map_err(|why| invalid(&[why.to_string()]))
    }

    fn has_secret(&self, name: &str) -> bool {
        self.secrets.iter().any(|secret| secret.name == name)
            || self.mcp.secrets.iter().any(|secret| secret == name)
    }
}

/// Shows what there is, asks, and adds just that.
async fn add(
    desk: &Desk,
    mut draft: ManifestDraft,
    keep_secrets: Vec<String>,
    digest: Option<String>,
    given: &[SecretFrom],
) -> Result<Exit, Stop> {
    let server = match given {
        [] => DeclaredServer::default(),
        given => {
            let declared = ManifestSketch::of(&draft)?;
            if let Some(unknown) = given.iter().find(|from| !declared.has_secret(&from.name)) {
                let why = format!("the manifest declares no secret {:?}", unknown.name);
                return Err(Stop::usage(why).next("name a secret of the manifest with --secret"));
            }
            declared.mcp
        }
    };
    let secrets = given.iter().map(|from| Ok((&from.name, from.read()?)));
    let secrets: Vec<_> = secrets.collect::<Result<_, Stop>>()?;
    let is_of_server = draft.lends_server();
    if is_of_server {
        // It starts with them, the preview included.
        let values = secrets.iter();
        let values = values.map(|(name, value)| ((*name).clone(), value.to_string()));
        draft.secrets = values.collect();
    }
    let draft = Draft::Manifest(draft);
    let (digest, draft) = match digest {
        Some(digest) => (digest, draft),
        None => {
            if is_of_server && !given.is_empty() {
                agree_to_start(desk, &server, given)?;
            }
            let (seen, draft) = previewed(desk, draft).await?;
            if desk.can_ask() {
                out::say(&seen_as_text(&seen));
            }
            let question = format!("add {} as shown", seen.source());
            prompt::confirm(desk, &question, DIGEST)?;
            (seen.digest().to_owned(), draft)
        }
    };
    let add = Add {
        draft,
        digest: Some(digest),
        keep_secrets,
    };
    let mut owner = desk.open().await?;
    let mut added = match owner.call_within(&add, mcp::LOOK).await? {
        InstallResult::Extension(added) => added,
        InstallResult::Server(_) => {
            return Err(invalid(&["the gateway took it for a server without one"]));
        }
    };
    for (field, value) in secrets.iter().filter(|_| !is_of_server) {
        secret::set(&mut owner, &added.source, field, value).await?;
    }
    let is_given = |missing: &MissingSecret| given.iter().any(|from| from.name == missing.name);
    added.secrets_missing.retain(|missing| !is_given(missing));
    desk.show(&added, || {
        let ids = added.registered.iter();
        let ids: Vec<_> = ids.map(|id| format!("  {}", text::line(id))).collect();
        let serves = serves(added.source.as_str(), &added.secrets_missing);
        format!("{serves}; agents may ask for:\n{}", ids.join("\n"))
    })
}

/// Asks before a server gets its secrets: it has to start with them to say what it lends, and the author of its manifest
/// may be another than the owner.
///
/// # Errors
/// There is nobody to ask, or the answer is no.
fn agree_to_start(desk: &Desk, server: &DeclaredServer, given: &[SecretFrom]) -> Result<(), Stop> {
    let names: Vec<_> = given.iter().map(|from| text::line(&from.name)).collect();
    let program = server.command.as_deref().unwrap_or_default();
    if desk.can_ask() {
        let words = match &server.url {
            Some(url) => vec![format!("url          {}", text::line(url))],
            None => {
                let arguments = server.args.iter();
                let variables = server.env.iter().map(|(name, value)| {
                    format!("variable     {}", text::line(&format!("{name}={value}")))
                });
                [format!("program      {}", text::line(program))]
                    .into_iter()
                    .chain(arguments.map(|word| format!("argument     {}", text::line(word))))
                    .chain(variables)
                    .collect()
            }
        };
        out::say(&words.join("\n"));
    }
    let server = text::short(server.url.as_deref().unwrap_or(program), prompt::NAMED);
    let question = format!("start {server} with its secret {}", names.join(", "));
    prompt::confirm(desk, &question, DIGEST)
}

/// That it serves, or which secrets it waits for, each with the command that sets it.
pub(crate) fn serves(source: &str, missing: &[MissingSecret]) -> String {
    let source = text::line(source);
    let missing = missing.iter().map(|missing| {
        let (name, next) = (text::line(&missing.name), text::line(&missing.next));
        format!("{name} ({next})")
    });
    match missing.collect::<Vec<_>>() {
        none if none.is_empty() => format!("{source} serves"),
        missing => format!(
            "{source} is added, and serves once you set its secret {}",
            missing.join(", ")
        ),
    }
}

/// A manifest that was written.
#[derive(Serialize)]
struct WrittenManifest<'p> {
    ok: bool,
    file: &'p Path,
}

fn new(desk: &Desk, name: &SourceId, of: &Example) -> Result<Exit, Stop> {
    let path = PathBuf::from(format!("{name}.json"));
    let (example, id, more) = match of {
        Example { rest: true, .. } => (EXAMPLE_OF_REQUESTS, "home", ""),
        Example { socket: true, .. } => (EXAMPLE_OF_QUESTIONS, "player", ""),
        Example { workflow: true, .. } => (EXAMPLE_OF_A_WORKFLOW, "filing", ""),
        Example { mcp: true, .. } => (
            EXAMPLE_OF_A_SERVER,
            "memory",
            " --folder server=PATH --folder notes=PATH",
        ),
        Example { .. } => (EXAMPLE, "journal", " --folder pages=PATH"),
    };
    let manifest = example.replacen(
        &format!("\"source\": \"{id}\""),
        &format!("\"source\": \"{name}\""),
        1,
    );
    let mut file = File::create_new(&path).map_err(|error| Stop::new_file(&path, &error))?;
    file.write_all(manifest.as_bytes()).map_err(|error| {
        // A part would pass for the whole.
        let _ = fs::remove_file(&path);
        Stop::new(
            Exit::Failed,
            "output",
            format!("{}: {error}", path.display()),
        )
    })?;
    let written = WrittenManifest {
        ok: true,
        file: &path,
    };
    desk.show(&written, || {
        format!(
            "{0} is written; change it, then: plexusctl extension preview {0}{more}",
            path.display()
        )
    })
}

impl Given {
    fn draft(&self) -> Result<ManifestDraft, Stop> {
        let unreadable = |why: &str| Stop::content(&self.file, why);
        let mut bytes = Vec::new();
        let read =
            File::open(&self.file).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
        read.map_err(|error| Stop::path(&self.file, &error))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(unreadable("it has more than 1 MiB"));
        }
        // The same member twice would be read by one program so and by another otherwise.
        let manifest = strict::parse(&bytes).map_err(|error| unreadable(&error.to_string()))?;
        let folders = match self.folders.is_empty() {
            true => None,
            false => Some(named_folders(&self.folders)?),
        };
        Ok(ManifestDraft {
            manifest: Some(manifest),
            folders,
            ..ManifestDraft::default()
        })
    }
}

/// The folders that the owner names, each by where it really lies.
pub(crate) fn named_folders(named: &[String]) -> Result<BTreeMap<String, String>, Stop> {
    let mut folders = BTreeMap::new();
    for folder in named {
        let (name, path) = folder
            .split_once('=')
            .ok_or_else(|| Stop::usage(format!("--folder {folder} is not NAME=PATH")))?;
        if path.is_empty() {
            let stop = Stop::usage(format!("--folder {folder} names no path"));
            return Err(stop.next(format!("give --folder {name}=PATH")));
        }
        let path = typed_folder(path);
        let real = fs::canonicalize(&path).map_err(|error| Stop::path(&path, &error))?;
        let real = real
            .to_str()
            .ok_or_else(|| Stop::usage(format!("{} is not UTF-8", path.display())))?;
        folders.insert(name.to_owned(), real.to_owned());
    }
    Ok(folders)
}

/// A folder as it was typed. A shell leaves `~` as it is behind an equals sign, and a screen has none.
pub(crate) fn typed_folder(path: &str) -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    match (path.strip_prefix("~/"), home) {
        (Some(below), Some(home)) => home.join(below),
        _ => PathBuf::from(path),
    }
}

fn rows(extensions: &[ExtensionRow]) -> String {
    let rows = extensions.iter().map(|row| {
        let state = match (&row.unusable, row.configured) {
            (Some(why), _) => why.clone(),
            (None, true) => "added".to_owned(),
            (None, false) => format!(
                "no source of it is configured: plexusctl extension remove {}",
                row.source
            ),
        };
        [
            row.source.clone(),
            row.label.clone(),
            row.capabilities.len().to_string(),
            state,
        ]
    });
    table(
        ["source", "label", "capabilities", "state"],
        rows.collect(),
        "no extension is added: plexusctl extension new NAME",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_asked_for_where_nothing_else_is_wrong() {
        let [one, two] = ["a", "b"].map(|name| format!("no folder: --folder {name}=PATH"));
        let stray = "the manifest declares no folder \"c\"".to_owned();
        let change = "change the manifest, and preview it again";
        let other = "name a folder of the manifest with --folder";
        for (reasons, next) in [
            (vec![one.clone()], "give --folder a=PATH"),
            (
                vec![one.clone(), two],
                "give --folder a=PATH --folder b=PATH",
            ),
            (vec![stray.clone()], other),
            (vec!["label \"x\" is odd".to_owned(), one.clone()], change),
            (vec![stray, one], other),
            (vec!["no: --folder a b=PATH".to_owned()], change),
        ] {
            assert_eq!(invalid(&reasons).next, next, "{reasons:?}");
        }
    }
}
