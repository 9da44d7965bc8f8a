//! Sheets as HTML: the one painter of cards that `plexus-sheet` makes.
//!
//! Invariants: everything shown is of one card, and its digest goes with it; what is not ours is [`ForeignText`] and stands
//! in a marked place; all of it is in the page: a long list or text is folded, with its length.
//!
//! Must not know: what a card is about.

use super::{card::Moment, foreign::ForeignText};
use askama::Template;
use plexus_owner::{
    extensions::ExtensionPreview,
    pending::{Card, FieldType, Item, State},
};
use plexus_protocol::{Digest, Timestamp};
use plexus_sheet::{Block, Fact, Field, Sheet, Untrusted, capital, sheet_of, to_approve};

/// Facts of a section, words of a difference: how many stand open.
const OPEN: usize = 12;
/// Capabilities that stand in the first list, and how many there are at most where each stands open.
const LISTED: usize = 24;
const OPEN_OFFERS: usize = 6;
/// Characters of a value, and lines of a text, that stand open.
const LONG: usize = 300;
const LINES: usize = 12;

#[derive(Template)]
#[template(path = "sheet.html")]
struct Page<'s> {
    sheet: &'s Sheet,
    /// A number that changes with the card, as the list has it.
    revision: u64,
    state: &'static str,
    since: Moment,
    ends: Option<Moment>,
    /// How it was decided, where it waits no longer.
    verdict: Option<ForeignText>,
    denies: bool,
}

/// The page of an item's card; none of one that has a page of another form. `denies`: it was denied, and that refuses
/// something now.
pub(super) fn of_item(item: &Item, denies: bool, now: Timestamp) -> Option<String> {
    let sheet = sheet_of(item)?;
    let ending = item.heading.ending.as_deref();
    let verdict = match (sheet.state, ending) {
        (State::Pending, _) => None,
        (_, Some(ending)) => Some(format!("It {ending}.")),
        (state, None) => Some(format!("It is {}.", state.as_str())),
    };
    // An item of the machine has a revision of its own, which no act on a proposal changes.
    let revision = match &item.card {
        Card::Register(_) => 0,
        _ => revision(sheet.digest),
    };
    page(&sheet, revision, (verdict, denies), now).ok()
}

/// The page of a card; `verdict` says how it was decided, where it waits no longer, and `denies` is as above.
pub(super) fn page(
    sheet: &Sheet,
    revision: u64,
    (verdict, denies): (Option<String>, bool),
    now: Timestamp,
) -> Result<String, askama::Error> {
    let page = Page {
        sheet,
        revision,
        state: match sheet.state {
            State::Expired => "over",
            state => state.as_str(),
        },
        since: Moment::ago(sheet.since, now),
        ends: sheet.ends.map(|ends| Moment::left(ends, now)),
        verdict: verdict.as_deref().map(ForeignText::line),
        denies,
    };
    page.render()
}

/// What would be installed, with what there is to decide.
#[derive(Template)]
#[template(path = "previewed.html")]
struct Previewed {
    source: ForeignText,
    blocks: Vec<Block>,
    digest: String,
    /// The owner's sign-in that it starts with.
    sign_in: Option<String>,
    /// What adding it does.
    does: Option<Untrusted>,
    /// Stored secrets that may go to another host, each with that host.
    keeps: Vec<(Untrusted, Untrusted)>,
    /// Why it cannot be added.
    reasons: Vec<ForeignText>,
    /// Tools that the owner may class as reads, each with whether it is one.
    tools: Vec<(ForeignText, bool)>,
    /// Its program reaches hosts, so none of its tools may be a read.
    reaches_hosts: bool,
    changes: bool,
}

/// The preview of an extension or a server as a part of the form that adds it; `classes`: the form says which tools read.
pub(super) fn previewed(
    seen: &ExtensionPreview,
    sign_in: Option<String>,
    classes: bool,
) -> Result<String, askama::Error> {
    let nothing = Previewed {
        source: ForeignText::line(seen.source()),
        blocks: Vec::new(),
        digest: seen.digest().to_owned(),
        sign_in,
        does: None,
        keeps: Vec::new(),
        reasons: Vec::new(),
        tools: Vec::new(),
        reaches_hosts: false,
        changes: false,
    };
    let page = match seen {
        ExtensionPreview::Server(server) => Previewed {
            blocks: plexus_sheet::server(server),
            tools: server
                .tools
                .iter()
                .filter(|tool| classes && server.server.hosts.is_empty() && tool.refused.is_none())
                .map(|tool| {
                    let is_read = server.server.reads.contains(&tool.name);
                    (ForeignText::line(&tool.name), is_read)
                })
                .collect(),
            reaches_hosts: classes && !server.server.hosts.is_empty(),
            changes: server.changes.is_some(),
            ..nothing
        },
        ExtensionPreview::Declared(declared) => {
            let kept = declared.if_kept.as_deref();
            let answer = to_approve(&declared.if_approved, &declared.moved_secrets, kept);
            Previewed {
                blocks: plexus_sheet::surface(&declared.surface, declared.changes.as_deref()),
                does: answer.yes.map(|yes| yes.does),
                keeps: answer.keeps,
                changes: declared.changes.is_some(),
                ..nothing
            }
        }
        ExtensionPreview::Invalid(invalid) => Previewed {
            reasons: invalid
                .reasons
                .iter()
                .map(|why| ForeignText::short(why, 400))
                .collect(),
            ..nothing
        },
    };
    page.render()
}

impl Previewed {
    fn has_reads(&self) -> bool {
        self.tools.iter().any(|(_, is_read)| *is_read)
    }
}

/// A card as a line of the list.
pub(super) struct Line {
    pub(super) id: String,
    pub(super) revision: u64,
    pub(super) label: &'static str,
    pub(super) who: ForeignText,
    pub(super) title: String,
    pub(super) what: ForeignText,
    pub(super) since: Moment,
}

impl Line {
    /// The line of an item; none of one that has a page of another form.
    pub(super) fn of(item: &Item, now: Timestamp) -> Option<Self> {
        let sheet = sheet_of(item)?;
        let subject = &sheet.subject;
        Some(Self {
            id: sheet.id.to_string(),
            revision: revision(sheet.digest),
            label: subject.label,
            who: subject.who.paint(|who| ForeignText::short(who, 60)),
            title: capital(subject.title),
            what: sheet.gist.paint(|gist| ForeignText::short(gist, 90)),
            since: Moment::ago(sheet.since, now),
        })
    }
}

/// A number that changes with the card: the beginning of its digest, as much as a browser counts exactly.
pub(super) fn revision(digest: Option<Digest>) -> u64 {
    let bytes = digest.iter().flat_map(|digest| digest.0).take(6);
    bytes.fold(0, |number, byte| number << 8 | u64::from(byte))
}

impl Page<'_> {
    fn digest(&self) -> String {
        let digest = self.sheet.digest;
        digest.map_or_else(String::new, |digest| digest.to_string())
    }

    /// The fields of all blocks, with their places in the form.
    fn fields(&self) -> impl Iterator<Item = (usize, &Field)> {
        let blocks = self.sheet.blocks.iter();
        let fields = blocks.flat_map(|block| match block {
            Block::Fields(fields) => fields.as_slice(),
            _ => &[],
        });
        fields.enumerate()
    }
}

/// How the parts of a card are shown, whatever page they are on.
trait Paints {
    fn capital(&self, words: &str) -> String {
        capital(words)
    }

    /// The first `most` of a list.
    fn first<'l, T>(&self, all: &'l [T], most: usize) -> &'l [T] {
        all.get(..most).unwrap_or(all)
    }

    /// The others.
    fn beyond<'l, T>(&self, all: &'l [T], most: usize) -> &'l [T] {
        all.get(most..).unwrap_or_default()
    }

    fn line(&self, said: &Untrusted) -> ForeignText {
        said.paint(ForeignText::line)
    }

    fn text(&self, said: &Untrusted) -> ForeignText {
        said.paint(ForeignText::text)
    }

    /// The length in words of a value that is folded.
    fn length(&self, fact: &Fact) -> Option<String> {
        let (lines, length) = fact
            .value
            .paint(|value| (value.lines().count(), value.chars().count()));
        match fact.is_text {
            true if lines > LINES => Some(format!("{lines} lines")),
            _ if length > LONG => Some(format!("{length} characters")),
            _ => None,
        }
    }
}

impl Paints for Page<'_> {}
impl Paints for Previewed {}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tools_of_a_server_with_hosts_offer_no_reads() {
        let page = |hosts: &[&str]| {
            let seen = json!({"ok": true, "name": "s", "program": "/bin/s", "url": null, "secrets": [], "arguments": [],
                "environment": [], "folders": [], "code": [], "hosts": hosts, "reads": [], "network": !hosts.is_empty(),
                "digest": "d", "resolved": null, "pinned": [], "changeable": [], "serverInfo": {}, "instructions": null,
                "tools": [{"name": "peek", "description": "", "input": {}, "claims": {}, "verbs": ["execute"],
                    "cage": "reader", "refused": null}]});
            let seen: ExtensionPreview = serde_json::from_value(seen).unwrap();
            previewed(&seen, None, true).unwrap()
        };
        let (without, with) = (page(&[]), page(&["api.example.com"]));
        assert!(without.contains("name=\"reads\""), "{without}");
        assert!(!with.contains("name=\"reads\""), "{with}");
        assert!(with.contains("none can be classed as a read"), "{with}");
    }

    #[test]
    fn decided_card_says_how_it_ended() {
        let item = |ending: Option<&str>| -> Item {
            let mut card = json!({"pendingId": "pend_00000000-0000-4000-8000-000000000001", "kind": "register",
                "state": "expired", "createdAt": "2026-01-01T00:00:00.000Z", "capabilities": [], "agentId": "a",
                "register": {"source": "s", "label": "", "sections": []}, "choices": [], "ifApproved": ""});
            if let Some(ending) = ending {
                card["ending"] = ending.into();
            }
            serde_json::from_value(card).unwrap()
        };
        let page = |ending| of_item(&item(ending), false, Timestamp(0)).unwrap();
        let (said, unsaid) = (page(Some("is void: <withdrawn>")), page(None));
        assert!(said.contains("It is void: &#60;withdrawn&#62;."), "{said}");
        assert!(unsaid.contains("It is expired."), "{unsaid}");
        let back = "data-send=\"/pending/pend_00000000-0000-4000-8000-000000000001/denial\"";
        assert!(!said.contains(back), "{said}");
        let denied = of_item(&item(Some("was denied")), true, Timestamp(0)).unwrap();
        assert!(denied.contains(back), "{denied}");
    }

    /// In every place of a card that is another's, there is text and no markup.
    #[test]
    fn words_of_others_stay_text_in_every_block() {
        let evil = "</dd><script>\u{202e}x\" onclick='y'";
        let (id, digest) = ("pend_00000000-0000-4000-8000-000000000001", Digest([7; 32]));
        let heading = json!({"pendingId": id, "state": "pending", "createdAt": "2026-01-01T00:00:00.000Z",
            "capabilities": ["s.book"], "agentId": "a", "agentPurpose": evil, "cardDigest": digest, "choices": [],
            "ifApproved": evil, "ifDenied": evil, "source": {"id": "s", "label": evil}, "reasons": [evil]});
        let facts = json!([{"name": evil, "value": evil}, {"name": evil, "text": evil.repeat(20)}]);
        let of_kind = |kind: &str, more: serde_json::Value| {
            let mut card = heading.clone();
            card["kind"] = kind.into();
            let more = more.as_object().cloned().unwrap();
            card.as_object_mut().unwrap().extend(more);
            let item: Item = serde_json::from_value(card).unwrap();
            of_item(&item, false, item.heading.created_at).unwrap()
        };
        let field = |kind: &str| {
            json!({"name": evil, "label": evil, "hint": evil, "required": false, "type": kind,
                "of": [{"value": evil, "label": evil}]})
        };
        let fields = ["text", "number", "boolean", "choice", "choices"].map(field);
        for page in [
            of_kind(
                "question",
                json!({"question": {"words": evil, "fields": fields}}),
            ),
            of_kind(
                "question",
                json!({"question": {"words": evil, "url": evil, "host": evil}}),
            ),
            of_kind(
                "change",
                json!({"pendingNarration": [], "agents": ["a"], "definitions": null,
                    "changes": [{"about": evil, "words": vec![evil; 30], "at": "2026-01-01T00:00:00.000Z"}]}),
            ),
            of_kind(
                "register",
                json!({"register": {"source": "s", "label": evil, "sections": [
                        {"title": evil, "note": evil, "facts": facts},
                        {"title": evil, "note": evil, "capability": true, "facts": facts}]},
                    "changes": [evil], "movedSecrets": [{"name": evil, "host": evil}], "ifKept": evil}),
            ),
        ] {
            assert!(page.contains("&#60;script&#62;"), "the control: {page}");
            assert!(
                page.contains(&format!("data-digest=\"{digest}\"")),
                "{page}"
            );
            assert!(!page.contains("<script"), "{page}");
            assert!(!page.contains(['\u{202e}', '`']), "{page}");
            assert!(!page.contains("x\" onclick"), "{page}");
        }
    }
}
