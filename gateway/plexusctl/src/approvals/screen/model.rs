//! What the screen shows, and what a key does to it. Pure: no terminal, no gateway; moments are arguments.
//!
//! ```text
//! reading ─a─▶ answering yes ─Enter─▶ sent        reading ─d─▶ answering no ─Enter─▶ sent
//!    ▲              │ Esc                                               │
//!    └──────────────┴───────────────────────────────────────────────────┘
//! answering, and the card changes or ends ─▶ interrupted ─Esc─▶ reading
//! ```
//! Invariants: what is sent is the item that is on the screen, with the digest of that card; a card that was shown for
//! less than [`READING`] is not decided, whatever was typed; one key alone decides nothing; letters that are typed
//! on after a card went mean nothing for the next; while a decision is under way there is no other; a decision whose answer
//! was lost is told as such, and then by what its item says.

use super::form::{Denial, Form};
use crate::approvals::{
    card::plan,
    decide::{DecisionStatus, READING, Unanswered, Verdict},
};
use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use plexus_client::{Done, Exit, Stop, text};
use plexus_owner::pending::Item;
use plexus_protocol::{ErrorCode, PendingId};
use std::time::Instant;

const UNREAD: &str = "that was typed before you could read this card; press it again";

/// What the owner is doing.
pub(super) enum Panel {
    /// Reading the card.
    None,
    /// Saying yes, and on which terms.
    Approve(Form),
    /// Saying no, and why.
    Deny(Denial),
    /// The card went or changed while it was answered: the rest of what is typed is no answer to another.
    Interrupted,
    /// Reading about the keys, from this row on; the view keeps it within them.
    Help(usize),
}

/// What a line about the last act is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Tone {
    /// It went as it should.
    Fine,
    /// It did not.
    Wrong,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum ScreenAction {
    /// Nothing beyond the screen.
    Nothing,
    /// End.
    Quit,
    /// Carry out a decision on this item.
    Decide(Box<(Verdict, Item)>),
    /// Have it planned again.
    Plan(PendingId),
}

/// Something that was sent to the gateway.
enum UnderWay {
    /// A decision; told by its item where its answer is lost.
    Decision(Unanswered),
    /// A wish to have this item planned again.
    Plan(PendingId),
}

impl UnderWay {
    fn item(&self) -> &PendingId {
        match self {
            Self::Decision(decision) => &decision.item,
            Self::Plan(item) => item,
        }
    }
}

/// A decision whose answer was lost.
struct Lost {
    decision: Unanswered,
    /// Whether it was said that the item still waits.
    told: bool,
}

/// The state of the screen.
pub(super) struct Model {
    /// What waits, the oldest first.
    pub(super) items: Vec<Item>,
    /// Whether it was ever read.
    pub(super) loaded: bool,
    /// Whether a plan of what waits is still being made.
    planning: bool,
    /// Place of the card that is shown.
    pub(super) at: usize,
    /// First line of the card that is shown; the view keeps it within the card.
    pub(super) scroll: usize,
    /// Lines that one page of the card has; set by the view.
    pub(super) page: usize,
    /// Everything that the digest covers, instead of the short card.
    pub(super) whole: bool,
    /// What the owner is doing.
    pub(super) panel: Panel,
    /// The last thing to say.
    pub(super) note: Option<(Tone, String)>,
    /// The note that goes with the next request.
    over: Option<(Tone, String)>,
    /// How a request ended that was shown and waits no longer, until that is said.
    pub(super) ending: Option<(PendingId, String)>,
    /// Whether all agents are paused: what is approved is made when that ends.
    pub(super) paused: bool,
    /// Why the gateway is not heard at present.
    pub(super) lost: Option<String>,
    /// What is under way.
    deciding: Option<UnderWay>,
    /// The yes that is under way, as it was written, and its item: terms that are refused are written again.
    sent: Option<(Item, Form)>,
    /// Decisions whose answer was lost.
    unanswered: Vec<Lost>,
    /// The item that was decided here last.
    decided: Option<PendingId>,
    /// Since when this card, as it is, is on the screen.
    shown: Instant,
    /// When a card came to where another stood, by itself.
    replaced: Option<Instant>,
}

impl Model {
    /// An empty screen.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            items: Vec::new(),
            loaded: false,
            planning: false,
            at: 0,
            scroll: 0,
            page: 1,
            whole: false,
            panel: Panel::None,
            note: None,
            over: None,
            ending: None,
            paused: false,
            lost: None,
            deciding: None,
            sent: None,
            unanswered: Vec::new(),
            decided: None,
            shown: now,
            replaced: None,
        }
    }

    /// The item whose card is shown.
    pub(super) fn item(&self) -> Option<&Item> {
        self.items.get(self.at)
    }

    /// Whether a decision is under way.
    pub(super) fn is_deciding(&self) -> bool {
        self.deciding.is_some()
    }

    /// Whether something is still being computed, so that looking again soon is worth it.
    pub(super) fn is_planning(&self) -> bool {
        self.planning
    }

    /// Takes up what waits now, the oldest first.
    pub(super) fn load(&mut self, mut items: Vec<Item>, now: Instant) {
        let before = self.item().cloned();
        self.loaded = true;
        self.lost = None;
        self.planning = items.iter().any(plan::is_planning);
        let Some(before) = before else {
            if !items.is_empty() && self.note == self.over {
                self.note = None;
            }
            self.items = items;
            self.mark_over();
            return self.give_way(0, now);
        };
        let id = &before.heading.pending_id;
        let mut ids = items.iter().map(|item| &item.heading.pending_id);
        let place = ids.position(|other| other == id);
        // A gateway that was restarted makes each plan again: the card that was read stays until that plan is there.
        if let Some(again) = place.and_then(|place| items.get_mut(place))
            && plan::is_planning(again)
            && before.card.digest().is_some()
            && !plan::is_lost(&before)
        {
            *again = before.clone();
        }
        self.items = items;
        match place {
            Some(place) if self.items[place] == before => self.at = place,
            Some(place) => {
                self.at = place;
                self.shown = now;
                let both = [&before, &self.items[place]];
                let is_of_plan = both.iter().any(|item| plan::is_planning(item));
                // A plan that came is what everybody waited for; anything else happened behind the reader's back.
                if !is_of_plan || self.is_answering() {
                    self.panel = self.interrupted();
                    self.replaced = Some(now);
                    self.say(
                        Tone::Wrong,
                        "this card has changed: read it again; nothing was decided",
                    );
                }
            }
            None => {
                let here = self.decided.as_ref() == Some(id)
                    || self.deciding.as_ref().is_some_and(|it| it.item() == id)
                    || self.unanswered.iter().any(|lost| lost.decision.item == *id);
                if !here {
                    let ending = self.ending.take().filter(|(of, _)| of == id);
                    let said = ending.map_or_else(
                        || format!("the request {id} is no longer pending"),
                        |(_, said)| said,
                    );
                    self.say(Tone::Fine, &said);
                }
                self.give_way(self.at, now);
                self.replaced = Some(now);
                self.mark_over();
            }
        }
    }

    /// Once nothing waits, the note is about a request that is over and goes with the next one. A note that comes later was not
    /// read yet, and one of a failure stays.
    fn mark_over(&mut self) {
        let note = self.note.clone();
        self.over = note.filter(|(tone, _)| self.items.is_empty() && *tone == Tone::Fine);
    }

    /// A decision, or a wish to plan again, ended: with what to say, or with why it was not done.
    pub(super) fn ended(&mut self, end: Result<String, Stop>) {
        let ended = self.deciding.take();
        let sent = self.sent.take();
        match end {
            Ok(said) => {
                self.decided = ended.map(|it| it.item().clone());
                let decided = self.decided.as_ref();
                self.unanswered
                    .retain(|lost| decided != Some(&lost.decision.item));
                self.say(Tone::Fine, &said);
            }
            Err(stop) if stop.done == Done::Unknown => {
                let mut said = text::line(&stop.why);
                if let Some(UnderWay::Decision(decision)) = ended {
                    said.push_str(&format!("; {}", decision.unknown()));
                    // The later one takes the place of the one before it; one that is refused does not.
                    self.unanswered
                        .retain(|lost| lost.decision.item != decision.item);
                    self.unanswered.push(Lost {
                        decision,
                        told: false,
                    });
                }
                self.say(Tone::Wrong, &said);
            }
            Err(stop) => {
                let next = if stop.next.is_empty() {
                    String::new()
                } else {
                    format!("; {}", text::line(&stop.next))
                };
                let (code, why) = (text::line(&stop.code), text::line(&stop.why));
                let said = match code == ErrorCode::SchemaValidationFailed.as_str() {
                    true => why,
                    false => format!("{code}: {why}{next}"),
                };
                self.say(Tone::Wrong, &said);
                let is_answer = stop.done == Done::None && stop.exit != Exit::Unreachable;
                if let Some((item, form)) = sent
                    && is_answer
                    && stop.code != ErrorCode::CardChanged.as_str()
                    && matches!(self.panel, Panel::None)
                    && self.item() == Some(&item)
                {
                    self.panel = Panel::Approve(form);
                }
            }
        }
    }

    /// The decisions of which nobody knows whether they were carried out.
    pub(super) fn unanswered(&self) -> Vec<Unanswered> {
        let lost = self.unanswered.iter();
        lost.map(|lost| lost.decision.clone()).collect()
    }

    /// Whether a decision is under way, or was sent and is not known to have been carried out.
    pub(super) fn is_in_doubt(&self) -> bool {
        !self.unanswered.is_empty() || matches!(self.deciding, Some(UnderWay::Decision(_)))
    }

    /// What the item says of a decision whose answer was lost.
    pub(super) fn settle(&mut self, decision: &Unanswered, fate: DecisionStatus) {
        let here = |lost: &Lost| lost.decision == *decision;
        let Some(place) = self.unanswered.iter().position(here) else {
            return;
        };
        let tone = match fate {
            DecisionStatus::Done => Tone::Fine,
            DecisionStatus::Waits | DecisionStatus::Otherwise | DecisionStatus::Over => Tone::Wrong,
        };
        if fate != DecisionStatus::Waits {
            self.unanswered.remove(place);
            self.decided = Some(decision.item.clone());
        } else if std::mem::replace(&mut self.unanswered[place].told, true) {
            // It is still looked for: a gateway that was slow may carry it out yet.
            return;
        }
        self.say(tone, &decision.said(fate));
    }

    /// What pressing a key does.
    pub(super) fn key(&mut self, key: KeyEvent, at: Instant) -> ScreenAction {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => ScreenAction::Quit,
                _ => ScreenAction::Nothing,
            };
        }
        match &mut self.panel {
            Panel::None => self.read(key.code, at),
            Panel::Interrupted => {
                if key.code == KeyCode::Esc {
                    self.panel = Panel::None;
                    self.shown = at;
                }
                ScreenAction::Nothing
            }
            Panel::Help(from) => {
                match key.code {
                    KeyCode::Down | KeyCode::Char('j') => *from = from.saturating_add(1),
                    KeyCode::Up | KeyCode::Char('k') => *from = from.saturating_sub(1),
                    _ => self.panel = Panel::None,
                }
                ScreenAction::Nothing
            }
            Panel::Approve(_) | Panel::Deny(_) if key.code == KeyCode::Esc => {
                self.panel = Panel::None;
                self.note = None;
                ScreenAction::Nothing
            }
            Panel::Approve(form) if key.code != KeyCode::Enter => {
                form.key(key.code);
                ScreenAction::Nothing
            }
            Panel::Deny(denial) if key.code != KeyCode::Enter => {
                denial.key(key.code);
                ScreenAction::Nothing
            }
            Panel::Approve(_) | Panel::Deny(_) => self.answer(at),
        }
    }

    /// Text that was pasted goes into the field that is being written, and nowhere else: it is never a key.
    pub(super) fn paste(&mut self, pasted: &str) {
        match &mut self.panel {
            Panel::Approve(form) => form.paste(pasted),
            Panel::Deny(denial) => denial.paste(pasted),
            Panel::None | Panel::Interrupted | Panel::Help(_) => {}
        }
    }

    fn read(&mut self, code: KeyCode, now: Instant) -> ScreenAction {
        // It was about the card, or the decision, before. A second Enter, or a look further down, takes it from nobody.
        if matches!(
            code,
            KeyCode::Char('a' | 'y' | 'd' | 'v' | 'n' | 'p')
                | KeyCode::Left
                | KeyCode::Right
                | KeyCode::Tab
                | KeyCode::BackTab
        ) {
            self.note = None;
        }
        match code {
            KeyCode::Char('q') => return ScreenAction::Quit,
            KeyCode::Char('?') | KeyCode::Char('h') => self.panel = Panel::Help(0),
            KeyCode::Char('a' | 'y' | 'd') if self.is_another(now) => {
                self.say(Tone::Wrong, UNREAD);
            }
            KeyCode::Char('a') | KeyCode::Char('y') => self.begin_yes(),
            KeyCode::Char('d') => self.begin_no(),
            KeyCode::Char('v') => {
                self.whole = !self.whole;
                self.scroll = 0;
            }
            KeyCode::Char('r') => return self.plan_again(),
            KeyCode::Char('n') | KeyCode::Right | KeyCode::Tab => self.turn_to(self.at + 1, now),
            KeyCode::Char('p') | KeyCode::Left | KeyCode::BackTab => {
                self.turn_to(self.at.saturating_sub(1), now);
            }
            KeyCode::Down | KeyCode::Char('j') => self.scroll = self.scroll.saturating_add(1),
            KeyCode::Up | KeyCode::Char('k') => self.scroll = self.scroll.saturating_sub(1),
            KeyCode::PageDown | KeyCode::Char(' ') => {
                self.scroll = self.scroll.saturating_add(self.page);
            }
            KeyCode::PageUp => self.scroll = self.scroll.saturating_sub(self.page),
            KeyCode::Home => self.scroll = 0,
            KeyCode::End => self.scroll = usize::MAX,
            _ => {}
        }
        ScreenAction::Nothing
    }

    fn begin_yes(&mut self) {
        let Some(item) = self.item() else {
            return;
        };
        if self.is_deciding() {
            return self.say(Tone::Wrong, "a decision is under way");
        }
        if plan::is_planning(item) {
            return self.say(Tone::Wrong, "what it would do is still being computed");
        }
        match Form::of(item) {
            Some(form) => self.panel = Panel::Approve(form),
            None => {
                let mut choices = item.card.choices().iter();
                let why = choices.find_map(|choice| choice.refused.as_ref());
                let why = why.map_or(String::new(), |why| format!(": {}", text::line(why)));
                self.say(Tone::Wrong, &format!("this cannot be approved{why}"));
            }
        }
    }

    fn begin_no(&mut self) {
        if self.is_deciding() {
            self.say(Tone::Wrong, "a decision is under way");
        } else if let Some(item) = self.item() {
            self.panel = Panel::Deny(Denial::of(item));
        }
    }

    fn plan_again(&mut self) -> ScreenAction {
        match self.item() {
            Some(item) if !self.is_deciding() && plan::is_lost(item) => {
                let id = item.heading.pending_id.clone();
                self.deciding = Some(UnderWay::Plan(id.clone()));
                ScreenAction::Plan(id)
            }
            _ => ScreenAction::Nothing,
        }
    }

    /// Enter in a panel: the decision, unless the card is too new to have been read.
    fn answer(&mut self, now: Instant) -> ScreenAction {
        let Some(item) = self.item().cloned() else {
            return ScreenAction::Nothing;
        };
        if self.is_unread(now) {
            self.say(Tone::Wrong, UNREAD);
            return ScreenAction::Nothing;
        }
        let verdict = match &mut self.panel {
            Panel::Approve(form) => form.verdict(),
            Panel::Deny(denial) => denial.verdict(),
            Panel::None | Panel::Interrupted | Panel::Help(_) => return ScreenAction::Nothing,
        };
        match verdict {
            Err(why) => {
                self.say(Tone::Wrong, &text::line(&why));
                ScreenAction::Nothing
            }
            Ok(verdict) => {
                self.sent = match std::mem::replace(&mut self.panel, Panel::None) {
                    Panel::Approve(form) => Some((item.clone(), form)),
                    _ => None,
                };
                self.note = None;
                let decision = Unanswered::of(&verdict, &item);
                self.deciding = Some(UnderWay::Decision(decision));
                ScreenAction::Decide(Box::new((verdict, item)))
            }
        }
    }

    fn turn_to(&mut self, place: usize, now: Instant) {
        self.at = place.min(self.items.len().saturating_sub(1));
        self.scroll = 0;
        self.panel = Panel::None;
        self.shown = now;
    }

    /// Whether nobody can have read the card that is shown.
    fn is_unread(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.shown) < READING
    }

    /// Whether a key may be meant for the card that stood here before.
    fn is_another(&self, now: Instant) -> bool {
        let since = self.replaced.map(|at| now.saturating_duration_since(at));
        since.is_some_and(|since| since < READING)
    }

    /// The panel once the card goes.
    fn interrupted(&self) -> Panel {
        match self.is_answering() || matches!(self.panel, Panel::Interrupted) {
            true => Panel::Interrupted,
            false => Panel::None,
        }
    }

    /// Shows another card, which nobody turned to.
    fn give_way(&mut self, place: usize, now: Instant) {
        let panel = self.interrupted();
        self.turn_to(place, now);
        self.panel = panel;
    }

    fn is_answering(&self) -> bool {
        matches!(self.panel, Panel::Approve(_) | Panel::Deny(_))
    }

    /// Something to say on the line for it. The text is ours, or was escaped.
    pub(super) fn say(&mut self, tone: Tone, said: &str) {
        self.note = Some((tone, said.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::approvals::{fixture, screen::form::tests::item};
    use plexus_owner::pending::{Card, Plan};
    use std::time::Duration;

    fn press(model: &mut Model, code: KeyCode, at: Instant) -> ScreenAction {
        model.key(KeyEvent::from(code), at)
    }

    fn second() -> Item {
        let mut second = item();
        second.heading.pending_id = PendingId::parse(fixture::OTHER).unwrap();
        second
    }

    fn with_two() -> (Model, Instant) {
        let now = Instant::now();
        let mut model = Model::new(now);
        model.load(vec![item(), second()], now);
        (model, now + READING)
    }

    #[test]
    fn no_single_key_decides_and_none_before_the_card_was_read() {
        let (mut model, read) = with_two();
        for code in [
            KeyCode::Enter,
            KeyCode::Char('y'),
            KeyCode::Char('d'),
            KeyCode::Char('a'),
        ] {
            model.panel = Panel::None;
            assert!(
                matches!(press(&mut model, code, read), ScreenAction::Nothing),
                "{code:?}"
            );
        }
        let early = press(&mut model, KeyCode::Enter, read - Duration::from_millis(1));
        assert!(matches!(early, ScreenAction::Nothing) && matches!(model.panel, Panel::Approve(_)));
        assert!(matches!(
            press(&mut model, KeyCode::Enter, read),
            ScreenAction::Decide(_)
        ));
        // One at a time, and the next card has to be read too.
        press(&mut model, KeyCode::Char('a'), read);
        assert!(matches!(model.panel, Panel::None));
        model.ended(Ok("approved".into()));
        model.load(vec![second()], read);
        press(&mut model, KeyCode::Char('d'), read);
        assert!(matches!(model.panel, Panel::None));
        press(&mut model, KeyCode::Char('d'), read + READING);
        assert!(matches!(
            press(&mut model, KeyCode::Enter, read + READING),
            ScreenAction::Decide(_)
        ));
    }

    /// A person types on, however fast: no letter of a reason answers the card that came.
    #[test]
    fn rest_of_a_reason_decides_no_other_request() {
        let (mut model, read) = with_two();
        press(&mut model, KeyCode::Char('d'), read);
        for (at, letter) in "bad write again".chars().enumerate() {
            // It goes, and another comes in its place a while after.
            match at {
                4 => model.load(Vec::new(), read),
                6 => model.load(vec![second()], read),
                _ => {}
            }
            let later = read + READING * (u32::try_from(at).unwrap() + 1);
            let said = press(&mut model, KeyCode::Char(letter), later);
            assert!(matches!(said, ScreenAction::Nothing));
        }
        let later = read + READING * 100;
        for code in [KeyCode::Enter, KeyCode::Char('a'), KeyCode::Enter] {
            assert!(matches!(
                press(&mut model, code, later),
                ScreenAction::Nothing
            ));
        }
        // The control: once that was seen, the card is decided as ever.
        press(&mut model, KeyCode::Esc, later);
        press(&mut model, KeyCode::Char('a'), later + READING);
        match press(&mut model, KeyCode::Enter, later + READING) {
            ScreenAction::Decide(sent) => assert_eq!(sent.1, second()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_card_that_changes_closes_its_panel_and_another_does_not() {
        let (mut model, read) = with_two();
        press(&mut model, KeyCode::Char('a'), read);
        let mut other = second();
        other.heading.agent_purpose = Some("new".into());
        model.load(vec![item(), other], read);
        assert!(
            matches!(model.panel, Panel::Approve(_)),
            "another card is no matter"
        );
        let mut changed = item();
        changed.heading.agent_purpose = Some("new".into());
        model.load(vec![changed.clone()], read);
        assert!(matches!(model.panel, Panel::Interrupted));
        assert!(
            model
                .note
                .as_ref()
                .is_some_and(|(tone, said)| *tone == Tone::Wrong && said.contains("has changed"))
        );
        press(&mut model, KeyCode::Esc, read);
        press(&mut model, KeyCode::Char('a'), read);
        assert!(
            matches!(
                press(&mut model, KeyCode::Enter, read),
                ScreenAction::Nothing
            ),
            "it is a new card"
        );
        press(&mut model, KeyCode::Char('a'), read + READING);
        // The card that goes to the gateway is the one on the screen.
        match press(&mut model, KeyCode::Enter, read + READING) {
            ScreenAction::Decide(sent) => assert_eq!(sent.1, changed),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_plan_that_comes_is_no_change_to_complain_of() {
        let now = Instant::now();
        let mut model = Model::new(now);
        let mut planning = item();
        let Card::Grant(card) = &mut planning.card else {
            unreachable!()
        };
        card.asks[0].plan = Plan::Making;
        model.load(vec![planning], now);
        press(&mut model, KeyCode::Char('a'), now + READING);
        assert!(matches!(model.panel, Panel::None), "nothing to approve yet");
        model.note = None;
        model.load(vec![item()], now);
        assert_eq!(model.note, None);
    }

    #[test]
    fn plan_made_again_changes_no_card() {
        let (mut model, read) = with_two();
        press(&mut model, KeyCode::Char('a'), read);
        let mut again = item();
        let Card::Grant(card) = &mut again.card else {
            unreachable!()
        };
        (card.asks[0].plan, card.card_digest) = (Plan::Making, None);
        model.load(vec![again.clone(), second()], read);
        assert!(model.is_planning() && model.item() == Some(&item()));
        model.load(vec![item(), second()], read);
        assert!(!model.is_planning() && model.note.is_none());
        assert!(matches!(model.panel, Panel::Approve(_)));
        // The control: another plan is another card.
        model.load(vec![again], read);
        let mut changed = item();
        changed.heading.agent_purpose = Some("new".into());
        model.load(vec![changed], read);
        assert!(matches!(model.panel, Panel::Interrupted) && model.note.is_some());
    }

    #[test]
    fn note_of_an_older_request_goes_with_the_next() {
        let (mut model, read) = with_two();
        for _ in 0..2 {
            model.load(Vec::new(), read);
            assert!(model.note.is_some());
        }
        model.load(vec![second()], read);
        assert_eq!(model.note, None);
        // The control: one that came since, and one of a failure.
        for (tone, said) in [(Tone::Fine, "approved"), (Tone::Wrong, "not known")] {
            model.load(Vec::new(), read);
            model.say(tone, said);
            if tone == Tone::Wrong {
                model.load(Vec::new(), read);
            }
            model.load(vec![second()], read);
            assert_eq!(model.note, Some((tone, said.to_owned())));
        }
    }

    #[test]
    fn what_is_refused_is_said_and_can_be_tried_again() {
        let (mut model, read) = with_two();
        press(&mut model, KeyCode::Char('d'), read);
        assert!(matches!(
            press(&mut model, KeyCode::Enter, read),
            ScreenAction::Decide(_)
        ));
        model.ended(Err(Stop::new(
            Exit::Failed,
            "card_changed",
            "not \u{1b} this",
        )
        .next("look")));
        let (tone, said) = model.note.clone().unwrap();
        assert_eq!(
            (tone, said.as_str()),
            (Tone::Wrong, "card_changed: not \\u{1b} this; look")
        );
        press(&mut model, KeyCode::Char('d'), read);
        assert!(matches!(
            press(&mut model, KeyCode::Enter, read),
            ScreenAction::Decide(_)
        ));
    }

    #[test]
    fn limits_that_are_refused_stay_written() {
        let (mut model, read) = with_two();
        let (schema, limit) = ("schema_validation_failed", "limit it to “notes”");
        for (code, is_same, words) in [
            (schema, true, limit),
            ("paused", true, "paused: limit it to “notes”; fix it"),
            (
                "card_changed",
                false,
                "card_changed: limit it to “notes”; fix it",
            ),
            (schema, false, limit),
        ] {
            let stop = || Stop::new(Exit::Failed, code, limit).next("fix it");
            model.load(vec![item(), second()], read);
            press(&mut model, KeyCode::Char('a'), read);
            press(&mut model, KeyCode::Tab, read);
            press(&mut model, KeyCode::Char('x'), read);
            let sent = press(&mut model, KeyCode::Enter, read);
            assert!(matches!(sent, ScreenAction::Decide(_)));
            if !is_same && code == schema {
                model.load(vec![second()], read);
            }
            model.ended(Err(stop()));
            let said = model.note.clone().unwrap();
            assert_eq!(said, (Tone::Wrong, words.to_owned()));
            let written = match &model.panel {
                Panel::Approve(form) => Some(form.under.text.as_str()),
                _ => None,
            };
            assert_eq!(written, is_same.then_some("x"), "{code}");
            model.panel = Panel::None;
        }
    }

    #[test]
    fn help_scrolls_and_any_other_key_closes_it() {
        let (mut model, read) = with_two();
        for code in ['?', 'j', 'j', 'k'] {
            press(&mut model, KeyCode::Char(code), read);
        }
        assert!(matches!(model.panel, Panel::Help(1)));
        press(&mut model, KeyCode::Char('q'), read);
        assert!(matches!(model.panel, Panel::None));
    }

    #[test]
    fn a_decision_whose_answer_was_lost_is_told_by_its_item() {
        let (mut model, read) = with_two();
        press(&mut model, KeyCode::Char('d'), read);
        assert!(matches!(
            press(&mut model, KeyCode::Enter, read),
            ScreenAction::Decide(_)
        ));
        let lost = Stop::new(Exit::Failed, "connection_lost", "it is gone");
        model.ended(Err(lost.done(Done::Unknown)));
        let said = |model: &Model| model.note.clone().unwrap();
        assert_eq!(
            said(&model).1,
            format!(
                "it is gone; whether {} is denied is not known yet",
                fixture::ITEM
            )
        );
        let [decision] = model.unanswered().try_into().unwrap();

        // Said once, and never that somebody else did it.
        model.settle(&decision, DecisionStatus::Waits);
        assert!(said(&model).1.contains("still waits"), "{:?}", model.note);
        model.note = None;
        model.settle(&decision, DecisionStatus::Waits);
        model.load(Vec::new(), read);
        assert_eq!(model.note, None);
        model.settle(&decision, DecisionStatus::Done);
        let fine = format!(
            "the answer was lost, and {} is denied, as you decided",
            fixture::ITEM
        );
        assert_eq!(said(&model), (Tone::Fine, fine));
        assert!(model.unanswered().is_empty());
    }

    /// The owner decides again because the item still waits, and meanwhile the first decision is carried out.
    #[test]
    fn a_second_decision_that_is_refused_does_not_hide_the_first() {
        let (mut model, read) = with_two();
        let deny = |model: &mut Model| {
            press(model, KeyCode::Char('d'), read);
            let sent = press(model, KeyCode::Enter, read);
            assert!(matches!(sent, ScreenAction::Decide(_)));
        };
        let stop = |code| Stop::new(Exit::Failed, code, "no");
        deny(&mut model);
        model.ended(Err(stop("deadline_exceeded").done(Done::Unknown)));
        let [first] = model.unanswered().try_into().unwrap();
        model.settle(&first, DecisionStatus::Waits);
        deny(&mut model);
        model.ended(Err(stop("no_such_item")));
        assert_eq!(model.unanswered(), std::slice::from_ref(&first));
        assert!(model.is_in_doubt());
        model.load(Vec::new(), read);
        model.settle(&first, DecisionStatus::Done);
        assert!(model.note.clone().unwrap().1.contains("as you decided"));
        assert!(!model.is_in_doubt());
    }
}
