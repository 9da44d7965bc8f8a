//! The session and the tools of an agent that speaks MCP: kept ones, or made anew.
//!
//! Must not know: messages.

use crate::{
    authenticate,
    edge::Edge,
    mcp_agents::{MadeView, Marks},
    reply::Refused,
};
use plexus_calls::denial;
use plexus_ledger::SubmitError;
use plexus_mcp::{MAX_LISTED, Refusal, View};
use plexus_protocol::{AgentId, Digest, Effect, SessionId};
use plexus_sources::{catalogue::wire_entry, narration};
use plexus_trust::{Command, SessionProof, standing_for};
use serde_json::{Value, json};
use std::sync::Arc;

/// The session of `agent` for its credential `pat`: it ends like any other, and is opened again.
pub(super) async fn session(
    edge: &Edge,
    agent: &AgentId,
    pat: &Digest,
    client: &str,
) -> Result<SessionId, Refused> {
    let open = edge
        .mcp
        .all()
        .get(pat)
        .and_then(|kept| kept.session.clone());
    let live = open.and_then(|open| authenticate::live_session(edge, open.as_str()));
    if let Some(live) = live {
        return Ok(live.id);
    }
    let fresh = SessionId::fresh();
    let command = Command::OpenSession {
        agent: Some(agent.clone()),
        by: SessionProof::Pat(*pat),
        session: fresh.clone(),
        client: (narration::clean(client), None),
    };
    edge.admit(agent)?;
    let opened = edge.submit_for(agent, command).await;
    let is_paused = matches!(
        opened,
        Err(SubmitError::Refused(plexus_trust::Refusal::Paused))
    );
    if is_paused && edge.mcp.records_pause(pat) {
        denial::note_paused(&edge.kernel, agent, &opened).await;
    }
    opened?;
    let mut all = edge.mcp.all();
    let state = edge.ledger.snapshot();
    all.retain(|pat, _| state.agent_by_pat(pat).is_some());
    let kept = all.entry(*pat).or_default();
    (kept.session, kept.paused) = (Some(fresh.clone()), None);
    Ok(fresh)
}

/// What `agent` may see, as tools. It is made again where something of it has changed.
pub(super) fn view(edge: &Edge, agent: &AgentId, pat: &Digest) -> Arc<View> {
    let state = edge.ledger.snapshot();
    let (catalogue, now) = (edge.catalogue.load(), edge.clock.now());
    let known = state.agent(agent);
    let seen = known.map_or_else(Vec::new, |agent| catalogue.view(&state, agent, now));
    let revision = catalogue.revision;
    // A short list names all, whatever was called lately.
    let is_long = seen.len() > MAX_LISTED;
    let marks: Vec<Marks> = known.map_or_else(Vec::new, |known| {
        let lately = edge.lately.of(agent);
        let marks = seen.iter().map(|entry| {
            let grant = standing_for(&state, known, &entry.id, now);
            Marks {
                standing: grant.is_some(),
                narrowed: grant.is_some_and(|grant| grant.constraint.is_some()),
                lately: is_long && lately.contains(&entry.id),
            }
        });
        marks.collect()
    });
    let is_same = |made: &&MadeView| {
        made.revision == revision
            && made.marks == marks
            && made.ids.iter().eq(seen.iter().map(|entry| &entry.id))
    };
    let all = edge.mcp.all();
    if let Some(made) = all
        .get(pat)
        .and_then(|kept| kept.view.as_ref())
        .filter(is_same)
    {
        return made.view.clone();
    }
    drop(all);
    let entries: Vec<Value> = seen
        .iter()
        .enumerate()
        .map(|(at, entry)| {
            let agent = known.map(|known| (known, now));
            let mut shown = wire_entry(entry, &state, agent, None);
            if let Some(marks) = marks.get(at) {
                shown["lately"] = marks.lately.into();
            }
            shown
        })
        .collect();
    let manifest = json!({ "manifest": { "entries": entries } }).to_string();
    let view = View::of_manifest(manifest.as_bytes()).unwrap_or_else(|error| {
        tracing::error!(name: "mcp.no_view", %error, "a manifest of ours is not read");
        View::without_manifest(Refusal {
            code: "internal_error".into(),
            effect: Effect::None,
            message: "The gateway cannot list its capabilities.".into(),
            next: "stop; tell the owner: look at what plexusd printed".into(),
            action: None,
        })
    });
    let view = Arc::new(view);
    let made = MadeView {
        revision,
        marks,
        ids: seen.iter().map(|entry| entry.id.clone()).collect(),
        view: view.clone(),
    };
    edge.mcp.all().entry(*pat).or_default().view = Some(made);
    view
}
