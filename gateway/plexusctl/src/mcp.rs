//! `plexusctl mcp`: MCP servers as sources. What a server is and may reach is shown before it is added.

mod from;
mod install;
mod sign_in;
pub(crate) mod surface;

pub(crate) use install::servers;

use crate::{
    extension::installed,
    owner::{Desk, Owner, UNREADABLE, or_meant, patiently},
    prompt,
    sources::{confirm_removal, ended_since, from_file, from_stdin, heard_open_on, removed, there},
    table::table,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, out, span, text};
use plexus_owner::{
    Done,
    client_servers::ThisMachine,
    extensions::{
        self, Add as AddCall, Draft, ExtensionPreview, ExtensionRow, InstallResult,
        InstalledExtension, List, Preview, Refresh, Remove, ServerDraft,
    },
    python::{VirtualEnvironment, is_python, named_modules, started_with},
    sources::AddResult,
};
use plexus_protocol::SourceId;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a look at a server may take: its worker gives it 30 s to start and says then why it did not; its files are hashed before.
pub(crate) const LOOK: Duration = Duration::from_secs(120);

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
    /// Sign in again at a server by your browser; grants on it are revoked
    Login {
        /// Source
        name: SourceId,
        #[command(flatten)]
        options: sign_in::SignInOptions,
    },
    /// Delete the sign-in at a server; grants on it are revoked
    Logout {
        /// Source
        name: SourceId,
    },
    /// Remove a server, its secrets and every grant on it
    Remove {
        /// Source
        name: SourceId,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

/// A server to lend.
#[derive(Args)]
struct Add {
    /// Its id, the first part of its capabilities' names
    #[arg(required_unless_present = "from")]
    name: Option<SourceId>,
    /// URL of a server that runs elsewhere, in place of a program
    #[arg(long, value_name = "URL", conflicts_with_all = ["command", "folders", "code", "hosts"])]
    url: Option<String>,
    /// PEM file with further certificate authorities that prove this server, and where you sign in at it, beside those that
    /// Plexus knows
    #[arg(long, value_name = "FILE", requires = "url")]
    ca: Option<PathBuf>,
    #[command(flatten)]
    sign_in: sign_in::SignInOptions,
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
    /// Host that a program reaches by way of Plexus's own proxy, and no other: port 443 unless HOST:PORT. Each call then asks you.
    /// May be given again
    #[arg(long = "host", value_name = "HOST[:PORT]")]
    hosts: Vec<String>,
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
            let mut reply = desk.open().await?.call(&List {}).await?;
            reply.extensions.retain(ExtensionRow::is_server);
            desk.show(&reply, || rows(&reply.extensions))
        }
        Act::Show { name } => {
            let id = name.to_string();
            let shown = desk.open().await?.call(&extensions::Show { id }).await;
            match or_meant(&name, shown, installed(desk)).await? {
                InstalledExtension::Server(server) => desk.show(&server, || surface::lent(&server)),
                InstalledExtension::Declared(_) => {
                    let why = format!("{name} is an extension by manifest");
                    let next = format!("plexusctl extension show {name}");
                    Err(Stop::new(Exit::Failed, "not_found", why).next(next))
                }
            }
        }
        Act::Add(asked) => {
            if let Some(file) = &asked.from {
                let which = from::ServerSelection::of(asked.name.as_ref(), asked.all);
                return from::run(desk, file, &which, &asked.given).await;
            }
            desk.widen("lending an MCP server")?;
            let (mut draft, yes) = (asked.draft(desk)?, asked.given.yes);
            if draft.url.is_some() && draft.secrets.is_empty() {
                let at = sign_in::ServerUrl {
                    url: draft.url.clone(),
                    ca: draft.ca.clone(),
                };
                draft.sign_in = asked.sign_in.sign_in(desk, &draft.name, at).await?;
            }
            agree(desk, Draft::Server(draft), yes, "add").await
        }
        Act::Install(asked) => {
            desk.widen("installing an MCP server")?;
            install::run(desk, asked).await
        }
        Act::Refresh { name, reads, yes } => {
            desk.widen("agreeing to what an MCP server is now")?;
            let refresh = Refresh {
                name: name.to_string(),
                refresh: Done,
                reads: (!reads.is_empty()).then(|| reads.into_iter().collect()),
            };
            let agreed = agree(desk, Draft::Refresh(refresh), yes, "agree to").await;
            or_meant(&name, agreed, installed(desk)).await
        }
        Act::Login { name, options } => {
            let signed_in = sign_in::login(desk, &name, &options).await;
            or_meant(&name, signed_in, installed(desk)).await
        }
        Act::Logout { name } => {
            let signed_out = sign_in::logout(desk, name.clone()).await;
            or_meant(&name, signed_out, installed(desk)).await
        }
        Act::Remove { name, yes } => {
            let mut owner = desk.open().await?;
            confirm_removal(desk, &name, yes).await?;
            let open = heard_open_on(&mut owner, &name).await;
            let id = name.to_string();
            let reply = owner.call_within(&Remove { id }, LOOK).await?;
            if !reply.known {
                let why = format!("no MCP server {name} is lent");
                let stop = Stop::new(Exit::Failed, "not_found", why);
                let stop = stop.next("plexusctl mcp list");
                return or_meant(&name, Err(stop), installed(desk)).await;
            }
            let ended = ended_since(&mut owner, &name, open.as_ref()).await;
            desk.show(&reply, || {
                let removed = removed(&name, reply.grant_count);
                match reply.sign_out {
                    None => format!("{removed}{ended}"),
                    told => format!(
                        "{removed}; of your sign-in: {}{ended}",
                        sign_in::there(told, span::now())
                    ),
                }
            })
        }
    }
}

/// What shows a server.
fn given_id(name: &SourceId) -> String {
    format!("plexusctl mcp show {name}")
}

/// Shows what there is, asks, and adds just that.
async fn agree(desk: &Desk, draft: Draft, yes: bool, what: &str) -> Result<Exit, Stop> {
    let mut owner = desk.open().await?;
    let preview = Preview { draft };
    let looking = owner.call_within(&preview, LOOK);
    let starts =
        "the server is started in its sandbox, and asked for its tools; that may take 30 s…";
    let ExtensionPreview::Server(seen) = patiently(starts, looking).await? else {
        let why = "the gateway answered with something else than an MCP server";
        return Err(Stop::new(Exit::Failed, UNREADABLE, why));
    };
    let name = &seen.server.name;
    if let Draft::Refresh(refresh) = &preview.draft
        && seen.changes.as_ref().is_some_and(|changes| changes.unchanged)
        // One that cannot be a read is shown with the reason.
        && refresh.reads.as_ref().is_none_or(|reads| *reads == seen.server.reads)
    {
        let refreshed = Refreshed {
            result: as_agreed(&mut owner, name).await?,
            changed: false,
        };
        return desk.show(&refreshed, || {
            let unlent = surface::unlent(&seen);
            format!("nothing has changed: {name} is what you agreed to{unlent}")
        });
    }
    if !yes {
        out::say(&surface::previewed(&seen));
        prompt::confirm(desk, &format!("{what} {name} as shown"), "--yes")?;
    }
    let add = AddCall {
        draft: preview.draft,
        digest: Some(seen.digest.clone()),
        keep_secrets: Vec::new(),
    };
    let adding = owner.call_within(&add, LOOK);
    let reply = patiently("it is added, and compared with what you saw…", adding).await?;
    let told = || {
        let tools: Vec<_> = match &reply {
            InstallResult::Server(added) => added
                .registered
                .iter()
                .map(|id| format!("  {id}"))
                .collect(),
            InstallResult::Extension(added) => {
                let ids = added.registered.iter();
                ids.map(|id| format!("  {}", text::line(id))).collect()
            }
        };
        let shown = match yes {
            true => surface::previewed(&seen) + "\n",
            false => String::new(),
        };
        format!(
            "{shown}{name} serves; agents may ask for:\n{}",
            tools.join("\n")
        )
    };
    match &add.draft {
        Draft::Refresh(_) => {
            let result = &reply;
            desk.show(
                &Refreshed {
                    result,
                    changed: true,
                },
                told,
            )
        }
        Draft::Server(_) | Draft::Manifest(_) => desk.show(&reply, told),
    }
}

/// What a comparison came to, in one shape whether or not something had changed.
#[derive(Serialize)]
struct Refreshed<T> {
    #[serde(flatten)]
    result: T,
    changed: bool,
}

/// A server that is as it was agreed to, as it would be answered were it added now.
async fn as_agreed(owner: &mut Owner, name: &SourceId) -> Result<AddResult, Stop> {
    let all = owner.call(&List {}).await?;
    let mut rows = all.extensions.into_iter();
    let row = rows.find(|row| row.name == name.as_str());
    Ok(AddResult {
        ok: Done,
        source: there(owner, name).await?.source,
        registered: row.map_or_else(Vec::new, |row| row.capabilities),
        revision: all.revision,
        shares_folder_with: Vec::new(),
    })
}

impl Add {
    fn draft(&self, desk: &Desk) -> Result<ServerDraft, Stop> {
        let name = self.name.as_ref();
        let name = name.ok_or_else(|| Stop::usage("name the source that it is to be"))?;
        let mut draft = self.given.draft(desk, name)?;
        if let Some(url) = &self.url {
            draft.url = Some(url.clone());
            // Not where its links lead to: an authority is renewed by one.
            if let Some(ca) = &self.ca {
                let found = ca.metadata().and_then(|_| std::path::absolute(ca));
                draft.ca = Some(utf8(&found.map_err(|error| Stop::path(ca, &error))?)?);
            }
            return Ok(draft);
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
        // A bare word may be an act of the program that a file is named like.
        let here = |argument: &&String| {
            let path = Path::new(argument);
            argument.contains(['.', '/']) && path.is_relative() && path.is_file()
        };
        if let Some(argument) = arguments.iter().find(here) {
            let file = std::path::absolute(argument)
                .map_err(|error| Stop::path(Path::new(argument), &error))?;
            let why = format!(
                "{argument} is a file in this folder, and the server runs in another; name it {}",
                file.display()
            );
            return Err(Stop::usage(why));
        }
        draft.program = Some(program.clone());
        draft.arguments = arguments.to_vec();
        let program = Path::new(program);
        let venv = VirtualEnvironment::of(program, &ThisMachine).map_err(Stop::usage)?;
        let mut modules = Vec::new();
        if is_python(program) {
            let start = Path::new("");
            let named = named_modules(&mut draft.environment, start, &ThisMachine);
            modules = named.map_err(Stop::usage)?;
        }
        if venv.is_some() || !modules.is_empty() {
            let started = started_with(arguments, &modules, venv.as_ref());
            draft.arguments = started.map_err(Stop::usage)?;
        }
        if let Some(venv) = &venv {
            draft.program = Some(utf8(&venv.program)?);
            modules.extend(venv.code().cloned());
        }
        draft.add_code(&modules).map_err(Stop::usage)?;
        Ok(draft)
    }
}

impl Given {
    /// A server that is given this; its program or URL is still to be named.
    fn draft(&self, desk: &Desk, name: &SourceId) -> Result<ServerDraft, Stop> {
        let mut environment = BTreeMap::new();
        for variable in &self.environment {
            let (name, value) = variable
                .split_once('=')
                .ok_or_else(|| Stop::usage(format!("--env {variable} is not NAME=VALUE")))?;
            environment.insert(name.to_owned(), value.to_owned());
        }
        let mut secrets = BTreeMap::new();
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
            secrets.insert(name.to_owned(), value.to_string());
        }
        Ok(ServerDraft {
            name: name.clone(),
            label: None,
            program: None,
            url: None,
            arguments: Vec::new(),
            environment,
            secrets,
            folders: real(&self.folders)?,
            code: real(&self.code)?,
            hosts: self.hosts.clone(),
            sign_in: None,
            ca: None,
            reads: self.reads.iter().cloned().collect(),
        })
    }
}

fn real(paths: &[PathBuf]) -> Result<Vec<String>, Stop> {
    let real = paths.iter().map(|path| {
        let real = path.canonicalize();
        utf8(&real.map_err(|error| Stop::path(path, &error))?)
    });
    real.collect()
}

/// A path as it travels.
fn utf8(path: &Path) -> Result<String, Stop> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| Stop::usage(format!("{} is not UTF-8", path.display())))
}

fn rows(servers: &[ExtensionRow]) -> String {
    let rows = servers.iter().map(|server| {
        let state = match (&server.unusable, server.configured) {
            (Some(why), _) => why.clone(),
            (None, true) => match server.hidden.len() {
                0 => "lent".to_owned(),
                n => format!("lent; {n} hidden until you decide: plexusctl approvals"),
            },
            (None, false) => format!(
                "no source of it is configured: plexusctl mcp remove {}",
                server.name
            ),
        };
        let tools = match (server.tools, server.withheld.len()) {
            (None, _) => String::new(),
            (Some(lent), 0) => lent.to_string(),
            (Some(lent), n) => format!("{lent}, {n} not lent"),
        };
        [server.name.clone(), tools, state]
    });
    table(
        ["source", "tools", "state"],
        rows.collect(),
        "no MCP server is lent: plexusctl mcp add NAME -- /path/of/program",
    )
}
