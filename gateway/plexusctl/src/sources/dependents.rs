//! The question at a terminal before a source is disabled or removed, which names what depends on it.
//!
//! Invariant: the act itself needs nothing that is looked up here: a look-up that fails, or takes long, leaves its part out.

use crate::{changes::is_applied, owner::Desk, prompt::confirm};
use plexus_client::Stop;
use plexus_owner::{calls, changes, grants, pending};
use plexus_protocol::{CapabilityId, SourceId};
use std::time::Duration;
use tokio::time::timeout;

/// How long all of them are looked up.
const LOOK: Duration = Duration::from_secs(3);

/// How many of what depends on a source.
#[derive(Default)]
struct Dependents {
    grants: usize,
    requests: usize,
    calls: usize,
    sets: usize,
}

/// Asks at a terminal before a source goes with all that depends on it; elsewhere nobody is asked.
pub(crate) async fn confirm_removal(desk: &Desk, source: &SourceId, yes: bool) -> Result<(), Stop> {
    if !desk.owes_yes(yes) {
        return Ok(());
    }
    let lost = Dependents::of(desk, source).await.in_words();
    let lost = lost.map_or_else(String::new, |lost| format!(", and {lost}"));
    confirm(
        desk,
        &format!("remove {source} with its secrets{lost}"),
        "--yes",
    )
}

/// Asks at a terminal before a source is disabled.
pub(super) async fn confirm_disabling(
    desk: &Desk,
    source: &SourceId,
    yes: bool,
) -> Result<(), Stop> {
    if !desk.asks(yes) {
        return Ok(());
    }
    let held = Dependents::of(desk, source).await.in_words();
    let held = held.map_or_else(String::new, |held| format!(", with {held}"));
    confirm(desk, &format!("disable {source}{held}"), "--yes")
}

impl Dependents {
    async fn of(desk: &Desk, source: &SourceId) -> Self {
        let mut found = Self::default();
        let _ = timeout(LOOK, found.look(desk, source)).await;
        found
    }

    async fn look(&mut self, desk: &Desk, source: &SourceId) {
        let is_on = |id: &CapabilityId| id.parts().0 == source.as_str();
        let Ok(mut owner) = desk.open().await else {
            return;
        };
        if let Ok(all) = owner.call(&grants::List {}).await {
            let all = all.grants.iter();
            self.grants = all.filter(|grant| is_on(&grant.capability_id)).count();
        }
        if let Ok(all) = owner.call(&calls::List {}).await {
            let all = all.calls.iter();
            self.calls = all.filter(|call| is_on(&call.capability_id)).count();
        }
        if let Ok(all) = owner.call(&pending::List::default()).await {
            let all = all.pending.iter().flatten();
            let of_it = |item: &&pending::Item| item.heading.capabilities.iter().any(is_on);
            self.requests = all.filter(of_it).count();
        }
        // Its worker is asked, which may not answer.
        let sets = changes::List {
            source: Some(source.to_string()),
        };
        if let Ok(all) = owner.call(&sets).await {
            let all = all.sets.iter();
            self.sets = all.filter(|set| !is_applied(set)).count();
        }
    }

    /// `3 grants, 1 running call`; none where nothing depends on it.
    fn in_words(&self) -> Option<String> {
        let counts = [
            (self.grants, "grant", "grants"),
            (self.requests, "waiting request", "waiting requests"),
            (
                self.calls,
                "running call, which ends",
                "running calls, which end",
            ),
            (
                self.sets,
                "change set that is not applied",
                "change sets that are not applied",
            ),
        ];
        let some = counts.iter().filter(|(count, ..)| *count > 0);
        let words: Vec<_> = some
            .map(|(count, one, many)| match count {
                1 => format!("1 {one}"),
                count => format!("{count} {many}"),
            })
            .collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependents_of_a_source_are_counted_in_words() {
        assert_eq!(Dependents::default().in_words(), None);
        let some = Dependents {
            grants: 3,
            requests: 1,
            calls: 1,
            sets: 0,
        };
        let words = "3 grants, 1 waiting request, 1 running call, which ends";
        assert_eq!(some.in_words().as_deref(), Some(words));
    }
}
