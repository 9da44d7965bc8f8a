//! `plexusctl extension`: extensions by manifest as sources. All that one is and may reach is shown before it is added.

use crate::{
    owner::{Desk, list_of, text_of},
    prompt,
    table::table,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, out, text};
use plexus_protocol::{SourceId, json as strict};
use serde_json::{Map, Value, json};
use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

/// Largest manifest file that is read, in bytes: what the gateway takes, and the white space of a person's file.
const MAX_FILE: u64 = 1 << 20;
/// What `new` writes, under another id.
const EXAMPLE: &str = include_str!("../../../docs/extensions/journal.json");

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
    /// Check a manifest, and show all that it would add; nothing is added
    Preview(Given),
    /// Show all that a manifest adds, and add it after your yes; again for a changed manifest or program
    Add {
        #[command(flatten)]
        given: Given,
        /// Agree, without being asked, to the preview with this digest
        #[arg(long, value_name = "DIGEST")]
        digest: Option<String>,
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
    },
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
            let seen = preview(desk, &given.body()?).await?;
            desk.show(&seen, || {
                let digest = text_of(&seen, "digest");
                format!("{}\n\ndigest       {digest}", shown(&seen))
            })
        }
        Act::Add { given, digest } => {
            desk.widen("adding an extension")?;
            add(desk, given.body()?, digest).await
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
        Act::New { name } => new(desk, &name),
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
    let reasons: Vec<_> = reasons.map(text::line).collect();
    let stop = Stop::new(Exit::Failed, "invalid_manifest", reasons.join("; "));
    Err(stop.next("change the manifest, and preview it again"))
}

/// Shows what there is, asks, and adds just that.
async fn add(desk: &Desk, mut body: Value, digest: Option<String>) -> Result<Exit, Stop> {
    let digest = match digest {
        Some(digest) => digest,
        None => {
            let seen = preview(desk, &body).await?;
            let name = text_of(&seen["surface"], "source");
            if desk.can_ask() {
                out::say(&shown(&seen));
            }
            prompt::confirm(desk, &format!("add {name} as shown"), "--digest")?;
            text_of(&seen, "digest").to_owned()
        }
    };
    body["digest"] = digest.into();
    let mut owner = desk.open().await?;
    let reply = owner.post("/admin/api/extensions", &body).await?;
    desk.show(&reply, || {
        let ids = list_of(&reply, "registered").iter();
        let ids: Vec<_> = ids
            .filter_map(Value::as_str)
            .map(|id| format!("  {}", text::line(id)))
            .collect();
        let name = text::line(text_of(&reply, "source"));
        format!("{name} serves; agents may ask for:\n{}", ids.join("\n"))
    })
}

fn new(desk: &Desk, name: &SourceId) -> Result<Exit, Stop> {
    let path = PathBuf::from(format!("{name}.json"));
    let manifest = EXAMPLE.replacen(
        "\"source\": \"journal\"",
        &format!("\"source\": \"{name}\""),
        1,
    );
    let written = File::create_new(&path).and_then(|mut file| file.write_all(manifest.as_bytes()));
    written.map_err(|error| Stop::usage(format!("{}: {error}", path.display())))?;
    desk.show(&json!({"ok": true, "file": path}), || {
        format!(
            "{0} is written; change it, then: plexusctl extension preview {0} --folder pages=PATH",
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
            let mut folders = Map::new();
            for folder in &self.folders {
                let (name, path) = folder
                    .split_once('=')
                    .ok_or_else(|| Stop::usage(format!("--folder {folder} is not NAME=PATH")))?;
                let real = fs::canonicalize(Path::new(path))
                    .map_err(|error| Stop::usage(format!("{path}: {error}")))?;
                let real = real
                    .to_str()
                    .ok_or_else(|| Stop::usage(format!("{path} is not UTF-8")))?;
                folders.insert(name.to_owned(), real.into());
            }
            body["folders"] = Value::Object(folders);
        }
        Ok(body)
    }
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

/// All that the owner is to know before a yes.
fn shown(seen: &Value) -> String {
    let surface = &seen["surface"];
    let line = |value: &Value, member: &str| text::line(text_of(value, member));
    let mut lines = vec![format!(
        "extension    {} ({})",
        line(surface, "source"),
        line(surface, "label")
    )];
    for program in list_of(surface, "programs") {
        lines.push(format!("program      {}", line(program, "path")));
        lines.push(format!("  sha256     {}", line(program, "sha256")));
    }
    for folder in list_of(surface, "folders") {
        let does = match folder["access"] == "read" {
            true => "reads",
            false => "reads, and writes when you approve a call",
        };
        lines.push(format!(
            "folder       {} ({}): {does}",
            line(folder, "path"),
            line(folder, "name")
        ));
    }
    if list_of(surface, "folders").is_empty() {
        lines.push("folder       none".to_owned());
    }
    lines.push("network      none".to_owned());
    for capability in list_of(surface, "capabilities") {
        lines.extend(capability_lines(capability));
    }
    let changes = list_of(seen, "changes").iter().filter_map(Value::as_str);
    let changes: Vec<_> = changes
        .map(|words| format!("  {}", text::line(words)))
        .collect();
    if seen["changes"].is_array() {
        let changes = match changes.is_empty() {
            true => "  nothing".to_owned(),
            false => changes.join("\n"),
        };
        lines.push(format!("\nsince you agreed to it:\n{changes}"));
    }
    lines.join("\n")
}

fn capability_lines(capability: &Value) -> Vec<String> {
    let texts = |member: &str| {
        let all = list_of(capability, member).iter().filter_map(Value::as_str);
        all.map(text::line).collect::<Vec<_>>()
    };
    let asks = match capability["asksEachTime"] == true {
        true => "asks you each time",
        false => "once granted it asks no more, and runs where it can write nothing",
    };
    let id = text::line(text_of(capability, "id"));
    let mut lines = vec![format!("\n{id} ({}): {asks}", texts("verbs").join(", "))];
    for words in text_of(capability, "describe").lines() {
        // Not as the facts below: these are the author's words.
        lines.push(format!("    | {}", text::line(words)));
    }
    let arguments = list_of(capability, "arguments").iter();
    let arguments: Vec<_> = arguments
        .map(|word| text::line(&word.to_string()))
        .collect();
    let program = text::line(text_of(capability, "program"));
    lines.push(format!("  runs       {program} {}", arguments.join(" ")));
    if let Some(field) = capability["stdin"].as_str() {
        lines.push(format!("  its input  {{{}}}", text::line(field)));
    }
    let variables = capability["environment"].as_object().into_iter().flatten();
    let variables: Vec<_> = variables
        .map(|(name, value)| text::line(&format!("{name}={value}")))
        .collect();
    if !variables.is_empty() {
        lines.push(format!("  variables  {}", variables.join(", ")));
    }
    let writes = texts("writes");
    if !writes.is_empty() {
        lines.push(format!("  writes in  {}", writes.join(", ")));
    }
    lines.push(format!(
        "  answers    {} of at most {} bytes within {} ms; exit statuses {}",
        text::line(text_of(capability, "output")),
        capability["outputBytes"],
        capability["timeoutMs"],
        text::line(&capability["exitStatuses"].to_string())
    ));
    lines.push(format!(
        "  input      {}",
        text::line(&capability["input"].to_string())
    ));
    lines
}
