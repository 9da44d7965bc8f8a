//! `plexusctl mcp`: MCP servers as sources. What a server is and may reach is shown before it is added.

mod from;
mod install;
mod secret;
mod surface;

use crate::{
    owner::{Desk, list_of, text_of},
    prompt,
    sources::{from_file, from_stdin},
    table::table,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, out, text};
use plexus_protocol::SourceId;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
pub(crate) use surface::surface;

/// MCP servers.
#[derive(Args)]
pub(crate) struct Mcp {
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Subcommand)]
enum Act {
    /// Show the MCP servers that are lent
    List,
    /// Show what a server is, may reach, and offers
    Show {
        /// Source
        name: SourceId,
    },
    /// Lend a server: it is started in its sandbox, and you see all that it says before it is added
    Add(Add),
    /// Install a server from npm or PyPI into a folder of its own, by a lock file with hashes, and lend it
    Install(install::Install),
    /// Compare a server with what you agreed to, and agree to what it is now
    Refresh {
        /// Source
        name: SourceId,
        /// Class this tool as a read; replaces the earlier list; may be given again
        #[arg(long = "read", value_name = "TOOL")]
        reads: Vec<String>,
        /// Agree to what is shown without being asked
        #[arg(long)]
        yes: bool,
    },
    /// Remove a server, and every grant on it
    Remove {
        /// Source
        name: SourceId,
    },
}

/// A server to lend.
#[derive(Args)]
struct Add {
    /// Its id, the first part of its capabilities' names
    #[arg(required_unless_present = "from")]
    name: Option<SourceId>,
    /// URL of a server that runs elsewhere, in place of a program
    #[arg(long, value_name = "URL", conflicts_with_all = ["command", "folders", "code"])]
    url: Option<String>,
    /// File with the servers of a client (Claude, Cursor: `mcpServers`): shows them all, or adds the one that is named
    #[arg(long, value_name = "FILE", conflicts_with_all = ["command", "url"])]
    from: Option<PathBuf>,
    /// Add every server of the file that can be lent
    #[arg(long, requires = "from", conflicts_with = "name")]
    all: bool,
    #[command(flatten)]
    given: Given,
    /// Program, an absolute path, and its arguments
    #[arg(last = true, required_unless_present_any = ["url", "from"], value_name = "COMMAND")]
    command: Vec<String>,
}

/// What a server is given.
#[derive(Args, Default)]
struct Given {
    /// Variable of its environment; may be given again
    #[arg(long = "env", value_name = "NAME=VALUE")]
    environment: Vec<String>,
    /// Secret that it is given: a variable of a program, a header for a URL (authorization: as a bearer token). From a file,
    /// from standard input with `-`, or typed where no file is named; may be given again
    #[arg(long = "secret", value_name = "NAME[=FILE]")]
    secrets: Vec<String>,
    /// Folder that it reads, and changes when you approve a call; may be given again
    #[arg(long = "folder", value_name = "PATH")]
    folders: Vec<PathBuf>,
    /// Folder with the server's own files, which it only reads; every file in it is pinned; may be given again
    #[arg(long = "code", value_name = "PATH")]
    code: Vec<PathBuf>,
    /// Class this tool as a read: no approval per call. A program then runs where it can change nothing; at a URL nothing
    /// enforces it. May be given again
    #[arg(long = "read", value_name = "TOOL")]
    reads: Vec<String>,
    /// Agree to what is shown without being asked
    #[arg(long)]
    yes: bool,
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, mcp: Mcp) -> Result<Exit, Stop> {
    match mcp.act.unwrap_or(Act::List) {
        Act::List => {
            let mut reply = desk.open().await?.get("/admin/api/extensions").await?;
            if let Some(all) = reply["extensions"].as_array_mut() {
                all.retain(|row| row["transport"] == "mcp");
            }
            desk.show(&reply, || rows(list_of(&reply, "extensions")))
        }
        Act::Show { name } => {
            let path = format!("/admin/api/extensions/{name}");
            let reply = desk.open().await?.get(&path).await?;
            desk.show(&reply, || surface(&reply))
        }
        Act::Add(asked) => {
            if let Some(file) = &asked.from {
                let which = from::ServerSelection::of(asked.name.as_ref(), asked.all);
                return from::run(desk, file, &which, &asked.given).await;
            }
            desk.widen("lending an MCP server")?;
            let (body, yes) = (asked.body(desk)?, asked.given.yes);
            agree(desk, body, yes, "add").await
        }
        Act::Install(asked) => {
            desk.widen("installing an MCP server")?;
            install::run(desk, asked).await
        }
        Act::Refresh { name, reads, yes } => {
            desk.widen("agreeing to what an MCP server is now")?;
            let mut body = json!({"name": name, "refresh": true});
            if !reads.is_empty() {
                body["reads"] = json!(reads);
            }
            agree(desk, body, yes, "agree to").await
        }
        Act::Remove { name } => {
            let path = format!("/admin/api/extensions/{name}");
            let reply = desk.open().await?.delete(&path).await?;
            if reply["known"] == false {
                let why = format!("no MCP server {name} is lent");
                return Err(Stop::new(Exit::Failed, "not_found", why).next("plexusctl mcp list"));
            }
            desk.show(&reply, || {
                format!("{name} is removed, and every grant on it")
            })
        }
    }
}

/// Shows what there is, asks, and adds just that.
async fn agree(desk: &Desk, mut body: Value, yes: bool, what: &str) -> Result<Exit, Stop> {
    let mut owner = desk.open().await?;
    let seen = owner.post("/admin/api/extensions/preview", &body).await?;
    let name = text_of(&seen, "name").to_owned();
    if !yes {
        out::say(&surface(&seen));
        prompt::confirm(desk, &format!("{what} {name} as shown"), "--yes")?;
    }
    body["digest"] = seen["digest"].clone();
    let reply = owner.post("/admin/api/extensions", &body).await?;
    desk.show(&reply, || {
        let tools = list_of(&reply, "registered")
            .iter()
            .filter_map(Value::as_str);
        let tools: Vec<_> = tools.map(|id| format!("  {}", text::line(id))).collect();
        let shown = match yes {
            true => surface(&seen) + "\n",
            false => String::new(),
        };
        format!(
            "{shown}{name} serves; agents may ask for:\n{}",
            tools.join("\n")
        )
    })
}

impl Add {
    fn body(&self, desk: &Desk) -> Result<Value, Stop> {
        let mut body = self.given.body(desk)?;
        body.insert("name".into(), json!(self.name));
        if let Some(url) = &self.url {
            body.insert("url".into(), url.as_str().into());
            return Ok(Value::Object(body));
        }
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or_else(|| Stop::usage("name the program after --"))?;
        if !Path::new(program).is_absolute() {
            let why =
                format!("{program} is no absolute path; your shell knows it: command -v {program}");
            return Err(Stop::usage(why));
        }
        body.insert("program".into(), program.as_str().into());
        body.insert("arguments".into(), json!(arguments));
        Ok(Value::Object(body))
    }
}

impl Given {
    /// As members of a body.
    fn body(&self, desk: &Desk) -> Result<Map<String, Value>, Stop> {
        let mut environment = Map::new();
        for variable in &self.environment {
            let (name, value) = variable
                .split_once('=')
                .ok_or_else(|| Stop::usage(format!("--env {variable} is not NAME=VALUE")))?;
            environment.insert(name.to_owned(), value.into());
        }
        let mut secrets = Map::new();
        for secret in &self.secrets {
            let (name, value) = match secret.split_once('=') {
                Some((name, "-")) => (name, from_stdin()?),
                Some((name, file)) => (name, from_file(Path::new(file))?),
                None if desk.can_ask() => (&**secret, prompt::secret(secret)?),
                None => {
                    let why = format!("name the file of the secret: --secret {secret}=FILE");
                    return Err(Stop::usage(why));
                }
            };
            secrets.insert(name.to_owned(), value.as_str().into());
        }
        let body = json!({
            "environment": environment, "secrets": secrets, "folders": real(&self.folders)?,
            "code": real(&self.code)?, "reads": self.reads,
        });
        match body {
            Value::Object(body) => Ok(body),
            _ => Ok(Map::new()),
        }
    }
}

fn real(folders: &[PathBuf]) -> Result<Vec<PathBuf>, Stop> {
    let real = folders.iter().map(|folder| {
        folder
            .canonicalize()
            .map_err(|e| Stop::usage(format!("{}: {e}", folder.display())))
    });
    real.collect()
}

fn rows(servers: &[Value]) -> String {
    let rows = servers.iter().map(|server| {
        let state = match (server["unusable"].as_str(), server["configured"] == true) {
            (Some(why), _) => why.to_owned(),
            (None, true) => "lent".to_owned(),
            (None, false) => "no source of it is configured: plexusctl mcp remove".to_owned(),
        };
        let tools = server["tools"].as_u64();
        [
            text_of(server, "name").to_owned(),
            tools.map_or_else(String::new, |n| n.to_string()),
            state,
        ]
    });
    table(
        ["source", "tools", "state"],
        rows.collect(),
        "no MCP server is lent: plexusctl mcp add NAME -- /path/of/program",
    )
}
