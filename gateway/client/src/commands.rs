//! Commands that are printed for a person, completed by the state directory that `--home` named: as typed they act on the
//! same gateway.
//!
//! Invariant: a command inside of a text that is not ours stays as it is. [`crate::text`] marks it, and [`crate::out`]
//! prints no mark.

use plexus_protocol::shell;
use std::{path::Path, sync::OnceLock};

/// The owner's command, as it begins in a text.
const PROGRAM: &str = "plexusctl ";
/// Stands for the space of a command in a text that is not ours. It is kept behind the program's name alone, and no line is
/// broken before it.
const MARK: char = '\u{91}';
const MARKED: &str = "plexusctl\u{91}";

/// The home that completes the commands of this process.
static NAMED: OnceLock<Named> = OnceLock::new();

struct Named {
    home: String,
    commands: Vec<String>,
}

/// From now on `plexusctl` before one of these `commands` has the flag that names the state directory at `home`.
pub fn name_home(home: &Path, commands: Vec<String>) {
    let home = format!(
        "plexusctl --home {} ",
        shell::quote(&home.to_string_lossy())
    );
    // Once: a process has one command line.
    let _ = NAMED.set(Named { home, commands });
}

/// Marks the commands in a text that is not ours.
pub(crate) fn marked(text: String) -> String {
    match NAMED.get() {
        Some(_) => text.replace(PROGRAM, MARKED),
        None => text,
    }
}

/// Makes a text safe by `safe`, and keeps the marks that are in it already.
pub(crate) fn between_marks(text: &str, safe: impl Fn(&str) -> String) -> String {
    match NAMED.get() {
        Some(_) => text
            .split(MARKED)
            .map(safe)
            .collect::<Vec<_>>()
            .join(MARKED),
        None => safe(text),
    }
}

/// A text with its commands completed. The marks stay, so that it may be made safe or completed once more.
#[must_use]
pub fn completed(text: &str) -> String {
    match NAMED.get() {
        Some(named) => named.completed(text),
        None => text.to_owned(),
    }
}

/// The same as it is printed.
#[must_use]
pub fn shown(text: &str) -> String {
    match NAMED.get() {
        Some(named) => named.completed(text).replace(MARK, " "),
        None => text.to_owned(),
    }
}

impl Named {
    fn completed(&self, text: &str) -> String {
        let mut parts = text.split(PROGRAM);
        let mut out = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            // Another program's name may end so, and a sentence may be about the program.
            let is_name = !out.ends_with(|c: char| c.is_alphanumeric() || "/._-".contains(c));
            let end = part.find(|c: char| !c.is_ascii_lowercase() && c != '-');
            let command = &part[..end.unwrap_or(part.len())];
            let is_command = is_name && self.commands.iter().any(|known| known == command);
            out.push_str(if is_command { &self.home } else { PROGRAM });
            out.push_str(part);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text;

    #[test]
    fn commands_of_ours_name_the_home_and_no_others_do() {
        let ours = "run `plexusctl doctor`; or: plexusctl undo evt_1 (plexusctl status)";
        assert_eq!(shown(ours), ours, "no home was named");
        name_home(
            Path::new("/a home"),
            ["doctor", "undo", "status"].map(str::to_owned).into(),
        );
        let named = "plexusctl --home '/a home'";
        let whole = ours.replace("plexusctl", named);
        assert_eq!(shown(ours), whole);
        assert_eq!(shown(&completed(&whole)), whole, "once is enough");
        for other in [
            "plexusctl is the owner's command",
            "/opt/bin/plexusctl status",
            "plexusctl statuses",
        ] {
            assert_eq!(shown(other), other);
        }
        // An agent's words, also where they are made safe twice, or imitate the mark.
        for purpose in ["now plexusctl undo evt_1", "now plexusctl\u{91}undo evt_1"] {
            let safe = text::line(&text::short(purpose, 80));
            let told = format!("purpose: “{safe}”: plexusctl status");
            let told = shown(&completed(&told));
            assert!(told.ends_with(&format!("”: {named} status")), "{told}");
            assert_eq!(told.matches("--home").count(), 1, "{told}");
            // Cut or broken anywhere, it leaves no mark behind.
            for at in 0..safe.chars().count() {
                let (head, rest): (String, String) = (
                    safe.chars().take(at).collect(),
                    safe.chars().skip(at).collect(),
                );
                let told = shown(&text::own(&format!("{head}|{rest}")));
                assert!(!told.contains(MARK) && !told.contains("--home"), "{told}");
            }
        }
        // The character alone is none.
        assert_eq!(shown(&text::line("a\u{91}b")), "a\\u{91}b");
        assert_eq!(
            shown(&text::own("next: plexusctl undo a\n")),
            format!("next: {named} undo a\\n")
        );
    }
}
