//! Programs: ours as PATH finds them, and the agents' own.

use super::{Finding, SAY_WITHIN, gateway::Daemon, said};
use crate::{
    installed::Installed,
    programs::{beside, install, prefix},
};
use plexus_client::shell;
use plexus_owner::sources::SourceRow;
use std::{
    env,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

pub(super) fn look(daemon: &Daemon) -> Vec<Finding> {
    let mut findings: Vec<_> = ["plexus", "plexusctl"].map(ours).into();
    findings.extend(prefix().ok().map(|prefix| installed(&prefix)));
    let [claude, codex] =
        ["claudecode-folder", "codex-folder"].map(|kind| has_keys(&daemon.sources, kind));
    findings.push(agent(
        "claude",
        ".claude/.credentials.json",
        "claude",
        claude,
    ));
    findings.push(agent("codex", ".codex/auth.json", "codex login", codex));
    findings
}

/// Whether the sources of this kind all have a key of their own, which is required where no sign-in is copied.
fn has_keys(sources: &[SourceRow], kind: &str) -> bool {
    let sources = sources.iter().map(|row| &row.source);
    let mut sources = sources.filter(|source| source.kind == kind).peekable();
    sources.peek().is_some()
        && sources.all(|source| {
            let route = source.route.as_ref();
            route.is_none_or(|route| !route.contains_key("login"))
        })
}

/// The first program of that name that PATH leads to.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}

/// Agents and people type `plexus`: what PATH finds must be the one of this build.
fn ours(name: &str) -> Finding {
    let own = match beside(name) {
        Ok(own) => own,
        Err(stop) => return Finding::fail("PATH", stop.why, install()),
    };
    let folder = own.parent().unwrap_or(Path::new("/")).to_string_lossy();
    let remedy = format!("export PATH={}:\"$PATH\"", shell::quote(&folder));
    match on_path(name) {
        None => Finding::warn("PATH", format!("{name} is not found by it"), remedy),
        Some(found) if found.canonicalize().unwrap_or_else(|_| found.clone()) == own => {
            Finding::ok("PATH", format!("{name} is {}", found.display()))
        }
        Some(found) => Finding::warn(
            "PATH",
            format!("another {name} comes first: {}", found.display()),
            remedy,
        ),
    }
}

/// Whether all is there that was installed under a prefix; a checkout and an application have no list.
fn installed(prefix: &Path) -> Finding {
    let installed = match Installed::read(prefix) {
        Ok(Some(installed)) => installed,
        Ok(None) => {
            let said = format!("no list of an install is under {}", prefix.display());
            return Finding::ok("programs", said);
        }
        Err(stop) => {
            let remedy = Some(stop.next).filter(|next| !next.is_empty());
            let remedy = remedy.unwrap_or_else(install);
            return Finding::fail("programs", stop.why, remedy);
        }
    };
    let missing: Vec<_> = installed
        .paths()
        .filter(|path| !path.exists())
        .map(|path| path.display().to_string())
        .collect();
    match &missing[..] {
        [] => {
            let said = format!("all of {} is installed", installed.list.version);
            Finding::ok("programs", said)
        }
        missing => Finding::fail(
            "programs",
            format!("not there: {}", missing.join(", ")),
            install(),
        ),
    }
}

/// An agent's program: whether it is there, of which version, and whether the file is there that a sign-in leaves. The
/// file is not opened. With `has_key` its runs need no sign-in.
fn agent(name: &str, signed: &str, sign_in: &str, has_key: bool) -> Finding {
    let Some(found) = on_path(name) else {
        return Finding::ok(name, "not installed here");
    };
    let version = said(&found, &["--version"], SAY_WITHIN);
    let version = match &version {
        Ok(text) => text.lines().next().unwrap_or("").trim().to_owned(),
        Err(why) => {
            return Finding::warn(
                name,
                format!("{}: {why}", found.display()),
                format!("{name} --version"),
            );
        }
    };
    let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    if home.join(signed).exists() {
        return Finding::ok(name, format!("{version}, signed in"));
    }
    if has_key {
        let what = format!("{version}, not signed in; its sources have a key of their own");
        return Finding::ok(name, what);
    }
    if cfg!(target_os = "macos") && name == "claude" {
        // It keeps its sign-in in the keychain there, which is not looked into.
        return Finding::ok(
            name,
            format!("{version}; whether it is signed in, only it can tell"),
        );
    }
    Finding::warn(
        name,
        format!("{version}, no sign-in in ~/{signed}"),
        sign_in,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::installed::{LIST, List, ListedFile};
    use serde_json::{Value, json};

    #[test]
    fn agent_with_a_key_needs_no_sign_in() {
        let source = |kind: &str, route: Value| {
            let row = json!({"id": "agent", "kind": kind, "label": "", "enabled": true, "transport": "local",
                "route": route, "live": true, "liveCapabilityCount": 1, "health": {"status": "ok"},
                "provenance": "managed", "suspendedGrants": 0});
            serde_json::from_value::<SourceRow>(row).expect("a source")
        };
        let key = source("codex-folder", json!({"root": "/a"}));
        let copy = source("codex-folder", json!({"root": "/b", "login": "copy"}));
        assert!(has_keys(std::slice::from_ref(&key), "codex-folder"));
        assert!(!has_keys(&[key.clone(), copy], "codex-folder"));
        assert!(!has_keys(&[key], "claudecode-folder"));
    }

    #[test]
    fn lost_program_of_an_install_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let prefix = folder.path();
        let none = installed(prefix);
        assert_eq!(
            (none.what, none.remedy),
            (
                format!("no list of an install is under {}", prefix.display()),
                None
            )
        );
        let path = PathBuf::from("bin/plexus-relay");
        let file = ListedFile {
            path: path.clone(),
            sha256: String::new(),
        };
        let list = List::new("1.2.3", Vec::new(), vec![file]);
        let program = prefix.join(path);
        for file in [&program, &prefix.join(LIST)] {
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        }
        std::fs::write(prefix.join(LIST), list.bytes().expect("bytes")).expect("the list");
        let lost = installed(prefix);
        assert_eq!(lost.what, format!("not there: {}", program.display()));
        assert_eq!(lost.remedy, Some(install()));
        std::fs::write(prefix.join(LIST), "{").expect("no list");
        let unread = installed(prefix).remedy.expect("a remedy");
        assert!(unread.starts_with("remove that file, then"), "{unread}");
        std::fs::write(prefix.join(LIST), list.bytes().expect("bytes")).expect("the list");
        std::fs::write(&program, "").expect("a program");
        let whole = installed(prefix);
        assert_eq!(
            (whole.what.as_str(), whole.remedy),
            ("all of 1.2.3 is installed", None)
        );
    }
}
