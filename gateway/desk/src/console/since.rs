//! What happened since the owner was last here, as a page: the newest of one kind. The first page has how many there are.

use super::{
    activity::CallLine,
    card::Moment,
    foreign::ForeignText,
    links::{Begin, Stretch},
    shell,
};
use crate::{
    desk::Desk,
    owner::activity::{self, PastEvent, PastKind},
};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{Refused, query};
use plexus_protocol::Timestamp;
use std::sync::Arc;

/// What a kind is called: in an address, on the first page, and as a heading.
const fn words(kind: PastKind) -> (&'static str, &'static str, &'static str) {
    match kind {
        PastKind::Decided => ("decided", "decided by you", "What you decided"),
        PastKind::Done => ("done", "changes made", "Changes that were made"),
        PastKind::Read => ("read", "reads", "Calls that read"),
        PastKind::Refused => ("refused", "refused", "Calls that were refused"),
        PastKind::Failed => (
            "failed",
            "failed",
            "Calls that failed, or whose end nobody knows",
        ),
        PastKind::Agents => ("agents", "agents connected", "Agents that connected"),
        PastKind::Asked => ("asked", "requests to you", "What agents asked you for"),
    }
}

/// What happened since the last visit, in numbers.
pub(super) struct Lately {
    pub(super) before: Moment,
    pub(super) counts: Vec<Counted>,
    pub(super) cut: bool,
}

pub(super) struct Counted {
    pub(super) number: u64,
    pub(super) word: &'static str,
    pub(super) link: String,
}

/// None in the first visit.
///
/// # Errors
/// Where the log cannot be read.
pub(super) async fn lately(desk: &Arc<Desk>, now: Timestamp) -> Result<Option<Lately>, Refused> {
    let Some(before) = desk.visits.before() else {
        return Ok(None);
    };
    let found = activity::happened(desk, before, None).await?;
    let counts = PastKind::ALL.iter().zip(found.counts);
    let counted = |(kind, number): (&PastKind, u64)| {
        let (name, word, _) = words(*kind);
        Counted {
            number,
            word,
            link: format!("/admin/since?what={name}"),
        }
    };
    Ok(Some(Lately {
        before: Moment::ago(before, now),
        counts: counts
            .filter(|(_, number)| *number > 0)
            .map(counted)
            .collect(),
        cut: found.cut,
    }))
}

#[derive(Template)]
#[template(path = "since.html")]
struct Page {
    title: &'static str,
    before: Option<Moment>,
    count: u64,
    cut: bool,
    calls: Vec<CallLine>,
    others: Vec<OtherLine>,
    shown: usize,
    stretch: Stretch,
}

/// A decision, or an agent that came.
struct OtherLine {
    at: Moment,
    agent: ForeignText,
    by: String,
    words: &'static str,
    capability: Option<ForeignText>,
    item: Option<String>,
}

/// The newest of `?what=`.
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Begin(from): Begin,
    request: Request,
) -> Result<Response, Refused> {
    let what = query(&request, "what").unwrap_or_default();
    drop(request);
    let mut kinds = PastKind::ALL.into_iter();
    let kind = kinds
        .find(|kind| words(*kind).0 == what)
        .ok_or_else(super::gone)?;
    let now = desk.ledger.snapshot().time(desk.clock.now());
    let before = desk.visits.before();
    let found = match before {
        Some(before) => Some(activity::happened(&desk, before, Some(kind)).await?),
        None => None,
    };
    shell::rendered(&desk, move || {
        let (count, cut) = found
            .as_ref()
            .map_or((0, false), |found| (found.counts[kind as usize], found.cut));
        let newest: Vec<_> = found.into_iter().flat_map(|found| found.newest).collect();
        let stretch = Stretch::of(from, newest.len(), |from| {
            format!("/admin/since?what={what}&from={from}")
        });
        let newest = stretch.part(newest);
        let mut page = Page {
            title: words(kind).2,
            before: before.map(|before| Moment::ago(before, now)),
            count,
            cut,
            calls: Vec::new(),
            others: Vec::new(),
            shown: activity::PAST_KEPT,
            stretch,
        };
        for event in newest {
            match event {
                PastEvent::Call(row) => page.calls.push(CallLine::of(&row, now)),
                PastEvent::Other {
                    at,
                    agent,
                    capability,
                    item,
                    did,
                } => page.others.push(OtherLine {
                    at: Moment::ago(at, now),
                    words: match kind {
                        PastKind::Agents => "connected",
                        _ => did,
                    },
                    by: format!("/admin/agents/{agent}"),
                    agent: ForeignText::short(&agent, 60),
                    capability: capability.map(|id| ForeignText::short(&id, 120)),
                    item: item.map(|item| format!("/admin/approvals/{item}")),
                }),
            }
        }
        page.render()
    })
    .await
}
