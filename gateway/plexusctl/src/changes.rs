//! `plexusctl changes`: what runs of coding agents would change, seen, applied and dropped.

mod export;

use crate::{
    diff::Page,
    owner::{Desk, Owner, whole_id, whole_or_asked},
    prompt::{NAMED, confirm},
    sources::is_there,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, out, shell, span, text};
use plexus_owner::changes::{
    Apply, ApplyPlan, ChangeKind, ChangeSet, ChangeSetRow, ChangeSets, Counts, DropSet, FileChange,
    GatewayFacts, List, Origin, PlanApply, Show, Standing, first_line,
};
use plexus_protocol::{SourceId, Timestamp, id::has_id_form, words::counted};
use std::{collections::BTreeSet, path::PathBuf};

/// Change sets.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Changes {
    /// Change set to show as one difference; without one, list them
    #[arg(value_name = "CHANGE_SET", value_parser = change_set)]
    id: Option<String>,
    /// List those of this source alone
    #[arg(long, conflicts_with = "id")]
    source: Option<SourceId>,
    #[command(subcommand)]
    act: Option<Act>,
}

#[derive(Subcommand)]
enum Act {
    // As other commands have them; `changes` alone and `changes ID` do the same.
    /// List change sets
    #[command(hide = true)]
    List {
        /// List those of this source alone
        #[arg(long)]
        source: Option<SourceId>,
    },
    /// Show a change set as one difference
    #[command(hide = true)]
    Show {
        /// Change set
        #[arg(value_name = "CHANGE_SET", value_parser = change_set)]
        id: String,
    },
    /// Write one file as the run left it to a new file, to look at it
    Export {
        /// Change set
        #[arg(value_name = "CHANGE_SET", value_parser = change_set)]
        id: String,
        /// File of the change set
        #[arg(long, value_name = "FILE")]
        path: String,
        /// New file to write
        #[arg(long, value_name = "NEW_FILE")]
        to: PathBuf,
    },
    /// Apply a change set, or some of its files, to its folder
    Apply {
        /// Change set
        #[arg(value_name = "CHANGE_SET", value_parser = change_set)]
        id: String,
        /// Only this file, or all files below this folder; may be repeated
        #[arg(long = "path", value_name = "FILE")]
        paths: Vec<String>,
        /// Show all of a long change
        #[arg(long)]
        all: bool,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
    /// Drop a change set of which nothing is applied, for good
    Drop {
        /// Change set
        #[arg(value_name = "CHANGE_SET", value_parser = change_set)]
        id: String,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

/// Characters of a whole id: `cs_` and a UUID.
const LENGTH: usize = 39;

/// Reads the id of a change set, which becomes a part of a path.
fn change_set(text: &str) -> Result<String, String> {
    match has_id_form(text.strip_prefix("cs_").unwrap_or(text), "") {
        true => Ok(text.to_owned()),
        false => {
            Err("no change set has such an id; plexusctl changes lists those that there are".into())
        }
    }
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, changes: Changes) -> Result<Exit, Stop> {
    match (changes.act, changes.id) {
        (
            Some(Act::Apply {
                id,
                paths,
                all,
                yes,
            }),
            _,
        ) => apply(desk, &id, &paths, all, yes).await,
        (Some(Act::Export { id, path, to }), _) => export::export(desk, &id, &path, &to).await,
        (Some(Act::Drop { id, yes }), _) => drop_set(desk, &id, yes).await,
        (Some(Act::Show { id }), _) | (None, Some(id)) => show(desk, &id).await,
        (Some(Act::List { source }), _) => list(desk, source.as_ref()).await,
        (None, None) => list(desk, changes.source.as_ref()).await,
    }
}

async fn list(desk: &Desk, source: Option<&SourceId>) -> Result<Exit, Stop> {
    let call = List {
        source: source.map(ToString::to_string),
    };
    let mut owner = desk.open().await?;
    let reply = owner.call(&call).await?;
    if let Some(source) = source.filter(|_| reply.sets.is_empty()) {
        is_there(&mut owner, source).await?;
    }
    desk.show(&reply, || as_text(&reply, span::now()))
}

/// The change set whose id begins with what was typed. A whole id is looked up nowhere.
async fn named(owner: &mut Owner, typed: &str) -> Result<String, Stop> {
    if typed.len() >= LENGTH {
        return Ok(typed.to_owned());
    }
    let listed = owner.call(&List::default()).await?;
    let unread = listed.unread.iter().map(|set| set.id.as_str());
    let ids = listed.sets.iter().map(|set| set.id.as_str()).chain(unread);
    whole_id(typed, ids, "change set", "plexusctl changes")
}

/// Holds that what is applied or dropped is named by its whole id, or shown before somebody is asked.
fn whole_or_shown(desk: &Desk, typed: &str, yes: bool) -> Result<(), Stop> {
    let is_shown = desk.can_ask() && !yes;
    whole_or_asked(
        typed.len() >= LENGTH,
        is_shown,
        "a change set",
        "plexusctl changes",
    )
}

async fn show(desk: &Desk, id: &str) -> Result<Exit, Stop> {
    let mut owner = desk.open().await?;
    let id = named(&mut owner, id).await?;
    let set = whole(&mut owner, &id).await?;
    if desk.json {
        return desk.show(&set, String::new);
    }
    page(&set, span::now()).print().map(|()| Exit::Ok)
}

/// All stretches of a change set as one.
async fn whole(owner: &mut Owner, id: &str) -> Result<ChangeSet, Stop> {
    let mut call = Show {
        id: id.to_owned(),
        path: None,
        after: None,
    };
    let mut set = owner.call(&call).await?;
    while let Some(next) = set.next.take() {
        call.after = Some(next.after);
        let further = owner.call(&call).await?;
        set.next = further.next;
        set.files.extend(further.files);
    }
    Ok(set)
}

async fn apply(
    desk: &Desk,
    id: &str,
    paths: &[String],
    all: bool,
    yes: bool,
) -> Result<Exit, Stop> {
    desk.ask_for_person::<Apply>()?;
    whole_or_shown(desk, id, yes)?;
    let mut owner = desk.open().await?;
    let id = &named(&mut owner, id).await?;
    let shown = Show {
        id: id.to_owned(),
        path: None,
        after: None,
    };
    let set = owner.call(&shown).await?;
    let only: String = paths
        .iter()
        .map(|path| shell::option("path", &text::line(path)))
        .collect();
    let paths = (!paths.is_empty()).then(|| paths.to_vec());
    let asked = PlanApply {
        id: id.to_owned(),
        source: set.of.source.clone(),
        paths: paths.clone(),
    };
    let plan = owner.call(&asked).await?;
    if !desk.json {
        let rest = format!("plexusctl changes apply --all {}{only}", text::line(id));
        let rest = (!all).then_some(&*rest);
        let mut page = planned(&set, &plan, rest, span::now());
        // A question begins with it.
        if yes || !desk.can_ask() {
            page.say(text::line(&plan.plan.preview.headline));
        }
        page.print()?;
    }
    if !yes {
        let from = origin(&set.of, &set.about, span::now());
        let sum = text::short(&plan.plan.preview.headline, NAMED);
        confirm(desk, &format!("{sum}; apply this: {from}"), "--yes")?;
    }
    let call = Apply {
        id: id.to_owned(),
        source: asked.source,
        paths,
        state_token: plan.plan.state_token,
    };
    let done = owner.call(&call).await?;
    desk.show(&done, || {
        format!(
            "{}\nto undo it: plexusctl undo {}",
            text::line(done.summary.as_deref().unwrap_or_default()),
            done.audit_id
        )
    })
}

/// Asks at a terminal, with what is lost, and drops it.
async fn drop_set(desk: &Desk, id: &str, yes: bool) -> Result<Exit, Stop> {
    whole_or_shown(desk, id, yes)?;
    let mut owner = desk.open().await?;
    let id = named(&mut owner, id).await?;
    let listed = owner.call(&List::default()).await?;
    let (mut unread, others): (Vec<_>, Vec<_>) =
        listed.unread.into_iter().partition(|set| set.id == id);
    let set = listed.sets.into_iter().find(|set| set.id == id);
    let (mut lost, source) = match (set, unread.pop()) {
        // Its source would refuse, after the question.
        (Some(set), _) if set.applied > 0 && !yes => {
            let why = "it is applied, or a part of it is: take that back first";
            let stop = Stop::new(Exit::Failed, "precondition_changed", why);
            return Err(stop.next("plexusctl undo"));
        }
        (Some(set), _) => (in_list(&set, span::now()), set.of.source),
        (None, Some(set)) => {
            let why = text::line(&set.why);
            let source = set.source;
            let lost = format!("{id}\n  {source}\n  its contents cannot be shown: {why}");
            (lost, source)
        }
        // A part of a later one, beyond the list, or gone.
        (None, None) => {
            let set = whole(&mut owner, &id).await?;
            let files = set.files.len();
            let from = origin(&set.of, &set.about, span::now());
            (format!("{id}\n  {from}\n  files: {files}"), set.of.source)
        }
    };
    for other in others.iter().filter(|other| other.source == source) {
        let other = text::line(&other.id);
        lost.push_str(&format!("\n  {other} cannot be read, and may build on it"));
    }
    if !yes {
        if desk.can_ask() {
            out::say(&lost);
        }
        confirm(desk, &format!("drop {} for good", text::line(&id)), "--yes")?;
    }
    let done = owner.call(&DropSet { id, source }).await?;
    desk.show(&done, || {
        text::line(done.summary.as_deref().unwrap_or_default())
    })
}

fn planned(set: &ChangeSet, plan: &ApplyPlan, rest: Option<&str>, now: Timestamp) -> Page {
    let mut page = Page::default();
    about(&mut page, set, now);
    page.plan(&plan.plan, rest);
    page
}

fn as_text(reply: &ChangeSets, now: Timestamp) -> String {
    let mut lines: Vec<String> = reply.sets.iter().map(|set| in_list(set, now)).collect();
    match reply.sets.first() {
        None if !reply.unread.is_empty() || !reply.away.is_empty() => {}
        None => lines.push("No source that serves keeps a change set; one that is disabled or removed has its own still.".to_owned()),
        Some(set) => {
            let id = text::line(&set.id);
            lines.push(format!("\nto see one: plexusctl changes {id}"));
        }
    }
    if let Some(set) = reply.sets.iter().find(|set| is_free(set, &reply.sets)) {
        let id = text::line(&set.id);
        lines.push(format!("to drop one: plexusctl changes drop {id}"));
    }
    for unread in &reply.unread {
        let line = format!(
            "{}: {} cannot be read: {}",
            unread.source, unread.id, unread.why
        );
        lines.push(text::line(&line));
    }
    if let Some(unread) = reply.unread.first() {
        let id = text::line(&unread.id);
        lines.push(format!(
            "to drop one that cannot be read and was not applied: plexusctl changes drop {id}"
        ));
    }
    for away in &reply.away {
        lines.push(format!("{}: {}", away.source, text::line(&away.why)));
    }
    if reply.more > 0 {
        lines.push(format!("and {} older ones", reply.more));
    }
    lines.join("\n")
}

/// One change set in some lines.
fn in_list(set: &ChangeSetRow, now: Timestamp) -> String {
    let mut page = Page::default();
    page.say(text::line(&set.id));
    page.say(format!("  {}", origin(&set.of, &set.about, now)));
    words(&mut page, "  ", &set.of, &set.about);
    let names: Vec<_> = set.first.iter().map(|name| text::line(name)).collect();
    let more = set.counts.paths().saturating_sub(names.len() as u64);
    let mut files = counts(&set.counts);
    if !names.is_empty() {
        files.push_str(&format!(": {}", names.join(", ")));
    }
    if !names.is_empty() && more > 0 {
        files.push_str(&format!(" and {more} more"));
    }
    page.say(format!("  {files}"));
    page.say(format!("  applied: {}", applied(set)));
    page.text()
}

/// `codex in /home/me/site, for my-agent, 2 min ago`. `about` has what the source says of the run.
fn origin(of: &GatewayFacts, about: &Origin, now: Timestamp) -> String {
    let mut told = of.source.to_string();
    if let Some(folder) = &of.folder {
        told.push_str(&format!(" in {}", text::line(folder)));
    }
    if let Some(agent) = &about.agent {
        told.push_str(&format!(", for {}", text::line(agent)));
    }
    let made = about.made;
    let made = made.map_or_else(|| "earlier".to_owned(), |made| span::ago(made, now));
    format!("{told}, {made}")
}

/// Adds what the run was asked, and why, in the agent's words.
fn words(page: &mut Page, margin: &str, of: &GatewayFacts, about: &Origin) {
    let prompt = Some(&about.prompt).filter(|prompt| !prompt.is_empty());
    for (label, told) in [("prompt", prompt), ("purpose", of.purpose.as_ref())] {
        if let Some(told) = told {
            let first = text::short(&first_line(told), 200);
            page.say(format!("{margin}{label}: “{first}”"));
        }
    }
    if let Some(ended) = about.unfinished() {
        page.say(format!("{margin}unfinished: {}", text::line(&ended)));
    }
    if let Some(lacks) = about.lacks() {
        page.say(format!("{margin}left out: {lacks}"));
    }
    if !about.onto.is_empty() {
        let onto = text::line(&about.onto.join(", "));
        page.say(format!("{margin}builds on: {onto}"));
    }
}

/// Adds where a change set comes from.
fn about(page: &mut Page, set: &ChangeSet, now: Timestamp) {
    page.say(origin(&set.of, &set.about, now));
    words(page, "  ", &set.of, &set.about);
    page.say("");
}

pub(crate) fn counts(counts: &Counts) -> String {
    let words = [
        (counts.added.saturating_sub(counts.renamed), "added"),
        (counts.edited, "edited"),
        (counts.removed.saturating_sub(counts.renamed), "removed"),
        (counts.renamed, "renamed"),
        (counts.modes, "of another mode"),
    ];
    let words = words.iter().filter(|(count, _)| *count > 0);
    let words: Vec<_> = words
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    words.join(", ")
}

/// Whether it can be dropped: nothing of it is applied, and none builds on it.
fn is_free(set: &ChangeSetRow, all: &[ChangeSetRow]) -> bool {
    set.applied == 0 && !all.iter().any(|other| other.about.onto.contains(&set.id))
}

/// Whether all of it is in its folder.
pub(crate) fn is_applied(set: &ChangeSetRow) -> bool {
    set.applied == set.counts.paths()
}

pub(crate) fn applied(set: &ChangeSetRow) -> String {
    match set.applied {
        0 => "no".to_owned(),
        _ if is_applied(set) => "all".to_owned(),
        _ => set.applied_part(),
    }
}

fn page(set: &ChangeSet, now: Timestamp) -> Page {
    let mut page = Page::default();
    about(&mut page, set, now);
    let (id, source) = (text::line(&set.id), &set.of.source);
    let files = &set.files;
    let old_names: BTreeSet<_> = files.iter().filter_map(|file| file.from.as_ref()).collect();
    for file in files {
        let is_moved = old_names.contains(&file.path);
        one(&mut page, (id.as_str(), source), file, is_moved);
    }
    // A renamed file is one, which is as far as its new name is.
    let whole = files.iter().filter(|file| !old_names.contains(&file.path));
    let whole: Vec<_> = whole.collect();
    page.say(format!("{source}: {}", standings(&whole)));
    if let Some(later) = &set.about.superseded_by {
        let later = text::line(later);
        page.say(format!(
            "superseded by {later}, which goes on from it: plexusctl changes {later}"
        ));
    }
    if let Some(on) = files.iter().find_map(|file| file.on.as_ref()) {
        page.say(format!(
            "to apply it, begin with: plexusctl changes apply {}",
            text::line(on)
        ));
        return page;
    }
    let is_waiting = |file: &&FileChange| file.state == Some(Standing::Waits);
    let waits: Vec<_> = files.iter().filter(is_waiting).collect();
    match (waits.len(), files.len() - waits.len()) {
        (0, _) => {}
        (_, 0) => page.say(format!("to apply it: plexusctl changes apply {id}")),
        (_, _) => {
            let named: String = waits
                .iter()
                .map(|file| shell::option("path", &text::line(&file.path)))
                .collect();
            page.say(format!(
                "to apply what waits: plexusctl changes apply {id}{named}"
            ));
        }
    }
    page
}

/// How many files there are, and how far they have come.
fn standings(files: &[&FileChange]) -> String {
    let in_state = |state| files.iter().filter(move |file| file.state == Some(state));
    let changed = in_state(Standing::Changed)
        .filter(|file| file.on.is_none() && file.applied.is_none())
        .count();
    let later = files.iter().filter(|file| file.applied.is_some()).count();
    let behind = files.iter().filter(|file| file.on.is_some()).count();
    format!(
        "{} in this change set, {} applied, {} waiting, {changed} changed since the run{}",
        counted(files.len(), "file"),
        in_state(Standing::Applied).count() + later,
        in_state(Standing::Waits).count(),
        match behind {
            0 => String::new(),
            behind => format!(", {behind} after another change set"),
        },
    )
}

/// Shows one file; one that is moved goes in favour of another name, where it is said.
fn one(page: &mut Page, (id, source): (&str, &SourceId), file: &FileChange, is_moved: bool) {
    let kind = match file.kind {
        ChangeKind::Added => "added",
        ChangeKind::Edited => "edited",
        ChangeKind::Removed => "removed",
        ChangeKind::Mode => "mode changed",
    };
    page.say(format!("{source}: {kind} {}", text::line(&file.path)));
    match (file.state, &file.on) {
        (Some(Standing::Applied), _) => page.say("  it is applied"),
        (Some(Standing::Changed), Some(on)) => {
            let on = text::line(on);
            page.say(format!("  it builds on {on}: apply that first"));
        }
        (Some(Standing::Changed), None) => meanwhile(page, file),
        (Some(Standing::Waits) | None, _) => {}
    }
    match file.executable {
        Some(true) => page.say("  it is executable"),
        Some(false) => page.say("  it is executable no more"),
        None => {}
    }
    if let Some(why) = &file.runs {
        page.say(format!(
            "  applying it amounts to running code: {}",
            text::line(why)
        ));
    }
    // What may be executed is shown whole, wherever it came from.
    let runs = file.runs.is_some() || file.executable == Some(true);
    match (&file.diff, &file.from) {
        _ if is_moved && !runs => page.say("  it has another name in this change set"),
        (Some(_), Some(from)) if !runs => page.say(format!(
            "  it was {}, and its content stays",
            text::line(from)
        )),
        (Some(diff), _) => page.diff(diff, file.cut == Some(true)),
        (None, _) if file.kind == ChangeKind::Mode => {}
        (None, _) => {
            page.say(
                "  (no difference is shown: not text, too large, or changed while the run worked)",
            );
            if file.after.is_some() {
                let path = shell::option("path", &text::line(&file.path));
                page.say(format!(
                    "  to look at it: plexusctl changes export {id}{path} --to NEW_FILE"
                ));
            }
        }
    }
    page.say("");
}

/// What the other has made of a file, before what the run has.
fn meanwhile(page: &mut Page, file: &FileChange) {
    let (state, since) = match file.applied {
        Some(_) => (
            "it was applied, and somebody changed it since",
            "it was applied",
        ),
        None => (
            "somebody changed this file since the run: it cannot be applied",
            "the run began",
        ),
    };
    page.say(format!("  {state}"));
    if let Some(diff) = &file.meanwhile {
        page.say(format!("  changed since {since}:"));
        page.diff(diff, file.meanwhile_cut == Some(true));
        page.say("  changed by the run:");
    }
}
