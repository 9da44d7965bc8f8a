//! `plexusctl changes`: what runs of coding agents would change, seen and applied.

use crate::{
    activity::encoded,
    diff::Page,
    owner::{Desk, Owner, list_of, text_of},
    prompt::confirm,
};
use clap::{Args, Subcommand};
use plexus_client::{Exit, Stop, shell::quote, span, text};
use plexus_protocol::{SourceId, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeSet;

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
    /// Apply a change set, or some of its files, to its folder
    Apply {
        /// Change set
        #[arg(value_name = "CHANGE_SET", value_parser = change_set)]
        id: String,
        /// Only this file; may be repeated
        #[arg(long = "path", value_name = "FILE")]
        paths: Vec<String>,
        /// Do not ask for confirmation
        #[arg(long)]
        yes: bool,
    },
}

/// Reads the id of a change set, which becomes a part of a path.
fn change_set(text: &str) -> Result<String, String> {
    let id = text.strip_prefix("cs_").unwrap_or_default();
    let is_plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    match !id.is_empty() && id.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("the id of a change set begins with cs_: plexusctl changes lists them".into()),
    }
}

/// Runs the sub-command.
pub(crate) async fn run(desk: &Desk, changes: Changes) -> Result<Exit, Stop> {
    match (changes.act, changes.id) {
        (Some(Act::Apply { id, paths, yes }), _) => apply(desk, &id, &paths, yes).await,
        (None, Some(id)) => show(desk, &id).await,
        (None, None) => list(desk, changes.source.as_ref()).await,
    }
}

async fn list(desk: &Desk, source: Option<&SourceId>) -> Result<Exit, Stop> {
    let mut path = "/admin/api/changes".to_owned();
    if let Some(source) = source {
        path.push_str(&format!("?source={source}"));
    }
    let reply = desk.open().await?.get(&path).await?;
    desk.show(&reply, || as_text(&reply, span::now()))
}

async fn show(desk: &Desk, id: &str) -> Result<Exit, Stop> {
    let set = whole(&mut desk.open().await?, id).await?;
    if desk.json {
        return desk.show(&set, String::new);
    }
    page(&set, span::now()).print().map(|()| Exit::Ok)
}

/// All stretches of a change set as one.
async fn whole(owner: &mut Owner, id: &str) -> Result<Value, Stop> {
    let path = format!("/admin/api/changes/{}", id);
    let mut set = owner.get(&path).await?;
    while let Some(after) = set["next"]["after"].as_str() {
        let further = format!("{path}?after={}", encoded(after));
        let mut further = owner.get(&further).await?;
        set["next"] = further["next"].take();
        if let (Some(files), Some(more)) =
            (set["files"].as_array_mut(), further["files"].as_array_mut())
        {
            files.append(more);
        }
    }
    Ok(set)
}

async fn apply(desk: &Desk, id: &str, paths: &[String], yes: bool) -> Result<Exit, Stop> {
    desk.widen("applying a change set")?;
    let mut owner = desk.open().await?;
    let path = format!("/admin/api/changes/{}", id);
    let set = owner.get(&path).await?;
    let mut body = json!({"source": set["source"]});
    if !paths.is_empty() {
        body["paths"] = json!(paths);
    }
    let plan = owner.post(&format!("{path}/plan"), &body).await?;
    if !desk.json {
        planned(&set, &plan, span::now()).print()?;
    }
    if !yes {
        confirm(desk, "apply this", "--yes")?;
    }
    body["stateToken"] = plan["stateToken"].clone();
    let done = owner.post(&format!("{path}/apply"), &body).await?;
    desk.show(&done, || {
        format!(
            "{}\nto undo it: plexusctl undo {}",
            text::line(text_of(&done, "summary")),
            text::line(text_of(&done, "auditId"))
        )
    })
}

fn planned(set: &Value, plan: &Value, now: Timestamp) -> Page {
    let mut page = Page::default();
    about(&mut page, set, now);
    page.plan(plan);
    page.say(text::line(text_of(&plan["preview"], "headline")));
    page
}

fn as_text(reply: &Value, now: Timestamp) -> String {
    let sets = list_of(reply, "sets");
    let mut lines: Vec<String> = sets.iter().map(|set| in_list(set, now)).collect();
    if sets.is_empty() {
        lines.push("No change set is kept.".to_owned());
    }
    if let Some(set) = sets.first() {
        let id = text::line(text_of(set, "id"));
        lines.push(format!("\nto see one: plexusctl changes {id}"));
    }
    for away in list_of(reply, "away") {
        lines.push(format!(
            "{}: {}",
            text::line(text_of(away, "source")),
            text::line(text_of(away, "why"))
        ));
    }
    if let Some(more @ 1..) = reply["more"].as_u64() {
        lines.push(format!("and {more} older ones"));
    }
    lines.join("\n")
}

/// One change set in some lines.
fn in_list(set: &Value, now: Timestamp) -> String {
    let mut page = Page::default();
    page.say(text::line(text_of(set, "id")));
    page.say(format!("  {}", origin(set, set, now)));
    words(&mut page, "  ", set, set);
    let names = list_of(set, "first").iter().filter_map(Value::as_str);
    let names: Vec<_> = names.map(text::line).collect();
    let more = files_of(set).saturating_sub(names.len() as u64);
    let mut files = counts(set);
    if !names.is_empty() {
        files.push_str(&format!(": {}", names.join(", ")));
    }
    if !names.is_empty() && more > 0 {
        files.push_str(&format!(" and {more} more"));
    }
    page.say(format!("  {files}"));
    let onto = list_of(set, "onto").iter().filter_map(Value::as_str);
    let onto: Vec<_> = onto.map(text::line).collect();
    if !onto.is_empty() {
        page.say(format!("  builds on: {}", onto.join(", ")));
    }
    page.say(format!("  applied: {}", applied(set)));
    page.text()
}

/// `codex in /home/me/site, for my-agent, 2 min ago`. `about` has what the source says of the run.
fn origin(set: &Value, about: &Value, now: Timestamp) -> String {
    let mut told = text::line(text_of(set, "source"));
    if let Some(folder) = set["folder"].as_str() {
        told.push_str(&format!(" in {}", text::line(folder)));
    }
    match text_of(about, "agent") {
        "" => {}
        agent => told.push_str(&format!(", for {}", text::line(agent))),
    }
    let made: Option<Timestamp> = serde_json::from_value(about["made"].clone()).ok();
    let made = made.map_or_else(|| "earlier".to_owned(), |made| span::ago(made, now));
    format!("{told}, {made}")
}

/// Adds what the run was asked, and why, in the agent's words.
fn words(page: &mut Page, margin: &str, set: &Value, about: &Value) {
    for (label, told) in [("prompt", about), ("purpose", set)] {
        if let Some(told) = told[label].as_str() {
            // Its first line says what it is for.
            let (first, rest) = told.split_once('\n').unwrap_or((told, ""));
            let more = if rest.is_empty() { "" } else { " …" };
            page.say(format!(
                "{margin}{label}: “{}{more}”",
                text::short(first, 200)
            ));
        }
    }
}

/// Adds where a change set comes from.
fn about(page: &mut Page, set: &Value, now: Timestamp) {
    page.say(origin(set, &set["about"], now));
    words(page, "  ", set, &set["about"]);
    page.say("");
}

pub(crate) fn counts(set: &Value) -> String {
    let words = [
        ("added", "added"),
        ("edited", "edited"),
        ("removed", "removed"),
        ("modes", "of another mode"),
    ];
    let words = words.iter().filter_map(|(name, word)| {
        let count = set[*name].as_u64().filter(|count| *count > 0)?;
        Some(format!("{count} {word}"))
    });
    words.collect::<Vec<_>>().join(", ")
}

fn files_of(set: &Value) -> u64 {
    let names = ["added", "edited", "removed", "modes"];
    names.iter().filter_map(|name| set[*name].as_u64()).sum()
}

pub(crate) fn applied(set: &Value) -> String {
    match (set["applied"].as_u64().unwrap_or_default(), files_of(set)) {
        (0, _) => "no".to_owned(),
        (applied, files) if applied == files => "all".to_owned(),
        (applied, files) => format!("{applied} of {files}"),
    }
}

fn page(set: &Value, now: Timestamp) -> Page {
    let mut page = Page::default();
    about(&mut page, set, now);
    let (id, source) = (
        text::line(text_of(set, "id")),
        text::line(text_of(set, "source")),
    );
    let files = list_of(set, "files");
    let old_names: BTreeSet<_> = files.iter().map(|file| text_of(file, "from")).collect();
    for file in files {
        let is_moved = old_names.contains(text_of(file, "path"));
        one(&mut page, &source, file, is_moved);
    }
    let count = |state: &str| files.iter().filter(|file| file["state"] == state).count();
    let later = files.iter().find_map(|file| file["on"].as_str());
    let behind = files.iter().filter(|file| file["on"].is_string()).count();
    let (waits, changed) = (count("waits"), count("changed") - behind);
    page.say(format!(
        "{source}: {} in this change set, {} applied, {waits} waiting, {changed} changed since the run{}",
        match files.len() {
            1 => "1 file".to_owned(),
            many => format!("{many} files"),
        },
        count("applied"),
        match behind {
            0 => String::new(),
            behind => format!(", {behind} after another change set"),
        },
    ));
    if let Some(on) = later {
        page.say(format!(
            "to apply it, begin with: plexusctl changes apply {}",
            text::line(on)
        ));
        return page;
    }
    match (waits, changed, files.len() - waits) {
        (0, _, _) => {}
        (_, _, 0) => page.say(format!("to apply it: plexusctl changes apply {id}")),
        (_, _, _) => {
            let waiting = files.iter().filter(|file| file["state"] == "waits");
            let named: String = waiting
                .map(|file| format!(" --path {}", quote(&text::line(text_of(file, "path")))))
                .collect();
            page.say(format!(
                "to apply what waits: plexusctl changes apply {id}{named}"
            ));
        }
    }
    page
}

/// Shows one file; one that is moved goes in favour of another name, where it is said.
fn one(page: &mut Page, source: &str, file: &Value, is_moved: bool) {
    let kind = match text_of(file, "kind") {
        "mode" => "mode changed",
        kind => kind,
    };
    page.say(format!(
        "{source}: {} {}",
        text::line(kind),
        text::line(text_of(file, "path"))
    ));
    match text_of(file, "state") {
        "applied" => page.say("  it is applied"),
        "changed" if file["on"].is_string() => {
            let on = text::line(text_of(file, "on"));
            page.say(format!("  it builds on {on}: apply that first"));
        }
        "changed" => meanwhile(page, file),
        _ => {}
    }
    match file["executable"].as_bool() {
        Some(true) => page.say("  it is executable"),
        Some(false) => page.say("  it is executable no more"),
        None => {}
    }
    if let Some(why) = file["runs"].as_str() {
        page.say(format!(
            "  applying it amounts to running code: {}",
            text::line(why)
        ));
    }
    // What may be executed is shown whole, wherever it came from.
    let runs = file["runs"].is_string() || file["executable"] == true;
    match (file["diff"].as_str(), text_of(file, "kind")) {
        _ if is_moved && !runs => page.say("  it has another name in this change set"),
        (Some(_), _) if file["from"].is_string() && !runs => page.say(format!(
            "  it was {}, and its content stays",
            text::line(text_of(file, "from"))
        )),
        (Some(diff), _) => page.diff(diff, file["cut"] == true),
        (None, "mode") => {}
        (None, _) => page.say(
            "  (no difference is shown: not text, too large, or changed while the run worked)",
        ),
    }
    page.say("");
}

/// What the other has made of a file, before what the run has.
fn meanwhile(page: &mut Page, file: &Value) {
    page.say("  somebody changed this file since the run: it cannot be applied");
    if let Some(diff) = file["meanwhile"].as_str() {
        page.say("  changed since the run began:");
        page.diff(diff, file["meanwhileCut"] == true);
        page.say("  changed by the run:");
    }
}
