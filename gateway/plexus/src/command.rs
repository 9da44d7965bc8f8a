//! How this caller types this command, for everything that names a next one.
//!
//! Invariant: a command that is printed can be run by its reader, as it is. So it begins with what this caller
//! types: an agent's own command by its name where the caller's PATH has it, else by its path; any other as it was typed,
//! with the flags that say where the gateway is and who calls.
//!
//! Must not know: what the commands do.

use crate::settings::{Settings, Target};
use plexus_client::{Stop, shell::quote, text};
use plexus_protocol::{NextAction, NextKind};
use std::{env, ffi::OsStr, path::Path, sync::OnceLock};

/// What is left where a credential or a session ended on the way.
const AGAIN: &str = "run the same command again; if it fails again, stop and tell the owner";

static TYPED: OnceLock<String> = OnceLock::new();

/// Learns it, once: from the name under which this runs and the flags before its words.
pub(crate) fn learn(program: &OsStr, target: &Target, settings: &Settings) {
    let typed = match settings.agent.as_ref().filter(|_| settings.pinned) {
        Some(agent) => launcher(settings, agent.as_str()),
        None => typed(program, target),
    };
    TYPED.get_or_init(|| typed);
}

/// This command, as its caller types it.
pub(crate) fn name() -> &'static str {
    TYPED.get().map_or("plexus", String::as_str)
}

/// A line that the caller can type: this command with `words`.
pub(crate) fn line(words: impl std::fmt::Display) -> String {
    format!("{} {words}", name())
}

/// The line that was typed, with the id left to its caller; where it is long or has more than one line, a short one.
pub(crate) fn again_by_id() -> String {
    let words = env::args_os().skip(1);
    let words = words.map(|word| quote(&word.to_string_lossy()));
    let words = words.collect::<Vec<_>>().join(" ");
    let is_plain = words.len() <= 200 && !words.chars().any(char::is_control);
    let words = if is_plain { &*words } else { "list" };
    let program = env::args_os().next().unwrap_or_else(|| "plexus".into());
    let program = shown(Path::new(&program));
    format!("with your own id for ID: {program} --agent ID {words}")
}

/// Puts a gateway's advice, which is in the words of HTTP, into lines of this command.
pub(crate) fn advise(mut stop: Stop) -> Stop {
    let action = stop.action.as_deref();
    if let Some(said) = action.and_then(|action| said(&stop.next, action)) {
        stop.next = said;
    }
    stop
}

/// The line that an action stands for; none where the gateway's words, `next`, are for anybody.
pub(crate) fn said(next: &str, action: &NextAction) -> Option<String> {
    match action.kind {
        NextKind::Wait => {
            let pending = action.pending_id.as_ref().map(ToString::to_string);
            let item = pending.or_else(|| action.run_id.as_ref().map(ToString::to_string))?;
            Some(line(format_args!("wait {item}")))
        }
        // A sentence says more than a kind.
        NextKind::LookUp | NextKind::Ask if !is_request(next) => None,
        NextKind::LookUp => Some(match &action.id {
            Some(id) => line(format_args!("describe {id}")),
            None => line("list"),
        }),
        // Each command opens a session of its own.
        NextKind::Ask => Some(AGAIN.to_owned()),
        NextKind::Retry | NextKind::ReadFirst | NextKind::Stop => None,
    }
}

fn is_request(next: &str) -> bool {
    ["GET /", "POST /", "PUT /"]
        .iter()
        .any(|method| next.contains(method))
}

/// An agent's own command.
fn launcher(settings: &Settings, agent: &str) -> String {
    let name = format!("plexus-{agent}");
    let path = env::var_os("PATH").unwrap_or_default();
    if env::split_paths(&path).any(|folder| folder.join(&name).is_file()) {
        return name;
    }
    let bin = settings.home.agents().join(agent).join("bin");
    let mut places = [bin.join(&name), bin.join("plexus")].into_iter();
    places
        .find(|place| place.is_file())
        .map_or(name, |place| shown(&place))
}

fn typed(program: &OsStr, target: &Target) -> String {
    let mut typed = shown(Path::new(program));
    let mut flag = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            typed.push_str(&format!(" --{name} {value}"));
        }
    };
    flag("url", target.url.as_deref().map(quote));
    flag("home", target.home.as_deref().map(shown));
    flag("agent", target.agent.as_ref().map(ToString::to_string));
    typed
}

fn shown(path: &Path) -> String {
    text::line(&quote(&path.display().to_string()))
}
