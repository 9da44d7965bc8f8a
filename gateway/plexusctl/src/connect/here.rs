//! `plexusctl connect --here`: code, credential and the agent's own files in one step.
//!
//! Nothing is asked of the gateway and nothing is written before everything was shown and agreed to. The credential is
//! fetched by the `plexus` command beside this one, so that this one never holds it.

use super::Connect;
use crate::{
    integration::{self, Edit, Installation, Kind, Plan, Surroundings},
    owner::{Desk, list_of, text_of},
};
use plexus_client::{Exit, Stop, out, span, text};
use plexus_protocol::AgentId;
use serde_json::{Value, json};
use std::process::{Command, Stdio};

/// Connects, enrolls and sets up.
pub(super) async fn run(desk: &Desk, connect: &Connect) -> Result<Exit, Stop> {
    let typed = connect.kind.as_deref().unwrap_or_default();
    let kind = Kind::of(typed).ok_or_else(|| {
        Stop::usage(format!("no agent of type {typed:?} can be set up here"))
            .next("--type claude-code, codex or mcp; for others leave --here out")
    })?;
    if kind == Kind::Mcp && connect.project.is_some() {
        let why = "--project is for claude-code and codex: an MCP client has its configuration where it looks for it";
        return Err(Stop::usage(why));
    }
    if connect.commands && kind != Kind::Codex {
        return Err(Stop::usage("--commands is for codex"));
    }
    let agent = connect.named()?;
    let mut around = Surroundings::look(&desk.home, kind, connect.project.as_deref())?;
    around.mcp = connect.mcp;
    around.commands = connect.commands;
    let earlier = Installation::of(&desk.home, &agent);
    if let Some(other) = earlier.as_ref().filter(|earlier| earlier.kind != kind) {
        let why = format!("{agent} is set up here as {}", other.kind.name());
        return Err(Stop::new(Exit::Failed, "other_type", why).next(format!(
            "plexusctl disconnect {agent}; or name another agent"
        )));
    }
    let wanted = integration::wanted(kind, &agent, &around)?;
    let old = earlier.as_ref().map_or(&[][..], |earlier| &earlier.changes);
    let (plan, changes, refused) = Plan::renew(old, &wanted)?;
    let mut owner = desk.open().await?;
    let known = enrolled(&mut owner, &agent).await? && desk.home.pat(&agent).exists();

    let by_hand = wanted.by_hand;
    let mut notes = wanted.notes;
    if let Some(earlier) = &earlier {
        notes.extend(earlier.check().iter().map(said));
    }
    notes.extend(refused.iter().map(said));
    if known {
        notes.push(format!(
            "{agent} was connected before: its credential and grants stay; to allow more: plexusctl grants allow {agent} ID"
        ));
    }
    if !desk.json {
        out::line(&shown(&plan))?;
    }
    let mut outcome = json!({"written": false});
    if let Some(block) = by_hand {
        outcome["mcpServers"] = block;
    }
    if connect.ask.dry_run {
        return finish(desk, &agent, kind, &plan, &notes, &outcome);
    }
    if !known || plan.edits().next().is_some() {
        let question = format!("write this and let {agent} in?");
        let line = format!("plexusctl connect {agent} --type {} --here", kind.name());
        if !connect.ask.go_ahead(desk, &question, &line)? {
            return Err(not_agreed());
        }
    }
    // Before anything is done: an answer may have taken its time.
    plan.unchanged()?;

    outcome["written"] = true.into();
    if !known {
        let reply = owner
            .post("/admin/api/agents/connect", &connect.body()?)
            .await?;
        enroll(&around, text_of(&reply, "code"))?;
        for member in ["granted", "skipped", "refused", "reach"] {
            outcome[member] = reply[member].clone();
        }
    }
    let mut folders = earlier.map(|earlier| earlier.folders).unwrap_or_default();
    folders.extend(plan.folders());
    let installation = Installation {
        agent: agent.clone(),
        kind,
        changes,
        folders,
        commands: connect.commands,
    };
    installation.save(&desk.home)?;
    plan.write()?;
    finish(desk, &agent, kind, &plan, &notes, &outcome)
}

/// The person's answer was no.
pub(crate) fn not_agreed() -> Stop {
    Stop::new(Exit::Refused, "not_confirmed", "you did not confirm")
}

fn said(finding: &integration::Finding) -> String {
    format!("{}: {}", finding.path.display(), finding.what)
}

/// Whether the gateway knows the agent and has given it a credential.
async fn enrolled(owner: &mut crate::owner::Owner, agent: &AgentId) -> Result<bool, Stop> {
    let known = owner.get("/admin/api/agents/enrollments").await?;
    let row = list_of(&known, "agents")
        .iter()
        .find(|row| row["agentId"] == agent.as_str());
    Ok(row.is_some_and(|row| row["status"] == "active"))
}

/// Has the agent's command redeem the code; the code travels in its environment, where nobody else reads it.
fn enroll(around: &Surroundings, code: &str) -> Result<(), Stop> {
    let program = around.programs.join("plexus");
    let fail = |why: String| {
        Stop::new(Exit::Failed, "not_enrolled", why)
            .done(plexus_client::Done::Unknown)
            .next("run the same command again: a new code replaces the one that was made")
    };
    let said = Command::new(&program)
        .arg("enroll")
        .env_clear()
        .env("PLEXUS_HOME", &around.state)
        .env("PLEXUS_ENROLL_CODE", code)
        .stdin(Stdio::null())
        .output()
        .map_err(|e| fail(format!("{}: {e}", program.display())))?;
    if said.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&said.stderr).trim().to_owned();
    Err(fail(format!("`plexus enroll` stopped: {why}")))
}

/// What would be written, file by file.
pub(crate) fn shown(plan: &Plan) -> String {
    let mut text = String::new();
    for edit in plan.edits() {
        let path = edit.path.display().to_string();
        text.push_str(&format!("{} {}\n", edit.word(), text::line(&path)));
        text.push_str(&text::block(&edit.diff()));
    }
    if text.is_empty() {
        text.push_str("every file is as it should be\n");
    }
    text
}

/// The same as JSON.
pub(crate) fn edits_json(plan: &Plan) -> Value {
    let row = |edit: &Edit| json!({"path": edit.path, "is": edit.word(), "diff": edit.diff()});
    plan.edits().map(row).collect()
}

fn finish(
    desk: &Desk,
    agent: &AgentId,
    kind: Kind,
    plan: &Plan,
    notes: &[String],
    outcome: &Value,
) -> Result<Exit, Stop> {
    let mut reply = json!({
        "ok": true,
        "agentId": agent,
        "agentType": kind.name(),
        "files": edits_json(plan),
        "notes": notes,
    });
    for (member, value) in outcome.as_object().into_iter().flatten() {
        reply[member] = value.clone();
    }
    desk.show(&reply, || {
        let mut said = String::new();
        for note in notes {
            said.push_str(&format!("note: {}\n", text::line(note)));
        }
        if reply["written"] != true {
            return said + "nothing was written\n";
        }
        said.push_str(&format!("\n{agent} is set up here.\n"));
        if reply["mcpServers"].is_object() {
            let block = json!({"mcpServers": reply["mcpServers"]});
            said.push_str(&format!("Put this into the configuration of your client:\n\n{block:#}\n"));
        }
        if reply["granted"].is_array() {
            said.push_str(&format!("\n{}\n", super::at_once(&reply, agent.as_str(), span::now())));
            let asks = super::asks(&reply);
            if !asks.is_empty() {
                let asks = crate::table::table(["not granted", "why"], asks, "");
                said.push_str(&format!("\n{asks}\n"));
            }
        }
        said + &format!(
            "\nTo answer what it asks: plexusctl approvals watch\nTo take all of it back: plexusctl disconnect {agent}\n"
        )
    })
}
