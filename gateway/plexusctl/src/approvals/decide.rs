//! The owner's decision on one item.
//!
//! Invariant: what is approved is the card that was shown: the digest that is sent was computed here from the very
//! item that was rendered, and the gateway compares it with the one that it would show now.

use super::{
    UNKNOWN_ITEM,
    card::{self, plan},
    card_of,
};
use crate::{
    ended::{also_answered, denials_ended},
    extension::{named_folders, serves},
    grants,
    owner::Owner,
    pause, prompt,
    terms::Terms,
};
use plexus_client::{Done, Exit, Stop, text};
use plexus_owner::{
    activity::{self, CallBasis},
    pending::{
        Action, Ask, Card, Choice, Decide, Decided, DecisionOutcome, GrantCard, Heading, Item,
        OnApproval, RegisterCard, Show, State,
    },
    status::{self, LedgerCondition, Status},
};
use plexus_protocol::{Digest, ErrorCode, PendingId, TrustWindow, Verb, id::has_id_form};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, sleep};

/// How long an approval waits for a plan that is still being made: the gateway's deadline for one
/// (docs/design.md#workers).
const PLANNING: Duration = Duration::from_secs(30);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(250);
/// How long it looks whether an approved call failed at once.
const AT_ONCE: Duration = Duration::from_millis(800);

/// The command that shows how requests ended.
const ACTIVITY: &str = "plexusctl activity";

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
        folders: BTreeMap<String, String>,
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
    /// Carries it out, and says in words what was decided. A stop that does not know whether it was done leaves an
    /// [`Unanswered`] to look for.
    pub(super) async fn carry_out(
        &self,
        owner: &mut Owner,
        item: &Item,
    ) -> Result<(Decided, String), Stop> {
        let reply = owner.call(&self.request(item)?).await.map_err(gone)?;
        let runs = |card: &GrantCard| card.on_approval == OnApproval::Run;
        let runs = matches!(self, Self::Approve { .. }) && item.card.grant().is_some_and(runs);
        let status = match runs {
            true => pause::heard(owner.call(&status::Show {})).await,
            false => None,
        };
        let later = status.as_ref().and_then(until);
        let given = self.given(owner, item).await;
        let mut said = given.as_ref().unwrap_or(self).said(item, &reply, later);
        let waiting = match (&reply.outcome, &item.heading.agent_id) {
            (DecisionOutcome::Granted { granted, .. }, Some(agent)) if !granted.is_empty() => {
                grants::still_waiting("; ", owner, agent, granted).await
            }
            _ => String::new(),
        };
        let at_once =
            tokio::time::timeout(AT_ONCE, failed_at_once(owner, &item.heading.pending_id));
        if runs
            && later.is_none()
            && let Ok(Some(why)) = at_once.await
        {
            said = format!("approved {}, and it {why}", item.heading.pending_id);
        }
        Ok((reply, said + &waiting))
    }

    /// The approval as it was given, where that may be less than it says: a length of the owner's own is cut at their longest.
    async fn given(&self, owner: &mut Owner, item: &Item) -> Option<Self> {
        let Self::Approve { terms, any_input } = self else {
            return None;
        };
        terms.window.filter(|window| window.kind() == "custom")?;
        let [capability] = &item.heading.capabilities[..] else {
            return None;
        };
        let held = grants::held(owner, item.heading.agent_id.as_ref()?, capability).await?;
        let terms = terms.clone().over(held.trust_window);
        let any_input = *any_input;
        Some(Self::Approve { terms, any_input })
    }

    fn request(&self, item: &Item) -> Result<Decide, Stop> {
        let id = &item.heading.pending_id;
        let mut request = Decide {
            id: id.to_string(),
            ..Decide::default()
        };
        match self {
            Self::Deny { reason } => {
                return Ok(Decide {
                    action: Some(Action::Deny),
                    reason: reason.clone(),
                    ..request
                });
            }
            Self::Answer { values } => request.answers = Some(values.clone()),
            Self::Approve { .. } | Self::Register { .. } if matches!(item.card, Card::Brief(_)) => {
                let why = "too much waits to show all of it: this card was not read";
                return Err(
                    Stop::new(Exit::Refused, "card_not_shown", why).next(format!(
                        "decide on what waits longer first, or: plexusctl approvals approve {id}"
                    )),
                );
            }
            Self::Register { folders, keeps } => {
                request.folders = Some(folders.clone());
                request.keep_secrets.clone_from(keeps);
            }
            Self::Approve { terms, any_input } => {
                request.trust_window = Some(terms.window.unwrap_or(TrustWindow::Once));
                request.constraint = terms.constraint()?;
                [request.turns, request.minutes] = terms.fewer;
                request.any_input = any_input.then_some(true);
            }
        }
        let card = card_digest(item)?;
        Ok(Decide {
            action: Some(Action::Approve),
            card_digest: card.map(|digest| digest.to_string()),
            ..request
        })
    }

    /// The decision in words; `reply` is the gateway's answer, and no call is made before `later`.
    fn said(&self, item: &Item, reply: &Decided, later: Option<&str>) -> String {
        let id = &item.heading.pending_id;
        let answered = match &reply.outcome {
            DecisionOutcome::Granted { also_answered, .. }
            | DecisionOutcome::Resumed { also_answered, .. } => &**also_answered,
            _ => &[],
        };
        match (self, &item.card) {
            (Self::Approve { .. }, Card::Change(card)) => {
                let answered = also_answered("; ", answered);
                format!("approved {id}: {}{answered}", text::line(&card.if_approved))
            }
            (Self::Deny { reason }, Card::Change(card)) => {
                let unread = unread(reason.as_deref());
                format!("denied {id}: {}{unread}", text::line(&card.if_denied))
            }
            (Self::Approve { .. } | Self::Register { .. }, Card::Register(card)) => {
                let missing = match &reply.outcome {
                    DecisionOutcome::Registered {
                        secrets_missing, ..
                    } => &**secrets_missing,
                    _ => &[],
                };
                let serves = serves(card.register.source.as_str(), missing);
                format!("approved {id}: {serves}; nothing is granted by that")
            }
            (Self::Answer { .. }, Card::Question(card)) => {
                format!("answered {id}: {}", text::line(&card.if_approved))
            }
            (Self::Deny { reason }, Card::Question(card)) => {
                let unread = unread(reason.as_deref());
                format!("denied {id}: {}{unread}", text::line(&card.if_denied))
            }
            (Self::Register { .. }, _) => format!("approved {id}"),
            (Self::Answer { .. }, _) => format!("answered {id}"),
            (Self::Approve { terms, .. }, card) => {
                let then = match card.grant().map(|card| (card.on_approval, &*card.asks)) {
                    Some((OnApproval::Run, asks)) => match (later, asks) {
                        (Some(later), _) => format!("; it is done {later}"),
                        (None, [ask]) => being_done(id, ask),
                        (None, _) => String::new(),
                    },
                    _ => String::new(),
                };
                let asks = card.grant().map_or(&[][..], |card| &*card.asks);
                // A window that none of it takes is no window.
                let is_once = matches!(
                    &reply.outcome,
                    DecisionOutcome::Granted { granted, .. } if granted.is_empty()
                );
                let terms = if is_once { &terms.once() } else { terms };
                let answered = also_answered("; ", answered);
                let denials = match &reply.outcome {
                    DecisionOutcome::Granted { denials_ended, .. } => *denials_ended,
                    _ => 0,
                };
                let denials = denials_ended("; ", denials);
                let cut = terms.cut();
                format!(
                    "approved {id} {}{cut}{then}{denials}{answered}",
                    terms.phrase(asks)
                )
            }
            (Self::Deny { .. }, Card::Register(_)) => format!(
                "denied {id}; the same extension is refused for 30 days, until you take that back: plexusctl approvals undeny {id}"
            ),
            // A denial is of an input.
            (Self::Deny { .. }, Card::Grant(card))
                if card.asks.iter().all(|ask| ask.input.is_none()) =>
            {
                format!("denied {id}; its agent may ask again")
            }
            (Self::Deny { .. }, _) => format!(
                "denied {id}; the same call is refused for 30 days, also where a grant covers it, until you grant it for any input, or take that back: plexusctl approvals undeny {id}"
            ),
        }
    }
}

/// That a reason went nowhere, where no agent asked.
fn unread(reason: Option<&str>) -> &'static str {
    match reason {
        Some(_) => "; nobody reads your reason: no agent asked for this",
        None => "",
    }
}

/// How an approved call ended that was refused, or failed, as soon as it was made; none of every other.
async fn failed_at_once(owner: &mut Owner, id: &PendingId) -> Option<String> {
    use activity::ActivityKind::{Failed, Refused};
    let list = activity::List {
        limit: Some(20),
        ..activity::List::default()
    };
    loop {
        sleep(LOOK).await;
        let newest = owner.call(&list).await.ok()?.calls;
        let mut calls = newest.iter().map(activity::ActivityRow::call);
        let Some(call) = calls.find(|call| is_call_of(call, id)) else {
            continue;
        };
        match call.did {
            Failed | Refused => return Some(text::line(&activity::words::said(call))),
            activity::ActivityKind::UnderWay => {}
            _ => return None,
        }
    }
}

/// Whether this is the call that was asked for: a run of a board, or a further turn, is another one.
fn is_call_of(call: &activity::ActivityCall, id: &PendingId) -> bool {
    let by = match &call.basis {
        Some(CallBasis::Item(item)) => Some(item),
        Some(CallBasis::Bounded(_)) => None,
        Some(CallBasis::Grant(_)) | None => call.pending_id.as_ref(),
    };
    by.map(String::as_str) == Some(id.as_str()) && call.did != activity::ActivityKind::Asked
}

/// Before when no approved call is made, in words; none where it is made at once.
fn until(status: &Status) -> Option<&'static str> {
    if status.paused {
        return Some("when you resume: plexusctl resume");
    }
    let records = status.ledger.condition == LedgerCondition::Open;
    (!records).then_some("once the audit log records again: plexusctl status")
}

/// That an approved call is made now; of one that runs code also what shows how it goes.
fn being_done(id: &PendingId, ask: &Ask) -> String {
    match (ask.verbs.contains(Verb::Execute), board_of(ask)) {
        (true, Some(board)) => {
            format!("; it is being done, see it: plexusctl board {board} --follow")
        }
        (true, None) => format!(
            "; it is being done, see it: plexusctl calls follow {}",
            id.conversation()
        ),
        (false, _) => "; it is being done".to_owned(),
    }
}

/// The board that a call carries, which goes on when the call is over.
fn board_of(ask: &Ask) -> Option<String> {
    #[derive(Deserialize)]
    struct Carried {
        board: String,
    }
    let input = ask.input.as_ref().filter(|_| ask.children.is_some())?;
    let board = Carried::deserialize(input).ok()?.board;
    has_id_form(&board, "brd_").then_some(board)
}

/// A decision that was sent and whose answer was lost: whether it was carried out is not known before the item says so.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Unanswered {
    /// The item.
    pub(super) item: PendingId,
    /// The state that the item has where the decision was carried out.
    wanted: State,
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
    pub(super) fn of(verdict: &Verdict, item: &Item) -> Self {
        Self {
            item: item.heading.pending_id.clone(),
            wanted: match verdict {
                Verdict::Approve { .. } | Verdict::Register { .. } | Verdict::Answer { .. } => {
                    State::Approved
                }
                Verdict::Deny { .. } => State::Denied,
            },
        }
    }

    /// Asks the gateway for the item.
    ///
    /// # Errors
    /// Why it could not be asked; nothing is known then.
    pub(super) async fn look(&self, owner: &mut Owner) -> Result<DecisionStatus, Stop> {
        let id = self.item.to_string();
        match owner.call(&Show { id }).await {
            Ok(item) => Ok(self.fate(item.heading.state)),
            // The card of a source that changed is gone with any decision on it.
            Err(stop) if stop.code == ErrorCode::UnknownCapability.as_str() => {
                Ok(DecisionStatus::Over)
            }
            Err(stop) => Err(stop),
        }
    }

    fn fate(&self, state: State) -> DecisionStatus {
        match state {
            State::Pending => DecisionStatus::Waits,
            state if state == self.wanted => DecisionStatus::Done,
            State::Approved | State::Denied => DecisionStatus::Otherwise,
            State::Expired => DecisionStatus::Over,
        }
    }

    /// What that means, in words.
    pub(super) fn said(&self, fate: DecisionStatus) -> String {
        let (id, wanted) = (&self.item, self.wanted.as_str());
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
                "{id} is no longer pending, and nothing tells whether by your decision: plexusctl audit tail"
            ),
        }
    }

    /// The end of a command that does not know it.
    pub(super) fn in_doubt(&self) -> Stop {
        Stop::new(Exit::Failed, "no_answer", self.unknown())
            .done(Done::Unknown)
            .next("plexusctl approvals list")
    }

    /// What is to be said before anything is known.
    pub(super) fn unknown(&self) -> String {
        let wanted = self.wanted.as_str();
        format!("whether {} is {wanted} is not known yet", self.item)
    }
}

/// A refusal whose item does not wait, by this command's code for that.
pub(super) fn gone(stop: Stop) -> Stop {
    match stop.code == ErrorCode::UnknownCapability.as_str() {
        true => Stop {
            code: UNKNOWN_ITEM.to_owned(),
            ..stop
        },
        false => stop,
    }
}

/// That a request waits no longer: how it ended, and the command that shows it.
pub(super) async fn ending(owner: &mut Owner, id: &PendingId) -> Stop {
    let why = match owner.call(&Show { id: id.to_string() }).await {
        Ok(item) => return over(&item.heading),
        Err(stop) if gone(stop.clone()).code == UNKNOWN_ITEM => text::line(&stop.why),
        Err(_) => format!("the request {id} is no longer pending"),
    };
    Stop::new(Exit::Failed, UNKNOWN_ITEM, why).next(ACTIVITY)
}

/// The same, by what the gateway keeps of it.
pub(super) fn over(heading: &Heading) -> Stop {
    let next = match &heading.agent_id {
        Some(agent) => format!("{ACTIVITY} {agent}"),
        None => ACTIVITY.to_owned(),
    };
    Stop::new(Exit::Failed, UNKNOWN_ITEM, ended(heading)).next(next)
}

fn ended(heading: &Heading) -> String {
    let id = &heading.pending_id;
    match &heading.ending {
        Some(ending) => format!("the request {id} {}", text::line(ending)),
        None => format!("the request {id} is {}", heading.state.as_str()),
    }
}

/// The digest of the card, recomputed from what we show; `None` where the item has none.
fn card_digest(item: &Item) -> Result<Option<Digest>, Stop> {
    let Some(said) = item.card.digest() else {
        return Ok(None);
    };
    if said == item.computed_digest() {
        Ok(Some(said))
    } else {
        let why = "the card does not have the digest that the gateway gives it";
        Err(Stop::new(Exit::Failed, "card_changed", why)
            .next("look again: plexusctl approvals show"))
    }
}

/// The item with its plan: a plan that is still being made is waited for.
pub(super) async fn planned(owner: &mut Owner, mut item: Item) -> Result<Item, Stop> {
    let until = Instant::now() + PLANNING;
    while plan::is_planning(&item) && Instant::now() < until {
        sleep(LOOK).await;
        item = card_of(owner, &item.heading.pending_id).await?;
    }
    Ok(item)
}

/// Makes sure that the owner means this card: by its digest, by `--yes`, or, where somebody was shown it, by asking.
pub(super) fn confirm(
    item: &Item,
    expected: Option<Digest>,
    yes: bool,
    can_ask: bool,
    verdict: &Verdict,
) -> Result<(), Stop> {
    let id = &item.heading.pending_id;
    if item.card.grant().is_some_and(GrantCard::has_failed) {
        let why =
            "what it would do could not be computed: it can be denied, not approved, until it is";
        return Err(Stop::new(Exit::Refused, "plan_failed", why)
            .next(format!("plexusctl approvals plan {id}")));
    }
    if let Card::Register(card) = &item.card
        && let Some(problems) = &card.problems
    {
        let why = format!("it cannot be added: {}", text::listed(problems, "; "));
        return Err(Stop::new(Exit::Refused, "plan_failed", why)
            .next(format!("plexusctl approvals deny {id}")));
    }
    if let (Verdict::Approve { terms, .. }, Some(card)) = (verdict, item.card.grant())
        && terms.raises(&card.asks)
    {
        let why =
            "it asked for less: an approval may lower its turns, runs and minutes, not raise them";
        return Err(Stop::new(Exit::Failed, "invalid_input", why)
            .next(format!("plexusctl approvals show {id}")));
    }
    if let Verdict::Approve { terms, any_input } = verdict {
        if let Some(why) = not_taken(terms, &item.card) {
            return Err(Stop::new(Exit::Failed, "invalid_input", why)
                .next(format!("plexusctl approvals show {id}")));
        }
        let is_once = terms
            .window
            .is_none_or(|window| window == TrustWindow::Once);
        let takes_any = item.card.choices().iter().any(|choice| choice.any_input);
        if is_once && takes_any && !any_input {
            let why = "this request names no input: you would not see the call before it is made";
            return Err(Stop::new(Exit::Failed, "invalid_input", why)
                .next(format!("plexusctl approvals approve {id} --any-input")));
        }
    }
    if let Some(expected) = expected {
        if card_digest(item)? == Some(expected) {
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
        )
        .next(format!("plexusctl approvals show {id}")));
    }
    let window = match verdict {
        Verdict::Approve { terms, any_input } => {
            let any = if *any_input { ", with any input" } else { "" };
            terms.phrase(item.card.grant().map_or(&[], |card| &*card.asks)) + any
        }
        Verdict::Deny { .. } | Verdict::Register { .. } | Verdict::Answer { .. } => String::new(),
    };
    let question = match &item.card {
        Card::Change(card) => format!("approve: {}?", text::line(&card.if_approved)),
        Card::Register(_) => {
            let what = card::extension(item).unwrap_or_else(|| "add this extension".to_owned());
            format!("{what}{}?", with_folders(verdict))
        }
        Card::Question(card) => format!("send this answer to {}?", card.source.id),
        Card::Brief(_) | Card::Grant(_) => format!("approve {window} ({})?", named(item)),
    };
    let asked = Instant::now();
    let undone = "nothing was decided; the request still waits";
    let (why, next) = match prompt::is_yes(&question, undone) {
        true if asked.elapsed() >= READING => return Ok(()),
        true => (
            "that was typed before you could read the card; the request still waits",
            "read the card, then run the same command again".to_owned(),
        ),
        false => {
            // To deny a change is no "not now": it revokes grants.
            let denies = match &item.card {
                Card::Change(card) => format!(" ({})", text::line(&card.if_denied)),
                _ => String::new(),
            };
            (
                "you did not confirm; the request still waits",
                format!("to deny it{denies}: plexusctl approvals deny {id}"),
            )
        }
    };
    Err(Stop::new(Exit::Refused, "not_approved", why).next(next))
}

/// Whose request it is, and what it is about, for a question below a card that may have left the screen.
fn named(item: &Item) -> String {
    let about = card::about(item);
    let about = about.unwrap_or_else(|| text::listed(&item.heading.capabilities, ", "));
    let about = text::short(&about, prompt::NAMED);
    match &item.heading.agent_id {
        Some(agent) => format!("{agent}: {about}"),
        None => about,
    }
}

/// The folders that the owner names for an extension, in words.
fn with_folders(verdict: &Verdict) -> String {
    let Verdict::Register { folders, .. } = verdict else {
        return String::new();
    };
    let named = folders.iter();
    let named: Vec<_> = named
        .map(|(name, path)| format!("{name} = {path}"))
        .collect();
    match named.is_empty() {
        true => String::new(),
        false => format!(", with your folder {}", text::listed(&named, ", ")),
    }
}

/// The folders that the owner names, which the extension declares, and with which none is missing.
pub(super) fn folders_for(
    card: &RegisterCard,
    given: &[String],
) -> Result<BTreeMap<String, String>, Stop> {
    let folders = named_folders(given)?;
    // It cannot be added: nothing is to be named.
    if card.problems.is_some() {
        return Ok(folders);
    }
    let declared = card.register.folders();
    let is_declared = |name: &String| {
        let mut all = declared.iter().flatten();
        declared.is_none() || all.any(|folder| folder.name == *name)
    };
    if let Some(name) = folders.keys().find(|name| !is_declared(name)) {
        return Err(Stop::usage(format!(
            "the extension has no folder {}",
            text::line(name)
        )));
    }
    let mut missing = card.folders_to_name.iter();
    match missing.find(|folder| !folders.contains_key(&folder.name)) {
        Some(folder) => Err(Stop::usage(format!(
            "the folder {0} ({1}) is not named: --folder {0}=PATH",
            text::line(&folder.name),
            text::line(&folder.label)
        ))),
        None => Ok(folders),
    }
}

/// Why a card takes no such window or limit.
fn not_taken(terms: &Terms, card: &Card) -> Option<String> {
    let is_once = |window| matches!(window, TrustWindow::Once);
    let window = terms.window.filter(|window| !is_once(*window));
    let mut windows = card
        .choices()
        .iter()
        .filter(|choice| !is_once(choice.window));
    let refused = window.and_then(|window| {
        let same = |choice: &&Choice| choice.window.kind() == window.kind();
        match windows.clone().find(same) {
            Some(choice) => choice.refused.clone(),
            // A length of the owner's own: where each of the card's is refused, so is it.
            None => {
                let first = windows.clone().next()?.refused.clone();
                windows
                    .all(|choice| choice.refused.is_some())
                    .then_some(first)?
            }
        }
    });
    if let Some(why) = refused {
        return Some(text::line(&why));
    }
    let constraint = terms.constraint().ok()??;
    if constraint.max_calls.is_some() && card.is_once() {
        return Some("it can be approved for one call only, and takes no --max-calls".to_owned());
    }
    let field = constraint.path_prefix?.field;
    let narrow = &card.grant()?.narrow;
    match &narrow[..] {
        fields if fields.contains(&field) => None,
        [] => Some("it cannot be limited by a field of its input".to_owned()),
        fields => Some(format!(
            "it cannot be limited by {field}, but by {}",
            text::listed(fields, ", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approvals::fixture;
    use serde_json::json;

    fn item() -> Item {
        let mut item = fixture::grant();
        item["b"] = json!([1, 2.5]);
        item["cardDigest"] = json!(fixture::read(item.clone()).computed_digest());
        fixture::read(item)
    }

    /// What is sent.
    fn body(verdict: &Verdict, item: &Item) -> Result<Value, Stop> {
        let request = verdict.request(item)?;
        Ok(plexus_owner::write(&request).body.unwrap())
    }

    fn approve(terms: Terms, any_input: bool) -> Verdict {
        Verdict::Approve { terms, any_input }
    }

    /// A board's first run can fail before the approval is reported: that says nothing of the call.
    #[test]
    fn run_that_an_approval_permits_is_not_its_call() {
        let id = item().heading.pending_id;
        for (did, basis, is_it) in [
            ("changed", "item", true),
            ("failed", "bounded", false),
            ("asked", "item", false),
        ] {
            let call = json!({
                "auditId": "evt_1", "seq": 1, "at": "2026-12-01T18:08:21.000Z", "did": did, "basis": {basis: id},
            });
            let call: activity::ActivityCall = serde_json::from_value(call).unwrap();
            assert_eq!(is_call_of(&call, &id), is_it, "{call:?}");
        }
    }

    #[test]
    fn an_approval_names_its_window_and_its_card() {
        let item = item();
        assert_eq!(
            body(&approve(Terms::default(), false), &item),
            Ok(
                json!({"action": "approve", "trustWindow": {"kind": "once"}, "cardDigest": item.computed_digest()})
            )
        );
        let hour = Terms::lasting(Some(TrustWindow::HOUR));
        let sent = body(&approve(hour, true), &item).unwrap();
        assert_eq!(
            (&sent["trustWindow"]["kind"], &sent["anyInput"]),
            (&json!("1h"), &json!(true))
        );
        let deny = Verdict::Deny {
            reason: Some("no".into()),
        };
        assert_eq!(
            body(&deny, &item),
            Ok(json!({"action": "deny", "reason": "no"}))
        );
        let change = fixture::read(fixture::change());
        let reply = json!({"ok": true, "action": "deny", "kind": "change", "source": "notes", "resumed": false, "auditId": ""});
        let reply = serde_json::from_value(reply).unwrap();
        let said = deny.said(&change, &reply, None);
        assert!(
            said.ends_with("; nobody reads your reason: no agent asked for this"),
            "{said}"
        );
    }

    #[test]
    fn a_lost_answer_is_known_only_from_the_item() {
        let no = Verdict::Deny { reason: None };
        #[rustfmt::skip]
        let rows = [
            (&approve(Terms::default(), false), State::Approved, DecisionStatus::Done),
            (&approve(Terms::default(), false), State::Denied, DecisionStatus::Otherwise),
            (&approve(Terms::default(), false), State::Expired, DecisionStatus::Over),
            (&approve(Terms::default(), false), State::Pending, DecisionStatus::Waits),
            (&no, State::Denied, DecisionStatus::Done),
            (&no, State::Approved, DecisionStatus::Otherwise),
            (&no, State::Expired, DecisionStatus::Over),
        ];
        for (verdict, state, fate) in rows {
            let lost = Unanswered::of(verdict, &item());
            assert_eq!(lost.fate(state), fate, "{verdict:?} {state:?}");
        }
    }

    #[test]
    fn request_ended_as_the_gateway_says() {
        let mut heading = item().heading;
        heading.state = State::Expired;
        assert_eq!(
            ended(&heading),
            format!("the request {} is expired", fixture::ITEM)
        );
        heading.ending = Some("is void: the agent\u{1b} withdrew it".to_owned());
        assert_eq!(
            ended(&heading),
            format!(
                "the request {} is void: the agent\\u{{1b}} withdrew it",
                fixture::ITEM
            )
        );
        assert_eq!(over(&heading).code, UNKNOWN_ITEM);
        assert_eq!(over(&heading).next, "plexusctl activity my-cc");
        heading.agent_id = None;
        assert_eq!(over(&heading).next, "plexusctl activity");
    }

    #[test]
    fn a_card_that_is_not_its_digest_is_not_approved() {
        let mut changed = item();
        changed.heading.agent_purpose = Some("another".to_owned());
        let refused = body(&approve(Terms::default(), false), &changed).unwrap_err();
        assert_eq!(refused.code, "card_changed");
        let mut without = fixture::grant();
        without.as_object_mut().unwrap().shift_remove("cardDigest");
        assert_eq!(card_digest(&fixture::read(without)), Ok(None));
    }

    #[test]
    fn question_names_whose_request_it_is_and_what_it_does() {
        assert_eq!(named(&item()), "my-cc: replace a.md");
        let mut several = fixture::grant();
        several["asks"][0]["plan"] = Value::Null;
        several["asks"][0]["input"] = Value::Null;
        assert_eq!(named(&fixture::read(several)), "my-cc: workspace.write");
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
    #[test]
    fn windows_and_limits_that_a_card_refuses_are_not_asked_about() {
        let item = item();
        let refused = |terms: Terms| {
            let verdict = approve(terms, false);
            let stop = confirm(&item, None, true, true, &verdict).err();
            stop.map(|stop| stop.why)
        };
        let own = TrustWindow::parse("90m").unwrap();
        for window in [TrustWindow::HOUR, own] {
            let terms = Terms::lasting(Some(window));
            assert_eq!(refused(terms), Some("it runs code".to_owned()));
        }
        let under = |field: &str, most| {
            let under = Some((field.to_owned(), "A".to_owned()));
            Terms::narrowed(TrustWindow::Once, under, most)
        };
        assert_eq!(refused(under("path", None)), None);
        let once =
            Some("it can be approved for one call only, and takes no --max-calls".to_owned());
        assert_eq!(refused(under("path", Some(2))), once);
        let other = Some("it cannot be limited by to, but by path".to_owned());
        assert_eq!(refused(under("to", None)), other);
        assert_eq!(
            under("path", Some(2)).phrase(&[]),
            "for this one request only, path at or below A, at most 2 calls"
        );
        let words = Terms::lasting(Some(own)).phrase(&[]);
        assert_eq!(words, "for up to 90 min");
    }
}
