//! What `plexusd examine` saw of each source's cage.

use super::{Finding, tried};
use crate::owner::{list_of, text_of};
use crate::programs::install;
use plexus_client::shell;
use plexus_owner::troubles::{self, Trouble, secret_command};
use serde_json::Value;

/// `hidden`: it is not known which sources there are, and this shows why; `None`: all that there are were examined.
pub(super) fn look(examined: &Value, hidden: Option<String>) -> Vec<Finding> {
    let problem = text_of(&examined["programs"], "problem");
    if !problem.is_empty() {
        return vec![Finding::fail("workers", problem, install())];
    }
    let cages = list_of(examined, "cages");
    if cages.is_empty() {
        let none = "no source is configured";
        let unknown = "not looked at: it is not known which sources there are";
        return vec![match hidden {
            None => Finding::ok("cages", none),
            Some(remedy) => Finding::warn("cages", unknown, remedy),
        }];
    }
    cages.iter().flat_map(cage).collect()
}

fn cage(cage: &Value) -> Vec<Finding> {
    let source = text_of(cage, "source");
    let name = format!("cage of {source}");
    let steps = list_of(cage, "steps");
    let broken = steps.iter().find(|step| step["ok"] != true);
    let broken = broken.filter(|step| text_of(step, "step") != "source");
    let Some(broken) = broken else {
        let proven: Vec<_> = steps
            .iter()
            .filter(|step| text_of(step, "step") == "proof")
            .map(|step| text_of(step, "role"))
            .collect();
        // None of a source whose folder the system refuses.
        let held = (!proven.is_empty())
            .then(|| Finding::ok(&name, format!("proved just now: {}", proven.join(", "))));
        let away = steps.iter().find(|step| text_of(step, "step") == "source");
        return held
            .into_iter()
            .chain(away.map(|step| behind(source, step)))
            .collect();
    };
    let step = text_of(broken, "step");
    let role = match text_of(broken, "role") {
        "" => String::new(),
        role => format!(" of the {role}"),
    };
    let mut what = format!("{step}{role}: {}", text_of(broken, "why"));
    let profile = text_of(cage, "profile");
    if let Some(line) = broken["line"].as_u64() {
        what.push_str(&format!("; the first rule that does it: {profile}:{line}"));
        what.push_str(&format!(" {}", text_of(broken, "rule")));
    }
    what.push_str(&unified_log::denials());
    let (what, remedy) = match (
        step,
        what.contains("plexus-worker-"),
        secret_command(text_of(broken, "why"), source),
    ) {
        (_, _, Some(command)) => (what, command.to_owned()),
        ("TMPDIR", ..) => (what, "df -h \"${TMPDIR:-/tmp}\"".to_owned()),
        ("programs", false, None) => {
            let disable = format!("plexusctl sources disable {}", shell::quote(source));
            (what, disable)
        }
        _ => tried(what),
    };
    vec![Finding::fail(&name, what, remedy)]
}

/// A source whose cage holds, and which does not serve, or lets nothing be written.
fn behind(source: &str, step: &Value) -> Finding {
    let fails = text_of(step, "role") != "writer";
    let lacks = match fails {
        true => "does not serve",
        false => "nothing can be written",
    };
    let found = format!("{lacks}: {}", text_of(step, "why"));
    let trouble = troubles::not_serving(source, &found);
    Finding::of(&format!("source {source}"), Trouble { fails, ..trouble })
}

/// What the kernel wrote of denied operations.
mod unified_log {
    /// The newest lines of the last minute, where the system keeps such a log.
    #[cfg(target_os = "macos")]
    pub(super) fn denials() -> String {
        let asked = [
            "show",
            "--last",
            "1m",
            "--style",
            "compact",
            "--predicate",
            "sender == \"Sandbox\" AND eventMessage CONTAINS \"plexus-worker\"",
        ];
        let log = std::path::Path::new("/usr/bin/log");
        let said = super::super::said(log, &asked, super::super::SAY_WITHIN);
        newest(&said.unwrap_or_default())
    }

    /// The newest denial of what the log says, as the end of a sentence.
    #[cfg(any(target_os = "macos", test))]
    pub(super) fn newest(said: &str) -> String {
        let denied = said.lines().rfind(|line| line.contains("deny("));
        denied.map_or(String::new(), |line| {
            format!("; the system's log: {}", line.trim())
        })
    }

    /// Linux logs no denial of Landlock or seccomp that an ordinary user may read.
    #[cfg(not(target_os = "macos"))]
    pub(super) fn denials() -> String {
        String::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;
    use serde_json::json;

    #[test]
    fn newest_denial_of_the_log_is_shown() {
        let log = "Timestamp Ty Process[PID:TID]\n\
            2026-11-28 kernel (Sandbox) Sandbox: plexus-worker-x(7) deny(1) file-read-data /a\n\
            2026-11-28 kernel (Sandbox) Sandbox: plexus-worker-x(7) deny(1) mach-lookup b  \n\
            2026-11-28 kernel (Sandbox) Sandbox: plexus-worker-x(7) allow file-read-data /c\n";
        let newest = unified_log::newest(log);
        assert!(newest.starts_with("; the system's log: "), "{newest}");
        assert!(newest.ends_with("deny(1) mach-lookup b"), "{newest}");
        assert_eq!(unified_log::newest("Timestamp Ty Process[PID:TID]\n"), "");
    }

    #[test]
    fn the_rule_is_named_by_file_and_line() {
        let seen = |steps: Value| json!({"cages": [{"source": "notes", "profile": "sandbox-profiles/obsidian.sb", "steps": steps}]});
        let well = seen(json!([{"step": "proof", "ok": true, "role": "reader"}]));
        assert_eq!(look(&well, None)[0].level, Level::Ok);
        let broken = seen(
            json!([{"step": "base", "ok": true}, {"step": "whole", "ok": false, "role": "reader",
            "why": "exit status: 1", "line": 17, "rule": "(deny file-read* (subpath \"/usr\"))"}]),
        );
        let found = &look(&broken, None)[0];
        assert!(
            found
                .what
                .contains("sandbox-profiles/obsidian.sb:17 (deny file-read*"),
            "{found:?}"
        );
        assert_eq!(found.remedy.as_deref(), Some(install().as_str()));
        let away = seen(
            json!([{"step": "proof", "ok": true, "role": "reader"}, {"step": "lint", "ok": true},
            {"step": "source", "ok": false, "role": "reader", "why": "the server is away"}]),
        );
        let [held, behind] = &look(&away, None)[..] else {
            panic!("{away}")
        };
        assert_eq!((held.level, behind.level), (Level::Ok, Level::Fail));
        assert_eq!(behind.what, "does not serve: the server is away");
        assert_eq!(
            behind.remedy.as_deref(),
            Some("plexusctl sources test notes")
        );
        let of_another = seen(json!([{"step": "proof", "ok": true, "role": "reader"},
            {"step": "source", "ok": false, "role": "writer", "why": "the system does not let Plexus write there"}]));
        let [_, partly] = &look(&of_another, None)[..] else {
            panic!("{of_another}")
        };
        assert_eq!(partly.level, Level::Warn);
        assert_eq!(
            partly.what,
            "nothing can be written: the system does not let Plexus write there"
        );
        let closed =
            seen(json!([{"step": "source", "ok": false, "role": "reader", "why": "it is closed"}]));
        let [only] = &look(&closed, None)[..] else {
            panic!("{closed}")
        };
        assert_eq!(only.name, "source notes");
        let gone = seen(json!([{"step": "programs", "ok": false, "why": "/notes is not there"}]));
        assert_eq!(
            look(&gone, None)[0].remedy.as_deref(),
            Some("plexusctl sources disable notes")
        );
        let no_room = seen(json!([{"step": "TMPDIR", "ok": false, "why": "/nope is not there"}]));
        assert_eq!(
            look(&no_room, None)[0].remedy.as_deref(),
            Some("df -h \"${TMPDIR:-/tmp}\"")
        );
        let none = json!({"programs": {"problem": "plexus-sandbox-exec is not in /x"}});
        assert_eq!(
            look(&none, None)[0].remedy.as_deref(),
            Some(install().as_str())
        );
    }
}
