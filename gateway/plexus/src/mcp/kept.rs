//! The last list of tools, on disk, for a start without a gateway: a client that starts its servers once would miss the
//! tools for its whole session.
//!
//! Invariants: one private file for each agent and state directory, in the person's cache folder; it holds what the
//! manifest says, and no credential; a file that others may read or write is not read; losing it costs nothing else.

use crate::settings::Settings;
use plexus_client::private_file::{self, Unnamed};
use plexus_mcp::{NameLength, View};
use plexus_protocol::{AgentId, Digest};
use std::{env, path::PathBuf};

/// The longest list that is kept, in bytes.
const MAX: u64 = 8 << 20;

/// The list that was kept for this agent, where there is one.
pub(super) fn read(
    settings: &Settings,
    agent: Option<&AgentId>,
    names: NameLength,
) -> Option<View> {
    let (folder, name) = place(settings, agent?)?;
    let text = private_file::read_bounded(&folder.join(name), MAX).ok()?;
    View::named(text.as_bytes(), names).ok()
}

/// Keeps a list. A folder that cannot be written is no failure: the gateway is asked again.
pub(super) fn write(settings: &Settings, agent: Option<&AgentId>, list: &str) {
    let Some((folder, name)) = agent.and_then(|agent| place(settings, agent)) else {
        return;
    };
    if list.len() as u64 > MAX || private_file::make_dir(&folder).is_err() {
        return;
    }
    if let Ok(file) = Unnamed::create(&folder) {
        let _ = file.name(&name, list);
    }
}

fn place(settings: &Settings, agent: &AgentId) -> Option<(PathBuf, String)> {
    let home = env::var_os("HOME").filter(|home| !home.is_empty())?;
    let caches = if cfg!(target_os = "macos") {
        "Library/Caches/plexus"
    } else {
        ".cache/plexus"
    };
    // An agent of the same name may belong to another gateway.
    let whose = format!("{}\n{agent}", settings.home.path().display());
    let digest = Digest::of(whose.as_bytes()).to_string();
    let name = format!("mcp-{}.json", &digest[..16]);
    Some((PathBuf::from(home).join(caches), name))
}
