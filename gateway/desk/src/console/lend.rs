//! Lending a folder as a page: what is lent, and a form that says what an agent could do with it before it can.
//!
//! ```text
//! form ─preview─▶ what follows, with its digest ─add, with the same form and that digest─▶ lent | refused: it differs
//! ```
//! Invariant: what is lent is what was shown: the digest is of all that the form and the look at the folder came to.
//!
//! Must not know: how a folder is looked at or lent.

use super::{
    card::Moment,
    foreign::ForeignText,
    links::{Begin, Stretch},
    sent, shell,
};
use crate::{
    acting::Narrowing,
    acts::failed,
    desk::Desk,
    owner::lend::{self, PlannedLending},
    table::Reading,
};
use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_edge::reply::{self, Refused, query};
use plexus_owner::lend::{Lend, LentFolder, List, may, may_not};
use plexus_protocol::{
    Digest, EnrollmentStatus, Timestamp, capability::DAY_MS, capability::HOUR_MS,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// For how long a folder may be lent: as it travels, its words, in milliseconds.
const SPANS: [(&str, &str, u64); 4] = [
    ("1h", "1 hour", HOUR_MS),
    ("1d", "1 day", DAY_MS),
    ("7d", "7 days", 7 * DAY_MS),
    ("30d", "30 days", 30 * DAY_MS),
];

#[derive(Template)]
#[template(path = "lend.html")]
struct Page {
    rows: Vec<Row>,
    stretch: Stretch,
    agents: Vec<String>,
    agent: String,
    path: String,
    spans: Vec<(&'static str, &'static str)>,
}

struct Row {
    source: String,
    agent: String,
    path: ForeignText,
    may: String,
    until: Moment,
    is_over: bool,
    calls: String,
}

impl Row {
    fn of(lent: &LentFolder, now: Timestamp) -> Self {
        let until = lent.ended_at.unwrap_or(lent.until);
        let is_over = lent.ended_at.is_some() || until <= now;
        Self {
            source: lent.source.to_string(),
            agent: lent.agent_id.to_string(),
            path: ForeignText::short(lent.path.as_deref().unwrap_or_default(), 300),
            may: match (lent.write, lent.writes_left) {
                (false, _) => "read".to_owned(),
                (true, None) => "read and change".to_owned(),
                (true, Some(left)) => format!("read and change, {left} more without asking"),
            },
            until: match is_over {
                true => Moment::ago(until, now),
                false => Moment::left(until, now),
            },
            is_over,
            calls: super::links::calls_on(lent.agent_id.as_str(), lent.source.as_str()),
        }
    }
}

/// What is lent, and the form: `?agent=` and `?path=` fill it in.
pub(super) async fn page(
    State(desk): State<Arc<Desk>>,
    Begin(from): Begin,
    request: Request,
) -> Result<Response, Refused> {
    let [agent, path] = ["agent", "path"].map(|name| query(&request, name).unwrap_or_default());
    drop(request);
    let listed = lend::list(desk.clone(), Reading, List {}).await?;
    let state = desk.ledger.snapshot();
    let now = state.time(desk.clock.now());
    shell::rendered(&desk, move || {
        let agents = state.agents.values();
        let longest = state.settings.max_trust_window_ms;
        let stretch = Stretch::of(from, listed.lent.len(), |from| {
            format!("/admin/lend?from={from}")
        });
        Page {
            rows: stretch
                .part(&listed.lent)
                .map(|lent| Row::of(lent, now))
                .collect(),
            stretch,
            agents: agents
                .filter(|agent| agent.status != EnrollmentStatus::Revoked)
                .map(|agent| agent.id.to_string())
                .collect(),
            agent,
            path,
            spans: SPANS
                .iter()
                .filter(|(_, _, ms)| *ms <= longest)
                .map(|(name, words, _)| (*name, *words))
                .collect(),
        }
        .render()
    })
    .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LendForm {
    agent: String,
    path: String,
    span: String,
    #[serde(default)]
    write: bool,
    max_writes: Option<u32>,
    digest: Option<Digest>,
}

impl LendForm {
    fn call(&self) -> Result<Lend, Refused> {
        let span = SPANS.iter().find(|(name, ..)| *name == self.span);
        let (_, _, ms) =
            span.ok_or_else(|| Refused::malformed("this length of time is not offered"))?;
        Ok(Lend {
            agent_id: self.agent.clone(),
            path: self.path.clone(),
            write: self.write,
            for_ms: Some(*ms),
            // Of a lending that only reads there is nothing to count.
            max_writes: self.max_writes.filter(|_| self.write),
        })
    }
}

/// All that the owner is shown of a lending, but what changes by itself: the time, and the files.
#[derive(Serialize)]
struct LendingTerms<'l> {
    call: &'l Lend,
    source: &'l str,
    path: &'l str,
    capabilities: Vec<&'l str>,
    /// The lending that it replaces, as far as that is shown.
    was: Option<(bool, Timestamp)>,
}

/// The lending that this one would replace: none that has ended.
fn replaced(planned: &PlannedLending) -> Option<&LentFolder> {
    let was = planned.was.as_ref();
    was.filter(|was| was.ended_at.is_none())
}

fn digest(call: &Lend, planned: &PlannedLending) -> Result<Digest, Refused> {
    let shown = LendingTerms {
        call,
        source: planned.source.as_str(),
        path: &planned.path,
        capabilities: planned.capabilities.iter().map(|id| id.as_str()).collect(),
        was: replaced(planned).map(|was| (was.write, was.until)),
    };
    let bytes = serde_json::to_vec(&shown);
    let bytes = bytes.map_err(|error| failed(error.to_string()))?;
    Ok(Digest::of(&bytes))
}

#[derive(Template)]
#[template(path = "lend_preview.html")]
struct Preview {
    agent: ForeignText,
    source: String,
    may: ForeignText,
    may_not: &'static str,
    holds: Option<String>,
    is_repository: bool,
    until: Moment,
    was: Option<String>,
    digest: Digest,
}

/// What would follow.
pub(super) async fn preview(
    State(desk): State<Arc<Desk>>,
    _: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let call = sent::<LendForm>(request).await?.call()?;
    let (write, most) = (call.write, call.max_writes);
    let planned = lend::plan(&desk, call.clone()).await?;
    let now = desk.ledger.snapshot().time(desk.clock.now());
    let holds = planned
        .files
        .as_ref()
        .map(|count| match (count.files, count.is_more) {
            (files, true) => format!("more than {files} files"),
            (1, false) => "1 file".to_owned(),
            (files, false) => format!("{files} files"),
        });
    let page = Preview {
        agent: ForeignText::short(planned.agent.as_str(), 60),
        source: planned.source.to_string(),
        may: ForeignText::line(&may(&planned.path, write, most)),
        may_not: may_not(write),
        holds,
        is_repository: planned
            .files
            .as_ref()
            .is_some_and(|count| count.is_repository),
        until: Moment::left(planned.until, now),
        was: replaced(&planned).map(|was| {
            let until = Moment::left(was.until, now).words;
            let what = if was.write {
                "reading and changing"
            } else {
                "reading only"
            };
            format!("{what}, to end {until}")
        }),
        digest: digest(&call, &planned)?,
    };
    shell::made(&desk, page.render())
}

/// Lends what was shown.
pub(super) async fn add(
    State(desk): State<Arc<Desk>>,
    narrowing: Narrowing,
    request: Request,
) -> Result<Response, Refused> {
    let form = sent::<LendForm>(request).await?;
    let call = form.call()?;
    let planned = lend::plan(&desk, call.clone()).await?;
    if form.digest != Some(digest(&call, &planned)?) {
        return Err(Refused::malformed(
            "This is not what was shown: look at it again.",
        ));
    }
    // The folder that was looked at, whatever leads there now.
    let call = Lend {
        path: planned.path,
        ..call
    };
    let lent = lend::lend(desk, narrowing, call).await?;
    Ok(reply::ok(&lent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use plexus_protocol::{AgentId, SourceId};

    #[test]
    fn digest_covers_the_lending_that_is_replaced() {
        let source = SourceId::parse("lent-site").unwrap();
        let agent = AgentId::parse("my-cc").unwrap();
        let call = Lend {
            agent_id: "my-cc".to_owned(),
            path: "/srv/site".to_owned(),
            write: true,
            for_ms: Some(DAY_MS),
            max_writes: None,
        };
        let over = |was| PlannedLending {
            source: source.clone(),
            agent: agent.clone(),
            path: "/srv/site".to_owned(),
            until: Timestamp(DAY_MS),
            capabilities: Vec::new(),
            was,
            files: None,
        };
        let was = LentFolder {
            source: source.clone(),
            agent_id: agent.clone(),
            path: Some("/srv/site".to_owned()),
            until: Timestamp(HOUR_MS),
            write: false,
            writes_left: None,
            ended_at: None,
        };
        let of = |was| digest(&call, &over(was)).unwrap();
        let none = of(None);
        assert_ne!(none, of(Some(was.clone())));
        let longer = LentFolder {
            until: Timestamp(2 * HOUR_MS),
            ..was.clone()
        };
        assert_ne!(of(Some(was.clone())), of(Some(longer)));
        // Its count is not shown, and falls by itself; one that has ended is replaced by none.
        let used = LentFolder {
            writes_left: Some(1),
            ..was.clone()
        };
        assert_eq!(of(Some(was.clone())), of(Some(used)));
        let ended = LentFolder {
            ended_at: Some(Timestamp(1)),
            ..was
        };
        assert_eq!(none, of(Some(ended)));
    }
}
