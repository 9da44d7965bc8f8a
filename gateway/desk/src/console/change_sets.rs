//! Change sets as pages: which there are, and one of them with its differences and a choice of files.
//!
//! Invariants: a path is text to read and, apart from that, the exact value that is applied; a page is bounded in files
//! and in rows.
//!
//! Must not know: how a change set is read or applied.

use super::{
    blocking,
    card::{Diff, Moment, Rows},
    diff::{self, Room},
    foreign::ForeignText,
    from, shell,
};
use crate::{acts::Named, desk::Desk, owner::changes};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, query};
use plexus_protocol::Timestamp;
use serde_json::Value;
use std::sync::Arc;

/// Change sets that the list has, and files of a page.
const LISTED: usize = 50;
/// What a page shows of one file at first.
const ROOM: Room = Room {
    rows: 120,
    bytes: 16 * 1024,
};

#[derive(Template)]
#[template(path = "change_sets.html")]
struct Sets {
    sets: Vec<SetRow>,
    more: u64,
    away: Vec<(ForeignText, ForeignText)>,
}

struct SetRow {
    id: String,
    source: ForeignText,
    agent: ForeignText,
    made: Option<Moment>,
    told: Vec<(&'static str, ForeignText)>,
    files: String,
    applied: String,
}

#[derive(Template)]
#[template(path = "change_set.html")]
struct SetPage {
    id: String,
    source: String,
    made: Option<Moment>,
    told: Vec<(&'static str, ForeignText)>,
    files: Vec<FileView>,
    waits: bool,
    next: Option<String>,
}

struct FileView {
    path: String,
    shown: ForeignText,
    kind: &'static str,
    state: &'static str,
    /// The change set that is to be applied first.
    on: Option<ForeignText>,
    waits: bool,
    runs: Option<ForeignText>,
    /// The name that it had.
    from: Option<ForeignText>,
    /// What somebody else made of it since the run began.
    meanwhile: Option<Diff>,
    diff: Option<Diff>,
    mode_only: bool,
}

/// One of the two differences of a file.
#[derive(Clone, Copy, PartialEq)]
enum Difference {
    Run,
    Meanwhile,
}

impl Difference {
    fn named(of: Option<&str>) -> Self {
        match of {
            Some("meanwhile") => Self::Meanwhile,
            _ => Self::Run,
        }
    }

    /// The members of a file that hold it, and whether it is a part alone.
    fn members(self) -> (&'static str, &'static str) {
        match self {
            Self::Run => ("diff", "cut"),
            Self::Meanwhile => ("meanwhile", "meanwhileCut"),
        }
    }
}

/// Which change sets there are.
pub(super) async fn list(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let now = desk.clock.now();
    let listed = changes::listed(&desk, None).await;
    let made = blocking(move || Sets::of(&listed, now).render()).await?;
    shell::made(&desk, made)
}

/// One of them; `?after=` goes on behind a file.
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let after = query(&request, "after");
    drop(request);
    let set = changes::shown(&desk, &id, None, after).await?;
    let now = desk.clock.now();
    let made = blocking(move || SetPage::of(&set, now).render()).await?;
    shell::made(&desk, made)
}

/// Further rows of `?path=`.
pub(super) async fn rows(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let (path, at) = (query(&request, "path"), from(&request));
    let of = Difference::named(query(&request, "of").as_deref());
    drop(request);
    let set = changes::shown(&desk, &id, path, None).await?;
    let rows = move || {
        let diff = rows_of(&id, &set["files"][0], of, at, diff::PAGE);
        diff.map_or_else(|| Ok(String::new()), |diff| Rows { diff: &diff }.render())
    };
    let made = blocking(rows).await?;
    shell::made(&desk, made)
}

impl Sets {
    fn of(listed: &Value, now: Timestamp) -> Self {
        let all = |name: &str| listed[name].as_array().map_or(&[][..], Vec::as_slice);
        let sets = all("sets");
        let beyond = sets.len().saturating_sub(LISTED) as u64;
        Self {
            sets: sets
                .iter()
                .take(LISTED)
                .map(|set| SetRow::of(set, now))
                .collect(),
            more: listed["more"].as_u64().unwrap_or_default() + beyond,
            away: all("away")
                .iter()
                .map(|one| (said(&one["source"], 60), said(&one["why"], 300)))
                .collect(),
        }
    }
}

impl SetRow {
    fn of(set: &Value, now: Timestamp) -> Self {
        let count = |name: &str| set[name].as_u64().unwrap_or_default();
        let files = count("added") + count("edited") + count("removed") + count("modes");
        Self {
            id: text(&set["id"]).to_owned(),
            source: said(&set["source"], 60),
            agent: match set["agent"].as_str() {
                Some(agent) => ForeignText::short(agent, 60),
                None => ForeignText::line("you"),
            },
            made: made(set, now),
            told: told(set, set),
            files: match files {
                1 => "1 file".to_owned(),
                files => format!("{files} files"),
            },
            applied: match count("applied") {
                0 => "none".to_owned(),
                applied if applied == files => "all".to_owned(),
                applied => format!("{applied} of {files}"),
            },
        }
    }
}

impl SetPage {
    fn of(set: &Value, now: Timestamp) -> Self {
        let id = text(&set["id"]).to_owned();
        let files = set["files"].as_array().map_or(&[][..], Vec::as_slice);
        let shown: Vec<_> = files
            .iter()
            .take(LISTED)
            .map(|file| FileView::of(&id, file))
            .collect();
        let next = match shown.last().filter(|_| files.len() > LISTED) {
            Some(last) => Some(last.path.clone()),
            None => set["next"]["after"].as_str().map(str::to_owned),
        };
        Self {
            source: text(&set["source"]).to_owned(),
            made: made(&set["about"], now),
            told: told(set, &set["about"]),
            waits: shown.iter().any(|file| file.waits),
            files: shown,
            next,
            id,
        }
    }
}

impl FileView {
    fn of(id: &str, file: &Value) -> Self {
        let executable = file["executable"].as_bool();
        Self {
            path: text(&file["path"]).to_owned(),
            shown: said(&file["path"], 300),
            kind: match (text(&file["kind"]), executable) {
                ("added", Some(true)) => "added, executable",
                ("added", _) => "added",
                ("removed", _) => "removed",
                ("mode", Some(true)) => "becomes executable",
                ("mode", _) => "is executable no more",
                (_, Some(true)) => "edited, executable",
                _ => "edited",
            },
            state: match text(&file["state"]) {
                "applied" => "applied",
                "changed" if file["on"].is_string() => "builds on another change set",
                "changed" => "changed since the run: it cannot be applied",
                _ => "",
            },
            on: file["on"].as_str().map(|on| ForeignText::short(on, 60)),
            waits: file["state"] == "waits",
            runs: file["runs"]
                .as_str()
                .map(|why| ForeignText::short(why, 200)),
            from: file["from"]
                .as_str()
                .map(|from| ForeignText::short(from, 300)),
            meanwhile: rows_of(id, file, Difference::Meanwhile, 0, ROOM),
            diff: rows_of(id, file, Difference::Run, 0, ROOM),
            mode_only: file["kind"] == "mode",
        }
    }
}

/// When the run ended.
fn made(about: &Value, now: Timestamp) -> Option<Moment> {
    let made: Option<Timestamp> = serde_json::from_value(about["made"].clone()).ok();
    made.map(|made| Moment::ago(made, now))
}

/// Where a change set comes from: its folder, what its run was asked, and why.
fn told(set: &Value, about: &Value) -> Vec<(&'static str, ForeignText)> {
    let told = [
        ("folder", &set["folder"]),
        ("prompt", &about["prompt"]),
        ("purpose", &set["purpose"]),
    ];
    let told = told.into_iter().filter(|(_, told)| told.is_string());
    told.map(|(label, told)| (label, said(told, 300))).collect()
}

/// Rows of the difference of a file, from one on.
fn rows_of(id: &str, file: &Value, of: Difference, at: usize, room: Room) -> Option<Diff> {
    let (member, cut) = of.members();
    let page = diff::page(
        plexus_ipc::message::Form::Diff,
        file[member].as_str()?,
        at,
        room,
    );
    let path = text(&file["path"]).bytes();
    let path: String = path.map(|byte| format!("%{byte:02X}")).collect();
    let more = page.next.map_or(String::new(), |next| {
        format!("/admin/console/changes/{id}/rows?path={path}&of={member}&from={next}")
    });
    let cut = file[cut] == true;
    Some(Diff { page, more, cut })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn said(value: &Value, most: usize) -> ForeignText {
    ForeignText::short(text(value), most)
}
