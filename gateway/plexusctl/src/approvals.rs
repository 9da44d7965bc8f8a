//! `plexusctl approvals`: what waits for the owner, and the owner's decision on it
//! (docs/protocol/owner.md#requests-and-approvals).

mod answer;
mod card;
mod decide;
#[cfg(test)]
pub(crate) mod fixture;
mod screen;
mod watch;

use crate::{
    owner::{Desk, Owner, SHORTEST, each_card, whole_or_asked},
    pause, prompt,
    table::table,
    terms::Terms,
};
use clap::{Args, Subcommand};
use decide::Verdict;
use plexus_client::{Exit, Stop, out, span, text};
use plexus_owner::{
    pending::{Card, Decide, EndDenial, Heading, Item, Kind, List, PlanAgain, Show, State},
    status,
};
use plexus_protocol::{Digest, PendingId, SourceId, Timestamp, words};

/// Approvals.
#[derive(Args)]
pub(crate) struct Approvals {
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Subcommand)]
enum Act {
    /// Show pending requests
    List,
    /// Show one request: agent, purpose, changes, possible answers
    Show {
        /// Request; six characters of its number are enough [default: the only pending one]
        item: Option<String>,
        /// Show everything that the card's digest covers
        #[arg(long)]
        all: bool,
    },
    /// Approve one request, once unless you give a window
    Approve(Approve),
    /// Deny one request; the same call is then refused without asking you
    Deny {
        /// Request; six characters of its number are enough [default where you are asked: the only pending one]
        item: Option<String>,
        /// Reason, shown to the agent
        #[arg(long, value_name = "TEXT", value_parser = words::reason)]
        reason: Option<String>,
    },
    /// Take a denial back; you are asked for that call again where no grant covers it
    Undeny {
        /// Request that you denied; six characters of its number are enough for a day
        item: String,
    },
    /// Compute the preview of a request again
    Plan {
        /// Request; six characters of its number are enough
        item: String,
    },
    /// Follow requests as they arrive, and decide them by keys
    Watch {
        /// Print line by line instead of a full screen [default where stdout is no terminal]
        #[arg(long)]
        lines: bool,
    },
}

/// Approving.
#[derive(Args, Default)]
struct Approve {
    /// Request; where you are asked, six characters of its number are enough [default there: the only pending one]
    item: Option<String>,
    #[command(flatten)]
    terms: Terms,
    /// For a request without input: one call, whatever its input
    #[arg(long)]
    any_input: bool,
    /// For a conversation or an orchestration: lower the number of turns or runs
    #[arg(long, visible_alias = "runs", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    turns: Option<u32>,
    /// For a conversation or an orchestration: lower the number of minutes
    #[arg(long, value_name = "N", value_parser = span::minutes)]
    minutes: Option<u32>,
    /// For an extension that an agent proposes: a folder that you give it; may be given again
    #[arg(long = "folder", value_name = "NAME=PATH")]
    folders: Vec<String>,
    /// For a changed extension: a stored secret to keep although it goes to another host; may be given again
    #[arg(long = "keep-secret", value_name = "NAME")]
    keeps: Vec<String>,
    /// For a question of a lent server: the value of a field; may be given again
    #[arg(long = "answer", value_name = "NAME=VALUE")]
    answers: Vec<String>,
    /// Approve only the card with this digest, which you have seen before
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    card: Option<Digest>,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

fn digest(text: &str) -> Result<Digest, String> {
    Digest::parse(text).ok_or_else(|| "a digest is 64 lower-case hex digits".to_owned())
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, approvals: Approvals) -> Result<Exit, Stop> {
    match approvals.act.unwrap_or(Act::List) {
        Act::List => {
            let mut owner = desk.open().await?;
            let reply = owner.call(&List::default()).await?;
            let status = owner.call(&status::Show {}).await?;
            desk.show(&reply, || {
                let waits = reply.pending.as_deref().unwrap_or_default();
                let waits = as_text(waits, span::now());
                match status.paused {
                    true => format!("{}\n{waits}", pause::PAUSED),
                    false => waits,
                }
            })
        }
        Act::Show { item, all } => {
            let mut owner = desk.open().await?;
            let found = find(&mut owner, item.as_deref()).await?;
            if desk.json {
                return desk.show(&found, String::new);
            }
            let render = if all {
                card::everything::render
            } else {
                card::render
            };
            let is_paused = pause::is_on(&mut owner).await;
            card::print(&render(&found, span::now(), is_paused))?;
            pause::tell(is_paused);
            Ok(Exit::Ok)
        }
        Act::Approve(terms) => approve(desk, terms).await,
        Act::Deny { item, reason } => {
            let mut owner = desk.open().await?;
            let found = named(&mut owner, item.as_deref()).await?;
            if item.is_none() {
                let of = match wants(&found.heading) {
                    // A changed source, an extension.
                    none if none.is_empty() => String::new(),
                    ids => format!(" ({ids})"),
                };
                let question = format!("deny {}{of}", found.heading.pending_id);
                prompt::confirm(desk, &question, "the request's id").map_err(
                    |stop| match stop.exit {
                        Exit::Usage => stop.next("plexusctl approvals list"),
                        _ => stop,
                    },
                )?;
            }
            let verdict = Verdict::Deny { reason };
            let (reply, said) = verdict.carry_out(&mut owner, &found).await?;
            desk.show(&reply, || said)
        }
        Act::Undeny { item } => {
            desk.ask_for_person::<EndDenial>()?;
            let mut owner = desk.open().await?;
            let id = match PendingId::parse(&item) {
                Ok(id) => id,
                Err(_) => decided(&mut owner, &item).await?,
            };
            let ended = owner.call(&EndDenial { id: id.to_string() }).await;
            let ended = ended.map_err(decide::gone)?;
            desk.show(&ended, || {
                let of: Vec<_> = ended.capabilities.iter().map(|id| id.as_str()).collect();
                let (of, agent) = (of.join(" "), &ended.agent_id);
                format!(
                    "no longer denied: {of} by {agent}; you are asked for the same again where no grant covers it"
                )
            })
        }
        Act::Plan { item } => {
            let mut owner = desk.open().await?;
            let found = named(&mut owner, Some(&item)).await?;
            let id = found.heading.pending_id.to_string();
            let reply = owner.call(&PlanAgain { id }).await?;
            desk.show(&reply, || {
                let id = &reply.pending_id;
                format!("it is being computed: plexusctl approvals show {id}")
            })
        }
        Act::Watch { lines } => {
            let screen = desk.caller.terminal && crate::screen::columns().is_some() && !desk.json;
            let simple =
                std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
            // Who may not decide reads lines: a screen of keys that do nothing would promise too much.
            if screen && !simple && !lines && desk.widen("deciding").is_ok() {
                screen::run(desk).await
            } else {
                watch::run(desk).await
            }
        }
    }
}

/// Shows one card, asks, and approves it.
async fn approve(desk: &Desk, approve: Approve) -> Result<Exit, Stop> {
    desk.ask_for_person::<Decide>()?;
    let is_whole = |name: &String| PendingId::parse(name).is_ok();
    let is_whole = approve.item.as_ref().is_some_and(is_whole);
    let is_asked = desk.asks(approve.yes);
    whole_or_asked(is_whole, is_asked, "a request", "plexusctl approvals list")?;
    let mut owner = desk.open().await?;
    let found = find(&mut owner, approve.item.as_deref()).await?;
    let found = decide::planned(&mut owner, found).await?;
    if !desk.json {
        let is_paused = pause::is_on(&mut owner).await;
        card::print(&card::render(&found, span::now(), is_paused))?;
        pause::tell(is_paused);
    }
    let verdict = match &found.card {
        Card::Register(card) => Verdict::Register {
            folders: decide::folders_for(card, &approve.folders)?,
            keeps: approve.keeps,
        },
        Card::Question(card) => Verdict::Answer {
            values: answer::values(
                desk,
                &found.heading.pending_id,
                &card.question,
                &approve.answers,
            )?,
        },
        Card::Brief(_) | Card::Grant(_) | Card::Change(_) => Verdict::Approve {
            terms: approve.terms.within(approve.turns, approve.minutes),
            any_input: approve.any_input,
        },
    };
    decide::confirm(&found, approve.card, approve.yes, desk.can_ask(), &verdict)?;
    let (reply, said) = verdict.carry_out(&mut owner, &found).await?;
    desk.show(&reply, || said)
}

/// The same for the card of a changed source; none where no such card waits.
pub(crate) async fn approve_change(desk: &Desk, source: &SourceId) -> Result<Option<Exit>, Stop> {
    let waits = changed(&mut desk.open().await?).await?;
    let is_of =
        |item: &&Item| matches!(&item.card, Card::Change(card) if card.source.id == *source);
    match waits.iter().find(is_of) {
        Some(card) => approve_whole(desk, card).await.map(Some),
        None => Ok(None),
    }
}

/// The same for the card of each changed source, one after the other.
pub(crate) async fn approve_changes(desk: &Desk) -> Result<Exit, Stop> {
    let waits = changed(&mut desk.open().await?).await?;
    if waits.is_empty() {
        let none = "nothing to resume: no source waits for a decision of yours";
        return out::line(none).map(|()| Exit::Ok);
    }
    each_card(waits, async |card| approve_whole(desk, &card).await).await
}

async fn approve_whole(desk: &Desk, card: &Item) -> Result<Exit, Stop> {
    let named = Approve {
        item: Some(card.heading.pending_id.to_string()),
        ..Approve::default()
    };
    approve(desk, named).await
}

/// The cards of all sources that changed, the oldest first.
async fn changed(owner: &mut Owner) -> Result<Vec<Item>, Stop> {
    let listed = pending(owner).await?.into_iter().rev();
    let mut cards = Vec::new();
    for item in listed.filter(|item| item.heading.kind == Kind::Change) {
        if !is_brief(&item) {
            cards.push(item);
            continue;
        }
        match whole(owner, item).await {
            // Decided since.
            Err(gone) if gone.code == UNKNOWN_ITEM => {}
            card => cards.push(card?),
        }
    }
    Ok(cards)
}

/// The code of what waits no longer, or never did.
const UNKNOWN_ITEM: &str = "unknown_item";

/// How many cards that the gateway's list only names are fetched in one look.
const FETCHED: usize = 16;

/// Everything that waits, the oldest first, which is decided first: of what the gateway's list only names the cards are
/// fetched one by one, up to [`FETCHED`]; the rest stays as it is named.
async fn waiting(owner: &mut Owner) -> Result<Vec<Item>, Stop> {
    let listed = pending(owner).await?;
    let mut items = Vec::with_capacity(listed.len());
    let mut fetched = 0;
    for item in listed.into_iter().rev() {
        if !is_brief(&item) || fetched == FETCHED {
            items.push(item);
            continue;
        }
        fetched += 1;
        match whole(owner, item).await {
            Ok(card) => items.push(card),
            // Decided since.
            Err(gone) if gone.code == UNKNOWN_ITEM => {}
            Err(stop) => return Err(stop),
        }
    }
    Ok(items)
}

/// What waits, as the gateway lists it.
pub(crate) async fn pending(owner: &mut Owner) -> Result<Vec<Item>, Stop> {
    let listed = owner.call(&List::default()).await?;
    Ok(listed.pending.unwrap_or_default())
}

fn is_brief(item: &Item) -> bool {
    matches!(item.card, Card::Brief(_))
}

/// The card of an item of the list; code that has changed is compared again when its card is asked for.
async fn whole(owner: &mut Owner, item: Item) -> Result<Item, Stop> {
    let is_of_code = matches!(&item.card, Card::Change(card) if card.is_of_code());
    match is_brief(&item) || is_of_code {
        true => card_of(owner, &item.heading.pending_id).await,
        false => Ok(item),
    }
}

/// The card of what waits under this id, as it is now.
async fn card_of(owner: &mut Owner, id: &PendingId) -> Result<Item, Stop> {
    match owner.call(&Show { id: id.to_string() }).await {
        Ok(card) if card.heading.state == State::Pending => Ok(card),
        Ok(card) => Err(decide::over(&card.heading)),
        Err(stop) => Err(decide::gone(stop)),
    }
}

/// The card of the one waiting item whose id is, or begins with, `name`; without a name of the only one that waits.
async fn find(owner: &mut Owner, name: Option<&str>) -> Result<Item, Stop> {
    let found = named(owner, name).await?;
    whole(owner, found).await
}

/// The same as the list has it, which may be without its card.
async fn named(owner: &mut Owner, name: Option<&str>) -> Result<Item, Stop> {
    let items = pending(owner).await?;
    match (name, &*items) {
        (Some(name), _) => {
            let found = match choose(&items, name) {
                Err(none) if none.code == UNKNOWN_ITEM => return Err(kept(owner, name, none).await),
                found => found?,
            };
            let id = &found.heading.pending_id;
            // A beginning that another item has had, which is decided: who types it may mean that one.
            if id.as_str() != name {
                let begins = Some(whole_name(name));
                let kept = owner.call(&List { begins }).await?.kept;
                if kept.unwrap_or_default().iter().any(|other| other != id) {
                    return Err(several(name));
                }
            }
            Ok(found.clone())
        }
        (None, [only]) => Ok(only.clone()),
        (None, []) => Err(Stop::new(Exit::Failed, UNKNOWN_ITEM, "nothing waits")),
        (None, _) => {
            Err(Stop::usage("several requests wait: say which").next("plexusctl approvals list"))
        }
    }
}

/// The one kept item whose id begins with `name`.
async fn decided(owner: &mut Owner, name: &str) -> Result<PendingId, Stop> {
    let begins = beginning(name)?;
    let kept = owner
        .call(&List {
            begins: Some(begins),
        })
        .await?
        .kept;
    match kept.unwrap_or_default().as_slice() {
        [only] => Ok(only.clone()),
        found => {
            let begin = match found {
                [] => "no kept request begins",
                _ => "several kept requests begin",
            };
            let why = format!("{begin} with {name:?}: give the whole id");
            let next = "plexusctl activity --only denied --since 30d --json";
            Err(Stop::new(Exit::Failed, UNKNOWN_ITEM, why).next(next))
        }
    }
}

/// That no request of this name waits; of one that is kept, how it ended.
async fn kept(owner: &mut Owner, name: &str, none: Stop) -> Stop {
    let begins = Some(whole_name(name));
    let listed = owner.call(&List { begins }).await.ok();
    match listed.and_then(|listed| listed.kept).as_deref() {
        Some([only]) => decide::ending(owner, only).await,
        _ => none,
    }
}

/// An id, as far as it was typed.
fn whole_name(named: &str) -> String {
    let number = named.strip_prefix("pend_").unwrap_or(named);
    format!("pend_{number}")
}

fn several(named: &str) -> Stop {
    Stop::usage(format!("several requests begin with {named:?}")).next("plexusctl approvals list")
}

/// The beginning of an id, where enough of it was typed to name one.
fn beginning(named: &str) -> Result<String, Stop> {
    let beginning = whole_name(named);
    if beginning.len() < "pend_".len() + SHORTEST {
        let why = format!(
            "a request is named by its id, or by at least {SHORTEST} characters of its number"
        );
        return Err(Stop::usage(why).next("plexusctl approvals list"));
    }
    Ok(beginning)
}

fn choose<'i>(items: &'i [Item], named: &str) -> Result<&'i Item, Stop> {
    let beginning = beginning(named)?;
    let mut fitting = items
        .iter()
        .filter(|item| item.heading.pending_id.as_str().starts_with(&beginning));
    match (fitting.next(), fitting.next()) {
        (Some(item), None) => Ok(item),
        (Some(_), Some(_)) => Err(several(named)),
        (None, _) => Err(Stop::new(
            Exit::Failed,
            UNKNOWN_ITEM,
            format!("no request {named:?} waits"),
        )
        .next("plexusctl approvals list")),
    }
}

/// The capabilities that an item is about, beside each other.
fn wants(item: &Heading) -> String {
    let ids: Vec<_> = item.capabilities.iter().map(|id| id.as_str()).collect();
    ids.join(" ")
}

/// Characters of a call's preview or input in the list.
const ABOUT: usize = 48;

fn as_text(items: &[Item], now: Timestamp) -> String {
    // The gateway lists the newest first.
    let rows = items.iter().rev().map(|item| {
        let heading = &item.heading;
        let wants = match (&item.card, card::extension(item)) {
            (Card::Question(card), _) => {
                format!("{}: {} asks you", wants(heading), card.source.id)
            }
            (Card::Change(card), _) => {
                let title = plexus_sheet::sheet_of(item).map_or("", |sheet| sheet.subject.title);
                format!("{} {title}", card.source.id)
            }
            (_, Some(wanted)) => wanted,
            _ => match card::about(item) {
                Some(about) => format!("{}: {}", wants(heading), text::short(&about, ABOUT)),
                None => wants(heading),
            },
        };
        let agent = heading.agent_id.as_ref();
        let purpose = heading.agent_purpose.as_deref().unwrap_or_default();
        [
            heading.pending_id.to_string(),
            agent.map_or_else(String::new, ToString::to_string),
            wants,
            span::ago(heading.created_at, now),
            // A table writes out each joiner, as in a name.
            text::short(&purpose.replace(['\u{200c}', '\u{200d}'], " "), 60),
        ]
    });
    table(
        [
            "request",
            "agent",
            "wants",
            "since",
            "purpose (the agent's words)",
        ],
        rows.collect(),
        "nothing waits",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_found_by_its_beginning_where_that_is_enough() {
        let items = [
            fixture::waiting("pend_aaaaaaa1-0000-4000-8000-000000000000"),
            fixture::waiting("pend_aaaaaab2-0000-4000-8000-000000000000"),
        ];
        for named in ["pend_aaaaaaa1", "aaaaaaa"] {
            assert_eq!(choose(&items, named).unwrap(), &items[0]);
        }
        for wrong in ["pend_aaaaaa", "aaaaa", "pend_", "", "x"] {
            assert_eq!(
                choose(&items, wrong).unwrap_err().exit,
                Exit::Usage,
                "{wrong}"
            );
        }
        for none in ["pend_bbbbbb", "aaaaaac"] {
            assert_eq!(choose(&items, none).unwrap_err().code, "unknown_item");
        }
    }

    #[test]
    fn what_waits() {
        let mut item = fixture::waiting(fixture::ITEM);
        item.heading.agent_purpose = Some("save\nnotes".to_owned());
        let mut newer = fixture::grant();
        newer["pendingId"] = fixture::OTHER.into();
        newer["asks"][0]["plan"] = serde_json::Value::Null;
        let space = " ".repeat(fixture::ITEM.len() - "request".len());
        let gap = " ".repeat(16);
        assert_eq!(
            as_text(&[fixture::read(newer), item], fixture::now()),
            format!(
                "REQUEST{space}  AGENT  WANTS{gap}                          SINCE      PURPOSE (THE AGENT'S WORDS)\n\
                 {}  my-cc  workspace.write: replace a.md{gap}  5 min ago  save\\nnotes\n\
                 {}  my-cc  workspace.write: path=a.md, content (2 lines)  5 min ago  save the notes",
                fixture::ITEM,
                fixture::OTHER
            )
        );
    }
}
