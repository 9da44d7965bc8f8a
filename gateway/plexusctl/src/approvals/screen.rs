//! `plexusctl approvals watch` on a terminal: the list and the card, live, by keyboard.
//!
//! ```text
//! keys ─────────────▶ ┌───────┐ ─▶ decision ─▶ gateway
//! the owner's feed ─▶ │ model │ ─▶ screen
//! what waits ───────▶ └───────┘
//! ```
//! Invariants: the terminal is given back as it was, however this ends: quit, signal, error or panic; the feed only says
//! that something changed, what is shown is always read anew; a gateway that hangs does not hold up the keys; nobody
//! leaves before it is told what became of the last decision, or that it is not known.

mod form;
mod model;
mod view;

use super::{
    decide::{DecisionStatus, Unanswered, Verdict, ending},
    waiting,
};
use crate::{
    owner::Desk,
    screen::{Ends, Pending, Screen, keys, lines::Styles, polled, system},
};
use crossterm::event::{Event, KeyEventKind};
use model::{Model, ScreenAction};
use plexus_client::{Done, Exit, Stop, out, span};
use plexus_owner::pending::{Item, PlanAgain};
use plexus_owner_client::Feed;
use plexus_protocol::PendingId;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How often what waits is read although nothing was heard.
const IDLE: Duration = Duration::from_secs(15);
/// How often while a plan is being made: a plan's end has no event.
const PLANNING: Duration = Duration::from_millis(500);
/// The longest that a decision is waited for.
const DECISION: Duration = Duration::from_secs(30);

/// The longest that a decision under way is waited for by who leaves.
const LEAVING: Duration = Duration::from_secs(5);

/// Shows and decides until the owner ends it.
pub(super) async fn run(desk: &Desk) -> Result<Exit, Stop> {
    // Connecting once before the screen is taken: a refusal is said where it can be read afterwards.
    drop(desk.open().await?);
    let mut screen = Screen::open().map_err(system)?;
    let mut model = Model::new(std::time::Instant::now());
    let mut acting = None;
    let ended = show(desk, &mut screen, &mut model, &mut acting).await;
    drop(screen);
    let told = leave(desk, &mut model, acting).await;
    match (ended, told) {
        (Err(ended), Err(told)) => {
            out::say(&told.to_string());
            Err(ended)
        }
        (ended, told) => ended.and_then(|exit| told.map(|()| exit)),
    }
}

/// Says, on the screen that stays, what became of a decision that was under way, or whose answer was lost.
///
/// # Errors
/// That it was not carried out, or that this is not known.
async fn leave(
    desk: &Desk,
    model: &mut Model,
    mut acting: Pending<'_, Result<String, Stop>>,
) -> Result<(), Stop> {
    if !model.is_in_doubt() {
        return Ok(());
    }
    let mut wrong = None;
    let telling = async {
        if acting.is_some() {
            let end = polled(&mut acting).await;
            match &end {
                Ok(said) => out::say(said),
                Err(stop) if stop.done != Done::Unknown => wrong = Some(stop.clone()),
                // Told by its item, if at all.
                Err(_) => {}
            }
            model.ended(end);
        }
        let lost = model.unanswered();
        let read = match lost.is_empty() {
            true => return Ok(()),
            false => pending(desk, lost.clone(), None).await,
        };
        let fates = read.map_or_else(|_| Vec::new(), |read| read.fates);
        let all = fates.len() == lost.len();
        for (decision, fate) in fates {
            let said = decision.said(fate);
            let stop = Stop::new(Exit::Failed, "not_decided", said.clone());
            match fate {
                DecisionStatus::Done => out::say(&said),
                DecisionStatus::Waits => {
                    wrong = Some(stop.done(Done::Unknown).next("plexusctl approvals list"));
                }
                DecisionStatus::Otherwise => wrong = Some(stop),
                DecisionStatus::Over => wrong = Some(stop.done(Done::Unknown)),
            }
        }
        if all { Ok(()) } else { Err(unknown()) }
    };
    let told = tokio::time::timeout(LEAVING, telling).await;
    let told = told.unwrap_or_else(|_| Err(unknown()));
    match wrong {
        Some(stop) => Err(stop),
        None => told,
    }
}

fn unknown() -> Stop {
    let why = "whether your last decision was carried out is not known: no answer came";
    Stop::new(Exit::Failed, "no_answer", why)
        .done(Done::Unknown)
        .next("plexusctl approvals list")
}

async fn show<'d>(
    desk: &'d Desk,
    screen: &mut Screen,
    model: &mut Model,
    acting: &mut Pending<'d, Result<String, Stop>>,
) -> Result<Exit, Stop> {
    let styles = Styles::of_environment();
    let mut typed = keys();
    let mut feed = Feed::new();
    let mut reading: Pending<'_, Result<Read, Stop>> =
        Some(Box::pin(pending(desk, Vec::new(), None)));
    let mut again = Instant::now() + IDLE;
    let mut stale = false;
    let mut ends = Ends::catch()?;
    loop {
        let now = span::now();
        screen
            .draw(|frame| view::draw(frame, model, styles, now))
            .map_err(system)?;
        if reading.is_none() && stale {
            let shown = model.item().map(|item| item.heading.pending_id.clone());
            reading = Some(Box::pin(pending(desk, model.unanswered(), shown)));
            stale = false;
        }
        let look = match model.is_planning() {
            true => again.min(Instant::now() + PLANNING),
            false => again,
        };
        tokio::select! {
            first = typed.recv() => {
                let Some(first) = first else {
                    return Ok(Exit::Ok);
                };
                // A key that is held down is many: they are all taken before the next picture.
                let mut next = Some(first);
                while let Some((at, event)) = next {
                    match press(model, event, at) {
                        ScreenAction::Nothing => {}
                        ScreenAction::Quit => return Ok(Exit::Ok),
                        ScreenAction::Decide(decision) => *acting = Some(Box::pin(decide(desk, decision))),
                        ScreenAction::Plan(item) => *acting = Some(Box::pin(plan_again(desk, item))),
                    }
                    next = typed.try_recv().ok();
                }
            }
            heard = feed.next(&desk.home) => {
                match heard {
                    Ok(()) => {}
                    Err(stop) if stop.exit == Exit::Refused => return Err(stop),
                    Err(stop) => model.lost = Some(stop.why),
                }
                stale = true;
            }
            read = polled(&mut reading) => {
                reading = None;
                again = Instant::now() + IDLE;
                match read {
                    Ok(Read { items, fates, ending, paused }) => {
                        for (decision, fate) in &fates {
                            model.settle(decision, *fate);
                        }
                        model.ending = ending;
                        model.paused = paused.unwrap_or(model.paused);
                        model.load(items, std::time::Instant::now());
                    }
                    Err(stop) if stop.exit == Exit::Refused => return Err(stop),
                    Err(stop) => model.lost = Some(stop.why),
                }
            }
            end = polled(acting) => {
                *acting = None;
                stale = true;
                model.ended(end);
            }
            () = sleep_until(look) => (stale, again) = (true, Instant::now() + IDLE),
            () = ends.next() => return Ok(Exit::Ok),
        }
    }
}

fn press(model: &mut Model, event: Event, at: std::time::Instant) -> ScreenAction {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => return model.key(key, at),
        Event::Paste(pasted) => model.paste(&pasted),
        // The next drawing asks for the size.
        _ => {}
    }
    ScreenAction::Nothing
}

/// What was read of the gateway.
struct Read {
    /// What waits, the oldest first.
    items: Vec<Item>,
    /// What became of decisions whose answer was lost.
    fates: Vec<(Unanswered, DecisionStatus)>,
    /// How the request that was shown ended, where it waits no longer.
    ending: Option<(PendingId, String)>,
    /// Whether all agents are paused, as far as it is known.
    paused: Option<bool>,
}

/// Reads what waits, and asks for what became of `lost` and of the request that is shown.
async fn pending(
    desk: &Desk,
    lost: Vec<Unanswered>,
    shown: Option<PendingId>,
) -> Result<Read, Stop> {
    let mut owner = desk.open().await?;
    let items = waiting(&mut owner).await?;
    let mut fates = Vec::new();
    for decision in lost {
        let waits = |item: &Item| item.heading.pending_id == decision.item;
        let fate = match items.iter().any(waits) {
            true => Some(DecisionStatus::Waits),
            // What cannot be asked for now is asked for the next time.
            false => decision.look(&mut owner).await.ok(),
        };
        fates.extend(fate.map(|fate| (decision, fate)));
    }
    let waits = |id: &PendingId| items.iter().any(|item| item.heading.pending_id == *id);
    let ending = match shown.filter(|id| !waits(id)) {
        Some(id) => {
            let said = ending(&mut owner, &id).await.why;
            Some((id, said))
        }
        None => None,
    };
    Ok(Read {
        items,
        fates,
        ending,
        paused: crate::pause::look(&mut owner).await,
    })
}

async fn decide(desk: &Desk, decision: Box<(Verdict, Item)>) -> Result<String, Stop> {
    let (verdict, item) = *decision;
    let send = async {
        let mut owner = desk.open().await?;
        verdict.carry_out(&mut owner, &item).await
    };
    let sent = tokio::time::timeout(DECISION, send).await;
    let (_, said) = sent.unwrap_or_else(|_| {
        let why = format!(
            "no answer within {} s: it may be decided or not",
            DECISION.as_secs()
        );
        Err(Stop::new(Exit::Failed, "deadline_exceeded", why).done(Done::Unknown))
    })?;
    Ok(said)
}

async fn plan_again(desk: &Desk, item: PendingId) -> Result<String, Stop> {
    let id = item.to_string();
    desk.open().await?.call(&PlanAgain { id }).await?;
    Ok(format!("{item} is being planned again"))
}
