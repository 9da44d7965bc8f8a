//! The repository as a source: calls in, answers out, all work on file threads.

use crate::{
    blame,
    error::{FIELD, GitError},
    log,
    repository::Repository,
    scope::{Answer, CallScope},
    search, show,
};
use plexus_ipc::message::Failure;
use plexus_ipc::worker::{
    CallContext, Handlers, Health, OpenError, Reply, Role, Secrets, Source, SourceError, Touched,
    on_file_thread,
};
use plexus_rooted_files::Anchor;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, sync::Arc};

/// The kind that paths of the history are recorded under: what a constraint is judged on.
const PATH: &str = "path";
/// The kind that commits are recorded under.
const COMMIT: &str = "commit";

/// One repository, served.
#[derive(Debug)]
pub struct GitSource {
    repository: Repository,
    anchor: Anchor,
}

/// The source's route.
#[derive(Debug, Deserialize)]
pub struct Config {
    /// The folder: a work tree, or a bare repository.
    pub path: PathBuf,
}

impl Source for GitSource {
    type Config = Config;

    async fn open(config: Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        let opened = on_file_thread(move || {
            let repository = Repository::open(&config.path)?;
            let anchor = Anchor::new(&config.path, repository.identity());
            Ok(Self { repository, anchor })
        });
        // A refusal in words: the folder is there, and what is in it is not served.
        opened.await.map_err(|error| match error.code {
            Failure::PermissionDenied => OpenError::denied("the repository"),
            _ => OpenError::unavailable(&*error.message),
        })
    }

    async fn health(&self) -> Health {
        match self.anchor.check() {
            Ok(()) => Health::Well,
            Err(adrift) => Health::Unavailable(adrift.to_string().into()),
        }
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("log", Self::log)
            .read("show", Self::show)
            .read("blame", Self::blame)
            .read("search", Self::search)
    }
}

impl GitSource {
    async fn log(self: Arc<Self>, call: CallContext, input: log::Input) -> Answered<log::Output> {
        self.ask(call, move |repository, scope| {
            log::run(repository, scope, &input)
        })
        .await
    }

    async fn show(
        self: Arc<Self>,
        call: CallContext,
        input: show::Input,
    ) -> Answered<show::Output> {
        self.ask(call, move |repository, scope| {
            show::run(repository, scope, &input)
        })
        .await
    }

    async fn blame(
        self: Arc<Self>,
        call: CallContext,
        input: blame::Input,
    ) -> Answered<blame::Output> {
        self.ask(call, move |repository, scope| {
            blame::run(repository, scope, &input)
        })
        .await
    }

    async fn search(
        self: Arc<Self>,
        call: CallContext,
        input: search::Input,
    ) -> Answered<search::Output> {
        self.ask(call, move |repository, scope| {
            search::run(repository, scope, &input)
        })
        .await
    }

    async fn ask<T: Serialize + Send + 'static>(
        self: Arc<Self>,
        call: CallContext,
        question: impl FnOnce(&Repository, &CallScope<'_>) -> Result<Answer<T>, GitError>
        + Send
        + 'static,
    ) -> Answered<T> {
        on_file_thread(move || {
            // The objects would go on being served from a folder that the owner has moved away.
            self.anchor
                .check()
                .map_err(|adrift| SourceError::unavailable(adrift.to_string()))?;
            let scope = CallScope {
                allows: &|path| call.allows(FIELD, path),
                is_over: &|| call.is_over(),
            };
            let answer = question(&self.repository, &scope)?;
            let touched = answer
                .paths
                .iter()
                .map(|path| Touched::read(PATH, path, None))
                .chain(
                    answer
                        .commits
                        .iter()
                        .map(|id| Touched::read(COMMIT, id, None)),
                );
            Ok(Reply::new(answer.output, answer.summary).touched(touched))
        })
        .await
    }
}

/// What a handler answers.
type Answered<T> = Result<Reply<T>, SourceError>;
