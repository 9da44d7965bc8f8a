//! Who does an act that gives agents more (docs/design.md#who-can-be-the-owner).
//!
//! Such an act needs a terminal on stdin and an environment without an agent's mark. This stops an agent that is eager
//! to help itself, not one that is hostile: a program of the owner's user can set an environment and make a
//! terminal. Acts that take something away need nothing.

use plexus_client::{Exit, Stop};
use plexus_owner::{
    Act, ActClass, OwnerCall, agents, audit, changes, channels, console, exposure, extensions,
    grants, lend, network, pause, pending, secrets, sign_ins, sources, undo, unsettled,
};
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

/// A call that a person makes, because it may give somebody something.
pub(crate) trait PersonsCall: OwnerCall {
    /// What it is, for who may not make it.
    const WORDS: &'static str;
}

macro_rules! persons_calls {
    ($($call:ty => $words:literal,)+) => {
        $(
            impl PersonsCall for $call {
                const WORDS: &'static str = $words;
            }
            // The table says which calls do; one that only takes away waits for nobody.
            const _: () = assert!(matches!(
                <<$call as OwnerCall>::Class as ActClass<$call>>::ACT,
                Act::Widens | Act::Either
            ));
        )+
        /// All of them.
        #[cfg(test)]
        fn persons_calls() -> Vec<plexus_owner::Tabled> {
            vec![$(plexus_owner::Tabled::of::<$call>(),)+]
        }
    };
}

persons_calls! {
    agents::ChangeLimits => "letting an agent do more",
    agents::Connect => "connecting an agent",
    agents::RenewCode => "giving an agent a code",
    audit::ForgetArchives => "deleting a part of the audit log",
    changes::Apply => "applying a change set",
    channels::Add => "adding a member",
    channels::Archive => "archiving a channel",
    channels::Create => "making a channel",
    channels::Leave => "leaving a channel",
    channels::Remove => "removing a member",
    channels::Rename => "renaming a channel",
    channels::Rotate => "renewing a key",
    channels::Say => "speaking in a channel",
    console::MakeLink => "signing in to the console",
    exposure::Expose => "exposing a capability",
    extensions::Add => "adding an extension",
    extensions::Preview => "starting an MCP server",
    grants::Give => "granting a capability",
    lend::Lend => "lending a folder",
    network::Change => "changing where the gateway listens",
    pause::Pause => "ending the pause",
    pending::Decide => "approving a request",
    pending::EndDenial => "taking a denial back",
    secrets::Write => "setting a secret",
    sign_ins::Begin => "signing in at a server",
    sign_ins::Renew => "signing in at a server",
    sources::Add => "adding a source",
    sources::Enable => "enabling a source",
    sources::Hide => "showing agents more",
    sources::Reconfigure => "changing a source",
    sources::Resume => "resuming grants",
    undo::TakeBack => "taking a change back",
    unsettled::Settle => "settling a call",
}

/// The known facts of a caller.
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
    fn call_that_widens_is_a_persons() {
        // Each with why no person is asked for.
        let others = [
            (
                "/channels/{source}/unsent/{message}",
                "it is listed no more",
            ),
            ("/default-grant/{id}", "no command"),
            ("/pending/{id}/plan", "a preview is computed again"),
            ("/source-settings/{id}", "no command"),
            (
                "/upgrade",
                "whoever installs a program has the owner's rights",
            ),
        ];
        let asked = persons_calls();
        for row in plexus_owner::TABLE {
            let widens = matches!(row.act, Act::Widens | Act::Either);
            let is_other = others.iter().any(|(path, _)| *path == row.path);
            assert_eq!(widens && !is_other, asked.contains(row), "{row:?}");
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
