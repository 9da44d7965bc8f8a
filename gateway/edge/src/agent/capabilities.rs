//! `GET /capabilities?q=…&limit=…`: entries of the manifest, those that fit a query best first (docs/protocol/compatibility.md).
//!
//! Invariant: it lists and compares what the session's manifest has, and nothing else.

use super::manifest::Visible;
use crate::{
    authenticate,
    edge::Edge,
    reply::{self, Refused, ok},
};
use axum::{
    extract::{Request, State},
    response::Response,
};
use plexus_search::{Document, Index};
use serde_json::{Value, json};
use std::sync::Arc;

/// Longest query, in bytes.
const QUERY_BYTES: usize = 1_000;
/// Entries of an answer to a query, where the request names no number.
const USUAL: usize = 20;
/// Most entries of an answer.
const MOST: usize = 100;

pub(super) async fn find(
    State(edge): State<Arc<Edge>>,
    request: Request,
) -> Result<Response, Refused> {
    let session = authenticate::session(&edge, request.headers())?;
    if let Some(agent) = &session.agent {
        edge.admit(agent)?;
    }
    let query = reply::query(&request, "q").unwrap_or_default();
    if query.len() > QUERY_BYTES {
        let why = format!("`q` has at most {QUERY_BYTES} bytes");
        return Err(Refused::malformed(why));
    }
    let limit = match reply::query(&request, "limit").map(|text| text.parse::<usize>()) {
        None => USUAL,
        Some(Ok(limit)) if (1..=MOST).contains(&limit) => limit,
        Some(_) => {
            let why = format!("`limit` is a whole number from 1 to {MOST}");
            return Err(Refused::malformed(why));
        }
    };
    let visible = Visible::of(&edge, session.agent.as_ref());
    let entries = visible.entries();
    let found = match query.trim() {
        "" => (0..entries.len()).collect(),
        query => Index::of(entries.iter().map(|entry| {
            let capability = entry.capability();
            Document {
                id: entry.id.as_str(),
                label: &capability.label,
                usage: &capability.describe,
                keywords: &capability.keywords,
                source: entry.source.as_str(),
            }
        }))
        .search(query),
    };
    let shown: Vec<Value> = found
        .iter()
        .take(limit)
        .map(|at| visible.shown(&edge, entries[*at]))
        .collect();
    Ok(ok(&json!({ "capabilities": shown, "found": found.len() })))
}
