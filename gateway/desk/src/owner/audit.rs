//! Reading the audit log (docs/protocol/owner.md#audit-log). Everything here reads the file, off the runtime's thread.

use super::{Acting, body::Fields};
use crate::{
    acts::{Named, blocking},
    desk::{Checked, Desk},
};
use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use plexus_edge::{
    reply::{self, Refused, ok},
    stream::ReceiverStream,
};
use plexus_home::tasks;
use plexus_ledger::{
    Archive, ArchiveState, CheckError, EventId, Finding, ForgetError, IndexTerm, Recorded,
    StoreError,
};
use plexus_protocol::{ErrorBody, ErrorCode};
use plexus_record::{Ledger, keep_events};
use serde_json::{Map, Value, json};
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

pub(super) async fn list(
    State(desk): State<Arc<Desk>>,
    request: Request,
) -> Result<Response, Refused> {
    let limit = limit(reply::query(&request, "limit").as_deref());
    let before = reply::query(&request, "before")
        .map(|b| before(&b))
        .transpose()?;
    let agent = reply::query(&request, "agent").filter(|a| !a.is_empty());
    let touched = reply::query(&request, "touched").filter(|t| !t.is_empty());
    let ledger = desk.ledger.clone();
    let found = blocking(move || find(&ledger, agent, touched, before, limit))
        .await?
        .map_err(|e| unreadable(&e))?;
    let events: Vec<Value> = found.iter().filter_map(wire_event).collect();
    Ok(ok(&json!({ "events": events })))
}

/// Unparsable and 0 mean the usual (docs/protocol/owner.md#audit-log).
fn limit(asked: Option<&str>) -> usize {
    match asked.and_then(|l| l.trim().parse::<i64>().ok()) {
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
fn wire_event(event: &Recorded) -> Option<Value> {
    let shown = shown(event.json());
    if shown.is_none() {
        tracing::error!(name: "audit.unreadable", auditId = %event.id(), "an event is no object");
    }
    shown
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

fn shown(event: &str) -> Option<Value> {
    let members = members(event)?;
    let member = |(key, value): (String, Value)| match (key.as_str(), value) {
        ("changes", _) => None,
        ("time", value) => Some(("at".to_owned(), value)),
        ("detail", Value::Object(mut detail)) if detail.get("event") == Some(&json!("note")) => {
            Some((key, detail.remove("about").unwrap_or_default()))
        }
        (_, value) => Some((key, value)),
    };
    Some(Value::Object(
        members.into_iter().filter_map(member).collect(),
    ))
}

pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
) -> Result<Response, Refused> {
    let none = || {
        Refused::new(
            ErrorBody::new(ErrorCode::NotFound, "no such audit event").next("plexusctl audit tail"),
        )
    };
    let id: EventId = id.parse().map_err(|_| none())?;
    let ledger = desk.ledger.clone();
    let found = blocking(move || ledger.event(&id))
        .await?
        .map_err(|e| unreadable(&e))?;
    let event = found.as_ref().and_then(wire_event).ok_or_else(none)?;
    Ok(ok(&json!({ "event": event })))
}

/// What lies in archives, oldest first, and from which event on the ledger's own file has all.
pub(super) async fn archives(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let ledger = desk.ledger.clone();
    let read = move || Ok((ledger.archives()?, ledger.first_in_file()?));
    let (list, first) = blocking(read).await?.map_err(|e| unreadable(&e))?;
    let list: Vec<_> = list.iter().map(|(a, place)| archive(a, *place)).collect();
    Ok(ok(&json!({
        "archives": list,
        "folder": desk.state_dir.join("archive"),
        "ledgerFrom": first,
        "keepEvents": keep_events(&desk.ledger.snapshot().settings),
    })))
}

/// Gives up an archive and those before it: the owner's own act, recorded, and for ever.
pub(super) async fn forget(
    State(desk): State<Arc<Desk>>,
    _: Acting,
    request: Request,
) -> Result<Response, Refused> {
    let body = Fields(reply::object_body(request).await?);
    let through = body.text("through")?.unwrap_or_default().to_owned();
    let gone = desk.ledger.forget_archives(through).await;
    let gone = gone.map_err(|error| {
        let (code, next) = match &error {
            ForgetError::Unknown => (ErrorCode::NotFound, "plexusctl audit archives"),
            ForgetError::TooSoon => (ErrorCode::Busy, "repeat after a moment"),
            ForgetError::Unavailable(_) => (ErrorCode::AuditUnavailable, "plexusctl status"),
        };
        Refused::new(ErrorBody::new(code, format!("Nothing was given up: {error}.")).next(next))
    })?;
    let list: Vec<_> = gone
        .iter()
        .map(|a| archive(a, ArchiveState::Forgotten))
        .collect();
    Ok(ok(&json!({"ok": true, "forgotten": list})))
}

fn archive(archive: &Archive, place: ArchiveState) -> Value {
    json!({
        "file": archive.file,
        "first": archive.first,
        "last": archive.last,
        "from": archive.from,
        "until": archive.until,
        "bytes": archive.bytes,
        "sha256": archive.sha256,
        "state": match place {
            ArchiveState::There => "there",
            ArchiveState::Missing => "missing",
            ArchiveState::Changed => "changed",
            ArchiveState::Forgotten => "forgotten",
        },
    })
}

/// Checks the whole chain, and that it leads to the rows of now.
pub(super) async fn verify(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
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
    match verified {
        Ok(verified) => Ok(ok(&json!({
            "ok": true,
            "events": verified.events,
            "head": hex(&verified.head.hash),
            "sequence": verified.head.seq,
            "checkpoints": verified.checkpoints,
            "rows": verified.rows,
            "heads": verified.heads,
            "archives": verified.archives,
            "first": verified.first,
        }))),
        Err(CheckError::Found(finding)) => {
            tracing::error!(name: "ledger.broken", error = %finding, "the ledger does not hold together");
            Ok(ok(&json!({"ok": false, "problem": problem(&finding)})))
        }
        Err(CheckError::Later(unknown)) => {
            let what = format!("a later version wrote what this one cannot read ({unknown})");
            Ok(ok(&json!({"ok": false, "problem": {"what": what}})))
        }
        Err(CheckError::Store(error)) => Err(unreadable(&error)),
    }
}

fn problem(finding: &Finding) -> Value {
    let mut out = json!({"what": finding.to_string()});
    match finding {
        Finding::Event { seq, id, .. } => {
            out["sequence"] = json!(seq);
            if let Some(id) = id {
                out["id"] = json!(id);
            }
        }
        Finding::Missing { seq } | Finding::Checkpoint { seq, .. } | Finding::Head { seq, .. } => {
            out["sequence"] = json!(seq);
        }
        Finding::Archive { file, first, .. } => {
            out["archive"] = json!(file);
            out["sequence"] = json!(first);
        }
        Finding::Row { .. } | Finding::Pages { .. } => {}
    }
    out
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
    let error = ErrorBody::new(
        ErrorCode::AuditUnavailable,
        "The audit log cannot be read now.",
    );
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
        assert_eq!(shown(stored).unwrap().to_string(), wire);
        let note = r#"{"detail":{"event":"note","about":{"event":"secret.set"}}}"#;
        assert_eq!(
            shown(note).unwrap(),
            json!({"detail": {"event": "secret.set"}})
        );
        assert_eq!(shown("[]"), None);
    }

    #[test]
    fn limits_as_the_wire_has_them() {
        for (asked, is) in [
            (None, 200),
            (Some("abc"), 200),
            (Some("0"), 200),
            (Some("7"), 7),
            (Some("-3"), 1),
            (Some("9999"), 1000),
        ] {
            assert_eq!(limit(asked), is, "{asked:?}");
        }
        assert_eq!(before("12").unwrap(), 12);
        assert!(before("evt_x").is_err());
    }
}
