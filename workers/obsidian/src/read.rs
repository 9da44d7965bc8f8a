//! Reading one note, by path or by name, or listing one folder.

use plexus_rooted_files::{
    FileBytes, FileError, Kind, PathError, PathRule, RelPath,
    text::{MAX_PAGE_BYTES, decode, page},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Answer, Frontmatter, Mark, NoteIndex, Reference, Touched, Vault, VaultError, frontmatter,
    markdown::{relative_to, scan},
    media::attachment_type,
};

/// Entries of a folder shown at once unless asked otherwise, and the most that can be asked for.
const DEFAULT_LIMIT: usize = 1000;
/// Most links returned with a note, and most bytes of them: the rest are in its text.
const MAX_LINKS: usize = 1000;
const MAX_LINK_BYTES: usize = 128 * 1024;
/// Largest text that is looked through for links, in bytes.
const MAX_SCAN_BYTES: usize = 4 * 1024 * 1024;

/// What to read. Without a path: the top folder.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
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

/// The text of a note, with what Obsidian would know about it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NoteOutput {
    /// Its path as resolved.
    pub relative_path: RelPath,
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
    /// How many entries cannot be read here: links, special files.
    #[serde(skip_serializing_if = "is_zero")]
    pub omitted: usize,
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

/// What an input came to.
struct Resolved {
    path: RelPath,
    kind: Kind,
    is_ambiguous: bool,
    /// The names of the vault, where they had to be looked through.
    index: Option<NoteIndex>,
}

impl Vault {
    /// Reads a note or lists a folder.
    ///
    /// # Errors
    /// [`VaultError::ConstraintMiss`] for what the rule does not allow, whether or not it exists;
    /// [`VaultError::File`] with the reason; [`VaultError::InvalidInput`] for an offset inside a character.
    pub fn read(
        &self,
        input: &ReadInput,
        rule: PathRule<'_>,
    ) -> Result<Answer<ReadOutput>, VaultError> {
        let text = input.path.as_deref().unwrap_or_default();
        let resolved = self.resolve(text, rule)?;
        match resolved.kind {
            Kind::Dir => self.list(resolved.path, input),
            Kind::File if text.ends_with('/') => Err(PathError::NotAFileName.into()),
            Kind::File => self.note(resolved, input.offset.unwrap_or(0), rule),
        }
    }

    /// From what was asked to what is there and allowed.
    fn resolve(&self, text: &str, rule: PathRule<'_>) -> Result<Resolved, VaultError> {
        let name = match Reference::parse_wikilink(text) {
            Some(link) => link.path,
            None => {
                let path = RelPath::parse(text)?;
                match self.root.kind(&path) {
                    Ok(kind) => {
                        let path = self.root.spelling(&path)?;
                        return if rule.allows(&path) {
                            Ok(Resolved {
                                path,
                                kind,
                                is_ambiguous: false,
                                index: None,
                            })
                        } else {
                            Err(VaultError::ConstraintMiss)
                        };
                    }
                    Err(FileError::NotFound(_)) => path.as_str().to_owned(),
                    Err(_) if !rule.allows(&path) => return Err(VaultError::ConstraintMiss),
                    Err(error) => return Err(error.into()),
                }
            }
        };
        let asked = RelPath::parse(name.trim_start_matches('/'))?;
        let index = self.index()?;
        let found = index
            .find(&name)
            .or_else(|| index.find(&Reference::parse(&name).path));
        match found {
            Some(found) if rule.allows(found.path) => {
                let (path, is_ambiguous) = (found.path.clone(), found.is_ambiguous);
                Ok(Resolved {
                    path,
                    kind: Kind::File,
                    is_ambiguous,
                    index: Some(index),
                })
            }
            None if rule.allows(&asked) => Err(FileError::NotFound(asked).into()),
            // One answer for what lies outside and for what does not exist: the rule hides which it is.
            _ => Err(VaultError::ConstraintMiss),
        }
    }

    fn note(
        &self,
        resolved: Resolved,
        offset: usize,
        rule: PathRule<'_>,
    ) -> Result<Answer<ReadOutput>, VaultError> {
        let Resolved {
            path,
            is_ambiguous,
            index,
            ..
        } = resolved;
        let file = self.read_text_file(&path)?;
        let text = decode(&file.bytes).map_err(|why| FileError::NotText {
            path: path.clone(),
            what: why.0.to_owned(),
        })?;
        let page = page(&text.content, offset, MAX_PAGE_BYTES).ok_or_else(|| {
            VaultError::InvalidInput("offset lies beyond the text or inside a character".to_owned())
        })?;
        let mut output = NoteOutput {
            relative_path: path.clone(),
            content: page.content.to_owned(),
            bytes: file.meta.size,
            modified_at: file.meta.modified_at(),
            frontmatter: None,
            links: Vec::new(),
            warnings: is_ambiguous
                .then_some("ambiguous_link")
                .into_iter()
                .chain(text.warning)
                .collect(),
            next: page.next_offset.map(Next::Offset),
        };
        if offset == 0 && path.extension().as_deref() == Some("md") {
            match Frontmatter::of(&text.content) {
                Frontmatter::Present(map) => output.frontmatter = Some(map),
                Frontmatter::Bad => output.warnings.push("bad_frontmatter"),
                Frontmatter::Absent => {}
            }
            self.add_links(&mut output, &text.content, index, rule)?;
        }
        let touched = vec![Touched {
            path,
            digest: Some(file.digest()),
        }];
        Ok(Answer {
            output: ReadOutput::File(output),
            touched,
        })
    }

    fn read_text_file(&self, path: &RelPath) -> Result<FileBytes, FileError> {
        if let Some(media_type) = path.extension().as_deref().and_then(attachment_type) {
            let what = format!("it is an attachment ({media_type})");
            return Err(FileError::NotText {
                path: path.clone(),
                what,
            });
        }
        self.root.read(path)
    }

    fn add_links(
        &self,
        output: &mut NoteOutput,
        text: &str,
        mut index: Option<NoteIndex>,
        rule: PathRule<'_>,
    ) -> Result<(), VaultError> {
        if text.len() > MAX_SCAN_BYTES {
            output.warnings.push("links_not_read");
            return Ok(());
        }
        let mut bytes = 0;
        for mark in scan(&text[frontmatter::cut(text).body_offset..]) {
            let Mark::Link { raw, to, is_embed } = mark else {
                continue;
            };
            bytes += raw.len();
            if output.links.len() == MAX_LINKS || bytes > MAX_LINK_BYTES {
                output.warnings.push("links_truncated");
                break;
            }
            let index = match &mut index {
                Some(index) => index,
                none => none.insert(self.index()?),
            };
            let (target, is_ambiguous) = resolve_link(index, &output.relative_path, &to.path);
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

    fn list(&self, path: RelPath, input: &ReadInput) -> Result<Answer<ReadOutput>, VaultError> {
        let limit = input.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, DEFAULT_LIMIT);
        let listing = self.root.list(&path, limit, input.after.as_deref())?;
        let entry = |entry: plexus_rooted_files::Entry| FolderEntry {
            name: entry.path.name().to_owned(),
            relative_path: entry.path,
            kind: entry.kind,
        };
        let output = FolderOutput {
            relative_path: path.clone(),
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

/// Where a link of the note `from` leads.
fn resolve_link(index: &NoteIndex, from: &RelPath, target: &str) -> (Option<RelPath>, bool) {
    if target.is_empty() {
        return (Some(from.clone()), false); // `[[#Heading]]`
    }
    let folder = from
        .split_last()
        .map_or_else(RelPath::root, |(folder, _)| folder);
    let beside = relative_to(&folder, target).and_then(|path| index.exact(&path));
    let is_relative = target.starts_with("./") || target.starts_with("../");
    match (beside, is_relative) {
        (Some(path), true) => (Some(path.clone()), false),
        (None, true) => (None, false),
        // What is exactly named from the vault's top, or by name alone, goes before what lies beside the note.
        (beside, false) => match index.find(target) {
            Some(found) if found.is_ambiguous => {
                (Some(beside.unwrap_or(found.path).clone()), beside.is_none())
            }
            Some(found) => (Some(found.path.clone()), false),
            None => (beside.cloned(), false),
        },
    }
}

const fn is_zero(number: &usize) -> bool {
    *number == 0
}
