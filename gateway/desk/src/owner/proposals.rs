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
    inspected::{Drafted, Inspected, surface_of},
    proposal_cards,
};
use crate::{
    acts::{act, blocking, event_of, failed, failed_halfway},
    cards,
    desk::Desk,
};
use plexus_edge::reply::Refused;
use plexus_home::inspection;
use plexus_ipc::text::Line;
use plexus_owner::{
    Done,
    pending::{
        self, Action, Card, Choice, Decide, Decided, DecisionOutcome, FolderToName, Heading, Kind,
        RegisterCard, Surface,
    },
};
use plexus_protocol::{CapabilityId, Digest, ErrorBody, ErrorCode, TrustWindow};
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
    heading: Heading,
    /// All that the owner sees.
    card: RegisterCard,
    /// The folders that it asks for; none where it leaves those that are there.
    folders: Option<Folders>,
    manifest: Value,
    /// What the card shows of its programs; none where it cannot be added.
    agreed: Option<Agreed>,
    /// The same with its folders, where all of them are named.
    inspected: Option<Inspected>,
}

impl Proposed {
    /// The proposal as the owner reads it.
    pub(crate) fn item(&self) -> pending::Item {
        pending::Item {
            heading: self.heading.clone(),
            card: Card::Register(Box::new(self.card.clone())),
        }
    }

    /// A proposal as it is now: looked at within [`PATIENCE`], in a share of its agent's.
    pub(crate) async fn of(desk: &Arc<Desk>, item: &Arc<Item>) -> Result<Self, Refused> {
        let mut proposed = Self::unseen(desk, item).await?;
        // What is decided is not kept.
        if item.state != ItemState::Pending {
            proposed.finish(&[]);
            return Ok(proposed);
        }
        let looked = async {
            let share = desk.proposals.shares.wait(&item.agent).await;
            inspection::holding(share, proposed.look(desk)).await
        };
        if let Ok(looked) = timeout(PATIENCE, looked).await {
            let problems = looked?.err().unwrap_or_default();
            proposed.finish(&problems);
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
    pub(super) async fn not_looked_at(
        desk: &Arc<Desk>,
        item: &Arc<Item>,
        why: String,
    ) -> Result<Self, Refused> {
        let mut proposed = Self::unseen(desk, item).await?;
        proposed.finish(&[why]);
        Ok(proposed)
    }

    /// What was sent.
    async fn unseen(desk: &Arc<Desk>, item: &Arc<Item>) -> Result<Self, Refused> {
        let (here, of) = (desk.clone(), item.clone());
        let content = blocking(move || here.approvals.proposal(&of)).await?;
        let content = content.unwrap_or_default();
        let proposal = item.register.as_ref();
        let source = proposal.map(|proposal| proposal.source.clone());
        let surface = Surface {
            source: source.ok_or_else(|| failed("the item proposes nothing"))?,
            label: String::new(),
            data: Map::new(),
            sections: Vec::new(),
        };
        Ok(Self {
            heading: cards::heading(item, desk.ledger.snapshot().time(desk.clock.now())),
            card: RegisterCard {
                register: surface,
                changes: None,
                moved_secrets: Vec::new(),
                folders_to_name: Vec::new(),
                digest: None,
                if_approved: "it is added as shown".to_owned(),
                if_kept: None,
                client: cards::client(item),
                choices: Vec::new(),
                asks: [],
                narrow: [],
                differs: (),
                problems: None,
                card_digest: None,
                rest: Map::new(),
            },
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
        self.card.register = surface_of(&drafted.surface(folders))?;
        self.card.changes = drafted.changes(folders);
        self.card.moved_secrets = drafted.moved_secrets();
        let missing = drafted.missing(folders).into_iter();
        let missing = missing.map(|(name, label)| FolderToName {
            name: name.to_owned(),
            label: label.to_owned(),
        });
        self.card.folders_to_name = missing.collect();
        if !self.card.folders_to_name.is_empty() {
            self.card.if_approved = drafted.consequence(desk);
            return Ok(Ok(()));
        }
        let inspected = match drafted.placed(desk, folders).await? {
            Ok(inspected) => inspected,
            Err(reasons) => {
                self.agreed = None;
                return Ok(Err(reasons));
            }
        };
        self.card.register = surface_of(&inspected.surface())?;
        self.card.digest = Digest::parse(&inspected.agreement());
        self.card.changes = inspected.changes();
        (self.card.if_approved, self.card.if_kept) = inspected.consequences(desk);
        self.inspected = Some(inspected);
        Ok(Ok(()))
    }

    fn finish(&mut self, problems: &[String]) {
        let card = &mut self.card;
        // It was not looked at, or does not read.
        if card.register.data.is_empty() {
            let label = self.manifest["label"].as_str().unwrap_or_default();
            card.register.label = Line::<256>::new(label).to_string();
            let empty = ["capabilities", "cliBins", "restHosts", "crossSource"];
            let data = empty.into_iter().map(|name| (name.to_owned(), json!([])));
            card.register.data = data.collect();
            let backed = ("transportBacked".to_owned(), true.into());
            card.register.data.extend([backed]);
        }
        // So that a view of cards that knows no such item still offers the one answer there is.
        card.choices = vec![Choice {
            window: TrustWindow::Once,
            words: card.if_approved.clone(),
            default: true,
            any_input: false,
            refused: (!problems.is_empty()).then(|| problems.join("; ")),
        }];
        if problems.is_empty() {
            let digest = self.item().computed_digest();
            self.card.card_digest = Some(digest);
        } else {
            self.card.problems = Some(problems.to_vec());
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
    call: Decide,
) -> Result<Decided, Refused> {
    let keeps: BTreeSet<String> = call.keep_secrets.into_iter().collect();
    let proposed = proposal_cards::look(desk, item).await?;
    if proposed.agreed.is_none() {
        let problems = proposed.card.problems.unwrap_or_default();
        let why = format!("It cannot be added: {}.", problems.join("; "));
        let error = ErrorBody::new(ErrorCode::PlanFailed, why);
        return Err(Refused::new(
            error.next(format!("plexusctl approvals deny {}", item.id)),
        ));
    }
    let shown = proposed.card.card_digest;
    let card = same_card(true, shown, call.card_digest.as_deref())?;
    let folders = call.folders.unwrap_or_default();
    let inspected = match proposed.placed(desk, folders).await? {
        Ok(inspected) => inspected,
        Err(reasons) => return Err(Refused::malformed(reasons.join("; "))),
    };
    let registered = inspected.put(desk, narrowing, &keeps).await?;
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
    Ok(Decided {
        ok: Done,
        action: Action::Approve,
        kind: Kind::Register,
        outcome: DecisionOutcome::Registered {
            registered,
            secrets_missing: inspected.secrets.missing(&keeps),
            audit_id: event_of(&receipt),
        },
    })
}
