//! An extension that an agent proposes, as the owner reads it: all that it is and may reach, and what differs from what
//! the owner agreed to before.
//!
//! Invariants: everything shown is of one card (`owner::proposals`), and its digest goes with it; the author's words are
//! [`ForeignText`] and stand in a marked place; what does not fit is said to be missing, and can be had.

use super::{card::Moment, foreign::ForeignText};
use askama::Template;
use plexus_protocol::Timestamp;
use plexus_trust::Item;
use serde_json::{Map, Value};

/// Programs, folders, capabilities, differences: how many of each are listed.
const LISTED: usize = 24;
/// Characters of one line.
const LINE: usize = 300;
/// Bytes of one text, as HTML.
const TEXT: usize = 2_000;

#[derive(Template)]
#[template(path = "register.html")]
pub(super) struct Card {
    id: String,
    digest: String,
    /// `pending`, or how it ended.
    state: &'static str,
    agent: ForeignText,
    source: ForeignText,
    label: ForeignText,
    asked: Moment,
    purpose: Option<ForeignText>,
    problems: Vec<ForeignText>,
    changes: Option<Vec<ForeignText>>,
    programs: Vec<(ForeignText, ForeignText)>,
    folders: Vec<(ForeignText, ForeignText, &'static str)>,
    /// Folders that the owner has to name.
    unnamed: Vec<ForeignText>,
    capabilities: Vec<Capability>,
    more: usize,
    if_approved: ForeignText,
}

struct Capability {
    id: ForeignText,
    verbs: ForeignText,
    asks: &'static str,
    describe: ForeignText,
    /// The command line; of a text, what it says.
    runs: ForeignText,
    is_text: bool,
    cut: bool,
}

impl Card {
    pub(super) fn of(card: &Map<String, Value>, item: &Item, now: Timestamp) -> Self {
        let card = &Value::Object(card.clone());
        let surface = &card["register"];
        let all = list(surface, "capabilities");
        let lines = |member: &str| -> Vec<ForeignText> {
            let words = list(card, member).iter().filter_map(Value::as_str);
            words
                .take(LISTED)
                .map(|words| ForeignText::short(words, LINE))
                .collect()
        };
        let programs = list(surface, "programs").iter();
        let folders = list(surface, "folders").iter();
        let unnamed = list(card, "foldersToName").iter();
        Self {
            id: item.id.to_string(),
            digest: text(card, "cardDigest").to_owned(),
            state: item.wire_state(now),
            agent: ForeignText::short(item.agent.as_str(), 60),
            source: ForeignText::short(text(surface, "source"), 60),
            label: ForeignText::short(text(surface, "label"), 120),
            asked: Moment::ago(item.created_at, now),
            purpose: item.purpose.as_deref().map(ForeignText::line),
            problems: lines("problems"),
            changes: card["changes"].is_array().then(|| lines("changes")),
            programs: programs
                .take(LISTED)
                .map(|one| (said(one, "path"), said(one, "sha256")))
                .collect(),
            folders: folders
                .take(LISTED)
                .map(|one| {
                    let does = match text(one, "access") {
                        "read" => "reads",
                        _ => "reads, and writes in a call that you approve",
                    };
                    (said(one, "path"), said(one, "name"), does)
                })
                .collect(),
            unnamed: unnamed.map(|one| said(one, "name")).collect(),
            capabilities: all.iter().take(LISTED).map(Capability::of).collect(),
            more: all.len().saturating_sub(LISTED),
            if_approved: ForeignText::line(text(card, "ifApproved")),
        }
    }

    fn pending(&self) -> bool {
        self.state == "pending"
    }

    fn can_approve(&self) -> bool {
        self.problems.is_empty() && self.unnamed.is_empty()
    }
}

impl Capability {
    fn of(one: &Value) -> Self {
        let words = |member: &str| {
            let words = list(one, member).iter().filter_map(Value::as_str);
            words.collect::<Vec<_>>()
        };
        let is_text = text(one, "kind") == "skill";
        let whole = match is_text {
            true => text(one, "text").to_owned(),
            false => {
                let arguments = list(one, "arguments").iter().map(Value::to_string);
                let arguments: Vec<_> = arguments.collect();
                format!("{} {}", text(one, "program"), arguments.join(" "))
            }
        };
        let (runs, taken) = ForeignText::beginning(&whole, TEXT);
        let (describe, _) = ForeignText::beginning(text(one, "describe"), TEXT);
        Self {
            id: said(one, "id"),
            verbs: ForeignText::line(&words("verbs").join(", ")),
            asks: match (is_text, one["asksEachTime"] == true) {
                (true, _) => "a text that agents read without asking",
                (false, true) => "asks you each time",
                (false, false) => {
                    "once granted it asks no more, and runs where it can write nothing"
                }
            },
            describe,
            runs,
            is_text,
            cut: taken < whole.len(),
        }
    }
}

fn said(value: &Value, member: &str) -> ForeignText {
    ForeignText::short(text(value, member), LINE)
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_default()
}

fn list<'v>(value: &'v Value, member: &str) -> &'v [Value] {
    value[member].as_array().map_or(&[], Vec::as_slice)
}
