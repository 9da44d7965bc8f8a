//! What the owner and an agent do, one command each.

use super::*;
use plexus_trust::{Deliver, GrantEntry, Hide, Settings};

pub(crate) fn put(id: &str, set: impl FnOnce(&mut SourceConfig)) -> Command {
    let mut config = config(id);
    set(&mut config);
    Command::PutSource {
        id: source(id),
        config,
        pins: Vec::new(),
    }
}
pub(crate) fn remove(id: &str) -> Command {
    Command::RemoveSource { id: source(id) }
}
/// The notes as they are seen after an edit.
pub(crate) fn changed(edit: impl FnOnce(&mut SourceSeen)) -> Command {
    let mut now = seen("notes");
    edit(&mut now);
    Command::SourceSeen(now)
}
pub(crate) fn target(edit: fn(&mut Target)) -> Command {
    changed(|now| edit(now.target.as_mut().unwrap()))
}
pub(crate) fn resume(id: &str, go_on: bool) -> Command {
    Command::ResumeSource {
        id: source(id),
        revision: None,
        go_on,
    }
}
pub(crate) fn secret_changed(name: &str) -> Command {
    Command::SecretChanged { name: name.into() }
}
pub(crate) fn expose(id: &str, enabled: bool) -> Command {
    Command::Expose {
        capability: cap(id),
        enabled,
    }
}
pub(crate) fn hide(folder: &str, remove: bool) -> Command {
    Command::Hide {
        id: source("notes"),
        rules: hidden(folder),
        remove,
    }
}
pub(crate) fn hidden(folder: &str) -> Hide {
    Hide {
        folders: [folder.to_owned()].into(),
        ..Hide::default()
    }
}
pub(crate) fn set(set: impl FnOnce(&mut Settings)) -> Command {
    let mut settings = Settings::default();
    set(&mut settings);
    Command::Configure(settings)
}

pub(crate) fn new_code(agent: &AgentId) -> Command {
    Command::NewCode {
        agent: agent.clone(),
        code: secret("another code"),
        code_ms: 1000,
    }
}
pub(crate) fn deliver(agent: &AgentId, reissue: bool) -> Command {
    Command::Deliver(Deliver {
        agent: agent.clone(),
        form: None,
        reissue,
        code: secret("another code"),
        code_ms: 1000,
    })
}
pub(crate) fn revoke(agent: &AgentId) -> Command {
    Command::RevokeAgent {
        agent: agent.clone(),
        reason: None,
        delete: false,
    }
}
pub(crate) fn grant(
    who: &Who,
    id: &str,
    window: TrustWindow,
    constraint: Option<Constraint>,
) -> Command {
    Command::Grant {
        agent: who.agent.clone(),
        entries: vec![GrantEntry {
            capability: cap(id),
            verbs: None,
            window: Some(window),
            constraint,
        }],
    }
}
pub(crate) fn revoke_grant(who: &Who, id: &str) -> Command {
    Command::RevokeGrant {
        agent: who.agent.clone(),
        capability: cap(id),
        reason: None,
    }
}

pub(crate) fn deny(item: &PendingId) -> Command {
    Command::Deny {
        item: item.clone(),
        reason: None,
    }
}
pub(crate) fn withdraw(agent: &AgentId, item: &PendingId) -> Command {
    Command::Withdraw {
        agent: agent.clone(),
        item: item.clone(),
    }
}
pub(crate) fn end_turns(item: &PendingId, by_source: bool) -> Command {
    Command::EndTurns {
        item: item.clone(),
        by_source,
    }
}
pub(crate) fn settle(who: &Who, intent: &AuditId, happened: bool) -> Command {
    Command::SettleUnknown {
        agent: who.agent.clone(),
        intent: intent.clone(),
        happened,
        in_part: false,
    }
}
pub(crate) fn settle_in_part(who: &Who, intent: &AuditId) -> Command {
    Command::SettleUnknown {
        agent: who.agent.clone(),
        intent: intent.clone(),
        happened: true,
        in_part: true,
    }
}
