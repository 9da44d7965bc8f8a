//! `plexusctl lend`: a folder for one agent and for a time.

use crate::{
    owner::{Desk, list_of, text_of},
    table::table,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, span, text};
use plexus_protocol::{AgentId, SourceId, Timestamp};
use serde_json::{Value, json};
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
            let reply = desk.open().await?.get("/admin/api/lend").await?;
            desk.show(&reply, || rows(list_of(&reply, "lent"), span::now()))
        }
        (Some(Act::End { source }), ..) => {
            let path = format!("/admin/api/lend/{source}");
            let reply = desk.open().await?.delete(&path).await?;
            let agent = text::line(text_of(&reply, "agentId"));
            desk.show(&reply, || {
                format!(
                    "{agent} no longer reaches {source}; plexusctl review {agent} shows what it changed"
                )
            })
        }
        (None, Some(agent), Some(folder)) => {
            desk.widen("lending a folder")?;
            let folder = folder
                .canonicalize()
                .map_err(|e| Stop::usage(format!("{}: {e}", folder.display())))?;
            let mut body = json!({
                "agentId": agent, "path": folder, "write": lend.write, "forMs": lend.time,
            });
            if let Some(most) = lend.max_writes {
                body["maxWrites"] = most.into();
            }
            let reply = desk.open().await?.post("/admin/api/lend", &body).await?;
            desk.show(&reply, || lent(&reply, span::now()))
        }
        (None, ..) => Err(Stop::usage("name an agent and a folder")),
    }
}

/// What the agent may, what it may not, and how to end it.
fn lent(reply: &Value, now: Timestamp) -> String {
    let agent = text::line(text_of(reply, "agentId"));
    let source = text::line(text_of(reply, "source"));
    let path = text::line(text_of(reply, "path"));
    let end = moment(reply, "until").map_or(String::new(), |at| span::end(at, now));
    let (may, may_not) = if reply["write"] == true {
        let most = match reply["maxWrites"].as_u64() {
            None => String::new(),
            Some(1) => ", once, undo included; then it asks".to_owned(),
            Some(most) => format!(", {most} times, undo included; then it asks"),
        };
        (
            format!("list, read and change the files in {path}{most}"),
            "reach anything outside of that folder by this, and still asks before it changes a file that tools run or obey (.git, .envrc, CLAUDE.md, …)",
        )
    } else {
        (
            format!("list and read the files in {path}"),
            "change anything, nor reach anything outside of that folder by this",
        )
    };
    let mut said = format!(
        "{agent} may {may} ({end}; as {source})\n{agent} may not {may_not}\nto end it: plexusctl lend end {source}"
    );
    if let Some(was) = Some(&reply["was"]).filter(|was| was.is_object()) {
        said.push_str(&format!("\n{}", instead(was, now)));
    }
    if let Some(why) = reply["warning"].as_str() {
        said.push_str(&format!("\nit cannot be used now: {}", text::line(why)));
    }
    said
}

/// What this lending replaces.
fn instead(was: &Value, now: Timestamp) -> String {
    let what = match was["write"] == true {
        true => "reading and changing",
        false => "reading only",
    };
    let ended = moment(was, "endedAt").or_else(|| moment(was, "until"));
    let end = ended.map_or(String::new(), |at| format!(", {}", span::end(at, now)));
    format!("(replaces what was lent before: {what}{end})")
}

fn moment(value: &Value, member: &str) -> Option<Timestamp> {
    serde_json::from_value(value[member].clone()).ok()
}

fn rows(lent: &[Value], now: Timestamp) -> String {
    let rows = lent.iter().map(|one| {
        let end = moment(one, "endedAt").or_else(|| moment(one, "until"));
        let may = match (one["write"] == true, one["writesLeft"].as_u64()) {
            (false, _) => "read".to_owned(),
            (true, None) => "read, write".to_owned(),
            (true, Some(left)) => format!("read, write ({left} left)"),
        };
        [
            text_of(one, "source").to_owned(),
            text_of(one, "agentId").to_owned(),
            may,
            end.map_or(String::new(), |at| span::end(at, now)),
            text_of(one, "path").to_owned(),
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

    #[test]
    fn two_lines_and_the_way_back() {
        let now = Timestamp(1_000);
        let mut reply = json!({
            "agentId": "my-cc", "source": "notes", "path": "/srv/\u{202e}notes",
            "until": now.plus(86_400_000), "write": true, "maxWrites": 20,
        });
        assert_eq!(
            lent(&reply, now),
            "my-cc may list, read and change the files in /srv/\\u{202e}notes, 20 times, undo included; then it asks (ends in 24 h; as notes)\n\
             my-cc may not reach anything outside of that folder by this, and still asks before it changes a file that tools run or obey (.git, .envrc, CLAUDE.md, …)\n\
             to end it: plexusctl lend end notes"
        );
        reply["write"] = json!(false);
        reply["was"] = json!({"write": true, "until": now.plus(3_600_000)});
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
        let lent = json!([
            {"source": "notes", "agentId": "a", "path": "/n", "until": now.plus(3_600_000), "write": true, "writesLeft": 3},
            {"source": "old", "agentId": "b", "path": "/o", "until": now, "write": false, "endedAt": Timestamp(now.0 - 60_000)},
        ]);
        assert_eq!(
            rows(lent.as_array().unwrap(), now),
            "SOURCE  AGENT  MAY                   UNTIL           FOLDER\n\
             notes   a      read, write (3 left)  ends in 60 min  /n\n\
             old     b      read                  ended 60 s ago  /o"
        );
    }
}
