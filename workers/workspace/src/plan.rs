//! Planning a write and carrying it out.

use std::borrow::Cow;

use plexus_rooted_files::{
    Digest, FileError, PathRule, RelPath, StateToken, WriteTarget, text::decode,
};
use serde::{Deserialize, Serialize};

use crate::{Change, Edit, EditError, Keeping, MAX_CHANGE_BYTES, Workspace, WorkspaceError, edit};

/// Most edits in one call.
const MAX_EDITS: usize = 200;

/// What to write, and where: the whole content, or edits of what is there.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WriteInput {
    /// The file; missing folders on the way are created.
    pub path: String,
    /// The whole new content.
    pub content: Option<String>,
    /// Pieces to replace in the present content.
    pub edits: Option<Vec<Edit>>,
    /// What must be there now: a digest, or `absent`.
    pub if_digest: Option<Expected>,
}

/// What must be there: nothing, or content of this digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Expected {
    /// No file.
    Absent,
    /// A file of this content.
    Is(Digest),
}

impl TryFrom<String> for Expected {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "absent" => Ok(Self::Absent),
            hex => hex
                .parse()
                .map(Self::Is)
                .map_err(|_| "ifDigest is 64 lower-case hex digits, or \"absent\""),
        }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteOutput {
    /// Always true: a failure is an error.
    pub ok: bool,
    /// The file.
    pub relative_path: RelPath,
    /// Size of its content in bytes.
    pub bytes: usize,
    /// SHA-256 of its content: `ifDigest` of the next write.
    pub digest: Digest,
}

/// A write, computed and not done.
#[derive(Debug)]
pub struct Plan {
    place: WriteTarget,
    content: Vec<u8>,
    change: Change,
    runs_because: Option<&'static str>,
}

impl Workspace {
    /// Computes a write. Changes nothing.
    ///
    /// # Errors
    /// [`WorkspaceError::ConstraintMiss`] before anything is looked at; [`WorkspaceError::PreconditionChanged`] where
    /// `ifDigest` does not hold; [`WorkspaceError::Edit`] for an edit that does not fit; [`WorkspaceError::TooLarge`]; [`WorkspaceError::InvalidInput`]
    /// unless exactly one of `content` and `edits` is given; [`WorkspaceError::File`] with the reason.
    pub fn plan(&self, input: &WriteInput, rule: PathRule<'_>) -> Result<Plan, WorkspaceError> {
        let place = self.place(input, rule)?;
        self.plan_at(place, input, rule).map_err(|misfit| misfit.1)
    }

    /// Computes the write at a place already looked at.
    ///
    /// # Errors
    /// Those of [`Workspace::plan`] about the new content, with the place: what it says of the present content is only
    /// for those who may see that.
    pub fn plan_at(
        &self,
        place: WriteTarget,
        input: &WriteInput,
        rule: PathRule<'_>,
    ) -> Result<Plan, Box<(WriteTarget, WorkspaceError)>> {
        let content = match new_content(input, &place) {
            Ok(content) => content,
            Err(WorkspaceError::File(error)) => {
                let error = self.absent(error, rule);
                return Err(Box::new((place, error)));
            }
            Err(error) => return Err(Box::new((place, error))),
        };
        let current = place.current();
        let before = current.map(|current| current.content.bytes.as_slice());
        let change = Change::of(place.path(), before, &content);
        let is_executable = current.is_some_and(|current| current.content.meta.mode & 0o111 != 0);
        let runs_because = self
            .runs_unasked(place.path())
            .or(is_executable.then_some("the file is marked as executable"));
        Ok(Plan {
            place,
            content,
            change,
            runs_because,
        })
    }

    /// The place a write is for, with `ifDigest` held against it, and a name that a new file may have. What is wrong with
    /// the input itself is said before anything is looked at.
    ///
    /// # Errors
    /// As [`Workspace::plan`], without those about the new content.
    pub fn place(
        &self,
        input: &WriteInput,
        rule: PathRule<'_>,
    ) -> Result<WriteTarget, WorkspaceError> {
        input.check()?;
        let path = self.allowed(RelPath::parse_file(&input.path)?, rule)?;
        let place = self.root.look(&path)?;
        if input.content.is_some() {
            self.check_new(&place, rule)?;
        }
        match (input.if_digest, place.digest()) {
            (None, _) | (Some(Expected::Absent), None) => Ok(place),
            (Some(Expected::Is(wanted)), Some(found)) if wanted == found => Ok(place),
            (Some(_), found) => {
                let there = if found.is_some() {
                    "has other content"
                } else {
                    "does not exist"
                };
                let message = format!("{path} {there} than ifDigest says; read it again");
                Err(WorkspaceError::PreconditionChanged {
                    reason: "digest",
                    message,
                })
            }
        }
    }

    /// Carries a plan out: the file then has exactly the planned content, or nothing was written. `keeping` is where
    /// what it replaces is kept first.
    ///
    /// # Errors
    /// [`WorkspaceError::PreconditionChanged`] where the place is no longer as planned; [`WorkspaceError::File`] where
    /// the system refuses; [`WorkspaceError::Unconfirmed`] where it is written but perhaps not for good.
    pub fn commit(
        &self,
        plan: &Plan,
        keeping: Option<Keeping<'_>>,
    ) -> Result<WriteOutput, WorkspaceError> {
        self.change(&plan.place, Some(&plan.content), 0, keeping)?;
        Ok(WriteOutput {
            ok: true,
            relative_path: plan.path().clone(),
            bytes: plan.content.len(),
            digest: plan.after(),
        })
    }
}

impl Plan {
    /// The file.
    #[must_use]
    pub const fn path(&self) -> &RelPath {
        self.place.path()
    }

    /// Stands for everything the plan assumed.
    #[must_use]
    pub fn state_token(&self) -> StateToken {
        self.place.token()
    }

    /// What stood for it before the folders on its way were made, if another change made them.
    #[must_use]
    pub fn tokens_before_its_folders(&self) -> Vec<StateToken> {
        self.place.tokens_before_its_folders()
    }

    /// Digest of what is there now; `None` if nothing is.
    #[must_use]
    pub fn before(&self) -> Option<Digest> {
        self.place.digest()
    }

    /// Digest of what would be there.
    #[must_use]
    pub fn after(&self) -> Digest {
        Digest::of(&self.content)
    }

    /// Size of what would be there, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.content.len()
    }

    /// What would change, for the owner's eyes.
    #[must_use]
    pub const fn change(&self) -> &Change {
        &self.change
    }

    /// Why this write amounts to running code, if it does.
    #[must_use]
    pub const fn runs_because(&self) -> Option<&'static str> {
        self.runs_because
    }
}

impl WriteInput {
    /// Whether it makes sense, whatever is there.
    fn check(&self) -> Result<(), WorkspaceError> {
        let invalid = |why: String| Err(WorkspaceError::InvalidInput(why));
        match (&self.content, &self.edits) {
            (Some(_), None) => Ok(()),
            (None, Some(edits)) if edits.is_empty() || edits.len() > MAX_EDITS => {
                invalid(format!("give 1 to {MAX_EDITS} edits"))
            }
            (None, Some(edits)) => match edits.iter().position(|edit| edit.find.is_empty()) {
                Some(at) => Err(WorkspaceError::Edit {
                    number: at + 1,
                    error: EditError::Empty,
                }),
                None => Ok(()),
            },
            _ => invalid("give either content or edits".to_owned()),
        }
    }
}

/// The content a write leads to.
fn new_content(input: &WriteInput, place: &WriteTarget) -> Result<Vec<u8>, WorkspaceError> {
    let room = room_beside(place)?;
    match (&input.content, &input.edits) {
        (Some(content), None) if content.len() > room => Err(too_large(place)),
        (Some(content), None) => Ok(content.clone().into_bytes()),
        (None, Some(edits)) => edited(edits, place, room),
        _ => Err(WorkspaceError::InvalidInput(
            "give either content or edits".to_owned(),
        )),
    }
}

/// Most bytes of new content that can be kept beside what is at the place.
pub(crate) fn room_beside(place: &WriteTarget) -> Result<usize, WorkspaceError> {
    let room = MAX_CHANGE_BYTES.checked_sub(size(place) as u64);
    room.map(|room| room as usize)
        .ok_or_else(|| too_large(place))
}

/// The refusal of a change at this place.
pub(crate) fn too_large(place: &WriteTarget) -> WorkspaceError {
    WorkspaceError::TooLarge {
        path: place.path().clone(),
        before: size(place),
    }
}

fn size(place: &WriteTarget) -> usize {
    let current = place.current();
    current.map_or(0, |current| current.content.bytes.len())
}

fn edited(edits: &[Edit], place: &WriteTarget, room: usize) -> Result<Vec<u8>, WorkspaceError> {
    let Some(current) = place.current() else {
        return Err(FileError::NotFound(place.path().clone()).into());
    };
    let not_text = |what: &str| FileError::NotText {
        path: place.path().clone(),
        what: what.to_owned(),
    };
    let text = decode(&current.content.bytes).map_err(|why| not_text(why.0))?;
    // Edits leave the encoding as it is; of the two that are not plain, only the byte order mark is worth the trouble.
    let mark = match (text.warning, &text.content) {
        (None, _) => "",
        (Some("bom_removed"), Cow::Borrowed(_)) => "\u{feff}",
        _ => {
            return Err(
                not_text("it is UTF-16, which edits do not keep; write the whole content").into(),
            );
        }
    };
    let edited = edit::apply(&text.content, edits, room.saturating_sub(mark.len())).map_err(
        |(number, error)| match error {
            EditError::TooLarge(_) => too_large(place),
            error => WorkspaceError::Edit { number, error },
        },
    )?;
    Ok([mark.as_bytes(), edited.as_bytes()].concat())
}
