//! What a source runs, held against what the owner agreed to.
//!
//! ```text
//! Spec::code ─compared─▶ AgreedCode ─▶ a call is handed in; a worker with a keeper is started
//!              └ something else lies there: nothing is handed in, nothing is started
//! ```
//! Invariant: [`AgreedCode`] comes out of the comparison alone, and neither a call nor a keeper's program goes out without one.
//!
//! Must not know: what was agreed to, how files are compared, what is refused in its place.

use plexus_home::inspection;
use plexus_ipc::message::Role;
use plexus_protocol::SourceId;
use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What lies where a source runs something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// What the owner agreed to, at this resolved path.
    Agreed(PathBuf),
    /// Something else.
    Differs(PathBuf),
    /// Nothing that could be run.
    Nothing,
}

/// Looks at it once more. Blocks on its disk.
pub type Compare = Arc<dyn Fn() -> io::Result<Compared> + Send + Sync>;

/// Something that the processes of a source run.
#[derive(Clone)]
pub struct Code {
    /// The child of the manifest that it is the program of; none of a script or a folder.
    pub child: Option<String>,
    /// The role whose workers alone run it; none: all of them.
    pub role: Option<Role>,
    /// As the owner names it.
    pub path: PathBuf,
    /// Whether it is what the owner agreed to.
    pub compare: Compare,
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Code").field(&self.path).finish()
    }
}

/// All that one role of a source runs was what the owner agreed to, a moment ago.
#[derive(Clone, Debug)]
pub struct AgreedCode {
    source: SourceId,
    revision: u64,
    programs: BTreeMap<String, PathBuf>,
}

impl AgreedCode {
    /// Whose it is.
    pub(super) fn source(&self) -> &SourceId {
        &self.source
    }

    /// For which of the source's versions it was compared.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// Where the program of a child lies.
    pub(super) fn program(&self, child: &str) -> Option<&Path> {
        self.programs.get(child).map(PathBuf::as_path)
    }
}

/// Why there is no [`AgreedCode`].
#[derive(Debug, thiserror::Error)]
pub(super) enum CodeError {
    /// Something else lies there.
    #[error("{} is not what the owner agreed to", .0.display())]
    Differs(PathBuf),
    /// It cannot be looked at now.
    #[error("what the source runs: {0}")]
    Unseen(io::Error),
}

impl AgreedCode {
    /// Compares all that workers of `role` run. Files that lie at one path are looked at in one turn.
    pub(super) async fn compared(
        (source, revision): (&SourceId, u64),
        code: &[Code],
        role: Role,
    ) -> Result<Self, CodeError> {
        let code = code.iter();
        let code = code.filter(|code| code.role.is_none_or(|of| of == role));
        let mut by_path: BTreeMap<&Path, Vec<Code>> = BTreeMap::new();
        for code in code {
            by_path.entry(&code.path).or_default().push(code.clone());
        }
        let mut programs = BTreeMap::new();
        for (path, all) in by_path {
            let look = move || {
                let compared = all
                    .into_iter()
                    .map(|code| Ok((code.child, (code.compare)()?)));
                compared.collect::<io::Result<Vec<_>>>()
            };
            let looked = inspection::at(path, look).await.flatten();
            let unseen = |error: io::Error| {
                let words = format!("{}: {error}", path.display());
                CodeError::Unseen(io::Error::new(error.kind(), words))
            };
            for (child, compared) in looked.map_err(unseen)? {
                match (child, compared) {
                    (_, Compared::Differs(path)) => return Err(CodeError::Differs(path)),
                    (Some(child), Compared::Agreed(path)) => {
                        programs.insert(child, path);
                    }
                    (None, Compared::Agreed(_)) | (_, Compared::Nothing) => {}
                }
            }
        }
        Ok(Self {
            source: source.clone(),
            revision,
            programs,
        })
    }
}
