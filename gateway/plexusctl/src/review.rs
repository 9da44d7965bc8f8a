//! `plexusctl review`: all that an agent changed, one difference for each file.

use crate::{
    agents,
    diff::Page,
    moment::{self, End, Moment},
    owner::Desk,
    sources::is_there,
};
use clap::Args;
use plexus_client::{Exit, Stop, shell, text};
use plexus_owner::review::{Present, Review as Reviewed, ReviewedFile, Show};
use plexus_protocol::{AgentId, SourceId, Timestamp, words::counted};

/// What is reviewed.
#[derive(Args)]
pub(crate) struct Review {
    /// Agent
    agent: AgentId,
    /// Since: 1d, yesterday, 10:42, 2026-11-19
    #[arg(long, value_name = "MOMENT", default_value = "1d", value_parser = moment::parse)]
    since: Moment,
    /// Only changes in this source
    #[arg(long)]
    source: Option<SourceId>,
}

/// Asks and prints.
pub(crate) async fn run(desk: &Desk, review: Review) -> Result<Exit, Stop> {
    let since: Timestamp = review.since.at(End::First, &moment::now());
    let asked = Show {
        agent: review.agent.to_string(),
        since: Some(since.0.to_string()),
        source: review.source.as_ref().map(ToString::to_string),
    };
    let mut owner = desk.open().await?;
    let reply = match owner.call(&asked).await {
        Err(refused) => return Err(agents::meant(&mut owner, &review.agent, refused).await),
        reply => reply?,
    };
    if let Some(source) = review.source.filter(|_| reply.sources.is_empty()) {
        is_there(&mut owner, &source).await?;
    }
    if desk.json {
        return desk.show(&reply, String::new);
    }
    page(&reply).print().map(|()| Exit::Ok)
}

/// What a person reads.
fn page(reply: &Reviewed) -> Page {
    let mut page = Page::default();
    let agent = text::line(&reply.agent_id);
    let since = moment::read(reply.since, &moment::now());
    let (mut files, mut lost, mut unshown) = (0, 0, 0);
    for source in &reply.sources {
        let name = &source.source;
        for file in &source.files {
            files += 1;
            one(&mut page, name, file);
        }
        let gone = &source.not_kept;
        if source.undoes && !gone.is_empty() {
            unshown += gone.len();
            page.say(format!(
                "{name}: no difference is shown; plexusctl undo ID shows what it would change, and asks:"
            ));
        } else if !gone.is_empty() {
            lost += gone.len();
            let why = match &source.why {
                Some(why) => format!(" ({})", text::line(why)),
                None => String::new(),
            };
            page.say(format!("{name}: no before-image kept{why}:"));
        }
        for one in gone {
            let did = one.summary.as_deref().unwrap_or("(an effect)");
            page.say(format!("  {}  {}", one.audit_id, text::line(did)));
        }
        if source.copies > 0 {
            let sets = counted(source.copies, "change set");
            page.say(format!(
                "{name}: {sets}, shown by: plexusctl changes --source {name}"
            ));
        }
        if source.runs > 0 {
            page.say(format!(
                "{name}: runs and turns on a copy: {}; the source does not say now which change sets they made: plexusctl changes --source {name}",
                source.runs
            ));
        }
        for one in &source.unknown {
            page.say(format!(
                "{name}: the outcome of this is unknown: {}",
                one.audit_id
            ));
        }
    }
    if reply.cut {
        page.say("Older changes are left out: look at less with --since or --source.");
    }
    let mut what = Vec::new();
    if files > 0 {
        what.push(counted(files, "file"));
    }
    if unshown > 0 {
        what.push(format!("{unshown} without a difference"));
    }
    if lost > 0 {
        what.push(format!("{lost} of which nothing is kept"));
    }
    page.say(match &what[..] {
        [] => format!("{agent} changed nothing since {since}."),
        what => format!("{agent} changed since {since}: {}.", what.join(", ")),
    });
    page
}

fn one(page: &mut Page, source: &SourceId, file: &ReviewedFile) {
    let Some(last) = file.calls.last() else {
        page.say(format!("{source}: {}", text::line(&file.relative_path)));
        page.say("  (every change to it was undone)");
        page.say("");
        return;
    };
    page.say(format!("{source}: {}", text::line(&file.summary)));
    match file.present {
        Present::Same => {}
        Present::Changed => page.say("  changed since by someone else; this is the agent's part"),
        Present::Unknown => page.say("  it cannot be looked at now"),
    }
    if file.interleaved {
        page.say("  someone else changed it in between; this shows their part too");
    }
    match &file.diff {
        Some(diff) => page.diff(diff, file.cut),
        None => page.say("  (no difference is shown: not text, or too large)"),
    }
    let what = match file.calls.len() {
        1 => "to undo it".to_owned(),
        many => format!("to undo the last of {many} changes"),
    };
    page.say(match file.present {
        // An undo is refused then, and leads here where nobody undoes the later change.
        Present::Changed => {
            let thing = text::line(&shell::quote(&file.relative_path));
            format!(
                "  no undo over that change; what touched it: plexusctl activity --source {source} --touched {thing}"
            )
        }
        Present::Same | Present::Unknown => format!("  {what}: plexusctl undo {last}"),
    });
    page.say("");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(n: u8) -> String {
        format!("evt_00000000-0000-4000-8000-00000000000{n}")
    }

    fn text_of(reply: serde_json::Value) -> String {
        let reply: Reviewed = serde_json::from_value(reply).unwrap();
        let since = moment::read(reply.since, &moment::now());
        let text = page(&reply).text();
        let text = text.replace("00000000-0000-4000-8000-00000000000", "");
        text.replace(&since, "then")
    }

    #[test]
    fn what_a_person_reads() {
        let reply = json!({
            "agentId": "my-cc", "since": "2026-01-01T00:00:00.000Z", "cut": false,
            "sources": [{
                "source": "notes", "effects": 4,
                "files": [
                    {"relativePath": "a.md", "calls": [event(1), event(2)], "summary": "replaced a\u{1b}.md, +1 −1",
                     "present": "changed", "diff": "-old\n+new\n"},
                    {"relativePath": "b.png", "calls": [event(3)], "summary": "created b.png, 9 bytes",
                     "present": "same", "cut": true},
                    {"relativePath": "c.md", "calls": [], "undone": [event(4)],
                     "summary": "took back its changes to c.md", "present": "same"},
                ],
                "notKept": [{"auditId": event(0), "at": null, "summary": "replaced old.md, +1 −0"}],
                "unknown": [],
            }, {
                "source": "calendar", "effects": 1, "files": [], "undoes": true, "unknown": [],
                "notKept": [{"auditId": event(5), "at": null, "summary": "added the event Party"}],
            }],
        });
        assert_eq!(
            text_of(reply),
            "notes: replaced a\\u{1b}.md, +1 −1\n\
             \x20 changed since by someone else; this is the agent's part\n\
             \x20 │ -old\n  │ +new\n\
             \x20 no undo over that change; what touched it: plexusctl activity --source notes --touched a.md\n\n\
             notes: created b.png, 9 bytes\n\
             \x20 (no difference is shown: not text, or too large)\n\
             \x20 to undo it: plexusctl undo evt_3\n\n\
             notes: c.md\n\
             \x20 (every change to it was undone)\n\n\
             notes: no before-image kept:\n\
             \x20 evt_0  replaced old.md, +1 −0\n\
             calendar: no difference is shown; plexusctl undo ID shows what it would change, and asks:\n\
             \x20 evt_5  added the event Party\n\
             my-cc changed since then: 3 files, 1 without a difference, 1 of which nothing is kept."
        );
        let copies = json!({"agentId": "a", "since": "2026-01-01T00:00:00.000Z", "cut": false, "sources": [
            {"source": "codex", "effects": 0, "files": [], "notKept": [], "unknown": [], "copies": 2}]});
        assert_eq!(
            text_of(copies),
            "codex: 2 change sets, shown by: plexusctl changes --source codex\na changed nothing since then."
        );
        let away = json!({"agentId": "a", "since": "2026-01-01T00:00:00.000Z", "cut": false, "sources": [
            {"source": "codex", "effects": 0, "files": [], "notKept": [], "unknown": [], "runs": 2}]});
        assert_eq!(
            text_of(away),
            "codex: runs and turns on a copy: 2; the source does not say now which change sets they made: plexusctl changes --source codex\n\
             a changed nothing since then."
        );
        let none = json!({"agentId": "a", "since": "2026-01-01T00:00:00.000Z", "sources": [], "cut": false});
        assert_eq!(text_of(none), "a changed nothing since then.");
    }
}
