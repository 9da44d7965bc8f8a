//! Oracles: plain functions over bytes that panic where a promise is broken and say whether the bytes were accepted.
//!
//! [`hold`] runs one over a stored corpus, then over what mutation makes of it. The n-th mutant of a corpus depends on its
//! files, the seed and n alone, so that a red run is red again. What breaks an oracle is made smaller, printed, and told
//! where to be stored: from then on it is part of the corpus and tried first, on every run.
//!
//! How many: `PLEXUS_TEST_LENGTH` as for all tests; `PLEXUS_SEED` (a number) for another walk. An oracle is a plain
//! function so that other drivers can call it too: a cargo-fuzz target is one line, `fuzz_target!(|bytes: &[u8]| {
//! oracle(bytes); })`, and the corpus is in the form that such drivers read.
//!
//! In a build of `cargo xtask fuzz`, a mutant that reaches code which nothing reached before it becomes an input to mutate,
//! and is kept for the next run. That walk depends on what the build counts, so its broken inputs alone can be had again.
//!
//! Invariant: both answers are met in every run. An oracle that accepts nothing, or everything, tests nothing.
#![expect(
    clippy::print_stderr,
    reason = "a broken oracle says with which bytes, and what to do with them"
)]

mod coverage;

use coverage::Coverage;
use std::cell::Cell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest mutant, in bytes.
const LONGEST: usize = 64 * 1024;
/// Mutants of a run, and the time after which no further one is begun: a machine that is slow tries fewer.
const QUICK: (u64, Duration) = (2_000, Duration::from_secs(1));
const FULL: (u64, Duration) = (20_000, Duration::from_secs(1));
/// Where `cargo xtask fuzz` keeps what reached further, a folder for each corpus; and for how many seconds it looks.
const KEPT: &str = "PLEXUS_FUZZ_KEPT";
const SECONDS: &str = "PLEXUS_FUZZ_SECONDS";
/// A decoder that takes longer for one input, in a build that counts, is broken.
const LONGEST_LOOK: Duration = Duration::from_secs(10);
/// Tries to make a breaking input smaller.
const SHRINKS: usize = 2_000;

/// Whether a mutant was accepted.
pub type Accepted = bool;

/// Holds `oracle` against the files of `corpus` and their mutants; `words` are inserted now and then.
///
/// # Panics
/// As the oracle does, after saying with which bytes; where the corpus cannot be read or is empty; where nothing, or
/// everything, was accepted.
#[track_caller]
pub fn hold(corpus: impl AsRef<Path>, words: &[&[u8]], oracle: impl Fn(&[u8]) -> Accepted) {
    let (most, patience) = match std::env::var("PLEXUS_TEST_LENGTH").as_deref() {
        Ok("full" | "long") => FULL,
        _ => QUICK,
    };
    let seed = seed();
    let corpus = corpus.as_ref();
    let mut search = Search::of(corpus);
    let patience = search.as_ref().map_or(patience, |search| search.patience);
    let most = search.as_ref().map_or(most, |_| u64::MAX);
    let mut stored = read(corpus);
    let began = Instant::now();
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    let mut tried = |bytes: &[u8]| match judge(&oracle, bytes) {
        Some(true) => accepted += 1,
        Some(false) => refused += 1,
        None => broken(corpus, &oracle, bytes),
    };
    for bytes in &stored {
        tried(bytes);
    }
    if let Some(search) = &mut search {
        for bytes in search.kept() {
            tried(&bytes);
            stored.push(bytes);
        }
        search.reach();
    }
    for n in 0..most {
        if began.elapsed() > patience {
            break;
        }
        let mutant = mutant(&stored, words, seed, n);
        let looked = Instant::now();
        tried(&mutant);
        if let Some(search) = &mut search {
            assert!(
                looked.elapsed() < LONGEST_LOOK,
                "{:?} for {}",
                looked.elapsed(),
                mutant.escape_ascii()
            );
            if search.reach() {
                search.keep(&mutant);
                stored.push(mutant);
            }
        }
    }
    if let Some(search) = &search {
        search.report(stored.len());
    }
    eprintln!(
        "{}: {accepted} accepted, {refused} refused in {:.1?}",
        corpus.display(),
        began.elapsed()
    );
    assert!(
        accepted > 0 && refused > 0,
        "{}: {accepted} accepted, {refused} refused",
        corpus.display()
    );
}

/// A walk towards code that nothing reached yet.
struct Search {
    coverage: Coverage,
    patience: Duration,
    kept: PathBuf,
}

impl Search {
    /// `None` where the build counts nothing.
    fn of(corpus: &Path) -> Option<Self> {
        let coverage = Coverage::of_this_build()?;
        let given = |name: &str| std::env::var(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let seconds = given(SECONDS).parse().expect("a number of seconds");
        let name = corpus.to_string_lossy().replace('/', "+");
        let kept = Path::new(&given(KEPT)).join(name);
        fs::create_dir_all(&kept).unwrap_or_else(|e| panic!("{}: {e}", kept.display()));
        Some(Self {
            coverage,
            patience: Duration::from_secs(seconds),
            kept,
        })
    }

    /// What earlier runs kept.
    fn kept(&self) -> Vec<Vec<u8>> {
        files(&self.kept)
    }

    /// Whether what ran since the last call reached further.
    fn reach(&mut self) -> bool {
        self.coverage.grew()
    }

    fn keep(&self, bytes: &[u8]) {
        let file = self.kept.join(name(bytes));
        fs::write(&file, bytes).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }

    fn report(&self, inputs: usize) {
        let (reached, all) = self.coverage.reached();
        eprintln!("{reached} of {all} branches reached, {inputs} inputs");
    }
}

/// The files of a corpus in the order of their names.
fn read(corpus: &Path) -> Vec<Vec<u8>> {
    let files = files(corpus);
    assert!(!files.is_empty(), "{} is empty", corpus.display());
    files
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let bytes = |file: &PathBuf| {
        fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    files.iter().map(bytes).collect()
}

/// What an oracle says; `None`: it panicked.
fn judge(oracle: &impl Fn(&[u8]) -> Accepted, bytes: &[u8]) -> Option<Accepted> {
    catch_unwind(AssertUnwindSafe(|| oracle(bytes))).ok()
}

thread_local! {
    /// Whether a panic of this thread is a part of the search.
    static SEARCHING: Cell<bool> = const { Cell::new(false) };
}

/// Says with which bytes an oracle broke, made smaller where that is possible, and lets it break.
fn broken(corpus: &Path, oracle: &impl Fn(&[u8]) -> Accepted, bytes: &[u8]) -> ! {
    let hook = take_hook();
    set_hook(Box::new(move |info| {
        if !SEARCHING.get() {
            hook(info);
        }
    }));
    SEARCHING.set(true);
    let small = smaller(bytes, |bytes| judge(oracle, bytes).is_none());
    SEARCHING.set(false);
    let at = corpus.join(name(&small));
    eprintln!(
        "\nthis input breaks the oracle:\n\n    {}\n",
        small.escape_ascii()
    );
    eprintln!(
        "mend what it shows, and keep it:\n\n    printf '{}' > {}\n",
        octal(&small),
        at.display()
    );
    match catch_unwind(AssertUnwindSafe(|| oracle(&small))) {
        Err(panic) => resume_unwind(panic),
        Ok(_) => panic!("it broke once and not again: {}", small.escape_ascii()),
    }
}

/// Leaves out what can be left out, halves first.
fn smaller(bytes: &[u8], breaks: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut held = bytes.to_vec();
    let (mut size, mut tries) = (held.len() / 2, 0);
    while size > 0 {
        let mut at = 0;
        while at < held.len() && tries < SHRINKS {
            tries += 1;
            let end = (at + size).min(held.len());
            let without = [&held[..at], &held[end..]].concat();
            if breaks(&without) {
                held = without;
            } else {
                at = end;
            }
        }
        size /= 2;
    }
    held
}

/// As `printf` of any shell takes it.
fn octal(bytes: &[u8]) -> String {
    let shown = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(*byte).to_string(),
        _ => format!("\\{byte:03o}"),
    };
    bytes.iter().map(shown).collect()
}

/// By its content (FNV-1a): the same input is stored once.
fn name(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("found-{hash:016x}")
}

/// `PLEXUS_SEED`, which `cargo xtask test` sets to the number of the day.
fn seed() -> u64 {
    let given = std::env::var("PLEXUS_SEED");
    given.map_or(0, |seed| seed.parse().expect("PLEXUS_SEED is a number"))
}

/// Numbers that are hard to guess and easy to repeat (splitmix64).
pub struct Dice(u64);

impl Dice {
    /// For the cases of the day. Their number is printed, so that a red run can be had again.
    ///
    /// # Panics
    /// Where `PLEXUS_SEED` is no number.
    #[must_use]
    pub fn of_the_day() -> Self {
        let seed = seed();
        eprintln!("its cases: PLEXUS_SEED={seed}");
        Self(seed)
    }
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Below `n`; 0 for nothing.
    pub fn below(&mut self, n: usize) -> usize {
        let n = n.max(1) as u64;
        usize::try_from(self.throw() % n).unwrap_or(0)
    }
    /// A range of at most `most` bytes of something `length` long.
    fn range(&mut self, length: usize, most: usize) -> std::ops::Range<usize> {
        let from = self.below(length + 1);
        let size = self.below(most.min(length - from) + 1);
        from..from + size
    }
}

/// Bytes that parsers treat in a way of their own.
const BYTES: &[u8] = b"\0\x01\x7f\x80\xff\n\r\t \"\\'(){}[]<>,.:;/-+*%#&=01289aAzZeE";
/// Lengths and integers at the edges, in the widths that formats have.
const EDGES: &[u64] = &[
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    (1 << 53) - 1,
    1 << 53,
    u64::MAX >> 1,
    u64::MAX,
];

fn mutant(stored: &[Vec<u8>], words: &[&[u8]], seed: u64, n: u64) -> Vec<u8> {
    let mut dice = Dice(seed ^ n.wrapping_mul(0xd134_2543_de82_ef95));
    let mut bytes = stored[dice.below(stored.len())].clone();
    // Most by one change: what is nearly right gets furthest.
    for _ in 0..[1, 1, 1, 2, 3, 6][dice.below(6)] {
        change(&mut bytes, stored, words, &mut dice);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, stored: &[Vec<u8>], words: &[&[u8]], dice: &mut Dice) {
    let at = dice.below(bytes.len() + 1);
    match dice.below(11) {
        0 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
        1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = BYTES[dice.below(BYTES.len())];
            }
        }
        2 => bytes.insert(at, BYTES[dice.below(BYTES.len())]),
        3 => {
            let gone = dice.range(bytes.len(), 32);
            bytes.drain(gone);
        }
        4 => bytes.truncate(at),
        5 => {
            let part = bytes[dice.range(bytes.len(), 64)].to_vec();
            bytes.splice(at..at, part);
        }
        // Deep nesting, long runs.
        6 => {
            let part = bytes[dice.range(bytes.len(), 8)].to_vec();
            let times = 1 + dice.below(200);
            bytes.splice(at..at, part.repeat(times));
        }
        7 => {
            let other = &stored[dice.below(stored.len())];
            let part = other[dice.range(other.len(), other.len())].to_vec();
            let end = at + dice.below(bytes.len() - at + 1);
            bytes.splice(at..end, part);
        }
        8 => {
            let edge = EDGES[dice.below(EDGES.len())];
            let width = [1, 2, 4, 8][dice.below(4)];
            let end = (at + width).min(bytes.len());
            let value = match dice.below(3) {
                0 => edge.to_le_bytes()[..width].to_vec(),
                1 => edge.to_be_bytes()[8 - width..].to_vec(),
                _ => edge.to_string().into_bytes(),
            };
            bytes.splice(at..end, value);
        }
        _ => {
            if !words.is_empty() {
                let word = words[dice.below(words.len())].to_vec();
                let end = (at + dice.below(2) * word.len()).min(bytes.len());
                bytes.splice(at..end, word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(files: &[&[u8]]) -> Vec<Vec<u8>> {
        files.iter().map(|file| file.to_vec()).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_mutants_and_another_makes_others() {
        let stored = corpus(&[b"{\"a\": 1}", b"[]"]);
        let walk = |seed| {
            (0..200)
                .map(|n| mutant(&stored, &[b"null"], seed, n))
                .collect::<Vec<_>>()
        };
        assert_eq!(walk(0), walk(0));
        assert_ne!(walk(0), walk(1));
        let different: std::collections::BTreeSet<_> = walk(0).into_iter().collect();
        assert!(different.len() > 150, "{}", different.len());
    }

    type Fault<'a> = &'a dyn Fn(&[u8]) -> bool;

    /// Faults that a parser may well have are found in a quick run.
    #[test]
    fn planted_faults_are_found() {
        let stored = corpus(&[b"(allow file-read* (literal \"/a\"))", b"\x05\0\0\0hello"]);
        let depth = |bytes: &[u8]| {
            bytes
                .split(|b| *b != b'(')
                .map(<[u8]>::len)
                .max()
                .unwrap_or(0)
        };
        let faults: [(&str, Fault<'_>); 5] = [
            ("two words run together", &|b| {
                b.windows(13).any(|w| w == b"allowfile-rea")
            }),
            ("a word twice", &|b| {
                b.windows(5).filter(|w| *w == b"allow").count() > 1
            }),
            ("a NUL in a text", &|b| {
                b.starts_with(b"(") && b.contains(&0)
            }),
            ("deep nesting", &|b| depth(b) > 40),
            ("a length that lies", &|b| {
                b.first_chunk::<4>()
                    .is_some_and(|l| u32::from_le_bytes(*l) as usize > b.len())
                    && b.len() > 4
                    && b.ends_with(b"hello")
            }),
        ];
        for (what, fault) in faults {
            let found = (0..QUICK.0).any(|n| fault(&mutant(&stored, &[], 0, n)));
            assert!(found, "{what}");
        }
    }

    #[test]
    fn what_breaks_is_made_small_and_can_be_typed() {
        let breaks = |bytes: &[u8]| bytes.contains(&b'x') && bytes.contains(&0xff);
        let small = smaller(b"much before x and much \xff behind", breaks);
        assert_eq!(small, b"x\xff");
        assert_eq!(octal(&small), "x\\377");
        assert_ne!(name(b"a"), name(b"b"));
    }

    #[test]
    fn an_oracle_that_breaks_or_says_one_thing_only_is_red() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("one"), b"one").unwrap();
        let red = |oracle: &dyn Fn(&[u8]) -> Accepted| {
            catch_unwind(AssertUnwindSafe(|| hold(folder.path(), &[], oracle))).is_err()
        };
        let green = !red(&|bytes| bytes.len() > 3);
        let all = [
            red(&|_| true),
            red(&|_| false),
            red(&|bytes| {
                assert!(bytes.len() < 40, "too long");
                bytes.len() > 3
            }),
        ];
        assert!(green);
        assert_eq!(all, [true; 3]);
    }
}
