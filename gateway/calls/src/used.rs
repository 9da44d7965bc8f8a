//! What agents have used of their day, from one launch to the next: `used.json` in the state directory.
//!
//! ```text
//! sweep, stop: noted up to a sequence ─start─▶ read ▸ the calls that the log has beyond it are charged
//! ```
//! Invariant: a file that is missing or cannot be read refuses nothing: counting begins with what the end of the log says.
//! If the ledger is older than the note (it was put back), what the note says was used all the same.

use crate::{kernel::Kernel, limits::Noted};
use plexus_ledger::Recorded;
use plexus_protocol::{AgentId, Timestamp};
use serde::Deserialize;

const FILE: &str = "used.json";
/// Events beyond the note that are looked at: far more than half a minute of calls. It takes some 40 ms.
const MOST: usize = 20_000;

/// Events that agents cause. After a crash the few of these that the owner caused (a connect) are charged as well.
const OF_AGENTS: [&str; 5] = [
    "invoke",
    "token.issue",
    "token.refresh",
    "handshake",
    "grant.pending",
];
/// Milliseconds.
const DAY: u64 = 86_400_000;

/// What of an event is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Of {
    agent_id: Option<AgentId>,
}

/// Notes what was used, if that has changed since it was last noted. Blocks on the disk.
pub fn note(kernel: &Kernel) {
    // The head first: what is recorded meanwhile is charged twice at most, and not forgotten.
    let Ok(head) = kernel.ledger.head() else {
        return;
    };
    let noted = kernel.limits.noted(head.seq, kernel.clock.now());
    let mut last = kernel.limits.last_noted();
    if noted.same_use(&last) {
        return;
    }
    let written = serde_json::to_vec(&noted)
        .map_err(std::io::Error::other)
        .and_then(|text| kernel.state_dir.write_private(FILE, &text));
    match written {
        Ok(()) => *last = noted,
        Err(error) => {
            tracing::warn!(name: "limits.unsaved", %error, "what agents have used could not be noted");
        }
    }
}

/// Takes up what the last launch noted, and what the log has beyond it.
pub fn go_on(kernel: &Kernel) {
    let Ok(head) = kernel.ledger.head() else {
        return;
    };
    let text = std::fs::read(kernel.state_dir.join(FILE)).unwrap_or_default();
    let noted: Noted = serde_json::from_slice(&text).unwrap_or_default();
    let beyond = noted.upto + 1..head.seq + 1;
    kernel.limits.go_on_from(noted);
    let a_day_ago = kernel.clock.now().0.saturating_sub(DAY);
    let walked = kernel.ledger.walk_back(None, beyond, MOST, |event| {
        charge(kernel, event);
        event.at() >= a_day_ago
    });
    if let Err(error) = walked {
        tracing::error!(name: "audit.unreadable", %error, "the audit log cannot be read");
    }
}

fn charge(kernel: &Kernel, event: &Recorded) {
    if !OF_AGENTS.contains(&event.event_type()) {
        return;
    }
    let of: Option<Of> = serde_json::from_str(event.json()).ok();
    if let Some(agent) = of.and_then(|of| of.agent_id) {
        // The hash stands before the JSON.
        let bytes = event.json().len() as u64 + 32;
        kernel.limits.charged(&agent, bytes, Timestamp(event.at()));
    }
}
