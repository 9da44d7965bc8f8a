//! `plexusctl unknown`: effects of which nobody knows whether they happened. The owner looks and says so; until then the
//! same call of that agent is not run again (docs/design.md#the-life-of-a-call).

use crate::owner::{Desk, Owner, list_of, text_of};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, shell, span, text};
use plexus_owner::sources::{self, SourceRow};
use plexus_protocol::{AuditId, Timestamp};
use serde_json::{Value, json};

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
        /// Only this one
        event: Option<AuditId>,
    },
    /// Record what you found; the same call is then no longer blocked
    Settle {
        /// Event of the call, as the list shows it
        event: AuditId,
        #[command(flatten)]
        which: Resolution,
    },
}

/// One of the two.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Resolution {
    /// The call happened
    #[arg(long)]
    happened: bool,
    /// The call did not happen
    #[arg(long)]
    did_not: bool,
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, unknown: Unknown) -> Result<Exit, Stop> {
    match unknown.act.unwrap_or(Act::List { event: None }) {
        Act::List { event } => {
            let mut owner = desk.open().await?;
            let calls = find(&mut owner, event.as_ref()).await?;
            let sources = owner.call(&sources::List {}).await?.sources;
            let shown = json!({ "unsettled": calls });
            desk.show(&shown, || as_text(&calls, &sources, span::now()))
        }
        Act::Settle { event, which } => {
            desk.widen("settling a call")?;
            let path = format!("/admin/api/unsettled/{event}");
            let body = json!({"happened": which.happened});
            let reply = desk.open().await?.post(&path, &body).await?;
            desk.show(&reply, || {
                let said = match which.happened {
                    true => "it happened; the agent is notified if you had approved this call",
                    false => "it did not happen; the agent may ask for it again",
                };
                format!("recorded: {said}")
            })
        }
    }
}

async fn find(owner: &mut Owner, event: Option<&AuditId>) -> Result<Vec<Value>, Stop> {
    let mut reply = owner.get("/admin/api/unsettled").await?;
    let Value::Array(mut calls) = reply["unsettled"].take() else {
        return Ok(Vec::new());
    };
    let Some(event) = event else {
        return Ok(calls);
    };
    calls.retain(|call| call["auditId"] == event.as_str());
    if calls.is_empty() {
        let why = format!("{event} is not, or no longer, unknown");
        return Err(
            Stop::new(Exit::Failed, "not_found", why).next(format!("plexusctl audit show {event}"))
        );
    }
    Ok(calls)
}

fn as_text(calls: &[Value], sources: &[SourceRow], now: Timestamp) -> String {
    if calls.is_empty() {
        return "no call has an unknown outcome".to_owned();
    }
    let told: Vec<_> = calls.iter().map(|call| one(call, sources, now)).collect();
    told.join("\n\n")
}

fn one(call: &Value, sources: &[SourceRow], now: Timestamp) -> String {
    let [id, agent, capability, input] =
        ["auditId", "agentId", "capabilityId", "inputDigest"].map(|m| text::line(text_of(call, m)));
    let begun = if call["begunAt"].is_string() {
        &call["begunAt"]
    } else {
        &call["at"]
    };
    let ago = serde_json::from_value(begun.clone())
        .map_or_else(|_| "?".to_owned(), |at| span::ago(at, now));
    let allowed = match &call["basis"] {
        basis if basis["item"].is_string() => ", approved by you once",
        basis if !basis["grant"].is_null() => ", by standing grant",
        _ => "",
    };
    let mut lines = vec![
        format!("{id}"),
        format!("  {capability} by {agent}, {ago}{allowed}"),
    ];
    let root = root_of(text_of(call, "capabilityId"), sources);
    for thing in list_of(call, "touched") {
        let name = text_of(thing, "id");
        let place = root.map_or_else(|| name.to_owned(), |root| format!("{root}/{name}"));
        lines.push(format!("  look at {}", text::line(&place)));
        match (text_of(thing, "digest"), root) {
            ("", _) => {
                lines.push("    before it there was nothing that the gateway knew of".to_owned());
            }
            (digest, root) => {
                lines.push(format!(
                    "    before it, its SHA-256 was {}",
                    text::line(digest)
                ));
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
    lines.push(format!(
        "  it happened:        plexusctl unknown settle {id} --happened"
    ));
    lines.push(format!(
        "  it did not happen:  plexusctl unknown settle {id} --did-not"
    ));
    lines.push(format!(
        "  until then {agent} cannot run {capability} with this input again (SHA-256 {})",
        text::short(&input, 13)
    ));
    lines.join("\n")
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

    #[test]
    fn what_is_known_where_to_look_and_what_to_say() {
        let now: Timestamp = serde_json::from_str("\"2026-01-01T02:00:00.000Z\"").unwrap();
        let sources = json!([{"id": "workspace", "kind": "workspace-dir", "label": "", "enabled": true,
            "transport": "ipc", "route": {"path": "/home/me/my notes"}, "live": true, "liveCapabilityCount": 1,
            "health": {"status": "ok"}, "provenance": "managed", "suspendedGrants": 0}]);
        let sources: Vec<SourceRow> = serde_json::from_value(sources).unwrap();
        let call = json!({"auditId": "evt_1", "agentId": "cc", "capabilityId": "workspace.write",
            "inputDigest": "0123456789abcdef", "at": "2026-01-01T01:00:00.000Z", "begunAt": "2026-01-01T00:00:00.000Z",
            "basis": {"item": "pend_1"},
            "touched": [{"kind": "file", "id": "to\u{202e}day.md", "digest": "aa"}]});
        let told = as_text(&[call], &sources, now);
        assert_eq!(
            told,
            "evt_1\n  \
             workspace.write by cc, 2 h ago, approved by you once\n  \
             look at /home/me/my notes/to\\u{202e}day.md\n    \
             before it, its SHA-256 was aa\n    \
             now: sha256sum '/home/me/my notes/to\\u{202e}day.md'\n    \
             still the same: it did not happen\n  \
             it happened:        plexusctl unknown settle evt_1 --happened\n  \
             it did not happen:  plexusctl unknown settle evt_1 --did-not\n  \
             until then cc cannot run workspace.write with this input again (SHA-256 0123456789ab…)"
        );
        assert!(as_text(&[], &sources, now).contains("no call has an unknown"));
    }
}
