//! Addresses of the console's pages. A page lies below `/admin`, and what fills it at the same path below
//! `/admin/console`.

use plexus_owner::activity::List;
use plexus_protocol::{Timestamp, capability::HOUR_MS};

/// A stretch of a longer list, with the addresses of those around it.
pub(super) struct Stretch {
    /// Where it begins: at the beginning, where there is nothing so far behind.
    pub(super) from: usize,
    /// How long the list is.
    pub(super) all: usize,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

impl Stretch {
    /// What of the list is in it.
    pub(super) fn part<T>(&self, list: Vec<T>, size: usize) -> Vec<T> {
        list.into_iter().skip(self.from).take(size).collect()
    }

    /// Of a list of `all`, at most `size` from `from` on; `at` says where the one that begins elsewhere lies.
    pub(super) fn of(from: usize, all: usize, size: usize, at: impl Fn(usize) -> String) -> Self {
        let from = if from < all { from } else { 0 };
        Self {
            from,
            all,
            before: (from > 0).then(|| at(from.saturating_sub(size))),
            after: (from + size < all).then(|| at(from + size)),
        }
    }
}

/// The calls of an agent.
pub(super) fn calls_of(agent: &str) -> String {
    activity(&List {
        agent: Some(agent.to_owned()),
        ..List::default()
    })
}

/// Those of them on one source.
pub(super) fn calls_on(agent: &str, source: &str) -> String {
    activity(&List {
        agent: Some(agent.to_owned()),
        source: Some(source.to_owned()),
        ..List::default()
    })
}

/// The calls of the 24 hours that the first page counts, of an agent or of a source.
pub(super) fn calls_of_day(agent: Option<&str>, source: Option<&str>, now: Timestamp) -> String {
    let hours = (now.0 / HOUR_MS + 1).saturating_sub(24);
    activity(&List {
        agent: agent.map(str::to_owned),
        source: source.map(str::to_owned),
        since: Some(Timestamp(hours * HOUR_MS)),
        ..List::default()
    })
}

/// The calls that touched a thing.
pub(super) fn touched(thing: &str) -> String {
    activity(&List {
        touched: Some(thing.to_owned()),
        ..List::default()
    })
}

/// A page of calls: the request that makes it is its address.
pub(super) fn activity(list: &List) -> String {
    format!("/admin{}", plexus_owner::write(list).path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_behind_the_end_is_the_first() {
        let at = |from, all| {
            let stretch = Stretch::of(from, all, 50, |from| from.to_string());
            (stretch.from, stretch.before, stretch.after)
        };
        let to = |from: usize| Some(from.to_string());
        assert_eq!(at(0, 50), (0, None, None));
        assert_eq!(at(0, 51), (0, None, to(50)));
        assert_eq!(at(50, 101), (50, to(0), to(100)));
        assert_eq!(at(50, 50), (0, None, None));
        assert_eq!(at(7, 0), (0, None, None));
    }
}
