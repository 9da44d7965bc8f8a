//! Any client that speaks MCP: the agent's own command, and the block that the person puts into the client's configuration.
//!
//! Invariants: no file of a client is written, since each client keeps its servers elsewhere and in a form of its own; the
//! block names the agent's own command and holds no credential.

use super::{IntegrationPlan, Surroundings, launcher, plan::Want};
use plexus_protocol::AgentId;
use serde_json::json;

pub(super) fn wanted(agent: &AgentId, around: &Surroundings) -> IntegrationPlan {
    let ours = around.launcher(agent);
    let block = json!({"plexus": {"command": ours, "args": ["mcp"]}});
    IntegrationPlan {
        changes: vec![Want::File {
            path: ours,
            text: launcher(agent, around, ""),
            mode: 0o755,
        }],
        notes: vec![
            "let the client run the tools of `plexus` without asking: you are asked by Plexus"
                .to_owned(),
        ],
        by_hand: Some(block),
    }
}
