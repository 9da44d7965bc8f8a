//! `cargo xtask mutants`: changes what decides, refuses or brings to the disk, one expression or body at a time, and sees
//! whether the tests of its own package notice.
//!
//! People choose what `promises` breaks. Here `cargo-mutants` makes every change that it knows in the files that
//! `tests/mutants/files.txt` names. A change that no test notices is a survivor; `tests/mutants/survivors.txt` says why it
//! may live. A survivor that is not there fails the command, and so does a line of that list that is no survivor any more.
//!
//! ```text
//! copy ▸ green without ▸ for each: change ▸ build ▸ red ▸ take back ▸ survivors = list
//! ```
//!
//! It works in the copy of `promises`, and there in place. So the person's files are only read, a run builds only what
//! changed since the last one, and one that was interrupted leaves nothing behind. Must not know: the stories, which
//! take minutes for each change.

use crate::cargo;
use crate::promises::scratch::Scratch;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The tool, at the version whose words the list has.
const TOOL: [&str; 2] = ["cargo-mutants", "27.1.0"];
/// Lines `file package`.
const FILES: &str = "tests/mutants/files.txt";
/// Lines `mutant — reason`.
const SURVIVORS: &str = "tests/mutants/survivors.txt";
/// Seconds that the tests of a package may take; a change that makes them hang is noticed.
const PATIENCE: &str = "60";

/// Change what decides, one expression at a time, in a copy; fails where no test notices and no reason is listed
#[derive(Default, clap::Args)]
pub(crate) struct Arguments {
    /// Only in these packages, by name
    #[arg(long, value_name = "PACKAGE")]
    only: Vec<String>,
}

/// Changes what is chosen, and compares the survivors with the list.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut files = pairs(FILES, " ")?;
    let only = &arguments.only;
    files.retain(|_, package| only.is_empty() || only.contains(package));
    ensure!(!files.is_empty(), "{FILES} names no such package");
    let mut listed = pairs(SURVIVORS, " — ")?;
    listed.retain(|mutant, _| files.keys().any(|file| mutant.starts_with(file)));
    let found = Found::read(&outcomes(&files)?)?;
    let survivors = found.survivors.len();
    println!("{} noticed, {survivors} survive", found.noticed.len());
    let wrong = found.differences(&listed);
    ensure!(wrong.is_empty(), "{SURVIVORS}:\n  {}", wrong.join("\n  "));
    Ok(())
}

fn pairs(path: &str, between: &str) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(cargo::root().join(path)).context(path.to_owned())?;
    parsed(&text, between)
}

/// Reads lines of two parts; blank ones and those that begin with `#` are for people.
fn parsed(text: &str, between: &str) -> Result<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    let is_read = |line: &&str| !line.is_empty() && !line.starts_with('#');
    for line in text.lines().filter(is_read) {
        let (key, value) = line.split_once(between).unwrap_or((line, ""));
        ensure!(!value.trim().is_empty(), "one part only: {line}");
        let before = pairs.insert(key.to_owned(), value.to_owned());
        ensure!(before.is_none(), "twice: {key}");
    }
    Ok(pairs)
}

/// Lets the tool work, and gives what it wrote of each change.
fn outcomes(files: &BTreeMap<String, String>) -> Result<Value> {
    let tool = installed()?;
    let scratch = Scratch::open()?;
    let output = cargo::root().join("target/mutants");
    fs::create_dir_all(&output)?;
    let mut command = scratch.command(tool.as_os_str());
    command
        .args(["mutants", "--in-place", "--no-config", "--timeout"])
        .arg(PATIENCE)
        .args(["--cargo-arg=--locked", "--cargo-arg=--tests"])
        // What a value looks like in a log decides nothing.
        .args(["--exclude-re", r"<impl (fmt::)?(Debug|Display) for "])
        // Root's own id: where root runs the tests, it is right.
        .args(["--exclude-re", "replace uid -> u32 with 0"])
        .arg(format!("--output={}", output.display()))
        .env("CARGO_INCREMENTAL", "1")
        // The same cases in every run, and few of them.
        .env("PROPTEST_CASES", "32")
        .env("PROPTEST_RNG_SEED", "1")
        .env("PLEXUS_SEED", "1")
        .env_remove("PLEXUS_TEST_LENGTH");
    // Each once: the tool makes the changes again for a package that is named again.
    for package in files.values().collect::<BTreeSet<_>>() {
        command.args(["--package", package]);
    }
    for file in files.keys() {
        command.args(["--file", file]);
    }
    // The examples have to notice: generated histories of trust take half a minute for each change.
    command.args(["--", "--"]);
    command.args(["model::", "fold::", "oracles::"].map(|tests| format!("--skip={tests}")));
    let status = command.status().context(TOOL[0])?;
    let written = output.join("mutants.out");
    // 2: there are survivors; 3: a change made the tests hang.
    let has_run = matches!(status.code(), Some(0 | 2 | 3));
    ensure!(has_run, "{status}; see {}", written.display());
    let written = fs::read(written.join("outcomes.json"))?;
    serde_json::from_slice(&written).context("reading outcomes.json")
}

/// The tool below `target/tools`, installed where it is missing or another version.
fn installed() -> Result<PathBuf> {
    let [name, version] = TOOL;
    let folder = cargo::root().join("target/tools");
    let program = folder.join("bin").join(name);
    let mut said = Command::new(&program);
    let said = said.args(["mutants", "--version"]).output();
    let wanted = format!("{name} {version}\n");
    if !said.is_ok_and(|said| said.stdout == wanted.as_bytes()) {
        let mut install = cargo::command();
        install.args(["install", "--locked", "--version", version, name]);
        crate::step::finish(install.arg("--root").arg(&folder))?;
    }
    Ok(program)
}

/// What a run found. A mutant is known by file, function and change in the tool's words, without line and column, which do
/// not outlive the next edit. If a function has the same change in several places, they are counted as the tool makes them: `(2 of 3)`.
#[derive(Default)]
struct Found {
    survivors: BTreeSet<String>,
    noticed: BTreeSet<String>,
}

impl Found {
    /// Reads `outcomes.json`.
    ///
    /// # Errors
    /// Where tests fail without a change, nothing was changed, or the file has another form.
    fn read(outcomes: &Value) -> Result<Self> {
        let mut mutants = Vec::new();
        let mut places = BTreeMap::<String, usize>::new();
        for one in outcomes["outcomes"].as_array().context("no outcomes")? {
            let summary = one["summary"].as_str().context("no summary")?;
            if one["scenario"] == "Baseline" {
                ensure!(summary == "Success", "unchanged: {summary}");
                continue;
            }
            let name = name(&one["scenario"]["Mutant"]).context("a mutant without name")?;
            let place = places.entry(name.clone()).or_default();
            *place += 1;
            mutants.push((name, *place, summary));
        }
        ensure!(!mutants.is_empty(), "nothing was changed");
        let mut found = Self::default();
        for (name, place, summary) in mutants {
            let name = match places[&name] {
                1 => name,
                all => format!("{name} ({place} of {all})"),
            };
            match summary {
                "MissedMutant" => found.survivors.insert(name),
                // Unviable: it does not compile.
                "CaughtMutant" | "Timeout" | "Unviable" => found.noticed.insert(name),
                other => bail!("{name}: {other}"),
            };
        }
        Ok(found)
    }

    /// One line for each difference between the survivors and the list.
    fn differences(&self, listed: &BTreeMap<String, String>) -> Vec<String> {
        let unlisted = self.survivors.iter().filter(|s| !listed.contains_key(*s));
        let unlisted = unlisted.map(|s| format!("no test notices: {s}"));
        let stale = listed.keys().filter(|l| !self.survivors.contains(*l));
        let stale = stale.map(|l| match self.noticed.contains(l) {
            true => format!("listed, but a test notices: {l}"),
            false => format!("listed, but gone: {l}"),
        });
        unlisted.chain(stale).collect()
    }
}

/// `file: change`, of the tool's `file:line:column: change`.
fn name(mutant: &Value) -> Option<String> {
    let (name, file) = (mutant["name"].as_str()?, mutant["file"].as_str()?);
    let change = name.strip_prefix(file)?.splitn(4, ':').nth(3)?;
    Some(format!("{file}:{change}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_name_files_that_are_there() {
        let files = pairs(FILES, " ").unwrap();
        for file in files.keys() {
            assert!(cargo::root().join(file).is_file(), "there is no {file}");
        }
        for mutant in pairs(SURVIVORS, " — ").unwrap().keys() {
            let is_there = files.keys().any(|file| mutant.starts_with(file));
            assert!(is_there, "not changed: {mutant}");
        }
        for (bad, why) in [
            ("a.rs: no reason\n", "one part only: a.rs: no reason"),
            ("a.rs: x — y\na.rs: x — twice\n", "twice: a.rs: x"),
        ] {
            assert_eq!(parsed(bad, " — ").unwrap_err().to_string(), why);
        }
    }

    fn found(of: &[(&str, &str)]) -> Result<Found> {
        let baseline = json!({"scenario": "Baseline", "summary": "Success"});
        let mutants = of.iter().enumerate().map(|(line, (change, summary))| {
            let name = format!("a.rs:{line}:9: {change}");
            json!({"scenario": {"Mutant": {"name": name, "file": "a.rs"}}, "summary": summary})
        });
        let all: Vec<_> = [baseline].into_iter().chain(mutants).collect();
        Found::read(&json!({ "outcomes": all }))
    }

    #[test]
    fn survivors_are_held_against_the_list() {
        let equal = "replace == with != in A::f";
        let found = found(&[
            (equal, "CaughtMutant"),
            (equal, "MissedMutant"),
            ("replace g -> a::B with vec![]", "MissedMutant"),
            ("delete ! in g", "Timeout"),
        ]);
        let listed = "a.rs: replace == with != in A::f (2 of 2) — the same\n\
                      # for people\n\na.rs: delete ! in g — once\na.rs: delete ! in h — once\n";
        assert_eq!(
            found.unwrap().differences(&parsed(listed, " — ").unwrap()),
            [
                "no test notices: a.rs: replace g -> a::B with vec![]",
                "listed, but a test notices: a.rs: delete ! in g",
                "listed, but gone: a.rs: delete ! in h",
            ]
        );
    }

    #[test]
    fn run_without_result_is_refused() {
        let why = |found: Result<Found>| found.err().unwrap().to_string();
        assert_eq!(why(found(&[])), "nothing was changed");
        let failed = found(&[("delete ! in f", "Failure")]);
        assert_eq!(why(failed), "a.rs: delete ! in f: Failure");
        let red = json!({"outcomes": [{"scenario": "Baseline", "summary": "Failure"}]});
        assert_eq!(why(Found::read(&red)), "unchanged: Failure");
    }
}
