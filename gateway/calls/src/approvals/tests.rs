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

#[test]
fn lost_member_plans_are_not_taken_for_none() {
    let approvals = Approvals::in_folder(PathBuf::new());
    let (item, file) = (
        PendingId::fresh(),
        CapabilityId::parse("filing.file").expect("an id"),
    );
    let (preview, state_token, member) = (
        Digest::of(b"preview"),
        Digest::of(b"workflow"),
        Digest::of(b"member"),
    );
    let state = |plan: Plan| {
        let mut state = with(&item, &[]);
        let ask = json!({"capability": file, "verbs": ["write"], "plan": plan});
        let ask: Ask = serde_json::from_value(ask).expect("an ask");
        let agents = Arc::make_mut(&mut state.agents);
        for agent in agents.values_mut() {
            let items = Arc::make_mut(agent).items.values_mut();
            items.for_each(|item| Arc::make_mut(item).asks.push(ask.clone()));
        }
        state
    };
    let ready = state(Plan::Ready {
        preview,
        state_token,
        rating: plexus_protocol::Verb::Write,
        once: false,
    });
    // As after a restart: the card had a plan, and it is gone.
    assert_eq!(approvals.members_planned(&ready, &item, &file), None);
    // The card said that there is no plan.
    let failed = state(Plan::Failed);
    let planned = approvals.members_planned(&failed, &item, &file);
    assert_eq!(planned, Some(Vec::new()));
    let made = PlanMade {
        preview: plexus_ipc::message::Preview::default(),
        state_token,
        touched: Vec::new(),
        rating: plexus_protocol::Verb::Write,
        summary: Default::default(),
        warnings: Vec::new(),
    };
    let made = Planned::Made(Arc::new(made), preview, vec![None, Some(member)]);
    approvals.keep_plan(&item, &file, made);
    let planned = approvals.members_planned(&ready, &item, &file);
    assert_eq!(planned, Some(vec![None, Some(member)]));
}

#[test]
fn plan_and_answer_that_came_while_it_was_tidied_stay() {
    let dir = tempfile::tempdir().expect("a folder");
    let approvals = Approvals::in_folder(dir.path().to_owned());
    let (late, gone) = (PendingId::fresh(), PendingId::fresh());
    let id = CapabilityId::parse("w.write").expect("an id");
    let failed = || Planned::Failed("no such folder".to_owned());
    let answer = || withheld_answer(&id, given::read_is_over(&id));
    let waiting = |item: &PendingId| {
        let mut state = with(item, &[]);
        for agent in Arc::make_mut(&mut state.agents).values_mut() {
            let items = Arc::make_mut(agent).items.values_mut();
            items.for_each(|item| Arc::make_mut(item).state = ItemState::Pending);
        }
        state
    };
    approvals.keep_plan(&gone, &id, failed());
    approvals.keep_ran(&gone, &id, answer());
    // The first look is at the ledger before the item, and both are kept by the next one.
    let looks = std::cell::Cell::new(0);
    approvals.tidy(|| {
        if looks.replace(looks.get() + 1) > 0 {
            return Arc::new(waiting(&late));
        }
        approvals.keep_plan(&late, &id, failed());
        approvals.keep_ran(&late, &id, answer());
        Arc::default()
    });
    let held = |item: &PendingId| {
        let key = (item.clone(), id.clone());
        let plans = approvals.plans.lock().expect("a lock");
        let ran = approvals.ran.lock().expect("a lock");
        (plans.contains_key(&key), ran.contains_key(&key))
    };
    assert_eq!(held(&late), (true, true));
    assert_eq!(held(&gone), (false, false), "the control");
}
