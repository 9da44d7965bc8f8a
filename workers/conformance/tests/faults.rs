//! The suite on a connector that breaks one rule at a time: each fault is found, under the name of its rule, and the
//! connector without a fault passes.

#[path = "../src/bin/plexus-worker-faulty/faulty.rs"]
mod faulty;

use faulty::{Fault, Faulty, MANIFEST};
use plexus_conformance::{Breach, Rule, Subject};
use serde_json::json;
use std::{
    collections::BTreeSet, fs, io::Write as _, net::TcpListener, path::Path, sync::OnceLock, thread,
};

/// The fixture's profile is that of a folder with both roles; a library that is only read goes with it here.
const PROFILE: &str = concat!(
    include_str!("../../../sandbox-profiles/fixture.sb"),
    "(if (param \"LIBRARY\") (allow file-read* (subpath (param \"LIBRARY\")))) ; it is looked up in\n"
);

fn fill(root: &Path) {
    fs::create_dir(root.join("docs")).unwrap();
    fs::write(root.join("docs/a.md"), "one\ntwo\n").unwrap();
    fs::write(root.join("b.md"), "b\n").unwrap();
}

fn subject(fault: Fault, profile: &'static str) -> Subject {
    Subject::new(
        MANIFEST,
        profile,
        env!("CARGO_BIN_EXE_plexus-worker-faulty"),
    )
    .config("fault", json!(fault))
    .world(fill)
    .folder("library", |library| {
        fs::write(library.join("book.md"), "a book\n").unwrap();
    })
    .moves(|root| {
        fs::write(root.join("b.md"), "moved\n").unwrap();
        fs::write(root.join("c.md"), "made by somebody\n").unwrap();
    })
    .egress(host(), "its credential")
    .example("look", json!({"path": "docs/a.md"}), &["docs/a.md"])
    .example("put", json!({"path": "b.md", "text": "new\n"}), &["b.md"])
    .example("put", json!({"path": "c.md", "text": "new\n"}), &["c.md"])
    .outside("look", json!({"path": "docs/../b.md"}), "docs")
    .outside("look", json!({"path": "b.md"}), "docs")
}

/// The port of a server that sends one byte to each connection, while the test runs.
fn host() -> u16 {
    static HOST: OnceLock<u16> = OnceLock::new();
    *HOST.get_or_init(|| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let _ = connection.and_then(|mut connection| connection.write_all(b"."));
            }
        });
        port
    })
}

fn broken(breaches: &[Breach]) -> BTreeSet<Rule> {
    breaches.iter().map(|breach| breach.rule).collect()
}

#[test]
fn without_a_fault_every_rule_holds() {
    subject(Fault::None, PROFILE).conform::<Faulty>();
}

#[test]
fn each_fault_breaks_its_rule_and_no_other() {
    for (fault, rule) in [
        (Fault::Fails, Rule::Examples),
        (Fault::OneMemberMore, Rule::Answers),
        (Fault::OtherType, Rule::Answers),
        (Fault::ReadWrites, Rule::ChangesNothing),
        (Fault::PlanWrites, Rule::ChangesNothing),
        (Fault::EmptyWhenLate, Rule::Deadlines),
        (Fault::BlocksTheRuntime, Rule::Promptness),
        (Fault::DeafToCancel, Rule::Promptness),
        (Fault::Panics, Rule::Malformed),
        (Fault::TakesAnything, Rule::Malformed),
        (Fault::NamesNothing, Rule::Touched),
        (Fault::NamesAnother, Rule::Touched),
        (Fault::ChangesMore, Rule::Touched),
        (Fault::JudgesTheSpelling, Rule::Constraints),
        (Fault::JudgesNothing, Rule::Constraints),
        (Fault::FollowsLinks, Rule::Constraints),
        (Fault::SameToken, Rule::StateToken),
        (Fault::OtherToken, Rule::StateToken),
        (Fault::ForgetsWhatItDid, Rule::Cancelled),
        (Fault::EmptyWithoutHost, Rule::Hosts),
        (Fault::LooksOutside, Rule::Cage),
        (Fault::TellsItsSecret, Rule::Secrets),
    ] {
        let subject = subject(fault, PROFILE);
        let breaches = match fault {
            // Slow in everything, or for ever where nobody cancels, so this rule only.
            Fault::BlocksTheRuntime | Fault::DeafToCancel | Fault::ForgetsWhatItDid => {
                subject.only(&[rule])
            }
            _ => subject,
        }
        .breaches::<Faulty>();
        assert!(
            broken(&breaches).contains(&rule),
            "{fault:?} breaks {breaches:#?}"
        );
        // What else a fault of that kind cannot but break.
        let also: &[Rule] = match fault {
            // A read that fails, fails in its cage too.
            Fault::Fails => &[Rule::Cage],
            // A reader that writes is refused there, and goes on.
            Fault::OneMemberMore | Fault::OtherType => &[Rule::Malformed],
            Fault::PlanWrites | Fault::SameToken | Fault::OtherToken => &[
                Rule::StateToken,
                Rule::Cancelled,
                Rule::Touched,
                Rule::Deadlines,
                Rule::Constraints,
            ],
            // Judged on what it names, a read that names something else is outside of what it read.
            Fault::NamesAnother => &[Rule::Constraints],
            _ => &[],
        };
        let others: BTreeSet<Rule> = broken(&breaches)
            .into_iter()
            .filter(|found| *found != rule && !also.contains(found))
            .collect();
        assert!(others.is_empty(), "{fault:?} also breaks {breaches:#?}");
    }
}

#[test]
fn a_capability_without_an_example_is_named() {
    let breaches = Subject::new(
        MANIFEST,
        PROFILE,
        env!("CARGO_BIN_EXE_plexus-worker-faulty"),
    )
    .world(fill)
    .example("look", json!({"path": "b.md"}), &["b.md"])
    .only(&[Rule::Examples])
    .breaches::<Faulty>();
    assert_eq!(breaches.len(), 1, "{breaches:#?}");
    assert_eq!(
        (breaches[0].rule, breaches[0].at.as_str()),
        (Rule::Examples, "put")
    );
}

#[test]
fn a_cage_with_a_hole_and_one_without_a_door_are_both_refused() {
    const HOLE: &str = concat!(
        include_str!("../../../sandbox-profiles/fixture.sb"),
        "(allow file-write* (subpath (param \"ROOT\"))) ; a mistake\n"
    );
    let found = |profile| {
        subject(Fault::None, profile)
            .only(&[Rule::Cage])
            .breaches::<Faulty>()
    };
    assert!(found(PROFILE).is_empty());
    let hole = found(HOLE);
    // The rule says it, and the proof of the cage says it.
    assert!(
        hole.iter().any(|b| b.what.contains("lets it write")),
        "{hole:#?}"
    );
    assert!(
        hole.iter().any(|b| b.what.contains("not sound")),
        "{hole:#?}"
    );
    // A path that is only read, written by the writer alone: neither role's proof may miss it.
    const SHELF: &str = concat!(
        include_str!("../../../sandbox-profiles/fixture.sb"),
        "(allow file-read* (subpath (param \"LIBRARY\"))) ; it is looked up in\n",
        "(if (string=? (param \"ROLE\") \"writer\") (allow file-write* (subpath (param \"LIBRARY\")))) ; a mistake\n"
    );
    let shelf = found(SHELF);
    for what in ["not given", "create a file in the path LIBRARY"] {
        assert!(
            shelf.iter().any(|b| b.what.contains(what)),
            "{what}: {shelf:#?}"
        );
    }
    let door = found("(version 1)\n(deny default)\n(import \"bsd.sb\")\n");
    assert!(door.iter().any(|b| b.at == "reader"), "{door:#?}");
}
