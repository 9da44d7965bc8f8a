//! `plexusctl backup` and `plexusctl restore`.
//!
//! The command knows no ledger: `plexusd` beside it makes the file and puts it back. A running gateway is asked for a
//! copy of its ledger, which it leaves in the state directory; credentials go from file to file and never over HTTP.

use crate::{
    owner::{Desk, list_of, text_of},
    programs,
};
use clap::Args;
use plexus_client::{Done, Exit, Stop, shell, span, text};
use plexus_owner::backup::CopyLedger;
use plexus_protocol::Timestamp;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// How long the gateway may take to copy its ledger: some gigabytes on a slow disk.
const COPY: Duration = Duration::from_secs(600);

/// Making a backup.
#[derive(Args)]
pub(crate) struct Backup {
    /// File to make; none is replaced
    file: PathBuf,
    /// Include the connection key and the secrets of sources: store the file accordingly
    #[arg(long)]
    with_secrets: bool,
}

/// Putting one back.
#[derive(Args)]
pub(crate) struct Restore {
    /// A backup
    file: PathBuf,
    /// Replace an existing state; the old one is kept beside it
    #[arg(long)]
    replace: bool,
}

/// Makes a backup, whether or not the gateway runs.
pub(crate) async fn make(desk: &Desk, backup: Backup) -> Result<Exit, Stop> {
    if backup.with_secrets {
        desk.widen("a backup with credentials in it")?;
    }
    let file = absolute(&backup.file)?;
    let mut line = vec!["backup".to_owned(), shown(&file)];
    match desk.open().await {
        Ok(mut owner) => {
            let copy = owner.call_within(&CopyLedger {}, COPY).await?;
            line.extend(["--copy".to_owned(), shown(&copy.folder)]);
        }
        Err(stop) if stop.exit == Exit::Unreachable => {}
        Err(stop) => return Err(stop),
    }
    if backup.with_secrets {
        line.push("--with-secrets".to_owned());
    }
    let made = plexusd(desk, &line)?;
    desk.show(&made, || made_text(&made))
}

/// Puts a backup back, while no gateway runs.
pub(crate) fn put_back(desk: &Desk, restore: &Restore) -> Result<Exit, Stop> {
    desk.widen("restoring a backup")?;
    let mut line = vec!["restore".to_owned(), shown(&absolute(&restore.file)?)];
    if restore.replace {
        line.push("--replace".to_owned());
    }
    let restored = plexusd(desk, &line)?;
    desk.show(&restored, || restored_text(&restored))
}

/// Runs `plexusd` for one answer.
fn plexusd(desk: &Desk, line: &[String]) -> Result<Value, Stop> {
    let program = programs::beside("plexusd")?;
    let ran = Command::new(&program)
        .args(line)
        .arg("--home")
        .arg(desk.home.path())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let failed = |why: String| Stop::new(Exit::Failed, "system", why).done(Done::Unknown);
    let ran = ran.map_err(|e| failed(format!("{}: {e}", program.display())))?;
    let answer: Value = serde_json::from_slice(&ran.stdout)
        .map_err(|_| failed(format!("{} ended with {}", program.display(), ran.status)))?;
    if ran.status.success() {
        return Ok(answer);
    }
    let mut stop = Stop::of_reply(500, &answer);
    if [
        "gateway_runs",
        "home_not_empty",
        "backup_damaged",
        "backup_untrusted",
        "busy",
        "file_exists",
    ]
    .contains(&stop.code.as_str())
    {
        stop.exit = Exit::Refused;
    }
    Err(stop)
}

fn absolute(path: &Path) -> Result<PathBuf, Stop> {
    std::path::absolute(path).map_err(|error| Stop::path(path, &error))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn made_text(made: &Value) -> String {
    let secrets = match made["secrets"] == true {
        true => {
            "with the connection key, the secrets of sources and identities in channels: keep it as you keep those"
        }
        false => "without any credential",
    };
    format!(
        "{}\n{} bytes, up to event #{}, {secrets}\nput it back: plexusctl restore {}",
        text::line(text_of(made, "file")),
        made["bytes"],
        made["sequence"],
        shell::quote(&text::line(text_of(made, "file"))),
    )
}

/// The steps that are left to the owner.
fn restored_text(restored: &Value) -> String {
    let at = serde_json::from_value::<Timestamp>(restored["madeAt"].clone());
    let at = at.map_or(String::new(), |at| at.to_string());
    let names = |member: &str| -> Vec<String> {
        let list = list_of(restored, member).iter();
        list.filter_map(Value::as_str).map(text::line).collect()
    };
    let (agents, sources, lendings) = (names("agents"), names("sources"), names("lendings"));
    let mut lines = vec![format!(
        "restored to {}: the state of {}, {} (event #{})",
        text::line(text_of(restored, "home")),
        text::line(&at),
        span::ago(
            Timestamp(0),
            Timestamp(restored["ageMs"].as_u64().unwrap_or(0))
        ),
        restored["sequence"],
    )];
    if let Some(kept) = restored["kept"].as_str() {
        lines.push(format!(
            "the state that was there is kept: {}",
            text::line(kept)
        ));
    }
    if restored["kept"].is_string() {
        lines.push("workers/ of it has what no backup holds: changes to undo, boards, change sets, conversations".to_owned());
    }
    lines.push(
        "Its grants are suspended until you review them: those that you revoked since the backup are in it again.".to_owned(),
    );
    let home = shell::quote(&text::line(text_of(restored, "home")));
    lines.push(format!(
        "start the gateway: plexusd --home {home} (or, if a service is installed for it: plexusctl service start)"
    ));
    if !agents.is_empty() {
        lines.push(
            "every credential has ended; a new code for each agent that you still want:".to_owned(),
        );
        lines.push(format!("  plexusctl agents code {}", agents.join(" ")));
    }
    if !sources.is_empty() {
        lines.push(format!(
            "suspended grants: {}; review them (plexusctl grants), revoke what you do not want, then:",
            restored["grants"]
        ));
        lines.push(format!("  plexusctl sources resume {}", sources.join(" ")));
    }
    if let Some(requests @ 1..) = restored["requests"].as_u64() {
        lines.push(format!(
            "void requests, and approvals that were not used: {requests}; agents ask again"
        ));
    }
    if let Some(network) = restored.get("network") {
        let mut again = "plexusctl network set".to_owned();
        for (member, flag) in [
            ("bindAddresses", "--bind"),
            ("publicHostnames", "--hostname"),
        ] {
            for value in list_of(network, member).iter().filter_map(Value::as_str) {
                again.push_str(&format!(" {flag} {}", text::line(value)));
            }
        }
        lines.push(format!(
            "it listens on loopback only; as it was, if you still want it: {again}"
        ));
    }
    if !lendings.is_empty() {
        lines.push(format!(
            "what was lent is not any more ({}); lend it again: plexusctl lend AGENT FOLDER",
            lendings.join(", ")
        ));
    }
    lines.push(
        "what agents may know of and what is hidden is as it was then: plexusctl unexpose ID, plexusctl sources hide SOURCE"
            .to_owned(),
    );
    lines.push(match (restored["secrets"] == true, restored["kept"].is_string()) {
        (true, _) => {
            "the connection key is the backup's; if somebody may have read the file: plexusctl key rotate".to_owned()
        }
        (false, is_kept) => {
            let identities = match is_kept {
                true => "first copy workers/SOURCE of the state before; or join anew",
                false => "join anew",
            };
            format!(
                "a new connection key is made at the start; secrets of sources are to be set again (plexusctl sources test names each), and identities in channels are not in it: {identities}: plexusctl channels join RELAY --name NAME --source OTHER"
            )
        }
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_left_to_do_after_a_restore() {
        let restored = json!({"home": "/h", "madeAt": "2026-01-01T00:00:00.000Z", "ageMs": 172_800_000_u64,
            "sequence": 7, "secrets": false, "agents": ["a", "b"], "grants": 2, "requests": 3, "sources": ["notes", "diary"], "lendings": ["diary"], "kept": "/h.before-x"});
        let text = restored_text(&restored);
        for line in [
            "restored to /h: the state of 2026-01-01T00:00:00.000Z, 2 days ago (event #7)",
            "the state that was there is kept: /h.before-x",
            "  plexusctl agents code a b",
            "  plexusctl sources resume notes diary",
            "void requests, and approvals that were not used: 3; agents ask again",
            "what was lent is not any more (diary); lend it again: plexusctl lend AGENT FOLDER",
            "start the gateway: plexusd --home /h (or, if a service is installed for it: plexusctl service start)",
            "a new connection key is made at the start; secrets of sources are to be set again (plexusctl sources test names each), and identities in channels are not in it: first copy workers/SOURCE of the state before; or join anew: plexusctl channels join RELAY --name NAME --source OTHER",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        let nothing = json!({"home": "/h", "madeAt": "2026-01-01T00:00:00.000Z", "sequence": 1, "agents": [], "sources": []});
        let text = restored_text(&nothing);
        assert!(
            !text.contains("agents code") && !text.contains("workers/"),
            "{text}"
        );
        assert!(
            text.contains("are not in it: join anew: plexusctl channels join"),
            "{text}"
        );
    }
}
