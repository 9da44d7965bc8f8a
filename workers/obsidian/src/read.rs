//! Reading one note, by path or by name, or listing one folder.
//!
//! Content is always read from the disk now. Only names come from an index (see [`crate::names`]): where links lead may
//! be 2 s behind. A name that the index does not know, or whose note is gone, is looked up once more in a new one, so
//! that what was there before the call is found, and what is gone is not.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use plexus_rooted_files::{
    FileBytes, FileError, Found, Kind, PathError, PathRule, RelPath,
    names::nfc,
    text::{MAX_PAGE_BYTES, decode, page},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Answer, Frontmatter, Mark, NoteIndex, Reference, Touched, Vault, VaultError, frontmatter,
    markdown::{may_have_links, scan},
    media::attachment_type,
    names::Recent,
};

/// Entries of a folder shown at once unless asked otherwise, and the most that can be asked for.
const DEFAULT_LIMIT: usize = 1000;
/// Most links returned with a note, and most bytes of them: the rest are in its text.
const MAX_LINKS: usize = 1000;
const MAX_LINK_BYTES: usize = 128 * 1024;
/// Largest text that is looked through for links, in bytes.
const MAX_SCAN_BYTES: usize = 4 * 1024 * 1024;

/// How long a read by path waits for a new index when the old one is older than promised.
const PATIENCE: Duration = Duration::from_millis(100);

/// What to read. Without a path: the top folder.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ReadInput {
    /// A path, a note's name, or a wikilink with its brackets.
    pub path: Option<String>,
    /// Where in the text to go on, in bytes: `next.offset` of the answer before.
    pub offset: Option<usize>,
    /// Most entries of a folder.
    pub limit: Option<usize>,
    /// Which entry of a folder to go on after: `next.after` of the answer before.
    pub after: Option<String>,
}

/// A note, or a folder.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum ReadOutput {
    /// The text of a note or other text file.
    File(NoteOutput),
    /// The names in a folder.
    Dir(FolderOutput),
}

/// The most of the other notes that a name fits.
const MAX_OTHERS: usize = 10;

/// The text of a note, with what Obsidian would know about it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NoteOutput {
    /// Its path as resolved.
    pub relative_path: RelPath,
    /// Other notes that the name fits; ten at most.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also_fits: Vec<RelPath>,
    /// The text, front matter included; at most 1 MiB of it.
    pub content: String,
    /// Size of the file on disk.
    pub bytes: u64,
    /// Last change, RFC 3339 with milliseconds.
    pub modified_at: String,
    /// The properties; with the first stretch of a note that has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontmatter: Option<Map<String, Value>>,
    /// The links of the whole note; with the first stretch only.
    pub links: Vec<Link>,
    /// Words for what was done or could not be done.
    pub warnings: Vec<&'static str>,
    /// How to go on, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
}

/// One link of a note.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// As written.
    pub raw: String,
    /// The file it leads to; `null` if there is none, or none that may be named.
    pub target: Option<RelPath>,
    /// The heading it points at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heading: Option<String>,
    /// The block it points at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<String>,
    /// Whether it shows the target in place.
    pub embed: bool,
}

/// The names in a folder.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FolderOutput {
    /// Its path; empty for the vault itself.
    pub relative_path: RelPath,
    /// Its entries, by name in code-unit order.
    pub entries: Vec<FolderEntry>,
    /// How many entries cannot be read here: links, special files, names with control characters or that are no UTF-8.
    #[serde(skip_serializing_if = "is_zero")]
    pub omitted: usize,
    /// Words for what is left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<&'static str>,
    /// How to go on, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
}

/// One name in a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FolderEntry {
    /// The name.
    pub name: String,
    /// The path to read it by.
    pub relative_path: RelPath,
    /// What it is.
    pub kind: Kind,
}

/// The input that goes on where an answer was cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Next {
    /// For a text.
    Offset(usize),
    /// For a folder.
    After(String),
}

/// What an input came to: there, and allowed.
struct Resolved<'v> {
    found: Found<'v>,
    /// The other notes that the name fits and the rule allows.
    others: Vec<RelPath>,
    /// The index that the name was found in.
    index: Option<Arc<NoteIndex>>,
}

impl Vault {
    /// Reads a note or lists a folder. Once `is_over` says that nobody waits any more, it ends soon.
    ///
    /// # Errors
    /// [`VaultError::ConstraintMiss`] for what the rule does not allow, whether or not it exists;
    /// [`VaultError::File`] with the reason; [`VaultError::InvalidInput`] for an offset inside a character.
    pub fn read(
        &self,
        input: &ReadInput,
        rule: PathRule<'_>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Answer<ReadOutput>, VaultError> {
        let text = input.path.as_deref().unwrap_or_default();
        let resolved = self.resolve(text, rule, is_over)?;
        match resolved.found.kind() {
            Kind::Dir => self.list(resolved.found.path().clone(), input, is_over),
            Kind::File if text.ends_with('/') => Err(PathError::NotAFileName.into()),
            Kind::File => {
                let note = Note {
                    file: read_text_file(&resolved.found)?,
                    path: resolved.found.path(),
                    others: resolved.others,
                };
                let index = || match resolved.index.clone() {
                    Some(index) => Ok(Recent {
                        index,
                        is_old: false,
                    }),
                    None => self.names.recent(Instant::now(), Some(PATIENCE), is_over),
                };
                note.answer(input.offset.unwrap_or(0), rule, index)
            }
        }
    }

    /// The same for a short note asked for by its path, where that needs no waiting: its bytes are in memory, and so is
    /// an index if it has links. Everything else is [`Vault::read`]'s to answer, refusals with it.
    #[must_use]
    pub fn read_at_hand(
        &self,
        input: &ReadInput,
        rule: PathRule<'_>,
    ) -> Option<Answer<ReadOutput>> {
        let text = input.path.as_deref()?;
        if text.ends_with('/') || Reference::parse_wikilink(text).is_some() {
            return None;
        }
        let path = RelPath::parse(text).ok()?;
        if media_type_of(&path).is_some() || !rule.allows(&path) {
            return None;
        }
        let note = Note {
            file: self.root.read_at_hand(&path)?,
            path: &path,
            others: Vec::new(),
        };
        let index = || {
            self.names
                .at_hand(Instant::now())
                .ok_or(VaultError::WalkBroken)
        };
        note.answer(input.offset.unwrap_or(0), rule, index).ok()
    }

    /// From what was asked to what is there and allowed.
    fn resolve(
        &self,
        text: &str,
        rule: PathRule<'_>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Resolved<'_>, VaultError> {
        let (name, is_path) = match Reference::parse_wikilink(text) {
            Some(link) => (link.path, false),
            None => {
                let path = RelPath::parse(text)?;
                match self.root.find(&path) {
                    Ok(found) if rule.allows(found.path()) => {
                        return Ok(Resolved {
                            found,
                            others: Vec::new(),
                            index: None,
                        });
                    }
                    Ok(_) => return Err(VaultError::ConstraintMiss),
                    Err(FileError::NotFound(_)) => (String::from(path), true),
                    Err(_) if !rule.allows(&path) => return Err(VaultError::ConstraintMiss),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let asked = RelPath::parse(name.trim_start_matches('/'))?;
        let index = self.names.recent(Instant::now(), None, is_over)?.index;
        let resolved = match self.named(&name, index, rule) {
            Err(VaultError::File(FileError::NotFound(_))) => {
                self.named(&name, self.names.renewed(is_over)?, rule)
            }
            resolved => resolved,
        };
        match resolved {
            // One answer for what lies outside and for what does not exist: the rule hides which it is.
            Err(VaultError::File(FileError::NotFound(_))) if !rule.allows(&asked) => {
                Err(VaultError::ConstraintMiss)
            }
            Err(VaultError::File(FileError::NotFound(_))) => {
                let there = is_path.then(|| self.composed(&asked, rule)).flatten();
                let there = there.map(|path| self.root.find(&path)).transpose()?;
                match there.filter(|found| rule.allows(found.path())) {
                    Some(found) => Ok(Resolved {
                        found,
                        others: Vec::new(),
                        index: None,
                    }),
                    None => Err(FileError::NotFound(asked).into()),
                }
            }
            resolved => resolved,
        }
    }

    /// The path that is there and allowed instead of `asked`, and differs in nothing but how its letters are composed: a
    /// folder from a Mac is found by what is typed elsewhere, as a note is.
    pub(crate) fn composed(&self, asked: &RelPath, rule: PathRule<'_>) -> Option<RelPath> {
        let found = self.root.namesake(asked, &|path| rule.allows(path))?;
        let whole = found.whole?;
        (nfc(whole.as_str()) == nfc(asked.as_str())).then_some(whole)
    }

    /// The note that `index` has under a name.
    fn named(
        &self,
        name: &str,
        index: Arc<NoteIndex>,
        rule: PathRule<'_>,
    ) -> Result<Resolved<'_>, VaultError> {
        let entry = index
            .find(name, &RelPath::root())
            .or_else(|| index.find(&Reference::parse(name).path, &RelPath::root()))
            .ok_or_else(|| FileError::NotFound(RelPath::root()))?;
        let others = entry.others.iter().filter(|path| rule.allows(path));
        let others = others
            .take(MAX_OTHERS)
            .map(|path| (*path).clone())
            .collect();
        let found = match self.root.find(entry.path) {
            // Listed, but gone: nothing is said of it until a new index was asked.
            Err(FileError::NotFound(path)) => return Err(FileError::NotFound(path).into()),
            _ if !rule.allows(entry.path) => return Err(VaultError::ConstraintMiss),
            found => found?,
        };
        if !rule.allows(found.path()) {
            return Err(VaultError::ConstraintMiss);
        }
        Ok(Resolved {
            found,
            others,
            index: Some(index),
        })
    }

    fn list(
        &self,
        path: RelPath,
        input: &ReadInput,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Answer<ReadOutput>, VaultError> {
        let limit = input.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, DEFAULT_LIMIT);
        let listing = self
            .root
            .list(&path, limit, input.after.as_deref(), is_over)?;
        let entry = |entry: plexus_rooted_files::Entry| FolderEntry {
            name: entry.path.name().to_owned(),
            relative_path: entry.path,
            kind: entry.kind,
        };
        let output = FolderOutput {
            relative_path: path.clone(),
            warnings: listing.warnings(),
            entries: listing.entries.into_iter().map(entry).collect(),
            omitted: listing.omitted,
            next: listing.next_after.map(Next::After),
        };
        Ok(Answer {
            output: ReadOutput::Dir(output),
            touched: vec![Touched { path, digest: None }],
        })
    }
}

/// A note as it was read.
struct Note<'p> {
    path: &'p RelPath,
    file: FileBytes,
    /// The other notes that the name asked for fits.
    others: Vec<RelPath>,
}

impl Note<'_> {
    /// What is told of it. `index` is asked when a link is met.
    fn answer(
        &self,
        offset: usize,
        rule: PathRule<'_>,
        index: impl FnOnce() -> Result<Recent, VaultError>,
    ) -> Result<Answer<ReadOutput>, VaultError> {
        let Self { path, file, .. } = self;
        let text = decode(&file.bytes).map_err(|why| FileError::NotText {
            path: (*path).clone(),
            what: why.0.to_owned(),
        })?;
        let page = page(&text.content, offset, MAX_PAGE_BYTES).ok_or_else(|| {
            VaultError::InvalidInput("offset lies beyond the text or inside a character".to_owned())
        })?;
        let mut output = NoteOutput {
            relative_path: (*path).clone(),
            also_fits: self.others.clone(),
            content: page.content.to_owned(),
            bytes: file.meta.size,
            modified_at: file.meta.modified_at(),
            frontmatter: None,
            links: Vec::new(),
            warnings: (!self.others.is_empty())
                .then_some("ambiguous_link")
                .into_iter()
                .chain(text.warning)
                .collect(),
            next: page.next_offset.map(Next::Offset),
        };
        if offset == 0 && path.extension().as_deref() == Some("md") {
            let cut = frontmatter::cut(&text.content);
            match cut.yaml.map_or(Frontmatter::Absent, Frontmatter::parse) {
                Frontmatter::Present(map) => output.frontmatter = Some(map),
                Frontmatter::Bad => output.warnings.push("bad_frontmatter"),
                Frontmatter::Absent => {}
            }
            let body = &text.content[cut.body_offset..];
            add_links(&mut output, body, rule, index)?;
        }
        let touched = vec![Touched {
            path: (*path).clone(),
            digest: Some(file.digest()),
        }];
        Ok(Answer {
            output: ReadOutput::File(output),
            touched,
        })
    }
}

/// Adds the links of `body`, the text without its front matter.
fn add_links(
    output: &mut NoteOutput,
    body: &str,
    rule: PathRule<'_>,
    index: impl FnOnce() -> Result<Recent, VaultError>,
) -> Result<(), VaultError> {
    if body.len() > MAX_SCAN_BYTES {
        output.warnings.push("links_not_read");
        return Ok(());
    }
    if !may_have_links(body) {
        return Ok(());
    }
    let (mut ask, mut index) = (Some(index), None);
    let mut bytes = 0;
    for mark in scan(body) {
        let Mark::Link { raw, to, is_embed } = mark else {
            continue;
        };
        bytes += raw.len();
        if output.links.len() == MAX_LINKS || bytes > MAX_LINK_BYTES {
            output.warnings.push("links_truncated");
            break;
        }
        if let Some(ask) = ask.take() {
            let recent = ask()?;
            if recent.is_old {
                output.warnings.push("links_may_be_old");
            }
            if !recent.index.is_whole {
                output.warnings.push("names_bounded");
            }
            index = Some(recent.index);
        }
        let Some(index) = &index else {
            return Err(VaultError::WalkBroken);
        };
        let (target, as_good) = resolve_link(index, &output.relative_path, &to.path);
        let is_ambiguous = as_good.iter().any(|path| rule.allows(path));
        let target = target.filter(|target| rule.allows(target));
        if is_ambiguous && target.is_some() && !output.warnings.contains(&"ambiguous_link") {
            output.warnings.push("ambiguous_link");
        }
        output.links.push(Link {
            raw,
            target,
            heading: to.heading,
            block: to.block,
            embed: is_embed,
        });
    }
    Ok(())
}

fn read_text_file(found: &Found<'_>) -> Result<FileBytes, FileError> {
    let path = found.path();
    if let Some(media_type) = media_type_of(path) {
        let what = format!("it is an attachment ({media_type})");
        return Err(FileError::NotText {
            path: path.clone(),
            what,
        });
    }
    found.read()
}

/// What kind of attachment a path names, if it names one.
fn media_type_of(path: &RelPath) -> Option<&'static str> {
    path.extension().as_deref().and_then(attachment_type)
}

/// Where a link of the note `from` leads, and the other files that fit it equally well.
fn resolve_link<'i>(
    index: &'i NoteIndex,
    from: &RelPath,
    target: &str,
) -> (Option<RelPath>, Vec<&'i RelPath>) {
    if target.is_empty() {
        return (Some(from.clone()), Vec::new()); // `[[#Heading]]`
    }
    let folder = from
        .split_last()
        .map_or_else(RelPath::root, |(folder, _)| folder);
    match index.find(target, &folder) {
        Some(found) => (Some(found.path.clone()), found.as_good),
        None => (None, Vec::new()),
    }
}

const fn is_zero(number: &usize) -> bool {
    *number == 0
}
