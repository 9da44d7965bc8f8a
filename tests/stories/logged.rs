//! The daemon's own log: one form for every line, the same words in the code, on the page and in the files.

use crate::house::{COUNT, Workshop};
use plexus_tests::Gateway;
use plexus_tests::log_lines::{self, EVENTS, FIELDS, fault};
use plexus_tests::texts::assert_lacks;
use plexus_tests::waiting::until;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Sources of the crates whose lines go to the daemon's log, but for their tests.
fn sources() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    // The commands and their client print; they do not log.
    let commands = ["plexus", "plexusctl", "client"];
    let crates = fs::read_dir(root.join("gateway")).expect("the crates");
    let mut open: Vec<PathBuf> = crates
        .flatten()
        .filter(|of| !commands.contains(&of.file_name().to_string_lossy().as_ref()))
        .map(|of| of.path().join("src"))
        .collect();
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// What stands between the parentheses of each call of a macro of `tracing`.
fn calls(text: &str) -> Vec<(&str, &str)> {
    // Tests may say what they like.
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let mut found = Vec::new();
    for (at, _) in text.match_indices("tracing::") {
        let rest = &text[at + "tracing::".len()..];
        let Some((level, rest)) = rest.split_once("!(") else {
            continue;
        };
        if !["error", "warn", "info", "debug", "trace"].contains(&level) {
            continue;
        }
        let (mut depth, mut quoted, mut escaped) = (1, false, false);
        let end = rest.char_indices().find_map(|(at, c)| {
            match c {
                _ if escaped => escaped = false,
                '\\' if quoted => escaped = true,
                '"' => quoted = !quoted,
                '(' if !quoted => depth += 1,
                ')' if !quoted => depth -= 1,
                _ => {}
            }
            (depth == 0).then_some(at)
        });
        found.push((level, &rest[..end.expect("the call ends")]));
    }
    found
}

/// The parts of a call that commas outside of everything else part.
fn parts(call: &str) -> Vec<String> {
    let (mut depth, mut quoted) = (0, false);
    let mut parts = vec![String::new()];
    for c in call.chars() {
        match c {
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().expect("one at least").push(c);
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

#[test]
fn code_and_page_name_the_same_events_and_fields() {
    let mut events: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut fields = BTreeSet::new();
    let texts: Vec<_> = sources()
        .into_iter()
        .map(|path| (fs::read_to_string(&path).expect("a source"), path))
        .collect();
    for (text, path) in &texts {
        for (level, call) in calls(text) {
            let at = || format!("{}: {call}", path.display());
            let mut parts = parts(call).into_iter().filter(|part| !part.is_empty());
            let name = parts.next().unwrap_or_default();
            let word = name
                .strip_prefix("name: \"")
                .and_then(|n| n.strip_suffix('"'));
            let word = word.unwrap_or_else(|| panic!("no event: {}", at()));
            events.entry(word.to_owned()).or_default().insert(level);
            for part in parts.filter(|p| !p.starts_with("target:") && !p.starts_with('"')) {
                let field = part.split(['=', '.']).next().unwrap_or_default();
                let field = field.trim().trim_start_matches(['%', '?']);
                assert!(
                    FIELDS.contains(field),
                    "{field} is not on the page: {}",
                    at()
                );
                fields.insert(field.to_owned());
            }
        }
    }
    // What libraries say has no call of ours.
    events.insert("library".into(), ["any"].into());
    fields.extend(["message".into(), "detail".into()]);
    let paged: BTreeMap<String, BTreeSet<&str>> = EVENTS
        .iter()
        .map(|(event, levels)| (event.clone(), levels.split(", ").collect()))
        .collect();
    assert_eq!(events, paged, "code (left) and page (right)");
    assert_eq!(&fields, &*FIELDS, "code (left) and page (right)");
}

#[test]
fn the_check_of_the_log_finds_what_it_looks_for() {
    let line = r#"{"time":"2026-01-01T10:00:00.000Z","level":"warn","event":"worker.ended","target":"t","message":"m","pid":7}"#;
    assert!(fault(line).is_ok(), "{:?}", fault(line));
    let (level, event) = (r#""level":"warn""#, r#""event":"worker.ended""#);
    let agent = format!("\"plx_agent_{}\"", "Q".repeat(43));
    let live = format!("\"plx_live_{}\"", "0".repeat(48));
    let token = r#""eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.x.y""#;
    for (from, to, why) in [
        (r#"{"time""#, r#""time""#, "no object: "),
        (level, r#""level":"odd""#, "no such time or level"),
        (level, r#""level":"error""#, "the page says warn"),
        (
            event,
            r#""event":"worker.odd""#,
            "its event is not in the page",
        ),
        (r#""pid""#, r#""process""#, "its field process is not in"),
        (
            event,
            r#""later":1,"event":"worker.ended""#,
            "it begins otherwise",
        ),
        (r#""m""#, &agent, "it holds plx_agent_"),
        (r#""m""#, &live, "it holds plx_live_"),
        (r#""m""#, token, "it holds a token"),
    ] {
        let broken = line.replace(from, to);
        assert_ne!(broken, line, "{from}");
        let found = fault(&broken).expect_err(&broken);
        assert!(found.starts_with(why), "{broken}: {found}");
    }
}

/// With everything logged: what a call is, who it was, how it ended; and a worker's death, told by its fields.
#[test]
fn a_call_and_a_death_are_told_in_fields() {
    let mut workshop = Workshop::with(Gateway::builder().fixture().env("PLEXUS_LOG", "trace"));
    let agent = workshop.reader("one");
    agent.must("fixture.echo", json!({"text": "canary-4711"}));
    assert_eq!(agent.invoke("fixture.crash", json!({})).at("/ok"), false);
    agent.must_ask(COUNT, json!({"line": "canary-4712"}));
    assert!(workshop.gateway.stop().success());
    let lines = log_lines::check(&workshop.gateway.state());
    let of = |event: &'static str| lines.iter().filter(move |line| line["event"] == event);
    let call = of("call.ended")
        .find(|line| line["capability"] == "fixture.echo")
        .expect("the call");
    assert_eq!(
        (&call["agent"], &call["code"]),
        (&json!("one"), &json!("ok"))
    );
    assert!(
        call["durationMs"].is_u64() && call["auditId"].is_string(),
        "{call:?}"
    );
    let failed = of("call.ended")
        .find(|line| line["capability"] == "fixture.crash")
        .expect("the other call");
    assert_ne!(failed["code"], "ok");
    let (started, ended) = (of("worker.started").next(), of("worker.ended").next());
    let (started, ended) = (started.expect("a start"), ended.expect("an end"));
    assert_eq!(started["pid"], ended["pid"]);
    assert_eq!(
        (&ended["source"], &ended["role"]),
        (&json!("fixture"), &json!("reader"))
    );
    for event in ["daemon.serving", "daemon.stopping", "worker.said"] {
        assert!(of(event).next().is_some(), "{event}");
    }
    let all = format!("{lines:?}");
    assert!(!all.contains("canary-47"), "no input is in it");
}

/// An empty filter is none at all, and one that cannot be read is said.
#[test]
fn a_filter_that_is_none_logs_as_without_one() {
    for (filter, is_refused) in [("", false), ("plexusd=loud", true)] {
        let mut workshop = Workshop::with(Gateway::builder().fixture().env("PLEXUS_LOG", filter));
        assert!(workshop.gateway.stop().success());
        let lines = log_lines::check(&workshop.gateway.state());
        let has = |event: &str| lines.iter().any(|line| line["event"] == event);
        assert!(has("daemon.serving"), "{filter:?}: {lines:?}");
        assert_eq!(has("log.filter_refused"), is_refused, "{filter:?}");
    }
}

/// Text of the same events for a reader of standard error.
#[test]
fn standard_error_has_the_warnings_as_text() {
    let (workshop, agent) = Workshop::with_reader("one");
    assert_eq!(agent.invoke("fixture.crash", json!({})).at("/ok"), false);
    let said = until("the warning", || {
        let said = workshop.gateway.stderr();
        said.contains(" warn  worker.ended: ").then_some(said)
    });
    assert!(said.contains(" source=fixture role=reader pid="), "{said}");
    // Nobody's terminal.
    assert_lacks(&said, "daemon.serving");
}
