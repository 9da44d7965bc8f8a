//! The next page of a list that may be long.
//!
//! Invariants: a page holds the things with the least keys after `next` of the page before, in order; memory is bounded
//! by the page and not by the list.
//!
//! Must not know: what is listed.

use std::{cmp::Ordering, collections::BinaryHeap};

/// Things in an answer where no number is given.
const LIMIT: usize = 200;
/// Text of one answer, in bytes; as JSON it may take six times as much.
const PAGE: usize = 512 * 1024;

/// Where a thing stands: its moment in milliseconds, then its id.
pub type Key = (i64, String);

/// What is kept of a list while it is gone through.
#[derive(Debug)]
pub struct Page<T> {
    after: Option<Key>,
    limit: usize,
    kept: BinaryHeap<Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    key: Key,
    bytes: usize,
    thing: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl<T> Eq for Entry<T> {}
impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

impl<T> Page<T> {
    /// The page after `next`, of `limit` things.
    ///
    /// # Errors
    /// `next` is of no page.
    pub fn new(limit: Option<usize>, next: Option<&str>) -> Result<Self, &'static str> {
        let after = |text: &str| {
            let (at, id) = text.split_once(' ')?;
            Some((at.parse().ok()?, id.to_owned()))
        };
        let after = next.map(|text| after(text).ok_or("next is not that of an answer"));
        Ok(Self {
            after: after.transpose()?,
            limit: limit.unwrap_or(LIMIT).max(1),
            kept: BinaryHeap::new(),
        })
    }

    /// Whether a thing at this place would be kept.
    #[must_use]
    pub fn wants(&self, at: i64, id: &str) -> bool {
        let behind = |key: &Key| (key.0, key.1.as_str()) < (at, id);
        let last = self.kept.peek().map(|entry| &entry.key);
        self.after.as_ref().is_none_or(behind)
            && (self.kept.len() <= self.limit || last.is_some_and(|last| !behind(last)))
    }

    /// Keeps a thing, with the bytes of text that it holds.
    pub fn keep(&mut self, key: Key, bytes: usize, thing: T) {
        self.kept.push(Entry { key, bytes, thing });
        // One more than the page says whether another follows.
        if self.kept.len() > self.limit + 1 {
            self.kept.pop();
        }
    }

    /// The page in order, and where the next goes on.
    #[must_use]
    pub fn done(self) -> (Vec<T>, Option<String>) {
        let (mut things, mut bytes, mut last) = (Vec::new(), 0, None);
        for entry in self.kept.into_sorted_vec() {
            if things.len() == self.limit || bytes > PAGE {
                return (things, last.map(|(at, id): Key| format!("{at} {id}")));
            }
            bytes += entry.bytes;
            things.push(entry.thing);
            last = Some(entry.key);
        }
        (things, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(all: &[(i64, &str)], limit: usize, bytes: usize) -> Vec<Vec<String>> {
        let (mut pages, mut next) = (Vec::new(), None::<String>);
        loop {
            let mut page = Page::new(Some(limit), next.as_deref()).unwrap();
            for (at, id) in all {
                if page.wants(*at, id) {
                    page.keep((*at, (*id).to_owned()), bytes, (*id).to_owned());
                }
            }
            let (things, more) = page.done();
            pages.push(things);
            match more {
                Some(more) => next = Some(more),
                None => return pages,
            }
        }
    }

    #[test]
    fn pages_are_in_order_and_hold_each_thing_once() {
        let all = [(3, "c"), (1, "b"), (1, "a b"), (2, "x"), (-5, "old")];
        let expected = vec![vec!["old", "a b"], vec!["b", "x"], vec!["c"]];
        assert_eq!(pages(&all, 2, 1), expected);
        assert_eq!(pages(&all, 5, 1).len(), 1);
        assert_eq!(pages(&[], 5, 1), [Vec::<String>::new()]);
    }

    #[test]
    fn page_ends_where_its_text_is_long() {
        let all = [(1, "a"), (2, "b"), (3, "c")];
        assert_eq!(pages(&all, 100, PAGE + 1).len(), 3);
        let nonsense = Page::<()>::new(None, Some("nonsense")).err();
        assert_eq!(nonsense, Some("next is not that of an answer"));
    }
}
