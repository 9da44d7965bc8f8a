//! What is shown: the state, and the rows of the menu. Pure.

use crate::act::Act;
use plexus_client::{Stop, text};
use plexus_owner_client::PendingRequest;

/// How many requests the menu names: the newest.
const NAMED: usize = 5;
/// The longest trouble that the menu tells, in characters.
const MAX_TROUBLE: usize = 100;

/// What the gateway does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// It serves agents.
    Running,
    /// It serves none, by the owner's will.
    Paused,
    /// It does not answer.
    Away,
}

/// All that is shown.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) state: State,
    /// What waits, the newest first. Empty while nobody can say.
    pub(crate) waiting: Vec<PendingRequest>,
    /// What went wrong last.
    pub(crate) trouble: Option<String>,
}

/// A row of the menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// A text that nobody can choose.
    Text(String),
    /// An entry.
    Entry(String, Act),
    /// A line.
    Line,
}

impl View {
    /// Before the gateway was asked.
    pub(crate) fn unknown() -> Self {
        Self {
            state: State::Away,
            waiting: Vec::new(),
            trouble: None,
        }
    }

    /// It does not answer.
    pub(crate) fn lose(&mut self, why: &Stop) {
        self.state = State::Away;
        self.waiting.clear();
        self.fail(why);
    }

    /// Something went wrong.
    pub(crate) fn fail(&mut self, why: &Stop) {
        self.trouble = Some(text::short(&why.why, MAX_TROUBLE));
    }

    /// The state in a sentence.
    pub(crate) fn title(&self) -> String {
        let waiting = match self.waiting.len() {
            1 => "1 request waits".to_owned(),
            many => format!("{many} requests wait"),
        };
        match (self.state, self.waiting.is_empty()) {
            (State::Away, _) => "Plexus: no gateway answers".to_owned(),
            (State::Running, true) => "Plexus: nothing needs you".to_owned(),
            (State::Running, false) => format!("Plexus: {waiting}"),
            (State::Paused, true) => "Plexus is paused: no agent is served".to_owned(),
            (State::Paused, false) => format!("Plexus is paused; {waiting}"),
        }
    }

    /// What a click on the icon does.
    pub(crate) fn click(&self) -> Option<Act> {
        match (self.state, self.waiting.is_empty()) {
            (State::Away, _) => None,
            (_, true) => Some(Act::Open("/admin".to_owned())),
            (_, false) => Some(Act::approvals()),
        }
    }

    /// The menu.
    pub(crate) fn rows(&self) -> Vec<Row> {
        let mut rows = vec![Row::Text(self.title())];
        rows.extend(self.trouble.clone().map(Row::Text));
        rows.push(Row::Line);
        let named = self.waiting.iter().take(NAMED);
        rows.extend(named.map(|request| Row::Entry(name(request), Act::card(&request.id))));
        if self.waiting.len() > NAMED {
            let more = format!("All {} requests…", self.waiting.len());
            rows.push(Row::Entry(more, Act::approvals()));
        }
        if !self.waiting.is_empty() {
            rows.push(Row::Line);
        }
        if let Some(open) = self.click() {
            rows.push(Row::Entry("Open the console".to_owned(), open));
        }
        let pause = match self.state {
            State::Running => Some(("Pause all agents", true)),
            State::Paused => Some(("Resume all agents", false)),
            State::Away => None,
        };
        rows.extend(pause.map(|(label, on)| Row::Entry(label.to_owned(), Act::Pause(on))));
        rows.push(Row::Entry(
            "Quit (the gateway goes on)".to_owned(),
            Act::Quit,
        ));
        rows
    }
}

fn name(request: &PendingRequest) -> String {
    match request.agent.as_str() {
        "" => format!("A source changed: {}", request.label),
        agent => format!("{agent}: {}", request.label),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_client::Exit;

    fn view(state: State, waiting: usize) -> View {
        let waiting = (0..waiting).map(|number| PendingRequest {
            id: format!("p{number}"),
            agent: if number == 1 { "" } else { "my-cc" }.to_owned(),
            label: "“Write a file”".to_owned(),
        });
        View {
            state,
            waiting: waiting.collect(),
            trouble: None,
        }
    }

    fn entries(view: &View) -> Vec<(String, Act)> {
        let rows = view.rows().into_iter();
        rows.filter_map(|row| match row {
            Row::Entry(label, act) => Some((label, act)),
            Row::Text(_) | Row::Line => None,
        })
        .collect()
    }

    #[test]
    fn menu_names_the_newest_and_decides_nothing() {
        let many = view(State::Running, 7);
        assert_eq!(many.title(), "Plexus: 7 requests wait");
        let entries = entries(&many);
        let labels: Vec<_> = entries.iter().map(|(label, _)| label.as_str()).collect();
        assert_eq!(
            labels,
            [
                "my-cc: “Write a file”",
                "A source changed: “Write a file”",
                "my-cc: “Write a file”",
                "my-cc: “Write a file”",
                "my-cc: “Write a file”",
                "All 7 requests…",
                "Open the console",
                "Pause all agents",
                "Quit (the gateway goes on)",
            ]
        );
        assert_eq!(entries[0].1, Act::card("p0"));
        assert_eq!(entries[6].1, Act::approvals());
        assert_eq!(many.click(), Some(Act::approvals()));
    }

    #[test]
    fn gateway_that_is_away_offers_nothing_but_to_quit() {
        let mut gone = view(State::Paused, 1);
        assert_eq!(gone.title(), "Plexus is paused; 1 request waits");
        assert_eq!(entries(&gone)[2].1, Act::Pause(false));
        gone.lose(&Stop::new(
            Exit::Unreachable,
            "unreachable",
            "not\u{1b}[0m there",
        ));
        assert_eq!(gone.title(), "Plexus: no gateway answers");
        assert_eq!(gone.rows()[1], Row::Text("not\\u{1b}[0m there".to_owned()));
        assert_eq!(entries(&gone).len(), 1);
        assert_eq!(gone.click(), None);
    }

    #[test]
    fn idle_click_opens_the_first_page() {
        let idle = view(State::Running, 0);
        assert_eq!(idle.title(), "Plexus: nothing needs you");
        assert_eq!(idle.click(), Some(Act::Open("/admin".to_owned())));
    }
}
