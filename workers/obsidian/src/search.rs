//! Searching the vault: text, tags and properties, in the order of paths and lines.
//!
//! There is no index to keep in step: each search reads the notes. A filter that cannot match is found out by a byte
//! search before anything is parsed.

use std::cmp::Ordering;

use plexus_rooted_files::{
    FileBytes, FileError, Kind, Missed, PathRule, RelPath, WalkBounds, WalkEntry, WalkStep,
    names::{code_unit_order, fold},
    text::decode,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Answer, Mark, Next, Touched, Vault, VaultError,
    frontmatter::{Cut, Properties, cut, may_name_tag, scalar_text},
    markdown::{self, scan},
    media::is_searched,
    needle::Needle,
};

/// Hits returned unless asked otherwise, and the most that can be asked for.
const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;
/// Longest snippet, in UTF-16 code units as JavaScript counts.
const MAX_SNIPPET: usize = 200;
/// Largest file looked into, in bytes, and the most read in one search: some seconds of a slow disk.
const MAX_NOTE_BYTES: u64 = 4 * 1024 * 1024;
const MAX_TOTAL_BYTES: u64 = 1024 * 1024 * 1024;
/// How `after` names a whole note.
const END: &str = "end";

/// What to search for. At least one of `query`, `tag` and `property`; all that are given must hold for a note.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchInput {
    /// Text that a line must contain; case does not count.
    pub query: Option<String>,
    /// Most hits.
    pub limit: Option<usize>,
    /// A tag, with or without `#`; finds nested tags below it too.
    pub tag: Option<String>,
    /// A property of the front matter.
    pub property: Option<PropertyFilter>,
    /// A folder or note to stay at or below.
    pub path: Option<String>,
    /// Which hit to go on after: `next.after` of the answer before.
    pub after: Option<String>,
}

/// A property that a note must have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PropertyFilter {
    /// Its name; case does not count.
    pub name: String,
    /// Its value, or one of its values; any if absent. Compared as text, without case.
    pub value: Option<Value>,
}

/// What was found.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename = "search", rename_all = "camelCase")]
pub struct SearchOutput {
    /// The text searched for, as given.
    pub query: String,
    /// One per line, by path and line.
    pub hits: Vec<Hit>,
    /// Whether there is more than is shown.
    pub truncated: bool,
    /// Words for what was not looked into.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<&'static str>,
    /// How to go on, if there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
}

/// How far an answer came in the order of hits: through a note up to a line.
#[derive(Clone, Debug)]
struct Cursor {
    path: RelPath,
    line: usize,
}

impl Cursor {
    /// As [`Cursor::text`] has it.
    fn parse(text: &str) -> Option<Self> {
        let (path, line) = text.rsplit_once(':')?;
        Some(Self {
            path: RelPath::parse_file(path).ok()?,
            line: match line {
                END => usize::MAX,
                number => number.parse().ok()?,
            },
        })
    }

    fn text(&self) -> String {
        match self.line {
            usize::MAX => format!("{}:{END}", self.path),
            line => format!("{}:{line}", self.path),
        }
    }
}

/// One line that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hit {
    /// The note.
    pub relative_path: RelPath,
    /// The line, from 1.
    pub line: usize,
    /// The line, cut around what was found.
    pub snippet: String,
}

impl Vault {
    /// Searches the notes that the rule allows.
    ///
    /// # Errors
    /// [`VaultError::InvalidInput`] when nothing is searched for; [`VaultError::ConstraintMiss`] for a `path` outside
    /// the rule; [`FileError::Over`] once `is_over` says that nobody waits any more, never a shortened answer; [`VaultError::File`] when `path`
    /// cannot be listed.
    pub fn search(
        &self,
        input: &SearchInput,
        rule: PathRule<'_>,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Answer<SearchOutput>, VaultError> {
        let filter = Filter::new(input)?;
        let start = match &input.path {
            None => RelPath::root(),
            Some(path) => {
                let path = RelPath::parse(path)?;
                let path = self.composed(&path, rule).unwrap_or(path);
                match self.root.spelling(&path) {
                    Ok(spelled) if rule.allows(&spelled) => spelled,
                    Err(error) if rule.allows(&path) => return Err(error.into()),
                    Ok(_) | Err(_) => return Err(VaultError::ConstraintMiss),
                }
            }
        };
        let after = input.after.as_deref().map(|text| {
            Cursor::parse(text).ok_or_else(|| {
                VaultError::InvalidInput("after is next.after of the answer before".to_owned())
            })
        });
        let mut search = Search {
            filter,
            rule,
            after: after.transpose()?,
            looked_into: None,
            limit: input.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, MAX_LIMIT),
            only: None,
            bytes: 0,
            output: SearchOutput {
                query: input.query.clone().unwrap_or_default(),
                hits: Vec::new(),
                truncated: false,
                warnings: Vec::new(),
                next: None,
            },
            touched: Vec::new(),
        };
        // A single note is searched through the folder it lies in.
        let folder = match (self.root.kind(&start)?, start.split_last()) {
            (Kind::File, Some((folder, _))) => {
                search.only = Some(start);
                folder
            }
            _ => start,
        };
        // Told only of folders that the rule allows: others do not exist.
        let mut missed = Vec::new();
        let report = self.root.walk_noting(
            &folder,
            WalkBounds::default(),
            is_over,
            |entry| search.visit(entry),
            |path, what| {
                let word = match what {
                    Missed::Names => "names_skipped",
                    Missed::Folder => "folders_unreadable",
                };
                if rule.allows(path) && !missed.contains(&word) {
                    missed.push(word);
                }
            },
        )?;
        if report.bounded {
            search.output.truncated = true;
            search.warn("search_bounded");
        }
        // Of one note, what else lies in its folder is not asked about.
        if search.only.is_none() {
            missed.into_iter().for_each(|word| search.warn(word));
        }
        Ok(Answer {
            output: search.output,
            touched: search.touched,
        })
    }
}

struct Search<'a> {
    filter: Filter,
    rule: PathRule<'a>,
    limit: usize,
    only: Option<RelPath>,
    /// What was shown before.
    after: Option<Cursor>,
    /// The last note that was looked into to its end.
    looked_into: Option<RelPath>,
    bytes: u64,
    output: SearchOutput,
    touched: Vec<Touched>,
}

impl Search<'_> {
    fn visit(&mut self, entry: &WalkEntry<'_>) -> WalkStep {
        let is_wanted = entry.kind == Kind::File
            && self.only.as_ref().is_none_or(|only| only == entry.path)
            && self.rule.allows(entry.path)
            && entry.path.extension().as_deref().is_some_and(is_searched);
        if entry.kind == Kind::Dir {
            return self.step_into(entry.path.as_str());
        }
        if !is_wanted {
            return WalkStep::On;
        }
        let shown = match &self.after {
            None => 0,
            Some(after) => match code_unit_order(entry.path.as_str(), after.path.as_str()) {
                Ordering::Less => return WalkStep::On,
                Ordering::Equal if after.line == usize::MAX => return WalkStep::On,
                Ordering::Equal => after.line,
                Ordering::Greater => 0,
            },
        };
        let file = match entry.read(MAX_NOTE_BYTES) {
            Ok(file) => file,
            // Gone since.
            Err(FileError::NotFound(_)) => return WalkStep::On,
            Err(FileError::TooLarge { .. }) => {
                self.warn("large_files_skipped");
                return WalkStep::On;
            }
            // Locked away, with a second name, not downloaded, or being written.
            Err(_) => {
                self.warn("files_unreadable");
                return WalkStep::On;
            }
        };
        self.bytes += file.meta.size;
        if self.bytes > MAX_TOTAL_BYTES {
            self.output.truncated = true;
            self.warn("search_bounded");
            self.output.next = self.looked_into.take().map(|path| {
                let line = usize::MAX;
                Next::After(Cursor { path, line }.text())
            });
            return WalkStep::Stop;
        }
        self.look_into(entry.path, &file, shown)
    }

    /// Whether anything below a folder is looked for.
    fn step_into(&self, path: &str) -> WalkStep {
        let begins = format!("{path}/");
        let is_shown = self.after.as_ref().is_some_and(|after| {
            let after = after.path.as_str();
            !after.starts_with(&begins) && code_unit_order(&begins, after).is_lt()
        });
        match self.only.is_some() || is_shown {
            true => WalkStep::Past,
            false => WalkStep::On,
        }
    }

    /// Looks into a note, of which the hits up to a line were `shown` before.
    fn look_into(&mut self, path: &RelPath, file: &FileBytes, shown: usize) -> WalkStep {
        let Ok(text) = decode(&file.bytes) else {
            self.warn("not_text_skipped");
            return WalkStep::On;
        };
        let room = self.limit - self.output.hits.len();
        // One more than there is room for tells whether anything was left out.
        let NoteHits { mut hits, is_bad } =
            self.filter.lines_of(path, &text.content, (shown, room + 1));
        if is_bad {
            self.warn("bad_frontmatter_skipped");
        }
        if hits.len() > room {
            hits.truncate(room);
            self.output.truncated = true;
        }
        if !hits.is_empty() {
            self.touched.push(Touched {
                path: path.clone(),
                digest: Some(file.digest()),
            });
            self.output.hits.append(&mut hits);
        }
        if self.output.truncated {
            let last = self.output.hits.last().map(|hit| Cursor {
                path: hit.relative_path.clone(),
                line: hit.line,
            });
            self.output.next = last.map(|cursor| Next::After(cursor.text()));
            return WalkStep::Stop;
        }
        self.looked_into = Some(path.clone());
        WalkStep::On
    }

    fn warn(&mut self, word: &'static str) {
        if !self.output.warnings.contains(&word) {
            self.output.warnings.push(word);
        }
    }
}

/// What a note has of what is searched for.
#[derive(Default)]
struct NoteHits {
    hits: Vec<Hit>,
    /// Its front matter could have decided, and cannot be read.
    is_bad: bool,
}

/// What a note, and a line in it, must be.
struct Filter {
    query: Option<Needle>,
    /// Folded.
    tag: Option<String>,
    property: Option<(String, Option<String>)>,
}

impl Filter {
    fn new(input: &SearchInput) -> Result<Self, VaultError> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let tag = given(&input.tag)
            .map(|tag| fold(tag.trim().trim_start_matches('#').trim_end_matches('/')));
        let filter = Self {
            query: given(&input.query).map(|query| Needle::new(&query)),
            tag: tag.filter(|tag| !tag.is_empty()),
            property: input.property.as_ref().map(|property| {
                (
                    fold(&property.name),
                    property
                        .value
                        .as_ref()
                        .map(|value| fold(&scalar_text(value))),
                )
            }),
        };
        if input
            .query
            .as_ref()
            .is_some_and(|query| query.contains(['\n', '\r']))
        {
            return Err(VaultError::InvalidInput(
                "query must be one line: hits are lines".to_owned(),
            ));
        }
        if filter.query.is_none() && filter.tag.is_none() && filter.property.is_none() {
            return Err(VaultError::InvalidInput(
                "give a query, a tag or a property to search for".to_owned(),
            ));
        }
        Ok(filter)
    }

    /// The first `most` lines of a note behind the line `shown` that are hits: those with the text, else those with the
    /// tag, else the property's.
    fn lines_of(&self, path: &RelPath, text: &str, (shown, most): (usize, usize)) -> NoteHits {
        let is_note = path.extension().as_deref() == Some("md");
        if self.query.as_ref().is_some_and(|query| !query.is_in(text)) {
            return NoteHits::default();
        }
        if (self.tag.is_some() || self.property.is_some()) && !is_note {
            return NoteHits::default();
        }
        let cut = cut(text);
        if self
            .tag
            .as_ref()
            .is_some_and(|tag| !is_worth_parsing(text, &cut, tag))
        {
            return NoteHits::default();
        }
        let front = match (&self.tag, &self.property) {
            (None, None) => Some(Properties::default()),
            _ => properties(&cut),
        };
        let is_bad = front.is_none();
        let front = front.unwrap_or_default();
        let property = self.property.as_ref().map(|(name, value)| {
            has_property(&front, name, value.as_deref())
                .then(|| line_of_key(&cut, &[name.as_str()]))
        });
        let tags = self
            .tag
            .as_ref()
            .map(|tag| tag_offsets(text, &cut, &front, tag));
        if property == Some(None) || tags.as_ref().is_some_and(Vec::is_empty) {
            let hits = Vec::new();
            return NoteHits { hits, is_bad };
        }
        let offsets: Vec<usize> = match (&self.query, tags, property) {
            (Some(query), _, _) => query.lines_in(text, most.saturating_add(shown)),
            (None, Some(tags), _) => tags,
            (None, None, property) => property.flatten().into_iter().collect(),
        };
        let hits = hits(path, text, &offsets, (shown, most));
        NoteHits { hits, is_bad }
    }
}

/// The properties of a note; `None` where they cannot be read.
fn properties(cut: &Cut<'_>) -> Option<Properties> {
    cut.yaml
        .map_or_else(|| Some(Properties::default()), Properties::parse)
}

/// One hit per line behind the line `shown`; `offsets` ascend.
fn hits(path: &RelPath, text: &str, offsets: &[usize], (shown, most): (usize, usize)) -> Vec<Hit> {
    let (mut line, mut counted) = (1, 0);
    let mut hits: Vec<Hit> = Vec::new();
    for &offset in offsets {
        line += memchr::memchr_iter(b'\n', &text.as_bytes()[counted..offset]).count();
        counted = offset;
        if line > shown && hits.last().is_none_or(|last| last.line != line) {
            hits.push(Hit {
                relative_path: path.clone(),
                line,
                snippet: snippet(text, offset),
            });
        }
        if hits.len() == most {
            break;
        }
    }
    hits
}

/// The line around `offset`, without white space at its ends, at most [`MAX_SNIPPET`] long.
fn snippet(text: &str, offset: usize) -> String {
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let end = text[offset..]
        .find('\n')
        .map_or(text.len(), |at| offset + at);
    let line = text[start..end].trim_end();
    let lead = line.len() - line.trim_start().len();
    // Far along a line, begin a little before what was found.
    let found = (offset - start).min(line.len());
    let from = if found > MAX_SNIPPET / 2 {
        line.floor_char_boundary(found - MAX_SNIPPET / 4)
    } else {
        lead
    };
    let mut length = 0;
    let fits = |c: &char| {
        length += c.len_utf16();
        length <= MAX_SNIPPET
    };
    line[from..].chars().take_while(fits).collect()
}

fn has_property(front: &Properties, name: &str, wanted: Option<&str>) -> bool {
    let Some(texts) = front.texts(name) else {
        return false;
    };
    wanted.is_none_or(|wanted| texts.iter().any(|text| fold(text) == wanted))
}

/// Where the first of these keys stands in the front matter, else where that begins.
fn line_of_key(cut: &Cut<'_>, keys: &[&str]) -> usize {
    let Some(yaml) = cut.yaml else { return 0 };
    let mut offset = cut.yaml_offset;
    for line in yaml.split_inclusive('\n') {
        let key = line
            .split(':')
            .next()
            .unwrap_or_default()
            .trim()
            .trim_matches(['"', '\'']);
        if line.contains(':') && keys.contains(&fold(key).as_str()) {
            return offset;
        }
        offset += line.len();
    }
    0
}

/// Whether a note has the tag, or one nested below it; also where its front matter cannot be read and may name it,
/// because then nobody knows. `wanted` is folded.
pub(crate) fn may_have_tag(text: &str, wanted: &str) -> bool {
    let cut = cut(text);
    if !is_worth_parsing(text, &cut, wanted) {
        return false;
    }
    let front = properties(&cut);
    let unread = front.is_none() && cut.yaml.is_some_and(|yaml| may_name_tag(yaml, wanted));
    unread || !tag_offsets(text, &cut, &front.unwrap_or_default(), wanted).is_empty()
}

/// Whether a parse could find the tag. Says yes too often, never no: what is hidden by a tag hangs on it.
fn is_worth_parsing(text: &str, cut: &Cut<'_>, wanted: &str) -> bool {
    cut.yaml.is_some_and(|yaml| may_name_tag(yaml, wanted))
        || markdown::may_have_tag(&text[cut.body_offset..], wanted)
}

/// Where the tag, or one nested below it, stands: in the front matter, then in the body.
fn tag_offsets(text: &str, cut: &Cut<'_>, front: &Properties, wanted: &str) -> Vec<usize> {
    let matches = |tag: &str| {
        let tag = fold(tag);
        tag.strip_prefix(wanted)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let mut offsets = Vec::new();
    if front.tags().iter().any(|tag| matches(tag)) {
        // The parsed value says that it is there; the text, from the key on, says in which line.
        let key = line_of_key(cut, &["tags", "tag"]);
        let rest = &text[key..cut.body_offset.max(key)];
        offsets.push(offset_of(wanted, rest).map_or(key, |at| key + at));
    }
    for mark in scan(&text[cut.body_offset..]) {
        if let Mark::Tag { name, offset } = mark
            && matches(&name)
        {
            offsets.push(cut.body_offset + offset);
        }
    }
    offsets
}

/// Where the folded text stands in `text`, or the line that it stands in where folding moves what is in that.
fn offset_of(wanted: &str, text: &str) -> Option<usize> {
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        if let Some(at) = fold(line).find(wanted) {
            return Some(start + if line.is_ascii() { at } else { 0 });
        }
        start += line.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    /// Letters, alone and in words, that fold to others, to more of them, or to ASCII; marks that meet the letter before
    /// them; what may stand in a tag; and what ends one.
    const PIECES: &[&str] = &[
        "a", "K", "private", "\u{212a}", "\u{17f}", "\u{fb01}", "\u{131}", "\u{130}", "\u{df}",
        "\u{1e9e}", "e", "\u{301}", "\u{e9}", "\u{302a}", "\u{338}", "\u{345}", "\u{200d}",
        "\u{3c2}", "-", "_", "/", "1", "0x10", "x", "'", " ",
    ];

    /// A tag in one of the ways in which a list in YAML can hold it.
    fn in_yaml(tag: &str, way: usize) -> String {
        let escaped = |escape: &dyn Fn(char) -> String| tag.chars().map(escape).collect::<String>();
        match way {
            0 => tag.to_owned(),
            1 => format!("'{}'", tag.replace('\'', "''")),
            2 => format!("\"{tag}\""),
            3 => format!("\"{}\"", escaped(&|c| format!("\\U{:08x}", u32::from(c)))),
            4 => format!("\"{}\"", escaped(&|c| format!("{c}\\\n    "))),
            5 => format!("|\n    {tag}"),
            6 => format!(">-\n    {}", tag.replace(' ', "\n    ")),
            7 => tag.replace(' ', "\n    "),
            8 => format!("!!str {tag}"),
            _ => "!!binary cHJpdmF0ZQ==".to_owned(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
        /// Whatever tags the parsers find: asked for them, and for those above them, nobody says no.
        #[test]
        fn no_tag_is_overlooked_unparsed(
            listed in vec((vec(select(PIECES), 1..5), 0..10_usize), 0..3),
            body in vec(prop_oneof![
                select(PIECES),
                select(&["#", " #", "\n", "_#", "`", "*", "[[", "]]", "\\", "<", "&", "~", "=", "\r\n> #"][..]),
            ], 0..24),
        ) {
            let items: String = listed
                .iter()
                .map(|(pieces, way)| format!("  - {}\n", in_yaml(&pieces.concat(), *way)))
                .collect();
            let body = body.concat();
            let text = if items.is_empty() { body } else { format!("---\ntags:\n{items}---\n{body}") };
            let in_body = scan(&text[cut(&text).body_offset..]).into_iter().filter_map(|mark| match mark {
                Mark::Tag { name, .. } => Some(name),
                Mark::Link { .. } => None,
            });
            let front = properties(&cut(&text)).unwrap_or_default();
            for tag in front.tags().into_iter().chain(in_body) {
                let tag = fold(&tag);
                for (end, _) in tag.match_indices('/').chain([(tag.len(), "")]) {
                    if end > 0 {
                        prop_assert!(may_have_tag(&text, &tag[..end]), "{:?} in {text:?}", &tag[..end]);
                    }
                }
            }
        }
    }

    #[test]
    fn a_parse_is_spared_where_the_tag_cannot_be() {
        let is_parsed = |text| is_worth_parsing(text, &cut(text), "private");
        for spared in [
            "",
            "private # private",
            "#open #privat #nonprivate",
            "---\ntags: [open]\ntitle: Stra\u{df}e!\n---\nprivate",
        ] {
            assert!(!is_parsed(spared), "{spared}");
        }
        for parsed in [
            "#private",
            "#PRIVATE/deep",
            "---\ntags: private\n---\n",
            "---\ntags: [\"\\u0070rivate\"]\n---\n",
            "---\ntags: [!!binary cHJpdmF0ZQ==]\n---\n",
        ] {
            assert!(is_parsed(parsed), "control: {parsed}");
        }
    }
}
