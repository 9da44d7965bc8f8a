//! Which capabilities fit a query, best first: BM25 over what an agent may read of each.
//!
//! ```text
//! entries ─▶ terms, weighted by field ─▶ Index ─▶ query ─▶ positions of the entries that fit
//! ```
//! Invariants:
//! - The order depends on the given entries and the query alone: an entry that is not given changes nothing.
//! - An entry fits where a term of the query, or a longer word that begins with it, stands in it. No other is found.
//! - Entries that fit equally well keep their order.
//!
//! Must not know: who may see an entry, JSON, HTTP.

mod terms;

use std::collections::{BTreeMap, HashMap};

/// How soon further occurrences of a term stop counting, and how much the length of an entry counts: the usual values.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// A term in an id, a name or a keyword says what an entry is; one in its description may be said in passing.
const NAMED: f64 = 4.0;
const SOURCE: f64 = 2.0;
const DESCRIBED: f64 = 1.0;
/// What a longer word counts that only begins with a term of the query.
const BEGINS: f64 = 0.5;
/// The shortest beginning that finds longer words, in characters.
const SHORTEST_BEGINNING: usize = 3;
/// Terms of a query beyond this many are not looked for. A sentence without spaces is as many as it has letters.
const MAX_TERMS: usize = 128;

/// What of an entry can be found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Document<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name for people.
    pub label: &'a str,
    /// What it does and how it is used.
    pub usage: &'a str,
    /// Other words for it.
    pub keywords: &'a [String],
    /// What it belongs to.
    pub source: &'a str,
}

/// Terms of a list of entries.
#[derive(Debug, Default)]
pub struct Index {
    /// Where each term stands: position of the entry, and how often by weight. Ordered, so that beginnings are found.
    terms: BTreeMap<String, Vec<(usize, f64)>>,
    /// Weighted number of terms of each entry.
    lengths: Vec<f64>,
    average: f64,
}

impl Index {
    /// An index of entries, which are known by their position from here on.
    pub fn of<'a>(documents: impl IntoIterator<Item = Document<'a>>) -> Self {
        let mut index = Self::default();
        for (position, document) in documents.into_iter().enumerate() {
            let mut counted: HashMap<String, f64> = HashMap::new();
            let keywords = document.keywords.iter().map(|word| (word.as_str(), NAMED));
            let fields = [
                (document.id, NAMED),
                (document.label, NAMED),
                (document.source, SOURCE),
                (document.usage, DESCRIBED),
            ];
            for (text, weight) in fields.into_iter().chain(keywords) {
                for term in terms::of(text) {
                    *counted.entry(term).or_default() += weight;
                }
            }
            index.lengths.push(counted.values().sum());
            for (term, count) in counted {
                index.terms.entry(term).or_default().push((position, count));
            }
        }
        let all: f64 = index.lengths.iter().sum();
        // Nothing is looked up in an empty index.
        index.average = all / index.lengths.len().max(1) as f64;
        index
    }

    /// Positions of the entries that fit, best first. A query without a term fits none.
    #[must_use]
    pub fn search(&self, query: &str) -> Vec<usize> {
        let mut wanted = terms::of(query);
        wanted.sort_unstable();
        wanted.dedup();
        wanted.truncate(MAX_TERMS);
        let mut scores = vec![0.0_f64; self.lengths.len()];
        for term in &wanted {
            for (position, score) in self.scores_of(term) {
                scores[position] += score;
            }
        }
        let mut found: Vec<usize> = (0..scores.len()).filter(|at| scores[*at] > 0.0).collect();
        found.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
        found
    }

    /// What a term adds to each entry that it fits: the best of the word itself and of the longer ones.
    fn scores_of(&self, term: &str) -> BTreeMap<usize, f64> {
        let is_beginning = term.chars().count() >= SHORTEST_BEGINNING;
        let from = self.terms.range(term.to_owned()..);
        let words = from.take_while(|(word, _)| {
            word.as_str() == term || (is_beginning && word.starts_with(term))
        });
        let mut best: BTreeMap<usize, f64> = BTreeMap::new();
        for (word, places) in words {
            let share = if word == term { 1.0 } else { BEGINS };
            let rarity = self.rarity(places.len());
            for (position, count) in places {
                let length = self.lengths[*position] / self.average;
                let often = count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * length));
                let score = share * rarity * often;
                let held = best.entry(*position).or_default();
                *held = held.max(score);
            }
        }
        best
    }

    /// Inverse document frequency; above zero also for a term that stands in every entry.
    fn rarity(&self, entries: usize) -> f64 {
        let (all, with) = (self.lengths.len() as f64, entries as f64);
        (1.0 + (all - with + 0.5) / (with + 0.5)).ln()
    }
}

#[cfg(test)]
mod tests;
