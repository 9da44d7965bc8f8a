//! `plexusctl lend`: a folder for one agent and for a time.

use crate::{
    agents,
    owner::{Desk, Owner, or_meant},
    table::table,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, span, text};
use plexus_owner::lend::{End, Lend as LendCall, Lending, LentFolder, List, may, may_not};
use plexus_protocol::{AgentId, SourceId, Timestamp};
use std::path::PathBuf;

/// Lending.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Lend {
    #[command(subcommand)]
    act: Option<Act>,
    /// Agent to lend to
    #[arg(required = true)]
    agent: Option<AgentId>,
    /// Folder to lend
    #[arg(required = true)]
    folder: Option<PathBuf>,
    /// Let the agent change files too, without asking each time
    #[arg(long)]
    write: bool,
    /// For how long
    #[arg(long = "for", value_name = "TIME", default_value = "1d", value_parser = span::parse)]
    time: u64,
    /// Number of writes, undo included; further ones ask
    #[arg(long, value_name = "N", requires = "write")]
    max_writes: Option<u32>,
}

#[derive(Subcommand)]
enum Act {
    /// Show lent folders, and those of the last 7 days
    List,
    /// End a lending now
    End {
        /// Source, as the list shows it
        source: SourceId,
    },
}

/// Lends, lists or ends.
pub(crate) async fn run(desk: &Desk, lend: Lend) -> Result<Exit, Stop> {
    match (lend.act, lend.agent, lend.folder) {
        (Some(Act::List), ..) => {
            let reply = desk.open().await?.call(&List {}).await?;
            desk.show(&reply, || rows(&reply.lent, span::now()))
        }
        (Some(Act::End { source }), ..) => {
            let id = source.to_string();
            let mut owner = desk.open().await?;
            let reply = owner.call(&End { id }).await;
            let reply = or_meant(&source, reply, lent_now(&mut owner)).await?;
            let agent = &reply.agent_id;
            desk.show(&reply, || {
                format!(
                    "{agent} no longer reaches {source}; plexusctl review {agent} shows what it changed"
                )
            })
        }
        (None, Some(agent), Some(folder)) => {
            desk.ask_for_person::<LendCall>()?;
            let folder = folder
                .canonicalize()
                .map_err(|error| Stop::path(&folder, &error))?;
            let path = folder.into_os_string().into_string();
            let path = path
                .map_err(|path| Stop::usage(format!("{}: the path is no text", path.display())))?;
            let asked = LendCall {
                agent_id: agent.to_string(),
                path,
                write: lend.write,
                for_ms: Some(lend.time),
                max_writes: lend.max_writes,
            };
            let mut owner = desk.open().await?;
            let reply = match owner.call(&asked).await {
                Ok(reply) => reply,
                Err(refused) => {
                    let next = refused.next.clone();
                    let refused = agents::meant(&mut owner, &agent, refused).await;
                    return Err(refused.next(next));
                }
            };
            desk.show(&reply, || lent(&reply, span::now()))
        }
        (None, ..) => Err(Stop::usage("name an agent and a folder")),
    }
}

/// The sources of the folders that are lent now.
async fn lent_now(owner: &mut Owner) -> Result<Vec<String>, Stop> {
    let lent = owner.call(&List {}).await?.lent.into_iter();
    let lent = lent.filter(|one| one.ended_at.is_none());
    Ok(lent.map(|one| one.source.to_string()).collect())
}

/// What the agent may, what it may not, and how to end it.
fn lent(reply: &Lending, now: Timestamp) -> String {
    let LentFolder {
        agent_id: agent,
        source,
        ..
    } = &reply.folder;
    let path = text::line(reply.folder.path.as_deref().unwrap_or_default());
    let end = span::end(reply.folder.until, now);
    let write = reply.folder.write;
    let (may, may_not) = (may(&path, write, reply.max_writes), may_not(write));
    let mut said = format!(
        "{agent} may {may} ({end}; as {source})\n{agent} may not {may_not}\nto end it: plexusctl lend end {source}"
    );
    if let Some(was) = &reply.was {
        said.push_str(&format!("\n{}", instead(was, now)));
    }
    if let Some(why) = &reply.warning {
        said.push_str(&format!("\nit cannot be used now: {}", text::line(why)));
    }
    said
}

/// What this lending replaces.
fn instead(was: &LentFolder, now: Timestamp) -> String {
    let what = match was.write {
        true => "reading and changing",
        false => "reading only",
    };
    let end = ends(was, now);
    format!("(replaces what was lent before: {what}, {end})")
}

fn ends(folder: &LentFolder, now: Timestamp) -> String {
    span::end(folder.ended_at.unwrap_or(folder.until), now)
}

fn rows(lent: &[LentFolder], now: Timestamp) -> String {
    let rows = lent.iter().map(|one| {
        [
            one.source.to_string(),
            one.agent_id.to_string(),
            match (one.write, one.writes_left) {
                (false, _) => "read".to_owned(),
                (true, None) => "read, write".to_owned(),
                (true, Some(left)) => format!("read, write ({left} left)"),
            },
            ends(one, now),
            one.path.clone().unwrap_or_default(),
        ]
    });
    table(
        ["source", "agent", "may", "until", "folder"],
        rows.collect(),
        "nothing is lent: plexusctl lend AGENT FOLDER",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_owner::Done;

    fn folder([source, agent, path]: [&str; 3], until: Timestamp) -> LentFolder {
        LentFolder {
            source: SourceId::parse(source).unwrap(),
            agent_id: AgentId::parse(agent).unwrap(),
            path: Some(path.to_owned()),
            until,
            write: false,
            writes_left: None,
            ended_at: None,
        }
    }

    #[test]
    fn two_lines_and_the_way_back() {
        let now = Timestamp(1_000);
        let mut reply = Lending {
            folder: LentFolder {
                write: true,
                ..folder(
                    ["notes", "my-cc", "/srv/\u{202e}notes"],
                    now.plus(86_400_000),
                )
            },
            ok: Done,
            audit_id: String::new(),
            max_writes: Some(20),
            was: None,
            warning: None,
        };
        assert_eq!(
            lent(&reply, now),
            "my-cc may list and read the files in /srv/\\u{202e}notes, and change them without asking 20 times, undo included; then it asks (ends in 24 h; as notes)\n\
             my-cc may not reach anything outside of that folder by this, and still asks before it changes a file that tools run or obey (.git, .envrc, CLAUDE.md, …)\n\
             to end it: plexusctl lend end notes"
        );
        reply.folder.write = false;
        reply.was = Some(LentFolder {
            write: true,
            until: now.plus(3_600_000),
            ..reply.folder.clone()
        });
        assert_eq!(
            lent(&reply, now),
            "my-cc may list and read the files in /srv/\\u{202e}notes (ends in 24 h; as notes)\n\
             my-cc may not change anything, nor reach anything outside of that folder by this\n\
             to end it: plexusctl lend end notes\n\
             (replaces what was lent before: reading and changing, ends in 60 min)"
        );
    }

    #[test]
    fn the_table() {
        let now = Timestamp(100_000_000);
        let lent = [
            LentFolder {
                write: true,
                writes_left: Some(3),
                ..folder(["notes", "a", "/n"], now.plus(3_600_000))
            },
            LentFolder {
                ended_at: Some(Timestamp(now.0 - 60_000)),
                ..folder(["old", "b", "/o"], now)
            },
        ];
        assert_eq!(
            rows(&lent, now),
            "SOURCE  AGENT  MAY                   UNTIL            FOLDER\n\
             notes   a      read, write (3 left)  ends in 60 min   /n\n\
             old     b      read                  ended 1 min ago  /o"
        );
    }
}
