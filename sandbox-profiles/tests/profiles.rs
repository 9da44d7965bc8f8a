//! The profiles we ship, held to what makes them readable by both kernels and by people.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use plexus_sandbox::profile::{Action, Profile, What};
use plexus_sandbox::ruleset::{Extent, Parameters, Ruleset};

/// What the gateway passes to every worker.
const PASSED: [&str; 4] = ["WORKER", "ROOT", "SCRATCH", "ROLE"];

fn shipped() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut profiles: Vec<(String, String)> = std::fs::read_dir(folder)
        .expect("the crate's folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sb"))
        .map(|path| {
            (
                path.file_stem()
                    .expect("a name")
                    .to_string_lossy()
                    .into_owned(),
                std::fs::read_to_string(&path).expect("its text"),
            )
        })
        .collect();
    profiles.sort();
    let names: Vec<&str> = profiles.iter().map(|(name, _)| name.as_str()).collect();
    // Whatever is there is held to the rules; these three are what the tests below are about.
    for known in ["fixture", "obsidian", "workspace"] {
        assert!(names.contains(&known), "{known}");
    }
    profiles
}

fn parameters(role: &str) -> Parameters {
    let values = ["/opt/worker", "/home/me/root", "/home/me/scratch", role];
    PASSED
        .iter()
        .zip(values)
        .map(|(key, value)| ((*key).to_owned(), value.to_owned()))
        .collect()
}

fn evaluated(name: &str, role: &str) -> Ruleset {
    let (_, text) = shipped()
        .into_iter()
        .find(|(found, _)| found == name)
        .expect("the profile");
    Ruleset::evaluate(
        &Profile::parse(&text).expect("it parses"),
        &parameters(role),
    )
    .expect("it evaluates")
}

#[test]
fn every_profile_denies_by_default_imports_the_base_and_asks_only_for_what_is_passed() {
    for (name, text) in shipped() {
        assert!(
            text.bytes()
                .all(|byte| byte == b'\n' || byte.is_ascii_graphic() || byte == b' '),
            "{name}: plain ASCII"
        );
        // Without these two as its first forms it does not parse at all.
        let profile = Profile::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.contains("\n(version 1)\n(deny default)\n"), "{name}");
        assert!(profile.import.is_some(), "{name}");
        let unknown: Vec<_> = profile
            .parameters()
            .into_iter()
            .filter(|asked| !PASSED.contains(asked))
            .collect();
        assert!(unknown.is_empty(), "{name} asks for {unknown:?}");
    }
}

#[test]
fn every_rule_says_why() {
    for (name, text) in shipped() {
        let lines: Vec<&str> = text.lines().collect();
        let says = |line: &str| {
            line.split_once(';')
                .is_some_and(|(_, why)| why.trim().len() > 10)
        };
        let profile = Profile::parse(&text).expect("it parses");
        for line in profile
            .forms
            .iter()
            .map(|form| form.line)
            .chain(profile.import)
        {
            let at = line as usize - 1;
            let above = lines[at - 1];
            assert!(
                says(lines[at]) || above.starts_with(';') && says(above),
                "{name}, line {line}: {}",
                lines[at]
            );
        }
    }
}

#[test]
fn what_bsd_sb_allows_on_macos_is_taken_back() {
    for (name, text) in shipped() {
        let profile = Profile::parse(&text).expect("it parses");
        let denied: BTreeSet<&str> = profile
            .forms
            .iter()
            .filter_map(|form| match &form.what {
                What::Rule(rule) if rule.action == Action::Deny && rule.filters.is_empty() => {
                    Some(rule)
                }
                _ => None,
            })
            .flat_map(|rule| rule.operations.iter().map(String::as_str))
            .collect();
        assert!(
            denied.is_superset(&BTreeSet::from(["process-fork", "network*"])),
            "{name}: {denied:?}"
        );
        assert!(
            !text.contains("file-read-metadata") && !text.contains("(allow default"),
            "{name}"
        );
    }
}

#[test]
fn no_profile_grants_fork_network_or_links() {
    for (name, _) in shipped() {
        for role in ["reader", "writer"] {
            let ruleset = evaluated(&name, role);
            assert!(
                !ruleset.forks && ruleset.connects.is_empty() && !ruleset.creates_links,
                "{name} as {role}"
            );
            let executes: Vec<_> = ruleset
                .executes
                .iter()
                .map(|grant| (grant.path.as_path(), grant.extent))
                .collect();
            assert_eq!(
                executes,
                [(Path::new("/opt/worker"), Extent::Literal)],
                "{name} as {role}"
            );
        }
    }
}

#[test]
fn roles_differ_in_what_they_write() {
    let writes = |name, role| -> Vec<PathBuf> {
        evaluated(name, role)
            .writes
            .into_iter()
            .map(|grant| grant.path)
            .collect()
    };
    let both = [
        PathBuf::from("/home/me/root"),
        PathBuf::from("/home/me/scratch"),
    ];
    for name in ["workspace", "fixture"] {
        assert_eq!(writes(name, "writer"), both, "{name}");
        assert!(writes(name, "reader").is_empty(), "{name}");
    }
    for role in ["reader", "writer"] {
        assert!(writes("obsidian", role).is_empty());
        let reads: Vec<PathBuf> = evaluated("obsidian", role)
            .reads
            .into_iter()
            .map(|grant| grant.path)
            .collect();
        // The root folder itself is for the loader of macOS 26; as a literal it grants nothing on Linux.
        assert_eq!(
            reads,
            ["/opt/worker", "/", "/home/me/root"].map(PathBuf::from)
        );
    }
}

#[test]
fn a_role_nobody_knows_writes_nothing() {
    assert!(evaluated("workspace", "Writer").writes.is_empty());
    assert!(!evaluated("workspace", "writer").writes.is_empty());
}
