//! `plexusctl audit`: the record of everything that happened (docs/design.md#ledger).

mod words;

use crate::{
    owner::{Desk, Owner, json_line},
    prompt::confirm,
    table::table,
};
use clap::{Args, Subcommand};
use http_body_util::BodyExt;
use plexus_client::{Done, Exit, Stop, events::Events, out, text};
use plexus_owner::audit::{
    self, Archive, ArchiveState, Event, ForgetArchives, ForgottenArchives, ListArchives,
    ShownEvent, Verdict, Verify,
};
use plexus_protocol::{AuditId, state_dir};
use rustix::{
    fs::{CWD, RenameFlags, link, renameat_with},
    io::Errno,
};
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The audit log.
#[derive(Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    act: Act,
}

#[derive(Subcommand)]
enum Act {
    /// Show the newest events
    Tail {
        /// How many
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        lines: u16,
        /// Follow new events
        #[arg(long, short)]
        follow: bool,
    },
    /// Show one event in full
    Show {
        /// Event: its number, or its id
        #[arg(value_parser = which)]
        event: EventSelector,
    },
    /// Verify the hash chain, and that its events produce the present state
    Verify,
    /// List the archives with older events
    Archives {
        #[command(subcommand)]
        act: Option<Archives>,
    },
    /// Export every event, oldest first, one per line after its hash
    Export {
        /// File to make [default: stdout]
        file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum Archives {
    /// Delete an archive and all older ones permanently; the audit log keeps that you did
    Forget {
        /// Name of the newest archive to delete
        file: String,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

/// An event, as it is named on the command line.
#[derive(Clone)]
enum EventSelector {
    Number(u64),
    Id(AuditId),
}

fn which(text: &str) -> Result<EventSelector, String> {
    match text.trim_start_matches('#').parse() {
        Ok(number) => Ok(EventSelector::Number(number)),
        Err(_) => AuditId::parse(text)
            .map(EventSelector::Id)
            .map_err(|e| format!("write an event's number, or its id, which is {e}")),
    }
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, audit: Audit) -> Result<Exit, Stop> {
    let mut owner = desk.open().await?;
    match audit.act {
        Act::Tail { lines, follow } => tail(desk, &mut owner, lines, follow).await,
        Act::Show { event } => {
            let reply = one(&mut owner, &event).await?;
            // A value that was parsed can be written.
            desk.show(&reply, || {
                text::block(&serde_json::to_string_pretty(&reply.event).unwrap_or_default())
            })
        }
        Act::Verify => {
            let reply = owner.call(&Verify {}).await?;
            let shown = desk.show(&reply, || verdict(&reply))?;
            Ok(match reply {
                Verdict::Holds(_) => shown,
                Verdict::Broken(_) => Exit::Failed,
            })
        }
        Act::Archives {
            act: Some(Archives::Forget { file, yes }),
        } => {
            desk.ask_for_person::<ForgetArchives>()?;
            if !yes && desk.can_ask() {
                let shown = text::line(&file);
                let question = format!("delete {shown} and all older archives for good");
                confirm(desk, &question, "--yes")?;
            }
            let reply = owner.call(&ForgetArchives { through: file }).await?;
            desk.show(&reply, || forgotten(&reply))
        }
        Act::Archives { act: None } => {
            let reply = owner.call(&ListArchives {}).await?;
            let shown = desk.show(&reply, || archives(&reply))?;
            let astray = |archive: &Archive| {
                matches!(archive.state, ArchiveState::Missing | ArchiveState::Changed)
            };
            let whole = !reply.archives.iter().any(astray);
            Ok(if whole { shown } else { Exit::Failed })
        }
        Act::Export { file } => export(&mut owner, file.as_deref()).await,
    }
}

/// One event.
async fn one(owner: &mut Owner, which: &EventSelector) -> Result<ShownEvent, Stop> {
    let number = match which {
        EventSelector::Id(id) => {
            let id = id.to_string();
            return owner.call(&audit::Show { id }).await;
        }
        EventSelector::Number(number) => *number,
    };
    let just_this = audit::List {
        limit: Some(1),
        before: Some(number.saturating_add(1).to_string()),
        ..audit::List::default()
    };
    let mut events = owner.call(&just_this).await?.events;
    match events.pop() {
        Some(event) if event.head().seq == Some(number) => Ok(ShownEvent { event }),
        _ => Err(Stop::new(
            Exit::Failed,
            "unknown_event",
            format!("there is no event {number}"),
        )
        .next("plexusctl audit tail")),
    }
}

async fn tail(desk: &Desk, owner: &mut Owner, lines: u16, follow: bool) -> Result<Exit, Stop> {
    // The stream is opened before the list is read, so that nothing falls between the two.
    let mut events = match follow {
        true => Some(Events::of(owner.stream("/v1/events").await?)),
        false => None,
    };
    let newest = audit::List {
        limit: Some(lines.into()),
        ..audit::List::default()
    };
    let mut newest_last = owner.call(&newest).await?.events;
    newest_last.reverse();
    if desk.json {
        newest_last
            .iter()
            .try_for_each(|event| out::line(&json_line(event)?))?;
    } else {
        out::line(&as_text(&newest_last))?;
    }
    let cells: Vec<_> = newest_last.iter().map(row).collect();
    let width = |column: usize, least: usize| {
        let widths = cells
            .iter()
            .map(|cells| text::line(&cells[column]).chars().count());
        widths.max().unwrap_or(0).max(least)
    };
    // The heads of the two columns are as wide as this.
    let widths = [width(0, "event".len()), width(2, "agent".len())];
    let seen: Vec<_> = newest_last
        .iter()
        .filter_map(|event| event.head().id.clone())
        .collect();
    if events.is_some() {
        desk.say_following("ends this");
    }
    while let Some(stream) = &mut events {
        let event = tokio::select! {
            event = stream.next() => event?.ok_or_else(ended)?,
            // A follower ends it so.
            _ = tokio::signal::ctrl_c() => break,
            () = out::reader_gone() => break,
        };
        if event.kind == "missed" {
            out::say("events were missed here; they are in the audit log: plexusctl audit tail");
            continue;
        }
        let Ok(said) = serde_json::from_str::<Event>(&event.data) else {
            continue;
        };
        let is_seen = said.head().id.as_ref().is_some_and(|id| seen.contains(id));
        if event.kind != "audit_appended" || is_seen {
            continue;
        }
        if desk.json {
            out::line(&json_line(&said)?)?;
        } else {
            out::line(&follow_line(&mut *owner, said, widths).await)?;
        }
    }
    Ok(Exit::Ok)
}

/// The stream is over, and nobody here wanted that.
fn ended() -> Stop {
    let why = "the gateway ended the stream: what happens from now on is not shown";
    Stop::new(Exit::Failed, "connection_lost", why)
        .next("when it runs again: plexusctl audit tail --follow")
}

/// One more event as a line; what the stream leaves out of it is asked for.
async fn follow_line(owner: &mut Owner, frame: Event, widths: [usize; 2]) -> String {
    let id = frame.head().id.as_deref().map(AuditId::parse);
    let whole = match id {
        Some(Ok(id)) => one(owner, &EventSelector::Id(id)).await.ok(),
        Some(Err(_)) | None => None,
    };
    let event = whole.map_or(frame, |reply| reply.event);
    let [number, time, agent, what] = row(&event).map(|cell| text::line(&cell));
    let [numbers, agents] = widths;
    format!("{number:<numbers$}  {time}  {agent:<agents$}  {what}")
}

/// Number, time, agent, what happened.
fn row(event: &Event) -> [String; 4] {
    let head = event.head();
    let id = || head.id.clone().unwrap_or_default();
    let number = head.seq.map_or_else(id, |n| format!("#{n}"));
    // Whole seconds are enough to read; the rest is in the event.
    let time = head
        .at
        .map_or_else(String::new, |at| second(&at.to_string()) + "Z");
    [
        number,
        time,
        words::actor(event).to_owned(),
        words::said(event),
    ]
}

/// A moment without what follows its seconds.
fn second(moment: &str) -> String {
    moment.split('.').next().unwrap_or_default().to_owned()
}

fn as_text(events: &[Event]) -> String {
    let rows = events.iter().map(row).collect();
    table(
        ["event", "time", "agent", "what happened"],
        rows,
        "nothing happened yet",
    )
}

fn forgotten(reply: &ForgottenArchives) -> String {
    let line = |archive: &Archive| {
        let file = text::line(&archive.file);
        format!(
            "deleted: {file}, events {} to {}",
            archive.first, archive.last
        )
    };
    let lines: Vec<_> = reply.forgotten.iter().map(line).collect();
    lines.join("\n")
}

fn archives(reply: &audit::Archives) -> String {
    let row = |archive: &Archive| {
        let state = match archive.state {
            ArchiveState::There => "there",
            ArchiveState::Changed => "CHANGED",
            ArchiveState::Missing => "MISSING",
            ArchiveState::Forgotten => "forgotten",
        };
        [
            archive.file.clone(),
            format!("{} to {}", archive.first, archive.last),
            second(&archive.from),
            second(&archive.until),
            crate::agents::size(archive.bytes),
            state.to_owned(),
        ]
    };
    let rows: Vec<_> = reply.archives.iter().map(row).collect();
    let all = table(
        ["file", "events", "from", "until", "size", "state"],
        rows,
        "there are no archives yet: every event lies in the ledger",
    );
    format!(
        "{all}\n\nThe ledger itself has the events from {} on; about {} stay in it (plexusctl config set auditKeepEvents=N).",
        reply.ledger_from, reply.keep_events
    )
}

fn verdict(reply: &Verdict) -> String {
    let problem = match reply {
        Verdict::Holds(log) => {
            let archives = match log.archives {
                0 => String::new(),
                1 => " (1 archive)".to_owned(),
                n => format!(" ({n} archives)"),
            };
            let since = match log.first {
                0 | 1 => String::new(),
                first => format!(" from #{first} on, you gave up those before"),
            };
            return format!(
                "{} events{since}{archives}, the chain holds; head {}",
                log.events,
                text::line(&log.head)
            );
        }
        Verdict::Broken(log) => &log.problem,
    };
    let what = text::line(&problem.what);
    let event = match (&problem.archive, problem.sequence, &problem.id) {
        (None, Some(number), Some(id)) => format!("event {number} ({}): ", text::line(id)),
        (None, Some(number), None) => format!("event {number}: "),
        (Some(_), ..) | (None, None, _) => String::new(),
    };
    format!("the audit log is NOT consistent: {event}{what}")
}

/// Makes the export, or prints it; `-` is standard output, as with other commands.
async fn export(owner: &mut Owner, file: Option<&Path>) -> Result<Exit, Stop> {
    let file = file.filter(|path| *path != Path::new("-"));
    let made = match file {
        Some(path) => Some((path, create(path)?)),
        None => None,
    };
    let written = tokio::select! {
        written = write_export(owner, made) => written,
        // One to standard output leaves nothing, and is ended by the signal itself.
        _ = tokio::signal::ctrl_c(), if file.is_some() => {
            Err(Stop::new(Exit::Failed, "interrupted", "you interrupted it"))
        }
    };
    if let (Err(_), Some(path)) = (&written, file) {
        let _ = fs::remove_file(part_of(path));
    }
    written
}

async fn write_export(owner: &mut Owner, mut made: Option<(&Path, File)>) -> Result<Exit, Stop> {
    let mut body = owner.stream("/admin/api/audit/export").await?.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| {
            Stop::new(
                Exit::Failed,
                "connection_lost",
                format!("the export is not complete: {e}"),
            )
            .done(Done::Unknown)
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        match &mut made {
            Some((path, file)) => file.write_all(&data).map_err(|e| failed(path, &e))?,
            None => out::data(&data)?,
        }
    }
    if let Some((path, file)) = made {
        on_disk(&file, path)?;
        out::say(&format!("written: {}", path.display()));
    }
    Ok(Exit::Ok)
}

/// The file that an export lies in until it is whole. The chain of a part holds too: under the final name it would pass for the whole.
fn part_of(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

fn failed(path: &Path, error: &io::Error) -> Stop {
    let why = format!("{}: {error}", path.display());
    Stop::new(Exit::Failed, "output", why)
}

/// Brings a new file to the disk, and then to its name, which is nobody else's.
fn on_disk(file: &File, path: &Path) -> Result<(), Stop> {
    let named = file.sync_all().and_then(|()| name(&part_of(path), path));
    named.map_err(|e| failed(path, &e))?;
    // The whole has its name by now.
    state_dir::sync_name(path).map_err(|e| failed(path, &e).done(Done::Unknown))
}

/// Gives a part its name, which is nobody else's. Not each file system can do so in one step, nor has links.
fn name(part: &Path, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, part, CWD, path, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
        renamed => return Ok(renamed?),
    }
    match link(part, path) {
        // Two numbers on some systems, and one on others.
        Err(e) if [Errno::PERM, Errno::NOSYS, Errno::NOTSUP, Errno::OPNOTSUPP].contains(&e) => {
            copy(part, path)?;
        }
        linked => linked?,
    }
    let _ = fs::remove_file(part);
    Ok(())
}

/// Copies a part into a new file.
fn copy(part: &Path, path: &Path) -> io::Result<()> {
    let (mut part, mut whole) = (File::open(part)?, create_private(path)?);
    let copied = io::copy(&mut part, &mut whole).and_then(|_| whole.sync_all());
    if copied.is_err() {
        let _ = fs::remove_file(path);
    }
    copied
}

/// The part of a new file; without its name until it is whole.
fn create(path: &Path) -> Result<File, Stop> {
    if path.symlink_metadata().is_ok() {
        let taken = io::ErrorKind::AlreadyExists.into();
        return Err(Stop::new_file(path, &taken));
    }
    let part = part_of(path);
    create_private(&part).map_err(|e| match e.kind() {
        // Left by a process of this number that was killed.
        io::ErrorKind::AlreadyExists => Stop::new_file(&part, &e),
        _ => Stop::new_file(path, &e),
    })
}

/// A new file for us alone; an export names agents and files.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    #[cfg(target_os = "linux")]
    fn export_survives_a_power_cut() {
        let act = |disk: &plexus_power_cut::Disk, ()| {
            let path = disk.path().join("log");
            let mut file = create(&path).unwrap();
            file.write_all(b"an event").unwrap();
            assert!(!path.exists(), "a part has not the name");
            on_disk(&file, &path).unwrap();
        };
        let done = |top: &Path| fs::read(top.join("log")).is_ok_and(|log| log == b"an event");
        plexus_power_cut::holds(|_| (), act, done, &[]);
    }

    #[test]
    fn copied_export_replaces_nothing() {
        let top = tempfile::tempdir().unwrap();
        let path = top.path().join("log");
        create(&path).unwrap().write_all(b"an event").unwrap();
        // The same process has it already.
        let part = part_of(&path);
        let stop = create(&path).unwrap_err();
        assert_eq!(
            stop.next,
            Stop::new_file(&part, &io::ErrorKind::AlreadyExists.into()).next
        );
        copy(&part, &path).unwrap();
        let again = copy(&part, &path).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"an event");
    }

    #[test]
    fn events_in_a_line() {
        let events = [
            json!({"seq": 1, "id": "evt_1", "at": "2026-01-01T00:00:00.000Z", "type": "invoke",
            "agentId": "a", "capabilityId": "o.read", "outcome": "ok",
            "detail": {"event": "call.read", "phase": "read", "result": "ok", "summary": "read a\n.md"}}),
            json!({"seq": 2, "at": "2026-01-01T00:00:01.500Z", "detail": {"event": "launch"}}),
            json!({"seq": 3, "at": "2026-01-01T00:00:02Z", "capabilityId": "o.read",
            "detail": {"event": "exposure.set", "enabled": false}}),
        ];
        let events = events.map(|event| serde_json::from_value(event).unwrap());
        assert_eq!(
            as_text(&events),
            "EVENT  TIME                  AGENT  WHAT HAPPENED\n\
             #1     2026-01-01T00:00:00Z  a      o.read: read a\\n.md\n\
             #2     2026-01-01T00:00:01Z  -      the gateway starts\n\
             #3     2026-01-01T00:00:02Z  you    o.read: you hide it"
        );
    }

    #[test]
    fn events_are_named_by_number_or_id() {
        assert!(matches!(which("#76"), Ok(EventSelector::Number(76))));
        assert!(matches!(which("76"), Ok(EventSelector::Number(76))));
        let id = "evt_00000000-004c-8601-9a97-6ab6eec8d02f";
        assert!(matches!(which(id), Ok(EventSelector::Id(_))));
        for bad in ["evt_", "-1"] {
            let why = which(bad).map(|_| ()).unwrap_err();
            assert!(why.starts_with("write an event's number"), "{bad}: {why}");
        }
    }

    #[test]
    fn a_verdict() {
        let verdict = |reply: serde_json::Value| {
            let reply: Verdict = serde_json::from_value(reply).unwrap();
            verdict(&reply)
        };
        let sound = |archives: u64| {
            json!({"ok": true, "events": 7, "head": "ab", "sequence": 7, "checkpoints": 1, "rows": 3, "heads": 1,
                "archives": archives, "first": 1})
        };
        assert_eq!(verdict(sound(0)), "7 events, the chain holds; head ab");
        assert_eq!(
            verdict(sound(2)),
            "7 events (2 archives), the chain holds; head ab"
        );
        let gone = json!({"ok": false, "problem": {"archive": "a.log", "what": "archive a.log: it is missing"}});
        assert_eq!(
            verdict(gone),
            "the audit log is NOT consistent: archive a.log: it is missing"
        );
        let broken =
            json!({"ok": false, "problem": {"sequence": 3, "id": "evt_3", "what": "hash"}});
        assert_eq!(
            verdict(broken),
            "the audit log is NOT consistent: event 3 (evt_3): hash"
        );
        let pages = json!({"ok": false, "problem": {"what": "a page is damaged"}});
        assert_eq!(
            verdict(pages),
            "the audit log is NOT consistent: a page is damaged"
        );
    }

    #[test]
    fn archives_in_a_table() {
        let archive = json!({"file": "a.log", "first": 1, "last": 10, "bytes": 2048, "state": "missing", "sha256": "ab",
            "from": "2026-01-01T00:00:00.000Z", "until": "2026-01-02T00:00:00.000Z"});
        let reply =
            json!({"archives": [archive], "folder": "/x", "ledgerFrom": 11, "keepEvents": 1000});
        assert_eq!(
            archives(&serde_json::from_value(reply).unwrap()),
            "FILE   EVENTS   FROM                 UNTIL                SIZE   STATE\n\
             a.log  1 to 10  2026-01-01T00:00:00  2026-01-02T00:00:00  2 KiB  MISSING\n\n\
             The ledger itself has the events from 11 on; about 1000 stay in it (plexusctl config set auditKeepEvents=N)."
        );
    }

    #[test]
    fn an_export_replaces_nothing() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.txt");
        let file = create(&path).unwrap();
        assert!(!path.exists(), "it is not whole");
        on_disk(&file, &path).unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        let again = create(&path).unwrap_err();
        assert!(again.why.contains("exists"), "{again:?}");
    }
}
