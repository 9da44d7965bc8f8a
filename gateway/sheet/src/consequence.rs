//! What approving a call would do that cannot be overlooked, in one line: the first of its card in every view.
//!
//! Invariant: the line is made of the card alone, and what it cannot tell from the card it does not claim: where a change
//! is not shown whole it counts without saying what is deleted.

use crate::Untrusted;
use plexus_owner::pending::{Ask, Fact, Form, GrantCard, MadePlan, Plan, Preview};
use plexus_protocol::{Provenance, Sensitivity, Verb, body::Narration};
use std::collections::BTreeMap;

/// What approving all calls of a card would do; none while that is not known.
#[must_use]
pub fn consequence(card: &GrantCard) -> Option<Untrusted> {
    let one = |ask: &Ask| {
        let narration = card.pending_narration.iter().find(|one| one.id == ask.id);
        of_ask(ask, narration)
    };
    let all: Option<Vec<String>> = card.asks.iter().map(one).collect();
    let mut all = all.filter(|all| !all.is_empty())?;
    all.dedup();
    Some(Untrusted::of(capital(&all.join("; "))))
}

/// Whether a plan deletes a file, or may: where its card does not show what becomes of each.
#[must_use]
pub fn may_delete(plan: &MadePlan) -> bool {
    let written = written(plan);
    let of_files = |(kind, count): (&&str, &usize)| {
        let is_file = matches!(*kind, "file" | "note");
        is_file && fates(&plan.preview, *count).is_none_or(|fates| fates.deleted > 0)
    };
    written.iter().any(of_files)
}

/// Our own words at the beginning of a line.
#[must_use]
pub fn capital(words: &str) -> String {
    let mut rest = words.chars();
    let first = rest.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(rest).collect()
}

fn of_ask(ask: &Ask, narration: Option<&Narration>) -> Option<String> {
    let is_read = ask.verbs.is_read();
    Some(match &ask.plan {
        Plan::Making | Plan::Failed(_) => return None,
        Plan::Made(plan) => planned(plan, narration),
        Plan::None if is_read && ask.input.is_some() => "reads, and changes nothing".to_owned(),
        Plan::None if is_read => "reads what the agent names later, and changes nothing".to_owned(),
        Plan::None if ask.verbs.contains(Verb::Execute) => {
            "runs code that you do not see before it runs".to_owned()
        }
        Plan::None => "changes something that you do not see before it happens".to_owned(),
    })
}

/// The parts of a plan, those first that are the hardest to take back.
fn planned(plan: &MadePlan, narration: Option<&Narration>) -> String {
    let mut parts = Vec::new();
    if plan.rating == Verb::Execute {
        parts.push("runs code".to_owned());
    }
    let written = written(plan);
    if let Some(message) = message(&plan.preview, &written) {
        parts.push(message);
    } else if let Some(act) = act(&plan.preview, &written, narration) {
        parts.push(act.to_owned());
    } else {
        parts.extend(changes(&plan.preview, &written));
    }
    if parts.is_empty() {
        let outside = |one: &Narration| one.provenance == Provenance::Extension;
        let high = |one: &Narration| one.sensitivity == Sensitivity::High;
        parts.push(
            match narration {
                Some(one) if outside(one) => {
                    "has an extension change something, which nobody can list beforehand"
                }
                Some(one) if high(one) => {
                    "changes something that its source does not name, and rates high"
                }
                _ => "changes something that its source does not name",
            }
            .to_owned(),
        );
    }
    parts.join(", ")
}

/// Where a plan names only what holds the thing, or nothing, since the thing is not there yet: the worker's few plain words
/// for what it does, before the title in its headline. None of a worker that others described.
fn act<'p>(
    preview: &'p Preview,
    written: &BTreeMap<&str, usize>,
    narration: Option<&Narration>,
) -> Option<&'p str> {
    let (act, _) = preview.headline.split_once(": ")?;
    let is_word = |word: &str| {
        let mut letters = word.bytes();
        !word.is_empty() && letters.all(|b| b.is_ascii_alphabetic() || b == b'-')
    };
    let is_plain = act.split(' ').count() <= 4 && act.split(' ').all(is_word);
    let is_ours = narration.is_some_and(|one| one.provenance != Provenance::Extension);
    let is_unnamed = written.keys().all(|kind| HOLDERS.contains(kind));
    (is_plain && is_ours && is_unnamed).then_some(act)
}

/// The things that a plan changes, by kind. What only holds another thing that changes is left out: a list of a reminder.
fn written(plan: &MadePlan) -> BTreeMap<&str, usize> {
    let writes = || plan.touched.iter().filter(|one| one.access != Verb::Read);
    let has_content = writes().any(|one| one.digest.is_some());
    let mut kinds = BTreeMap::new();
    for one in writes() {
        let holds = HOLDERS.contains(&one.kind.as_str()) && one.digest.is_none();
        if !(has_content && holds) {
            *kinds.entry(one.kind.as_str()).or_default() += 1;
        }
    }
    kinds
}

/// Kinds of things that hold others.
const HOLDERS: [&str; 4] = ["list", "calendar", "project", "area"];

/// A text for a channel: the card shows it as a text, and names where it goes.
fn message(preview: &Preview, written: &BTreeMap<&str, usize>) -> Option<String> {
    let is_text = preview.form == Form::Text && preview.diff.is_some();
    let to_one = written.len() == 1 && written.get("channel") == Some(&1);
    let channel = fact(preview, "channel").filter(|_| is_text && to_one)?;
    Some(format!("sends one message to {channel}"))
}

fn fact<'p>(preview: &'p Preview, name: &str) -> Option<&'p str> {
    let found = preview.facts.iter().find(|fact: &&Fact| fact.name == name);
    found.map(|fact| fact.value.as_str())
}

/// `deletes 3 files, changes 2`.
fn changes(preview: &Preview, written: &BTreeMap<&str, usize>) -> Vec<String> {
    let mut said = Vec::new();
    for (kind, count) in written {
        let file = matches!(*kind, "file" | "note");
        let verbs = match fates(preview, *count).filter(|_| file && written.len() == 1) {
            Some(fates) => vec![
                ("deletes", fates.deleted),
                ("renames", fates.renamed),
                ("changes", fates.changed),
                ("creates", fates.created),
            ],
            None if file => vec![("changes or deletes", *count)],
            None => vec![("changes", *count)],
        };
        let some = verbs.into_iter().filter(|(_, count)| *count > 0);
        for (place, (verb, count)) in some.enumerate() {
            let number = match count {
                1 => "one".to_owned(),
                count => count.to_string(),
            };
            let noun = match place {
                0 => format!(" {}", noun(kind, count)),
                _ => String::new(),
            };
            said.push(format!("{verb} {number}{noun}"));
        }
    }
    said
}

/// A kind in words. One that is not known here is a thing: its name is the source's.
fn noun(kind: &str, count: usize) -> String {
    let known = [
        "file", "note", "event", "reminder", "list", "calendar", "channel", "project", "area",
        "board", "tag",
    ];
    let one = match kind {
        "todo" => "to-do",
        kind if known.contains(&kind) => kind,
        _ => "thing",
    };
    match count {
        1 => one.to_owned(),
        _ => format!("{one}s"),
    }
}

/// What becomes of files.
#[derive(Default)]
struct Fates {
    deleted: usize,
    renamed: usize,
    changed: usize,
    created: usize,
}

/// What becomes of `count` files, as the card shows it; none where it does not show each of them.
fn fates(preview: &Preview, count: usize) -> Option<Fates> {
    let mut fates = Fates::default();
    let sides = (fact(preview, "before"), fact(preview, "after"));
    if let (Some(before), Some(after), 1) = (sides.0, sides.1, count) {
        match (before == "absent", after == "absent") {
            (_, true) => fates.deleted += 1,
            (true, false) => fates.created += 1,
            (false, false) => fates.changed += 1,
        }
        return Some(fates);
    }
    let shown = preview.diff.as_deref().filter(|_| !preview.cut);
    let diff = shown.filter(|_| preview.form == Form::Diff)?;
    let (files, renamed) = files(diff)?;
    fates.renamed = renamed;
    for (old, new) in files {
        match (old == NOTHING, new == NOTHING) {
            (_, true) => fates.deleted += 1,
            (true, false) => fates.created += 1,
            (false, false) => fates.changed += 1,
        }
    }
    // A renamed file is touched under both names.
    let touched = fates.deleted + 2 * renamed + fates.changed + fates.created;
    (touched == count).then_some(fates)
}

/// A side of a difference that is no file.
const NOTHING: &str = "/dev/null";

/// The files of a unified diff, each as it is called on both sides, and how many others are only renamed. A line of a file may
/// look like a header: hunks are read by the lengths that they begin with. None where it holds anything else.
fn files(diff: &str) -> Option<(Vec<(&str, &str)>, usize)> {
    let mut lines = diff.lines().peekable();
    let (mut files, mut renamed) = (Vec::new(), 0);
    while let Some(line) = lines.next() {
        // In place of twice the content: `renames a to b; its content stays`.
        if line.starts_with("renames ") && line.ends_with("; its content stays") {
            renamed += 1;
            continue;
        }
        let old = line.strip_prefix("--- ")?;
        let new = lines.next()?.strip_prefix("+++ ")?;
        files.push((old, new));
        // A remark on what no line shows: `(the encoding changes too)`, `(becomes executable: run.sh)`.
        let is_remark = |line: &&str| line.starts_with('(');
        while lines.next_if(is_remark).is_some() {}
        while let Some(hunk) = lines.next_if(|line| line.starts_with("@@ ")) {
            let mut sides = hunk.split(' ').skip(1);
            let (mut old, mut new) = (
                length(sides.next()?.strip_prefix('-')?)?,
                length(sides.next()?.strip_prefix('+')?)?,
            );
            while old > 0 || new > 0 {
                match lines.next()?.chars().next() {
                    Some('-') => old = old.checked_sub(1)?,
                    Some('+') => new = new.checked_sub(1)?,
                    Some('\\') => {}
                    _ => (old, new) = (old.checked_sub(1)?, new.checked_sub(1)?),
                }
            }
            while lines.next_if(|line| line.starts_with('\\')).is_some() {}
        }
        while lines.next_if(is_remark).is_some() {}
    }
    Some((files, renamed))
}

/// `12,3` has three lines, and `12` one.
fn length(side: &str) -> Option<usize> {
    side.split_once(',')
        .map_or(Some(1), |(_, length)| length.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn said(plan: &Value, verbs: &Value, (provenance, sensitivity): (&str, &str)) -> String {
        let card = json!({"scopes": [], "reasons": [], "onApproval": "run", "choices": [], "narrow": [], "differs": null,
            "pendingNarration": [{"id": "s.do", "verbs": verbs, "provenance": provenance, "sensitivity": sensitivity,
                "defaultTrustWindow": {"kind": "once", "ms": 0}, "summary": "", "notificationLine": ""}],
            "asks": [{"id": "s.do", "verbs": verbs, "label": "Do", "input": {}, "plan": plan, "windows": []}]});
        let card: GrantCard = serde_json::from_value(card).unwrap();
        consequence(&card).map_or_else(String::new, |line| line.paint(str::to_owned))
    }

    fn plan(preview: &Value, touched: &Value, rating: &str) -> Value {
        let digest = plexus_protocol::Digest([7; 32]);
        json!({"preview": preview, "previewDigest": digest, "stateToken": digest, "rating": rating, "summary": "",
            "touched": touched, "warnings": []})
    }

    fn things(all: &[(&str, bool)]) -> Value {
        let digest = plexus_protocol::Digest([7; 32]);
        all.iter()
            .enumerate()
            .map(|(n, (kind, content))| match content {
                true => {
                    json!({"kind": kind, "id": n.to_string(), "access": "write", "digest": digest})
                }
                false => json!({"kind": kind, "id": n.to_string(), "access": "write"}),
            })
            .collect()
    }

    #[test]
    fn what_is_hard_to_take_back_is_said_first() {
        let write = |preview: Value, touched: &[(&str, bool)]| {
            let plan = plan(&preview, &things(touched), "write");
            said(&plan, &json!(["write"]), ("managed", "elevated"))
        };
        // A removed line of a file looks like the header of a file that goes.
        let diff = "--- a\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n--- b\n+++ b\n@@ -1,2 +1 @@\n--- c\n \
                    y\n--- /dev/null\n+++ d\n@@ -0,0 +1 @@\n+z\n\\ No newline at end of file\n";
        let recoded = "--- a\n+++ a\n(the encoding changes too)\n@@ -1 +1 @@\n-x\n+y\n--- b\n+++ b\n(only the encoding changes)\n";
        let modes = concat!(
            "--- /dev/null\n+++ a\n@@ -0,0 +1 @@\n+x\n(becomes executable: a)\n",
            "--- b\n+++ b\n(is executable no more: b)\n--- c\n+++ c\n@@ -1 +1 @@\n-(x\n+(y\n"
        );
        let renamed = "renames a to b; its content stays\n";
        let renamed_beside =
            "renames a to b; its content stays\n--- c\n+++ c\n@@ -1 +1 @@\n-x\n+y\n";
        let files = [("file", true), ("file", true), ("file", true)];
        #[rustfmt::skip]
        let rows = [
            (
                json!({"facts": [{"name": "before", "value": "absent"}, {"name": "after", "value": "x"}]}),
                &[("file", false)][..],
                "Creates one file",
            ),
            (
                json!({"facts": [{"name": "before", "value": "x"}, {"name": "after", "value": "absent"}]}),
                &[("note", true)],
                "Deletes one note",
            ),
            (json!({"diff": diff, "form": "diff"}), &files, "Deletes one file, changes one, creates one"),
            (json!({"diff": diff, "form": "diff", "cut": true}), &files, "Changes or deletes 3 files"),
            (json!({"diff": diff, "form": "diff"}), &files[..2], "Changes or deletes 2 files"),
            (json!({"diff": recoded, "form": "diff"}), &files[..2], "Changes 2 files"),
            (json!({"diff": modes, "form": "diff"}), &files, "Changes 2 files, creates one"),
            (json!({"diff": "renames a to b\n", "form": "diff"}), &files[..2], "Changes or deletes 2 files"),
            (json!({"diff": renamed, "form": "diff"}), &files[..2], "Renames one file"),
            (json!({"diff": renamed_beside, "form": "diff"}), &files, "Renames one file, changes one"),
            (json!({"diff": renamed, "form": "diff"}), &files, "Changes or deletes 3 files"),
            (json!({}), &[("calendar", false), ("event", true)], "Changes one event"),
            (json!({}), &[("list", false)], "Changes one list"),
            (json!({"headline": "Add a to-do: deletes nothing"}), &[], "Add a to-do"),
            (json!({"headline": "Add an event to x: y"}), &[("calendar", false)], "Changes one calendar"),
            (json!({}), &[("todo", true), ("todo", true)], "Changes 2 to-dos"),
            (json!({}), &[("\u{202e}x", true)], "Changes one thing"),
            (
                json!({"facts": [{"name": "channel", "value": "“x” (1)"}], "diff": "hello", "form": "text"}),
                &[("channel", false)],
                "Sends one message to “x” (1)",
            ),
            (json!({"facts": [{"name": "channel", "value": "“x” (1)"}]}), &[("channel", false)], "Changes one channel"),
            (json!({}), &[], "Changes something that its source does not name"),
        ];
        for (preview, touched, line) in rows {
            assert_eq!(write(preview.clone(), touched), line, "{preview}");
        }
    }

    #[test]
    fn code_reads_and_what_is_unseen_are_named() {
        let of = |plan: Value, verbs: &str, rated| said(&plan, &json!([verbs]), rated);
        let usual = ("managed", "low");
        let bare = |rating| plan(&json!({}), &json!([]), rating);
        let hook = plan(
            &json!({"facts": [{"name": "before", "value": "absent"}, {"name": "after", "value": "x"}]}),
            &things(&[("file", false)]),
            "execute",
        );
        for (line, said) in [
            ("", of(json!("making"), "write", usual)),
            ("", of(json!({"error": "x"}), "write", usual)),
            ("Reads, and changes nothing", of(json!(null), "read", usual)),
            (
                "Changes something that you do not see before it happens",
                of(json!(null), "write", usual),
            ),
            ("Runs code", of(bare("execute"), "execute", usual)),
            ("Runs code, creates one file", of(hook, "write", usual)),
            (
                "Has an extension change something, which nobody can list beforehand",
                of(bare("write"), "write", ("extension", "high")),
            ),
            (
                "Changes something that its source does not name, and rates high",
                of(bare("write"), "write", ("managed", "high")),
            ),
        ] {
            assert_eq!(said, line);
        }
    }
}
