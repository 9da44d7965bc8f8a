//! `plexusctl mcp add --from FILE`: the servers of a client's own configuration, as Claude and Cursor keep them. What each would
//! be lent as, and what cannot be lent, with the reason.
//!
//! Invariants: no secret is shown; nothing is added that was not shown.
//!
//! Must not know: what a server does, what of it can be lent (`plexus_owner::client_servers`).

use super::{Given, agree};
use crate::owner::{Desk, or_near};
use plexus_client::{Exit, Stop, out, text};
use plexus_owner::{
    client_servers::{ClientServer, ThisMachine, servers_of},
    extensions::{Draft, ServerDraft},
};
use plexus_protocol::SourceId;
use serde_json::{Map, Value, json};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Largest file, in bytes.
const MOST: u64 = 16 << 20;
/// Which servers of the file are added.
pub(super) enum ServerSelection<'a> {
    /// None: they are listed.
    None,
    One(&'a SourceId),
    All,
}

impl<'a> ServerSelection<'a> {
    pub(super) fn of(name: Option<&'a SourceId>, all: bool) -> Self {
        match (name, all) {
            (Some(name), _) => Self::One(name),
            (None, true) => Self::All,
            (None, false) => Self::None,
        }
    }
}

pub(super) async fn run(
    desk: &Desk,
    file: &Path,
    which: &ServerSelection<'_>,
    given: &Given,
) -> Result<Exit, Stop> {
    let entries = read(file)?;
    let wanted: Vec<&ClientServer> = match which {
        ServerSelection::None => return desk.show(&shown(&entries), || listed(&entries, file)),
        ServerSelection::All => entries.iter().filter(|e| e.offered.is_ok()).collect(),
        ServerSelection::One(name) => {
            let found = entries
                .iter()
                .find(|entry| entry.id.as_ref() == Some(*name));
            vec![found.ok_or_else(|| {
                let ids = entries.iter().filter_map(|entry| entry.id.as_ref());
                let why = format!(
                    "{} has no server {name}{}",
                    text::line(&file.display().to_string()),
                    or_near(name.as_str(), ids.map(SourceId::as_str))
                );
                Stop::new(Exit::Failed, "not_found", why).next("plexusctl mcp add --from FILE")
            })?]
        }
    };
    desk.widen("lending an MCP server")?;
    let mut exit = Exit::Ok;
    for entry in wanted {
        let draft = Draft::Server(draft(entry, desk, given)?);
        match (agree(desk, draft, given.yes, "add").await, which) {
            (Ok(_), _) => {}
            (Err(stop), ServerSelection::All) => {
                out::say(&format!("{}: {}", text::line(&entry.name), stop.why));
                exit = Exit::Failed;
            }
            (Err(stop), _) => return Err(stop),
        }
    }
    Ok(exit)
}

fn read(file: &Path) -> Result<Vec<ClientServer>, Stop> {
    let unreadable = |why: &str| Stop::content(file, why);
    let unusable = |error: io::Error| Stop::path(file, &error);
    let about = fs::metadata(file).map_err(unusable)?;
    if about.len() > MOST {
        return Err(unreadable("larger than 16 MiB"));
    }
    let bytes = fs::read(file).map_err(unusable)?;
    let whole: Value =
        serde_json::from_slice(&bytes).map_err(|why| unreadable(&why.to_string()))?;
    servers_of(&whole, &ThisMachine).ok_or_else(|| {
        unreadable("it has no `mcpServers`")
            .next("name a client's file, such as ~/.claude.json or ~/.cursor/mcp.json")
    })
}

/// The request that lends a server, with what is named on the command line.
fn draft(entry: &ClientServer, desk: &Desk, given: &Given) -> Result<ServerDraft, Stop> {
    let refused = |why: &str| {
        Stop::usage(format!("{}: {why}", entry.name)).next("change its entry in the file")
    };
    let offered = entry.offered.as_ref().map_err(|why| refused(why))?;
    let id = entry
        .id
        .as_ref()
        .ok_or_else(|| refused("its name makes no id"))?;
    let mut draft = offered.draft(id.clone()).map_err(|why| refused(&why))?;
    // What is said on the command line goes first.
    let said = given.draft(desk, id)?;
    draft.environment.extend(said.environment);
    draft.secrets.extend(said.secrets);
    draft.reads = said.reads;
    draft.hosts = said.hosts;
    if !said.folders.is_empty() {
        draft.folders = said.folders;
    }
    if !said.code.is_empty() {
        draft.code = said.code;
        let whole = draft.add_code(&offered.modules);
        whole.map_err(|why| refused(&why))?;
    }
    Ok(draft)
}

/// The list, without a secret's value.
fn shown(entries: &[ClientServer]) -> Value {
    let row = |entry: &ClientServer| {
        let mut row = Map::from_iter([
            ("name".to_owned(), json!(entry.name)),
            ("source".to_owned(), json!(entry.id)),
        ]);
        match &entry.offered {
            Err(why) => _ = row.insert("refused".into(), json!(why)),
            Ok(offered) => row.extend([
                ("program".to_owned(), json!(offered.program)),
                ("url".to_owned(), json!(offered.url)),
                (
                    "secrets".to_owned(),
                    json!(offered.secrets.keys().collect::<Vec<_>>()),
                ),
                (
                    "environment".to_owned(),
                    json!(offered.environment.keys().collect::<Vec<_>>()),
                ),
                ("folders".to_owned(), json!(offered.folders)),
                ("code".to_owned(), json!(offered.code)),
            ]),
        }
        Value::Object(row)
    };
    json!({"servers": entries.iter().map(row).collect::<Vec<_>>()})
}

fn listed(entries: &[ClientServer], file: &Path) -> String {
    let file = text::line(&file.display().to_string());
    let mut lines = Vec::new();
    for entry in entries {
        let name = text::line(&entry.name);
        let offered = match (&entry.id, &entry.offered) {
            (Some(id), Ok(offered)) => {
                lines.push(format!("{name}: plexusctl mcp add {id} --from {file}"));
                offered
            }
            (_, Err(why)) => {
                lines.push(format!("{name}: not lent: {}", text::line(why)));
                continue;
            }
            (None, Ok(_)) => continue,
        };
        let mut fact = |what: &str, all: Vec<String>| {
            if !all.is_empty() {
                lines.push(format!("  {what:<12} {}", text::line(&all.join(" "))));
            }
        };
        fact("URL", offered.url.iter().cloned().collect());
        let program = offered.program.iter();
        fact(
            "program",
            program
                .flat_map(|(p, args)| [p].into_iter().chain(args))
                .cloned()
                .collect(),
        );
        fact("secrets", offered.secrets.keys().cloned().collect());
        fact("environment", offered.environment.keys().cloned().collect());
        let paths = |all: &[PathBuf]| all.iter().map(|path| path.display().to_string()).collect();
        fact("changes", paths(&offered.folders));
        fact("reads", paths(&offered.code));
    }
    match lines.is_empty() {
        true => format!("{file} has no servers"),
        false => lines.join("\n"),
    }
}
