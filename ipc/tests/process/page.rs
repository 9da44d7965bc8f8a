//! The worker: it reads and writes the files of one folder, on threads of its own.

use plexus_ipc::worker::{
    CallContext, Content, Handlers, OpenError, Plan, Preview, Reply, Role, Secrets, Source,
    SourceError, Touched, on_file_thread,
};
use plexus_protocol::Digest;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{io, path::PathBuf, sync::Arc};

pub(crate) const MANIFEST: &str = r#"{
    "connector": "page", "kind": "page", "label": "Page", "blurb": "A folder of pages",
    "provenance": "first-party", "transport": "ipc", "roles": ["reader", "writer"],
    "fields": [{"name": "folder", "label": "Folder", "type": "path", "required": true, "target": "route", "writable": true}],
    "root": "folder",
    "limits": {"frameBytes": 65536, "openFiles": 64, "fileBytes": 65536, "callMs": 1000, "memoryMiB": 64},
    "capabilities": [
        {"name": "page.read", "kind": "capability", "label": "Read", "describe": "Read", "verbs": ["read"],
         "input": {"type": "object"}},
        {"name": "page.write", "kind": "capability", "label": "Write", "describe": "Write", "verbs": ["write"],
         "sensitivity": "elevated", "input": {"type": "object"}}
    ]
}"#;

pub(crate) struct Page(PathBuf);

#[derive(Deserialize)]
pub(crate) struct Config {
    folder: PathBuf,
}

#[derive(Deserialize)]
pub(crate) struct Item {
    name: String,
    #[serde(default)]
    text: String,
}

impl Source for Page {
    type Config = Config;
    async fn open(config: Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        Ok(Self(config.folder))
    }
    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("page.read", Self::read)
            .effect("page.write", Self::plan, Self::commit)
    }
}

/// Runs work on files where it may block.
async fn on_files<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, SourceError> {
    let failed = |error: io::Error| SourceError::transport("io", error.kind().to_string());
    on_file_thread(move || work().map_err(failed)).await
}

impl Page {
    async fn read(
        self: Arc<Self>,
        _: CallContext,
        item: Item,
    ) -> Result<Reply<Value>, SourceError> {
        let path = self.0.join(&item.name);
        let text = on_files(move || std::fs::read_to_string(path)).await?;
        let digest = Digest::of(text.as_bytes());
        Ok(
            Reply::new(json!({ "text": text }), "read a page").touched([Touched::read(
                "page",
                item.name,
                Some(digest),
            )]),
        )
    }

    async fn plan(self: Arc<Self>, _: CallContext, item: Item) -> Result<Plan<Item>, SourceError> {
        let path = self.0.join(&item.name);
        let there = on_files(move || path.try_exists()).await?;
        let before = if there {
            Content::Is(Digest::of(b"something"))
        } else {
            Content::Absent
        };
        let token = Digest::of(before.to_string().as_bytes());
        Ok(Plan::new(item, token, Preview::new("write a page"), "write a page").before(before))
    }

    async fn commit(
        self: Arc<Self>,
        _: CallContext,
        item: Item,
    ) -> Result<Reply<Value>, SourceError> {
        let path = self.0.join(&item.name);
        on_files(move || std::fs::write(path, item.text)).await?;
        Ok(Reply::new(json!({}), "wrote a page"))
    }
}

/// The cage of a worker on one folder, and one that would let it run a program.
#[cfg(target_os = "linux")]
pub(crate) const CAGES: [(&str, &str); 2] = [
    (
        "strict",
        include_str!("../../../sandbox-profiles/workspace.sb"),
    ),
    (
        "loose",
        r#"
        (version 1)
        (deny default)
        (import "bsd.sb")
        (allow process-fork)
        (allow process-exec* (literal (param "WORKER")))
        (allow process-exec* (literal "/usr/bin/true"))
        (allow file-read* (literal "/usr/bin/true"))
        (allow file-read* (literal (param "WORKER")))
        (allow file-read* (subpath (param "ROOT")))
        "#,
    ),
];

/// Enters one of [`CAGES`], as the launcher would have before it became the worker.
#[cfg(target_os = "linux")]
pub(crate) fn cage(name: &str, role: &str, root: &str) {
    use plexus_sandbox::{Limits, linux, profile::Profile, ruleset::Ruleset};
    let (_, text) = CAGES.into_iter().find(|(known, _)| *known == name).unwrap();
    let profile = Profile::parse(text).unwrap();
    let worker = std::env::current_exe().unwrap();
    let parameters = [
        ("WORKER", worker.to_str().unwrap()),
        ("ROOT", root),
        ("SCRATCH", root),
        ("ROLE", role),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let ruleset = Ruleset::evaluate(&profile, &parameters).unwrap();
    linux::enter(&ruleset, &Limits::default()).unwrap();
}
