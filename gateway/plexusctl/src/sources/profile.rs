//! `plexusctl sources profile`: what the workers of a source may reach, for people.

use crate::owner::{Desk, list_of, text_of};
use clap::{Args, ValueEnum};
use plexus_client::{Exit, Stop, out, text};
use plexus_protocol::SourceId;
use serde_json::Value;

/// Which profile, and how.
#[derive(Args)]
pub(super) struct Profile {
    /// Source
    source: SourceId,
    /// Only this role
    #[arg(long, value_enum)]
    role: Option<Role>,
    /// Print the profile itself, as it is written
    #[arg(long)]
    text: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Reads and plans, can change nothing
    Reader,
    /// Commits
    Writer,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
        }
    }
}

pub(super) async fn show(desk: &Desk, asked: &Profile) -> Result<Exit, Stop> {
    let path = format!("/admin/api/sources/{}/profile", asked.source);
    let mut reply = desk.open().await?.get(&path).await?;
    if let Some(role) = asked.role {
        if let Some(roles) = reply["roles"].as_array_mut() {
            roles.retain(|one| one["role"] == role.word());
        }
        if list_of(&reply, "roles").is_empty() {
            return Err(Stop::usage(format!(
                "{} has no {}: it changes nothing",
                asked.source,
                role.word()
            )));
        }
    }
    if asked.text && !desk.json {
        // To be piped into a file or a pager: as it is, since it is compiled into the gateway.
        return out::data(text_of(&reply, "text").as_bytes()).map(|()| Exit::Ok);
    }
    desk.show(&reply, || in_words(&reply))
}

/// The lists of a role, in the order in which they are read.
const LISTS: [(&str, &str, &str); 4] = [
    ("mayRead", "may read", "nothing"),
    ("mayWrite", "may write", "nothing"),
    ("mayRun", "may run", "nothing"),
    ("mayTalkTo", "may talk to", "nobody"),
];

fn in_words(reply: &Value) -> String {
    let mut lines = Vec::new();
    let source = text::line(text_of(reply, "source"));
    if reply["unsandboxed"] == true {
        lines.push(format!(
            "{source} RUNS WITHOUT A SANDBOX: nothing below holds until plexusd runs without --unsandboxed-i-understand"
        ));
    }
    for role in list_of(reply, "roles") {
        lines.push(format!("{source}, {}:", text::line(text_of(role, "role"))));
        for (member, words, none) in LISTS {
            list(&mut lines, words, list_of(role, member), none);
        }
        let also = list_of(role, "mayAlso");
        if !also.is_empty() {
            list(&mut lines, "may also", also, "");
        }
        lines.push("  nothing else".to_owned());
        lines.push("  not hidden from it by this system:".to_owned());
        for residual in list_of(role, "notHidden") {
            let residual = residual.as_str().unwrap_or_default();
            lines.push(format!("    {}", text::line(residual)));
        }
    }
    let (digest, pinned) = (text_of(reply, "digest"), text_of(reply, "pinned"));
    lines.push(format!(
        "profile: {}, digest {}",
        text::line(text_of(reply, "profile")),
        text::line(digest)
    ));
    lines.push(match pinned {
        "" => "no grant is bound to it yet".to_owned(),
        same if same == digest => {
            "grants on this source are bound to this digest: with another one they are suspended until you decide"
                .to_owned()
        }
        other => format!("grants on this source were made under {}", text::line(other)),
    });
    lines.join("\n")
}

/// One list: its name once, then each entry with its reason below each other.
fn list(lines: &mut Vec<String>, name: &str, entries: &[Value], none: &str) {
    if entries.is_empty() {
        return lines.push(format!("  {name}: {none}"));
    }
    lines.push(format!("  {name}:"));
    for entry in entries {
        let what = text::line(text_of(entry, "what"));
        lines.push(match text_of(entry, "why") {
            "" => format!("    {what}"),
            why => format!("    {what} ({})", text::line(why)),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_profile_is_told_in_words() {
        let reply = json!({
            "source": "notes", "profile": "sandbox-profiles/workspace.sb", "digest": "ab", "pinned": "ab",
            "roles": [{
                "role": "reader",
                "mayRead": [{"what": "/srv/no\u{202e}tes and all below it", "why": "it is read", "line": 9}],
                "mayWrite": [], "mayRun": [{"what": "/opt/w", "line": 5}], "mayTalkTo": [],
                "mayAlso": [{"what": "signal itself", "line": 7}],
                "notHidden": ["metadata of any path"],
            }],
        });
        assert_eq!(
            in_words(&reply),
            "notes, reader:\n  may read:\n    /srv/no\\u{202e}tes and all below it (it is read)\n  may write: nothing\n\
             \x20 may run:\n    /opt/w\n  may talk to: nobody\n  may also:\n    signal itself\n  nothing else\n\
             \x20 not hidden from it by this system:\n    metadata of any path\n\
             profile: sandbox-profiles/workspace.sb, digest ab\n\
             grants on this source are bound to this digest: with another one they are suspended until you decide"
        );
        let mut other = reply;
        other["pinned"] = json!("cd");
        assert!(in_words(&other).ends_with("grants on this source were made under cd"));
    }
}
