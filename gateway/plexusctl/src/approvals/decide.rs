//! The owner's decision on one item.
//!
//! Invariant: what is approved is the card that was shown: the digest that is sent was computed here from the very
//! item that was rendered, and the gateway compares it with the one that it would show now.

use super::{PENDING, card::plan, card_of};
use crate::{
    extension::serves,
    owner::{Owner, list_of, text_of},
    prompt,
    terms::Terms,
};
use plexus_client::{Done, Exit, Stop, text};
use plexus_protocol::{Digest, ErrorCode, PendingId, TrustWindow, json::digest};
use serde_json::{Map, Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long an approval waits for a plan that is still being made: the gateway's deadline for one
/// (docs/design.md#workers).
const PLANNING: Duration = Duration::from_secs(30);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(250);

/// The least time between a question and its answer. A line that was typed before, or faster than anybody reads a
/// card, was meant for another one.
pub(super) const READING: Duration = Duration::from_millis(300);

/// What the owner decides.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Yes, on terms.
    Approve {
        /// For how long, where, how often; `once` where no window is given.
        terms: Terms,
        /// One call whatever its input.
        any_input: bool,
    },
    /// Yes to an extension that an agent proposes.
    Register {
        /// The folders that the owner names, by name.
        folders: Map<String, Value>,
        /// The stored secrets that go to another host now.
        keeps: Vec<String>,
    },
    /// An answer to a question of a lent server.
    Answer {
        /// By field.
        values: Map<String, Value>,
    },
    /// No.
    Deny {
        /// Why; the agent is told.
        reason: Option<String>,
    },
}

impl Verdict {
    /// Carries it out. A stop that does not know whether it was done leaves an [`Unanswered`] to look for.
    pub(super) async fn send(&self, owner: &mut Owner, item: &Value) -> Result<Value, Stop> {
        let path = path_of(text_of(item, "pendingId"))?;
        owner.post(&path, &self.body(item)?).await
    }

    fn body(&self, item: &Value) -> Result<Value, Stop> {
        let mut body = Map::new();
        match self {
            Self::Deny { reason } => {
                body.insert("action".into(), "deny".into());
                if let Some(reason) = reason {
                    body.insert("reason".into(), reason.as_str().into());
                }
            }
            Self::Answer { values } => {
                body.insert("action".into(), "approve".into());
                body.insert("answers".into(), Value::Object(values.clone()));
                if let Some(digest) = card_digest(item)? {
                    body.insert("cardDigest".into(), json!(digest));
                }
            }
            Self::Approve { .. } | Self::Register { .. } if item["brief"] == true => {
                let why = "too much waits to show all of it: this card was not read";
                let id = text::line(text_of(item, "pendingId"));
                return Err(
                    Stop::new(Exit::Refused, "card_not_shown", why).next(format!(
                        "decide on what waits longer first, or: plexusctl approvals approve {id}"
                    )),
                );
            }
            Self::Register { folders, keeps } => {
                body.insert("action".into(), "approve".into());
                body.insert("folders".into(), Value::Object(folders.clone()));
                body.insert("keepSecrets".into(), json!(keeps));
                if let Some(digest) = card_digest(item)? {
                    body.insert("cardDigest".into(), json!(digest));
                }
            }
            Self::Approve { terms, any_input } => {
                body.insert("action".into(), "approve".into());
                terms.add_to(&mut body)?;
                body.entry("trustWindow")
                    .or_insert_with(|| json!(TrustWindow::Once));
                if *any_input {
                    body.insert("anyInput".into(), true.into());
                }
                if let Some(digest) = card_digest(item)? {
                    body.insert("cardDigest".into(), json!(digest));
                }
            }
        }
        Ok(Value::Object(body))
    }

    /// What was decided, in words; `reply` is the gateway's answer.
    pub(super) fn said(&self, item: &Value, reply: &Value) -> String {
        let id = text::line(text_of(item, "pendingId"));
        match self {
            Self::Approve { .. } if text_of(item, "kind") == "change" => {
                format!("approved {id}: {}", text::line(text_of(item, "ifApproved")))
            }
            Self::Deny { .. } if text_of(item, "kind") == "change" => {
                format!("denied {id}: {}", text::line(text_of(item, "ifDenied")))
            }
            Self::Approve { .. } | Self::Register { .. } if text_of(item, "kind") == "register" => {
                let serves = serves(text_of(&item["register"], "source"), reply);
                format!("approved {id}: {serves}; nothing is granted by that")
            }
            Self::Answer { .. } => {
                format!("answered {id}: {}", text::line(text_of(item, "ifApproved")))
            }
            Self::Deny { .. } if text_of(item, "kind") == "question" => {
                format!("denied {id}: {}", text::line(text_of(item, "ifDenied")))
            }
            Self::Register { .. } => format!("approved {id}"),
            Self::Approve { terms, .. } => {
                let then = match (text_of(item, "onApproval"), list_of(item, "asks")) {
                    ("run", [ask]) => being_done(item, ask),
                    _ => String::new(),
                };
                format!(
                    "approved {id} {}{then}",
                    terms.window.unwrap_or(TrustWindow::Once).phrase()
                )
            }
            Self::Deny { .. } => format!("denied {id}; the same call will not be asked again"),
        }
    }
}

/// That an approved call is made now; of one that runs code also what shows how it goes.
fn being_done(item: &Value, ask: &Value) -> String {
    let id = PendingId::parse(text_of(item, "pendingId")).ok();
    let runs = list_of(ask, "verbs").iter().any(|verb| verb == "execute");
    match id.filter(|_| runs) {
        Some(id) => format!(
            "; it is being done, see it: plexusctl calls follow {}",
            id.conversation()
        ),
        None => "; it is being done".to_owned(),
    }
}

/// Where the gateway has this item.
pub(super) fn path_of(id: &str) -> Result<String, Stop> {
    let id: PendingId = id.parse().map_err(|e| {
        let why = format!("the item's id is {e}");
        Stop::new(Exit::Failed, "not_a_gateway", why)
    })?;
    Ok(format!("{PENDING}/{id}"))
}

/// A decision that was sent and whose answer was lost: whether it was carried out is not known before the item says so.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unanswered {
    /// The item.
    pub(super) item: String,
    /// The state that the item has where the decision was carried out.
    wanted: &'static str,
}

/// What the item says of a decision whose answer was lost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum DecisionStatus {
    /// It is as it was decided here.
    Done,
    /// It still waits: the decision did not come through, or not yet.
    Waits,
    /// It was decided otherwise than here.
    Otherwise,
    /// It waits no longer, and nothing says why.
    Over,
}

impl Unanswered {
    /// The decision on this item.
    pub(super) fn of(verdict: &Verdict, item: &Value) -> Self {
        Self {
            item: text_of(item, "pendingId").to_owned(),
            wanted: match verdict {
                Verdict::Approve { .. } | Verdict::Register { .. } | Verdict::Answer { .. } => {
                    "approved"
                }
                Verdict::Deny { .. } => "denied",
            },
        }
    }

    /// Asks the gateway for the item.
    ///
    /// # Errors
    /// Why it could not be asked; nothing is known then.
    pub(super) async fn look(&self, owner: &mut Owner) -> Result<DecisionStatus, Stop> {
        match owner.get(&path_of(&self.item)?).await {
            Ok(item) => Ok(self.fate(text_of(&item, "state"))),
            // The card of a source that changed is gone with the decision on it, whoever made it.
            Err(stop) if stop.code == ErrorCode::UnknownCapability.as_str() => {
                Ok(DecisionStatus::Over)
            }
            Err(stop) => Err(stop),
        }
    }

    fn fate(&self, state: &str) -> DecisionStatus {
        match state {
            "pending" => DecisionStatus::Waits,
            state if state == self.wanted => DecisionStatus::Done,
            "approved" | "denied" => DecisionStatus::Otherwise,
            _ => DecisionStatus::Over,
        }
    }

    /// What that means, in words.
    pub(super) fn said(&self, fate: DecisionStatus) -> String {
        let (id, wanted) = (text::line(&self.item), self.wanted);
        match fate {
            DecisionStatus::Done => {
                format!("the answer was lost, and {id} is {wanted}, as you decided")
            }
            DecisionStatus::Waits => {
                format!(
                    "{id} still waits: your decision has not come through so far, and may yet; decide again, or look later"
                )
            }
            DecisionStatus::Otherwise => {
                format!("{id} is not {wanted}: it was decided otherwise elsewhere")
            }
            DecisionStatus::Over => format!(
                "{id} waits no longer, and nothing tells whether by your decision: plexusctl audit tail"
            ),
        }
    }

    /// The end of a command that does not know it.
    pub(super) fn in_doubt(&self) -> Stop {
        Stop::new(Exit::Failed, "no_answer", self.unknown())
            .done(Done::Unknown)
            .next("plexusctl approvals list; plexusctl audit tail")
    }

    /// What is to be said before anything is known.
    pub(super) fn unknown(&self) -> String {
        let id = text::line(&self.item);
        format!("whether {id} is {} is not known yet", self.wanted)
    }
}

/// The digest of the card, recomputed from what we show; `None` where the item has none.
pub(super) fn card_digest(item: &Value) -> Result<Option<Digest>, Stop> {
    let Some(said) = item["cardDigest"].as_str() else {
        return Ok(None);
    };
    let mut covered = item.clone();
    if let Some(members) = covered.as_object_mut() {
        members.shift_remove("cardDigest");
    }
    let computed = digest(&covered);
    if Digest::parse(said) == Some(computed) {
        Ok(Some(computed))
    } else {
        let why = "the card does not have the digest that the gateway gives it";
        Err(Stop::new(Exit::Failed, "card_changed", why)
            .next("look again: plexusctl approvals show"))
    }
}

/// The item with its plan: a plan that is still being made is waited for.
pub(super) async fn planned(owner: &mut Owner, mut item: Value) -> Result<Value, Stop> {
    let until = Instant::now() + PLANNING;
    while plan::is_planning(&item) && Instant::now() < until {
        sleep(LOOK).await;
        item = card_of(owner, text_of(&item, "pendingId")).await?;
    }
    Ok(item)
}

/// Makes sure that the owner means this card: by its digest, by `--yes`, or, where somebody was shown it, by asking.
pub(super) fn confirm(
    item: &Value,
    named: Option<Digest>,
    yes: bool,
    can_ask: bool,
    verdict: &Verdict,
) -> Result<(), Stop> {
    let id = text::line(text_of(item, "pendingId"));
    if plan::has_failed(item) {
        let why = "what it would do could not be computed: it can be denied, not approved";
        return Err(Stop::new(Exit::Refused, "plan_failed", why).next(format!(
            "plexusctl approvals deny {id}, or have it computed again: plexusctl approvals plan {id}"
        )));
    }
    if let Some(named) = named {
        if card_digest(item)? == Some(named) {
            return Ok(());
        }
        return Err(Stop::new(
            Exit::Refused,
            "card_changed",
            "this is not the card that you named",
        )
        .next(format!("look again: plexusctl approvals show {id}")));
    }
    if yes {
        return Ok(());
    }
    if !can_ask {
        return Err(Stop::usage(
            "nobody can be asked here, or was shown the card: name the card that you saw with --card, or say --yes",
        ));
    }
    let window = match verdict {
        Verdict::Approve { terms, .. } => terms.window.unwrap_or(TrustWindow::Once).phrase(),
        Verdict::Deny { .. } | Verdict::Register { .. } | Verdict::Answer { .. } => "",
    };
    let question = match text_of(item, "kind") {
        "change" => format!("approve: {}?", text::line(text_of(item, "ifApproved"))),
        "register" => "add this extension?".to_owned(),
        "question" => "send this answer?".to_owned(),
        _ => format!("approve {window}?"),
    };
    let asked = Instant::now();
    let why = match prompt::is_yes(&question) {
        true if asked.elapsed() >= READING => return Ok(()),
        true => "that was typed before you could read the card; the request still waits",
        false => "you did not confirm; the request still waits",
    };
    Err(Stop::new(Exit::Refused, "not_approved", why)
        .next("read the card, then run the same command again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item() -> Value {
        let mut item =
            json!({"pendingId": "pend_1", "agentId": "a", "b": [1, 2.5], "asks": [{"plan": null}]});
        item["cardDigest"] = json!(digest(&item));
        item
    }

    fn approve(terms: Terms, any_input: bool) -> Verdict {
        Verdict::Approve { terms, any_input }
    }

    #[test]
    fn an_approval_names_its_window_and_its_card() {
        let item = item();
        assert_eq!(
            approve(Terms::default(), false).body(&item),
            Ok(
                json!({"action": "approve", "trustWindow": {"kind": "once"}, "cardDigest": item["cardDigest"]})
            )
        );
        let hour = Terms::lasting(Some(TrustWindow::HOUR));
        let body = approve(hour, true).body(&item).unwrap();
        assert_eq!(
            (&body["trustWindow"]["kind"], &body["anyInput"]),
            (&json!("1h"), &json!(true))
        );
        let deny = Verdict::Deny {
            reason: Some("no".into()),
        };
        assert_eq!(
            deny.body(&item),
            Ok(json!({"action": "deny", "reason": "no"}))
        );
    }

    #[test]
    fn a_lost_answer_is_known_only_from_the_item() {
        let no = Verdict::Deny { reason: None };
        for (verdict, state, fate) in [
            (
                &approve(Terms::default(), false),
                "approved",
                DecisionStatus::Done,
            ),
            (
                &approve(Terms::default(), false),
                "denied",
                DecisionStatus::Otherwise,
            ),
            (
                &approve(Terms::default(), false),
                "expired",
                DecisionStatus::Over,
            ),
            (
                &approve(Terms::default(), false),
                "pending",
                DecisionStatus::Waits,
            ),
            (&no, "denied", DecisionStatus::Done),
            (&no, "approved", DecisionStatus::Otherwise),
            (&no, "", DecisionStatus::Over),
        ] {
            let lost = Unanswered::of(verdict, &item());
            assert_eq!(lost.fate(state), fate, "{verdict:?} {state}");
        }
    }

    #[test]
    fn a_card_that_is_not_its_digest_is_not_approved() {
        let mut changed = item();
        changed["agentId"] = "b".into();
        assert_eq!(
            approve(Terms::default(), false)
                .body(&changed)
                .unwrap_err()
                .code,
            "card_changed"
        );
        let without = json!({"pendingId": "pend_1", "kind": "register"});
        assert_eq!(card_digest(&without), Ok(None));
    }

    #[test]
    fn without_a_terminal_the_card_must_be_named() {
        let (item, verdict) = (item(), approve(Terms::default(), false));
        let right = card_digest(&item).unwrap();
        let wrong = Some(Digest::of(b"another card"));
        assert!(confirm(&item, right, false, false, &verdict).is_ok());
        assert!(confirm(&item, None, true, false, &verdict).is_ok());
        assert_eq!(
            confirm(&item, wrong, true, false, &verdict)
                .unwrap_err()
                .exit,
            Exit::Refused
        );
        assert_eq!(
            confirm(&item, None, false, false, &verdict)
                .unwrap_err()
                .exit,
            Exit::Usage
        );
    }
}
