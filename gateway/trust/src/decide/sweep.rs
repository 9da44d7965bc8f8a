//! What time ends by itself: items that lapse, and rows that nobody needs any more.

use super::{Draft, boxed, event};
use crate::{
    BoundedState, DENIAL_MS, Fact, ITEM_MS, ItemState, KEY_MS, REFRESH_GRACE_MS, Refusal, Reply,
    event::Change,
};

impl Draft<'_> {
    pub(super) fn sweep(&mut self) -> Result<Reply, Refusal> {
        let now = self.now;
        let mut forgotten = Vec::new();
        for agent in self.state.agents.values() {
            let of = || agent.id.clone();
            for item in agent.items.values() {
                let open = item.state == ItemState::Pending || item.has_call_left();
                if item.is_held_open()
                    && !item
                        .asks
                        .iter()
                        .any(|ask| item.open_turns(&ask.capability, now).is_some())
                {
                    self.close_turns(item, &BoundedState::Expired);
                    continue;
                }
                // What became grants and nothing else was used by being approved.
                let over = item.state.is_final()
                    || (matches!(item.state, ItemState::Approved { .. }) && !open);
                if open && now >= item.expires_at {
                    let lapsed = boxed(item, |item| item.state = ItemState::Lapsed);
                    let unmade = self.unmade(agent, item);
                    let fact = Fact::Lapsed {
                        item: item.id.clone(),
                        approved: item.state != ItemState::Pending,
                    };
                    self.emit(
                        event("grant.deny", fact)
                            .agent(&agent.id)
                            .about_one(item)
                            .set(lapsed)
                            .set_all(unmade),
                    );
                } else if over && !item.is_held_open() && now >= item.expires_at.plus(ITEM_MS) {
                    forgotten.push(Change::ItemGone(of(), item.id.clone()));
                }
            }
            let old = agent
                .denials
                .iter()
                .filter(|(_, d)| now.since(d.at) >= DENIAL_MS);
            forgotten.extend(old.map(|((c, d), _)| Change::DenialGone(of(), c.clone(), *d)));
            let old = agent.keys.iter().filter(|(_, k)| now.since(k.at) >= KEY_MS);
            forgotten.extend(old.map(|(intent, _)| Change::KeyGone(of(), intent.clone())));
            // A grant that ended stays visible as ended for as long as a denial is remembered.
            let old = agent
                .grants
                .iter()
                .filter(|(_, g)| now.since(g.expires_at) >= DENIAL_MS);
            forgotten.extend(old.map(|(c, _)| Change::GrantGone(of(), c.clone())));
            let over = agent.sessions.iter().filter(|(_, s)| now >= s.expires_at);
            forgotten.extend(over.map(|(id, _)| Change::SessionGone {
                agent: Some(of()),
                id: id.clone(),
            }));
            let over = agent
                .tokens
                .iter()
                .filter(|(_, t)| now >= t.expires_at.plus(REFRESH_GRACE_MS));
            forgotten.extend(over.map(|(id, _)| Change::TokenGone {
                agent: of(),
                id: id.clone(),
            }));
        }
        self.end_lendings();
        let over = self.state.console_sessions.iter();
        forgotten.extend(over.filter(|(_, s)| now >= s.expires_at).map(|(id, _)| {
            Change::SessionGone {
                agent: None,
                id: id.clone(),
            }
        }));
        let changed = !forgotten.is_empty();
        if changed {
            let fact = Fact::Swept {
                forgotten: forgotten.len(),
            };
            self.emit(event("source.settings", fact).set_all(forgotten));
        }
        Ok(Reply::Changed(changed))
    }
}
