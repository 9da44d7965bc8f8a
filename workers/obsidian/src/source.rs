//! The vault as a source: calls in, answers out, file work on blocking threads.
//!
//! The constraint is asked about what an input *resolved* to; the harness asks again about everything touched.

use std::{path::PathBuf, sync::Arc, time::Duration};

use plexus_ipc::text::counted;
use plexus_ipc::worker::{
    CallContext, Handlers, Health, OpenError, Reply, Role, Secrets, Source, SourceError,
    Touched as Record, on_file_thread,
};
use plexus_protocol::Digest;
use plexus_rooted_files::{Anchor, FileError, HideRules, PathRule, RelPath};
use serde::Deserialize;

use crate::{
    Answer, ReadInput, ReadOutput, SearchInput, SearchOutput, Touched, Vault, VaultError,
    lane::Lane,
};

/// The kind under which everything in a vault is recorded, folders included: so each answer has something to judge.
const KIND: &str = "note";
/// The field that a constraint may narrow.
const FIELD: &str = "path";
/// How long a look at the folder may take before it counts as slow; a probe is answered within 2 s.
const LOOK_TIME: Duration = Duration::from_millis(500);

/// One vault, served.
#[derive(Debug)]
pub struct ObsidianSource {
    vault: Vault,
    /// Where reads are done: they are short. What may take long has a file thread to itself.
    reads: Lane,
    anchor: Anchor,
}

/// The source's route.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The vault's folder, absolute.
    pub vault_path: PathBuf,
    /// Whether files with a second name are served too: that name may lie outside.
    #[serde(default)]
    pub allow_hard_links: bool,
    /// What does not exist in it, for agents.
    #[serde(default)]
    pub hide: HideRules,
}

impl Source for ObsidianSource {
    type Config = Config;

    async fn open(config: Config, _: Secrets, _: Role) -> Result<Self, OpenError> {
        let opened = on_file_thread(move || Ok(Self::at(&config)));
        opened
            .await
            .map_err(|_| OpenError::internal("opening the vault failed"))?
            .map_err(|error: FileError| open_error(&error))
    }

    async fn health(&self) -> Health {
        let anchor = self.anchor.clone();
        let look = on_file_thread(move || Ok(anchor.check()));
        match tokio::time::timeout(LOOK_TIME, look).await {
            Ok(Ok(Ok(()))) => Health::Well,
            Ok(Ok(Err(adrift))) => Health::Unavailable(adrift.to_string().into()),
            Ok(Err(_)) | Err(_) => Health::Degraded("the vault's disk answers slowly".into()),
        }
    }

    fn handlers() -> Handlers<Self> {
        Handlers::new()
            .read("vault.read", Self::read)
            .read("vault.search", Self::search)
    }
}

impl ObsidianSource {
    fn at(config: &Config) -> Result<Self, FileError> {
        let vault = Vault::open_with(&config.vault_path, config.allow_hard_links, &config.hide)?;
        let anchor = Anchor::new(&config.vault_path, vault.identity()?);
        Ok(Self {
            vault,
            reads: Lane::default(),
            anchor,
        })
    }

    /// The handle would go on serving a folder that the owner has moved away or replaced: a call does not.
    fn in_place(&self) -> Result<(), SourceError> {
        self.anchor
            .check()
            .map_err(|adrift| SourceError::unavailable(adrift.to_string()))
    }

    async fn read(
        self: Arc<Self>,
        call: CallContext,
        input: ReadInput,
    ) -> Result<Reply<ReadOutput>, SourceError> {
        let allows = {
            let call = call.clone();
            move |path: &RelPath| call.allows(FIELD, path.display_id())
        };
        if let Some(answer) = self.at_hand(&input, PathRule::new(&allows)) {
            return Ok(told(answer));
        }
        let reads = self.reads.clone();
        let work = move || {
            self.in_place()?;
            let is_over = || call.is_over();
            let answer = self.vault.read(&input, PathRule::new(&allows), &is_over);
            Ok(told(answer.map_err(|error| failure(&error))?))
        };
        reads.run(work).await.map_err(|_| panicked())?
    }

    /// A read that needs no waiting, done on the runtime's own thread: to wake another and to be woken by it costs more.
    fn at_hand(&self, input: &ReadInput, rule: PathRule<'_>) -> Option<Answer<ReadOutput>> {
        self.anchor.check_at_hand()?.ok()?;
        self.vault.read_at_hand(input, rule)
    }

    async fn search(
        self: Arc<Self>,
        call: CallContext,
        input: SearchInput,
    ) -> Result<Reply<SearchOutput>, SourceError> {
        on_file_thread(move || {
            self.in_place()?;
            let allows = |path: &RelPath| call.allows(FIELD, path.display_id());
            let is_over = || call.is_over();
            let answer = self
                .vault
                .search(&input, PathRule::new(&allows), &is_over)
                .map_err(|error| failure(&error))?;
            let summary = format!(
                "searched: {} in {}",
                counted(answer.output.hits.len(), "hit"),
                counted(answer.touched.len(), "note")
            );
            Ok(reply(answer, &summary))
        })
        .await
    }
}

fn panicked() -> SourceError {
    SourceError::internal("the work on the vault panicked")
}

fn told(answer: Answer<ReadOutput>) -> Reply<ReadOutput> {
    let summary = match &answer.output {
        ReadOutput::File(note) => format!("read {}", note.relative_path),
        ReadOutput::Dir(folder) => format!("listed {}", folder.relative_path),
    };
    reply(answer, &summary)
}

fn reply<T>(answer: Answer<T>, summary: &str) -> Reply<T> {
    let record = |touched: Touched| {
        Record::read(
            KIND,
            touched.path.display_id(),
            touched.digest.map(|digest| Digest(*digest.as_bytes())),
        )
    };
    Reply::new(answer.output, summary).touched(answer.touched.into_iter().map(record))
}

fn failure(error: &VaultError) -> SourceError {
    match error {
        VaultError::File(FileError::Permission(_)) => SourceError::denied(error.to_string()),
        VaultError::File(file) => SourceError::transport(file.reason(), error.to_string()),
        VaultError::InvalidInput(_) => SourceError::invalid(error.to_string()),
        VaultError::ConstraintMiss => SourceError::constraint_miss(FIELD),
        VaultError::WalkBroken => SourceError::internal(error.to_string()),
    }
}

fn open_error(error: &FileError) -> OpenError {
    match error {
        FileError::NotFound(_) => OpenError::unavailable("the vault's folder is not there"),
        FileError::NotADirectory(_) => OpenError::config("the vault's path is not a folder"),
        FileError::Permission(_) => OpenError::denied("the vault's folder"),
        other => OpenError::internal(format!("the vault cannot be opened: {other}")),
    }
}
