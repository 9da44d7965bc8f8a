//! `plexusctl disconnect`: takes out of an agent's files what `connect --here` put there, and ends the agent.

use crate::{
    connect::{EditView, edit_views, not_agreed, shown},
    integration::{self, Finding, Installation, Kind},
    owner::Desk,
    service::Ask,
};
use clap::Args;
use plexus_client::{Exit, Stop, out, text};
use plexus_owner::agents::Revoke;
use plexus_protocol::AgentId;
use serde::Serialize;

/// Taking an agent's setup back.
#[derive(Args)]
pub(crate) struct Disconnect {
    /// Agent
    agent: AgentId,
    /// Remove only the files, and leave the agent connected
    #[arg(long)]
    keep_agent: bool,
    #[command(flatten)]
    ask: Ask,
}

/// What was taken back.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RemovalView<'r> {
    ok: bool,
    agent_id: &'r AgentId,
    files: Vec<EditView>,
    left: Vec<Finding>,
    written: bool,
    revoked: bool,
}

/// Shows what goes, and lets it go.
pub(crate) async fn run(desk: &Desk, it: Disconnect) -> Result<Exit, Stop> {
    let agent = &it.agent;
    let installation = Installation::of(&desk.home, agent).ok_or_else(|| unknown(desk, agent))?;
    let (plan, left) = installation.removal()?;
    if !desk.json {
        out::line(&shown(&plan))?;
    }
    let mut done = RemovalView {
        ok: true,
        agent_id: agent,
        files: edit_views(&plan),
        left,
        written: false,
        revoked: false,
    };
    if !it.ask.dry_run {
        let question = format!("take this back{}?", ending(agent, it.keep_agent));
        let line = format!("plexusctl disconnect {agent}");
        if !it.ask.go_ahead(desk, &question, &line)? {
            return Err(not_agreed());
        }
        plan.unchanged()?;
        installation.take_back(&plan, &desk.home)?;
        done.written = true;
        if !it.keep_agent {
            revoke(desk, agent).await?;
            done.revoked = true;
        }
    }
    desk.show(&done, || {
        let mut said = String::new();
        for finding in &done.left {
            let path = finding.path.display().to_string();
            said.push_str(&format!(
                "{}: {}\n",
                text::line(&path),
                text::line(&finding.what)
            ));
        }
        match done.written {
            false => said.push_str("nothing was written\n"),
            true => said.push_str(&ended(agent, done.revoked, &done.left)),
        }
        if installation.kind == Kind::Mcp {
            said.push_str("take its block out of the configuration of your client by hand\n");
        }
        said
    })
}

fn ending(agent: &AgentId, keep: bool) -> String {
    if keep {
        String::new()
    } else {
        format!(" and end {agent}")
    }
}

/// The end of the agent and of its files, of which `left` was named before.
fn ended(agent: &AgentId, revoked: bool, left: &[Finding]) -> String {
    let files = match left {
        [] => "its files are as before",
        _ => "its files are as before, but for what was left",
    };
    match revoked {
        true => format!("{agent} is revoked, and {files}\n"),
        false => format!("{files}; {agent} stays connected\n"),
    }
}

/// Ends the agent; what it held here goes too.
async fn revoke(desk: &Desk, agent: &AgentId) -> Result<(), Stop> {
    let ending = async {
        let mut owner = desk.open().await?;
        let asked = Revoke {
            agent_id: agent.to_string(),
            reason: Some("disconnected".to_owned()),
            delete: false,
        };
        // An agent that is no more is answered with `ok: false`, and that is what is wanted.
        owner.call(&asked).await
    };
    match ending.await {
        Ok(_) => {}
        Err(stop) => {
            return Err(stop.done(plexus_client::Done::Done).next(format!(
                "what was set up is removed, except what was edited, and the agent is not ended: plexusctl agents revoke {agent}"
            )));
        }
    }
    // The credential is of no use any more; one that is gone already is what is wanted.
    let _ = std::fs::remove_file(desk.home.pat(agent));
    Ok(())
}

fn unknown(desk: &Desk, agent: &AgentId) -> Stop {
    let known: Vec<_> = integration::installed(&desk.home)
        .iter()
        .map(|known| known.agent.to_string())
        .collect();
    let known = match known.as_slice() {
        [] => "no agent was set up here".to_owned(),
        known => format!("set up here: {}", known.join(", ")),
    };
    let why = format!("{agent} was not set up here; {known}");
    Stop::new(Exit::Failed, "not_installed", why)
        .next(format!("to end an agent: plexusctl agents revoke {agent}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_were_left_are_not_as_before() {
        let agent = AgentId::parse("codex").expect("an id");
        let edited = Finding {
            path: ".codex/AGENTS.md".into(),
            what: "left, because it was edited".to_owned(),
        };
        let said = |revoked, left: &[Finding]| ended(&agent, revoked, left);
        assert_eq!(
            said(true, &[]),
            "codex is revoked, and its files are as before\n"
        );
        assert_eq!(
            said(false, std::slice::from_ref(&edited)),
            "its files are as before, but for what was left; codex stays connected\n"
        );
        assert!(said(true, &[edited]).ends_with(", but for what was left\n"));
    }
}
