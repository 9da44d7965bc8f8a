//! What is read of an event, and what a long log costs.

use super::*;
use plexus_ledger::{Lane, Options};
use plexus_protocol::{AgentId, CapabilityId};
use plexus_trust::{Command, Note};
use serde_json::json;

#[test]
fn a_stored_event_is_read_without_its_rows() {
    let text = r#"{"seq":7,"id":"evt_x","time":"t","type":"invoke","agentId":"a\n","capabilityId":"w.write",
        "detail":{"event":"call.outcome","phase":"outcome","result":"unknown","touched":[{"kind":"file"}]},
        "changes":[{"closed":"x"}]}"#;
    let entry: Entry<'_> = serde_json::from_str(text).unwrap();
    assert_eq!(entry.agent_id.as_deref(), Some("a\n"));
    assert_eq!(entry.detail.result, Some(OutcomeKind::Unknown));
    assert_eq!(
        entry.detail.touched.map(RawValue::get),
        Some(r#"[{"kind":"file"}]"#)
    );
}

fn refused(agent: &str) -> Command {
    Command::Note(Note {
        kind: "invoke",
        agent: Some(AgentId::parse(agent).unwrap()),
        capability: Some(CapabilityId::parse("w.write").unwrap()),
        outcome: Some("denied"),
        detail: json!({"code": "grant_required"}),
    })
}

/// A refused call has what a call that was made has: what it was about, and the card that had allowed it.
#[tokio::test]
async fn refused_call_names_its_file_and_card() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(Arc::new(|| 1_800_000_000_000));
    let (ledger, _) = Ledger::open(dir.path(), options).unwrap();
    let Command::Note(mut note) = refused("one") else {
        unreachable!("a refusal is a note");
    };
    // As a Mac writes ü.
    note.detail["touched"] = json!([{"kind": "file", "id": "u\u{308}.md", "access": "write"}]);
    note.detail["basis"] = json!({"item": "pend_1"});
    let notes = [refused("one"), Command::Note(note)];
    for command in notes {
        assert!(ledger.submit(command, Lane::Agent).await.is_ok());
    }
    let state = ledger.snapshot();
    let found = |query: &str| {
        let undos = UndoCapabilities::new();
        in_any_form(&ledger, &state, &undos, wanted(query), EVENTS)
            .unwrap()
            .calls
    };
    assert_eq!(found("touched=\u{fc}.md").len(), 1, "in the other form");
    assert_eq!(found("touched=u.md").len(), 0);
    let found = found("touched=u\u{308}.md");
    assert_eq!(found.len(), 1, "the index knows it");
    let call = found[0].call();
    assert_eq!(call.touched.as_ref().unwrap()[0].id, "u\u{308}.md");
    assert_eq!(call.touched_count, Some(1));
    assert_eq!(call.basis, Some(CallBasis::Item("pend_1".to_owned())));
}

fn wanted(query: &str) -> List {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let pairs: Vec<_> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    plexus_owner::read([], &pairs, serde_json::Map::new()).unwrap()
}

/// A long log, one event in a thousand of it a rare agent's: each page reads no more than it may, pages add up, and what
/// the index knows costs a page and not a log. A hundred thousand events unless `PLEXUS_TEST_LENGTH` is `quick`.
#[tokio::test]
async fn a_long_log_is_told_in_bounded_pages() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(Arc::new(|| 1_800_000_000_000));
    let (ledger, _) = Ledger::open(dir.path(), options).unwrap();
    let batch = 2_000_u64;
    let rounds = match std::env::var("PLEXUS_TEST_LENGTH").as_deref() {
        Ok("full" | "long") => 50,
        _ => 12,
    };
    let events = rounds * batch;
    for round in 0..rounds {
        let mut acks = Vec::new();
        for n in 0..batch {
            let agent = if n % 1_000 == round { "rare" } else { "busy" };
            acks.push(ledger.submit(refused(agent), Lane::Agent));
        }
        for ack in acks {
            assert!(ack.await.is_ok());
        }
    }
    let state = ledger.snapshot();
    let all = |query: &str| {
        let (mut found, mut refused, mut pages, mut before) = (0_u64, 0, 0_u64, String::new());
        loop {
            let page = page(
                &ledger,
                &state,
                &UndoCapabilities::new(),
                &wanted(&format!("{query}{before}")),
                EVENTS,
            )
            .unwrap();
            let calls = page.calls.len() as u64;
            assert!(calls <= MOST as u64);
            found += calls;
            refused += page.totals.refused;
            pages += 1;
            match page.next {
                Some(next) => before = format!("&before={next}"),
                None => return (found, refused, pages),
            }
        }
    };
    let (found, counted, pages) = all("limit=0");
    assert_eq!((found, counted), (0, events));
    assert!(
        pages <= 6,
        "counting reads {EVENTS} events at once: {pages} pages"
    );
    let (found, counted, ..) = all("limit=1000&agent=rare");
    assert_eq!((found, counted), (events / 1_000, events / 1_000));
    assert_eq!(all("agent=nobody").0, 0);
    // A moment is found without a walk.
    assert_eq!(all("since=2027-01-15T08:00:00.001Z").0, 0);
    assert_eq!(all("limit=0&since=2027-01-15T08:00:00.000Z").1, events);
    assert_eq!(all("until=2027-01-15T08:00:00.000Z").0, 0);
    assert!(ledger.close());
}

#[test]
fn newest_later_change_is_undone_first() {
    let row = |id: &str, capability: &str, undo: Option<&str>| {
        ActivityRow::new(ActivityCall {
            audit_id: id.to_owned(),
            capability_id: Some(capability.to_owned()),
            undo: undo.map(str::to_owned),
            ..ActivityCall::default()
        })
    };
    let undo = CapabilityId::parse("notes.undo").unwrap();
    // The third was undone, by the fourth.
    let rows = [
        row("evt_4", "notes.undo", Some("u4")),
        row("evt_3", "notes.write", None),
        row("evt_2", "notes.write", Some("u2")),
        row("evt_1", "notes.write", Some("u1")),
    ];
    assert_eq!(first_to_undo(&rows, "evt_1", &undo), Some("evt_2"));
    assert_eq!(first_to_undo(&rows, "evt_2", &undo), None);
    assert_eq!(first_to_undo(&rows[1..], "evt_3", &undo), None);
}
