//! What is kept of tokens that a look at an item made.

use super::*;
use plexus_trust::{Agent, OnApproval, Session};
use serde_json::json;
use std::collections::BTreeMap;

const NOW: Timestamp = Timestamp(1);
const UNTIL: Timestamp = Timestamp(1_000_000);

/// A state in which one agent has an approved item and these sessions.
fn with(item: &PendingId, sessions: &[SessionId]) -> State {
    let row = json!({
        "id": "one", "status": "active", "epoch": 1, "issued_at": NOW, "reach": "exposed",
    });
    let mut agent: Agent = serde_json::from_value(row).expect("a row");
    let open = || Session {
        expires_at: UNTIL,
        client: (None, None),
    };
    agent.sessions = sessions.iter().map(|id| (id.clone(), open())).collect();
    let item = Item {
        id: item.clone(),
        agent: agent.id.clone(),
        session: SessionId::fresh(),
        agent_epoch: Some(1),
        created_at: NOW,
        expires_at: UNTIL,
        asks: Vec::new(),
        purpose: None,
        on_approval: OnApproval::Wait,
        client: (None, None),
        revision: 0,
        state: ItemState::Approved { at: NOW },
        register: None,
    };
    agent.items.insert(item.id.clone(), Arc::new(item));
    State {
        agents: Arc::new(BTreeMap::from([(agent.id.clone(), Arc::new(agent))])),
        ..State::default()
    }
}

#[test]
fn tokens_are_kept_for_open_sessions_and_for_few_of_an_item() {
    let approvals = Approvals::in_folder(PathBuf::new());
    let item = PendingId::fresh();
    let kept = || approvals.tokens.lock().expect("a lock").len();
    // A session for each look, each gone by the next: what is kept does not grow.
    let mut last = SessionId::fresh();
    for n in 0..100 {
        last = SessionId::fresh();
        let state = with(&item, std::slice::from_ref(&last));
        approvals.keep_token(&state, &item, &last, UNTIL, &json!(n));
        assert_eq!(kept(), 1);
    }
    // The control: an open session gets the same one again.
    let same = approvals.made_token(&item, &last, NOW);
    assert_eq!(same, Some(json!(99)));
    // All of them open: as many as an item may have, and the one that ends first has gone.
    let open: Vec<_> = (0..100).map(|_| SessionId::fresh()).collect();
    let state = with(&item, &open);
    for (n, session) in (0_u64..).zip(&open) {
        let until = Timestamp(UNTIL.0 + n);
        approvals.keep_token(&state, &item, session, until, &json!(n));
    }
    assert_eq!(kept(), TOKENS_OF_AN_ITEM);
    assert_eq!(approvals.made_token(&item, &open[0], NOW), None);
    assert_eq!(approvals.made_token(&item, &open[99], NOW), Some(json!(99)));
}
