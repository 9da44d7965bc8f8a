//! Everything that a process can try, from inside of each connector's cage and from outside of any.

use super::scene::{Scene, Subject};
use nix::errno::Errno;
#[cfg(target_arch = "x86_64")]
use plexus_tests::cage::ENDS;
use plexus_tests::cage::{BORN_HOSTILE, Caged, FAMILIES, Family, Outcome, Probe};
use plexus_tests::waiting::{until, until_true};
use plexus_tests::{golden, not_run};
use std::fmt::Write as _;

/// What stands in a cell.
const DONE: &str = "done";
const REFUSED: &str = "**refused**";

/// What stands against the run, and what stands without a control because this machine does not offer it.
#[derive(Default)]
struct Findings {
    failures: Vec<String>,
    missing: Vec<String>,
}

/// One row as it was measured.
struct Row {
    probe: &'static Probe,
    cells: Vec<&'static str>,
    without: &'static str,
}

#[test]
fn every_probe_in_every_cage_and_without_one() {
    let mut scene = Scene::open();
    for subject in Subject::ALL {
        scene.caged(subject, "read a file inside");
    }
    let before = scene.descriptors();
    let mut findings = Findings::default();
    let mut measured: Vec<(&Family, Vec<Row>)> = FAMILIES
        .iter()
        .map(|family| (family, measure(&scene, family, &mut findings)))
        .collect();

    // A fresh gateway, because a worker gives up exec when it starts and for good.
    let born = Scene::with(|mut orders| {
        orders.born_hostile = true;
        orders
    });
    measured.push((&BORN_HOSTILE, measure(&born, &BORN_HOSTILE, &mut findings)));

    let Findings { failures, missing } = findings;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    if !missing.is_empty() {
        not_run::in_part(
            "probes::every_probe_in_every_cage_and_without_one",
            &format!(
                "{} of its controls: this machine does not offer {}",
                missing.len(),
                missing.join(", ")
            ),
        );
    }
    assert!(scene.bystander_lives(), "the bystander was left alone");
    until_true(
        "the gateway's descriptors to be no more than before",
        || scene.descriptors() <= before,
    );
    assert!(scene.gateway.stop().success());
    golden::check_section(
        "tests/reports/sandbox-probes.md",
        "probes",
        &page(&measured),
    );
}

/// The kernel ends it, in place of an answer: as a writer, because a read would be tried on four of them.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_call_of_another_machine_ends_its_worker() {
    let expected = match Scene::works_uncaged("int80") {
        Ok(works) => {
            assert!(works, "the call is right, where there is no cage");
            "signal: 31 (SIGSYS)"
        }
        Err(nix::libc::SIGSEGV) => {
            not_run::in_part(
                "probes::a_call_of_another_machine_ends_its_worker",
                "its control: this kernel has no 32-bit calls",
            );
            "signal: 11 (SIGSEGV)"
        }
        Err(other) => panic!("ended by {other}, without a cage"),
    };
    let mut scene = Scene::open();
    let subject = Subject::WorkspaceWriter;
    let (_, pid) = scene.caged(subject, "read a file inside");
    let reply = scene.ask(subject, ENDS.name);
    assert_eq!(reply.at("/error/code"), "outcome_unknown", "{reply}");
    let end = until("the record of its end", || {
        let mut events = scene.gateway.owner().audit(200).into_iter();
        events.find(|event| event["detail"]["event"] == "worker.end")
    });
    assert_eq!(end["detail"]["pid"], pid, "{end:#}");
    let exit = end["detail"]["exit"].as_str().expect("a status");
    assert!(exit.starts_with(expected), "{end:#}");
    let (_, next) = scene.caged(subject, "read a file inside");
    assert_ne!(next, pid, "another process serves");
    assert!(scene.gateway.stop().success());
}

fn measure(scene: &Scene, family: &'static Family, findings: &mut Findings) -> Vec<Row> {
    let rows = family.probes.iter();
    rows.map(|probe| row(scene, probe, findings)).collect()
}

/// Sources do not stand in each other's way, so they are tried at one moment; the roles of one source do.
const TOGETHER: [&[Subject]; 3] = [
    &[Subject::Obsidian],
    &[Subject::Git],
    &[Subject::WorkspaceReader, Subject::WorkspaceWriter],
];

fn row(scene: &Scene, probe: &'static Probe, findings: &mut Findings) -> Row {
    scene.put_outside_right();
    let cells = std::thread::scope(|scope| {
        let trying = TOGETHER.map(|subjects| {
            scope.spawn(move || {
                let cells = subjects.iter().map(|subject| cell(scene, probe, *subject));
                cells.collect::<Vec<_>>()
            })
        });
        let tried = trying.map(|thread| thread.join().expect("a cell"));
        tried.into_iter().flatten().collect::<Vec<_>>()
    });
    let without = control(scene, probe, findings);
    findings
        .failures
        .extend(cells.iter().filter_map(|cell| cell.clone().err()));
    Row {
        probe,
        cells: cells.into_iter().map(|cell| cell.unwrap_or("?")).collect(),
        without,
    }
}

/// What came of it in one cage, or how that differs from what must come of it.
fn cell(scene: &Scene, probe: &Probe, subject: Subject) -> Result<&'static str, String> {
    scene.put_right(subject);
    let before = scene.world(subject);
    let outcome = attempt(scene, probe, subject, || scene.caged(subject, probe.name).0);
    let may = match probe.caged {
        Caged::Refused => false,
        Caged::WriterMay => subject.writes(),
        Caged::Open => true,
    };
    let cell = match &outcome {
        Outcome::Through(_) => DONE,
        other if probe.is_refusal(other) => REFUSED,
        _ => "neither",
    };
    let at = format!("{}, {}", probe.name, subject.title());
    if cell != if may { DONE } else { REFUSED } {
        Err(format!("{at}: {outcome:?}"))
    } else if !may && scene.world(subject) != before {
        Err(format!("{at}: said to be refused, and something changed"))
    } else {
        Ok(cell)
    }
}

/// The same where there is no cage: without it a refusal proves nothing.
fn control(scene: &Scene, probe: &Probe, findings: &mut Findings) -> &'static str {
    let subject = Subject::WorkspaceWriter;
    scene.put_right(subject);
    let outcome = attempt(scene, probe, subject, || scene.uncaged(subject, probe.name));
    match &outcome {
        Outcome::Through(_) => {}
        Outcome::Refused(errno) if probe.is_missing(Errno::from_raw(*errno)) => {
            let errno = Errno::from_raw(*errno);
            findings.missing.push(format!("{} ({errno:?})", probe.name));
        }
        other => {
            let failure = format!("{}, without a cage: {other:?}", probe.name);
            findings.failures.push(failure);
        }
    }
    if probe.may_be_missing() {
        "done where offered"
    } else {
        DONE
    }
}

fn attempt(
    scene: &Scene,
    probe: &Probe,
    subject: Subject,
    run: impl FnOnce() -> Outcome,
) -> Outcome {
    if probe.turning {
        scene.turning(subject, run)
    } else {
        run()
    }
}

/// The tables: what is refused by family, and then what is not.
fn page(measured: &[(&Family, Vec<Row>)]) -> String {
    let mut page = String::new();
    for (family, rows) in measured {
        let shown: Vec<&Row> = rows
            .iter()
            .filter(|row| row.probe.caged != Caged::Open)
            .collect();
        table(&mut page, family.title, &shown);
    }
    let open: Vec<&Row> = measured
        .iter()
        .flat_map(|(_, rows)| rows)
        .filter(|row| row.probe.caged == Caged::Open)
        .collect();
    table(&mut page, "What no cage here hides or takes", &open);
    page
}

/// What every cage answers alike is a list; the other rows are a table.
fn table(page: &mut String, title: &str, rows: &[&Row]) {
    let _ = write!(page, "\n### {title}\n");
    let alike = |row: &&&Row| row.cells.iter().all(|cell| *cell == row.cells[0]);
    for (cell, words) in [
        (REFUSED, "Refused in every cage"),
        (DONE, "Done in every cage"),
    ] {
        let these = rows.iter().filter(alike).filter(|row| row.cells[0] == cell);
        let names: Vec<_> = these
            .map(|row| match row.without {
                DONE => format!("- {}\n", row.probe.name),
                without => format!("- {} ({without})\n", row.probe.name),
            })
            .collect();
        if !names.is_empty() {
            let _ = write!(page, "\n{words}:\n\n{}", names.concat());
        }
    }
    let others: Vec<_> = rows.iter().filter(|row| !alike(row)).collect();
    if others.is_empty() {
        return;
    }
    let heads = Subject::ALL.map(Subject::title).join(" | ");
    let _ = write!(
        page,
        "\n| | without a cage | {heads} |\n|---|---|{}\n",
        "---|".repeat(Subject::ALL.len())
    );
    for row in others {
        let cells = row.cells.join(" | ");
        let _ = writeln!(page, "| {} | {} | {cells} |", row.probe.name, row.without);
    }
}
