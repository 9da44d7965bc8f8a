//! How the last grant of a capability ended, as the audit log has it: the state keeps no grant that is gone.
//!
//! Must not know: what would become of a call.

use super::ago;
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
    /// None: the log's file does not go back so far.
    granted: Option<Granting>,
    /// When each call that it allowed was made, if it was; none: no event tells.
    used_up: Option<Option<Timestamp>>,
    /// When it was taken away.
    at: Timestamp,
    /// By what.
    cause: String,
}

/// How it began.
#[derive(Debug, PartialEq)]
struct Granting {
    since: Timestamp,
    /// When it would have lapsed.
    until: Timestamp,
    /// Whether the setting autoAllowReads gave it; none: the file does not go back so far.
    by_setting: Option<bool>,
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
    /// A call's event leaves it out.
    #[serde(default)]
    event: String,
    policy: Option<String>,
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
    #[serde(default)]
    calls: u32,
    constraint: Option<CallLimit>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CallLimit {
    max_calls: Option<u32>,
}

impl GrantedTo {
    fn is_used_up(&self) -> bool {
        let most = self.constraint.as_ref().and_then(|limit| limit.max_calls);
        most.is_some_and(|most| self.calls >= most)
    }
}

/// How the last grant of `id` to `agent` ended; none: an event of the agent in the ledger's file tells of none.
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
                // Calls too, where a grant counts them.
                let is_of_grants = event.json().contains("\"grant");
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
                    used_up: None,
                    at,
                    cause,
                });
            }
            GrantChange::Granted { grant } if (&grant.agent, &grant.capability) == wanted => {
                if let Some(end) = found {
                    // The newest count is the one that it ended with.
                    let used_up = || grant.is_used_up().then_some(at);
                    end.used_up.get_or_insert_with(used_up);
                    end.granted = Some(Granting {
                        since: grant.granted_at,
                        until: grant.expires_at,
                        by_setting: event.detail.policy.as_ref().map(|by| by == "auto-read"),
                    });
                }
                if event.detail.event == "grant.allow" {
                    return false;
                }
            }
            GrantChange::Gone { .. } | GrantChange::Granted { .. } | GrantChange::Other(_) => {}
        }
    }
    true
}

impl GrantEnd {
    /// When it lapsed, where it did before it was taken away.
    fn lapsed(&self) -> Option<Timestamp> {
        let until = self.granted.as_ref()?.until;
        (until <= self.at).then_some(until)
    }

    /// The rule that it is.
    pub(super) fn rule(&self) -> &'static str {
        match (self.used_up.flatten(), self.lapsed()) {
            (Some(_), _) => "grant.used-up",
            (None, Some(_)) => "grant.lapsed",
            (None, None) => "grant.revoked",
        }
    }

    /// It in words.
    pub(super) fn in_words(&self, agent: &AgentId, id: &CapabilityId, now: Timestamp) -> String {
        let begin = match &self.granted {
            Some(Granting {
                since, by_setting, ..
            }) => {
                let given = match by_setting {
                    Some(true) => format!("Your setting autoAllowReads granted {id}"),
                    Some(false) => format!("You granted {id}"),
                    None => format!("{id} was granted"),
                };
                format!("{given} to {agent} {}; that grant", ago(*since, now))
            }
            None => format!("The grant of {id} to {agent}"),
        };
        match (self.used_up.flatten(), self.lapsed()) {
            (Some(at), _) => {
                let at = ago(at, now);
                format!("{begin} ended {at}: every call that it allowed was made.")
            }
            (None, Some(at)) => format!("{begin} ended {}.", ago(at, now)),
            (None, None) => format!("{begin} ended {}{}.", ago(self.at, now), self.cause),
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
        found.map(|end| end.in_words(&agent, &id, Timestamp(61_000)))
    }

    fn gone(event: &str, reason: Option<&str>) -> Value {
        json!({"detail": {"event": event, "reason": reason}, "changes": [
            "launchOver", {"serial": 3}, {"grantGone": ["a", "notes.read"]}]})
    }

    fn granted(to: &str, of: &str, until: u64) -> Value {
        json!({"detail": {"event": "grant.allow", "policy": "owner"}, "changes": [{"grant": {"agent": to, "capability": of,
            "granted_at": Timestamp(1_000), "expires_at": Timestamp(until)}}]})
    }

    #[test]
    fn end_of_a_grant_is_named_by_its_cause() {
        let given = || granted("a", "notes.read", 3_600_000);
        let words = |event, reason| told(&[gone(event, reason), given()]).unwrap();
        let begins = "You granted notes.read to a 1 min ago; that grant ended 52 s ago";
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
            "The grant of notes.read to a ended 52 s ago, when you connected a anew."
        );
    }

    #[test]
    fn grant_of_a_setting_is_not_called_the_owners() {
        let mut given = granted("a", "notes.read", 3_600_000);
        given["detail"]["policy"] = json!("auto-read");
        let words = told(&[gone("agent.connect", None), given]).unwrap();
        let begins = "Your setting autoAllowReads granted notes.read to a 1 min ago; ";
        assert!(words.starts_with(begins), "{words}");
    }

    #[test]
    fn grant_that_had_lapsed_ended_by_itself() {
        let events = [
            gone("agent.connect", None),
            granted("a", "notes.read", 5_000),
        ];
        let words = told(&events).unwrap();
        assert!(words.ends_with("that grant ended 56 s ago."), "{words}");
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
