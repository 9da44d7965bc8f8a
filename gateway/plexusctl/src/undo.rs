//! `plexusctl undo`: takes one effect back, after showing what that changes.

use crate::{
    diff::Page,
    owner::{Desk, text_of},
    prompt::confirm,
};
use clap::Args;
use plexus_client::{Exit, Stop, text};
use plexus_protocol::AuditId;
use serde_json::{Value, json};

/// Which effect.
#[derive(Args)]
pub(crate) struct Undo {
    /// Audit id of the effect, or of its outcome (plexusctl audit tail, plexusctl review)
    audit_id: AuditId,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

/// Plans, shows, asks, does it.
pub(crate) async fn run(desk: &Desk, undo: Undo) -> Result<Exit, Stop> {
    desk.widen("taking a change back")?;
    let path = format!("/admin/api/undo/{}", undo.audit_id);
    let mut owner = desk.open().await?;
    let plan = owner.get(&path).await?;
    if !desk.json {
        page(&plan).print()?;
    }
    if !undo.yes {
        confirm(desk, "do this", "--yes")?;
    }
    let token = json!({"stateToken": plan["stateToken"]});
    let done = owner.post(&path, &token).await?;
    desk.show(&done, || {
        format!(
            "{}\nto take that back: plexusctl undo {}",
            text::line(text_of(&done, "summary")),
            text::line(text_of(&done, "auditId"))
        )
    })
}

fn page(plan: &Value) -> Page {
    let mut page = Page::default();
    let who = match text_of(plan, "agentId") {
        "" => "you".to_owned(),
        agent => text::line(agent),
    };
    let did = text::line(text_of(plan, "did"));
    page.say(format!(
        "{who}: {did} ({}, {})",
        text::line(text_of(plan, "capabilityId")),
        text::line(text_of(plan, "at")),
    ));
    page.say(format!(
        "afterwards: {}",
        text::line(text_of(plan, "summary"))
    ));
    page.plan(plan);
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_reads() {
        let mut plan = json!({
            "agentId": "my-cc", "capabilityId": "workspace.write", "at": "2026-01-01T00:00:00Z",
            "did": "replaced a\u{1b}.md, +1 −1", "summary": "restored a.md, +1 −1",
            "warnings": ["This amounts to running code"],
            "preview": {"diff": "--- a.md\n+++ a.md\n-new\n+old\n", "form": "diff", "cut": false},
        });
        assert_eq!(
            page(&plan).text(),
            "my-cc: replaced a\\u{1b}.md, +1 −1 (workspace.write, 2026-01-01T00:00:00Z)\n\
             afterwards: restored a.md, +1 −1\n\
             warning: This amounts to running code\n  │ --- a.md\n  │ +++ a.md\n  │ -new\n  │ +old"
        );
        // A note of somebody's is no difference, whatever it looks like.
        plan["preview"]["form"] = json!("text");
        assert!(page(&plan).text().ends_with("\n  ┊ -new\n  ┊ +old"));
        // An entry of an app has no lines to compare.
        let facts = json!([{"name": "title", "value": "Milk"}, {"name": "path", "value": "a/b"}]);
        plan["preview"] = json!({"facts": facts});
        assert!(page(&plan).text().ends_with("code\n  title: Milk"));
    }
}
