//! JSON that is read or made member by member where the owner's protocol has types (`gateway/owner`): a member that is
//! renamed has to break the build of both ends.
//!
//! Read as text, of code that rustfmt laid out; tests at the end of a file do not count, nor do notes for the audit log.

use anyhow::Result;
use std::{collections::BTreeSet, path::Path};

/// Where the protocol is served and asked.
const ENDS: &[&str] = &[
    "gateway/desk/src/console",
    "gateway/desk/src/console.rs",
    "gateway/desk/src/owner",
    "gateway/desk/src/owner.rs",
    "gateway/owner-client/src",
    "gateway/plexusctl/src",
    "gateway/tray/src",
];

/// What has no type in that protocol, and the files that read or make it.
const EXCEPTIONS: &[(&str, &[&str])] = &[
    (
        "the surface for shells below `/v1`, which has versions of its own",
        &[
            "gateway/desk/src/owner/settings.rs",
            "gateway/desk/src/owner/v1.rs",
            "gateway/plexusctl/src/config.rs",
            "gateway/plexusctl/src/key.rs",
        ],
    ),
    (
        "events of the audit log, of every version of it",
        &[
            "gateway/desk/src/owner/activity.rs",
            "gateway/desk/src/owner/agents.rs",
            "gateway/desk/src/owner/audit.rs",
            "gateway/desk/src/owner/review.rs",
            "gateway/desk/src/owner/undo.rs",
        ],
    ),
    (
        "what sources are asked and answer: their manifests say its form",
        &[
            "gateway/desk/src/owner/boards.rs",
            "gateway/desk/src/owner/changes.rs",
            "gateway/desk/src/owner/channels.rs",
            "gateway/desk/src/owner.rs",
        ],
    ),
    (
        "manifests, surfaces and configurations: data that a digest is made of, or that others write",
        &[
            "gateway/desk/src/owner/catalogue.rs",
            "gateway/desk/src/owner/declared.rs",
            "gateway/desk/src/owner/extensions.rs",
            "gateway/desk/src/owner/inspected.rs",
            "gateway/desk/src/owner/kinds.rs",
            "gateway/desk/src/owner/proposals.rs",
            "gateway/desk/src/owner/server_manifests.rs",
            "gateway/desk/src/owner/sources.rs",
            "gateway/desk/src/owner/stored_secrets.rs",
            "gateway/desk/src/owner/survey.rs",
        ],
    ),
    (
        "what the console's page and its script say to each other",
        &[
            "gateway/desk/src/console/card.rs",
            "gateway/desk/src/console/door.rs",
            "gateway/desk/src/console/glance.rs",
        ],
    ),
    (
        "what `plexusd` prints and leaves in its folder",
        &[
            "gateway/plexusctl/src/backup.rs",
            "gateway/plexusctl/src/doctor.rs",
            "gateway/plexusctl/src/doctor/cages.rs",
            "gateway/plexusctl/src/doctor/gateway.rs",
            "gateway/plexusctl/src/doctor/machine.rs",
            "gateway/plexusctl/src/doctor/report.rs",
            "gateway/plexusctl/src/logs.rs",
        ],
    ),
    (
        "files of other programs",
        &[
            "gateway/plexusctl/src/integration.rs",
            "gateway/plexusctl/src/integration/claude_code.rs",
            "gateway/plexusctl/src/integration/mcp.rs",
            "gateway/plexusctl/src/mcp/from.rs",
            "gateway/plexusctl/src/mcp/install.rs",
        ],
    ),
    (
        "a report of the command's own: no gateway gives it",
        &[
            "gateway/plexusctl/src/notify.rs",
            "gateway/plexusctl/src/service.rs",
            "gateway/plexusctl/src/service/launchd.rs",
            "gateway/plexusctl/src/service/plan.rs",
            "gateway/plexusctl/src/service/systemd.rs",
            "gateway/plexusctl/src/uninstall.rs",
        ],
    ),
    (
        "refusals, of whatever route",
        &["gateway/owner-client/src/owner.rs"],
    ),
];

/// One line for each file that reads or makes JSON by name without a reason, and for each reason that none needs.
pub(crate) fn breaches(root: &Path) -> Result<Vec<String>> {
    let excepted: BTreeSet<&str> = EXCEPTIONS
        .iter()
        .flat_map(|(_, files)| files.iter().copied())
        .collect();
    let mut left = excepted.clone();
    let mut breaches = Vec::new();
    for (named, text) in super::rust_files(root, ENDS)? {
        if !is_product(&named) {
            continue;
        }
        let Some(line) = by_name(&text) else {
            continue;
        };
        left.remove(named.as_str());
        if !excepted.contains(named.as_str()) {
            breaches.push(format!(
                "{named}:{line}: JSON by the names of its members; give it a type in gateway/owner, or a reason in {}",
                file!()
            ));
        }
    }
    breaches.extend(
        left.into_iter()
            .map(|file| format!("{file}: reads no JSON by name; take it out of {}", file!())),
    );
    Ok(breaches)
}

/// Whether a file is no test.
fn is_product(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    let is_test = name == "tests.rs" || name == "fixture.rs" || name.ends_with("_tests.rs");
    !is_test
}

/// What stands before the tests of a file.
const TESTS: &str = "\n#[cfg(test)]\n";

/// The first line that reads or makes JSON by the name of a member.
fn by_name(text: &str) -> Option<usize> {
    let mut marks = text.match_indices(TESTS);
    let is_module = |(at, mark): &(usize, &str)| {
        let rest = &text[at + mark.len()..];
        rest.starts_with("mod ") || rest.starts_with("pub(super) mod ")
    };
    let end = marks.find(is_module).map_or(text.len(), |(at, _)| at);
    let code = &text[..end];
    let mut lines = code.lines().enumerate().peekable();
    while let Some((at, line)) = lines.next() {
        let code = line.trim_start();
        if code.starts_with("//") {
            continue;
        }
        let next = lines.peek().map_or("", |(_, next)| next.trim_start());
        if is_index(code) || code.contains(".get(\"") || makes(code, next) {
            return Some(at + 1);
        }
    }
    None
}

/// `value["member"]`, which no list of texts is. One that begins a line goes on from the line before.
fn is_index(code: &str) -> bool {
    let mut found = code.match_indices("[\"");
    found.any(|(at, begin)| {
        let (before, inner) = (&code[..at], &code[at + begin.len()..]);
        let after = inner.split_once('"').map_or("", |(_, after)| after);
        match before.chars().next_back() {
            None => after.starts_with("].") || after.starts_with("]["),
            Some(c) => c.is_alphanumeric() || "_)]?".contains(c),
        }
    })
}

/// `json!` of anything but a note for the audit log.
fn makes(code: &str, next: &str) -> bool {
    let mut found = code.match_indices("json!(");
    let is_note = |rest: &str| {
        let rest = rest.trim_start_matches(['(', '{', ' ']);
        let rest = if rest.is_empty() { next } else { rest };
        rest.starts_with("\"event\":")
    };
    found.any(|(at, made)| !is_note(&code[at + made.len()..]))
}

#[cfg(test)]
mod tests {
    use super::by_name;

    #[test]
    fn members_by_name_are_found_and_lists_and_notes_are_not() {
        for bad in [
            "let id = reply[\"id\"].as_str();",
            "[\"properties\"].as_object()",
            "let at = reply[\"events\"][0][\"at\"].clone();",
            "let id = reply.get(\"id\");",
            "let body = json!({\"through\": file});",
            "    let body = serde_json::json!({\n    \"through\": file,\n});",
            "f(&reply?[\"id\"])",
        ] {
            assert_eq!(by_name(bad), Some(1), "{bad}");
        }
        for good in [
            "table([\"a\", \"b\"], rows, none)",
            "[\"agent\", \"since\"],",
            "let words = [\"a\"];",
            "let line = vec![\"backup\".to_owned()];",
            "let said = run(&[\"--version\"]);",
            "desk.remark(json!({\"event\": \"pause.signal\"}))",
            "let about = json!({\n    \"event\": \"secret.kept\", \"name\": name,\n});",
            "/// `reply[\"id\"]`",
            "fn main() {}\n\n#[cfg(test)]\nmod tests {\n    let a = json!({\"a\": 1})[\"a\"];\n}",
        ] {
            assert_eq!(by_name(good), None, "{good}");
        }
    }
}
