//! One thing that the cage refused, and the rule that would have allowed it.
//!
//! Must not know: how it was observed.

use plexus_ipc::manifest::FolderField;
use plexus_sandbox::profile::Profile;
use std::path::{Path, PathBuf};

/// What was tried.
#[cfg_attr(
    target_os = "macos",
    allow(dead_code, reason = "there the system's log says it in its own words")
)]
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Act {
    /// To read a file.
    Read(PathBuf),
    /// To list a folder.
    List(PathBuf),
    /// To make, change, rename or remove.
    Write(PathBuf),
    /// To start a program.
    Execute(PathBuf),
    /// To have a child.
    Fork,
    /// To connect to a TCP port.
    Connect(u16),
    /// To make an IPv4 or IPv6 stream socket; the port comes later.
    Tcp,
    /// To make any other socket.
    Socket(String),
    /// Another system call.
    Call(String),
    /// In the system's own words, with its rule.
    #[cfg(target_os = "macos")]
    Said(String, String),
}

/// A refused act.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Denial {
    pub(crate) act: Act,
    /// The system's word: `EACCES`, `EPERM`.
    pub(crate) errno: String,
}

/// What to do about a denial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    /// The rule that would allow it, as it can stand in the profile.
    Rule(String),
    /// Why there is none, and what to do instead.
    Without(String),
}

/// The values that the profile's parameters have in this run.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The source's folders, resolved.
    pub(crate) folders: Vec<FolderField>,
    pub(crate) scratch: Option<PathBuf>,
    pub(crate) is_writer: bool,
}

impl Places {
    /// The field of a folder that `path` lies in and that the source only reads.
    fn reads(&self, path: &Path) -> Option<&str> {
        let mut folders = self.folders.iter();
        let found = folders.find(|place| path.starts_with(&place.path))?;
        (!found.writable).then_some(&*found.field)
    }
}

/// Stands where a person has to say why.
const WHY: &str = "; why: ...";

impl Denial {
    /// In words.
    pub(crate) fn words(&self) -> String {
        let what = match &self.act {
            Act::Read(path) => format!("read {}", path.display()),
            Act::List(path) => format!("list {}", path.display()),
            Act::Write(path) => format!("write {}", path.display()),
            Act::Execute(path) => format!("execute {}", path.display()),
            Act::Fork => "start a child".to_owned(),
            Act::Connect(port) => format!("connect to TCP port {port}"),
            Act::Tcp => "make a TCP socket".to_owned(),
            Act::Socket(kind) => format!("make a socket ({kind})"),
            Act::Call(name) => format!("system call {name}"),
            #[cfg(target_os = "macos")]
            Act::Said(words, _) => words.clone(),
        };
        format!("{what} ({})", self.errno)
    }

    /// What would allow it.
    pub(crate) fn advice(&self, places: &Places) -> Advice {
        let rule = match &self.act {
            Act::Read(path) | Act::List(path) if own_permissions_refuse(path) => {
                return Advice::Without(
                    "your own user may not read it either: no rule helps".to_owned(),
                );
            }
            Act::Read(path) => allow("file-read*", "literal", path, places),
            Act::List(path) => allow("file-read*", "subpath", path, places),
            Act::Write(_) if !places.is_writer => {
                return Advice::Without(
                    "a reader writes nothing: do this in the commit of an effect".to_owned(),
                );
            }
            Act::Write(path) if places.reads(path).is_some() => {
                return Advice::Without(format!(
                    "the manifest says that {} is only read: \"writable\": true in that field, or write elsewhere",
                    places.reads(path).unwrap_or_default()
                ));
            }
            Act::Write(path) => allow("file-write*", "literal", path, places),
            Act::Execute(path) => {
                return Advice::Without(format!(
                    "a worker gives up exec before it serves: use a library in place of {}",
                    path.display()
                ));
            }
            Act::Fork => {
                return Advice::Without(
                    "a worker gives up children before it serves: use a thread".to_owned(),
                );
            }
            Act::Connect(port) => {
                format!("(allow network-outbound (remote tcp \"localhost:{port}\"))")
            }
            Act::Tcp => {
                return Advice::Without(
                    "name the port, and TCP sockets come with it: (allow network-outbound (remote tcp \"localhost:PORT\")) ; why: ..."
                        .to_owned(),
                );
            }
            Act::Socket(_) => {
                return Advice::Without(
                    "workers have TCP client sockets only; ask the app another way".to_owned(),
                );
            }
            Act::Call(_) => {
                return Advice::Without(
                    "no rule speaks of it; the calls of a worker are in sandbox-profiles/src/linux/leaf.rs"
                        .to_owned(),
                );
            }
            #[cfg(target_os = "macos")]
            Act::Said(_, rule) => rule.clone(),
        };
        // What is printed must be what the parser takes.
        let text = format!("(version 1)\n(deny default)\n{rule} {WHY}\n");
        match Profile::parse(&text) {
            Ok(_) => Advice::Rule(format!("{rule} {WHY}")),
            Err(error) => Advice::Without(format!("no rule can say it: {error}")),
        }
    }
}

/// The narrowest rule: by parameter where the path is the parameter's or below it.
fn allow(operation: &str, filter: &str, path: &Path, places: &Places) -> String {
    let scratch = places.scratch.iter().map(|path| ("SCRATCH", path));
    let folders = places.folders.iter();
    let mut known = folders
        .map(|place| (&*place.parameter, &place.path))
        .chain(scratch);
    if let Some((name, _)) = known.find(|(_, place)| path.starts_with(place)) {
        return format!("(allow {operation} (subpath (param \"{name}\")))");
    }
    let text = path
        .to_string_lossy()
        .replace('\\', "\\\\")
        .replace('"', "\\\"");
    format!("(allow {operation} ({filter} \"{text}\"))")
}

/// Whether this process, which is in no cage, is refused as well.
fn own_permissions_refuse(path: &Path) -> bool {
    let refused = |error: std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
    if path.is_dir() {
        std::fs::read_dir(path).err().is_some_and(refused)
    } else {
        // A device or a FIFO may hang its opener.
        path.is_file() && std::fs::File::open(path).err().is_some_and(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(act: Act, is_writer: bool) -> Advice {
        let places = Places {
            folders: [("path", "ROOT", true), ("library", "LIBRARY", false)]
                .map(|(field, parameter, writable)| FolderField {
                    field: field.to_owned(),
                    parameter: parameter.to_owned(),
                    path: Path::new("/home/me").join(if writable { "notes" } else { field }),
                    writable,
                })
                .into(),
            scratch: Some("/scratch".into()),
            is_writer,
        };
        Denial {
            act,
            errno: "EACCES".to_owned(),
        }
        .advice(&places)
    }

    #[test]
    fn rules_are_narrow_and_speak_of_parameters() {
        #[rustfmt::skip]
        let rows = [
            (Act::Read("/opt/x y".into()), "(allow file-read* (literal \"/opt/x y\")) ; why: ..."),
            (Act::List("/opt".into()), "(allow file-read* (subpath \"/opt\")) ; why: ..."),
            (Act::Read("/home/me/notes/a.md".into()), "(allow file-read* (subpath (param \"ROOT\"))) ; why: ..."),
            (Act::Read("/home/me/library/a.md".into()), "(allow file-read* (subpath (param \"LIBRARY\"))) ; why: ..."),
            (Act::Write("/scratch/undo".into()), "(allow file-write* (subpath (param \"SCRATCH\"))) ; why: ..."),
            (Act::Connect(27124), "(allow network-outbound (remote tcp \"localhost:27124\")) ; why: ..."),
        ];
        for (act, rule) in rows {
            assert_eq!(advice(act, true), Advice::Rule(rule.to_owned()));
        }
    }

    #[test]
    fn what_no_rule_may_allow_says_so() {
        for act in [
            Act::Execute("/bin/sh".into()),
            Act::Fork,
            Act::Socket("AF_UNIX".to_owned()),
            Act::Call("ptrace".to_owned()),
            // What the manifest only reads.
            Act::Write("/home/me/library/a".into()),
            // A control character has no place in a profile.
            Act::Read("/a\nb".into()),
        ] {
            assert!(
                matches!(advice(act.clone(), true), Advice::Without(_)),
                "{act:?}"
            );
        }
        let write = Act::Write("/home/me/notes/a".into());
        assert!(matches!(advice(write.clone(), false), Advice::Without(_)));
        assert!(matches!(advice(write, true), Advice::Rule(_)));
    }
}
