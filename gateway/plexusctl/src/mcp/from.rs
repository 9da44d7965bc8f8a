//! `plexusctl mcp add --from FILE`: the servers of a client's own configuration, as Claude and Cursor keep them. What each would
//! be lent as, and what cannot be lent, with the reason.
//!
//! Invariants: a value that is a secret by its name or its form (`secret.rs`) becomes one, and is never shown; a server that
//! has one in its arguments or its URL, or that would be downloaded at each start, is not lent; nothing is added that was not
//! shown.
//!
//! Must not know: what a server does.

use super::{
    Given, agree,
    secret::{argument_with_secret, holds_secret, is_secret, url_part_with_secret},
    utf8,
};
use crate::owner::Desk;
use plexus_client::{Exit, Stop, out, text};
use plexus_owner::extensions::{Draft, ServerDraft};
use plexus_protocol::SourceId;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Largest file, in bytes.
const MOST: u64 = 16 << 20;
/// Programs that fetch what they run, or run it where no sandbox of ours is.
const FETCHERS: [&str; 9] = [
    "npx", "bunx", "pnpx", "pnpm", "yarn", "uvx", "pipx", "uv", "docker",
];

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

/// A server of the file.
struct Entry {
    /// As the file has it.
    name: String,
    /// As a source.
    id: Option<SourceId>,
    /// What it is lent as, or why it cannot be.
    offered: Result<Offered, String>,
}

/// A server as it would be lent.
#[derive(Debug, Default, PartialEq)]
struct Offered {
    program: Option<(String, Vec<String>)>,
    url: Option<String>,
    environment: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
    folders: Vec<PathBuf>,
    code: Vec<PathBuf>,
}

pub(super) async fn run(
    desk: &Desk,
    file: &Path,
    which: &ServerSelection<'_>,
    given: &Given,
) -> Result<Exit, Stop> {
    let entries = read(file)?;
    let wanted: Vec<&Entry> = match which {
        ServerSelection::None => return desk.show(&shown(&entries), || listed(&entries, file)),
        ServerSelection::All => entries.iter().filter(|e| e.offered.is_ok()).collect(),
        ServerSelection::One(name) => {
            let found = entries
                .iter()
                .find(|entry| entry.id.as_ref() == Some(*name));
            vec![found.ok_or_else(|| {
                let why = format!(
                    "{} has no server {name}",
                    text::line(&file.display().to_string())
                );
                Stop::new(Exit::Failed, "not_found", why).next("plexusctl mcp add --from FILE")
            })?]
        }
    };
    desk.widen("lending an MCP server")?;
    let mut exit = Exit::Ok;
    for entry in wanted {
        let draft = Draft::Server(entry.draft(desk, given)?);
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

fn read(file: &Path) -> Result<Vec<Entry>, Stop> {
    let unreadable = |why: String| {
        let file = text::line(&file.display().to_string());
        Stop::usage(format!("{file}: {why}"))
    };
    let about = fs::metadata(file).map_err(|error| unreadable(error.to_string()))?;
    if about.len() > MOST {
        return Err(unreadable("larger than 16 MiB".to_owned()));
    }
    let bytes = fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    let whole: Value = serde_json::from_slice(&bytes).map_err(|why| unreadable(why.to_string()))?;
    let servers = ["mcpServers", "servers"]
        .iter()
        .find_map(|key| whole[key].as_object());
    let servers = servers.ok_or_else(|| {
        unreadable("it has no `mcpServers`: name a client's file, such as ~/.claude.json or ~/.cursor/mcp.json".to_owned())
    })?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let entries = servers.iter().map(|(name, server)| {
        let id = id_of(name);
        let offered = match &id {
            Some(_) => Offered::of(server, &std::env::split_paths(&path).collect::<Vec<_>>()),
            None => Err("its name makes no id: add it by hand".to_owned()),
        };
        Entry {
            name: name.clone(),
            id,
            offered,
        }
    });
    Ok(entries.collect())
}

/// A name as the id of a source.
fn id_of(name: &str) -> Option<SourceId> {
    let plain = |c: char| match c {
        'a'..='z' | '0'..='9' => c,
        'A'..='Z' => c.to_ascii_lowercase(),
        _ => '-',
    };
    let id: String = name.chars().map(plain).collect();
    SourceId::parse(id.trim_matches('-')).ok()
}

impl Offered {
    fn of(server: &Value, path: &[PathBuf]) -> Result<Self, String> {
        let texts = |member: &str| -> Result<BTreeMap<String, String>, String> {
            let members = server[member].as_object().into_iter().flatten();
            members
                .map(|(name, value)| match value.as_str() {
                    Some(value) if value.contains("${") => Err(format!(
                        "{name} names a variable, which only its client knows: add it by hand"
                    )),
                    Some(value) => Ok((name.clone(), value.to_owned())),
                    None => Err(format!("{name} is no text")),
                })
                .collect()
        };
        if let Some(url) = server["url"]
            .as_str()
            .or_else(|| server["serverUrl"].as_str())
        {
            if server["type"] == "sse" {
                return Err(
                    "it speaks HTTP with two endpoints, which was given up in 2025".to_owned(),
                );
            }
            if let Some(part) = url_part_with_secret(url) {
                return Err(format!(
                    "{part} looks like a secret, which a URL does not keep; if the server takes it as a header: plexusctl mcp add NAME --url URL --secret authorization"
                ));
            }
            let mut secrets = BTreeMap::new();
            for (name, value) in texts("headers")? {
                let name = name.to_ascii_lowercase();
                let value = match name == "authorization" {
                    true => value.strip_prefix("Bearer ").map(str::to_owned),
                    false => Some(value),
                };
                let value = value.ok_or("its Authorization is no bearer token")?;
                secrets.insert(name, value);
            }
            if secrets.len() > 1 {
                return Err("it needs more than one header, and one is added for a URL".to_owned());
            }
            return Ok(Self {
                url: Some(url.to_owned()),
                secrets,
                ..Self::default()
            });
        }
        let command = server["command"]
            .as_str()
            .ok_or("it has neither a command nor a url")?;
        let name = Path::new(command)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let list = server["args"].as_array().into_iter().flatten();
        let arguments: Vec<String> = list.filter_map(Value::as_str).map(str::to_owned).collect();
        if FETCHERS.contains(&&*name) {
            return Err(fetched(&name, &arguments));
        }
        let program =
            found(command, path).ok_or_else(|| match command.contains(char::is_whitespace) {
                // A whole line may hold a secret.
                true => {
                    "its command is a line; put the program alone there, and the rest into args"
                        .to_owned()
                }
                false => format!("there is no program {command}"),
            })?;
        if let Some(argument) = argument_with_secret(&arguments) {
            return Err(format!(
                "{argument} looks like a secret, and every user can read a command line; if the server takes it as a variable: plexusctl mcp add NAME --secret VARIABLE -- PROGRAM"
            ));
        }
        let (secrets, environment) = texts("env")?
            .into_iter()
            .partition(|(name, value)| is_secret(name) || holds_secret(value));
        let (folders, code) = named(&arguments);
        Ok(Self {
            program: Some((program.display().to_string(), arguments)),
            environment,
            secrets,
            folders,
            code,
            ..Self::default()
        })
    }
}

/// Why a server that is downloaded at each start is not lent, with the command that installs it.
fn fetched(fetcher: &str, arguments: &[String]) -> String {
    let mut words = arguments.iter().map(String::as_str);
    let mut words = words
        .by_ref()
        .filter(|word| !matches!(*word, "-y" | "--yes"));
    let named = match words.next() {
        Some("run") if fetcher == "pipx" => words.next(),
        first => first,
    };
    // An option may have a value, which is no package.
    let named = named.filter(|word| !word.starts_with('-'));
    if named.is_some_and(|word| word.split('@').next() == Some("mcp-remote")) {
        return "it leads to a server at a URL: plexusctl mcp add NAME --url URL".to_owned();
    }
    let from = match fetcher {
        "npx" | "bunx" | "pnpx" => "npm:",
        "uvx" | "pipx" => "pypi:",
        _ => {
            return format!(
                "{fetcher} starts other programs, which no sandbox of a server lets it"
            );
        }
    };
    let named = named.unwrap_or("PACKAGE");
    let (at, version) = match from {
        "npm:" => ('@', "@VERSION"),
        _ => ('=', "==VERSION"),
    };
    let cut = named.char_indices().skip(1).find(|(_, c)| *c == at);
    let (package, given) = named.split_at(cut.map_or(named.len(), |(at, _)| at));
    let is_exact = given
        .trim_start_matches(at)
        .starts_with(|c: char| c.is_ascii_digit());
    let version = if is_exact { given } else { version };
    format!(
        "{fetcher} downloads it at each start; install it once: plexusctl mcp install NAME {from}{package}{version}"
    )
}

/// The program of a command, as a shell would find it.
fn found(command: &str, path: &[PathBuf]) -> Option<PathBuf> {
    let named = Path::new(command);
    let mut places = match named.is_absolute() {
        true => vec![named.to_owned()],
        false if command.contains('/') => Vec::new(),
        false => path.iter().map(|folder| folder.join(command)).collect(),
    };
    places.retain(|place| place.is_file());
    places.first()?.canonicalize().ok()
}

/// The folders that arguments name: those that it may change, and that of its script.
fn named(arguments: &[String]) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let real = |argument: &String| {
        let path = Path::new(argument);
        path.is_absolute().then(|| path.canonicalize().ok())?
    };
    let paths: Vec<PathBuf> = arguments.iter().filter_map(real).collect();
    let (folders, files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.is_dir());
    let of_script = files.first().and_then(|script| {
        let mut above = script.ancestors().skip(1);
        let packages = script
            .ancestors()
            .find(|folder| folder.ends_with("node_modules"));
        let own = above.find(|folder| {
            let marks = ["package.json", "pyproject.toml"];
            marks.iter().any(|mark| folder.join(mark).is_file())
        });
        packages
            .or(own)
            .or_else(|| script.parent())
            .map(Path::to_owned)
    });
    (folders, of_script.into_iter().collect())
}

impl Entry {
    fn draft(&self, desk: &Desk, given: &Given) -> Result<ServerDraft, Stop> {
        let refused = |why: &str| Stop::usage(format!("{}: {why}", self.name));
        let offered = self.offered.as_ref().map_err(|why| refused(why))?;
        let id = self.id.as_ref();
        let mut draft = given.draft(desk, id.ok_or_else(|| refused("its name makes no id"))?)?;
        draft.url.clone_from(&offered.url);
        if let Some((program, arguments)) = &offered.program {
            draft.program = Some(program.clone());
            draft.arguments.clone_from(arguments);
        }
        // What is said on the command line goes first.
        for (said, from) in [
            (&mut draft.environment, &offered.environment),
            (&mut draft.secrets, &offered.secrets),
        ] {
            for (name, value) in from {
                said.entry(name.clone()).or_insert_with(|| value.clone());
            }
        }
        for (said, from) in [
            (&mut draft.folders, &offered.folders),
            (&mut draft.code, &offered.code),
        ] {
            if said.is_empty() {
                *said = from
                    .iter()
                    .map(|path| utf8(path))
                    .collect::<Result<_, _>>()?;
            }
        }
        Ok(draft)
    }
}

/// The list, without a secret's value.
fn shown(entries: &[Entry]) -> Value {
    let row = |entry: &Entry| {
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

fn listed(entries: &[Entry], file: &Path) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_a_client_are_read_as_they_can_be_lent() {
        let of = |server: Value| Offered::of(&server, &[PathBuf::from("/usr/bin")]);
        let url = of(
            json!({"url": "https://a.example/mcp", "headers": {"Authorization": "Bearer hush"}}),
        );
        let url = url.unwrap();
        assert_eq!(url.secrets["authorization"], "hush");
        let program = of(json!({
            "command": "env", "args": ["/usr", "--flag"], "env": {"API_KEY": "hush", "LEVEL": "1"},
        }));
        let program = program.unwrap();
        assert_eq!(program.folders, [PathBuf::from("/usr")]);
        assert!(
            program.secrets.contains_key("API_KEY") && program.environment.contains_key("LEVEL")
        );
        for (server, says) in [
            (
                json!({"command": "npx", "args": ["-y", "@a/b"]}),
                "mcp install NAME npm:@a/b@VERSION",
            ),
            (
                json!({"command": "uvx", "args": ["b"]}),
                "mcp install NAME pypi:b==VERSION",
            ),
            (
                json!({"command": "docker", "args": ["run"]}),
                "starts other programs",
            ),
            (json!({"command": "no-such-program"}), "there is no program"),
            (
                json!({"url": "https://a.example", "type": "sse"}),
                "two endpoints",
            ),
            (
                json!({"url": "https://a.example", "headers": {"A": "1", "B": "2"}}),
                "more than one header",
            ),
            (
                json!({"command": "env", "env": {"KEY": "${KEY}"}}),
                "only its client knows",
            ),
        ] {
            let why = of(server.clone()).unwrap_err();
            assert!(why.contains(says), "{server}: {why}");
        }
        assert_eq!(id_of("My Server").unwrap().as_str(), "my-server");
    }
}
