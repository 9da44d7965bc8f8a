//! Who does an act that gives agents more (docs/design.md#who-can-be-the-owner).
//!
//! Such an act needs a terminal on stdin and an environment without an agent's mark. This stops an agent that is eager
//! to help itself, not one that is hostile: whoever runs as the owner's user can set an environment and make a
//! terminal. Acts that take something away need nothing.

use plexus_client::{Exit, Stop};
use std::io::{IsTerminal, stdin};

/// Variables that coding agents set for the commands that they run: Claude Code, Codex, Gemini CLI, Cursor, OpenCode.
/// A name that ends in `*` stands for every name that begins so.
const MARKS: [&str; 8] = [
    "CLAUDECODE",
    "CLAUDE_CODE_ENTRYPOINT",
    "CODEX_SANDBOX*",
    "CODEX_THREAD_ID",
    "GEMINI_CLI",
    "CURSOR_AGENT",
    "OPENCODE",
    "PLEXUS_AGENT_ID",
];

/// What is known of whoever acts.
pub(crate) struct CallerContext {
    /// Whether they said on the command line that they are the owner.
    pub(crate) sworn: bool,
    /// Whether stdin is a terminal.
    pub(crate) terminal: bool,
    /// A mark of an agent in the environment.
    pub(crate) mark: Option<String>,
}

impl CallerContext {
    /// Looks at this process.
    pub(crate) fn look(sworn: bool) -> Self {
        Self {
            sworn,
            terminal: stdin().is_terminal(),
            mark: find_mark(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())),
        }
    }
}

fn find_mark(names: impl IntoIterator<Item = String>) -> Option<String> {
    names.into_iter().find(|name| {
        MARKS.iter().any(|mark| match mark.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == mark,
        })
    })
}

/// Whether `caller` may do `act`, which gives agents more than they have.
///
/// # Errors
/// A refusal that names no way round.
pub(crate) fn judge(act: &str, caller: &CallerContext) -> Result<(), Stop> {
    let why = match (caller.sworn, &caller.mark, caller.terminal) {
        (true, _, _) | (false, None, true) => return Ok(()),
        (false, Some(mark), _) => {
            format!("{act} is for the owner, and {mark} says that an agent runs this")
        }
        (false, None, false) => format!("{act} is for the owner at a terminal, and stdin is none"),
    };
    let why = format!("{why} (this stops an eager agent, not a hostile one)");
    Err(Stop::new(Exit::Refused, "owner_only", why)
        .next("stop; tell the owner: run this command yourself, in a terminal of your own"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_at_a_terminal_may_an_agent_may_not() {
        let caller = |sworn, terminal, mark: Option<&str>| CallerContext {
            sworn,
            terminal,
            mark: mark.map(str::to_owned),
        };
        assert!(judge("approve", &caller(false, true, None)).is_ok());
        assert!(judge("approve", &caller(true, false, None)).is_ok());
        for refused in [
            caller(false, false, None),
            caller(false, true, Some("CLAUDECODE")),
        ] {
            let stop = judge("approve", &refused).unwrap_err();
            assert_eq!(
                (stop.exit, stop.code.as_str()),
                (Exit::Refused, "owner_only")
            );
            assert!(
                !stop.to_string().contains("--"),
                "a refusal names no way round: {stop}"
            );
        }
    }

    #[test]
    fn marks() {
        let find = |name: &str| find_mark(["PATH".to_owned(), name.to_owned()]);
        for mark in [
            "CLAUDECODE",
            "CLAUDE_CODE_ENTRYPOINT",
            "CODEX_SANDBOX_NETWORK_DISABLED",
            "CODEX_THREAD_ID",
        ] {
            assert_eq!(find(mark).as_deref(), Some(mark));
        }
        for none in ["CODEX_HOME", "CLAUDE_CONFIG_DIR", "HOME"] {
            assert_eq!(find(none), None);
        }
    }
}
