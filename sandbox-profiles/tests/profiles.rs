//! The profiles we ship, held to what makes them readable by both kernels and by people.

use std::path::{Path, PathBuf};

use plexus_sandbox::lint::{Fault, PARAMETERS, lint};
use plexus_sandbox::profile::Profile;
use plexus_sandbox::ruleset::{Extent, Parameters, Ruleset};

/// The profiles in this folder of the crate, each with its name.
fn profiles_in(folder: &str) -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
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
    profiles
}

fn shipped() -> Vec<(String, String)> {
    let profiles = profiles_in("");
    let names: Vec<&str> = profiles.iter().map(|(name, _)| name.as_str()).collect();
    // Whatever is there is held to the rules; these three are what the tests below are about.
    for known in ["fixture", "obsidian", "workspace"] {
        assert!(names.contains(&known), "{known}");
    }
    profiles
}

fn parameters(role: &str) -> Parameters {
    let values = ["/opt/worker", "/home/me/root", "/home/me/scratch", role];
    PARAMETERS
        .iter()
        .zip(values)
        .chain([(&"PORT", "7079")])
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
fn every_shipped_profile_is_without_findings() {
    for (name, text) in shipped() {
        // The path field of its manifest.
        let paths: &[&str] = match name.as_str() {
            "things" => &["DATABASE"],
            _ => &[],
        };
        let findings: Vec<String> = lint(&text, paths).iter().map(ToString::to_string).collect();
        assert!(findings.is_empty(), "{name}.sb: {findings:#?}");
        // What one file says wrong is found in it: the next rule has no reason, writes, is wide, and allows again what was
        // denied before it.
        let worse = format!("{text}(allow file-write* (subpath \"/home\"))\n");
        assert_eq!(
            lint(&worse, paths).len(),
            3 + usize::from(text.contains("(deny file-write-create")),
            "{name}.sb"
        );
    }
}

/// A run reads tools, writes its folder and starts programs, which no worker may. For the rest its profile is held to the same.
#[test]
fn each_profile_of_a_run_is_without_findings_of_its_own() {
    let findings = |text: &str| -> Vec<String> {
        let parameters = Profile::parse(text).expect("it parses");
        let parameters: Vec<&str> = parameters.parameters().into_iter().collect();
        let found = lint(text, &parameters).into_iter();
        let of_a_run = found.filter(|finding| {
            matches!(
                finding.fault,
                Fault::NoReason
                    | Fault::NoImport
                    | Fault::NotTakenBack(_)
                    | Fault::BareDenial(_)
                    | Fault::UnknownParameter(_)
                    | Fault::NotFilledIn(_)
                    | Fault::Filter { .. }
                    | Fault::Overruled(_)
            )
        });
        of_a_run.map(|finding| finding.to_string()).collect()
    };
    let runs = profiles_in("children");
    let names: Vec<&str> = runs.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["claude", "codex", "command", "mcp"]);
    for (name, text) in runs {
        assert_eq!(findings(&text), [""; 0], "{name}.sb");
        let network = "(deny network-outbound (remote ip \"*:*\") (subpath \"/\"))";
        for (worse, count) in [
            // Without a reason.
            (format!("{text}(allow file-read* (literal \"/x\"))\n"), 1),
            // Without a filter.
            (
                format!("{text}(deny network-inbound) ; a reason that is long enough\n"),
                1,
            ),
            // The base's network is not taken back, and the line that was to do it is bare.
            (text.replace(network, "(deny network-outbound)"), 2),
        ] {
            assert_eq!(
                findings(&worse).len(),
                count,
                "{name}.sb: {:?}",
                findings(&worse)
            );
        }
    }
}

/// Apple's base allows it to everyone, and Linux cannot hold it: no profile may lean on it.
#[test]
fn no_profile_speaks_of_metadata() {
    for (name, text) in shipped() {
        assert!(!text.contains("file-read-metadata"), "{name}");
    }
}

#[test]
fn no_profile_grants_fork_network_or_links() {
    for (name, _) in shipped() {
        for role in ["reader", "writer"] {
            let ruleset = evaluated(&name, role);
            let connects: Vec<_> = ruleset.connects.iter().map(|grant| grant.port).collect();
            // The way to the network itself resolves names, and reaches no host until one is named.
            let (resolver, accepts): (&[u16], bool) = match name.as_str() {
                "egress" => (&[53], true),
                _ => (&[], false),
            };
            // Programs of macOS, which its worker starts there (decision 0053). The harness on Linux gives fork and exec up.
            let programs: &[&str] = match (name.as_str(), role) {
                ("things", "writer") => &["/usr/bin/osascript", "/usr/bin/open"],
                ("things", _) => &["/usr/bin/osascript"],
                _ => &[],
            };
            assert!(
                ruleset.forks != programs.is_empty()
                    && connects == resolver
                    && ruleset.sockets.is_empty()
                    && !ruleset.creates_links,
                "{name} as {role}"
            );
            assert_eq!(ruleset.accepts.is_some(), accepts, "{name} as {role}");
            let executes: Vec<_> = ruleset
                .executes
                .iter()
                .map(|grant| (grant.path.as_path(), grant.extent))
                .collect();
            let programs = ["/opt/worker"].iter().chain(programs);
            let expected: Vec<_> = programs
                .map(|path| (Path::new(*path), Extent::Literal))
                .collect();
            assert_eq!(executes, expected, "{name} as {role}");
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

/// Such a one could lock what it only reads (`flock`): see the threat model.
#[test]
fn shipped_writer_only_reads_its_program_beside_what_it_writes() {
    let mut writers = 0;
    // The programs that `things` starts are of macOS, where nobody decides on locks.
    for (name, _) in shipped().into_iter().filter(|(name, _)| name != "things") {
        let ruleset = evaluated(&name, "writer");
        if ruleset.writes.is_empty() {
            continue;
        }
        writers += 1;
        let only_read = ruleset.reads.iter().filter(|read| {
            let mut writes = ruleset.writes.iter();
            !writes.any(|write| read.path.starts_with(&write.path))
        });
        let only_read: Vec<_> = only_read.map(|read| (&*read.path, read.extent)).collect();
        let own = ["/opt/worker", "/"].map(|path| (Path::new(path), Extent::Literal));
        assert_eq!(only_read, own, "{name}");
    }
    assert!(writers > 5, "only {writers} write somewhere");
}

#[test]
fn a_role_nobody_knows_writes_nothing() {
    assert!(evaluated("workspace", "Writer").writes.is_empty());
    assert!(!evaluated("workspace", "writer").writes.is_empty());
}
