//! `plexusctl sources secret`: sets a secret of a source, typed, from standing input or from a file. Never from an argument:
//! other programs see those, and shells keep them.

use super::{
    granted::{ended_since, granted_on, is_asked, lost, open_on},
    test::{health_of, sentence},
    there,
};
use crate::{
    act::{self, CallerContext, PersonsCall},
    owner::{Desk, Owner},
    prompt::{self, confirm},
};
use clap::Args;
use plexus_client::{Exit, Stop, text};
use plexus_owner::{
    secrets::{Write, WriteResult},
    sources::ProbedSource,
};
use plexus_protocol::SourceId;
use serde::Serialize;
use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

/// Longest secret, in bytes; the gateway has the last word.
const MOST: usize = 16 * 1024;

/// A secret to set.
#[derive(Args)]
pub(super) struct Secret {
    /// Source
    source: SourceId,
    /// Its field, as plexusctl sources kinds names it
    field: String,
    /// File that holds it, without the line break at its end [default: typed at the terminal, else standing input]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Do not ask for confirmation, even if grants are revoked
    #[arg(long, short)]
    yes: bool,
}

impl Secret {
    /// A secret may come in on standing input; then the person is at the terminal that is written to.
    pub(super) fn judge(&self, desk: &Desk) -> Result<(), Stop> {
        judge_piped::<Write>(desk, self.file.is_none())
    }

    pub(super) async fn run(&self, desk: &Desk, owner: &mut Owner) -> Result<Exit, Stop> {
        there(owner, &self.source).await?;
        let open = open_on(owner, &self.source).await?;
        // A script has said it by running the command, and is answered with what that revoked.
        if desk.owes_yes(self.yes) {
            let granted = granted_on(owner, &self.source).await?;
            let is_asked = is_asked(desk, granted, &open);
            if let Some(lost) = lost(granted, &open).filter(|_| is_asked) {
                confirm(desk, &question(&self.source, &self.field, &lost), "--yes")?;
            }
        }
        let value = match &self.file {
            Some(file) => from_file(file)?,
            None if desk.can_ask() => prompt::secret(&self.field)?,
            None => from_stdin()?,
        };
        let written = set(owner, &self.source, &self.field, &value).await?;
        let ended = ended_since(owner, &self.source, Some(&open)).await;
        // This starts the source with the secret. The secret is set whatever comes of it.
        let health = health_of(owner, &self.source).await.ok().flatten();
        let set = SetSecret { written, health };
        desk.show(&set, || {
            let done = is_set(&set.written);
            match &set.health {
                Some(row) => format!("{done}{ended}\n{}", sentence(row)),
                None => format!("{done}{ended}"),
            }
        })
    }
}

fn question(source: &SourceId, field: &str, lost: &str) -> String {
    let field = text::line(field);
    format!("a new value of {field} {lost} on {source}; set it")
}

/// That it is set, and what that ended.
fn is_set(written: &WriteResult) -> String {
    let grants = written.revoked.iter();
    let grants: String = grants
        .map(|grant| format!("\n  {}: {}", grant.agent_id, grant.capability_id))
        .collect();
    match grants.is_empty() {
        true => format!("{} is set", written.name),
        false => format!(
            "{} is set; its source counts as another one, so these grants are revoked:{grants}",
            written.name
        ),
    }
}

/// Whether this person may make such a call. If a secret is `piped` in, standing input is no terminal; the one that is written
/// to counts.
pub(crate) fn judge_piped<C: PersonsCall>(desk: &Desk, piped: bool) -> Result<(), Stop> {
    let caller = CallerContext {
        sworn: desk.caller.sworn,
        terminal: desk.caller.terminal || piped && io::stderr().is_terminal(),
        mark: desk.caller.mark.clone(),
    };
    act::judge(C::WORDS, &caller)
}

/// Sets a secret of a source.
pub(crate) async fn set(
    owner: &mut Owner,
    source: &SourceId,
    field: &str,
    value: &Zeroizing<String>,
) -> Result<WriteResult, Stop> {
    let name = format!("{source}.{field}");
    let value = value.to_string();
    owner.call(&Write { name, value }).await
}

/// A secret that is set, and how its source does with it.
#[derive(Serialize)]
struct SetSecret {
    #[serde(flatten)]
    written: WriteResult,
    health: Option<ProbedSource>,
}

/// The secret in a file.
pub(crate) fn from_file(file: &Path) -> Result<Zeroizing<String>, Stop> {
    let opened = File::open(file).and_then(read);
    opened.map_err(|error| match error.kind() {
        // It was read.
        io::ErrorKind::Other | io::ErrorKind::InvalidData => {
            Stop::content(file, &error.to_string())
        }
        _ => Stop::path(file, &error),
    })
}

/// The secret on standing input.
pub(crate) fn from_stdin() -> Result<Zeroizing<String>, Stop> {
    if io::stdin().is_terminal() {
        let why = "standing input is the terminal, which would show the secret: give a file";
        return Err(Stop::usage(why));
    }
    let secret = read(io::stdin().lock());
    secret.map_err(|error| Stop::usage(format!("standing input: {error}")))
}

fn read(from: impl Read) -> io::Result<Zeroizing<String>> {
    // As large as it can get, so that nothing of it is left behind where it grew.
    let mut text = Zeroizing::new(String::with_capacity(MOST + 3));
    from.take(MOST as u64 + 3).read_to_string(&mut text)?;
    for end in ["\n", "\r"] {
        if text.ends_with(end) {
            text.pop();
        }
    }
    match text.len() {
        0 => Err(io::Error::other("it is empty")),
        len if len > MOST => Err(io::Error::other(format!("longer than {MOST} bytes"))),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn question_says_what_another_value_revokes() {
        let source = SourceId::parse("mail").unwrap();
        assert_eq!(
            question(&source, "token\u{202e}", "revokes the 2 grants"),
            "a new value of token\\u{202e} revokes the 2 grants on mail; set it"
        );
    }

    #[test]
    fn revoked_grants_are_named() {
        let is_set = |written| is_set(&serde_json::from_value(written).unwrap());
        let same = json!({"ok": true, "name": "mail.password"});
        assert_eq!(is_set(same), "mail.password is set");
        let grant = json!({"agentId": "planner", "capabilityId": "mail.read"});
        let other = json!({"ok": true, "name": "mail.password", "revoked": [grant]});
        assert_eq!(
            is_set(other),
            "mail.password is set; its source counts as another one, so these grants are revoked:\n  planner: mail.read"
        );
    }

    #[test]
    fn secret_loses_one_line_break_and_has_a_bound() {
        let of = |text: &str| read(text.as_bytes()).ok().map(|text| text.to_string());
        for (given, kept) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            (" a \n\n", " a \n"),
            ("a", "a"),
        ] {
            assert_eq!(of(given).as_deref(), Some(kept));
        }
        assert_eq!(of("\n"), None);
        let file = tempfile::NamedTempFile::new().unwrap();
        let empty = from_file(file.path()).unwrap_err();
        let name = file.path().display();
        assert_eq!(empty.why, format!("{name}: it is empty"));
        assert_eq!(empty.next, format!("correct {name}, or name another file"));
        let most = "x".repeat(MOST);
        assert_eq!(of(&format!("{most}\r\n")), Some(most.clone()));
        assert_eq!(of(&format!("{most}x")), None);
    }
}
