//! `plexusctl unknown`: effects of which nobody knows whether they happened. The owner looks and says so; until then the
//! same call of that agent is not run again (docs/design.md#the-life-of-a-call).

use crate::{
    changes::applied,
    owner::{Desk, Owner, check_id, whole_id},
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, shell, span, text};
use plexus_owner::{
    activity::CallBasis,
    changes::{self, ChangeSetRow},
    sources::{self, SourceRow},
    unsettled::{self, Settle, Unsettled, UnsettledRow},
};
use plexus_protocol::{AuditId, Timestamp, words};

/// The command that shows the ids.
const LIST: &str = "plexusctl unknown";

/// Calls without a known end.
#[derive(Args)]
pub(crate) struct Unknown {
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Subcommand)]
enum Act {
    /// Show each: what is known, where to look, how to settle it
    List {
        /// Only this one; enough characters of its id to name it
        event: Option<String>,
    },
    /// Record what you found; the same call is then no longer blocked
    Settle {
        /// Event of the call, as the list shows it
        event: AuditId,
        #[command(flatten)]
        which: Resolution,
    },
}

/// One of the three.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Resolution {
    /// The call happened
    #[arg(long)]
    happened: bool,
    /// A part of the call happened: some of its files, or a part of what its program does
    #[arg(long)]
    in_part: bool,
    /// The call did not happen
    #[arg(long)]
    did_not: bool,
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, unknown: Unknown) -> Result<Exit, Stop> {
    match unknown.act.unwrap_or(Act::List { event: None }) {
        Act::List { event } => {
            let mut owner = desk.open().await?;
            let calls = find(&mut owner, event.as_deref()).await?;
            let sources = owner.call(&sources::List {}).await?.sources;
            let made = change_sets(&mut owner, &calls.unsettled).await;
            desk.show(&calls, || {
                as_text(&calls.unsettled, &sources, &made, span::now())
            })
        }
        Act::Settle { event, which } => {
            desk.ask_for_person::<Settle>()?;
            let settle = Settle {
                id: event.to_string(),
                happened: which.happened || which.in_part,
                in_part: which.in_part,
            };
            let reply = desk.open().await?.call(&settle).await?;
            desk.show(&reply, || {
                let said = match (reply.happened, reply.in_part) {
                    (true, false) => {
                        "it happened; the agent is notified if you had approved this call"
                    }
                    (true, true) => {
                        "a part of it happened; it counts as a change, and the agent may ask for it again"
                    }
                    (false, _) => "it did not happen; the agent may ask for it again",
                };
                let undo = reply.undo.as_ref().map_or_else(String::new, |id| {
                    format!("\nto take it back: plexusctl undo {}", text::line(id))
                });
                format!("recorded: {said}{undo}")
            })
        }
    }
}

async fn find(owner: &mut Owner, event: Option<&str>) -> Result<Unsettled, Stop> {
    let mut reply = owner.call(&unsettled::List {}).await?;
    let Some(event) = event else {
        return Ok(reply);
    };
    check_id(event, "call", LIST)?;
    let ids = reply.unsettled.iter().map(|row| row.call.audit_id.as_str());
    let event = whole_id(event, ids, "call", LIST)?;
    reply
        .unsettled
        .retain(|row| row.call.audit_id.as_str() == event);
    if reply.unsettled.is_empty() {
        let why = format!("{event} is not, or no longer, unknown");
        let next = match AuditId::parse(&event) {
            Ok(event) => format!("plexusctl audit show {event}"),
            Err(_) => LIST.to_owned(),
        };
        return Err(Stop::new(Exit::Failed, "not_found", why).next(next));
    }
    Ok(reply)
}

/// The change sets that the calls may be about; none where their sources do not say now.
async fn change_sets(owner: &mut Owner, calls: &[UnsettledRow]) -> Vec<ChangeSetRow> {
    if calls.is_empty() {
        return Vec::new();
    }
    let listed = owner.call(&changes::List::default()).await;
    listed.map_or_else(|_| Vec::new(), |listed| listed.sets)
}

fn as_text(
    calls: &[UnsettledRow],
    sources: &[SourceRow],
    made: &[ChangeSetRow],
    now: Timestamp,
) -> String {
    if calls.is_empty() {
        return "no call has an unknown outcome".to_owned();
    }
    let told: Vec<_> = calls
        .iter()
        .map(|call| one(call, sources, made, now))
        .collect();
    told.join("\n\n")
}

fn one(row: &UnsettledRow, sources: &[SourceRow], made: &[ChangeSetRow], now: Timestamp) -> String {
    let call = &row.call;
    let (id, agent, capability) = (&call.audit_id, &call.agent_id, &call.capability_id);
    let ago = span::ago(row.begun_at.unwrap_or(call.at), now);
    let allowed = match &row.basis {
        Some(CallBasis::Item(_)) => ", approved by you",
        Some(CallBasis::Grant(_)) => ", by standing grant",
        Some(CallBasis::Bounded(_)) | None => "",
    };
    let mut lines = vec![
        id.to_string(),
        format!("  {capability} by {agent}, {ago}{allowed}"),
    ];
    let purpose = row.agent_purpose.iter();
    let purpose = purpose.map(|purpose| words::cut(&text::words(purpose), 200));
    lines.extend(purpose.map(|purpose| format!("  purpose: “{purpose}”")));
    let root = root_of(capability.as_str(), sources);
    for thing in row.touched.iter().flatten() {
        let name = &thing.id;
        let place = root.map_or_else(|| name.clone(), |root| format!("{root}/{name}"));
        lines.push(format!("  look at {}", text::line(&place)));
        match (&thing.digest, root) {
            (None, _) => {
                lines.push("    before it there was nothing that the gateway knew of".to_owned());
            }
            (Some(digest), root) => {
                lines.push(format!("    before it, its SHA-256 was {digest}"));
                if root.is_some() {
                    lines.push(format!(
                        "    now: sha256sum {}",
                        text::line(&shell::quote(&place))
                    ));
                    lines.push("    still the same: it did not happen".to_owned());
                }
            }
        }
    }
    lines.extend(made.iter().flat_map(|set| changed_by(id, set)));
    lines.push(format!(
        "  it happened:        plexusctl unknown settle {id} --happened"
    ));
    lines.push(format!(
        "  a part of it did:   plexusctl unknown settle {id} --in-part"
    ));
    lines.push(format!(
        "  it did not happen:  plexusctl unknown settle {id} --did-not"
    ));
    lines.push(format!(
        "  until then {agent} cannot run {capability} with this input again (SHA-256 {})",
        text::short(&call.input_digest.to_string(), 13)
    ));
    lines.join("\n")
}

/// The lines of a change set that the call made or applied files of: where, of which prompt, and the way back.
fn changed_by(call: &AuditId, set: &ChangeSetRow) -> Vec<String> {
    let is_in_folder = set.calls.contains(call);
    if !is_in_folder && set.about.call.as_ref() != Some(call) {
        return Vec::new();
    }
    let mut lines = Vec::new();
    if let Some(folder) = &set.of.folder {
        lines.push(format!("  folder: {}", text::line(folder)));
    }
    if let Some(prompt) = set.about.prompt.lines().next() {
        lines.push(format!("  prompt: “{}”", text::short(prompt, 200)));
    }
    lines.push(format!("  applied: {}", applied(set)));
    lines.push(format!("  look: plexusctl changes {}", text::line(&set.id)));
    if is_in_folder {
        lines.push(format!("  take it back: plexusctl undo {call}"));
    }
    lines
}

/// The folder of the source of a capability, where it has one.
fn root_of<'s>(capability: &str, sources: &'s [SourceRow]) -> Option<&'s str> {
    let (source, _) = capability.split_once('.')?;
    let source = sources
        .iter()
        .find(|known| known.source.id.as_str() == source)?;
    let root = source.source.texts().find(|value| value.starts_with('/'));
    root.map(|root| root.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_known_where_to_look_and_what_to_say() {
        let now: Timestamp = serde_json::from_str("\"2026-01-01T02:00:00.000Z\"").unwrap();
        let sources = json!([{"id": "workspace", "kind": "workspace-dir", "label": "", "enabled": true,
            "transport": "ipc", "route": {"path": "/home/me/my notes"}, "live": true, "liveCapabilityCount": 1,
            "health": {"status": "ok"}, "provenance": "managed", "suspendedGrants": 0}]);
        let sources: Vec<SourceRow> = serde_json::from_value(sources).unwrap();
        let (event, digest) = ("evt_00000000-004c-8601-9a97-6ab6eec8d02f", "ab".repeat(32));
        let call = json!({"auditId": event, "agentId": "cc", "capabilityId": "workspace.write",
            "inputDigest": digest, "at": "2026-01-01T01:00:00.000Z", "begunAt": "2026-01-01T00:00:00.000Z",
            "basis": {"item": "pend_1"}, "agentPurpose": "plan\u{202e} the day",
            "pendingId": "pend_00000000-0000-4000-8000-000000000001",
            "touched": [{"kind": "file", "id": "to\u{202e}day.md", "access": "write", "digest": digest}]});
        let call = serde_json::from_value(call).unwrap();
        let told = as_text(&[call], &sources, &[], now);
        let told = told.replace(event, "evt_1").replace(&digest, "aa");
        assert_eq!(
            told,
            "evt_1\n  \
             workspace.write by cc, 2 h ago, approved by you\n  \
             purpose: “plan\\u{202e} the day”\n  \
             look at /home/me/my notes/to\\u{202e}day.md\n    \
             before it, its SHA-256 was aa\n    \
             now: sha256sum '/home/me/my notes/to\\u{202e}day.md'\n    \
             still the same: it did not happen\n  \
             it happened:        plexusctl unknown settle evt_1 --happened\n  \
             a part of it did:   plexusctl unknown settle evt_1 --in-part\n  \
             it did not happen:  plexusctl unknown settle evt_1 --did-not\n  \
             until then cc cannot run workspace.write with this input again (SHA-256 abababababab…)"
        );
        assert!(as_text(&[], &sources, &[], now).contains("no call has an unknown"));
    }

    #[test]
    fn unknown_run_names_its_change_set_and_the_undo() {
        let call: AuditId = "evt_00000000-004c-8601-9a97-6ab6eec8d02f".parse().unwrap();
        let set = |calls: &[&AuditId]| -> ChangeSetRow {
            let set = json!({"id": "cs_1", "call": call, "prompt": "Say more.\nIn French.", "added": 2,
                "edited": 1, "removed": 0, "modes": 0, "first": ["a"], "omitted": 0, "applied": calls.len(),
                "calls": calls, "source": "codex", "folder": "/home/me/site"});
            serde_json::from_value(set).unwrap()
        };
        let begun = [
            "  folder: /home/me/site",
            "  prompt: “Say more.”",
            "  applied: 1 of 3",
            "  look: plexusctl changes cs_1",
            &format!("  take it back: plexusctl undo {call}"),
        ];
        assert_eq!(changed_by(&call, &set(&[&call])), begun);
        let untouched = changed_by(&call, &set(&[]));
        assert_eq!(untouched.len(), 4, "{untouched:?}");
        let other = "evt_00000000-004c-8601-9a97-6ab6eec8d030".parse().unwrap();
        assert!(changed_by(&other, &set(&[&call])).is_empty());
    }
}
