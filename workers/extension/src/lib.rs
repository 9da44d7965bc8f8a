//! The worker of extensions by manifest: each call is one run of a declared command, in a cage of its own, one declared
//! request to an app, or a workflow of calls to other capabilities.
//!
//! ```text
//! reader: read ─▶ command line of the input ─▶ a run that can write nothing ─▶ its output
//! reader: plan ─▶ command line of the input ─▶ shown; nothing runs
//! writer: commit ─▶ the same command line ─▶ a run that writes in the writable folders ─▶ its output
//!
//! either: inputs of members ─▶ the gateway calls each for the agent, in order ─▶ their outcomes
//! either: request of the input ─▶ plexus-egress: is it a declared one, of a read? the secret ─▶ the app's answer
//! either: question of the input ─▶ plexus-egress: is it a declared one, of a read? ─▶ the app's lines
//! ```
//!
//! Invariants: no shell; one template of the manifest is one argument; a run shares nothing with another one but the folders;
//! an effect runs once.
//!
//! Must not know: agents, grants, the gateway, what a command does.

mod ask;
mod exchange;
mod request;
mod run;
mod workflow;

use ask::AppAsk;
use plexus_egress_client::EgressClient;
use plexus_ipc::{
    manifest::{Capability, CommandLine, Manifest, Program},
    worker::{
        CallContext, EgressAccess, Handlers, OpenError, Plan, Preview, Reply, Role, Secrets,
        Source, SourceContext, SourceError, children::Children,
    },
};
use plexus_protocol::{SourceId, json::digest};
use request::AppRequest;
use serde_json::{Map, Value, json};
use std::{
    fmt::Write as _,
    sync::{Arc, atomic::AtomicU64},
};
use tokio::sync::Semaphore;
use workflow::Workflow;

/// Runs at one time. The keeper has room for 16.
const AT_ONCE: usize = 8;

/// One extension.
#[derive(Debug)]
pub struct Extension {
    source: SourceId,
    /// Who starts its commands; `None` where it has none.
    children: Option<Children>,
    /// The way to its app; `None` where it reaches none.
    app: Option<EgressClient>,
    /// The same for an app with a Unix socket.
    egress: Option<EgressAccess>,
    role: Role,
    /// The folders that the owner gives it, by name.
    folders: Map<String, Value>,
    next_run: AtomicU64,
    slots: Arc<Semaphore>,
}

/// A capability, as its manifest declares it.
#[derive(Debug)]
struct Command {
    name: String,
    program: String,
    line: CommandLine,
    /// What a run of it may reach, for the owner.
    reach: Vec<(String, bool)>,
}

impl Source for Extension {
    /// The folders, by field.
    type Config = Map<String, Value>;

    async fn open(_: Self::Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        Err(OpenError::internal("an extension is opened with a keeper"))
    }

    async fn open_with(folders: Self::Config, given: SourceContext) -> Result<Self, OpenError> {
        let missing = |what| OpenError::internal(format!("this worker has no {what}"));
        Ok(Self {
            source: given.source.ok_or_else(|| missing("source"))?,
            children: given.children,
            app: request::client(given.egress.as_ref()),
            egress: given.egress,
            role: given.role,
            folders,
            next_run: AtomicU64::new(0),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
    }

    fn handlers_of(manifest: &Manifest) -> Handlers<Self> {
        let handlers = manifest.commands().into_iter().fold(
            Handlers::<Self>::new(),
            |handlers, (name, line)| {
                let command = Arc::new(Command::of(manifest, name, line));
                if is_read(manifest, name) {
                    return handlers.read(name, move |extension, call, input| {
                        extension.answer(Arc::clone(&command), call, input)
                    });
                }
                let committed = Arc::clone(&command);
                handlers.effect(
                    name,
                    move |extension, _, input| {
                        let command = Arc::clone(&command);
                        async move { extension.plan(&command, input) }
                    },
                    move |extension, call, input| {
                        extension.answer(Arc::clone(&committed), call, input)
                    },
                )
            },
        );
        let handlers = manifest
            .questions()
            .fold(handlers, |handlers, (name, limits)| {
                let ask = Arc::new(AppAsk::of(manifest, name, limits));
                if is_read(manifest, name) {
                    return handlers.read(name, move |extension, call, input| {
                        extension.ask_at_socket(Arc::clone(&ask), call, input)
                    });
                }
                let committed = Arc::clone(&ask);
                handlers.effect(
                    name,
                    move |extension, _, input| {
                        let ask = Arc::clone(&ask);
                        async move { extension.plan_question(&ask, input) }
                    },
                    move |extension, call, input| {
                        extension.ask_at_socket(Arc::clone(&committed), call, input)
                    },
                )
            });
        let workflows = manifest.capabilities.iter();
        let workflows = workflows.filter(|entry| entry.is_workflow());
        let handlers = workflows.fold(handlers, |handlers, entry| {
            let workflow = Arc::new(Workflow::of(entry));
            if entry.is_read() {
                return handlers.read(&entry.name, move |extension, call, input| {
                    extension.run_workflow(Arc::clone(&workflow), call, input)
                });
            }
            let committed = Arc::clone(&workflow);
            handlers.effect(
                &entry.name,
                move |extension, _, input| {
                    let workflow = Arc::clone(&workflow);
                    async move { Ok(extension.plan_workflow(&workflow, input)) }
                },
                move |extension, call, input| {
                    extension.run_workflow(Arc::clone(&committed), call, input)
                },
            )
        });
        manifest
            .requests()
            .fold(handlers, |handlers, (name, template)| {
                let request = Arc::new(AppRequest::of(manifest, name, template));
                if is_read(manifest, name) {
                    return handlers.read(name, move |extension, call, input| {
                        extension.ask_app(Arc::clone(&request), call, input)
                    });
                }
                let committed = Arc::clone(&request);
                handlers.effect(
                    name,
                    move |extension, _, input| {
                        let request = Arc::clone(&request);
                        async move { extension.plan_request(&request, input) }
                    },
                    move |extension, call, input| {
                        extension.ask_app(Arc::clone(&committed), call, input)
                    },
                )
            })
    }
}

fn is_read(manifest: &Manifest, name: &str) -> bool {
    let entry = manifest.capability(name);
    entry.is_some_and(Capability::is_read)
}

impl Command {
    fn of(manifest: &Manifest, name: &str, line: &CommandLine) -> Self {
        let mut children = manifest.children.iter();
        let child = children.find(|child| child.name == line.child);
        let program = match child.map(|child| &child.program) {
            Some(Program::Path(path)) => path.clone(),
            Some(Program::Field(_)) | None => line.child.clone(),
        };
        let folders = manifest.paths();
        Self {
            name: name.to_owned(),
            program,
            line: line.clone(),
            reach: folders
                .map(|(field, _)| (field.name.clone(), field.writable))
                .collect(),
        }
    }

    fn stdin<'i>(&self, input: &'i Value) -> &'i str {
        let field = self.line.stdin.as_ref();
        let text = field.and_then(|field| input[field].as_str());
        text.unwrap_or_default()
    }
}

impl Extension {
    /// Says what would be run. What the program does, nobody but the program knows.
    fn plan(&self, command: &Command, input: Value) -> Result<Plan<Value>, SourceError> {
        let line = self.line(command, &input)?;
        let mut whole = command.program.clone();
        for argument in &line {
            let _ = write!(whole, "\n{}", json!(argument));
        }
        let mut preview = Preview::new(format!("run {} of {}", command.name, self.source))
            .fact("program", &command.program);
        for (at, argument) in line.iter().enumerate() {
            preview = preview.fact(&format!("argument {}", at + 1), argument);
        }
        let stdin = match command.line.exchange {
            true => format!("{:#}", exchange::question(&command.name, &input)),
            false => command.stdin(&input).to_owned(),
        };
        if !stdin.is_empty() {
            let _ = write!(whole, "\n\nstandard input:\n{stdin}");
            preview = preview.fact("standard input", format!("{} bytes", stdin.len()));
        }
        let preview = preview.fact("reaches", self.reach(command)).text(&whole);
        let token = digest(&json!([command.program, line, stdin]));
        let summary = format!("run {}", command.name);
        Ok(Plan::new(input, token, preview, summary)
            .warning("Plexus cannot preview what this program will do."))
    }

    fn line(&self, command: &Command, input: &Value) -> Result<Vec<String>, SourceError> {
        let line = command.line.line(input, &self.folders);
        line.map_err(SourceError::invalid)
    }

    fn reach(&self, command: &Command) -> String {
        let named = |writable: bool| {
            let folders = command.reach.iter().filter(|(_, is)| *is == writable);
            let folders = folders.filter_map(|(name, _)| self.folders.get(name)?.as_str());
            folders.collect::<Vec<_>>().join(", ")
        };
        let (written, read) = (named(true), named(false));
        let reaches = match (&*written, &*read) {
            ("", "") => "reads nothing of yours".to_owned(),
            ("", read) => format!("only reads {read}"),
            (written, "") => format!("reads and writes {written}"),
            (written, read) => format!("reads and writes {written}; only reads {read}"),
        };
        format!("no network, no other program; {reaches}")
    }

    async fn answer(
        self: Arc<Self>,
        command: Arc<Command>,
        call: CallContext,
        input: Value,
    ) -> Result<Reply<Value>, SourceError> {
        let line = self.line(&command, &input)?;
        let output = self.run(&command, &line, &input, &call).await?;
        Ok(Reply::new(output, format!("ran {}", command.name)))
    }
}
