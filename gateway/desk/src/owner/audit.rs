//! Reading the audit log (docs/protocol/owner.md#audit-log). Everything here reads the file, off the runtime's thread.

use super::Acting;
use crate::{
    acts::blocking,
    desk::{Checked, Desk},
    table::{Reading, Served},
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use plexus_edge::{
    reply::{self, Refused},
    stream::ReceiverStream,
};
use plexus_home::tasks;
use plexus_ledger::{
    Archive, ArchiveState, CheckError, EventId, Finding, ForgetError, IndexTerm, Recorded,
    StoreError,
};
use plexus_owner::{
    Done,
    audit::{
        self, Archives, BrokenLog, Event, Events, ForgetArchives, ForgottenArchives, List,
        ListArchives, Problem, Show, ShownEvent, Verdict, VerifiedLog, Verify,
    },
};
use plexus_protocol::{ErrorBody, ErrorCode};
use plexus_record::{Ledger, keep_events};
use serde_json::{Map, Value};
use std::{
    io,
    sync::{Arc, PoisonError},
};
use tokio::sync::{Semaphore, mpsc};

/// Events of a list that names no limit, and the most it may name.
const USUAL: usize = 200;
const MOST: usize = 1_000;
/// Events that an export reads at once.
const BATCH: usize = 500;
/// Batches that wait for a slow reader of an export.
const AHEAD: usize = 2;
/// A full check reads the whole log: one at a time.
static VERIFYING: Semaphore = Semaphore::const_new(1);

pub(super) fn serve(served: Served) -> Served {
    let reads = served.with(list).with(show).with(archives);
    reads.with(forget).with(verify)
}

async fn list(desk: Arc<Desk>, _: Reading, wanted: List) -> Result<Events, Refused> {
    let limit = limit(wanted.limit);
    let before = wanted.before.as_deref().map(before).transpose()?;
    let ledger = desk.ledger.clone();
    let found = blocking(move || find(&ledger, wanted.agent, wanted.touched, before, limit))
        .await?
        .map_err(|e| unreadable(&e))?;
    Ok(Events {
        events: found.iter().filter_map(wire_event).collect(),
    })
}

/// None and 0 mean the usual (docs/protocol/owner.md#audit-log).
fn limit(asked: Option<i64>) -> usize {
    match asked {
        None | Some(0) => USUAL,
        Some(n) => usize::try_from(n).unwrap_or(1).min(MOST),
    }
}

/// A sequence number, or an event's id, which carries it.
fn before(text: &str) -> Result<u64, Refused> {
    let seq = text
        .parse()
        .ok()
        .or_else(|| text.parse::<EventId>().ok().map(|id| id.seq()));
    seq.ok_or_else(|| Refused::malformed("`before` is an event id or a sequence number"))
}

fn find(
    ledger: &Ledger,
    agent: Option<String>,
    touched: Option<String>,
    before: Option<u64>,
    limit: usize,
) -> Result<Vec<Recorded>, StoreError> {
    match (agent, touched) {
        (None, None) => ledger.tail(limit, before),
        (Some(agent), None) => ledger.find(&IndexTerm::Agent(agent), before, limit),
        (None, Some(thing)) => ledger.find(&IndexTerm::Touched(thing), before, limit),
        (Some(agent), Some(thing)) => {
            // Who touched a thing is a short list; the agent is looked for in it.
            let (term, mut below, mut found) = (IndexTerm::Touched(thing), before, Vec::new());
            loop {
                let page = ledger.find(&term, below, MOST)?;
                let (last, whole) = (page.last().map(Recorded::seq), page.len() == MOST);
                found.extend(page.into_iter().filter(|e| is_of(e, &agent)));
                if !whole || found.len() >= limit {
                    found.truncate(limit);
                    return Ok(found);
                }
                below = last;
            }
        }
    }
}

fn is_of(event: &Recorded, agent: &str) -> bool {
    serde_json::from_str::<Value>(event.json())
        .is_ok_and(|e| e.get("agentId").and_then(Value::as_str) == Some(agent))
}

/// An event as the wire shows it: `at` for `time`, a note's own words as its detail, and no rows, which are the
/// machine's own.
fn wire_event(event: &Recorded) -> Option<Event> {
    let shown = shown(event.json());
    if shown.is_none() {
        tracing::error!(name: "audit.unreadable", auditId = %event.id(), "an event is no object");
    }
    shown.map(Event::from)
}

/// An event's members, with what the log leaves out of calls.
pub(super) fn members(event: &str) -> Option<Map<String, Value>> {
    let Ok(Value::Object(mut members)) = serde_json::from_str::<Value>(event) else {
        return None;
    };
    if members.get("type").is_some_and(|kind| kind == "invoke")
        && let Some(detail) = members.get_mut("detail")
    {
        plexus_trust::spell_out(detail);
    }
    Some(members)
}

fn shown(event: &str) -> Option<Map<String, Value>> {
    let member = |(key, value): (String, Value)| match (key.as_str(), value) {
        ("changes", _) => None,
        ("time", value) => Some(("at".to_owned(), value)),
        ("detail", Value::Object(mut detail))
            if detail.get("event").is_some_and(|event| event == "note") =>
        {
            Some((key, detail.remove("about").unwrap_or_default()))
        }
        (_, value) => Some((key, value)),
    };
    Some(members(event)?.into_iter().filter_map(member).collect())
}

async fn show(desk: Arc<Desk>, _: Reading, call: Show) -> Result<ShownEvent, Refused> {
    let none = || {
        Refused::new(
            ErrorBody::new(ErrorCode::NotFound, "no such audit event").next("plexusctl audit tail"),
        )
    };
    let id: EventId = call.id.parse().map_err(|_| none())?;
    let ledger = desk.ledger.clone();
    let found = blocking(move || ledger.event(&id))
        .await?
        .map_err(|e| unreadable(&e))?;
    let event = found.as_ref().and_then(wire_event).ok_or_else(none)?;
    Ok(ShownEvent { event })
}

/// What lies in archives, oldest first, and from which event on the ledger's own file has all.
async fn archives(desk: Arc<Desk>, _: Reading, _: ListArchives) -> Result<Archives, Refused> {
    let ledger = desk.ledger.clone();
    let read = move || Ok((ledger.archives()?, ledger.first_in_file()?));
    let (list, ledger_from) = blocking(read).await?.map_err(|e| unreadable(&e))?;
    let archives = list.into_iter().map(|(a, place)| archive(a, place));
    Ok(Archives {
        archives: archives.collect(),
        folder: desk.state_dir.join("archive"),
        ledger_from,
        keep_events: keep_events(&desk.ledger.snapshot().settings),
    })
}

/// Gives up an archive and those before it: the owner's own act, recorded, and for ever.
async fn forget(
    desk: Arc<Desk>,
    _: Acting,
    call: ForgetArchives,
) -> Result<ForgottenArchives, Refused> {
    let gone = desk.ledger.forget_archives(call.through).await;
    let gone = gone.map_err(|error| {
        let (code, next) = match &error {
            ForgetError::Unknown => (ErrorCode::NotFound, "plexusctl audit archives"),
            ForgetError::TooSoon => (ErrorCode::Busy, "repeat after a moment"),
            ForgetError::Unavailable(_) => (ErrorCode::AuditUnavailable, "plexusctl status"),
        };
        Refused::new(ErrorBody::new(code, format!("Nothing was given up: {error}.")).next(next))
    })?;
    let forgotten = gone
        .into_iter()
        .map(|a| archive(a, ArchiveState::Forgotten));
    Ok(ForgottenArchives {
        ok: Done,
        forgotten: forgotten.collect(),
    })
}

fn archive(archive: Archive, place: ArchiveState) -> audit::Archive {
    audit::Archive {
        file: archive.file,
        first: archive.first,
        last: archive.last,
        from: archive.from,
        until: archive.until,
        bytes: archive.bytes,
        sha256: archive.sha256,
        state: match place {
            ArchiveState::There => audit::ArchiveState::There,
            ArchiveState::Missing => audit::ArchiveState::Missing,
            ArchiveState::Changed => audit::ArchiveState::Changed,
            ArchiveState::Forgotten => audit::ArchiveState::Forgotten,
        },
    }
}

/// Checks the whole chain, and that it leads to the rows of now.
async fn verify(desk: Arc<Desk>, _: Reading, _: Verify) -> Result<Verdict, Refused> {
    let Ok(_turn) = VERIFYING.try_acquire() else {
        let error = ErrorBody::new(ErrorCode::Busy, "The log is being checked already.");
        return Err(Refused::new(
            error
                .with("retryAfterMs", 1_000)
                .next("repeat after a moment"),
        ));
    };
    let ledger = desk.ledger.clone();
    let verified = blocking(move || ledger.verify(true)).await?;
    if let Ok(_) | Err(CheckError::Found(_)) = &verified {
        *desk.checked.lock().unwrap_or_else(PoisonError::into_inner) = Checked {
            at: desk.clock.now(),
            by: "verify",
            holds: verified.is_ok(),
        };
    }
    let problem = match verified {
        Ok(verified) => {
            return Ok(Verdict::Holds(VerifiedLog {
                ok: Done,
                events: verified.events,
                head: hex(&verified.head.hash),
                sequence: verified.head.seq,
                checkpoints: verified.checkpoints,
                rows: verified.rows,
                heads: verified.heads,
                archives: verified.archives,
                first: verified.first,
            }));
        }
        Err(CheckError::Found(finding)) => {
            tracing::error!(name: "ledger.broken", error = %finding, "the ledger does not hold together");
            problem(&finding)
        }
        Err(CheckError::Later(unknown)) => Problem {
            what: format!("a later version wrote what this one cannot read ({unknown})"),
            ..Problem::default()
        },
        Err(CheckError::Store(error)) => return Err(unreadable(&error)),
    };
    Ok(Verdict::Broken(BrokenLog { ok: false, problem }))
}

fn problem(finding: &Finding) -> Problem {
    let (archive, sequence, id) = match finding {
        Finding::Event { seq, id, .. } => (None, Some(*seq), id.as_ref().map(ToString::to_string)),
        Finding::Missing { seq } | Finding::Checkpoint { seq, .. } | Finding::Head { seq, .. } => {
            (None, Some(*seq), None)
        }
        Finding::Archive { file, first, .. } => (Some(file.clone()), Some(*first), None),
        Finding::Row { .. } | Finding::Pages { .. } => (None, None, None),
    };
    Problem {
        what: finding.to_string(),
        archive,
        sequence,
        id,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The log as lines of text, oldest first, as far as it goes when the export begins; `after` goes on from a sequence.
pub(super) async fn export(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refused> {
    let after = reply::query(&request, "after");
    let after = after.map_or(Ok(0), |a| a.parse::<u64>());
    let after = after.map_err(|_| Refused::malformed("`after` is a sequence number"))?;
    let ledger = desk.ledger.clone();
    let end = {
        let ledger = ledger.clone();
        blocking(move || ledger.head())
            .await?
            .map_err(|e| unreadable(&e))?
            .seq
    };
    let (give, take) = mpsc::channel(AHEAD);
    tokio::spawn(lines(ledger, after, end, give));
    let mut response = Response::new(Body::from_stream(ReceiverStream(take)));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn lines(ledger: Ledger, mut after: u64, end: u64, give: mpsc::Sender<io::Result<Bytes>>) {
    while after < end {
        let reader = ledger.clone();
        let wanted = BATCH.min(usize::try_from(end - after).unwrap_or(BATCH));
        let batch = match tasks::blocking(move || reader.after(after, wanted)).await {
            Ok(Ok(batch)) if !batch.is_empty() => Ok(batch),
            Ok(Ok(_)) => Err(io::Error::other("the log ends before its head")),
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(error) => Err(io::Error::other(error)),
        };
        let text = batch.map(|batch| {
            after = batch.last().map_or(end, Recorded::seq);
            batch.iter().fold(String::new(), |text, event| {
                text + &event.export_line() + "\n"
            })
        });
        // An error cuts the connection: half an export must not look like a whole one.
        let over = text.is_err();
        if give.send(text.map(Bytes::from)).await.is_err() || over {
            return;
        }
    }
}

pub(super) fn unreadable(error: &StoreError) -> Refused {
    tracing::error!(name: "audit.unreadable", %error, "the audit log cannot be read");
    if let StoreError::Archive { .. } = error {
        let what = format!("Older events cannot be read: {error}.");
        let error = ErrorBody::new(ErrorCode::AuditUnavailable, what);
        return Refused::new(error.next("plexusctl audit archives"));
    }
    let what = format!("The audit log cannot be read now: {error}.");
    let error = ErrorBody::new(ErrorCode::AuditUnavailable, what);
    Refused::new(error.next("plexusctl status"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_without_the_machines_rows() {
        let stored =
            r#"{"seq":1,"time":"t","type":"invoke","detail":{"event":"call.read"},"changes":[1]}"#;
        let wire = r#"{"seq":1,"at":"t","type":"invoke","detail":{"event":"call.read"}}"#;
        let shown = |event: &str| shown(event).map(|members| Value::from(members).to_string());
        assert_eq!(shown(stored).unwrap(), wire);
        let note = r#"{"detail":{"event":"note","about":{"event":"secret.set"}}}"#;
        assert_eq!(shown(note).unwrap(), r#"{"detail":{"event":"secret.set"}}"#);
        assert_eq!(shown("[]"), None);
    }

    #[test]
    fn limits_as_the_wire_has_them() {
        for (asked, is) in [
            (None, 200),
            (Some("abc"), 200),
            (Some("0"), 200),
            (Some(" 7"), 7),
            (Some("-3"), 1),
            (Some("9999"), 1000),
        ] {
            let asked = asked.map(|asked| ("limit".to_owned(), asked.to_owned()));
            let list: List = plexus_owner::read([], asked.as_slice(), Map::new()).unwrap();
            assert_eq!(limit(list.limit), is, "{asked:?}");
        }
        assert_eq!(before("12").unwrap(), 12);
        let refused = before("evt_x").unwrap_err();
        assert_eq!(
            refused.why(),
            "`before` is an event id or a sequence number"
        );
    }
}
