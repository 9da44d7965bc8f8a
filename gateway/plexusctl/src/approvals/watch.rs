//! `plexusctl approvals watch`: cards as requests come, decided by a key and Enter.
//!
//! ```text
//! listening ─new item─▶ its plan is made? ─no─▶ listening (looks again soon)
//!     ▲                     │ yes: card, question ─the stream ends─▶ connecting again, then the same card, asked anew
//!     └── yes, no or later, or decided elsewhere ┘         q, Ctrl-C, end of input ─▶ over
//! ```
//! Invariants: an item that waits and was not put aside has its question; a decision whose answer was lost is told
//! by what the item says afterwards.
//!
//! Without a person at a terminal it only shows. Nothing is replayed by the gateway's stream, so after each event, and
//! after each connection, the whole list is read again.

use super::{
    UNKNOWN_ITEM,
    card::{self, answers, plan},
    decide::{DecisionStatus, READING, Unanswered, Verdict, ending},
    waiting, whole,
};
use crate::{
    owner::{Desk, Owner, json_line},
    pause,
    terms::Terms,
};
use plexus_client::{Done, Exit, Stop, events::Events, out, span, text};
use plexus_owner::pending::{Ask, Card, Item};
use plexus_protocol::{PendingId, TrustWindow, words};
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

/// What outlives a connection.
#[derive(Default)]
struct WatchState {
    /// Items that are not shown again: decided, put aside, or shown where nobody is asked.
    done: HashSet<PendingId>,
    /// A decision of which nobody knows whether it was carried out.
    unanswered: Option<Unanswered>,
    /// Whether it was said that its item still waits: a gateway that was slow may carry it out yet.
    still_waits: bool,
}

impl WatchState {
    fn is_unanswered(&self, item: &Item) -> bool {
        let lost = self.unanswered.as_ref();
        lost.is_some_and(|lost| lost.item == item.heading.pending_id)
    }

    /// The end of the watch.
    fn over(&self) -> Result<Exit, Stop> {
        match &self.unanswered {
            None => Ok(Exit::Ok),
            Some(lost) => Err(lost.in_doubt()),
        }
    }

    /// A later answer takes the place of one that was lost.
    fn forget(&mut self, item: &Item) {
        if self.is_unanswered(item) {
            self.unanswered = None;
        }
    }
}

/// How a question ended.
enum QuestionEnd {
    /// Decided here.
    Decided,
    /// Put aside.
    Aside,
    /// It waits no longer.
    Gone,
    /// Decided here, and the answer was lost.
    Unanswered(Unanswered),
    /// The owner ends the watch.
    Over,
}

struct Watch {
    owner: Owner,
    events: Events,
}

/// Watches until the owner ends it.
pub(super) async fn run(desk: &Desk) -> Result<Exit, Stop> {
    let person = desk.caller.terminal && !desk.json && desk.widen("deciding").is_ok();
    let mut lines = person.then(read_lines);
    let mut watch = Watch::open(desk).await?;
    let mut seen = WatchState::default();
    out::say(if person {
        "waiting for requests; a key and Enter answers one, q ends this"
    } else {
        "waiting for requests"
    });
    loop {
        let ended = watch.go(desk, &mut lines, &mut seen).await;
        match ended {
            Ok(()) => return seen.over(),
            // Refusals are final; a gateway that has gone may come back.
            Err(stop) if stop.exit == Exit::Refused => return Err(stop),
            Err(stop) => out::say(&format!("{}; trying again", text::line(&stop.why))),
        }
        watch = loop {
            tokio::select! {
                () = sleep(RECONNECT) => {}
                _ = tokio::signal::ctrl_c() => return seen.over(),
                () = out::reader_gone() => return seen.over(),
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
        let mut owner = desk.open().await?;
        let events = Events::of(owner.stream("/v1/events").await?);
        Ok(Self { owner, events })
    }

    /// Shows and decides until the owner ends it (`Ok`) or the gateway goes away.
    async fn go(
        &mut self,
        desk: &Desk,
        lines: &mut Option<mpsc::UnboundedReceiver<Typed>>,
        seen: &mut WatchState,
    ) -> Result<(), Stop> {
        loop {
            if let Some(lost) = &seen.unanswered {
                let fate = lost.look(&mut self.owner).await?;
                let waits = fate == DecisionStatus::Waits;
                if !(waits && seen.still_waits) {
                    out::say(&lost.said(fate));
                }
                seen.still_waits = waits;
                if !waits {
                    seen.unanswered = None;
                }
            }
            let items = self.pending().await?;
            let planning = items.iter().any(plan::is_planning);
            let next = items.iter().find(|item| {
                !plan::is_planning(item) && !seen.done.contains(&item.heading.pending_id)
            });
            if let Some(item) = next {
                let item = match whole(&mut self.owner, item.clone()).await {
                    Err(gone) if gone.code == UNKNOWN_ITEM => continue,
                    card => &card?,
                };
                if desk.json {
                    out::line(&json_line(item)?)?;
                } else {
                    out::line("")?;
                    let is_paused = pause::is_on(&mut self.owner).await;
                    card::print(&card::render(item, span::now(), is_paused))?;
                    pause::tell(is_paused);
                }
                if lines.is_some() {
                    match self.decide(lines, item).await? {
                        QuestionEnd::Decided => seen.forget(item),
                        QuestionEnd::Aside => {}
                        // An owner who sent a decision on it and heard nothing learns it from the item, at the next round.
                        QuestionEnd::Gone if seen.is_unanswered(item) => {}
                        QuestionEnd::Gone => {
                            let id = &item.heading.pending_id;
                            out::say(&ending(&mut self.owner, id).await.why);
                        }
                        QuestionEnd::Unanswered(lost) => {
                            seen.unanswered = Some(lost);
                            seen.still_waits = false;
                            continue;
                        }
                        QuestionEnd::Over => return Ok(()),
                    }
                }
                // Only now: a question that a lost connection has cut short is asked again.
                seen.done.insert(item.heading.pending_id.clone());
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

    async fn pending(&mut self) -> Result<Vec<Item>, Stop> {
        waiting(&mut self.owner).await
    }

    /// Asks until this item is decided or put aside, or the owner ends the watch.
    async fn decide(
        &mut self,
        lines: &mut Option<mpsc::UnboundedReceiver<Typed>>,
        item: &Item,
    ) -> Result<QuestionEnd, Stop> {
        let windows = answers::windows(item.card.choices());
        let question = question(item, &windows);
        out::say(&question);
        let asked = Instant::now();
        loop {
            let (typed, line) = match self.wait(lines, IDLE).await? {
                Woke::Over => return Ok(QuestionEnd::Over),
                Woke::Line(typed) => typed,
                Woke::Changed => {
                    let id = &item.heading.pending_id;
                    let items = self.pending().await?;
                    if items.iter().any(|other| other.heading.pending_id == *id) {
                        continue;
                    }
                    return Ok(QuestionEnd::Gone);
                }
            };
            match answer(&line, item, typed.saturating_duration_since(asked)) {
                Ok(Answer::Quit) => return Ok(QuestionEnd::Over),
                Ok(Answer::Skip) => {
                    out::say("it still waits: plexusctl approvals");
                    return Ok(QuestionEnd::Aside);
                }
                Ok(Answer::All) => {
                    let is_paused = pause::is_on(&mut self.owner).await;
                    card::print(&card::everything::render(item, span::now(), is_paused))?;
                    out::say(&question);
                }
                Ok(Answer::Decide(verdict)) => match verdict.carry_out(&mut self.owner, item).await
                {
                    Ok((_, said)) => {
                        out::say(&said);
                        return Ok(QuestionEnd::Decided);
                    }
                    Err(stop) if stop.done == Done::Unknown => {
                        let lost = Unanswered::of(&verdict, item);
                        out::say(&format!("{}; {}", text::line(&stop.why), lost.unknown()));
                        return Ok(QuestionEnd::Unanswered(lost));
                    }
                    Err(stop) if stop.code == UNKNOWN_ITEM => return Ok(QuestionEnd::Gone),
                    // The gateway said no to this way of deciding; the owner may choose another.
                    Err(stop) if stop.exit != Exit::Unreachable => {
                        out::say(&format!("{stop}\n{question}"));
                    }
                    Err(stop) => return Err(stop),
                },
                Err(why) => out::say(&format!("{why}\n{question}")),
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
            () = out::reader_gone() => Ok(Woke::Over),
            () = sleep(idle) => Ok(Woke::Changed),
            event = self.events.next() => match event? {
                Some(_) => Ok(Woke::Changed),
                None => Err(Stop::new(Exit::Failed, "connection_lost", "the gateway ended the stream")),
            },
        }
    }
}

/// The keys of this card. Windows that it cannot be allowed for have none.
fn question(item: &Item, windows: &[TrustWindow]) -> String {
    let mut keys = Vec::new();
    let is_change = matches!(item.card, Card::Change(_));
    let has_open_folder =
        matches!(&item.card, Card::Register(card) if !card.folders_to_name.is_empty());
    // The gateway refuses to approve what it could not compute; the key would only promise it.
    if !plan::is_lost(item) && !has_open_folder {
        let yes = match &item.card {
            Card::Change(_) | Card::Question(_) | Card::Register(_) => "y approve",
            Card::Grant(card) if !card.asks.iter().all(Ask::is_one_call) => "y approve",
            Card::Grant(card) if card.choices.iter().any(|choice| choice.any_input) => {
                "y approve once, any input"
            }
            Card::Brief(_) | Card::Grant(_) => "y approve once",
        };
        keys.push(yes.to_owned());
        let offered = KEYS.iter().filter(|(_, window)| windows.contains(window));
        keys.extend(offered.map(|(key, window)| format!("{key} {}", said(*window))));
    }
    // No agent asked for a change, so there is nobody to tell why.
    keys.push(if is_change { "n deny" } else { "n WHY deny" }.to_owned());
    keys.extend(["s later", "? details", "q quit"].map(str::to_owned));
    let agent = item.heading.agent_id.as_ref();
    let agent = agent.map_or("", |agent| agent.as_str());
    let asked = match &item.card {
        Card::Change(card) if card.is_of_code() => {
            format!("let {} run what is shown?", card.source.id)
        }
        Card::Change(card) => format!("resume the grants on {}?", card.source.id),
        Card::Question(card) if plan::is_lost(item) => format!(
            "answer {}? (plexusctl approvals approve {})",
            card.source.id, item.heading.pending_id
        ),
        Card::Question(card) => format!("answer {}?", card.source.id),
        Card::Register(_) if has_open_folder => format!(
            "add this extension of {agent}'s? (plexusctl approvals approve {} --folder NAME=PATH)",
            item.heading.pending_id
        ),
        Card::Register(_) => format!("add this extension of {agent}'s?"),
        Card::Brief(_) if item.card.proposed_source().is_some() => {
            format!("add this extension of {agent}'s?")
        }
        Card::Brief(_) | Card::Grant(_) => format!("let {agent} do this?"),
    };
    format!("{asked}  {}", keys.join(" · "))
}

/// Keys that allow more than one call. No single letter does: on the screen `d` denies.
const KEYS: [(&str, TrustWindow); 4] = [
    ("1h", TrustWindow::HOUR),
    ("1d", TrustWindow::DAY),
    ("7d", TrustWindow::WEEK),
    ("until-revoked", TrustWindow::UntilRevoked),
];

fn said(window: TrustWindow) -> &'static str {
    match window {
        TrustWindow::HOUR => "for an hour",
        TrustWindow::DAY => "for a day",
        TrustWindow::WEEK => "for a week",
        TrustWindow::UntilRevoked => "for good",
        other => other.phrase(),
    }
}

enum Answer {
    Decide(Verdict),
    Skip,
    All,
    Quit,
}

/// What the owner answered so long after the question. Putting aside and ending need no reading.
fn answer(line: &str, item: &Item, after: Duration) -> Result<Answer, String> {
    match parse(line, item)? {
        Answer::Decide(_) if after < READING => {
            Err("that was typed before you could read this card; press it again".to_owned())
        }
        answer => Ok(answer),
    }
}

/// What the owner typed. Enter alone decides nothing, nor does a key with more behind it, a reason excepted.
fn parse(line: &str, item: &Item) -> Result<Answer, String> {
    let choices = item.card.choices();
    let windows = answers::windows(choices);
    let (key, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
    let rest = rest.trim();
    let approve = |window| {
        let terms = Terms::lasting(window);
        let any_input = window.is_none() && choices.iter().any(|choice| choice.any_input);
        Ok(Answer::Decide(Verdict::Approve { terms, any_input }))
    };
    match (key, rest) {
        ("y" | "a", "") => approve(None),
        ("n" | "d", reason) => {
            let reason = words::given_reason(Some(reason)).map_err(|long| long.to_string())?;
            Ok(Answer::Decide(Verdict::Deny { reason }))
        }
        ("s", "") => Ok(Answer::Skip),
        ("?", "") => Ok(Answer::All),
        ("q", "") => Ok(Answer::Quit),
        (key, "") => match KEYS.iter().find(|(known, _)| *known == key) {
            Some((_, window)) if windows.contains(window) => approve(Some(*window)),
            Some(_) => Err("this card does not offer that".to_owned()),
            None => Err(NONE.to_owned()),
        },
        _ => Err(NONE.to_owned()),
    }
}

const NONE: &str = "that is none of the keys; nothing was decided";

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
    use crate::approvals::fixture;

    /// An item that may be allowed for an hour, and for a week unless `refused` says why not.
    fn offered_unless(refused: Option<&'static str>) -> Item {
        let mut item = fixture::waiting(fixture::ITEM);
        let Card::Grant(card) = &mut item.card else {
            unreachable!()
        };
        card.choices = fixture::choices(&[
            (TrustWindow::Once, None),
            (TrustWindow::HOUR, None),
            (TrustWindow::WEEK, refused),
        ]);
        item
    }

    fn offered() -> Item {
        offered_unless(None)
    }

    #[test]
    fn an_answer_to_another_card_decides_nothing_here() {
        for early in [Duration::ZERO, READING - Duration::from_millis(1)] {
            for line in ["y", "n", "1h"] {
                let why = answer(line, &offered(), early).map(|_| ()).unwrap_err();
                assert!(why.contains("before you could read"), "{line}: {why}");
            }
        }
        assert!(matches!(
            answer("y", &offered(), READING),
            Ok(Answer::Decide(_))
        ));
        assert!(matches!(
            answer("q", &offered(), Duration::ZERO),
            Ok(Answer::Quit)
        ));
    }

    #[test]
    fn keys() {
        let window = |line: &str| match parse(line, &offered()) {
            Ok(Answer::Decide(Verdict::Approve {
                terms,
                any_input: false,
            })) => Some(terms.window),
            _ => None,
        };
        assert_eq!(window("y"), Some(None));
        assert_eq!(window("a"), Some(None));
        assert_eq!(window("1h\n"), Some(Some(TrustWindow::HOUR)));
        assert_eq!(window("7d"), Some(Some(TrustWindow::WEEK)));
        assert_eq!(window("1d"), None, "a window that this card does not offer");
        let reason = |line: &str| match parse(line, &offered()) {
            Ok(Answer::Decide(Verdict::Deny { reason })) => Some(reason),
            _ => None,
        };
        assert_eq!(reason("n"), Some(None));
        assert_eq!(reason("d"), Some(None), "as on the screen");
        assert_eq!(reason("n not now "), Some(Some("not now".to_owned())));
        let long = parse(
            &format!("n {}", "x".repeat(words::MAX_WORDS + 1)),
            &offered(),
        );
        let why = long.map(|_| ()).unwrap_err();
        assert_eq!(why, words::ReasonTooLong(281).to_string());
        for (line, fits) in [("s", true), (" q ", true), ("?", true)] {
            assert_eq!(parse(line, &offered()).is_ok(), fits);
        }
        let refused = |line| parse(line, &offered()).map(|_| ()).unwrap_err();
        for nothing in ["", "yes", "Y", "y b", "no", "1", "w", "1h forever"] {
            assert_eq!(refused(nothing), NONE, "{nothing:?}");
        }
        assert_eq!(refused("until-revoked"), "this card does not offer that");
    }

    #[test]
    fn the_question_has_the_keys_of_its_card() {
        let item = offered_unless(Some("it runs code"));
        let asked = |item: &Item| question(item, &answers::windows(item.card.choices()));
        assert_eq!(
            asked(&item),
            "let my-cc do this?  y approve once · 1h for an hour · n WHY deny · s later · ? details · q quit"
        );
        assert_eq!(
            asked(&fixture::read(fixture::change())),
            "resume the grants on notes?  y approve · n deny · s later · ? details · q quit"
        );
        let mut more = fixture::grant();
        more["asks"][0]["conversation"] = serde_json::json!({"turns": 3, "minutes": 5});
        let keys = asked(&fixture::read(more));
        assert!(keys.contains("  y approve · "), "{keys}");
        let mut lost = fixture::grant();
        lost["asks"][0]["plan"] = serde_json::json!({"error": "x"});
        assert_eq!(
            asked(&fixture::read(lost)),
            "let my-cc do this?  n WHY deny · s later · ? details · q quit"
        );
    }
}
