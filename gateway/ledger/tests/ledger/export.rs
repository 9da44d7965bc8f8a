//! Exports, checked by this crate and by the script in `docs/` that knows nothing of it.

use std::io::Write as _;
use std::process::{Command as Process, Stdio};

use plexus_ledger::{CheckError, Finding, verify_export};

use crate::bank::{deposit_each, events, folder, open_with, with};
use crate::oracles::sealed;

/// The lines of a log of twelve events.
fn lines() -> Vec<String> {
    let dir = folder();
    let ledger = open_with(dir.path(), with(|o| o.checkpoint_every = 5));
    deposit_each(&ledger, 10);
    events(&ledger)
        .iter()
        .map(plexus_ledger::Recorded::export_line)
        .collect()
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

fn bad_event(text: &str) -> u64 {
    match verify_export(text.as_bytes()) {
        Err(CheckError::Found(Finding::Event { seq, id, .. })) => {
            assert!(id.is_some());
            seq
        }
        other => panic!("{other:?}"),
    }
}

/// Each damage with the number of the event to be named.
fn damaged() -> Vec<(u64, String)> {
    let good = lines();
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = good.clone();
        change(&mut lines);
        text(&lines)
    };
    vec![
        (
            3,
            with(&|lines| lines[2] = lines[2].replace("\"amount\":1", "\"amount\":2")),
        ),
        (6, with(&|lines| lines.swap(5, 6))),
        (7, with(&|lines| drop(lines.remove(6)))),
        (
            1,
            with(&|lines| lines[0] = lines[0].replacen("Z\"", "z\"", 1)),
        ),
        (
            12,
            with(&|lines| lines[11] = format!("{}{}", "0".repeat(64), &lines[11][64..])),
        ),
        (
            4,
            with(&|lines| {
                lines[3] = lines[3]
                    .to_uppercase()
                    .replace("EVT_", "\"evt_")
                    .replacen("\"\"evt", "\"evt", 1);
            }),
        ),
    ]
}

#[test]
fn a_whole_export_is_sound_and_a_part_is_proven_from_its_anchor_on() {
    let lines = lines();
    let verified = verify_export(text(&lines).as_bytes())
        .expect("sound")
        .expect("not empty");
    assert_eq!((verified.first, verified.head.seq), (1, 12));
    let part = verify_export(text(&lines[4..9]).as_bytes())
        .expect("sound")
        .expect("not empty");
    assert_eq!((part.first, part.head.seq), (5, 9));
    assert_eq!(verify_export(&b""[..]).expect("readable"), None);
}

#[test]
fn a_damaged_export_names_the_first_bad_event() {
    for (seq, text) in damaged() {
        assert_eq!(bad_event(&text), seq, "{text}");
    }
}

/// A program that can write the whole chain can make it anew: what was kept elsewhere says so, and nothing in it does.
#[test]
fn a_chain_made_anew_is_revealed_by_an_export_that_was_kept() {
    let kept = text(&lines());
    assert_eq!(sealed(&kept), kept, "the control");
    let anew = sealed(&kept.replace("\"amount\":1", "\"amount\":2"));
    let head = |export: &str| {
        let sound = verify_export(export.as_bytes()).expect("sound");
        sound.expect("not empty").head
    };
    let (was, is) = (head(&kept), head(&anew));
    assert_eq!(is.seq, was.seq);
    assert_ne!(is.hash, was.hash);
}

#[test]
fn the_script_in_the_documentation_agrees() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/verify-export.py");
    let run = |text: &str| {
        let mut python = Process::new(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 is needed for the script in docs/");
        python
            .stdin
            .take()
            .expect("its input")
            .write_all(text.as_bytes())
            .expect("written");
        let output = python.wait_with_output().expect("ended");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let good = lines();
    let (sound, said) = run(&text(&good));
    assert!(sound && said.contains("12 events"), "{said}");
    let (sound, said) = run(&text(&good[4..9]));
    assert!(sound && said.contains("from event 5"), "{said}");
    for (seq, text) in damaged() {
        let (sound, said) = run(&text);
        assert!(
            !sound && said.contains(&format!("event {seq} ")),
            "{seq}: {said}"
        );
    }
}
