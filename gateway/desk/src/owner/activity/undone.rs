//! Which changes were taken back, out of the audit log: an undo names its change by its input, of which the log has the
//! digest.
//!
//! Invariant: an undo that was taken back itself counts for nothing. An undo whose input names more than the change, as
//! an agent may write it, is not known here; its source refuses a second one. An undo of a source with change sets may
//! leave files as the change left them: it counts where it changed as many files as the change, and not where it was itself
//! taken back in part, or perhaps.
//!
//! Must not know: what a source keeps.

use super::{Entry, OutcomeKind, entry, read};
use crate::{desk::Desk, owner::undo::input_of};
use plexus_ledger::StoreError;
use plexus_owner::{
    activity::{ActivityCall, ActivityRow},
    plan::Touched,
};
use plexus_protocol::{AuditId, CapabilityId, Digest, Effect, Verb, json};
use plexus_record::Ledger;
use plexus_sources::Registry;
use plexus_trust::State as TrustState;
use std::collections::HashMap;

/// The capability that takes changes back, of each source that has one.
pub(super) type UndoCapabilities = HashMap<String, UndoCapability>;

/// A capability that takes changes back.
pub(super) struct UndoCapability {
    pub(super) id: CapabilityId,
    /// Whether it takes all of a change back or nothing.
    pub(super) is_whole: bool,
}

impl UndoCapability {
    /// Whether an undo that changed so many things took back all of a change of so many.
    fn takes_all(&self, undone: usize, changed: usize) -> bool {
        self.is_whole || (changed > 0 && undone == changed)
    }
}

pub(super) fn capabilities(registry: &Registry, state: &TrustState) -> UndoCapabilities {
    let of = |(id, source): (&plexus_protocol::SourceId, &plexus_trust::Source)| {
        let connector = registry.of_source(&source.config)?;
        let manifest = &connector.offer.manifest;
        let undo = UndoCapability {
            id: CapabilityId::of(id, manifest.undo.as_deref()?).ok()?,
            is_whole: manifest.change_sets.is_none(),
        };
        Some((id.to_string(), undo))
    };
    state
        .sources
        .iter()
        .filter_map(|(id, source)| of((id, source)))
        .collect()
}

/// Leaves `undo` out of the rows whose change was taken back, or is of before a restore: no backup holds what an undo needs.
/// Of the others those are marked on which a later change lies.
/// The newest `most` events tell it; an archive that cannot be read tells nothing.
pub(super) fn left_out(
    ledger: &Ledger,
    undos: &UndoCapabilities,
    rows: Vec<&mut ActivityRow>,
    most: usize,
) -> Result<(), StoreError> {
    let undoable = rows.iter().filter(|row| row.call().undo.is_some());
    let Some(oldest) = undoable.map(|row| row.call().seq).min() else {
        return Ok(());
    };
    let mut undone = UndoneChanges::new(undos);
    let mut later = Vec::new();
    let mut restored = 0;
    let since = oldest + 1..ledger.head()?.seq + 1;
    let walked = ledger.walk_back(None, since, most, |event| {
        if let Some(entry) = entry(event) {
            undone.note(&entry);
            later.extend(undone.change(event.seq(), &entry));
        }
        let is_setting = event.event_type() == "source.settings";
        if is_setting && read(event).is_some_and(|entry| entry.detail.what() == "restored") {
            restored = restored.max(event.seq());
        }
        true
    });
    match walked {
        Ok(_) | Err(StoreError::Archive { .. }) => {}
        Err(error) => return Err(error),
    }
    for row in rows {
        let call = row.call();
        let named = call.source.as_deref().zip(call.undo.as_deref());
        let files = call.touched_count.unwrap_or_default();
        let is_undone = named.is_some_and(|(source, name)| undone.has(source, name, files));
        let is_before = call.seq < restored;
        if is_before || is_undone {
            row.forget_undo(is_undone && !is_before);
        } else if let Some(later) = later.iter().find(|later| later.is_above(call)) {
            row.put_below(later.intent.to_string());
        }
    }
    Ok(())
}

/// The same of rows that no page of the log is read for, within its newest [`UNDOS`](super::UNDOS) events.
pub(super) fn left_out_of_told(
    desk: &Desk,
    state: &TrustState,
    rows: Vec<&mut ActivityRow>,
) -> Result<(), StoreError> {
    let undos = capabilities(&desk.edge.kernel.registry, state);
    left_out(&desk.ledger, &undos, rows, super::UNDOS)
}

/// A change that was not taken back.
struct LaterChange {
    seq: u64,
    intent: AuditId,
    source: String,
    touched: Vec<Touched>,
}

impl LaterChange {
    /// Whether it changed all that an earlier one did. Two entries of one calendar are no change of the same.
    fn is_above(&self, call: &ActivityCall) -> bool {
        let touched = call.touched.as_deref().unwrap_or_default();
        let mut things = changed(touched).peekable();
        call.undo.is_some()
            // All that it touched is at hand.
            && call.touched_count == Some(touched.len())
            && self.seq > call.seq
            && call.source.as_deref() == Some(&*self.source)
            && things.peek().is_some()
            && things.all(|thing| changed(&self.touched).any(|one| one == thing))
    }
}

fn changed(touched: &[Touched]) -> impl Iterator<Item = &str> {
    let changed = touched.iter().filter(|thing| thing.access != Verb::Read);
    changed.map(|thing| &*thing.id)
}

/// Changes that were taken back, as far as they were met.
struct UndoneChanges<'u> {
    undos: &'u UndoCapabilities,
    /// By the undo and the digest of its input, how many things the newest one changed; 0 where nobody knows.
    by: HashMap<(&'u CapabilityId, String), usize>,
    /// Calls of which the owner found out whether they happened; none that happened in part.
    settled: HashMap<AuditId, bool>,
}

impl<'u> UndoneChanges<'u> {
    fn new(undos: &'u UndoCapabilities) -> Self {
        Self {
            undos,
            by: HashMap::new(),
            settled: HashMap::new(),
        }
    }

    /// Takes the next older event into account.
    fn note(&mut self, entry: &Entry<'_>) {
        let detail = &entry.detail;
        let Some(intent) = &detail.intent else {
            return;
        };
        if let Some(happened) = detail.happened.filter(|_| !detail.in_part) {
            self.settled.insert(intent.clone(), happened);
        }
        let id = entry.capability_id.as_deref().unwrap_or_default();
        let Some((source, _)) = id.split_once('.') else {
            return;
        };
        let undo = self.undos.get(source).filter(|undo| undo.id.as_str() == id);
        let (Some(undo), Some(input)) = (undo, &detail.input) else {
            return;
        };
        let touched = entry.touched().map_or(0, |touched| touched.len());
        let in_doubt = (!undo.is_whole).then_some(0);
        let counted = match (detail.went(), self.settled.get(intent), detail.effect) {
            (OutcomeKind::Ok, ..) | (OutcomeKind::Unknown, Some(true), _) => Some(touched),
            (OutcomeKind::Unknown, None, _) => in_doubt,
            (OutcomeKind::Failed, _, Some(effect)) if effect != Effect::None => in_doubt,
            _ => None,
        };
        let Some(counted) = counted.filter(|_| detail.what() == "outcome") else {
            return;
        };
        let name = detail.undo.as_deref().unwrap_or(intent.as_str());
        let counted = match self.undone_by(undo, name) {
            Some(back) if undo.takes_all(back, touched) => return,
            // A part of what it took back is there again.
            Some(_) => 0,
            None => counted,
        };
        let of_it = self.by.entry((&undo.id, input.to_string()));
        of_it.or_insert(counted);
    }

    /// The change that an event tells, where its source can take it back and has not. An undo is none.
    fn change(&self, seq: u64, entry: &Entry<'_>) -> Option<LaterChange> {
        let detail = &entry.detail;
        let (intent, name) = detail.intent.as_ref().zip(detail.undo.as_deref())?;
        let id = entry.capability_id.as_deref()?;
        let (source, _) = id.split_once('.')?;
        let undo = self.undos.get(source).filter(|undo| undo.is_whole)?;
        let is_undo = undo.id.as_str() == id;
        let is_done = detail.what() == "outcome" && matches!(detail.went(), OutcomeKind::Ok);
        let is_change = is_done && !is_undo && !self.has(source, name, 0);
        is_change.then(|| LaterChange {
            seq,
            intent: intent.clone(),
            source: source.to_owned(),
            touched: entry.touched().unwrap_or_default(),
        })
    }

    /// Whether the change of so many things that its source names so was taken back as a whole.
    fn has(&self, source: &str, name: &str, touched: usize) -> bool {
        self.undos.get(source).is_some_and(|undo| {
            let back = self.undone_by(undo, name);
            back.is_some_and(|back| undo.takes_all(back, touched))
        })
    }

    /// How many things the newest undo changed that names this change; 0 where nobody knows.
    fn undone_by(&self, undo: &UndoCapability, name: &str) -> Option<usize> {
        let input = Digest::of(&json::canonical(&input_of(name)));
        self.by.get(&(&undo.id, input.to_string())).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::SourceId;

    const NAMES: [&str; 3] = [
        "evt_00000000-0001-8000-8000-000000000000",
        "evt_00000000-0002-8000-8000-000000000000",
        "evt_00000000-0003-8000-8000-000000000000",
    ];

    /// The outcome of the call `of`, which named `change` to `capability`.
    fn outcome(of: &str, capability: &str, change: &str, result: &str) -> String {
        let input = Digest::of(&json::canonical(&input_of(change)));
        format!(
            r#"{{"capabilityId":"{capability}","detail":{{"phase":"outcome","intent":"{of}","input":"{input}","result":"{result}","undo":"{of}"}}}}"#
        )
    }

    /// The undo of the source `notes`.
    fn undos(is_whole: bool) -> UndoCapabilities {
        let source = SourceId::parse("notes").unwrap();
        let id = CapabilityId::of(&source, "undo").unwrap();
        [("notes".to_owned(), UndoCapability { id, is_whole })].into()
    }

    /// Whether the first change is undone by these events, the newest first.
    fn is_undone(events: &[String]) -> bool {
        let undos = undos(true);
        let mut undone = UndoneChanges::new(&undos);
        for event in events {
            undone.note(&serde_json::from_str(event).unwrap());
        }
        undone.has("notes", NAMES[0], 0)
    }

    #[test]
    fn undo_that_may_leave_files_counts_for_all() {
        let undos = undos(false);
        let file = r#"{"kind":"file","id":"a","access":"write"}"#;
        let two = format!(r#","touched":[{file},{file}]}}}}"#);
        let note = |undone: &mut UndoneChanges<'_>, of: &str, change: &str| {
            let event = outcome(of, "notes.undo", change, "ok").replace("}}", &two);
            undone.note(&serde_json::from_str(&event).unwrap());
        };
        let mut undone = UndoneChanges::new(&undos);
        note(&mut undone, NAMES[1], NAMES[0]);
        assert!(undone.has("notes", NAMES[0], 2));
        // It left a file, or the log does not have them.
        assert!(!undone.has("notes", NAMES[0], 3) && !undone.has("notes", NAMES[0], 0));
        // The undo is taken back.
        let mut undone = UndoneChanges::new(&undos);
        note(&mut undone, NAMES[2], NAMES[1]);
        note(&mut undone, NAMES[1], NAMES[0]);
        assert!(!undone.has("notes", NAMES[0], 2));
    }

    #[test]
    fn undo_taken_back_in_part_counts_for_nothing() {
        let undos = undos(false);
        let file = r#"{"kind":"file","id":"a","access":"write"}"#;
        let two = format!(r#","touched":[{file},{file}]}}}}"#);
        let counts = |newer: &[String]| {
            let mut undone = UndoneChanges::new(&undos);
            let undo = outcome(NAMES[1], "notes.undo", NAMES[0], "ok").replace("}}", &two);
            for event in newer.iter().chain([&undo]) {
                undone.note(&serde_json::from_str(event).unwrap());
            }
            undone.has("notes", NAMES[0], 2)
        };
        let back = |result| outcome(NAMES[2], "notes.undo", NAMES[1], result);
        let in_part = back("failed").replace("}}", r#","effect":"partial"}}"#);
        let settled = |happened| {
            let of = NAMES[2];
            format!(
                r#"{{"detail":{{"event":"unknown.settle","intent":"{of}","happened":{happened}}}}}"#
            )
        };
        // The answer of the first was lost: the log has none of its files.
        for newer in [back("ok"), back("unknown"), in_part] {
            assert!(!counts(&[newer]));
        }
        assert!(!counts(&[settled(true), back("unknown")]));
        // The control: it was not taken back.
        for newer in [back("failed"), back("refused")] {
            assert!(counts(&[newer]));
        }
        assert!(counts(&[settled(false), back("unknown")]));
    }

    #[test]
    fn change_of_the_same_things_lies_above() {
        let undos = undos(true);
        let touched = |ids: &[&str]| {
            let one = |id: &&str| format!(r#"{{"kind":"note","id":"{id}","access":"write"}}"#);
            ids.iter().map(one).collect::<Vec<_>>().join(",")
        };
        let earlier: ActivityCall = serde_json::from_str(&format!(
            r#"{{"auditId":"evt_0","seq":1,"at":"2026-01-01T00:00:00.000Z","did":"changed","source":"notes","undo":"x","touchedCount":2,"touched":[{}]}}"#,
            touched(&["list", "a"])
        ))
        .unwrap();
        let is_above = |capability: &str, ids: &[&str], undone: bool| {
            let mut found = UndoneChanges::new(&undos);
            if undone {
                let taken_back = outcome(NAMES[2], "notes.undo", NAMES[1], "ok");
                found.note(&serde_json::from_str(&taken_back).unwrap());
            }
            let later = outcome(NAMES[1], capability, "", "ok");
            let things = format!(r#","touched":[{}]}}}}"#, touched(ids));
            let later = later.replace("}}", &things);
            let later = found.change(2, &serde_json::from_str(&later).unwrap());
            later.is_some_and(|later| later.is_above(&earlier))
        };
        assert!(is_above("notes.write", &["a", "b", "list"], false));
        assert!(!is_above("notes.write", &["a", "b", "list"], true));
        assert!(!is_above("notes.write", &["b", "list"], false));
        assert!(!is_above("notes.undo", &["a", "list"], false));
        assert!(!is_above("todos.write", &["a", "list"], false));
    }

    #[test]
    fn change_is_undone_by_an_undo_that_was_done() {
        let undo = |result| outcome(NAMES[1], "notes.undo", NAMES[0], result);
        assert!(is_undone(&[undo("ok")]));
        assert!(!is_undone(&[undo("failed")]));
        assert!(!is_undone(&[undo("unknown")]));
        let settled = |happened| {
            format!(
                r#"{{"detail":{{"event":"unknown.settle","intent":"{}","happened":{happened}}}}}"#,
                NAMES[1]
            )
        };
        assert!(is_undone(&[settled(true), undo("unknown")]));
        assert!(!is_undone(&[settled(false), undo("unknown")]));
        let in_part = settled(true).replace("true", r#"true,"inPart":true"#);
        assert!(!is_undone(&[in_part, undo("unknown")]));
        // Another capability with the same input, and another source's undo.
        assert!(!is_undone(&[outcome(
            NAMES[1],
            "notes.stop",
            NAMES[0],
            "ok"
        )]));
        assert!(!is_undone(&[outcome(
            NAMES[1],
            "todos.undo",
            NAMES[0],
            "ok"
        )]));
        // The undo is taken back.
        let back = outcome(NAMES[2], "notes.undo", NAMES[1], "ok");
        assert!(!is_undone(&[back, undo("ok")]));
    }
}
