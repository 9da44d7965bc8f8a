//! `cargo xtask demo`: stories that the tests assert, told while they happen.

use crate::step::finish;
use crate::{agents, cargo};
use anyhow::Result;

/// Play a story on real processes, and tell it: the gateway, or channels
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Which
    #[arg(value_enum, default_value_t = Story::Gateway)]
    story: Story,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Story {
    /// From connecting an agent to a tampered log
    Gateway,
    /// Two peers and a person over a relay, one peer killed in mid turn
    Channels,
}

/// Builds the binaries and plays the story; fails where the story is not true.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let test = match arguments.story {
        Story::Gateway => "demo::the_demo",
        Story::Channels => {
            agents::ensure()?;
            "demo_channels::the_demo_of_channels"
        }
    };
    finish(cargo::command().args(["build", "--workspace", "--bins"]))?;
    finish(
        cargo::command()
            .args(["test", "-q", "-p", "plexus-tests", "--test", "stories"])
            .args(["--", "--exact", test, "--nocapture"])
            .env("PLEXUS_DEMO", "1"),
    )
}
