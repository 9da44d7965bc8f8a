//! The rules of trust, one readable example each.

#[allow(dead_code, reason = "each test binary uses its own part")]
mod support;

#[path = "stories/agents.rs"]
mod agents;
#[path = "stories/approvals.rs"]
mod approvals;
#[path = "stories/bounds.rs"]
mod bounds;
#[path = "stories/calls.rs"]
mod calls;
#[path = "stories/children.rs"]
mod children;
#[path = "stories/moves.rs"]
mod moves;
#[path = "stories/proposals.rs"]
mod proposals;
#[path = "stories/requests.rs"]
mod requests;
#[path = "stories/sources.rs"]
mod sources;
#[path = "stories/turns.rs"]
mod turns;
#[path = "stories/windows.rs"]
mod windows;
