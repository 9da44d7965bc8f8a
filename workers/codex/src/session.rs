//! What a thread of Codex remembers: shown, and taken out of it.
//!
//! Invariants: a rollout is replaced in one rename, while no turn uses it; beside it only what Codex makes anew from it is
//! removed.
//!
//! Must not know: who calls, how a turn is made.

use crate::{CodexSource, rollout};
use plexus_coding_agent::{ThreadFolder, ToolCall, Usage, without_credentials};
use plexus_ipc::text::counted;
use plexus_ipc::worker::{CallContext, Plan, Preview, Reply, SourceError, on_file_thread};
use plexus_protocol::{Digest, Effect};
use plexus_rooted_files::{FileError, Kind, RelPath, WalkBounds};
use rollout::{Entry, Pair, Rollout};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, BufReader, BufWriter, Seek as _, SeekFrom},
    ops::ControlFlow,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Largest rollout that is rewritten, in bytes: what a worker may write as one file, with room to spare.
const LARGEST: u64 = 240 * 1024 * 1024;
/// Of the end of a rollout, what is looked through for the tokens that were used, in bytes.
const COUNTED: u64 = 4 * 1024 * 1024;
/// Most of an answer, in bytes.
const LONGEST_ANSWER: usize = 512 * 1024;
/// Calls that a card names one by one.
const SHOWN: usize = 20;
/// What takes the place of an output where nobody says what.
const MARKER: &str = "(this result was taken out of the conversation)";
/// Copies of the record that Codex makes anew.
const COPIES: [&str; 2] = ["thread_history_", "logs_"];

/// Input of `thread.read`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReadInput {
    thread: String,
    #[serde(default)]
    after: usize,
}

/// Output of `thread.read`.
#[derive(Debug, Serialize)]
pub(crate) struct ReadOutput {
    thread: String,
    entries: Vec<EntryView>,
    unread: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Next>,
}

#[derive(Debug, Serialize)]
struct Next {
    after: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
enum EntryView {
    Said {
        role: String,
        text: String,
    },
    Call {
        id: String,
        name: String,
        arguments: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        output: Option<String>,
    },
}

/// Input of `session.consume`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConsumeInput {
    thread: String,
    #[serde(default)]
    calls: Vec<String>,
    before: Option<String>,
    marker: Option<String>,
}

/// What is taken out of which thread.
#[derive(Clone, Debug)]
pub(crate) struct Consumption {
    thread: String,
    calls: BTreeSet<String>,
    marker: String,
}

/// Output of `session.consume`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsumeOutput {
    ok: bool,
    thread: String,
    consumed: BTreeSet<String>,
    bytes_before: u64,
    bytes_after: u64,
    /// Lines that could not be read, and are as they were.
    unread: usize,
}

pub(crate) async fn read(
    source: Arc<CodexSource>,
    call: CallContext,
    input: ReadInput,
) -> Result<Reply<ReadOutput>, SourceError> {
    let folder = source.thread(&call, &input.thread).await?;
    on_file_thread(move || {
        let found = whole(&folder, &|| call.is_over())?;
        let (mut entries, mut next, mut length) = (Vec::new(), None, 0);
        for (at, entry) in found.entries.into_iter().enumerate().skip(input.after) {
            let entry = shown(entry);
            length += serde_json::to_vec(&entry).map_or(0, |bytes| bytes.len());
            if length > LONGEST_ANSWER && !entries.is_empty() {
                next = Some(Next { after: at });
                break;
            }
            entries.push(entry);
        }
        let summary = format!("showed {} entries of a thread", entries.len());
        let output = ReadOutput {
            thread: folder.id.clone(),
            entries,
            unread: found.unread,
            next,
        };
        Ok(Reply::new(output, summary).touched([folder.touched(false)]))
    })
    .await
}

pub(crate) async fn plan_consume(
    source: Arc<CodexSource>,
    call: CallContext,
    input: ConsumeInput,
) -> Result<Plan<Consumption>, SourceError> {
    on_file_thread(move || {
        let folder = source.thread_of_anybody(&input.thread)?;
        if end(&folder) > LARGEST {
            return Err(too_large());
        }
        let found = whole(&folder, &|| call.is_over())?;
        let pairs: Vec<_> = found.pairs().collect();
        let position = |id: &String| {
            let at = pairs.iter().position(|pair| pair.id == *id);
            at.ok_or_else(|| SourceError::invalid(format!("the thread has no call {id}")))
        };
        let chosen: Vec<&Pair> = match (&input.before, &*input.calls) {
            (Some(before), []) => pairs[..position(before)?].to_vec(),
            (None, calls) => {
                let at: Result<Vec<_>, _> = calls.iter().map(position).collect();
                at?.into_iter().map(|at| pairs[at]).collect()
            }
            (Some(_), _) => {
                return Err(SourceError::invalid("give either calls or before"));
            }
        };
        if chosen.is_empty() {
            return Err(SourceError::invalid(
                "no call is chosen: give calls or before",
            ));
        }
        let marker = input.marker.unwrap_or_else(|| MARKER.to_owned());
        let mut preview = Preview::new(format!(
            "takes {} calls and their results out of a thread of Codex, for good",
            chosen.len()
        ))
        .fact("thread", &folder.id)
        .fact("results become", &marker);
        for pair in chosen.iter().take(SHOWN) {
            preview = preview.fact("call", format!("{} {}", pair.name, pair.id));
        }
        if chosen.len() > SHOWN {
            preview = preview.fact("and", format!("{} more", chosen.len() - SHOWN));
        }
        let plan = Consumption {
            thread: folder.id.clone(),
            calls: chosen.iter().map(|pair| pair.id.clone()).collect(),
            marker,
        };
        let assumed = serde_json::json!([plan.thread, plan.calls, plan.marker]).to_string();
        let summary = format!("took {} out of a thread", counted(plan.calls.len(), "call"));
        let token = Digest::of(assumed.as_bytes());
        Ok(Plan::new(plan, token, preview, summary).touched([folder.touched(true)]))
    })
    .await
}

pub(crate) async fn consume(
    source: Arc<CodexSource>,
    call: CallContext,
    plan: Consumption,
) -> Result<Reply<ConsumeOutput>, SourceError> {
    let (folder, turn) = source.thread_alone(&call, &plan.thread).await?;
    on_file_thread(move || {
        let _turn = turn;
        let (consumed, bytes_before, bytes_after) =
            take_out(&folder, &plan, &|| call.is_cancelled())?;
        let output = ConsumeOutput {
            ok: true,
            thread: plan.thread,
            consumed: plan.calls,
            bytes_before,
            bytes_after,
            unread: consumed.unread,
        };
        let summary = format!(
            "took {} out of a thread",
            counted(output.consumed.len(), "call")
        );
        Ok(Reply::new(output, summary).touched([folder.touched(true)]))
    })
    .await
}

/// Takes calls out of a thread and of all copies of its record; gives how long the record was and is. On the disk when it
/// returns.
fn take_out(
    folder: &ThreadFolder,
    plan: &Consumption,
    is_over: &dyn Fn() -> bool,
) -> Result<(rollout::Consumed, u64, u64), SourceError> {
    let (path, file, size) = opened(folder)?;
    let path = path_in(folder, &path);
    let (consumed, bytes_after) = rewrite(file, &path, plan, is_over).map_err(unread)?;
    let synced = path.parent().map(File::open).transpose();
    let synced = synced.and_then(|dir| dir.map_or(Ok(()), |dir| dir.sync_all()));
    synced.map_err(|error| {
        let words = format!("the record is rewritten; a power cut may undo that: {error}");
        SourceError::transport("io", words).effect(Effect::Unknown)
    })?;
    remove_copies(folder).map_err(|error| {
        let words = format!("the record is rewritten; a copy of it stays: {error}");
        SourceError::transport("io", words).effect(Effect::Partial)
    })?;
    Ok((consumed, size, bytes_after))
}

/// Where the rollout of a thread ends now.
pub(crate) fn end(folder: &ThreadFolder) -> u64 {
    let path = find(folder).ok().flatten();
    let opened = path.and_then(|path| folder.files.open_file(&path).ok());
    opened.map_or(0, |(_, meta)| meta.size)
}

/// What a thread has used, as the end of its rollout says; none where that says nothing.
pub(crate) fn used(folder: &ThreadFolder) -> Option<Usage> {
    let path = find(folder).ok()??;
    let (mut file, meta) = folder.files.open_file(&path).ok()?;
    file.seek(SeekFrom::Start(meta.size.saturating_sub(COUNTED)))
        .ok()?;
    rollout::used(BufReader::new(file)).ok()?
}

/// The calls that a turn added to a rollout.
pub(crate) fn calls(folder: &ThreadFolder, from: u64, is_over: &dyn Fn() -> bool) -> Vec<ToolCall> {
    let read = || -> Option<Rollout> {
        let path = find(folder).ok()??;
        let (mut file, meta) = folder.files.open_file(&path).ok()?;
        if meta.size.saturating_sub(from) > LARGEST {
            return None;
        }
        file.seek(SeekFrom::Start(from)).ok()?;
        Rollout::read(BufReader::new(file), is_over).ok()
    };
    let found = read().unwrap_or_default();
    let pairs = found.pairs().cloned();
    pairs
        .map(|pair| ToolCall {
            id: without_credentials(&pair.id),
            name: without_credentials(&pair.name),
            arguments: without_credentials(&pair.arguments),
            output: pair.output.as_deref().map(without_credentials),
        })
        .collect()
}

fn whole(folder: &ThreadFolder, is_over: &dyn Fn() -> bool) -> Result<Rollout, SourceError> {
    let (_, file, size) = opened(folder)?;
    let found = Rollout::read(BufReader::new(file), is_over).map_err(unread)?;
    match found.entries.is_empty() && found.unread > 0 && size > 0 {
        true => Err(SourceError::transport(
            "damaged",
            "the record of this thread is none that this version of Plexus can read",
        )),
        false => Ok(found),
    }
}

/// A thread's rollout: its path, its file and its bytes.
fn opened(folder: &ThreadFolder) -> Result<(RelPath, File, u64), SourceError> {
    let path = find(folder)?.ok_or_else(no_rollout)?;
    let opened = folder.files.open_file(&path);
    let (file, meta) = opened.map_err(|error| failed(&error))?;
    match meta.size > LARGEST {
        true => Err(too_large()),
        false => Ok((path, file, meta.size)),
    }
}

fn unread(error: io::Error) -> SourceError {
    match error.kind() {
        io::ErrorKind::Interrupted => SourceError::cancelled(Effect::None),
        _ => SourceError::transport("io", format!("the record of the thread: {error}")),
    }
}

/// The file of a thread's rollout, below folders of years, months and days.
fn find(folder: &ThreadFolder) -> Result<Option<RelPath>, SourceError> {
    let sessions = RelPath::parse("agent/sessions");
    let sessions = sessions.map_err(|error| SourceError::internal(error.to_string()))?;
    let end = format!("-{}.jsonl", folder.id);
    let mut found = Vec::new();
    let walked = folder
        .files
        .walk(&sessions, WalkBounds::default(), &|| false, |entry| {
            let name = entry.path.name();
            if entry.kind == Kind::File && name.starts_with("rollout-") && name.ends_with(&end) {
                found.push(entry.path.clone());
            }
            ControlFlow::Continue(())
        });
    // A run can put files there: of two, one is not Codex's, and behind too many others it may not be seen.
    match walked {
        Ok(report) if found.len() > 1 || report.bounded || report.unreadable > 0 => {
            let why = "the folder of this thread's sessions is not as Codex makes it";
            Err(SourceError::transport("damaged", why))
        }
        Ok(_) => Ok(found.pop()),
        Err(FileError::NotFound(_)) => Ok(None),
        Err(error) => Err(failed(&error)),
    }
}

fn path_in(folder: &ThreadFolder, path: &RelPath) -> PathBuf {
    folder.path.join(path.as_str())
}

/// Writes the rollout anew beside itself, and puts that in its place.
fn rewrite(
    old: File,
    path: &Path,
    plan: &Consumption,
    is_over: &dyn Fn() -> bool,
) -> io::Result<(rollout::Consumed, u64)> {
    let new = path.with_extension("plexus-new");
    let removed = match fs::symlink_metadata(&new) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(&new),
        Ok(_) => fs::remove_file(&new),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    };
    removed?;
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    let written = || -> io::Result<(rollout::Consumed, u64)> {
        let lines = BufReader::new(old);
        let mut to = BufWriter::new(&file);
        let consumed = rollout::consume(lines, &mut to, &plan.calls, &plan.marker, is_over)?;
        drop(to);
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        // The last that may fail: what fails here has changed nothing.
        fs::rename(&new, path)?;
        Ok((consumed, bytes))
    };
    let written = written();
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    written
}

/// Removes the databases in which Codex has the same once more.
fn remove_copies(folder: &ThreadFolder) -> io::Result<()> {
    let home = folder.path.join("agent");
    let mut failed = None;
    for entry in fs::read_dir(&home)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_copy = COPIES.iter().any(|copy| name.starts_with(copy)) && name.contains(".sqlite");
        if !is_copy {
            continue;
        }
        // A run may have put a folder in the way.
        let removed = match entry.file_type()?.is_dir() {
            true => fs::remove_dir_all(entry.path()),
            false => fs::remove_file(entry.path()),
        };
        failed = failed.or(removed.err());
    }
    // For good: a power cut brings back what was removed and is not on the disk.
    let removed = File::open(&home).and_then(|home| home.sync_all());
    failed.map_or(removed, Err)
}

fn shown(entry: Entry) -> EntryView {
    match entry {
        Entry::Said { role, text } => EntryView::Said {
            role: without_credentials(&role),
            text: without_credentials(&text),
        },
        Entry::Called(pair) => EntryView::Call {
            id: without_credentials(&pair.id),
            name: without_credentials(&pair.name),
            arguments: without_credentials(&pair.arguments),
            output: pair.output.as_deref().map(without_credentials),
        },
    }
}

fn too_large() -> SourceError {
    let words = "the record of this thread holds more than 240 MiB; begin a new thread";
    SourceError::transport("too_large", words)
}

fn no_rollout() -> SourceError {
    let words = "Codex has no record of this thread; a run begins it anew";
    SourceError::transport("not_found", words)
}

fn failed(error: &FileError) -> SourceError {
    SourceError::transport(error.reason(), error.to_string())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use plexus_rooted_files::{Policy, Root};

    #[test]
    fn what_is_taken_out_stays_out_after_a_power_cut() {
        const LINE: &str = r#"{"ordinal":1,"type":"response_item","payload":{"type":"function_call_output","call_id":"call_1","output":"SECRET"}}"#;
        let sessions = |top: &Path| top.join("agent/sessions/2026");
        let rollout = |top: &Path| sessions(top).join("rollout-1-t.jsonl");
        let copy = |top: &Path| top.join("agent/logs_1.sqlite");
        let before = |top: &Path| {
            fs::create_dir_all(sessions(top)).unwrap();
            fs::write(rollout(top), format!("{LINE}\n")).unwrap();
            fs::write(copy(top), "SECRET").unwrap();
        };
        let act = |disk: &plexus_power_cut::Disk, ()| {
            let path = disk.path();
            let folder = ThreadFolder {
                id: "t".into(),
                files: Root::open(&path, Policy::default()).unwrap(),
                path,
            };
            let plan = Consumption {
                thread: "t".into(),
                calls: BTreeSet::from(["call_1".to_owned()]),
                marker: "[gone]".into(),
            };
            let (consumed, ..) = take_out(&folder, &plan, &|| false).unwrap();
            assert_eq!(consumed.lines, 1);
        };
        let done = |top: &Path| {
            let text = fs::read_to_string(rollout(top)).unwrap_or_default();
            text.contains("[gone]") && !text.contains("SECRET") && !copy(top).exists()
        };
        plexus_power_cut::holds(before, act, done, &[]);
    }
}
