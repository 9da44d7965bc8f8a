//! What a search costs in a vault of 5,000 notes and 50 MB of prose: by a vault that has read nothing yet, and by one that
//! has kept signatures. The notes are lines of this repository's pages in another order, so letters follow one another as
//! they do in English.

use divan::{Bencher, black_box};
use plexus_rooted_files::PathRule;
use plexus_worker_obsidian::{SearchInput, Vault};
use std::{
    fs,
    path::Path,
    sync::LazyLock,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// In no note, in one of a hundred, in nearly each, and too short for a signature.
const QUERIES: [&str; 4] = ["quartz harvest", "zebra crossing", "gateway", "zq"];
/// How long a note must have been left alone before its signature is kept.
const SETTLED: Duration = Duration::from_secs(4);

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let pages = [
        "design.md",
        "channels.md",
        "architecture.md",
        "threat-model.md",
    ];
    let text: String = pages
        .iter()
        .filter_map(|page| fs::read_to_string(docs.join(page)).ok())
        .collect();
    let lines: Vec<&str> = text.lines().collect();
    let folder = tempfile::tempdir().unwrap();
    let mut at = 0;
    for number in 0..5000 {
        let mut note = format!("---\ntags: [t{}]\n---\n# Note {number}\n", number % 50);
        while note.len() < 10_000 {
            // Coprime to most lengths: another order in each note.
            at = (at + 7919) % lines.len();
            note.push_str(lines[at]);
            note.push('\n');
        }
        if number % 100 == 0 {
            note.push_str("A Zebra Crossing.\n");
        }
        let path = folder.path().join(format!("folder {}", number % 40));
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(format!("note {number}.md")), note).unwrap();
    }
    folder
});

fn main() {
    LazyLock::force(&FOLDER);
    let written = Instant::now();
    while written.elapsed() < SETTLED {
        std::thread::yield_now();
    }
    divan::main();
    fs::remove_dir_all(FOLDER.path()).unwrap();
}

fn search(vault: &Vault, query: &str) -> usize {
    let input = SearchInput {
        query: Some(query.to_owned()),
        limit: Some(100),
        ..SearchInput::default()
    };
    let answer = vault.search(&input, PathRule::all(), &|| false).unwrap();
    answer.output.hits.len()
}

#[divan::bench(args = QUERIES, sample_count = 20)]
fn new_vault(bencher: Bencher<'_, '_>, query: &str) {
    bencher
        .with_inputs(|| Vault::open(FOLDER.path()).unwrap())
        .bench_values(|vault| search(&vault, black_box(query)));
}

#[divan::bench(args = QUERIES, sample_count = 20)]
fn read_before(bencher: Bencher<'_, '_>, query: &str) {
    let vault = Vault::open(FOLDER.path()).unwrap();
    search(&vault, "quartz harvest");
    bencher.bench(|| search(&vault, black_box(query)));
}
