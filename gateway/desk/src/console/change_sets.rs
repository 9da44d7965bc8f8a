//! Change sets as pages: which there are, and one of them with its differences and a choice of files.
//!
//! ```text
//! page ─preview─▶ the plan of the chosen files, with its token ─add, with both─▶ applied | refused: the folder or the choice differs
//! ```
//! Invariants: a path is text to read and, apart from that, the exact value that is applied; a page is bounded in files
//! and in rows; the plan that is applied is the one that was shown.
//!
//! Must not know: how a change set is read or applied.

use super::{
    card::{Diff, Moment, Rows},
    diff::{self, Room},
    foreign::ForeignText,
    links::Begin,
    plan::PlanView,
    sent, shell,
};
use crate::{
    acting::Narrowing,
    acts::{Named, blocking},
    desk::Desk,
    owner::changes,
    table::Reading,
};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{self, Refused, query};
use plexus_owner::changes::{
    Apply, ChangeKind, ChangeSet, ChangeSetRow, ChangeSets, DropSet, FileChange, GatewayFacts,
    Origin, PlanApply, Standing, first_line,
};
use plexus_protocol::{Digest, SourceId, Timestamp, words::counted};
use serde::Deserialize;
use std::sync::Arc;

/// Change sets that the list has, and files of a page.
const LISTED: usize = 50;
/// What the files of a page have of it without their differences, in bytes; and one of them beside its path.
const FILES: usize = 30 * 1024;
const FILE: usize = 900;
/// What a page shows of one file at first, and of all files.
const ROOM: Room = Room {
    rows: 40,
    bytes: 6 * 1024,
};
const ROOM_OF_ALL: Room = Room {
    rows: 100,
    bytes: 12 * 1024,
};

#[derive(Template)]
#[template(path = "change_sets.html")]
struct Sets {
    sets: Vec<SetRow>,
    more: u64,
    /// The change sets that cannot be read and the sources that did not say, and why.
    away: Vec<(ForeignText, ForeignText)>,
}

struct SetRow {
    id: String,
    link: String,
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
    /// Its own address, and that of the call that drops it.
    here: String,
    drop_path: String,
    source: String,
    made: Option<Moment>,
    told: Vec<(&'static str, ForeignText)>,
    files: Vec<FileView>,
    waits: bool,
    /// The last call that applied some of it: with that it cannot be dropped.
    applied: Option<String>,
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
    /// It was applied, and changed since.
    was_applied: bool,
    /// What somebody else made of it since the run began, or since it was applied.
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

    const fn name(self) -> &'static str {
        match self {
            Self::Run => "diff",
            Self::Meanwhile => "meanwhile",
        }
    }

    /// It, and whether it is a part alone.
    fn of(self, file: &FileChange) -> (Option<&str>, bool) {
        let (text, cut) = match self {
            Self::Run => (&file.diff, file.cut),
            Self::Meanwhile => (&file.meanwhile, file.meanwhile_cut),
        };
        (text.as_deref(), cut == Some(true))
    }
}

/// Which change sets there are.
pub(super) async fn list(State(desk): State<Arc<Desk>>) -> Result<Response, Refused> {
    let now = desk.clock.now();
    let (listed, _) = changes::listed(&desk, None).await;
    shell::rendered(&desk, move || Sets::of(&listed, now).render()).await
}

/// One of them; `?after=` goes on behind a file.
pub(super) async fn show(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let after = query(&request, "after");
    drop(request);
    let here = format!("/admin{}", address(&id, after.clone()));
    let set = changes::shown(&desk, &id, None, after).await?;
    let (listed, _) = changes::listed(&desk, Some(set.of.source.as_str())).await;
    let row = listed.sets.into_iter().find(|row| row.id == id);
    let applied = row.and_then(|row| Some(row.calls.last()?.to_string()));
    let now = desk.clock.now();
    shell::rendered(&desk, move || {
        SetPage::of(&set, applied, here, now).render()
    })
    .await
}

/// The body that the form of a change set sends.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ApplyForm {
    source: SourceId,
    #[serde(default, rename = "path")]
    paths: Vec<String>,
    /// The plan that was shown.
    state_token: Option<Digest>,
}

#[derive(Template)]
#[template(path = "apply_preview.html")]
struct ApplyPreview {
    plan: PlanView,
    /// The command that shows all of it.
    command: String,
}

/// The plan of applying the chosen files.
pub(super) async fn preview(
    State(desk): State<Arc<Desk>>,
    _: Narrowing,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let form: ApplyForm = sent(request).await?;
    if form.paths.is_empty() {
        return Err(Refused::malformed("Choose at least one file."));
    }
    let mut command = format!("plexusctl changes apply {id}");
    for path in &form.paths {
        command.push_str(&plexus_protocol::shell::option("path", path));
    }
    let call = PlanApply {
        id,
        source: form.source,
        paths: Some(form.paths),
    };
    let planned = changes::plan(desk.clone(), Reading, call).await?;
    let plan = PlanView::of(&planned.plan);
    shell::made(&desk, ApplyPreview { plan, command }.render())
}

/// Applies what was shown.
pub(super) async fn apply(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    Named(id): Named,
    request: Request,
) -> Result<Response, Refused> {
    let form: ApplyForm = sent(request).await?;
    let token = form.state_token;
    let call = Apply {
        id,
        source: form.source,
        paths: Some(form.paths),
        state_token: token.ok_or_else(|| Refused::malformed("Look at the plan first."))?,
    };
    Ok(reply::ok(&changes::apply(desk, narrowing, call).await?))
}

/// Further rows of `?path=`.
pub(super) async fn rows(
    State(desk): State<Arc<Desk>>,
    Named(id): Named,
    Begin(from): Begin,
    request: Request,
) -> Result<Response, Refused> {
    let path = query(&request, "path");
    let of = Difference::named(query(&request, "of").as_deref());
    drop(request);
    let set = changes::shown(&desk, &id, path, None).await?;
    let rows = move || {
        let file = set.files.first();
        let diff = file.and_then(|file| rows_of(&id, file, of, from, diff::PAGE));
        diff.map_or_else(|| Ok(String::new()), |diff| Rows { diff: &diff }.render())
    };
    let made = blocking(rows).await?;
    shell::made(&desk, made)
}

impl Sets {
    fn of(listed: &ChangeSets, now: Timestamp) -> Self {
        let beyond = |all: usize| all.saturating_sub(LISTED) as u64;
        let beyond = beyond(listed.sets.len()) + beyond(listed.unread.len());
        let sets = listed.sets.iter().take(LISTED);
        let unread = listed.unread.iter().take(LISTED);
        let unread = unread.map(|set| (set.id.as_str(), &set.why));
        let away = listed.away.iter().take(LISTED);
        let away = away.map(|away| (away.source.as_str(), &away.why));
        let away = unread.chain(away);
        let away = away.map(|(of, why)| (ForeignText::short(of, 60), ForeignText::short(why, 300)));
        Self {
            sets: sets.map(|set| SetRow::of(set, now)).collect(),
            more: listed.more.saturating_add(beyond),
            away: away.collect(),
        }
    }
}

impl SetRow {
    fn of(set: &ChangeSetRow, now: Timestamp) -> Self {
        Self {
            link: format!("/admin{}", address(&set.id, None)),
            id: set.id.clone(),
            source: ForeignText::short(set.of.source.as_str(), 60),
            agent: match &set.about.agent {
                Some(agent) => ForeignText::short(agent, 60),
                None => ForeignText::line("you"),
            },
            made: made(&set.about, now),
            told: told(&set.of, &set.about, 120),
            files: counted(set.counts.files(), "file"),
            applied: match set.applied {
                0 => "none".to_owned(),
                applied if applied == set.counts.paths() => "all".to_owned(),
                _ => set.applied_part(),
            },
        }
    }
}

impl SetPage {
    fn of(set: &ChangeSet, applied: Option<String>, here: String, now: Timestamp) -> Self {
        let mut size = 0;
        let is_listed = |file: &&FileChange| {
            let before = size;
            // As a value, to read, and in the address of its rows.
            size += 3 * file.path.len() + FILE;
            before < FILES
        };
        let files = set.files.iter().take(LISTED).take_while(is_listed);
        let mut left = ROOM_OF_ALL;
        let shown: Vec<_> = files
            .map(|file| FileView::of(&set.id, file, &mut left))
            .collect();
        let next = match shown.last().filter(|_| set.files.len() > shown.len()) {
            Some(last) => Some(last.path.clone()),
            None => set.next.as_ref().map(|next| next.after.clone()),
        };
        Self {
            here,
            drop_path: drop_path(set),
            source: set.of.source.to_string(),
            made: made(&set.about, now),
            told: told(&set.of, &set.about, 300),
            waits: shown.iter().any(|file| file.waits),
            applied,
            files: shown,
            next: next.map(|after| format!("/admin{}", address(&set.id, Some(after)))),
            id: set.id.clone(),
        }
    }
}

impl FileView {
    /// A difference for which no room is left lies at its own address.
    fn of(id: &str, file: &FileChange, left: &mut Room) -> Self {
        let mut rows = |of| {
            let room = Room {
                rows: ROOM.rows.min(left.rows),
                bytes: ROOM.bytes.min(left.bytes),
            };
            let diff = rows_of(id, file, of, 0, room)?;
            left.rows -= diff.page.rows.len().min(left.rows);
            left.bytes -= diff.page.bytes.min(left.bytes);
            Some(diff)
        };
        let short =
            |text: &Option<String>, most| text.as_ref().map(|text| ForeignText::short(text, most));
        Self {
            path: file.path.clone(),
            shown: ForeignText::short(&file.path, 300),
            kind: match (file.kind, file.executable) {
                (ChangeKind::Added, Some(true)) => "added, executable",
                (ChangeKind::Added, _) => "added",
                (ChangeKind::Removed, _) => "removed",
                (ChangeKind::Mode, Some(true)) => "becomes executable",
                (ChangeKind::Mode, _) => "is executable no more",
                (ChangeKind::Edited, Some(true)) => "edited, executable",
                (ChangeKind::Edited, _) => "edited",
            },
            state: match file.state {
                Some(Standing::Applied) => "applied",
                Some(Standing::Changed) if file.applied.is_some() => "applied, and changed since",
                Some(Standing::Changed) if file.on.is_some() => "builds on another change set",
                Some(Standing::Changed) => "changed since the run: it cannot be applied",
                Some(Standing::Waits) | None => "",
            },
            on: short(&file.on, 60),
            waits: file.state == Some(Standing::Waits),
            runs: short(&file.runs, 200),
            from: short(&file.from, 300),
            was_applied: file.applied.is_some(),
            meanwhile: rows(Difference::Meanwhile),
            diff: rows(Difference::Run),
            mode_only: file.kind == ChangeKind::Mode,
        }
    }
}

/// When the run ended.
fn made(about: &Origin, now: Timestamp) -> Option<Moment> {
    about.made.map(|made| Moment::ago(made, now))
}

/// Where a change set comes from: its folder, what its run was asked, and why; each in so many characters.
fn told(of: &GatewayFacts, about: &Origin, most: usize) -> Vec<(&'static str, ForeignText)> {
    let prompt = Some(first_line(&about.prompt)).filter(|prompt| !prompt.is_empty());
    let purpose = of.purpose.as_deref().map(first_line);
    let (ended, lacks) = (about.unfinished(), about.lacks());
    let onto = Some(about.onto.join(", ")).filter(|onto| !onto.is_empty());
    let told = [
        ("folder", of.folder.as_deref()),
        ("prompt", prompt.as_deref()),
        ("purpose", purpose.as_deref()),
        ("unfinished", ended.as_deref()),
        ("left out", lacks.as_deref()),
        ("builds on", onto.as_deref()),
        ("superseded by", about.superseded_by.as_deref()),
    ];
    told.into_iter()
        .filter_map(|(label, told)| Some((label, ForeignText::short(told?, most))))
        .collect()
}

/// The path of a change set's page, which is what the owner's call for it is.
pub(super) fn address(id: &str, after: Option<String>) -> String {
    plexus_owner::write(&plexus_owner::changes::Show {
        id: id.to_owned(),
        path: None,
        after,
    })
    .path
}

/// The path of the owner's call that drops a change set.
fn drop_path(set: &ChangeSet) -> String {
    let (id, source) = (set.id.clone(), set.of.source.clone());
    plexus_owner::write(&DropSet { id, source }).path
}

/// Rows of the difference of a file, from one on.
fn rows_of(id: &str, file: &FileChange, of: Difference, at: usize, room: Room) -> Option<Diff> {
    let (text, cut) = of.of(file);
    let page = diff::page(plexus_ipc::message::Form::Diff, text?, at, room);
    let path = plexus_owner::encoded(&file.path);
    let more = page.next.map_or(String::new(), |next| {
        format!(
            "/admin/console{}/rows?path={path}&of={}&from={next}",
            address(id, None),
            of.name()
        )
    });
    Some(Diff { page, more, cut })
}
