//! `plexusctl sources secret`: sets a secret of a source, from standing input or a file. Never from an argument: other
//! programs see those, and shells keep them.

use crate::{
    act::{self, Hands},
    owner::{Desk, Owner, list_of, text_of},
};
use clap::Args;
use plexus_client::{Exit, Stop, text};
use plexus_protocol::SourceId;
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{self, IsTerminal as _, Read},
    path::PathBuf,
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
    /// File that holds it, without the line break at its end [default: standing input]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Secret {
    /// The secret comes in on standing input, so that need be no terminal: then the person is at the one that is
    /// written to.
    pub(super) fn judge(&self, desk: &Desk) -> Result<(), Stop> {
        let hands = Hands {
            sworn: desk.hands.sworn,
            terminal: desk.hands.terminal || self.file.is_none() && io::stderr().is_terminal(),
            mark: desk.hands.mark.clone(),
        };
        act::judge("setting a secret", &hands)
    }

    pub(super) async fn run(&self, desk: &Desk, owner: &mut Owner) -> Result<Exit, Stop> {
        let value = self.read()?;
        let name = format!("{}.{}", self.source, self.field);
        let reply = owner.get("/admin/api/sources").await?;
        let sources = reply["sources"].as_array().map_or(&[][..], Vec::as_slice);
        if !sources
            .iter()
            .any(|s| text_of(s, "id") == self.source.as_str())
        {
            let why = format!("there is no source {}", self.source);
            let stop = Stop::new(Exit::Failed, "not_found", why);
            return Err(stop.next("plexusctl sources list"));
        }
        let body = json!({"value": *value});
        let path = format!("/admin/api/secrets/{name}");
        let reply = owner.post(&path, &body).await?;
        // This looks at the source, so it starts with the secret; the secret is set whatever comes of it.
        let health = owner.get("/admin/api/health").await.ok();
        let serves = serves(health.as_ref(), &self.source);
        desk.show(&reply, || {
            format!("{name} is set; what was granted with another one before is void{serves}")
        })
    }

    fn read(&self) -> Result<Zeroizing<String>, Stop> {
        let unread = |error: io::Error| Stop::usage(format!("the secret: {error}"));
        match &self.file {
            Some(file) => read(File::open(file).map_err(unread)?).map_err(unread),
            None if io::stdin().is_terminal() => Err(Stop::usage(format!(
                "give the secret on standing input or with --file FILE, such as: plexusctl sources secret {} {} < FILE",
                self.source, self.field
            ))),
            None => read(io::stdin().lock()).map_err(unread),
        }
    }
}

/// How the source does now.
fn serves(health: Option<&Value>, source: &SourceId) -> String {
    let sources = health.map_or(&[][..], |health| list_of(health, "sources"));
    let Some(found) = sources.iter().find(|s| s["id"] == source.as_str()) else {
        return String::new();
    };
    match (found["status"].as_str(), found["detail"].as_str()) {
        (Some("ok"), _) => format!("\n{source} serves"),
        (_, Some(why)) => format!("\n{source} does not serve: {}", text::line(why)),
        (_, None) => String::new(),
    }
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
        0 => Err(io::Error::other("there is none")),
        len if len > MOST => Err(io::Error::other(format!("longer than {MOST} bytes"))),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let most = "x".repeat(MOST);
        assert_eq!(of(&format!("{most}\r\n")), Some(most.clone()));
        assert_eq!(of(&format!("{most}x")), None);
    }
}
