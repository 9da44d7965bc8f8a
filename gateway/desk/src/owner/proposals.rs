//! Extensions that agents propose: the card with the whole surface, and the owner's decision (docs/design.md#extensions).
//!
//! ```text
//! proposal ─▶ programs and folders as they are now ─▶ card, digest ─approve─▶ the same again? ─▶ added ─▶ recorded
//! ```
//! Invariants: what is added is what the card showed, with the folders that the card or the owner names; a program or
//! folder that is another one by then makes another card; adding grants nothing.
//!
//! Must not know: what a command does.

use super::{
    Narrowing,
    approvals::same_card,
    inspected::{Drafted, Inspected},
    proposal_cards,
};
use crate::{
    acts::{act, blocking, event_of, failed_halfway},
    desk::Desk,
};
use axum::response::Response;
use plexus_calls::approvals::card;
use plexus_edge::reply::{Refused, ok};
use plexus_home::inspection;
use plexus_ipc::text::Line;
use plexus_protocol::CapabilityId;
use plexus_sources::extensions::manifest::Agreed;
use plexus_trust::{Command, Item, ItemState, Refusal, Register};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::time::timeout;

type Folders = BTreeMap<String, String>;

/// How long looking at one proposal may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A proposal, with its card.
pub(crate) struct Proposed {
    /// All that the owner sees.
    pub(crate) card: Map<String, Value>,
    /// The folders that it asks for; none where it leaves those that are there.
    folders: Option<Folders>,
    manifest: Value,
    /// What the card shows of its programs; none where it cannot be added.
    agreed: Option<Agreed>,
    /// The same with its folders, where all of them are named.
    inspected: Option<Inspected>,
}

impl Proposed {
    /// A proposal as it is now: looked at within [`PATIENCE`], in a share of its agent's.
    ///
    /// # Errors
    /// Our own.
    pub(crate) async fn of(desk: &Arc<Desk>, item: &Arc<Item>) -> Result<Self, Refused> {
        let mut proposed = Self::unseen(desk, item).await?;
        // What is decided is not kept.
        if item.state != ItemState::Pending {
            proposed.finish(item, &[]);
            return Ok(proposed);
        }
        let looked = async {
            let share = desk.proposals.shares.wait(&item.agent).await;
            inspection::holding(share, proposed.look(desk)).await
        };
        if let Ok(looked) = timeout(PATIENCE, looked).await {
            let problems = looked?.err().unwrap_or_default();
            proposed.finish(item, &problems);
            return Ok(proposed);
        }
        let why = format!(
            "its programs and folders, or others that {} proposed, could not be looked at within {} s: repeat when their disks answer",
            item.agent,
            PATIENCE.as_secs()
        );
        Self::not_looked_at(desk, item, why).await
    }

    /// A proposal at which nobody has looked, and why not.
    ///
    /// # Errors
    /// Our own.
    pub(super) async fn not_looked_at(
        desk: &Arc<Desk>,
        item: &Arc<Item>,
        why: String,
    ) -> Result<Self, Refused> {
        let mut proposed = Self::unseen(desk, item).await?;
        proposed.finish(item, &[why]);
        Ok(proposed)
    }

    /// What was sent.
    async fn unseen(desk: &Arc<Desk>, item: &Arc<Item>) -> Result<Self, Refused> {
        let (here, of) = (desk.clone(), item.clone());
        let content = blocking(move || here.approvals.proposal(&of)).await?;
        let content = content.unwrap_or_default();
        Ok(Self {
            card: card::heading(&desk.ledger.snapshot(), item),
            folders: serde_json::from_value(content["folders"].clone()).unwrap_or_default(),
            manifest: content["manifest"].clone(),
            agreed: None,
            inspected: None,
        })
    }

    /// Looks at its programs and folders, and puts what it finds on the card.
    async fn look(&mut self, desk: &Arc<Desk>) -> Result<Result<(), Vec<String>>, Refused> {
        let drafted = match Drafted::of_proposal(desk, &self.manifest).await? {
            Ok(drafted) => drafted,
            Err(reasons) => return Ok(Err(reasons)),
        };
        self.agreed = Some(drafted.agreed.clone());
        let folders = self.folders.clone();
        let folders = folders.as_ref();
        self.card
            .insert("register".into(), drafted.surface(folders));
        if let Some(changes) = drafted.changes(folders) {
            self.card.insert("changes".into(), json!(changes));
        }
        let moved = drafted.moved_secrets();
        if !moved.is_empty() {
            self.card.insert("movedSecrets".into(), moved.into());
        }
        let missing = drafted.missing(folders).into_iter();
        let missing: Vec<_> = missing
            .map(|(name, label)| json!({"name": name, "label": label}))
            .collect();
        if !missing.is_empty() {
            self.card.insert("foldersToName".into(), missing.into());
            let then = drafted.consequence(desk);
            self.card.insert("ifApproved".into(), then.into());
            return Ok(Ok(()));
        }
        let inspected = match drafted.placed(desk, folders).await? {
            Ok(inspected) => inspected,
            Err(reasons) => {
                self.agreed = None;
                return Ok(Err(reasons));
            }
        };
        self.card.insert("register".into(), inspected.surface());
        self.card
            .insert("digest".into(), inspected.agreement().into());
        if let Some(changes) = inspected.changes() {
            self.card.insert("changes".into(), json!(changes));
        }
        self.card.extend(inspected.outcome(desk));
        self.inspected = Some(inspected);
        Ok(Ok(()))
    }

    fn finish(&mut self, item: &Item, problems: &[String]) {
        let source = item.register.as_ref().map(|proposal| &proposal.source);
        let label = self.manifest["label"].as_str().unwrap_or_default();
        let card = &mut self.card;
        if card["register"]["capabilities"].is_null() {
            card["register"] = json!({
                "source": source, "label": Line::<256>::new(label), "capabilities": [], "cliBins": [],
                "restHosts": [], "crossSource": [], "transportBacked": true,
            });
        }
        let (name, version) = &item.client;
        let client = [("name", name), ("version", version)].into_iter();
        let client =
            client.filter_map(|(member, said)| Some((member.to_owned(), json!(said.as_ref()?))));
        let client: Map<String, Value> = client.collect();
        if !client.is_empty() {
            card.insert("client".into(), client.into());
        }
        let what = card.entry("ifApproved");
        let what = what
            .or_insert_with(|| "it is added as shown".into())
            .clone();
        let words = json!([{"window": "once", "words": what, "default": true}]);
        // So that a view of cards that knows no such item still offers the one answer there is.
        card.insert("choices".into(), words);
        card.insert("asks".into(), json!([]));
        card.insert("narrow".into(), json!([]));
        card.insert("differs".into(), Value::Null);
        if problems.is_empty() {
            let digest = card::digest(card);
            card.insert("cardDigest".into(), json!(digest));
        } else {
            card.insert("problems".into(), json!(problems));
        }
    }

    /// With the folders that the owner names beside those of the card.
    async fn placed(
        self,
        desk: &Arc<Desk>,
        owners: Folders,
    ) -> Result<Result<Inspected, Vec<String>>, Refused> {
        if owners.is_empty()
            && let Some(inspected) = self.inspected
        {
            return Ok(Ok(inspected));
        }
        let drafted = match Drafted::of_proposal(desk, &self.manifest).await? {
            Ok(drafted) => drafted,
            Err(reasons) => return Ok(Err(reasons)),
        };
        // A program was replaced since the card was made.
        if Some(&drafted.agreed) != self.agreed.as_ref() {
            return Err(Refusal::CardChanged.into());
        }
        let mut folders = self.folders.unwrap_or_default();
        folders.extend(owners);
        drafted.placed(desk, Some(&folders)).await
    }
}

/// Adds what an item proposes, as the card that is named showed it.
pub(super) async fn approve(
    desk: &Arc<Desk>,
    narrowing: &Narrowing,
    item: &Arc<Item>,
    named: Option<&str>,
    folders: Folders,
    keeps: &BTreeSet<String>,
) -> Result<Response, Refused> {
    let acting = narrowing.wider(desk).await?;
    let proposed = proposal_cards::look(desk, item).await?;
    if proposed.agreed.is_none() {
        return Err(Refusal::PlanFailed.into());
    }
    let current = proposed.card["cardDigest"].as_str();
    same_card(true, current, named)?;
    let card = card::digest(&proposed.card);
    let inspected = match proposed.placed(desk, folders).await? {
        Ok(inspected) => inspected,
        Err(reasons) => return Err(Refused::malformed(reasons.join("; "))),
    };
    drop(acting);
    let registered = inspected.put(desk, narrowing, keeps).await?;
    let ids = registered
        .iter()
        .filter_map(|id| CapabilityId::parse(id).ok());
    let command = Command::Register(Register {
        item: item.id.clone(),
        card,
        capabilities: ids.collect(),
    });
    let acting = narrowing.wider(desk).await?;
    let receipt = act(desk, &acting, command).await.map_err(|error| {
        let why = format!(
            "it is added; the request is not closed: {}",
            error.into_error().message
        );
        failed_halfway(why)
    })?;
    desk.approvals.drop_input(&item.id);
    Ok(ok(&json!({
        "ok": true, "action": "approve", "kind": "register", "registered": registered,
        "secretsMissing": inspected.secrets.missing(keeps), "auditId": event_of(&receipt),
    })))
}
