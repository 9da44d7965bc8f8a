//! `plexusctl approvals watch` on a terminal: the list and the card, live, by keyboard.
//!
//! ```text
//! keys ─────────────▶ ┌───────┐ ─▶ decision ─▶ gateway
//! the owner's feed ─▶ │ model │ ─▶ screen
//! what waits ───────▶ └───────┘
//! ```
//! Invariants: the terminal is given back as it was, however this ends: quit, signal, error or panic; the feed only says
//! that something changed, what is shown is always read anew; a gateway that hangs does not hold up the keys.

mod form;
mod lines;
mod model;
mod terminal;
mod view;

use super::{PENDING, decide::Verdict};
use crate::{
    feed::Feed,
    owner::{Desk, list_of},
};
use lines::Styles;
use model::{Do, Model};
use plexus_client::{Exit, Stop, span, text};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use serde_json::{Value, json};
use std::{pin::Pin, thread, time::Duration};
use terminal::Screen;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// How often what waits is read although nothing was heard.
const IDLE: Duration = Duration::from_secs(15);
/// How often while a plan is being made: a plan's end has no event.
const PLANNING: Duration = Duration::from_millis(500);
/// The longest that a decision is waited for.
const DECISION: Duration = Duration::from_secs(30);

type Pending<'d, T> = Option<Pin<Box<dyn Future<Output = T> + 'd>>>;

/// Something typed, with the moment in which it was read.
type Typed = (std::time::Instant, Event);

/// Shows and decides until the owner ends it.
pub(super) async fn run(desk: &Desk) -> Result<Exit, Stop> {
    // Connecting once before the screen is taken: a refusal is said where it can be read afterwards.
    drop(desk.open().await?);
    let mut screen = Screen::open().map_err(system)?;
    let ended = show(desk, &mut screen).await;
    drop(screen);
    ended
}

fn system(error: std::io::Error) -> Stop {
    Stop::new(Exit::Failed, "terminal", format!("the terminal: {error}"))
}

async fn show(desk: &Desk, screen: &mut Screen) -> Result<Exit, Stop> {
    let styles = Styles {
        colour: std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
    };
    let mut model = Model::new(std::time::Instant::now());
    let mut typed = read_keys();
    let mut feed = Feed::new();
    let mut reading: Pending<'_, Result<Vec<Value>, Stop>> = Some(Box::pin(pending(desk)));
    let mut acting: Pending<'_, Result<String, Stop>> = None;
    let mut again = Instant::now() + IDLE;
    let mut stale = false;
    let mut ends = [
        SignalKind::terminate(),
        SignalKind::hangup(),
        SignalKind::interrupt(),
    ]
    .map(|kind| signal(kind).map_err(system));
    let [term, hangup, interrupt] = &mut ends;
    let (term, hangup, interrupt) = (open(term)?, open(hangup)?, open(interrupt)?);
    loop {
        let now = span::now();
        screen
            .draw(|frame| view::draw(frame, &mut model, styles, now))
            .map_err(system)?;
        if reading.is_none() && stale {
            reading = Some(Box::pin(pending(desk)));
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
                    match press(&mut model, event, at) {
                        Do::Nothing => {}
                        Do::Quit => return Ok(Exit::Ok),
                        Do::Decide(decision) => acting = Some(Box::pin(decide(desk, decision))),
                        Do::Plan(item) => acting = Some(Box::pin(plan_again(desk, item))),
                    }
                    next = typed.try_recv().ok();
                }
            }
            heard = feed.next(desk) => {
                match heard {
                    Ok(()) => {}
                    Err(stop) if stop.exit == Exit::Refused => return Err(stop),
                    Err(stop) => model.lost = Some(stop.why),
                }
                stale = true;
            }
            items = polled(&mut reading) => {
                reading = None;
                again = Instant::now() + IDLE;
                match items {
                    Ok(items) => model.load(items, std::time::Instant::now()),
                    Err(stop) if stop.exit == Exit::Refused => return Err(stop),
                    Err(stop) => model.lost = Some(stop.why),
                }
            }
            end = polled(&mut acting) => {
                acting = None;
                stale = true;
                model.ended(end);
            }
            () = sleep_until(look) => (stale, again) = (true, Instant::now() + IDLE),
            _ = term.recv() => return Ok(Exit::Ok),
            _ = hangup.recv() => return Ok(Exit::Ok),
            _ = interrupt.recv() => return Ok(Exit::Ok),
        }
    }
}

fn press(model: &mut Model, event: Event, at: std::time::Instant) -> Do {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => return model.key(key, at),
        Event::Paste(pasted) => model.paste(&pasted),
        // The next drawing asks for the size.
        _ => {}
    }
    Do::Nothing
}

fn open<T>(made: &mut Result<T, Stop>) -> Result<&mut T, Stop> {
    made.as_mut().map_err(|stop| stop.clone())
}

async fn polled<T>(future: &mut Pending<'_, T>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// What waits, the oldest first.
async fn pending(desk: &Desk) -> Result<Vec<Value>, Stop> {
    let reply = desk.open().await?.get(PENDING).await?;
    let mut items = list_of(&reply, "pending").to_vec();
    items.reverse();
    Ok(items)
}

async fn decide(desk: &Desk, decision: Box<(Verdict, Value)>) -> Result<String, Stop> {
    let (verdict, item) = *decision;
    let send = async {
        let mut owner = desk.open().await?;
        verdict.send(&mut owner, &item).await
    };
    let sent = tokio::time::timeout(DECISION, send).await;
    sent.unwrap_or_else(|_| {
        let why = format!(
            "no answer within {} s: it may be decided or not",
            DECISION.as_secs()
        );
        Err(Stop::new(Exit::Failed, "deadline_exceeded", why))
    })?;
    Ok(verdict.said(&item))
}

async fn plan_again(desk: &Desk, item: String) -> Result<String, Stop> {
    let path = format!("{PENDING}/{item}/plan");
    desk.open().await?.post(&path, &json!({})).await?;
    Ok(format!("{} is being planned again", text::line(&item)))
}

/// What is typed, read on a thread of its own because a terminal cannot be waited for otherwise.
fn read_keys() -> mpsc::UnboundedReceiver<Typed> {
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.send((std::time::Instant::now(), event)).is_err() {
                return;
            }
        }
    });
    receiver
}
