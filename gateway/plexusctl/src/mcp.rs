//! `plexusctl mcp`: MCP servers as sources. What a server is and may reach is shown before it is added.

use crate::{
    owner::{Desk, list_of, text_of},
    prompt,
    table::table,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, out, text};
use plexus_protocol::SourceId;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

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
    /// Compare a server with what you agreed to, and agree to what it is now
    Refresh {
        /// Source
        name: SourceId,
        /// Class this tool as a read, in place of those of before; may be given again
        #[arg(long = "read", value_name = "TOOL")]
        reads: Vec<String>,
        /// Agree to what is shown without being asked
        #[arg(long)]
        yes: bool,
    },
    /// Take a server back, and every grant on it
    Remove {
        /// Source
        name: SourceId,
    },
}

/// A server to lend.
#[derive(Args)]
struct Add {
    /// Its id, the first part of its capabilities' names
    name: SourceId,
    /// Variable of its environment; may be given again
    #[arg(long = "env", value_name = "NAME=VALUE")]
    environment: Vec<String>,
    /// Folder that it reads, and changes when you approve a call; may be given again
    #[arg(long = "folder", value_name = "PATH")]
    folders: Vec<PathBuf>,
    /// Folder with the server's own files, which it only reads; may be given again
    #[arg(long = "code", value_name = "PATH")]
    code: Vec<PathBuf>,
    /// Class this tool as a read: it needs no approval of each call, and runs where it can change nothing; may be given again
    #[arg(long = "read", value_name = "TOOL")]
    reads: Vec<String>,
    /// Agree to what is shown without being asked
    #[arg(long)]
    yes: bool,
    /// Program, an absolute path, and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
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
            desk.widen("lending an MCP server")?;
            let (body, yes) = (asked.body()?, asked.yes);
            agree(desk, body, yes, "add").await
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
    fn body(&self) -> Result<Value, Stop> {
        let (program, arguments) = self
            .command
            .split_first()
            .ok_or_else(|| Stop::usage("name the program after --"))?;
        if !Path::new(program).is_absolute() {
            let why =
                format!("{program} is no absolute path; your shell knows it: command -v {program}");
            return Err(Stop::usage(why));
        }
        let mut environment = Map::new();
        for variable in &self.environment {
            let (name, value) = variable
                .split_once('=')
                .ok_or_else(|| Stop::usage(format!("--env {variable} is not NAME=VALUE")))?;
            environment.insert(name.to_owned(), value.into());
        }
        Ok(json!({
            "name": self.name, "program": program, "arguments": arguments, "environment": environment,
            "folders": real(&self.folders)?, "code": real(&self.code)?, "reads": self.reads,
        }))
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

/// All that the owner is to know before a yes.
fn surface(seen: &Value) -> String {
    let texts = |member: &str| {
        let all = list_of(seen, member).iter().filter_map(Value::as_str);
        let all: Vec<_> = all.map(text::line).collect();
        match all.is_empty() {
            true => "none".to_owned(),
            false => all.join(", "),
        }
    };
    let mut lines = vec![
        format!("MCP server   {}", text::line(text_of(seen, "name"))),
        format!("program      {}", text::line(text_of(seen, "program"))),
    ];
    if let Some(resolved) = seen["resolved"].as_str() {
        let resolved = resolved.trim_start_matches("program reader ");
        lines.push(format!("  which is   {}", text::line(resolved)));
    }
    let claims = match (
        seen["serverInfo"]["name"].as_str(),
        seen["serverInfo"]["version"].as_str(),
    ) {
        (Some(name), version) => format!(
            "{} {}",
            text::line(name),
            text::line(version.unwrap_or_default())
        ),
        (None, _) => "nothing".to_owned(),
    };
    lines.extend([
        format!("arguments    {}", texts("arguments")),
        format!("environment  {}", texts("environment")),
        format!("reads        {}", texts("code")),
        format!(
            "  and changes, when you approve a call: {}",
            texts("folders")
        ),
        "network      none".to_owned(),
        format!("it says that it is {claims}"),
    ]);
    if let Some(instructions) = seen["instructions"].as_str() {
        lines.push(indented("it instructs", instructions));
    }
    for tool in list_of(seen, "tools") {
        let name = text::line(text_of(tool, "name"));
        let treated = match (tool["refused"].as_str(), tool["verbs"][0] == "read") {
            (Some(why), _) => format!("not lent: {}", text::line(why)),
            (None, true) => "a read: runs where it can change nothing".to_owned(),
            (None, false) => "asks you each time".to_owned(),
        };
        lines.push(format!("\ntool {name}: {treated}"));
        lines.push(indented("described as", text_of(tool, "description")));
        if tool["claims"].is_object() {
            lines.push(format!(
                "  the server claims {}",
                text::line(&tool["claims"].to_string())
            ));
        }
        lines.push(format!(
            "  input {}",
            text::line(&tool["input"].to_string())
        ));
    }
    if let Some(changes) = seen["changes"].as_object() {
        let list = |member: &str| {
            let all = changes[member].as_array().into_iter().flatten();
            let all: Vec<_> = all.filter_map(Value::as_str).map(text::line).collect();
            (!all.is_empty()).then(|| format!("{member} {}", all.join(", ")))
        };
        let mut what: Vec<String> = ["new", "changed", "gone"]
            .into_iter()
            .filter_map(list)
            .collect();
        if changes["instructions"] == true {
            what.push("other instructions".to_owned());
        }
        let what = match what.is_empty() {
            true => "nothing".to_owned(),
            false => what.join("; "),
        };
        lines.push(format!("\nsince you agreed to it: {what}"));
    }
    lines.join("\n")
}

fn indented(what: &str, words: &str) -> String {
    let lines: Vec<_> = words
        .lines()
        .map(|line| format!("    {}", text::line(line)))
        .collect();
    format!("  {what}:\n{}", lines.join("\n"))
}
