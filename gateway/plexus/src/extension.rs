//! `plexus extension`: how an extension is written, and proposing one to the owner
//! (docs/protocol/agents.md#propose-an-extension).
//!
//! What the owner does with extensions is `plexusctl`'s; its words are taken here too and handed on as they are, so that
//! `plexusctl` decides who may. An agent's own command hands nothing on.
//!
//! Must not know: what a manifest may say; the gateway says it.

use crate::{
    approval::{self, Decision},
    cli::Patience,
    command,
    gateway::Route,
    session::{Session, refusal},
    settings::Settings,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Request, Stop, out, text};
use plexus_protocol::{PendingId, extension_guide, json as strict};
use serde_json::{Map, Value, json};
use std::{
    ffi::OsString,
    fs::File,
    io::Read as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
};
use tokio::time::Instant;

/// Largest manifest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Extensions.
#[derive(Args, Debug, PartialEq)]
pub(crate) struct Extension {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand, Debug, PartialEq)]
enum Act {
    /// Print how to write an extension
    Guide,
    /// Ask the owner to add the extension of a manifest
    Propose(Proposal),
    #[command(flatten)]
    Owners(Owners),
}

/// What is the owner's to do.
#[derive(Subcommand, Debug, PartialEq)]
enum Owners {
    /// For the owner: what `plexusctl extension list` does
    List(Words),
    /// For the owner: what `plexusctl extension preview` does
    Preview(Words),
    /// For the owner: what `plexusctl extension add` does
    Add(Words),
    /// For the owner: what `plexusctl extension remove` does
    Remove(Words),
}

/// What is handed on as it was typed.
#[derive(Args, Debug, PartialEq)]
struct Words {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

#[derive(Args, Debug, PartialEq)]
struct Proposal {
    /// Manifest file
    file: PathBuf,
    /// Folder that you would like it to have, as an absolute path; the owner decides; may be given again
    #[arg(long = "folder", value_name = "NAME=PATH")]
    folders: Vec<String>,
    /// One sentence for the owner: why you ask
    #[arg(long, value_name = "TEXT")]
    purpose: Option<String>,
    #[command(flatten)]
    patience: Patience,
}

/// Runs the sub-command.
pub(crate) async fn run(settings: &Settings, extension: Extension) -> Result<Exit, Stop> {
    match extension.act {
        Act::Guide => {
            let named = format!("`{} ", command::name());
            let guide = extension_guide().replace("`plexus ", &named);
            out::data(guide.as_bytes()).map(|()| Exit::Ok)
        }
        Act::Propose(proposal) => propose(settings, &proposal).await,
        Act::Owners(act) => Err(hand_on(settings, act)),
    }
}

/// Becomes `plexusctl`; returns only where that failed.
fn hand_on(settings: &Settings, act: Owners) -> Stop {
    let (act, Words { words }) = match act {
        Owners::List(words) => ("list", words),
        Owners::Preview(words) => ("preview", words),
        Owners::Add(words) => ("add", words),
        Owners::Remove(words) => ("remove", words),
    };
    if settings.pinned {
        let why = format!("`extension {act}` is the owner's; an agent may propose one");
        let propose = command::line("extension propose FILE");
        return Stop::new(Exit::Refused, "permission_denied", why).next(propose);
    }
    let Ok(own) = std::env::current_exe() else {
        return Stop::usage("this program does not know where it lies")
            .next(format!("plexusctl extension {act}"));
    };
    let failed = Command::new(own.with_file_name("plexusctl"))
        .args(["extension", act])
        .args(words)
        .env("PLEXUS_HOME", settings.home.path())
        .exec();
    Stop::usage(format!("plexusctl, beside this program: {failed}"))
        .next(format!("plexusctl extension {act}"))
}

async fn propose(settings: &Settings, proposal: &Proposal) -> Result<Exit, Stop> {
    let manifest = read(&proposal.file)?;
    let mut body = json!({"manifest": manifest, "purpose": proposal.purpose});
    if !proposal.folders.is_empty() {
        let folders = proposal.folders.iter().map(|folder| {
            let (name, path) = folder
                .split_once('=')
                .ok_or_else(|| Stop::usage(format!("--folder {folder} is not NAME=PATH")))?;
            let path = std::path::absolute(path)
                .map_err(|error| Stop::usage(format!("--folder {folder}: {error}")))?;
            Ok((name.to_owned(), json!(path)))
        });
        body["folders"] = Value::Object(folders.collect::<Result<Map<_, _>, Stop>>()?);
    }
    let mut session = Session::open(settings).await?;
    let path = session.gateway.path(Route::Extensions);
    let reply = session.send(Request::post(path, &body)).await?;
    if !reply.is_success() {
        return Err(refusal(&reply));
    }
    let reply: Value = reply.json()?;
    let Some(item) = reply["pendingId"].as_str().map(PendingId::parse) else {
        let why = text::line(reply["reason"].as_str().unwrap_or("it was not taken"));
        let stop = Stop::new(Exit::Failed, "invalid_manifest", why);
        return Err(stop.next("change the manifest, and propose it again"));
    };
    let item = item.map_err(|why| Stop::new(Exit::Failed, "not_a_gateway", why.to_string()))?;
    let source = manifest["source"].as_str().unwrap_or_default();
    let wanted = format!("add the extension {}", text::line(source));
    let until = Instant::now() + proposal.patience.length();
    let waits = async {
        approval::announce(&wanted, &item);
        approval::wait(&mut session, &item, until).await
    };
    let decision = tokio::select! {
        // Listened for before the wait is announced.
        biased;
        _ = tokio::signal::ctrl_c() => {
            return Err(approval::out_of_sight(&item, "you interrupted the waiting"));
        }
        decision = waits => decision?,
    };
    match decision {
        Decision::Added(_) | Decision::Approved | Decision::Ran(_) | Decision::Runs(_) => {
            out::line(&added(source))?;
            Ok(Exit::Ok)
        }
    }
}

/// That the extension of this source is added.
pub(crate) fn added(source: &str) -> String {
    format!("{} is added: {}", text::line(source), command::line("list"))
}

fn read(path: &Path) -> Result<Value, Stop> {
    let unreadable = |why: &str| Stop::content(path, why);
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|error| Stop::path(path, &error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(unreadable("it has more than 1 MiB"));
    }
    strict::parse(&bytes).map_err(|error| unreadable(&error.to_string()))
}
