//! `plexusctl sources profile`: what the workers of a source may reach, for people.

use super::of_source;
use crate::owner::Desk;
use clap::{Args, ValueEnum};
use plexus_client::{Exit, Stop, out, text};
use plexus_owner::profile::{AllowedAction, Profile, Show, WorkerRole};
use plexus_protocol::SourceId;

/// Which profile, and how.
#[derive(Args)]
pub(super) struct ProfileArgs {
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

impl From<Role> for WorkerRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Reader => Self::Reader,
            Role::Writer => Self::Writer,
        }
    }
}

pub(super) async fn show(desk: &Desk, asked: &ProfileArgs) -> Result<Exit, Stop> {
    let id = asked.source.to_string();
    let mut owner = desk.open().await?;
    let reply = owner.call(&Show { id }).await;
    let mut reply = of_source(&mut owner, &asked.source, reply).await?;
    if let Some(role) = asked.role.map(WorkerRole::from) {
        reply.roles.retain(|one| one.role == role);
        if reply.roles.is_empty() {
            return Err(Stop::usage(format!(
                "{} has no {}: it changes nothing",
                asked.source,
                role.as_str()
            ))
            .next("leave --role out"));
        }
    }
    if asked.text && !desk.json {
        // To be piped into a file or a pager: as it is, since it is compiled into the gateway.
        return out::data(reply.text.as_bytes()).map(|()| Exit::Ok);
    }
    desk.show(&reply, || in_words(&reply))
}

fn in_words(reply: &Profile) -> String {
    let mut lines = Vec::new();
    let source = &reply.source;
    if reply.unsandboxed == Some(true) {
        lines.push(format!(
            "{source} RUNS WITHOUT A SANDBOX: nothing below holds until plexusd runs without --unsandboxed-i-understand"
        ));
    }
    for role in &reply.roles {
        lines.push(format!("{source}, {}:", role.role.as_str()));
        for (words, actions, none) in [
            ("may read", &role.may_read, "nothing"),
            ("may write", &role.may_write, "nothing"),
            ("may run", &role.may_run, "nothing"),
            ("may talk to", &role.may_talk_to, "nobody"),
        ] {
            list(&mut lines, words, actions, none);
        }
        if !role.may_also.is_empty() {
            list(&mut lines, "may also", &role.may_also, "");
        }
        lines.push("  nothing else".to_owned());
        lines.push("  not hidden from it by this system:".to_owned());
        for residual in &role.not_hidden {
            lines.push(format!("    {}", text::line(residual)));
        }
    }
    lines.push(format!(
        "profile: {}, digest {}",
        text::line(&reply.profile),
        reply.digest
    ));
    lines.push(match reply.pinned {
        None => "no grant is bound to it yet".to_owned(),
        Some(same) if same == reply.digest => {
            "grants on this source are bound to this digest: with another one they are suspended until you decide"
                .to_owned()
        }
        Some(other) => format!("grants on this source were made under {other}"),
    });
    lines.join("\n")
}

/// One list: its name once, then each entry with its reason below each other.
fn list(lines: &mut Vec<String>, name: &str, actions: &[AllowedAction], none: &str) {
    if actions.is_empty() {
        return lines.push(format!("  {name}: {none}"));
    }
    lines.push(format!("  {name}:"));
    for action in actions {
        let what = text::line(&action.what);
        lines.push(match action.why.as_deref() {
            None | Some("") => format!("    {what}"),
            Some(why) => format!("    {what} ({})", text::line(why)),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::Digest;
    use serde_json::json;

    #[test]
    fn a_profile_is_told_in_words() {
        let digest = Digest([0xab; 32]);
        let reply = json!({
            "source": "notes", "connector": "workspace", "profile": "sandbox-profiles/workspace.sb",
            "digest": digest, "pinned": digest, "text": "",
            "roles": [{
                "role": "reader", "parameters": {},
                "mayRead": [{"what": "/srv/no\u{202e}tes and all below it", "why": "it is read", "line": 9}],
                "mayWrite": [], "mayRun": [{"what": "/opt/w", "line": 5}], "mayTalkTo": [],
                "mayAlso": [{"what": "signal itself", "line": 7}],
                "notHidden": ["metadata of any path"],
            }],
        });
        let mut reply: Profile = serde_json::from_value(reply).unwrap();
        assert_eq!(
            in_words(&reply),
            format!(
                "notes, reader:\n  may read:\n    /srv/no\\u{{202e}}tes and all below it (it is read)\n  may write: nothing\n\
                 \x20 may run:\n    /opt/w\n  may talk to: nobody\n  may also:\n    signal itself\n  nothing else\n\
                 \x20 not hidden from it by this system:\n    metadata of any path\n\
                 profile: sandbox-profiles/workspace.sb, digest {digest}\n\
                 grants on this source are bound to this digest: with another one they are suspended until you decide"
            )
        );
        let other = Digest([0xcd; 32]);
        reply.pinned = Some(other);
        assert!(
            in_words(&reply).ends_with(&format!("grants on this source were made under {other}"))
        );
    }
}
