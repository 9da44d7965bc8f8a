//! `plexusctl approvals watch`: cards as requests come, decided by a key and Enter.
//!
//! ```text
//! listening ─new item─▶ its plan is made? ─no─▶ listening (looks again soon)
//!     ▲                     │ yes: card, question
//!     └── a / w / d / s, or decided elsewhere ──┘          q, Ctrl-C, end of input ─▶ over
//! ```
//! Without a person at a terminal it only shows. Nothing is replayed by the gateway's stream, so after each event, and
//! after each connection, the whole list is read again.

use super::{
    PENDING, card,
    decide::{self, READING, Verdict},
};
use crate::{
    owner::{Desk, Owner, list_of, text_of},
    terms::{self, Terms},
};
use plexus_client::{Exit, Stop, events::Events, out, span, text};
use serde_json::Value;
use std::{collections::HashSet, io::BufRead, thread, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

/// How often the list is read although no event came.
const IDLE: Duration = Duration::from_secs(15);
/// How often it is read while a plan is being made: a plan's end has no event.
const PLANNING: Duration = Duration::from_millis(500);
/// The pause before connecting again.
const RECONNECT: Duration = Duration::from_secs(2);

/// A line, with the moment in which Enter was pressed.
type Typed = (Instant, String);

/// What ended a wait.
enum Woke {
    Line(Typed),
    Changed,
    Over,
}

struct Watch {
    owner: Owner,
    events: Events,
    // Kept because the stream ends with its connection.
    _listener: Owner,
}

/// Watches until the owner ends it.
pub(super) async fn run(desk: &Desk) -> Result<Exit, Stop> {
    let person = desk.hands.terminal && !desk.json && desk.widen("deciding").is_ok();
    let mut lines = person.then(read_lines);
    let mut watch = Watch::open(desk).await?;
    let mut shown = HashSet::new();
    out::say(if person {
        "waiting for requests; q ends this"
    } else {
        "waiting for requests"
    });
    loop {
        let ended = watch.go(desk, &mut lines, &mut shown).await;
        match ended {
            Ok(()) => return Ok(Exit::Ok),
            // Refusals are final; a gateway that has gone may come back.
            Err(stop) if stop.exit == Exit::Refused => return Err(stop),
            Err(stop) => out::say(&format!("{}; trying again", text::line(&stop.why))),
        }
        watch = loop {
            tokio::select! {
                () = sleep(RECONNECT) => {}
                _ = tokio::signal::ctrl_c() => return Ok(Exit::Ok),
            }
            match Watch::open(desk).await {
                Ok(watch) => break watch,
                Err(stop) if stop.exit == Exit::Refused => return Err(stop),
                Err(_) => {}
            }
        };
    }
}

impl Watch {
    async fn open(desk: &Desk) -> Result<Self, Stop> {
        let mut listener = desk.open().await?;
        let events = Events::of(listener.stream("/v1/events").await?);
        Ok(Self {
            owner: desk.open().await?,
            events,
            _listener: listener,
        })
    }

    /// Shows and decides until the owner ends it (`Ok`) or the gateway goes away.
    async fn go(
        &mut self,
        desk: &Desk,
        lines: &mut Option<mpsc::UnboundedReceiver<Typed>>,
        shown: &mut HashSet<String>,
    ) -> Result<(), Stop> {
        loop {
            let items = self.pending().await?;
            let planning = items.iter().any(decide::is_planning);
            let next = items.iter().find(|item| {
                !decide::is_planning(item) && !shown.contains(text_of(item, "pendingId"))
            });
            if let Some(item) = next {
                shown.insert(text_of(item, "pendingId").to_owned());
                if desk.json {
                    out::line(&item.to_string())?;
                } else {
                    out::line("")?;
                    card::print(&card::render(item, span::now()))?;
                }
                if lines.is_some() && !self.decide(lines, item).await? {
                    return Ok(());
                }
                continue;
            }
            match self
                .wait(lines, if planning { PLANNING } else { IDLE })
                .await?
            {
                Woke::Over => return Ok(()),
                Woke::Line((_, line)) if line.trim() == "q" => return Ok(()),
                Woke::Line(_) | Woke::Changed => {}
            }
        }
    }

    async fn pending(&mut self) -> Result<Vec<Value>, Stop> {
        let reply = self.owner.get(PENDING).await?;
        let mut items = list_of(&reply, "pending").to_vec();
        items.reverse();
        Ok(items)
    }

    /// Asks until this item is decided or put aside; false when the owner ends the watch.
    async fn decide(
        &mut self,
        lines: &mut Option<mpsc::UnboundedReceiver<Typed>>,
        item: &Value,
    ) -> Result<bool, Stop> {
        out::say(QUESTION);
        let asked = Instant::now();
        loop {
            let (typed, line) = match self.wait(lines, IDLE).await? {
                Woke::Over => return Ok(false),
                Woke::Line(typed) => typed,
                Woke::Changed => {
                    let id = &item["pendingId"];
                    if self
                        .pending()
                        .await?
                        .iter()
                        .any(|other| other["pendingId"] == *id)
                    {
                        continue;
                    }
                    out::say("decided elsewhere, or no longer wanted");
                    return Ok(true);
                }
            };
            match answer(&line, typed.saturating_duration_since(asked)) {
                Ok(Answer::Quit) => return Ok(false),
                Ok(Answer::Skip) => return Ok(true),
                Ok(Answer::Decide(verdict)) => match verdict.send(&mut self.owner, item).await {
                    Ok(_) => {
                        out::say(&verdict.said(item));
                        return Ok(true);
                    }
                    // The gateway said no to this way of deciding; the owner may choose another.
                    Err(stop) if stop.exit != Exit::Unreachable => {
                        out::say(&format!("{stop}\n{QUESTION}"));
                    }
                    Err(stop) => return Err(stop),
                },
                Err(why) => out::say(&format!("{why}\n{QUESTION}")),
            }
        }
    }

    async fn wait(
        &mut self,
        lines: &mut Option<mpsc::UnboundedReceiver<Typed>>,
        idle: Duration,
    ) -> Result<Woke, Stop> {
        let line = async {
            match lines {
                Some(lines) => lines.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            line = line => Ok(line.map_or(Woke::Over, Woke::Line)),
            _ = tokio::signal::ctrl_c() => Ok(Woke::Over),
            () = sleep(idle) => Ok(Woke::Changed),
            event = self.events.next() => match event? {
                Some(_) => Ok(Woke::Changed),
                None => Err(Stop::new(Exit::Failed, "connection_lost", "the gateway ended the stream")),
            },
        }
    }
}

const QUESTION: &str = "a: approve once   w 1h: approve for a window   d REASON: deny   s: skip   q: quit   (then Enter)";

enum Answer {
    Decide(Verdict),
    Skip,
    Quit,
}

/// What the owner answered so long after the question.
fn answer(line: &str, after: Duration) -> Result<Answer, String> {
    if after < READING {
        return Err("that was typed before you could read this card; once more, please".to_owned());
    }
    parse(line)
}

/// What the owner typed. Enter alone decides nothing.
fn parse(line: &str) -> Result<Answer, String> {
    let (key, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let rest = rest.trim();
    let approve = |window| {
        let terms = Terms::lasting(window);
        Ok(Answer::Decide(Verdict::Approve {
            terms,
            any_input: false,
        }))
    };
    match (key, rest) {
        ("a", "") => approve(None),
        ("w", "") => Err("for how long? w 1h".to_owned()),
        ("w", window) => approve(Some(terms::window(window)?)),
        ("d", reason) => {
            let reason = (!reason.is_empty()).then(|| reason.to_owned());
            Ok(Answer::Decide(Verdict::Deny { reason }))
        }
        ("s", "") => Ok(Answer::Skip),
        ("q", "") => Ok(Answer::Quit),
        _ => Err("that is none of the keys".to_owned()),
    }
}

/// Lines of stdin, read on a thread of their own because a terminal cannot be waited for otherwise.
fn read_lines() -> mpsc::UnboundedReceiver<Typed> {
    let (sender, receiver) = mpsc::unbounded_channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send((Instant::now(), line)).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::TrustWindow;

    #[test]
    fn an_answer_to_another_card_decides_nothing_here() {
        for early in [Duration::ZERO, READING - Duration::from_millis(1)] {
            assert!(answer("a", early).is_err());
        }
        assert!(matches!(answer("a", READING), Ok(Answer::Decide(_))));
    }

    #[test]
    fn keys() {
        let window = |line: &str| match parse(line) {
            Ok(Answer::Decide(Verdict::Approve {
                terms,
                any_input: false,
            })) => Some(terms.window),
            _ => None,
        };
        assert_eq!(window("a"), Some(None));
        assert_eq!(window("w 1h\n"), Some(Some(TrustWindow::HOUR)));
        let reason = |line: &str| match parse(line) {
            Ok(Answer::Decide(Verdict::Deny { reason })) => Some(reason),
            _ => None,
        };
        assert_eq!(reason("d"), Some(None));
        assert_eq!(reason("d not now "), Some(Some("not now".to_owned())));
        assert!(matches!(parse("s"), Ok(Answer::Skip)) && matches!(parse(" q "), Ok(Answer::Quit)));
        for nothing in ["", "w", "w forever", "approve", "A", "a b", "y"] {
            assert!(parse(nothing).is_err(), "{nothing:?} decides nothing");
        }
    }
}
