//! `plexusctl extension`: extensions by manifest as sources. All that one is and may reach is shown before it is added.

mod surface;

use crate::{
    mcp,
    owner::{Desk, list_of, text_of},
    prompt,
    sources::secret,
    table::table,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, out, text};
use plexus_owner::pending::MissingSecret;
use plexus_protocol::{SourceId, json as strict};
use serde::Deserialize as _;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
};
use surface::shown;
pub(crate) use surface::{outcome_lines, surface_lines};
use zeroize::Zeroizing;

/// Largest manifest file that is read, in bytes: what the gateway takes, and the white space of a person's file.
const MAX_FILE: u64 = 1 << 20;
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
    /// Remove an extension, and every grant on it
    Remove {
        /// Source
        name: SourceId,
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
            let mut reply = desk.open().await?.get("/admin/api/extensions").await?;
            if let Some(all) = reply["extensions"].as_array_mut() {
                all.retain(|row| row["transport"] != "mcp");
            }
            desk.show(&reply, || rows(list_of(&reply, "extensions")))
        }
        Act::Show { name } => {
            let path = format!("/admin/api/extensions/{name}");
            let reply = desk.open().await?.get(&path).await?;
            if reply["surface"].is_null() {
                let why = format!("{name} is an MCP server");
                let next = format!("plexusctl mcp show {name}");
                return Err(Stop::new(Exit::Failed, "not_found", why).next(next));
            }
            desk.show(&reply, || shown(&reply))
        }
        Act::Preview(given) => {
            let body = given.body()?;
            if is_of_server(&body["manifest"]) {
                desk.widen("starting an MCP server")?;
            }
            let seen = preview(desk, &body).await?;
            desk.show(&seen, || {
                let digest = text_of(&seen, "digest");
                format!("{}\n\ndigest       {digest}", seen_as_text(&seen))
            })
        }
        Act::Add {
            given,
            digest,
            secrets,
            keeps,
        } => {
            let piped = secrets.iter().any(|from| from.file == "-");
            secret::judge_piped("adding an extension", desk, piped)?;
            if piped && digest.is_none() {
                let why = "with a secret on standing input nobody can be asked";
                return Err(Stop::usage(why).next("name what you agree to with --digest"));
            }
            let mut body = given.body()?;
            body["keepSecrets"] = json!(keeps);
            add(desk, body, digest, &secrets).await
        }
        Act::Remove { name } => {
            let path = format!("/admin/api/extensions/{name}");
            let reply = desk.open().await?.delete(&path).await?;
            if reply["known"] == false {
                let why = format!("there is no extension {name}");
                let stop = Stop::new(Exit::Failed, "not_found", why);
                return Err(stop.next("plexusctl extension list"));
            }
            desk.show(&reply, || {
                format!("{name} is removed, and every grant on it")
            })
        }
        Act::New { name, example } => new(desk, &name, &example),
    }
}

/// What the gateway says of it.
///
/// # Errors
/// It is not valid.
async fn preview(desk: &Desk, body: &Value) -> Result<Value, Stop> {
    let mut owner = desk.open().await?;
    let seen = owner.post("/admin/api/extensions/preview", body).await?;
    if seen["valid"] == true {
        return Ok(seen);
    }
    let reasons = list_of(&seen, "reasons").iter().filter_map(Value::as_str);
    Err(invalid(&reasons.collect::<Vec<_>>().join("; ")))
}

fn invalid(reasons: &str) -> Stop {
    let stop = Stop::new(Exit::Failed, "invalid_manifest", text::line(reasons));
    stop.next("change the manifest, and preview it again")
}

/// What a preview shows; of an MCP server what `mcp add` shows.
fn seen_as_text(seen: &Value) -> String {
    match seen["surface"]["transport"] == "mcp" {
        true => mcp::surface(seen),
        false => shown(seen),
    }
}

/// Whether a manifest is of an MCP server.
fn is_of_server(manifest: &Value) -> bool {
    manifest["transport"] == "mcp"
}

/// Shows what there is, asks, and adds just that.
async fn add(
    desk: &Desk,
    mut body: Value,
    digest: Option<String>,
    given: &[SecretFrom],
) -> Result<Exit, Stop> {
    let declared = secret_names(&body["manifest"]);
    if let Some(unknown) = given.iter().find(|from| !declared.contains(&from.name)) {
        let why = format!("the manifest declares no secret {:?}", unknown.name);
        return Err(Stop::usage(why));
    }
    let secrets = given.iter().map(|from| Ok((&from.name, from.read()?)));
    let secrets: Vec<_> = secrets.collect::<Result<_, Stop>>()?;
    let is_of_server = is_of_server(&body["manifest"]);
    if is_of_server {
        // It starts with them, the preview included.
        let values = secrets.iter();
        let values = values.map(|(name, value)| ((*name).clone(), value.as_str().into()));
        body["secrets"] = Value::Object(values.collect());
    }
    let digest = match digest {
        Some(digest) => digest,
        None => {
            if is_of_server && !given.is_empty() {
                agree_to_start(desk, &body["manifest"], given)?;
            }
            let seen = preview(desk, &body).await?;
            let name = text_of(&seen["surface"], "source");
            if desk.can_ask() {
                out::say(&seen_as_text(&seen));
            }
            prompt::confirm(desk, &format!("add {name} as shown"), "--digest")?;
            text_of(&seen, "digest").to_owned()
        }
    };
    body["digest"] = digest.into();
    let mut owner = desk.open().await?;
    let mut reply = owner.post("/admin/api/extensions", &body).await?;
    let name = text_of(&reply, "source").to_owned();
    if reply["ok"] == false {
        return Err(invalid(text_of(&reply, "reason")));
    }
    for (field, value) in secrets.iter().filter(|_| !is_of_server) {
        let source = SourceId::parse(&name).map_err(|why| invalid(&why.to_string()))?;
        secret::set(&mut owner, &source, field, value).await?;
    }
    if let Some(missing) = reply["secretsMissing"].as_array_mut() {
        missing.retain(|missing| given.iter().all(|from| missing["name"] != *from.name));
    }
    desk.show(&reply, || {
        let ids = list_of(&reply, "registered").iter();
        let ids: Vec<_> = ids
            .filter_map(Value::as_str)
            .map(|id| format!("  {}", text::line(id)))
            .collect();
        let missing = Vec::deserialize(&reply["secretsMissing"]).unwrap_or_default();
        let serves = serves(&name, &missing);
        format!("{serves}; agents may ask for:\n{}", ids.join("\n"))
    })
}

/// Asks before a server gets its secrets: it has to start with them to say what it lends, and the author of its manifest
/// may be another than the owner.
///
/// # Errors
/// There is nobody to ask, or the answer is no.
fn agree_to_start(desk: &Desk, manifest: &Value, given: &[SecretFrom]) -> Result<(), Stop> {
    let server = &manifest["mcp"];
    let names: Vec<_> = given.iter().map(|from| text::line(&from.name)).collect();
    if desk.can_ask() {
        let words = match server["url"].as_str() {
            Some(url) => vec![format!("url          {}", text::line(url))],
            None => {
                let arguments = list_of(server, "args").iter().filter_map(Value::as_str);
                let variables = server["env"].as_object().into_iter().flatten();
                let variables = variables.map(|(name, value)| {
                    let value = value.as_str().unwrap_or_default();
                    format!("variable     {}", text::line(&format!("{name}={value}")))
                });
                [format!(
                    "program      {}",
                    text::line(text_of(server, "command"))
                )]
                .into_iter()
                .chain(arguments.map(|word| format!("argument     {}", text::line(word))))
                .chain(variables)
                .collect()
            }
        };
        out::say(&words.join("\n"));
    }
    let question = format!("start this server with its secret {}", names.join(", "));
    prompt::confirm(desk, &question, "--digest")
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

/// The secrets that a manifest declares.
fn secret_names(manifest: &Value) -> Vec<String> {
    let of_server = list_of(&manifest["mcp"], "secrets").iter();
    let of_server = of_server.filter_map(Value::as_str);
    let names = list_of(manifest, "secrets").iter();
    let names = names.filter_map(|secret| secret["name"].as_str());
    names.chain(of_server).map(str::to_owned).collect()
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
    let written = File::create_new(&path).and_then(|mut file| file.write_all(manifest.as_bytes()));
    written.map_err(|error| Stop::usage(format!("{}: {error}", path.display())))?;
    desk.show(&json!({"ok": true, "file": path}), || {
        format!(
            "{0} is written; change it, then: plexusctl extension preview {0}{more}",
            path.display()
        )
    })
}

impl Given {
    fn body(&self) -> Result<Value, Stop> {
        let unreadable = |why: String| Stop::usage(format!("{}: {why}", self.file.display()));
        let mut bytes = Vec::new();
        let read =
            File::open(&self.file).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
        read.map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(unreadable("it has more than 1 MiB".to_owned()));
        }
        // The same member twice would be read by one program so and by another otherwise.
        let manifest = strict::parse(&bytes).map_err(|error| unreadable(error.to_string()))?;
        let mut body = json!({"manifest": manifest});
        if !self.folders.is_empty() {
            body["folders"] = json!(named_folders(&self.folders)?);
        }
        Ok(body)
    }
}

/// The folders that the owner names, each by where it really lies.
pub(crate) fn named_folders(named: &[String]) -> Result<BTreeMap<String, String>, Stop> {
    let mut folders = BTreeMap::new();
    for folder in named {
        let (name, path) = folder
            .split_once('=')
            .ok_or_else(|| Stop::usage(format!("--folder {folder} is not NAME=PATH")))?;
        let real = fs::canonicalize(Path::new(path))
            .map_err(|error| Stop::usage(format!("{path}: {error}")))?;
        let real = real
            .to_str()
            .ok_or_else(|| Stop::usage(format!("{path} is not UTF-8")))?;
        folders.insert(name.to_owned(), real.to_owned());
    }
    Ok(folders)
}

fn rows(extensions: &[Value]) -> String {
    let rows = extensions.iter().map(|row| {
        let state = match (row["unusable"].as_str(), row["configured"] == true) {
            (Some(why), _) => why.to_owned(),
            (None, true) => "added".to_owned(),
            (None, false) => "no source of it is configured: plexusctl extension remove".to_owned(),
        };
        let count = list_of(row, "capabilities").len();
        [
            text_of(row, "source").to_owned(),
            text_of(row, "label").to_owned(),
            count.to_string(),
            state,
        ]
    });
    table(
        ["source", "label", "capabilities", "state"],
        rows.collect(),
        "no extension is added: plexusctl extension new NAME",
    )
}
