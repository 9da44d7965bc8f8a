//! Who is signed in to the console, and the links that lead in. In memory: a restart signs everybody out.
//!
//! ```text
//! link: made ─used once─▶ gone        made ─2 minutes, or key rotated─▶ gone
//! session: signed in ─▶ live ─sign-out, 1 h without the owner, 12 h, key rotated─▶ over
//! ```
//! Invariants: secrets are kept as their SHA-256; a session is entered with its cookie *and* the secret of one of its
//! tabs, because a cookie goes to every port of its host; nothing outlives the key it was made under.
//!
//! Must not know: HTTP.

use plexus_protocol::{
    Digest, PendingId, Timestamp,
    credential::{ConsoleCookie, ConsoleLink, NoRandomness, TabSecret},
};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How long a link leads in, in ms: enough to start a browser.
pub const LINK_MS: u64 = 2 * 60 * 1000;
/// How long a session lasts without a sign of the owner, in ms.
pub(crate) const IDLE_MS: u64 = 60 * 60 * 1000;
/// How long a session lasts at most, in ms: a day's work.
pub(crate) const LONGEST_MS: u64 = 12 * 60 * 60 * 1000;
/// Sessions and links at one time; the oldest go first.
const MOST: usize = 32;
/// Tabs of one session; the oldest go first.
const TABS: usize = 16;
/// Decisions that are remembered as made here.
const DECISIONS: usize = 256;

/// One session, by the digest of its cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Visitor(Digest);

impl Visitor {
    /// The owner outside of every session: in a terminal. No cookie has this digest.
    pub const TERMINAL: Self = Self(Digest([0; 32]));
}

/// The present, as sessions count it.
#[derive(Clone, Copy, Debug)]
pub struct Present {
    pub(crate) now: Timestamp,
    /// How often the key was rotated in this launch.
    pub(crate) epoch: u64,
}

/// What a browser gets at sign-in.
pub struct Entered {
    /// None: the browser's cookie is good already, and another tab was added to its session.
    pub cookie: Option<ConsoleCookie>,
    /// The tab's secret.
    pub tab: TabSecret,
}

/// The console's sessions.
#[derive(Default)]
pub struct Sessions(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    live: HashMap<Visitor, Session>,
    links: HashMap<Digest, (Timestamp, u64)>,
    decided: VecDeque<(PendingId, Visitor)>,
}

struct Session {
    tabs: VecDeque<Digest>,
    epoch: u64,
    begun: Timestamp,
    seen: Timestamp,
}

impl Session {
    fn stands(&self, at: Present) -> bool {
        self.epoch == at.epoch
            && at.now.since(self.seen) < IDLE_MS
            && at.now.since(self.begun) < LONGEST_MS
    }
}

impl Sessions {
    fn inner(&self, at: Present) -> MutexGuard<'_, Inner> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.live.retain(|_, session| session.stands(at));
        inner
            .links
            .retain(|_, (made, epoch)| *epoch == at.epoch && at.now.since(*made) < LINK_MS);
        inner
    }

    /// Makes a link that leads in once.
    ///
    /// # Errors
    /// Where the system gives no randomness.
    pub fn link(&self, at: Present) -> Result<ConsoleLink, NoRandomness> {
        let link = ConsoleLink::fresh()?;
        let mut inner = self.inner(at);
        make_room(&mut inner.links, |(made, _)| *made);
        inner.links.insert(link.digest(), (at.now, at.epoch));
        Ok(link)
    }

    /// Uses a link up; false where there is none.
    pub fn redeem(&self, link: &str, at: Present) -> bool {
        ConsoleLink::parse(link)
            .is_some_and(|link| self.inner(at).links.remove(&link.digest()).is_some())
    }

    /// Signs in a browser that has proven to be the owner's. A browser that is signed in gets one more tab.
    ///
    /// # Errors
    /// Where the system gives no randomness.
    pub fn enter(&self, cookie: Option<&str>, at: Present) -> Result<Entered, NoRandomness> {
        let (tab, fresh) = (TabSecret::fresh()?, ConsoleCookie::fresh()?);
        let mut inner = self.inner(at);
        let known = cookie
            .and_then(visitor_of)
            .filter(|visitor| inner.live.contains_key(visitor));
        let (visitor, cookie) = match known {
            Some(visitor) => (visitor, None),
            None => {
                make_room(&mut inner.live, |session| session.seen);
                (Visitor(fresh.digest()), Some(fresh))
            }
        };
        let session = inner.live.entry(visitor).or_insert(Session {
            tabs: VecDeque::new(),
            epoch: at.epoch,
            begun: at.now,
            seen: at.now,
        });
        if session.tabs.len() == TABS {
            session.tabs.pop_front();
        }
        session.tabs.push_back(tab.digest());
        session.seen = at.now;
        Ok(Entered { cookie, tab })
    }

    /// The session that a cookie and a tab's secret open together. `active`: the owner is there, and not only the page.
    pub(crate) fn visitor(
        &self,
        cookie: &str,
        tab: &str,
        active: bool,
        at: Present,
    ) -> Option<Visitor> {
        let (visitor, tab) = (visitor_of(cookie)?, TabSecret::parse(tab)?.digest());
        let mut inner = self.inner(at);
        let session = inner.live.get_mut(&visitor)?;
        if !session.tabs.contains(&tab) {
            return None;
        }
        if active {
            session.seen = at.now;
        }
        Some(visitor)
    }

    /// Whether a cookie is one of a session, whatever it comes with.
    pub(crate) fn knows(&self, cookie: &str, at: Present) -> bool {
        visitor_of(cookie).is_some_and(|visitor| self.stands(visitor, at))
    }

    /// Whether a session goes on.
    pub fn stands(&self, visitor: Visitor, at: Present) -> bool {
        self.inner(at).live.contains_key(&visitor)
    }

    /// Signs out, with every tab.
    pub fn leave(&self, visitor: Visitor, at: Present) {
        self.inner(at).live.remove(&visitor);
    }

    /// Forgets that an item was decided by one answer: that one did not count. Another answer of the same session stands.
    pub fn undecided(&self, item: &PendingId, visitor: Visitor, at: Present) {
        let decided = &mut self.inner(at).decided;
        let is_of = |(of, by): &(PendingId, Visitor)| of == item && *by == visitor;
        if let Some(last) = decided.iter().rposition(is_of) {
            decided.remove(last);
        }
    }

    /// Remembers that an item is being decided in a session.
    pub fn decided(&self, item: &PendingId, visitor: Visitor, at: Present) {
        let mut inner = self.inner(at);
        if inner.decided.len() == DECISIONS {
            inner.decided.pop_front();
        }
        inner.decided.push_back((item.clone(), visitor));
    }

    /// In which session of the console an item was decided, if in one.
    pub fn decided_in(&self, item: &PendingId, at: Present) -> Option<Visitor> {
        let inner = self.inner(at);
        let found = inner.decided.iter().rev().find(|(of, _)| of == item);
        found.map(|(_, visitor)| *visitor)
    }
}

fn visitor_of(cookie: &str) -> Option<Visitor> {
    ConsoleCookie::parse(cookie).map(|cookie| Visitor(cookie.digest()))
}

/// Takes the oldest out where `MOST` are in.
fn make_room<K: Clone + Eq + std::hash::Hash, V>(
    all: &mut HashMap<K, V>,
    age: impl Fn(&V) -> Timestamp,
) {
    if all.len() >= MOST
        && let Some(oldest) = all
            .iter()
            .min_by_key(|(_, v)| age(v))
            .map(|(k, _)| k.clone())
    {
        all.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Present {
        Present {
            now: Timestamp(ms),
            epoch: 0,
        }
    }

    fn signed_in(sessions: &Sessions) -> (String, String) {
        let entered = sessions.enter(None, at(0)).unwrap();
        let cookie = entered.cookie.unwrap();
        (cookie.expose().to_owned(), entered.tab.expose().to_owned())
    }

    #[test]
    fn a_link_leads_in_once_and_not_for_long() {
        let sessions = Sessions::default();
        let link = sessions.link(at(0)).unwrap();
        assert!(sessions.redeem(link.expose(), at(1)));
        assert!(!sessions.redeem(link.expose(), at(2)), "used up");
        let link = sessions.link(at(0)).unwrap();
        assert!(!sessions.redeem(link.expose(), at(LINK_MS)), "too old");
        let link = sessions.link(at(0)).unwrap();
        let rotated = Present { epoch: 1, ..at(1) };
        assert!(!sessions.redeem(link.expose(), rotated), "the key went");
        assert!(!sessions.redeem("plx_link_", at(1)));
    }

    #[test]
    fn the_cookie_opens_nothing_without_its_tab() {
        let sessions = Sessions::default();
        let (cookie, tab) = signed_in(&sessions);
        let (other_cookie, other_tab) = signed_in(&sessions);
        let enters = |cookie: &str, tab: &str| sessions.visitor(cookie, tab, true, at(1)).is_some();
        assert!(enters(&cookie, &tab) && enters(&other_cookie, &other_tab));
        assert!(!enters(&cookie, "") && !enters(&cookie, &other_tab) && !enters("", &tab));
        // A second tab of the same browser joins; signing out ends both.
        let second = sessions.enter(Some(&cookie), at(2)).unwrap();
        assert!(second.cookie.is_none());
        assert!(enters(&cookie, second.tab.expose()) && enters(&cookie, &tab));
        sessions.leave(visitor_of(&cookie).unwrap(), at(3));
        assert!(!enters(&cookie, second.tab.expose()) && !enters(&cookie, &tab));
        assert!(enters(&other_cookie, &other_tab));
    }

    #[test]
    fn sessions_end_by_idleness_by_age_and_with_the_key() {
        let sessions = Sessions::default();
        let (cookie, tab) = signed_in(&sessions);
        let enters = |active, at| sessions.visitor(&cookie, &tab, active, at).is_some();
        // A page that only listens keeps nothing alive.
        assert!(enters(false, at(IDLE_MS - 1)) && !enters(false, at(IDLE_MS)));

        let (cookie, tab) = signed_in(&sessions);
        let mut now = 0;
        while now < LONGEST_MS {
            assert!(sessions.visitor(&cookie, &tab, true, at(now)).is_some());
            now += IDLE_MS / 2;
        }
        let late = sessions.visitor(&cookie, &tab, true, at(now));
        assert!(late.is_none(), "12 h are enough");

        let (cookie, tab) = signed_in(&sessions);
        assert!(sessions.visitor(&cookie, &tab, true, at(1)).is_some());
        let rotated = Present { epoch: 1, ..at(2) };
        assert!(sessions.visitor(&cookie, &tab, true, rotated).is_none());
        let later = sessions.visitor(&cookie, &tab, true, at(3));
        assert!(later.is_none(), "and stays out");
    }

    #[test]
    fn an_answer_that_did_not_count_takes_none_from_another_window() {
        let sessions = Sessions::default();
        let (cookie, _) = signed_in(&sessions);
        let visitor = visitor_of(&cookie).unwrap();
        let item = PendingId::parse("pend_00000000-0000-4000-8000-000000000001").unwrap();
        sessions.decided(&item, visitor, at(1));
        sessions.decided(&item, visitor, at(1));
        sessions.undecided(&item, visitor, at(2));
        assert_eq!(sessions.decided_in(&item, at(3)), Some(visitor));
        sessions.undecided(&item, visitor, at(4));
        assert_eq!(sessions.decided_in(&item, at(5)), None);
    }

    #[test]
    fn there_is_an_end_to_sessions_and_tabs() {
        let sessions = Sessions::default();
        let (cookie, first) = signed_in(&sessions);
        for _ in 0..TABS {
            sessions.enter(Some(&cookie), at(1)).unwrap();
        }
        assert!(sessions.visitor(&cookie, &first, true, at(1)).is_none());
        for ms in 0..2 * MOST as u64 {
            sessions.enter(None, at(ms)).unwrap();
        }
        assert!(sessions.0.lock().unwrap().live.len() <= MOST);
    }
}
