//! `plexusctl connect --here`: code, credential and the agent's own files in one step.
//!
//! Nothing is asked of the gateway and nothing is written before everything was shown and agreed to. The credential is
//! fetched by the `plexus` command beside this one, so that this one never holds it.

use super::{Connect, EarlierAccess, status_of};
use crate::{
    integration::{self, Edit, Installation, Kind, Plan, Surroundings},
    owner::{Desk, Owner, did_you_mean},
};
use plexus_client::{Exit, Stop, out, span, text};
use plexus_owner::{
    agents::{Connected, EnrollingAgent, RefusedStanding},
    exposure::List,
    sources,
};
use plexus_protocol::{
    AgentId, CapabilityId, EnrollmentStatus, ErrorCode, Reach, body::StandingGrant,
};
use serde::Serialize;
use serde_json::Value;
use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

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
        let why = format!(
            "{agent} is set up here as {}: take that back first, or name another agent",
            other.kind.name()
        );
        return Err(Stop::new(Exit::Failed, "other_type", why)
            .next(format!("plexusctl disconnect {agent}")));
    }
    let wanted = integration::wanted(kind, &agent, &around)?;
    let old = earlier.as_ref().map_or(&[][..], |earlier| &earlier.changes);
    let (plan, changes, refused) = Plan::renew(old, &wanted)?;
    let mut owner = desk.open().await?;
    let status = status_of(&mut owner, &agent).await?;
    // The gateway has given it a credential, and it is here.
    let known = status == Some(EnrollmentStatus::Active) && desk.home.pat(&agent).exists();
    if !known {
        // Before a file is shown or anything is asked.
        refuse_unknown(&mut owner, &[&*connect.allow, &connect.standing].concat()).await?;
    }
    // One that has its credential elsewhere gets another one here.
    let ended = match known {
        true => None,
        false => EarlierAccess::of(&mut owner, &agent, status).await?,
    };

    let mut notes = wanted.notes;
    match ended.map(|ended| ended.before()) {
        Some(before) if desk.json => notes.push(before),
        // Before the question, which the notes come after.
        Some(before) => out::say(&before),
        None => {}
    }
    if let Some(earlier) = &earlier {
        notes.extend(earlier.check().iter().map(said));
    }
    notes.extend(refused.iter().map(said));
    if known {
        notes.push(format!(
            "{agent} was connected before: its credential and grants stay; to allow more: plexusctl grants allow {agent} ID --window 1d"
        ));
    }
    if !desk.json {
        out::line(&shown(&plan))?;
    }
    let mut setup = SetupView {
        ok: true,
        agent_id: agent.clone(),
        agent_type: kind.name(),
        files: edit_views(&plan),
        notes,
        written: false,
        mcp_servers: wanted.by_hand,
        may: None,
    };
    let mut installation = Installation {
        agent: agent.clone(),
        kind,
        changes,
        folders: earlier.map(|earlier| earlier.folders).unwrap_or_default(),
        commands: connect.commands,
        mcp: connect.mcp,
        project: around.project.clone(),
    };
    if connect.ask.dry_run {
        return finish(desk, &setup);
    }
    if !known || plan.edits().next().is_some() {
        let question = format!("write this and let {agent} in?");
        if !connect
            .ask
            .go_ahead(desk, &question, &installation.command())?
        {
            return Err(not_agreed());
        }
    }
    // Before anything is done: an answer may have taken its time.
    plan.unchanged()?;

    setup.written = true;
    if !known {
        let (reply, asks) = super::connected(desk, &mut owner, connect, &connect.asked()?).await?;
        let Connected::Enrolling(connected) = reply else {
            let why =
                format!("the source of {agent} makes its calls: nothing of it is set up here");
            return Err(
                Stop::new(Exit::Failed, "nested_agent", why).done(plexus_client::Done::Done)
            );
        };
        enroll(&around, &connected.code)?;
        setup.may = Some(FirstGrants::of(connected, asks));
    }
    installation.folders.extend(plan.folders());
    installation.save(&desk.home)?;
    plan.write()?;
    finish(desk, &setup)
}

/// What was done.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SetupView {
    ok: bool,
    agent_id: AgentId,
    agent_type: &'static str,
    files: Vec<EditView>,
    notes: Vec<String>,
    written: bool,
    /// The block that a person puts into the configuration of their client.
    #[serde(skip_serializing_if = "Option::is_none")]
    mcp_servers: Option<Value>,
    #[serde(flatten)]
    may: Option<FirstGrants>,
}

/// What an agent that was connected may do from the start.
#[derive(Serialize)]
struct FirstGrants {
    granted: Vec<StandingGrant>,
    skipped: Vec<CapabilityId>,
    refused: Vec<RefusedStanding>,
    reach: Option<Reach>,
    /// The capabilities that are not granted, each with why.
    #[serde(skip)]
    asks: Vec<[String; 2]>,
}

impl FirstGrants {
    fn of(agent: EnrollingAgent, asks: Vec<[String; 2]>) -> Self {
        Self {
            granted: agent.granted,
            skipped: agent.skipped,
            refused: agent.refused,
            reach: agent.reach,
            asks,
        }
    }
}

/// The person's answer was no.
pub(crate) fn not_agreed() -> Stop {
    Stop::new(Exit::Refused, "not_confirmed", "you did not confirm")
}

fn said(finding: &integration::Finding) -> String {
    format!("{}: {}", finding.path.display(), finding.what)
}

/// Refuses ids that no capability has, as the gateway would once all was agreed to.
async fn refuse_unknown(owner: &mut Owner, typed: &[CapabilityId]) -> Result<(), Stop> {
    if typed.is_empty() {
        return Ok(());
    }
    let listed = owner.call(&List {}).await?.capabilities;
    let sources = owner.call(&sources::List {}).await?.sources;
    let is_unknown = |id: &&CapabilityId| {
        let source = id.parts().0;
        let is_there = sources.iter().any(|row| row.source.id.as_str() == source);
        let mut own = listed.iter().filter(|one| one.id.parts().0 == source);
        // Of a source that lists nothing now the gateway may know more.
        let offers_others = own.clone().next().is_some();
        own.all(|one| one.id != **id) && (offers_others || !is_there)
    };
    let unknown: Vec<_> = typed
        .iter()
        .filter(is_unknown)
        .map(CapabilityId::as_str)
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let meant = did_you_mean(typed, &listed);
    let why = format!("unknown capability id(s): {}{meant}", unknown.join(", "));
    let code = ErrorCode::UnknownCapability.as_str();
    Err(Stop::new(Exit::Failed, code, why).next("plexusctl status"))
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

/// One of them.
#[derive(Serialize)]
pub(crate) struct EditView {
    path: PathBuf,
    is: &'static str,
    diff: String,
}

/// The same, one by one.
pub(crate) fn edit_views(plan: &Plan) -> Vec<EditView> {
    let view = |edit: &Edit| EditView {
        path: edit.path.clone(),
        is: edit.word(),
        diff: edit.diff(),
    };
    plan.edits().map(view).collect()
}

fn finish(desk: &Desk, setup: &SetupView) -> Result<Exit, Stop> {
    desk.show(setup, || {
        let agent = &setup.agent_id;
        let mut said = String::new();
        for note in &setup.notes {
            said.push_str(&format!("note: {}\n", text::line(note)));
        }
        if !setup.written {
            return said + "nothing was written\n";
        }
        said.push_str(&format!("\n{agent} is set up here.\n"));
        if let Some(servers) = &setup.mcp_servers {
            let block = Value::from_iter([("mcpServers", servers.clone())]);
            said.push_str(&format!("Put this into the configuration of your client:\n\n{block:#}\n"));
        }
        if let Some(may) = &setup.may {
            said.push_str(&format!("\n{}\n", super::at_once(&may.granted, agent, span::now())));
            said.push_str(&super::not_granted(&may.asks));
        }
        said + &format!(
            "\nTo answer what it asks: plexusctl approvals watch\nTo take all of it back: plexusctl disconnect {agent}\n"
        )
    })
}
