//! How the last grant of a capability ended, as the audit log has it: the state keeps no grant that is gone.
//!
//! Must not know: what would become of a call.

use crate::{acts::blocking, desk::Desk};
use plexus_edge::reply::Refused;
use plexus_ledger::{IndexTerm, Recorded};
use plexus_protocol::{AgentId, CapabilityId, Timestamp};
use serde::{Deserialize, de::IgnoredAny};
use std::sync::Arc;

/// The newest events of an agent in which the end of a grant is looked for.
const READ: usize = 5_000;

/// How a grant ended that is gone.
#[derive(Debug, Default, PartialEq)]
pub(super) struct GrantEnd {
    /// When it was granted, and when it would have lapsed; none: the log's file does not go back so far.
    granted: Option<(Timestamp, Timestamp)>,
    /// When it was taken away.
    at: Timestamp,
    /// By what.
    cause: String,
}

/// As much of an event as tells of grants.
#[derive(Deserialize)]
struct GrantEvent {
    detail: EventDetail,
    #[serde(default)]
    changes: Vec<GrantChange>,
}

#[derive(Deserialize)]
struct EventDetail {
    event: String,
    reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum GrantChange {
    Gone {
        #[serde(rename = "grantGone")]
        of: (AgentId, CapabilityId),
    },
    Granted {
        grant: GrantedTo,
    },
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct GrantedTo {
    agent: AgentId,
    capability: CapabilityId,
    granted_at: Timestamp,
    expires_at: Timestamp,
}

/// How the last grant of `id` to `agent` ended; none: an event of the agent in the ledger's file tells of none.
///
/// # Errors
/// Our own.
pub(super) async fn of(
    desk: &Arc<Desk>,
    agent: &AgentId,
    id: &CapabilityId,
) -> Result<Option<GrantEnd>, Refused> {
    let (ledger, agent, id) = (desk.ledger.clone(), agent.clone(), id.clone());
    blocking(move || {
        let (mut found, term) = (None, IndexTerm::Agent(agent.to_string()));
        let walked = ledger.first_in_file().and_then(|first| {
            ledger.walk_back(Some(&term), first..u64::MAX, READ, |event| {
                let is_of_grants = matches!(
                    event.event_type(),
                    "grant.allow" | "grant.revoke" | "handshake"
                );
                !is_of_grants || goes_on(&mut found, event, &agent, &id)
            })
        });
        if let Err(error) = walked {
            tracing::error!(name: "audit.unreadable", %error, "the audit log cannot be read");
        }
        found
    })
    .await
}

fn goes_on(
    found: &mut Option<GrantEnd>,
    event: &Recorded,
    agent: &AgentId,
    id: &CapabilityId,
) -> bool {
    see(found, event.json(), Timestamp(event.at()), (agent, id))
}

/// Looks at one event, from the newest to the oldest. Whether to go on: not from the event that granted on.
pub(super) fn see(
    found: &mut Option<GrantEnd>,
    event: &str,
    at: Timestamp,
    wanted: (&AgentId, &CapabilityId),
) -> bool {
    let Ok(event) = serde_json::from_str::<GrantEvent>(event) else {
        return true;
    };
    for change in event.changes {
        match change {
            GrantChange::Gone { of: (agent, id) } if (&agent, &id) == wanted && found.is_none() => {
                let cause = match (&*event.detail.event, &event.detail.reason) {
                    ("agent.connect", _) => format!(", when you connected {agent} anew"),
                    ("agent.revoke", _) => format!(", when you revoked {agent}"),
                    ("grant.revoke", None) => ", when you revoked it".to_owned(),
                    ("grant.revoke", Some(why)) => format!(", when you revoked it: {why}"),
                    _ => String::new(),
                };
                *found = Some(GrantEnd {
                    granted: None,
                    at,
                    cause,
                });
            }
            GrantChange::Granted { grant } if (&grant.agent, &grant.capability) == wanted => {
                if let Some(end) = found {
                    end.granted = Some((grant.granted_at, grant.expires_at));
                }
                return false;
            }
            GrantChange::Gone { .. } | GrantChange::Granted { .. } | GrantChange::Other(_) => {}
        }
    }
    true
}

impl GrantEnd {
    /// When it lapsed, where it did before it was taken away.
    fn lapsed(&self) -> Option<Timestamp> {
        let (_, expires_at) = self.granted?;
        (expires_at <= self.at).then_some(expires_at)
    }

    /// The rule that it is.
    pub(super) fn rule(&self) -> &'static str {
        match self.lapsed() {
            Some(_) => "grant.lapsed",
            None => "grant.revoked",
        }
    }

    /// It in words.
    pub(super) fn in_words(&self, agent: &AgentId, id: &CapabilityId) -> String {
        let begin = match self.granted {
            Some((since, _)) => format!("You granted {id} to {agent} on {since}; that grant"),
            None => format!("Your grant of {id} to {agent}"),
        };
        match self.lapsed() {
            Some(at) => format!("{begin} ended on {at}."),
            None => format!("{begin} ended on {}{}.", self.at, self.cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn parsed() -> (AgentId, CapabilityId) {
        let id = CapabilityId::parse("notes.read").unwrap();
        (AgentId::parse("a").unwrap(), id)
    }

    /// The words of these events, the newest first, one second apart from second 9 down.
    fn told(events: &[Value]) -> Option<String> {
        let (agent, id) = parsed();
        let mut found = None;
        for (event, second) in events.iter().zip((0..10).rev()) {
            let at = Timestamp(second * 1_000);
            if !see(&mut found, &event.to_string(), at, (&agent, &id)) {
                break;
            }
        }
        found.map(|end| end.in_words(&agent, &id))
    }

    fn gone(event: &str, reason: Option<&str>) -> Value {
        json!({"detail": {"event": event, "reason": reason}, "changes": [
            "launchOver", {"serial": 3}, {"grantGone": ["a", "notes.read"]}]})
    }

    fn granted(to: &str, of: &str, until: u64) -> Value {
        json!({"detail": {"event": "grant.allow"}, "changes": [{"grant": {"agent": to, "capability": of,
            "granted_at": Timestamp(1_000), "expires_at": Timestamp(until)}}]})
    }

    #[test]
    fn end_of_a_grant_is_named_by_its_cause() {
        let given = || granted("a", "notes.read", 3_600_000);
        let words = |event, reason| told(&[gone(event, reason), given()]).unwrap();
        let begins = "You granted notes.read to a on 1970-01-01T00:00:01.000Z; that grant ended on 1970-01-01T00:00:09.000Z";
        for (event, reason, cause) in [
            ("agent.connect", None, "when you connected a anew"),
            ("agent.revoke", Some("x"), "when you revoked a"),
            ("grant.revoke", None, "when you revoked it"),
            (
                "grant.revoke",
                Some("too much"),
                "when you revoked it: too much",
            ),
        ] {
            assert_eq!(words(event, reason), format!("{begins}, {cause}."));
        }
        assert_eq!(
            told(&[gone("agent.connect", None)]).unwrap(),
            "Your grant of notes.read to a ended on 1970-01-01T00:00:09.000Z, when you connected a anew."
        );
    }

    #[test]
    fn grant_that_had_lapsed_ended_by_itself() {
        let events = [
            gone("agent.connect", None),
            granted("a", "notes.read", 5_000),
        ];
        let words = told(&events).unwrap();
        assert!(
            words.ends_with("that grant ended on 1970-01-01T00:00:05.000Z."),
            "{words}"
        );
    }

    #[test]
    fn only_the_last_grant_of_the_pair_counts() {
        let connected = || gone("agent.connect", None);
        let given = || granted("a", "notes.read", 3_600_000);
        // A sweep, which is no event of the agent, forgot the grant that was given after it.
        assert_eq!(told(&[given(), connected(), given()]), None);
        let others = [
            granted("b", "notes.read", 9),
            granted("a", "notes.write", 9),
        ];
        let [of_another, of_more] = others;
        assert!(told(&[of_another, of_more, connected()]).is_some());
    }
}
