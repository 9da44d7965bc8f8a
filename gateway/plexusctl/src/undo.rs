//! `plexusctl undo`: takes one effect back, after showing what that changes. Without an id it shows what can be taken back.

use crate::{
    activity::Activity,
    diff::Page,
    moment,
    owner::{Desk, Owner, whole_id, whole_or_asked},
    prompt::{NAMED, confirm},
    table::table,
};
use clap::{ArgGroup, Args};
use plexus_client::{Exit, Stop, text};
use plexus_owner::{
    activity::{self, ActivityCall, ActivityKind, ActivityRow, CallBasis, OnlyActivity},
    undo::{Show, TakeBack, UndoPlan},
};
use plexus_protocol::{AuditId, PendingId, RunId, id::has_id_form};
use serde::Serialize;
use std::{path::Path, str::FromStr};

/// How many effects are shown.
const SHOWN: usize = 10;
/// Of how many changes these are chosen: not every one can be taken back.
const LOOKED_AT: u64 = 100;
/// The command that lists them.
const LIST: &str = "plexusctl undo";

/// Which effect.
#[derive(Args)]
#[command(group(ArgGroup::new("which").args(["audit_id", "path"])))]
pub(crate) struct Undo {
    /// Audit id of the effect, or of its outcome; or the request or the run that it was approved as; where you are asked, enough
    /// characters of it to name it [default: show what can be undone]
    audit_id: Option<EffectName>,
    /// The last effect that changed this item, as the source names it (Projects/Plexus.md), or by its path
    #[arg(long, value_name = "THING")]
    path: Option<String>,
    /// Show all of a long change
    #[arg(long, requires = "which")]
    all: bool,
    /// Do not ask for confirmation
    #[arg(long, requires = "which")]
    yes: bool,
}

/// What names an effect.
#[derive(Clone)]
enum EffectName {
    /// Its event.
    Event(AuditId),
    /// The item whose approval it was made by.
    Item(PendingId),
    /// The beginning of one of these ids.
    Beginning(String),
}

impl FromStr for EffectName {
    type Err = &'static str;
    fn from_str(typed: &str) -> Result<Self, Self::Err> {
        let run = RunId::parse(typed).map(|run| run.item());
        if let Ok(item) = run.or_else(|_| PendingId::parse(typed)) {
            return Ok(Self::Item(item));
        }
        if let Ok(id) = AuditId::parse(typed) {
            return Ok(Self::Event(id));
        }
        let mut kinds = ["evt_", "pend_", "run_", ""].into_iter();
        match kinds.any(|kind| has_id_form(typed, kind)) {
            true => Ok(Self::Beginning(typed.replacen("run_", "pend_", 1))),
            false => Err(
                "write an id of an effect (evt_…), a request (pend_…) or a run (run_…); plexusctl undo lists them",
            ),
        }
    }
}

/// Plans, shows, asks, does it.
pub(crate) async fn run(desk: &Desk, undo: Undo) -> Result<Exit, Stop> {
    if undo.audit_id.is_none() && undo.path.is_none() {
        return show(desk).await;
    }
    desk.ask_for_person::<TakeBack>()?;
    let is_whole = !matches!(undo.audit_id, Some(EffectName::Beginning(_)));
    whole_or_asked(is_whole, desk.can_ask() && !undo.yes, "an effect", LIST)?;
    let mut owner = desk.open().await?;
    let thing = undo.path.clone();
    let id = match (undo.audit_id, undo.path) {
        (Some(EffectName::Event(id)), _) => id.to_string(),
        (Some(name), _) => named(&undoable(&mut owner).await?, name)?,
        (None, path) => newest(&mut owner, path.unwrap_or_default()).await?,
    };
    let plan = owner.call(&Show { id: id.clone() }).await?;
    if !desk.json {
        let rest = format!("plexusctl undo --all {}", plan.intent);
        let mut page = page(&plan, (!undo.all).then_some(&*rest));
        let beside = thing.and_then(|thing| beside(&plan, &thing));
        beside.into_iter().for_each(|line| page.say(line));
        page.print()?;
    }
    if !undo.yes {
        let question = format!("{}; do this", in_short(&plan, NAMED));
        confirm(desk, &question, "--yes")?;
    }
    let call = TakeBack {
        id,
        state_token: plan.plan.state_token,
    };
    let done = owner.call(&call).await?;
    desk.show(&done, || {
        format!(
            "{}\nto take that back: plexusctl undo {}",
            text::line(done.summary.as_deref().unwrap_or_default()),
            done.audit_id
        )
    })
}

/// The last change of a thing, where its source can take it back.
async fn newest(owner: &mut Owner, thing: String) -> Result<String, Stop> {
    let named = text::line(&thing);
    let found = Activity::changes_of(thing)
        .found(owner, &moment::now())
        .await?;
    let calls = found.calls.iter().rev().map(ActivityRow::call);
    let mut changes = calls.filter(|call| call.did == ActivityKind::Changed);
    let mut why = format!("no change of {named} is known");
    if let Some(last) = changes.next() {
        let mut undoable = changes.filter(|call| call.undo.is_some());
        if let Some(other) = undoable.find(|other| other.source() != last.source()) {
            let why = format!(
                "{named} is in more than one source; its last changes are {} and {}",
                last.audit_id, other.audit_id
            );
            let next = format!("plexusctl undo {}", last.audit_id);
            return Err(Stop::new(Exit::Failed, "ambiguous", why).next(next));
        }
        if last.agent_id.is_none() {
            // To take that back brings back what an agent did.
            let why = format!("you changed {named} last, by {}", last.audit_id);
            let next = format!("plexusctl undo {}", last.audit_id);
            return Err(Stop::new(Exit::Failed, "own_change", why).next(next));
        }
        if last.undo.is_some() {
            return Ok(last.audit_id.clone());
        }
        why = format!("the last change of {named} cannot be taken back, or was already");
    }
    if let Some(names @ [_, ..]) = found.similar.as_deref() {
        let names = text::listed(names, ", ");
        why.push_str(&format!("; recorded names like it: {names}"));
    }
    Err(Stop::new(Exit::Failed, "not_found", why).next(LIST))
}

/// Effects that their sources can take back, the newest first.
#[derive(Serialize)]
struct Undoable {
    calls: Vec<ActivityRow>,
}

async fn undoable(owner: &mut Owner) -> Result<Vec<ActivityRow>, Stop> {
    let asked = activity::List {
        limit: Some(LOOKED_AT),
        only: Some(OnlyActivity::Changed),
        ..activity::List::default()
    };
    let mut calls = owner.call(&asked).await?.calls;
    calls.retain(|row| row.call().undo.is_some());
    Ok(calls)
}

/// The one of these effects that was named.
fn named(calls: &[ActivityRow], name: EffectName) -> Result<String, Stop> {
    let name = match name {
        EffectName::Beginning(typed) => begun(calls, &typed)?,
        whole => whole,
    };
    match name {
        EffectName::Event(id) => Ok(id.to_string()),
        EffectName::Item(item) => approved_as(calls, item.as_str()),
        EffectName::Beginning(typed) => {
            let why = format!(
                "of the newest {LOOKED_AT} changes, none that begins with {typed:?} can be taken back"
            );
            Err(Stop::new(Exit::Failed, "not_found", why).next(LIST))
        }
    }
}

/// The whole name whose beginning was typed; what was typed if it begins none.
fn begun(calls: &[ActivityRow], typed: &str) -> Result<EffectName, Stop> {
    let events = calls.iter().map(|row| &*row.call().audit_id);
    let items = calls.iter().filter_map(|row| item_of(row.call()));
    let whole = whole_id(typed, events.chain(items), "effect", LIST)?;
    whole.parse().map_err(Stop::usage)
}

/// The item by whose approval a call was made.
fn item_of(call: &ActivityCall) -> Option<&str> {
    match call.basis.as_ref()? {
        CallBasis::Item(id) | CallBasis::Bounded(id) => Some(id),
        CallBasis::Grant(_) => None,
    }
}

/// The last of these effects that this item's approval made.
fn approved_as(calls: &[ActivityRow], item: &str) -> Result<String, Stop> {
    let mut calls = calls.iter().map(ActivityRow::call);
    let made = calls.find(|call| item_of(call) == Some(item));
    made.map(|call| call.audit_id.clone()).ok_or_else(|| {
        let why = format!(
            "of the newest {LOOKED_AT} changes, none that was approved as {item} can be taken back"
        );
        Stop::new(Exit::Failed, "not_found", why).next("plexusctl activity --changed")
    })
}

async fn show(desk: &Desk) -> Result<Exit, Stop> {
    let mut calls = undoable(&mut desk.open().await?).await?;
    let is_cut = calls.len() > SHOWN;
    calls.truncate(SHOWN);
    let found = Undoable { calls };
    desk.show(&found, || as_text(&found.calls, is_cut))
}

fn as_text(calls: &[ActivityRow], is_cut: bool) -> String {
    let now = moment::now();
    let rows = calls.iter().map(|row| {
        let call = row.call();
        let who = call.agent_id.clone().unwrap_or_else(|| "you".to_owned());
        [
            moment::read(call.at, &now),
            who,
            activity::words::said(call),
            call.audit_id.clone(),
        ]
    });
    let none = format!("of the newest {LOOKED_AT} changes, none can be taken back");
    let shown = table(["when", "who", "did", "id"], rows.collect(), &none);
    let earlier = match is_cut {
        true => "\n(earlier ones are not shown: plexusctl undo --path THING)",
        false => "",
    };
    match calls {
        [] => shown,
        _ => format!(
            "{shown}{earlier}\nto see what taking one back changes, and be asked: plexusctl undo ID"
        ),
    }
}

/// The files that an undo takes back beside the one that was named.
fn beside(plan: &UndoPlan, thing: &str) -> Option<String> {
    let files = plan.plan.preview.facts.iter();
    let files = files.filter(|fact| fact.name == "file");
    let files: Vec<&str> = files.map(|fact| fact.value.as_str()).collect();
    let is_whole = |file: &&&str| Path::new(thing).ends_with(file);
    let is_end = |file: &&&str| Path::new(file).ends_with(thing);
    let named: Vec<&&str> = files.iter().filter(is_whole).collect();
    let named = match named.is_empty() {
        true => files.iter().filter(is_end).collect(),
        false => named,
    };
    let others: Vec<&str> = match &named[..] {
        [one] => files.iter().filter(|file| *file != *one).copied().collect(),
        _ => files,
    };
    (!others.is_empty()).then(|| format!("this also takes back {}", text::listed(&others, ", ")))
}

fn page(plan: &UndoPlan, rest: Option<&str>) -> Page {
    let mut page = Page::default();
    let who = plan.agent_id.as_deref().unwrap_or("you");
    page.say(format!(
        "{}: {} ({}, {})",
        text::line(who),
        text::line(plan.did.as_deref().unwrap_or_default()),
        plan.capability_id,
        moment::read(plan.at, &moment::now()),
    ));
    page.say(in_short(plan, usize::MAX));
    page.plan(&plan.plan, rest);
    page
}

/// What it does, in one line of at most `max` characters of the source's own.
fn in_short(plan: &UndoPlan, max: usize) -> String {
    let headline = &plan.plan.preview.headline;
    // A summary says what was done, for the log.
    match headline.is_empty() {
        true => format!("afterwards: {}", text::short(&plan.plan.summary, max)),
        false => format!("undo: {}", text::short(headline, max)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_owner::plan::Form;
    use serde_json::json;

    #[test]
    fn earlier_effects_are_said_to_be_left_out() {
        let calls = [ActivityRow::new(ActivityCall::default())];
        let earlier = "\n(earlier ones are not shown: plexusctl undo --path THING)\n";
        assert!(as_text(&calls, true).contains(earlier));
        assert!(!as_text(&calls, false).contains("earlier"));
    }

    #[test]
    fn effect_is_named_by_three_kinds_of_ids() {
        const NUMBER: &str = "01980000-0000-7000-8000-000000000000";
        let read = |kind: &str| format!("{kind}_{NUMBER}").parse::<EffectName>();
        assert!(matches!(read("evt"), Ok(EffectName::Event(_))));
        assert!(matches!(read("pend"), Ok(EffectName::Item(_))));
        assert!(matches!(read("run"), Ok(EffectName::Item(_))));
        let begins = "run_01980000".parse::<EffectName>();
        assert!(matches!(begins, Ok(EffectName::Beginning(typed)) if typed == "pend_01980000"));
        // A change set is undone by the effect that applied it.
        let why = read("cs").err().unwrap_or_default();
        assert!(why.contains("pend_…") && why.contains("plexusctl undo"));
    }

    #[test]
    fn six_characters_name_an_effect_or_its_request() {
        const EVENT: &str = "evt_00000000-004c-8601-9a97-6ab6eec8d02f";
        const ITEM: &str = "pend_01980000-0000-7000-8000-000000000000";
        let call = ActivityCall {
            audit_id: EVENT.to_owned(),
            basis: Some(CallBasis::Item(ITEM.to_owned())),
            ..ActivityCall::default()
        };
        let calls = [ActivityRow::new(call)];
        let found = |typed: &str| named(&calls, typed.parse().unwrap());
        for typed in [
            "evt_00000000-004c",
            "00000000",
            "pend_019800",
            "run_019800",
            "019800",
            ITEM,
        ] {
            assert_eq!(found(typed).unwrap(), EVENT, "{typed}");
        }
        assert_eq!(found("01980").unwrap_err().exit, Exit::Usage);
        assert_eq!(found("evt_019800").unwrap_err().code, "not_found");
    }

    #[test]
    fn what_a_person_reads() {
        let plan = json!({
            "intent": "evt_01980000-0000-7000-8000-000000000000", "undo": "workspace.undo",
            "stateToken": "0".repeat(64), "rating": "write", "agentId": "my-cc", "capabilityId": "workspace.write", "at": "2026-01-01T00:00:00.000Z",
            "did": "replaced a\u{1b}.md, +1 −1", "summary": "restored a.md, +1 −1",
            "warnings": ["This amounts to running code"],
            "preview": {"diff": "--- a.md\n+++ a.md\n-new\n+old\n", "form": "diff", "cut": false},
        });
        let mut plan: UndoPlan = serde_json::from_value(plan).unwrap();
        let then = moment::read(plan.at, &moment::now());
        assert_eq!(
            page(&plan, None).text().replace(&then, "then"),
            "my-cc: replaced a\\u{1b}.md, +1 −1 (workspace.write, then)\n\
             afterwards: restored a.md, +1 −1\n\
             warning: This amounts to running code\n  │ --- a.md\n  │ +++ a.md\n  │ -new\n  │ +old"
        );
        assert_eq!(in_short(&plan, 9), "afterwards: restored…");
        let named = |value: &str| json!({"name": "file", "value": value});
        let files =
            json!({"headline": "takes changes back", "facts": [named("a/b.md"), named("c.md")]});
        let mut of_files = plan.clone();
        of_files.plan.preview = serde_json::from_value(files).unwrap();
        assert!(
            page(&of_files, None)
                .text()
                .contains("\nundo: takes changes back\n")
        );
        let also = Some("this also takes back c.md".to_owned());
        assert_eq!(beside(&of_files, "/home/me/a/b.md"), also);
        // A note of somebody's is no difference, whatever it looks like.
        plan.plan.preview.form = Form::Text;
        assert!(page(&plan, None).text().ends_with("\n  ┊ -new\n  ┊ +old"));
        // An entry of an app has no lines to compare.
        let facts = json!([{"name": "title", "value": "Milk"}, {"name": "path", "value": "a/b"}]);
        plan.plan.preview = serde_json::from_value(json!({"facts": facts})).unwrap();
        assert!(page(&plan, None).text().ends_with("code\n  title: Milk"));
        // Its notes are one of its fields.
        let facts = json!([{"name": "title", "value": "Milk"}]);
        let entry = json!({"facts": facts, "diff": "-oat\n", "form": "diff"});
        plan.plan.preview = serde_json::from_value(entry).unwrap();
        let shown = page(&plan, None).text();
        assert!(shown.ends_with("code\n  title: Milk\n  │ -oat"), "{shown}");
    }
}
