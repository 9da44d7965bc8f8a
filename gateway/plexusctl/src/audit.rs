//! `plexusctl audit`: the record of everything that happened (docs/design.md#ledger).

mod words;

use crate::{
    owner::{Desk, Owner, list_of, text_of},
    table::table,
};
use clap::{Args, Subcommand};
use http_body_util::BodyExt;
use plexus_client::{Done, Exit, Stop, events::Events, out, text};
use plexus_protocol::AuditId;
use serde_json::Value;
use std::{
    fs::{File, OpenOptions},
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
                text::block(&serde_json::to_string_pretty(&reply["event"]).unwrap_or_default())
            })
        }
        Act::Verify => {
            let reply = owner.get("/admin/api/audit/verify").await?;
            let shown = desk.show(&reply, || verdict(&reply))?;
            let holds = reply["ok"] == true && reply["problem"].is_null();
            Ok(if holds { shown } else { Exit::Failed })
        }
        Act::Archives {
            act: Some(Archives::Forget { file }),
        } => {
            desk.widen("deleting a part of the audit log")?;
            let body = serde_json::json!({ "through": file });
            let reply = owner
                .post("/admin/api/audit/archives/forget", &body)
                .await?;
            desk.show(&reply, || forgotten(&reply))
        }
        Act::Archives { act: None } => {
            let reply = owner.get("/admin/api/audit/archives").await?;
            let shown = desk.show(&reply, || archives(&reply))?;
            let astray =
                |archive: &Value| matches!(text_of(archive, "state"), "missing" | "changed");
            let whole = !list_of(&reply, "archives").iter().any(astray);
            Ok(if whole { shown } else { Exit::Failed })
        }
        Act::Export { file } => export(&mut owner, file.as_deref()).await,
    }
}

/// One event, in the shape of `GET /admin/api/audit/{id}`.
async fn one(owner: &mut Owner, which: &EventSelector) -> Result<Value, Stop> {
    let number = match which {
        EventSelector::Id(id) => return owner.get(&format!("/admin/api/audit/{id}")).await,
        EventSelector::Number(number) => *number,
    };
    let before = number.saturating_add(1);
    let reply = owner
        .get(&format!("/admin/api/audit?limit=1&before={before}"))
        .await?;
    match list_of(&reply, "events") {
        [event] if event["seq"] == number => Ok(serde_json::json!({"event": event})),
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
    let reply = owner
        .get(&format!("/admin/api/audit?limit={lines}"))
        .await?;
    let mut newest_last: Vec<Value> = list_of(&reply, "events").to_vec();
    newest_last.reverse();
    if desk.json {
        newest_last
            .iter()
            .try_for_each(|event| out::line(&event.to_string()))?;
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
        .map(|event| text_of(event, "id").to_owned())
        .collect();
    while let Some(stream) = &mut events {
        let event = tokio::select! {
            event = stream.next() => event?.ok_or_else(ended)?,
            // Whoever follows ends it so.
            _ = tokio::signal::ctrl_c() => break,
        };
        if event.kind == "missed" {
            out::say("events were missed here; they are in the audit log: plexusctl audit tail");
            continue;
        }
        let Ok(said) = serde_json::from_str::<Value>(&event.data) else {
            continue;
        };
        if event.kind != "audit_appended" || seen.iter().any(|id| said["id"] == id.as_str()) {
            continue;
        }
        if desk.json {
            out::line(&said.to_string())?;
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
async fn follow_line(owner: &mut Owner, frame: Value, widths: [usize; 2]) -> String {
    let whole = match AuditId::parse(text_of(&frame, "id")) {
        Ok(id) => one(owner, &EventSelector::Id(id)).await.ok(),
        Err(_) => None,
    };
    let event = whole.map_or(frame, |mut reply| reply["event"].take());
    let [number, time, agent, what] = row(&event).map(|cell| text::line(&cell));
    let [numbers, agents] = widths;
    format!("{number:<numbers$}  {time}  {agent:<agents$}  {what}")
}

/// Number, time, agent, what happened.
fn row(event: &Value) -> [String; 4] {
    let number = event["seq"]
        .as_u64()
        .map_or_else(|| text_of(event, "id").to_owned(), |n| format!("#{n}"));
    let time = text_of(event, "at");
    // Whole seconds are enough to read; the rest is in the event.
    let time = time
        .split_once('.')
        .map_or(time.to_owned(), |(whole, _)| format!("{whole}Z"));
    let agent = match text_of(event, "agentId") {
        "" => "-",
        agent => agent,
    };
    [number, time, agent.to_owned(), words::said(event)]
}

fn as_text(events: &[Value]) -> String {
    let rows = events.iter().map(row).collect();
    table(
        ["event", "time", "agent", "what happened"],
        rows,
        "nothing happened yet",
    )
}

fn forgotten(reply: &Value) -> String {
    let line = |archive: &Value| {
        let file = text::line(text_of(archive, "file"));
        format!(
            "deleted: {file}, events {} to {}",
            archive["first"], archive["last"]
        )
    };
    let lines: Vec<_> = list_of(reply, "forgotten").iter().map(line).collect();
    lines.join("\n")
}

fn archives(reply: &Value) -> String {
    let row = |archive: &Value| {
        let text = |member: &str| text_of(archive, member).to_owned();
        // Whole seconds are enough to read.
        let second = |member: &str| {
            text(member)
                .split('.')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let state = match text_of(archive, "state") {
            "there" => "there".to_owned(),
            "changed" => "CHANGED".to_owned(),
            "missing" => "MISSING".to_owned(),
            other => other.to_owned(),
        };
        let events = format!("{} to {}", archive["first"], archive["last"]);
        let size = crate::agents::size(archive["bytes"].as_u64().unwrap_or(0));
        [
            text("file"),
            events,
            second("from"),
            second("until"),
            size,
            state,
        ]
    };
    let rows: Vec<_> = list_of(reply, "archives").iter().map(row).collect();
    let all = table(
        ["file", "events", "from", "until", "size", "state"],
        rows,
        "there are no archives yet: every event lies in the ledger",
    );
    format!(
        "{all}\n\nThe ledger itself has the events from {} on; about {} stay in it (plexusctl config set auditKeepEvents=N).",
        reply["ledgerFrom"], reply["keepEvents"]
    )
}

fn verdict(reply: &Value) -> String {
    let events = reply["events"]
        .as_u64()
        .map_or_else(|| "?".to_owned(), |n| n.to_string());
    let problem = &reply["problem"];
    if problem.is_null() && reply["ok"] == true {
        let archives = match reply["archives"].as_u64() {
            None | Some(0) => String::new(),
            Some(1) => " (1 archive)".to_owned(),
            Some(n) => format!(" ({n} archives)"),
        };
        let since = match reply["first"].as_u64() {
            None | Some(0 | 1) => String::new(),
            Some(first) => format!(" from #{first} on, you gave up those before"),
        };
        return format!(
            "{events} events{since}{archives}, the chain holds; head {}",
            text::line(text_of(reply, "head"))
        );
    }
    if !problem["archive"].is_null() {
        let what = text::line(text_of(problem, "what"));
        return format!("the audit log is NOT consistent: {what}");
    }
    format!(
        "the audit log is NOT consistent: event {} ({}): {}",
        problem["sequence"],
        text::line(text_of(problem, "id")),
        text::line(text_of(problem, "what"))
    )
}

async fn export(owner: &mut Owner, file: Option<&Path>) -> Result<Exit, Stop> {
    let failed = |path: &Path, e: io::Error| {
        Stop::new(Exit::Failed, "output", format!("{}: {e}", path.display()))
    };
    let mut made = match file {
        Some(path) => Some((path, create(path).map_err(|e| failed(path, e))?)),
        None => None,
    };
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
            Some((path, file)) => file.write_all(&data).map_err(|e| failed(path, e))?,
            None => out::data(&data)?,
        }
    }
    if let Some((path, file)) = made {
        on_disk(&file, path).map_err(|e| failed(path, e))?;
        out::say(&format!("written: {}", path.display()));
    }
    Ok(Exit::Ok)
}

/// Brings a new file and its name to the disk.
fn on_disk(file: &File, path: &Path) -> io::Result<()> {
    file.sync_all()?;
    let folder = path.parent().filter(|above| !above.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// A new file for us alone; an export names agents and files.
fn create(path: &Path) -> io::Result<File> {
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
            on_disk(&file, &path).unwrap();
        };
        let done = |top: &Path| std::fs::read(top.join("log")).is_ok_and(|log| log == b"an event");
        plexus_power_cut::holds(|_| (), act, done, &[]);
    }

    #[test]
    fn events_in_a_line() {
        let events = [
            json!({"seq": 1, "id": "evt_1", "at": "2026-01-01T00:00:00.000Z", "type": "invoke",
            "agentId": "a", "capabilityId": "o.read", "outcome": "ok",
            "detail": {"event": "call.read", "phase": "read", "result": "ok", "summary": "read a\n.md"}}),
            json!({"seq": 2, "at": "2026-01-01T00:00:01.500Z", "detail": {"event": "launch"}}),
        ];
        assert_eq!(
            as_text(&events),
            "EVENT  TIME                  AGENT  WHAT HAPPENED\n\
             #1     2026-01-01T00:00:00Z  a      o.read: read a\\n.md\n\
             #2     2026-01-01T00:00:01Z  -      the gateway starts"
        );
    }

    #[test]
    fn events_are_named_by_number_or_id() {
        assert!(matches!(which("#76"), Ok(EventSelector::Number(76))));
        assert!(matches!(which("76"), Ok(EventSelector::Number(76))));
        let id = "evt_00000000-004c-8601-9a97-6ab6eec8d02f";
        assert!(matches!(which(id), Ok(EventSelector::Id(_))));
        assert!(which("evt_").is_err() && which("-1").is_err());
    }

    #[test]
    fn a_verdict() {
        assert_eq!(
            verdict(&json!({"ok": true, "events": 7, "head": "ab"})),
            "7 events, the chain holds; head ab"
        );
        assert_eq!(
            verdict(&json!({"ok": true, "events": 7, "head": "ab", "archives": 2})),
            "7 events (2 archives), the chain holds; head ab"
        );
        let gone = json!({"ok": false, "problem": {"archive": "a.log", "what": "archive a.log: it is missing"}});
        assert_eq!(
            verdict(&gone),
            "the audit log is NOT consistent: archive a.log: it is missing"
        );
        let broken = json!({"ok": false, "events": 7, "problem": {"sequence": 3, "id": "evt_3", "what": "hash"}});
        assert_eq!(
            verdict(&broken),
            "the audit log is NOT consistent: event 3 (evt_3): hash"
        );
    }

    #[test]
    fn archives_in_a_table() {
        let archive = json!({"file": "a.log", "first": 1, "last": 10, "bytes": 2048, "state": "missing",
            "from": "2026-01-01T00:00:00.000Z", "until": "2026-01-02T00:00:00.000Z"});
        let reply = json!({"archives": [archive], "ledgerFrom": 11, "keepEvents": 1000});
        assert_eq!(
            archives(&reply),
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
        create(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert!(create(&path).is_err());
    }
}
