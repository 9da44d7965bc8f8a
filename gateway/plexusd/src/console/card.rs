//! One request as the owner reads it: the same item that the digest covers, in words, in order, bounded.
//!
//! Invariants: everything shown is of one card (`approvals::card`), and its digest goes with it; text that is not the
//! gateway's own is [`Said`] and stands in a marked place; what does not fit is said to be missing, and can be had.

use super::{
    diff::{self, Room},
    foreign::Said,
    words,
};
use crate::{app::App, approvals::card, sources::catalogue::Entry};
use askama::Template;
use plexus_ipc::message::Touched;
use plexus_protocol::{CapabilityId, Digest, PendingId, Timestamp};
use plexus_trust::{Ask, Item, ItemState, Plan, State};
use serde_json::Value;
use std::sync::Arc;

/// Bytes of all diffs of a card, as HTML.
const DIFFS: Room = Room {
    rows: 180,
    bytes: 14 * 1024,
};
/// Bytes of one value of an input, as HTML.
const VALUE: usize = 1_500;
/// Bytes of all values of a card.
const VALUES: usize = 6_000;
/// Things touched, facts, warnings: how many of each are listed.
const LISTED: usize = 24;
/// Asks of one card that are shown whole.
const ASKS: usize = 8;
/// Bytes of a page of everything, as HTML.
const EVERYTHING: usize = 40 * 1024;

#[derive(Template)]
#[template(path = "card.html")]
pub(super) struct Card {
    id: String,
    digest: String,
    revision: u32,
    /// `pending`, or how it ended.
    state: &'static str,
    agent: Said,
    client: Said,
    title: Said,
    more_asks: usize,
    asked: Moment,
    ends: Moment,
    purpose: Option<Said>,
    wish: &'static str,
    asks: Vec<AskView>,
    differs: Option<Differs>,
    /// What the owner said no to before.
    denied: Vec<Said>,
    choices: Vec<Choice>,
    narrow: Vec<Narrow>,
    /// Still being computed.
    making: bool,
    /// Cannot be approved as it is.
    lost: bool,
    any_input: bool,
    runs: bool,
    verdict: String,
    reason: Option<Said>,
}

/// A moment for machines and for people.
pub(super) struct Moment {
    pub(super) iso: String,
    pub(super) words: String,
}

struct AskView {
    id: Said,
    label: Said,
    source: Said,
    verbs: String,
    rating: &'static str,
    only: Option<Said>,
    making: bool,
    error: Option<Said>,
    headline: Said,
    facts: Vec<(Said, Said)>,
    warnings: Vec<Said>,
    runs_code: bool,
    diff: Option<Diff>,
    input: Vec<Member>,
    has_input: bool,
    touches: Vec<(String, Said)>,
    touches_more: usize,
}

struct Member {
    name: Said,
    value: Said,
    block: bool,
    rest: String,
}

pub(super) struct Diff {
    pub(super) page: diff::Page,
    /// Where the next page is.
    pub(super) more: String,
    pub(super) cut: bool,
}

struct Differs {
    since: Moment,
    changes: Vec<(Said, Said, Said)>,
    more: usize,
}

struct Choice {
    window: String,
    /// How long that is.
    span: &'static str,
    words: Said,
    refused: Option<Said>,
    once: bool,
}

/// A field by which a longer permission can be narrowed.
struct Narrow {
    field: String,
    label: Said,
    value: String,
    /// Names a folder: what lies below it is allowed too.
    path: bool,
}

impl Card {
    /// The card of an item, decided or not. Reads its inputs from their files.
    pub(super) fn of(app: &App, state: &State, item: &Item, by: Option<&'static str>) -> Self {
        let catalogue = app.catalogue.load();
        let shown = card::card(&app.approvals, &catalogue, state, item);
        let now = state.time(app.clock.now());
        let mut left = VALUES;
        let entry = |ask: &Ask| catalogue.get(&ask.capability).cloned();
        let few = item.asks.len().clamp(1, ASKS);
        let room = Room {
            rows: DIFFS.rows / few,
            bytes: DIFFS.bytes / few,
        };
        let asks: Vec<AskView> = item
            .asks
            .iter()
            .zip(list(&shown, "asks"))
            .take(ASKS)
            .map(|(ask, seen)| {
                AskView::of(
                    state,
                    item,
                    ask,
                    seen,
                    entry(ask).as_deref(),
                    room,
                    &mut left,
                )
            })
            .collect();
        let making = item.asks.iter().any(|ask| ask.plan == Plan::Making);
        let lost = !making && shown.get("cardDigest").is_none()
            || item.asks.iter().any(|ask| ask.plan == Plan::Failed)
            || item
                .asks
                .iter()
                .zip(list(&shown, "asks"))
                .any(|(ask, seen)| {
                    ask.input.is_some()
                        && seen["input"].is_null()
                        && app.approvals.input(&item.id, ask).is_none()
                });
        let first = asks.first();
        Self {
            id: item.id.to_string(),
            digest: text(&shown, "cardDigest").to_owned(),
            revision: item.revision,
            state: words::state(item, now),
            agent: Said::line(item.agent.as_str()),
            client: client(item),
            title: first.map(|ask| ask.label.clone()).unwrap_or_default(),
            more_asks: item.asks.len() - 1.min(item.asks.len()),
            asked: Moment::ago(item.created_at, now),
            ends: Moment::left(item.expires_at, now),
            purpose: item.purpose.as_deref().map(Said::line),
            wish: item
                .asks
                .iter()
                .find_map(|ask| ask.wish)
                .map_or("", |w| w.phrase()),
            differs: Differs::of(&shown["differs"], now),
            denied: shown["deniedBefore"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|denied| Some(Said::line(denied["words"].as_str()?)))
                .collect(),
            choices: choices(&shown),
            narrow: narrow(item, &shown, entry),
            asks,
            making,
            lost,
            any_input: item.asks.iter().any(|ask| ask.input.is_none()),
            runs: item.on_approval == plexus_trust::OnApproval::Run,
            verdict: words::verdict(item, now, by),
            reason: match &item.state {
                ItemState::Denied { reason } => reason.as_deref().map(Said::line),
                _ => None,
            },
        }
    }

    fn pending(&self) -> bool {
        self.state == "pending"
    }
    fn can_approve(&self) -> bool {
        self.pending() && !self.lost && !self.making
    }
    fn once(&self) -> Option<&Choice> {
        self.choices.iter().find(|choice| choice.once)
    }
    fn longer(&self) -> Vec<&Choice> {
        self.choices.iter().filter(|choice| !choice.once).collect()
    }
    fn can_stand(&self) -> bool {
        self.longer().iter().any(|choice| choice.refused.is_none())
    }
}

impl AskView {
    fn of(
        state: &State,
        item: &Item,
        ask: &Ask,
        seen: &Value,
        entry: Option<&Entry>,
        room: Room,
        left: &mut usize,
    ) -> Self {
        let plan = &seen["plan"];
        let preview = &plan["preview"];
        let source = entry.and_then(|e| state.sources.get(&e.source));
        let label = entry.map_or(ask.capability.as_str(), |e| e.capability().label.as_str());
        let has_diff = preview["diff"].is_string();
        let diff = preview["diff"].as_str().map(|text| {
            let page = diff::page(text, 0, room);
            Diff {
                more: page.next.map_or(String::new(), |next| {
                    format!(
                        "/admin/console/pending/{}/diff/{}?from={next}",
                        item.id, ask.capability
                    )
                }),
                page,
                cut: preview["cut"] == true,
            }
        });
        let touched: Vec<Touched> =
            serde_json::from_value(plan["touched"].clone()).unwrap_or_default();
        let one = |touched: &Touched| {
            let kind = Said::line(&touched.kind.to_string());
            (
                format!("{} {kind}", words::access(touched.access)),
                Said::line(&touched.id.to_string()),
            )
        };
        let rating = entry.map_or("unknown to this gateway: treat it as sensitive", |e| {
            words::rating(e)
        });
        Self {
            id: Said::line(ask.capability.as_str()),
            label: Said::line(label),
            source: source
                .map(|s| Said::short(&s.config.label, 120))
                .unwrap_or_default(),
            verbs: words::verbs(ask.verbs),
            rating,
            only: ask.constraint.as_ref().map(|c| Said::line(&c.in_words())),
            making: ask.plan == Plan::Making,
            error: plan
                .get("error")
                .map(|why| Said::line(why.as_str().unwrap_or_default())),
            headline: Said::line(text(preview, "headline")),
            facts: list(preview, "facts")
                .iter()
                // A digest tells a person nothing, and the headline names the path already.
                .filter(|fact| Digest::parse(text(fact, "value")).is_none())
                .filter(|fact| {
                    text(fact, "name") != "path"
                        || !text(preview, "headline").contains(text(fact, "value"))
                })
                .take(LISTED)
                .map(|fact| {
                    (
                        Said::short(text(fact, "name"), 80),
                        Said::short(text(fact, "value"), 400),
                    )
                })
                .collect(),
            warnings: list(plan, "warnings")
                .iter()
                .take(LISTED)
                .filter_map(Value::as_str)
                .map(Said::line)
                .collect(),
            runs_code: plan["rating"] == "execute",
            input: members(&seen["input"], has_diff, left),
            has_input: ask.input.is_some(),
            diff,
            touches_more: touched.len().saturating_sub(LISTED),
            touches: touched.iter().take(LISTED).map(one).collect(),
        }
    }
}

/// The members of an input. Where a change is shown, long texts of it are only measured.
fn members(input: &Value, has_diff: bool, left: &mut usize) -> Vec<Member> {
    let Some(object) = input.as_object() else {
        return Vec::new();
    };
    let member = |(name, value): (&String, &Value)| {
        let whole = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        let (lines, characters) = (whole.lines().count(), whole.chars().count());
        let name = Said::short(name, 80);
        if has_diff && lines > 1 {
            return Member {
                name,
                value: Said::default(),
                block: false,
                rest: format!("{lines} lines, shown as the change above"),
            };
        }
        let (value, taken) = Said::beginning(&whole, VALUE.min(*left));
        *left = left.saturating_sub(value.len());
        let rest = whole[taken..].chars().count();
        Member {
            name,
            block: lines > 1 || characters > 160,
            value,
            rest: if rest > 0 {
                format!("and {rest} more characters")
            } else {
                String::new()
            },
        }
    };
    object.iter().take(LISTED).map(member).collect()
}

fn client(item: &Item) -> Said {
    let (name, version) = &item.client;
    let both = [name, version].map(|part| part.as_deref().unwrap_or_default());
    Said::short(both.join(" ").trim(), 80)
}

impl Differs {
    fn of(differs: &Value, now: Timestamp) -> Option<Self> {
        let changes = differs["changes"].as_array()?;
        let since: Timestamp = serde_json::from_value(differs["since"].clone()).ok()?;
        let one = |change: &Value| {
            let side = |name: &str| {
                let value = &change[name];
                match value {
                    Value::Null => Said::default(),
                    Value::String(text) => Said::short(text, 300),
                    other => Said::short(&other.to_string(), 300),
                }
            };
            let path = text(change, "path");
            let path = path.strip_prefix('/').unwrap_or(path);
            let place = match change["capability"].as_str() {
                Some(of) => format!("{of}: {path}"),
                None => path.to_owned(),
            };
            (Said::short(&place, 160), side("was"), side("now"))
        };
        Some(Self {
            since: Moment::ago(since, now),
            changes: changes.iter().take(8).map(one).collect(),
            more: changes.len().saturating_sub(8)
                + usize::try_from(differs["more"].as_u64().unwrap_or(0)).unwrap_or(usize::MAX),
        })
    }
}

/// The answers that there are, in the gateway's words.
fn choices(shown: &Value) -> Vec<Choice> {
    let choice = |choice: &Value| Choice {
        window: text(choice, "window").to_owned(),
        span: match text(choice, "window") {
            "1h" => "1 hour",
            "1d" => "1 day",
            "7d" => "7 days",
            "until-revoked" => "Until you revoke it",
            _ => "Once",
        },
        once: text(choice, "window") == "once",
        words: Said::line(text(choice, "words")),
        refused: choice["refused"].as_str().map(Said::line),
    };
    list(shown, "choices").iter().map(choice).collect()
}

/// The fields that a longer permission can be narrowed by, with this call's own place as the first suggestion.
fn narrow(item: &Item, shown: &Value, entry: impl Fn(&Ask) -> Option<Arc<Entry>>) -> Vec<Narrow> {
    let Some(first) = item.asks.first() else {
        return Vec::new();
    };
    let (Some(entry), Some(seen)) = (entry(first), list(shown, "asks").first()) else {
        return Vec::new();
    };
    let one = |field: &str| {
        let resolved = entry.capability().resolves_to(field);
        let path = matches!(resolved, Some("file" | "note" | "folder"));
        let asked = field
            .split('.')
            .try_fold(&seen["input"], |at, key| at.get(key))
            .and_then(Value::as_str)
            .unwrap_or_default();
        let value = match asked.rsplit_once('/') {
            _ if !path => asked,
            Some((folder, _)) => folder,
            None => "",
        };
        // What a field of a form would show otherwise than it is, is not suggested.
        let plain = value.len() <= 400 && !Said::line(value).to_string().contains("<b class=u>");
        Narrow {
            field: field.to_owned(),
            label: Said::short(field, 60),
            value: if plain {
                value.to_owned()
            } else {
                String::new()
            },
            path,
        }
    };
    let fields = list(shown, "narrow").iter().filter_map(Value::as_str);
    fields.take(4).map(one).collect()
}

impl Moment {
    pub(super) fn ago(at: Timestamp, now: Timestamp) -> Self {
        let span = words::span(now.since(at));
        Self {
            iso: at.to_string(),
            words: if now.since(at) < 5_000 {
                "just now".into()
            } else {
                format!("{span} ago")
            },
        }
    }
    fn left(at: Timestamp, now: Timestamp) -> Self {
        Self {
            iso: at.to_string(),
            words: format!("in {}", words::span(at.since(now))),
        }
    }
}

#[derive(Template)]
#[template(path = "diff.html")]
struct Rows<'a> {
    diff: &'a Diff,
}

/// One more page of a diff: rows alone.
pub(super) fn diff_page(
    app: &App,
    state: &State,
    id: &PendingId,
    of: &CapabilityId,
    from: usize,
) -> Option<String> {
    let item = state.item(id)?;
    let ask = item.asks.iter().find(|ask| ask.capability == *of)?;
    let page = diff::page(&app.approvals.change(id, ask)?, from, diff::PAGE);
    let more = page.next.map_or(String::new(), |next| {
        format!("/admin/console/pending/{id}/diff/{of}?from={next}")
    });
    Rows {
        diff: &Diff {
            page,
            more,
            cut: false,
        },
    }
    .render()
    .ok()
}

#[derive(Template)]
#[template(path = "everything.html")]
struct Everything {
    text: Said,
    more: String,
}

/// All that the card's digest covers, as the gateway has it, from byte `from` on.
pub(super) fn everything(app: &App, state: &State, id: &PendingId, from: usize) -> Option<String> {
    let shown = match state.item(id) {
        Some(item) => card::card(&app.approvals, &app.catalogue.load(), state, item),
        None => Value::Object(super::change::whole(app, state, id)?),
    };
    let whole = serde_json::to_string_pretty(&shown).ok()?;
    let rest = whole.get(from..)?;
    let (text, taken) = Said::beginning(rest, EVERYTHING);
    let more = if taken < rest.len() {
        format!(
            "/admin/console/pending/{id}/everything?from={}",
            from + taken
        )
    } else {
        String::new()
    };
    Everything { text, more }.render().ok()
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_default()
}

fn list<'v>(value: &'v Value, member: &str) -> &'v [Value] {
    value[member].as_array().map_or(&[], Vec::as_slice)
}
