//! `cargo xtask demo`: the story that the tests assert, told while it happens.

use crate::cargo;
use crate::step::finish;
use anyhow::Result;

/// Builds the binaries and plays the story; fails where the story is not true.
pub(crate) fn run() -> Result<()> {
    finish(cargo::command().args(["build", "--workspace", "--bins"]))?;
    finish(
        cargo::command()
            .args(["test", "-q", "-p", "plexus-tests", "--test", "stories"])
            .args(["--", "--exact", "demo::the_demo", "--nocapture"])
            .env("PLEXUS_DEMO", "1"),
    )
}
