//! What servers want beyond the owner's sign-ins at them: told to the owner as how a source does, until the owner signs in
//! again, or no more.
//!
//! ```text
//! 403 insufficient_scope ─worker─▶ kept, in the audit log ─▶ degraded, with what to do ─▶ another sign-in: forgotten
//! ```
//! Invariants: nothing is asked for here: only the owner begins a sign-in; what a server wants is bounded, and never an agent's.
//!
//! Must not know: what a scope means, how a sign-in is made.

use plexus_protocol::{Scopes, SourceId};
use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Those of all sources, in memory: a server that still wants more says so at the next call.
#[derive(Debug, Default)]
pub struct WantedScopes(Mutex<BTreeMap<SourceId, Scopes>>);

impl WantedScopes {
    fn all(&self) -> MutexGuard<'_, BTreeMap<SourceId, Scopes>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps what the server of a source wants, beside what it wanted before; whether that is news.
    pub(crate) fn add(&self, source: &SourceId, wanted: &Scopes) -> bool {
        let mut all = self.all();
        let before = all.get(source).cloned();
        let now = before.clone().unwrap_or_default().with(wanted);
        let is_news = before.as_ref() != Some(&now);
        all.insert(source.clone(), now);
        is_news
    }

    /// What the server of a source wants; empty where it does not say, none where it wants nothing.
    #[must_use]
    pub fn of(&self, source: &SourceId) -> Option<Scopes> {
        self.all().get(source).cloned()
    }

    /// Forgets it: the sign-in is another, or there is none.
    pub fn forget(&self, source: &SourceId) {
        self.all().remove(source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_of_a_source_add_up_until_they_are_forgotten() {
        let (wanted, source) = (WantedScopes::default(), SourceId::parse("notes").unwrap());
        let of = |text: &str| Scopes::parse(text).unwrap();
        assert!(wanted.add(&source, &of("")), "that it wants more is news");
        assert!(!wanted.add(&source, &of("")));
        assert!(wanted.add(&source, &of("a")));
        assert!(wanted.add(&source, &of("b a")));
        assert!(!wanted.add(&source, &of("b")));
        assert_eq!(wanted.of(&source), Some(of("a b")));
        wanted.forget(&source);
        assert_eq!(wanted.of(&source), None);
    }
}
