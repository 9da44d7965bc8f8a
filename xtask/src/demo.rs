//! `cargo xtask demo`: stories that the tests assert, told while they happen, or drawn.

use crate::step::finish;
use crate::{agents, cargo};
use anyhow::{Context as _, Result};

/// Where the pictures of a story go.
const PICTURES: &str = "target/pomodoro";

/// Play a story on real processes, and tell it: the gateway, channels, or the pomodoro demo
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which
    #[arg(value_enum, default_value_t = Story::Gateway)]
    story: Story,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Story {
    /// The tutorial, typed at terminals: from connecting an agent to the audit log
    Gateway,
    /// Two peers and a person over a relay, one peer killed in mid turn
    Channels,
    /// START-HERE.md: an agent without a shell builds an app in one folder; pictures below `target/pomodoro`
    Pomodoro,
    /// The moving picture of the README, drawn anew: `docs/images/first-write.svg`
    Picture,
}

/// Builds the binaries and plays the story; fails where the story is not true.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let (binary, test, told) = match arguments.story {
        Story::Gateway => (
            "stories",
            "first_day::tutorial_works_as_printed_in_terminals",
            "PLEXUS_DEMO",
        ),
        Story::Channels => {
            agents::ensure()?;
            (
                "stories",
                "demo_channels::the_demo_of_channels",
                "PLEXUS_DEMO",
            )
        }
        Story::Pomodoro => {
            agents::ensure()?;
            (
                "browser",
                "pomodoro::an_agent_without_a_shell_builds_a_timer_under_its_owners_eyes",
                "PLEXUS_DEMO",
            )
        }
        Story::Picture => (
            "browser",
            "newcomer::by_pointer_alone",
            "PLEXUS_UPDATE_GOLDENS",
        ),
    };
    std::fs::create_dir_all(PICTURES).context(PICTURES)?;
    finish(cargo::command().args(["build", "--workspace", "--bins"]))?;
    finish(
        cargo::command()
            .args(["test", "-q", "-p", "plexus-tests", "--test", binary])
            .args(["--", "--exact", test, "--nocapture"])
            .env("PLEXUS_PICTURES", std::path::absolute(PICTURES)?)
            .env(told, "1"),
    )
}
