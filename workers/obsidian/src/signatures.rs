//! [`Signatures`]: which notes cannot hold a text, told without reading them.
//!
//! ```text
//! a note is read ─▶ written long enough ago? ─▶ its signature is kept under its stamp
//! a search looks at each note's stamp ─▶ may that signature hold the query? ─no─▶ the note is not read
//! ```
//! A signature is a Bloom filter with one hash, over every three bytes in a row. It says "may" too often and never "no" of
//! a text that is there.
//!
//! Invariants: a signature answers for a note only while the stamp of its file is the one with which it was read; a file
//! that was written less than [`SETTLED`] before the search began is not kept; memory is bounded by [`MAX_BYTES`].
//! What a program changes through a memory map that it has held since before the note was read gets no other stamp until the
//! system writes it to the disk.
//!
//! Must not know: rules and paths. Who asks has judged the note.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use plexus_rooted_files::{Stamp, names::fold};

use crate::needle::Needle;

/// How long a file must have been left alone: above the two seconds in which FAT counts time.
const SETTLED: Duration = Duration::from_secs(3);
/// Most bytes that are kept: 7,000 notes of 8 KB or more, twice as many of 4 KB.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// What an entry takes beside its bits.
const ENTRY_BYTES: usize = size_of::<(Key, Kept)>() + 1;
/// Bits of a signature: as many as the note has bytes, within these.
const MIN_BITS: usize = 256;
const MAX_BITS: usize = 8 * 1024;

/// The signatures of one vault.
#[derive(Debug)]
pub(crate) struct Signatures {
    settled: Duration,
    most_bytes: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: HashMap<Key, Kept>,
    bytes: usize,
    /// Searches begun.
    rounds: u64,
    /// The search for which the notes that have gone were dropped.
    swept: u64,
}

/// Of which content, and whether of the text as it is or folded.
type Key = (Stamp, bool);

#[derive(Debug)]
struct Kept {
    /// As many bits as a power of two.
    bits: Box<[u64]>,
    /// The last search that met it.
    met: u64,
}

/// One search, for one query.
#[derive(Debug)]
pub(crate) struct Round<'a> {
    all: &'a Signatures,
    number: u64,
    settled: SystemTime,
    is_folded: bool,
    wanted: Vec<u32>,
}

/// What a signature says of the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is not in the note.
    Absent,
    /// It may be.
    Possible,
    /// This content has no signature.
    Unknown,
}

impl Default for Signatures {
    fn default() -> Self {
        Self {
            settled: SETTLED,
            most_bytes: MAX_BYTES,
            state: Mutex::default(),
        }
    }
}

impl Signatures {
    /// Begins a search for `needle`.
    pub(crate) fn round(&self, needle: &Needle) -> Round<'_> {
        let (is_folded, wanted) = match needle {
            Needle::Ascii { text, .. } => (false, grams(text).collect()),
            Needle::Folded(text) => (true, grams(text.as_bytes()).collect()),
        };
        let settled = SystemTime::now().checked_sub(self.settled);
        let mut state = self.lock();
        state.rounds += 1;
        Round {
            all: self,
            number: state.rounds,
            settled: settled.unwrap_or(SystemTime::UNIX_EPOCH),
            is_folded,
            wanted,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing runs under this lock that could leave it half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Round<'_> {
    /// Whether the query may be in the content with this stamp.
    pub(crate) fn verdict(&self, stamp: &Stamp) -> Verdict {
        let mut state = self.all.lock();
        let Some(kept) = state.kept.get_mut(&(*stamp, self.is_folded)) else {
            return Verdict::Unknown;
        };
        kept.met = self.number;
        match self.wanted.iter().all(|gram| holds(&kept.bits, *gram)) {
            true => Verdict::Possible,
            false => Verdict::Absent,
        }
    }

    /// Keeps the signature of a text that was read with this stamp; `None`: a file in which no text is found.
    pub(crate) fn keep(&self, stamp: Stamp, text: Option<&str>) {
        if !stamp.is_before(self.settled) {
            return;
        }
        let bits = signature(text.unwrap_or_default(), self.is_folded);
        let bytes = ENTRY_BYTES + size_of_val(&*bits);
        let mut state = self.all.lock();
        if state.bytes + bytes > self.all.most_bytes {
            state.sweep(self.number);
        }
        if state.bytes + bytes > self.all.most_bytes {
            return;
        }
        let met = self.number;
        let replaced = state
            .kept
            .insert((stamp, self.is_folded), Kept { bits, met });
        if replaced.is_none() {
            state.bytes += bytes;
        }
    }
}

impl State {
    /// Drops what neither this search nor the one before it met, once in a search.
    fn sweep(&mut self, round: u64) {
        if self.swept == round {
            return;
        }
        self.swept = round;
        self.kept.retain(|_, kept| kept.met + 1 >= round);
        let bytes = |kept: &Kept| ENTRY_BYTES + size_of_val(&*kept.bits);
        self.bytes = self.kept.values().map(bytes).sum();
    }
}

/// The signature of a text. A folded one is made line by line, as a folded query is looked for.
fn signature(text: &str, is_folded: bool) -> Box<[u64]> {
    let bits = text.len().next_power_of_two().clamp(MIN_BITS, MAX_BITS);
    let mut signature = vec![0; bits / 64].into_boxed_slice();
    if is_folded {
        for line in text.split_inclusive('\n') {
            set(&mut signature, fold(line).as_bytes());
        }
    } else {
        set(&mut signature, text.as_bytes());
    }
    signature
}

fn set(signature: &mut [u64], text: &[u8]) {
    let shift = shift(signature);
    for gram in grams(text) {
        let bit = gram >> shift;
        signature[(bit / 64) as usize] |= 1 << (bit % 64);
    }
}

fn holds(signature: &[u64], gram: u32) -> bool {
    let bit = gram >> shift(signature);
    signature[(bit / 64) as usize] & 1 << (bit % 64) != 0
}

/// The upper bits of a gram's hash are its place.
fn shift(signature: &[u64]) -> u32 {
    u32::BITS - (signature.len() * 64).trailing_zeros()
}

/// A hash of each three bytes in a row, in which case does not count.
fn grams(text: &[u8]) -> impl Iterator<Item = u32> + '_ {
    text.array_windows().map(|[a, b, c]: &[u8; 3]| {
        let folded = [*a, *b, *c].map(|byte| byte & !0x20);
        let [a, b, c] = folded.map(u32::from);
        (a | b << 8 | c << 16).wrapping_mul(0x9E37_79B1)
    })
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File, FileTimes},
        path::Path,
    };

    use plexus_rooted_files::{PathRule, RelPath};
    use proptest::{
        collection::vec,
        prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest},
        sample::select,
    };
    use tempfile::TempDir;

    use super::*;
    use crate::{SearchInput, Vault};

    /// Letters that fold into one another or into several, what composes with the letter before it, ends of lines, and what
    /// makes a file no text.
    const PIECES: &[&str] = &[
        "zebra", "ZEB", "ra", "a", "K", "\u{212a}", "s", "\u{17f}", "\u{df}", "\u{1e9e}", "SS",
        "\u{fb01}", "fi", "e", "\u{301}", "\u{e9}", "\u{c9}", "\u{130}", "i", "{", "[", "1",
        "\u{11}", " ", "\n", "\r\n", "\0", "\u{feff}",
    ];

    /// A vault that keeps signatures of files however lately they were written, if they were before now.
    fn eager(folder: &Path) -> Vault {
        let mut vault = Vault::open(folder).unwrap();
        vault.signatures.settled = Duration::ZERO;
        vault
    }

    /// All that a search tells.
    fn told(vault: &Vault, query: &str) -> String {
        let input = SearchInput {
            query: Some(query.to_owned()),
            limit: Some(3),
            ..SearchInput::default()
        };
        match vault.search(&input, PathRule::all(), &|| false) {
            Ok(answer) => {
                let output = serde_json::to_string(&answer.output).unwrap();
                format!("{output} {:?}", answer.touched)
            }
            Err(error) => error.to_string(),
        }
    }

    fn stamp(vault: &Vault, note: &str) -> Stamp {
        let path = RelPath::parse(note).unwrap();
        vault.root.peek(&path, |_| true).unwrap().unwrap().0
    }

    /// Returns once a file that is written gets a later time than those that were written before.
    fn tick(folder: &Path) {
        let probe = folder.join(".probe");
        let time = || {
            fs::write(&probe, "").unwrap();
            fs::metadata(&probe).unwrap().modified().unwrap()
        };
        let before = time();
        while time() == before || SystemTime::now() <= before {
            std::thread::yield_now();
        }
    }

    fn is_known(vault: &Vault, note: &str) -> bool {
        let round = vault.signatures.round(&Needle::new("zebra"));
        round.verdict(&stamp(vault, note)) != Verdict::Unknown
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn text_that_is_there_is_never_absent(
            text in vec(select(PIECES), 0..40),
            query in vec(select(PIECES), 1..5),
        ) {
            let (text, needle) = (text.concat(), Needle::new(&query.concat()));
            let (is_folded, query) = match &needle {
                Needle::Ascii { text, .. } => (false, &**text),
                Needle::Folded(text) => (true, text.as_bytes()),
            };
            let signature = signature(&text, is_folded);
            prop_assert!(!needle.is_in(&text) || grams(query).all(|gram| holds(&signature, gram)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]
        /// Whatever was searched for and changed before: the answer is that of a vault that has kept nothing.
        #[test]
        fn search_is_that_of_a_new_vault(
            notes in vec(vec(select(PIECES), 0..12), 1..6),
            acts in vec((0..5_usize, vec(select(PIECES), 0..12), vec(select(PIECES), 1..4)), 1..6),
        ) {
            let folder = TempDir::new().unwrap();
            let path = |note: usize| folder.path().join(format!("{note}.md"));
            for (note, text) in notes.iter().enumerate() {
                fs::write(path(note), text.concat()).unwrap();
            }
            let vault = eager(folder.path());
            for (note, text, query) in acts {
                tick(folder.path());
                for query in [query.concat(), "zebra".to_owned(), "zebr\u{e1}".to_owned()] {
                    let plain = told(&Vault::open(folder.path()).unwrap(), &query);
                    prop_assert_eq!(told(&vault, &query), plain.clone(), "first");
                    prop_assert_eq!(told(&vault, &query), plain, "again");
                }
                fs::write(path(note), text.concat()).unwrap();
            }
        }
    }

    /// What is kept is planted wrong, so that an answer shows whether it came from there.
    #[test]
    fn changed_note_is_read_whatever_was_kept() {
        let folder = TempDir::new().unwrap();
        let note = folder.path().join("a.md");
        let (zebra, times) = ("a zebra", || {
            let meta = fs::metadata(&note).unwrap();
            FileTimes::new().set_modified(meta.modified().unwrap())
        });
        let changes: [(&str, &dyn Fn()); 4] = [
            ("longer", &|| fs::write(&note, "a zebra, a zebra").unwrap()),
            ("as long", &|| fs::write(&note, "b zebra").unwrap()),
            ("as long, its time set back", &|| {
                let times = times();
                fs::write(&note, "b zebra").unwrap();
                File::options()
                    .write(true)
                    .open(&note)
                    .unwrap()
                    .set_times(times)
                    .unwrap();
            }),
            ("another file, its time set back", &|| {
                let (times, other) = (times(), folder.path().join("other"));
                fs::write(&other, "b zebra").unwrap();
                File::options()
                    .write(true)
                    .open(&other)
                    .unwrap()
                    .set_times(times)
                    .unwrap();
                fs::rename(&other, &note).unwrap();
            }),
        ];
        for (how, change) in changes {
            fs::write(&note, zebra).unwrap();
            tick(folder.path());
            let vault = eager(folder.path());
            let round = vault.signatures.round(&Needle::new("zebra"));
            round.keep(stamp(&vault, "a.md"), Some("nothing"));
            assert!(
                !told(&vault, "zebra").contains("a.md"),
                "the control, {how}"
            );
            change();
            assert!(told(&vault, "zebra").contains("a.md"), "{how}");
        }
    }

    #[test]
    fn note_written_just_now_is_not_kept() {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("a.md"), "a zebra").unwrap();
        tick(folder.path());
        let (vault, eager) = (Vault::open(folder.path()).unwrap(), eager(folder.path()));
        for vault in [&vault, &eager] {
            assert!(told(vault, "zebra").contains("a.md"));
        }
        assert!(!is_known(&vault, "a.md"));
        assert!(is_known(&eager, "a.md"), "the control");
    }

    #[test]
    fn kept_signatures_are_bounded_and_unmet_ones_give_way() {
        let folder = TempDir::new().unwrap();
        for note in ["a.md", "b.md", "c.md", "d.md"] {
            fs::write(folder.path().join(note), "").unwrap();
        }
        tick(folder.path());
        let mut vault = eager(folder.path());
        vault.signatures.most_bytes = 3 * (ENTRY_BYTES + MIN_BITS / 8);
        let [a, b, c, d] = ["a.md", "b.md", "c.md", "d.md"].map(|note| stamp(&vault, note));
        let round = || vault.signatures.round(&Needle::new("zebra"));
        let first = round();
        for stamp in [a, b, c, d] {
            first.keep(stamp, None);
        }
        assert_eq!(first.verdict(&d), Verdict::Unknown, "there was no room");
        let (_, last) = (round(), round());
        assert_eq!(last.verdict(&a), Verdict::Absent);
        last.keep(d, None);
        let known = [a, b, c, d].map(|stamp| last.verdict(&stamp) == Verdict::Absent);
        assert_eq!(
            known,
            [true, false, false, true],
            "b and c were met long ago"
        );
    }
}
