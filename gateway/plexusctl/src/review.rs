//! `plexusctl review`: all that an agent changed, one difference for each file.

use crate::{
    diff::Page,
    moment::{self, End, Moment},
    owner::{Desk, list_of, text_of},
};
use clap::Args;
use plexus_client::{Exit, Stop, text};
use plexus_protocol::{AgentId, SourceId, Timestamp};
use serde_json::Value;

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
    let mut path = format!("/admin/api/review/{}?since={}", review.agent, since.0);
    if let Some(source) = &review.source {
        path.push_str(&format!("&source={source}"));
    }
    let reply = desk.open().await?.get(&path).await?;
    if desk.json {
        return desk.show(&reply, String::new);
    }
    page(&reply).print().map(|()| Exit::Ok)
}

/// What a person reads.
fn page(reply: &Value) -> Page {
    let mut page = Page::default();
    let agent = text::line(text_of(reply, "agentId"));
    let since = text::line(text_of(reply, "since"));
    let sources = list_of(reply, "sources");
    let (mut files, mut lost) = (0, 0);
    for source in sources {
        let name = text::line(text_of(source, "source"));
        for file in list_of(source, "files") {
            files += 1;
            one(&mut page, &name, file);
        }
        let gone = list_of(source, "notKept");
        lost += gone.len();
        if !gone.is_empty() {
            let why = match source["why"].as_str() {
                Some(why) => format!(" ({})", text::line(why)),
                None => String::new(),
            };
            page.say(format!("{name}: no before-image kept{why}:"));
        }
        for one in gone {
            let did = one["summary"].as_str().unwrap_or("(an effect)");
            page.say(format!(
                "  {}  {}",
                text::line(text_of(one, "auditId")),
                text::line(did)
            ));
        }
        for one in list_of(source, "unknown") {
            page.say(format!(
                "{name}: the outcome of this is unknown: {}",
                text::line(text_of(one, "auditId"))
            ));
        }
    }
    if reply["cut"] == true {
        page.say("Older changes are left out: look at less with --since or --source.");
    }
    page.say(match (files, lost) {
        (0, 0) => format!("{agent} changed nothing since {since}."),
        (files, 0) => format!("{agent} changed {} since {since}.", counted(files)),
        (files, lost) => format!(
            "{agent} changed {} since {since}, and {lost} more of which nothing is kept.",
            counted(files)
        ),
    });
    page
}

fn counted(files: usize) -> String {
    match files {
        1 => "1 file".to_owned(),
        many => format!("{many} files"),
    }
}

fn one(page: &mut Page, source: &str, file: &Value) {
    page.say(format!(
        "{source}: {}",
        text::line(text_of(file, "summary"))
    ));
    let calls = list_of(file, "calls");
    if calls.is_empty() {
        page.say("  (every change to it was undone)");
        page.say("");
        return;
    }
    match text_of(file, "present") {
        "same" => {}
        "changed" => page.say("  changed since by someone else; this is the agent's part"),
        _ => page.say("  it cannot be looked at now"),
    }
    if file["interleaved"] == true {
        page.say("  someone else changed it in between; this shows their part too");
    }
    match file["diff"].as_str() {
        Some(diff) => page.diff(diff, file["cut"] == true),
        None => page.say("  (no difference is shown: not text, or too large)"),
    }
    if let Some(last) = calls.last().and_then(Value::as_str) {
        let what = match calls.len() {
            1 => "to undo it".to_owned(),
            many => format!("to undo the last of {many} changes"),
        };
        page.say(format!("  {what}: plexusctl undo {}", text::line(last)));
    }
    page.say("");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_person_reads() {
        let reply = json!({
            "agentId": "my-cc", "since": "2026-01-01T00:00:00.000Z", "cut": false,
            "sources": [{
                "source": "notes", "effects": 4,
                "files": [
                    {"relativePath": "a.md", "calls": ["evt_1", "evt_2"], "summary": "replaced a\u{1b}.md, +1 −1",
                     "present": "changed", "diff": "-old\n+new\n"},
                    {"relativePath": "b.png", "calls": ["evt_3"], "summary": "created b.png, 9 bytes",
                     "present": "same", "cut": true},
                    {"relativePath": "c.md", "calls": [], "undone": ["evt_4"],
                     "summary": "took back its changes to c.md", "present": "same"},
                ],
                "notKept": [{"auditId": "evt_0", "summary": "replaced old.md, +1 −0"}],
                "unknown": [],
            }],
        });
        assert_eq!(
            page(&reply).text(),
            "notes: replaced a\\u{1b}.md, +1 −1\n\
             \x20 changed since by someone else; this is the agent's part\n\
             \x20 │ -old\n  │ +new\n\
             \x20 to undo the last of 2 changes: plexusctl undo evt_2\n\n\
             notes: created b.png, 9 bytes\n\
             \x20 (no difference is shown: not text, or too large)\n\
             \x20 to undo it: plexusctl undo evt_3\n\n\
             notes: took back its changes to c.md\n\
             \x20 (every change to it was undone)\n\n\
             notes: no before-image kept:\n\
             \x20 evt_0  replaced old.md, +1 −0\n\
             my-cc changed 3 files since 2026-01-01T00:00:00.000Z, and 1 more of which nothing is kept."
        );
        let none = json!({"agentId": "a", "since": "t", "sources": []});
        assert_eq!(page(&none).text(), "a changed nothing since t.");
    }
}
