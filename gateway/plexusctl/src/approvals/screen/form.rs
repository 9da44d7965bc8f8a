//! The fields of an answer: for how long, where, how often; or why not.

use crate::{
    approvals::{answer, decide::Verdict},
    extension::{named_folders, typed_folder},
    terms::Terms,
};
use crossterm::event::KeyCode;
use plexus_client::{Stop, shell};
use plexus_owner::pending::{self, Card, Choice, FieldType, Item};
use plexus_protocol::{PendingId, words};
use plexus_sheet::values_taken;
use serde_json::Map;
use std::path::Path;

/// Most characters of one field.
const MAX_FIELD: usize = 4096;

/// One line that is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Field {
    /// What was written so far.
    pub(super) text: String,
    /// Whether there was more than it holds, until it is empty again.
    is_cut: bool,
}

impl Field {
    /// What a key does to it.
    pub(super) fn key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(c) => self.push(c),
            KeyCode::Backspace => {
                self.text.pop();
                self.is_cut &= !self.text.is_empty();
            }
            _ => {}
        }
    }

    /// Adds a text; line breaks become spaces.
    pub(super) fn paste(&mut self, pasted: &str) {
        for c in pasted.chars() {
            self.push(if c.is_whitespace() { ' ' } else { c });
        }
    }

    fn push(&mut self, c: char) {
        if c.is_control() {
            return;
        }
        match self.text.chars().count() < MAX_FIELD {
            true => self.text.push(c),
            false => self.is_cut = true,
        }
    }

    fn given(&self) -> Option<&str> {
        let given = self.text.trim();
        (!given.is_empty()).then_some(given)
    }

    /// # Errors
    /// Not all of it is here; `next` helps.
    fn whole(&self, name: &str, next: &str) -> Result<(), String> {
        match self.is_cut {
            true => Err(format!("{name} is longer than can be written here: {next}")),
            false => Ok(()),
        }
    }
}

/// A no.
#[derive(Debug)]
pub(super) struct Denial {
    /// The reason; the agent is told.
    pub(super) why: Field,
    /// What the no ends, where no agent asked: then there is nobody to tell a reason to.
    pub(super) ends: Option<String>,
}

impl Denial {
    pub(super) fn of(item: &Item) -> Self {
        Self {
            why: Field::default(),
            ends: match &item.card {
                Card::Change(card) => Some(card.if_denied.clone()),
                Card::Question(card) => Some(card.if_denied.clone()),
                Card::Brief(_) | Card::Grant(_) | Card::Register(_) => None,
            },
        }
    }

    pub(super) fn key(&mut self, code: KeyCode) {
        if self.ends.is_none() {
            self.why.key(code);
        }
    }

    pub(super) fn paste(&mut self, pasted: &str) {
        if self.ends.is_none() {
            self.why.paste(pasted);
        }
    }

    /// The no that this is.
    ///
    /// # Errors
    /// The reason is too long.
    pub(super) fn verdict(&self) -> Result<Verdict, String> {
        // What was cut cannot be counted.
        self.why
            .whole("the reason", "clear it, and write it anew")?;
        words::reason(&self.why.text).map_err(|long| long.to_string())?;
        Ok(Verdict::Deny {
            reason: self.why.given().map(str::to_owned),
        })
    }
}

/// What a yes has to say besides: a field of a server's question, or a folder that an extension is to have.
#[derive(Debug)]
pub(super) struct AnswerLine {
    name: String,
    /// What it is.
    pub(super) label: String,
    /// The field; none of a folder.
    of: Option<pending::Field>,
    /// What was written.
    pub(super) written: Field,
}

impl AnswerLine {
    fn all(card: &Card) -> Vec<Self> {
        let of_field = |field: &pending::Field| Self {
            name: field.name.clone(),
            label: format!(
                "{} ({}{})",
                field.label,
                values_written(field),
                if field.required { "" } else { ", optional" }
            ),
            of: Some(field.clone()),
            written: Field::default(),
        };
        match card {
            Card::Question(card) => card.question.fields().iter().map(of_field).collect(),
            Card::Register(card) => {
                let folders = card.folders_to_name.iter();
                let of_folder = |folder: &pending::FolderToName| Self {
                    name: folder.name.clone(),
                    label: format!("path of the folder {} ({})", folder.name, folder.label),
                    of: None,
                    written: Field::default(),
                };
                folders.map(of_folder).collect()
            }
            Card::Brief(_) | Card::Grant(_) | Card::Change(_) => Vec::new(),
        }
    }

    /// The command that says the same, where this field cannot.
    fn command(&self, item: &PendingId) -> String {
        let (flag, value) = match self.of {
            Some(_) => ("--answer", "VALUE"),
            None => ("--folder", "PATH"),
        };
        let given = shell::quote(&format!("{}={value}", self.name));
        format!("plexusctl approvals approve {item} {flag} {given}")
    }

    /// The values of a field that takes several; none where it cannot be told which are meant.
    fn several<'t>(field: &pending::Field, given: &'t str) -> Option<Vec<&'t str>> {
        let of = || field.of.iter().flatten().map(|one| one.value.as_str());
        let is_one = |text: &str| of().any(|value| value == text);
        let parts: Vec<_> = given.split(',').map(str::trim).collect();
        let are_all = parts.len() > 1 && parts.iter().all(|part| is_one(part));
        if is_one(given) && !are_all {
            return Some(vec![given]);
        }
        let mut with_comma = of().filter(|value| value.contains(','));
        let is_told = match are_all {
            true => with_comma.all(|value| !given.contains(value)),
            false => with_comma.next().is_none(),
        };
        is_told.then_some(parts)
    }
}

/// Which values a field takes, as they are written in one line.
fn values_written(field: &pending::Field) -> String {
    let taken = values_taken(field);
    match taken.strip_suffix(", may be given again") {
        Some(of) if field.kind == FieldType::Choices => {
            format!("{of}, several with commas between")
        }
        _ => taken,
    }
}

/// A yes, on terms. Rows: one for each window, then where, then how often; or then what it has to say.
#[derive(Debug)]
pub(super) struct Form {
    /// What is approved.
    item: PendingId,
    /// The windows of the card.
    pub(super) choices: Vec<Choice>,
    /// The one that is chosen; never one that is refused.
    pub(super) chosen: usize,
    /// The row that has the keys.
    pub(super) row: usize,
    /// The fields of the input by which it may be narrowed.
    pub(super) narrow: Vec<String>,
    /// Only at or below this.
    pub(super) under: Field,
    /// At most so many calls.
    pub(super) most: Field,
    /// Whether there are terms at all. A card that is about no call has none: a yes or a no to all of it.
    pub(super) terms: bool,
    /// Whether only this one call can be approved: its number is one.
    is_once: bool,
    /// What the yes has to say; nothing where there are terms.
    answers: Vec<AnswerLine>,
}

impl Form {
    /// The form of a card; none where every window is refused.
    pub(super) fn of(item: &Item) -> Option<Self> {
        let card = &item.card;
        let choices = card.choices().to_vec();
        let open = |choice: &Choice| choice.refused.is_none();
        let default = choices
            .iter()
            .position(|choice| choice.default && open(choice));
        let chosen = default.or_else(|| choices.iter().position(open))?;
        let grant = card.grant();
        let answers = AnswerLine::all(card);
        // One call as it is shown has nothing to narrow.
        let is_exact = card.is_once() && !choices.iter().any(|choice| choice.any_input);
        let narrowed = grant.filter(|_| !is_exact);
        Some(Self {
            item: item.heading.pending_id.clone(),
            chosen,
            row: match answers.is_empty() {
                true => chosen,
                false => choices.len(),
            },
            answers,
            is_once: card.is_once(),
            narrow: narrowed.map_or_else(Vec::new, |card| card.narrow.clone()),
            choices,
            under: Field::default(),
            most: Field::default(),
            terms: grant.is_some(),
        })
    }

    /// Row of the field that says where; there is none where nothing can be narrowed so.
    pub(super) fn under_row(&self) -> Option<usize> {
        (!self.narrow.is_empty()).then_some(self.choices.len())
    }

    /// Row of the field that says how often; there is none where there are no terms, or there is one call.
    pub(super) fn most_row(&self) -> Option<usize> {
        let after = self.choices.len() + usize::from(!self.narrow.is_empty());
        (self.terms && !self.is_once).then_some(after)
    }

    /// What the yes has to say, each with its row.
    pub(super) fn answers(&self) -> impl Iterator<Item = (usize, &AnswerLine)> {
        (self.choices.len()..).zip(&self.answers)
    }

    /// What a key does to it.
    pub(super) fn key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Tab => self.stop(1),
            KeyCode::BackTab => self.stop(-1),
            KeyCode::Up if self.row < self.choices.len() => self.choose(self.row.checked_sub(1)),
            KeyCode::Down if self.row < self.choices.len() => self.choose(Some(self.row + 1)),
            KeyCode::Up => self.stop(-1),
            KeyCode::Down => self.stop(1),
            other => {
                if let Some(field) = self.field() {
                    field.key(other);
                }
            }
        }
    }

    /// Adds a text to the field that has the keys.
    pub(super) fn paste(&mut self, pasted: &str) {
        if let Some(field) = self.field() {
            field.paste(pasted);
        }
    }

    fn field(&mut self) -> Option<&mut Field> {
        if Some(self.row) == self.under_row() {
            Some(&mut self.under)
        } else if Some(self.row) == self.most_row() {
            Some(&mut self.most)
        } else {
            let at = self.row.checked_sub(self.choices.len())?;
            Some(&mut self.answers.get_mut(at)?.written)
        }
    }

    /// Goes to a window, which chooses itself unless it is refused; round from the last to the first. The fields are no
    /// windows, so that nothing is chosen on the way to them.
    fn choose(&mut self, row: Option<usize>) {
        let windows = self.choices.len();
        self.row = row.unwrap_or(windows - 1) % windows;
        if self.choices[self.row].refused.is_none() {
            self.chosen = self.row;
        }
    }

    /// Goes on, or back, between the window that is chosen and the fields.
    fn stop(&mut self, by: isize) {
        let terms = [Some(self.chosen), self.under_row(), self.most_row()];
        let answers = self.answers().map(|(row, _)| row);
        let stops: Vec<usize> = terms.into_iter().flatten().chain(answers).collect();
        let at = stops.iter().position(|row| *row == self.row).unwrap_or(0);
        let next = at.checked_add_signed(by).unwrap_or(stops.len() - 1);
        self.row = stops[next % stops.len()];
    }

    /// The yes that this is. A folder that lies elsewhere than was written is written anew, to be read before it is given.
    ///
    /// # Errors
    /// Words for a field that cannot be read, or that was written anew.
    pub(super) fn verdict(&mut self) -> Result<Verdict, String> {
        if let Some(refused) = self
            .choices
            .get(self.row)
            .and_then(|row| row.refused.as_ref())
        {
            return Err(refused.clone());
        }
        if let Some(answered) = self.answered()? {
            return Ok(answered);
        }
        let choice = &self.choices[self.chosen];
        let command = format!(
            "plexusctl approvals approve {} --under FIELD=PATH",
            self.item
        );
        self.under.whole("the limit", &command)?;
        let under = match (self.under.given(), self.narrow.first()) {
            (Some(given), Some(first)) => Some(match given.split_once('=') {
                Some((field, prefix)) if self.narrow.iter().any(|known| known == field) => {
                    (field.to_owned(), prefix.to_owned())
                }
                _ => (first.clone(), given.to_owned()),
            }),
            _ => None,
        };
        let most = self.most.given().map(str::parse::<u32>).transpose();
        let most = most.map_err(|_| "at most how many calls is a whole number".to_owned())?;
        let terms = Terms::narrowed(choice.window, under, most);
        terms.constraint().map_err(|stop: Stop| stop.why)?;
        Ok(Verdict::Approve {
            terms,
            any_input: choice.any_input,
        })
    }

    /// The yes with what it has to say; none where that is nothing.
    fn answered(&mut self) -> Result<Option<Verdict>, String> {
        let (mut values, mut folders) = (Map::new(), Vec::new());
        for line in &self.answers {
            let elsewhere = line.command(&self.item);
            line.written.whole(&line.name, &elsewhere)?;
            match (line.written.given(), &line.of) {
                (Some(given), None) => folders.push(format!("{}={given}", line.name)),
                (Some(given), Some(field)) if field.kind == FieldType::Choices => {
                    let several = AnswerLine::several(field, given).ok_or_else(|| {
                        format!("{} has values with commas: {elsewhere}", line.name)
                    })?;
                    let taken = || format!("{} takes {}", line.name, values_written(field));
                    for one in several {
                        answer::add(&mut values, field, one).map_err(|_| taken())?;
                    }
                }
                (Some(given), Some(field)) => answer::add(&mut values, field, given)?,
                (None, Some(field)) if !field.required => {}
                (None, _) => return Err(format!("{} needs a value", line.name)),
            }
        }
        match self.answers.first() {
            None => return Ok(None),
            Some(line) if line.of.is_some() => return Ok(Some(Verdict::Answer { values })),
            Some(_) => {}
        }
        let folders = named_folders(&folders).map_err(|stop| stop.why)?;
        for line in &mut self.answers {
            let real = folders.get(&line.name).map_or("", String::as_str);
            if typed_folder(line.written.text.trim()) != Path::new(real) {
                real.clone_into(&mut line.written.text);
                return Err(format!(
                    "{} lies at {real}: read it, then press Enter again",
                    line.name
                ));
            }
        }
        Ok(Some(Verdict::Register {
            folders,
            keeps: Vec::new(),
        }))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::approvals::fixture;
    use plexus_protocol::TrustWindow;
    use serde_json::json;

    pub(in super::super) fn item() -> Item {
        let mut item = fixture::waiting(fixture::ITEM);
        let Card::Grant(card) = &mut item.card else {
            unreachable!()
        };
        card.narrow = vec!["path".to_owned(), "to".to_owned()];
        card.choices = fixture::choices(&[
            (TrustWindow::Once, None),
            (TrustWindow::HOUR, None),
            (TrustWindow::WEEK, Some("no")),
        ]);
        item
    }

    fn typed(form: &mut Form, keys: &[KeyCode]) {
        keys.iter().for_each(|key| form.key(*key));
    }

    #[test]
    fn once_is_chosen_until_another_is() {
        let mut form = Form::of(&item()).unwrap();
        let terms = |form: &mut Form| match form.verdict() {
            Ok(Verdict::Approve {
                terms,
                any_input: false,
            }) => terms,
            other => panic!("{other:?}"),
        };
        assert_eq!(terms(&mut form), Terms::lasting(Some(TrustWindow::Once)));
        form.key(KeyCode::Down);
        assert_eq!(terms(&mut form), Terms::lasting(Some(TrustWindow::HOUR)));
        form.key(KeyCode::Down);
        assert_eq!(
            form.chosen, 1,
            "a window that is refused does not choose itself"
        );
        assert_eq!(
            form.verdict().unwrap_err(),
            "no",
            "and Enter on it approves nothing"
        );
        typed(
            &mut form,
            &[
                KeyCode::Tab,
                KeyCode::Char('n'),
                KeyCode::Char('x'),
                KeyCode::Backspace,
            ],
        );
        typed(&mut form, &[KeyCode::Tab, KeyCode::Char('3')]);
        let narrowed = Terms::narrowed(
            TrustWindow::HOUR,
            Some(("path".into(), "n".into())),
            Some(3),
        );
        assert_eq!(terms(&mut form), narrowed);
        form.under.text = "to=b".into();
        let other = Terms::narrowed(TrustWindow::HOUR, Some(("to".into(), "b".into())), Some(3));
        assert_eq!(terms(&mut form), other);
        form.key(KeyCode::Tab);
        assert_eq!((form.row, form.chosen), (1, 1), "back at what is chosen");
        typed(&mut form, &[KeyCode::BackTab, KeyCode::Up, KeyCode::Up]);
        assert_eq!((form.row, form.chosen), (1, 1), "through the fields");
        typed(&mut form, &[KeyCode::Down, KeyCode::Down]);
        assert_eq!((form.row, form.chosen), (0, 0), "round to the first");
    }

    #[test]
    fn what_cannot_be_read_approves_nothing() {
        let mut form = Form::of(&item()).unwrap();
        let number = "at most how many calls is a whole number";
        for (most, under, words) in [
            ("x", "", number),
            ("-1", "", number),
            ("0", "", "maxCalls is 0"),
            ("", "../up", "is no path inside of the source"),
        ] {
            form.most.text = most.into();
            form.under.text = under.into();
            let why = form.verdict().unwrap_err();
            assert!(why.contains(words), "{most} {under}: {why}");
        }
        let mut refused = item();
        let Card::Grant(card) = &mut refused.card else {
            unreachable!()
        };
        card.choices = fixture::choices(&[(TrustWindow::Once, Some("no"))]);
        assert!(Form::of(&refused).is_none());
    }

    #[test]
    fn a_field_takes_text_and_no_keys() {
        let mut field = Field::default();
        field.paste("not\ntoday\u{1b}[2J\r");
        assert_eq!(field.text, "not today[2J ");
        field.paste(&"x".repeat(MAX_FIELD - field.text.len()));
        assert_eq!(field.whole("it", "c"), Ok(()));
        field.paste("x");
        assert_eq!(field.text.chars().count(), MAX_FIELD);
        let cut = "it is longer than can be written here: c";
        assert_eq!(field.whole("it", "c").unwrap_err(), cut);
        (0..MAX_FIELD).for_each(|_| field.key(KeyCode::Backspace));
        assert_eq!(field.whole("it", "c"), Ok(()), "it is empty");
    }

    #[test]
    fn yes_says_what_is_asked_of_it() {
        let fields = json!([
            {"name": "city", "label": "City", "required": true, "type": "text", "max": 4},
            {"name": "seats", "label": "Seats", "required": false, "type": "choices",
                "of": [{"value": "a", "label": "A"}, {"value": "b", "label": "B"}]},
        ]);
        let question = fixture::read(json!({
            "pendingId": fixture::ITEM, "kind": "question", "state": "pending",
            "createdAt": "2026-01-01T00:00:00.000Z", "expiresAt": "2026-01-01T00:00:00.000Z", "agentId": "a",
            "capabilities": ["s.book"], "source": {"id": "s", "label": "S"},
            "question": {"words": "Where to?", "fields": fields},
            "reasons": [], "pendingNarration": [], "asks": [], "narrow": [], "differs": null,
            "choices": [{"window": "once", "words": "it goes to s", "default": true}],
            "ifApproved": "it goes to s", "ifDenied": "s is told", "cardDigest": fixture::digest(),
        }));
        let mut form = Form::of(&question).unwrap();
        assert_eq!(form.verdict().unwrap_err(), "city needs a value");
        form.paste("Geneva");
        let taken = "city takes text of up to 4 characters";
        assert_eq!(form.verdict().unwrap_err(), taken);
        typed(&mut form, &[KeyCode::Backspace, KeyCode::Backspace]);
        form.key(KeyCode::Tab);
        form.paste("a, b");
        let Ok(Verdict::Answer { values }) = form.verdict() else {
            panic!("{form:?}");
        };
        assert_eq!(values["city"], "Gene");
        assert_eq!(values["seats"], json!(["a", "b"]));
        assert_eq!(
            form.answers[1].label,
            "Seats (a | b, several with commas between, optional)"
        );
        let seats = form.answers[1].of.as_mut().unwrap();
        let values = json!(["a", "b", "c, d", "a,b"]);
        let of = values.as_array().unwrap().iter();
        let of: Vec<_> = of.map(|one| json!({"value": one, "label": "L"})).collect();
        seats.of = serde_json::from_value(json!(of)).unwrap();
        for (given, several) in [
            ("c, d", Some(vec!["c, d"])),
            ("b, a", Some(vec!["b", "a"])),
            ("a, c, d", None),
            ("a,b", None),
        ] {
            assert_eq!(AnswerLine::several(seats, given), several, "{given}");
        }
        form.answers[1].written.text = "a,b".into();
        assert_eq!(
            form.verdict().unwrap_err(),
            format!(
                "seats has values with commas: plexusctl approvals approve {} --answer seats=VALUE",
                fixture::ITEM
            )
        );

        let extension = fixture::read(json!({
            "pendingId": fixture::ITEM, "kind": "register", "state": "pending", "agentId": "a", "capabilities": [],
            "createdAt": "2026-01-01T00:00:00.000Z", "register": {"source": "app", "label": "App"},
            "foldersToName": [{"name": "in", "label": "Inbox"}], "ifApproved": "it is added",
            "choices": [{"window": "once", "words": "it is added", "default": true}], "asks": [], "narrow": [],
            "differs": null, "cardDigest": fixture::digest(),
        }));
        let mut form = Form::of(&extension).unwrap();
        assert_eq!(form.verdict().unwrap_err(), "in needs a value");
        form.paste("/.././");
        let anew = "in lies at /: read it, then press Enter again";
        assert_eq!(form.verdict().unwrap_err(), anew);
        let Ok(Verdict::Register { folders, .. }) = form.verdict() else {
            panic!("{form:?}");
        };
        assert_eq!(folders["in"], "/");
        assert_eq!(form.most_row(), None);
    }

    #[test]
    fn exact_call_has_no_limits() {
        for (any_input, row) in [(false, None), (true, Some(2))] {
            let mut item = item();
            let Card::Grant(card) = &mut item.card else {
                unreachable!()
            };
            card.choices =
                fixture::choices(&[(TrustWindow::Once, None), (TrustWindow::HOUR, Some("no"))]);
            card.choices[0].any_input = any_input;
            assert_eq!(Form::of(&item).unwrap().under_row(), row);
        }
    }

    #[test]
    fn reason_of_a_denial_is_whole_or_refused() {
        let mut no = Denial::of(&item());
        let just = "x".repeat(words::MAX_WORDS);
        no.paste(&just);
        let Ok(Verdict::Deny { reason }) = no.verdict() else {
            panic!("{no:?}");
        };
        assert_eq!(reason, Some(just));
        no.paste("x");
        let long = words::ReasonTooLong(words::MAX_WORDS + 1).to_string();
        assert_eq!(no.verdict().unwrap_err(), long);
        let mut no = Denial::of(&item());
        no.paste(&format!("a{}b", " ".repeat(MAX_FIELD)));
        let cut = "the reason is longer than can be written here: clear it, and write it anew";
        assert_eq!(no.verdict().unwrap_err(), cut);
    }

    #[test]
    fn a_source_that_changed_has_a_yes_and_a_no_and_no_terms() {
        let item = fixture::read(fixture::change());
        let mut form = Form::of(&item).unwrap();
        typed(&mut form, &[KeyCode::Tab, KeyCode::Char('3'), KeyCode::Up]);
        assert_eq!((form.row, form.most_row()), (0, None));
        assert!(form.most.text.is_empty());
        let mut no = Denial::of(&item);
        no.key(KeyCode::Char('x'));
        no.paste("because");
        assert_eq!(no.ends.as_deref(), Some("its 2 grants end"));
        assert!(matches!(no.verdict(), Ok(Verdict::Deny { reason: None })));
    }
}
