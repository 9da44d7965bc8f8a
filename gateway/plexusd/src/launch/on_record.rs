//! What a launch puts on record about itself before it serves: what the opening of the ledger found, how the launch came
//! about, which sources run without a cage. The owner must be able to hear of it later.

use anyhow::bail;
use plexus_calls::kernel::Kernel;
use plexus_desk::{
    desk::Desk,
    upgrade::{LaunchOrigin, own_build},
};
use serde_json::json;

/// Keeps what the opening of the ledger found: the owner must be able to hear of it later.
pub(super) async fn note_boot(app: &Kernel, boot: &plexus_ledger::BootReport) {
    if let Some(why) = &boot.no_ballast {
        tracing::warn!(name: "ledger.no_ballast", error = why,
            "no space could be set aside for the owner's acts on a full disk"
        );
    }
    let astray: Vec<_> = boot.archives_astray.iter().map(|a| &a.file).collect();
    if !astray.is_empty() {
        tracing::error!(name: "archive.astray", detail = ?astray, "archives of the audit log are missing or were changed");
    }
    let rolled_back = boot.rolled_back.as_ref().map(ToString::to_string);
    let well = boot.clean && rolled_back.is_none() && boot.no_ballast.is_none();
    if well && astray.is_empty() {
        return;
    }
    let mut about = json!({
        "event": "ledger.open", "launch": boot.launch, "clean": boot.clean,
        "rolledBack": rolled_back, "noBallast": boot.no_ballast,
    });
    if !astray.is_empty() {
        about["archivesAstray"] = json!(astray);
    }
    app.remark(about).await;
}

/// Puts on record that this launch is another program's, or this one's again, in the same process.
pub(super) async fn say_how_it_came(app: &Desk) {
    let own = own_build();
    let about = match &app.came {
        None => return,
        Some(LaunchOrigin::From(from)) => {
            tracing::info!(name: "daemon.upgraded", detail = format!("{} to {}", from.build, own.build), "changed over");
            json!({"event": "upgraded", "from": from, "to": own, "launch": app.launch})
        }
        Some(LaunchOrigin::Back { to, why }) => {
            json!({"event": "upgrade.failed", "from": own, "to": to, "why": why, "launch": app.launch})
        }
    };
    app.remark(about).await;
}
/// Puts on record, at each launch, which sources the owner let out of their cages.
///
/// # Errors
/// There is no such source: a name that means nothing must not look as if it did.
pub(super) async fn say_what_is_unsandboxed(app: &Kernel) -> anyhow::Result<()> {
    if app.unsandboxed.is_empty() {
        return Ok(());
    }
    let known = app.ledger.snapshot();
    for source in &app.unsandboxed {
        if !known.sources.contains_key(source) {
            let why = format!("--unsandboxed-i-understand {source}: there is no such source");
            bail!(plexus_home::state_dir::Lasting(why));
        }
        tracing::error!(name: "source.uncaged", %source, "ITS WORKERS RUN WITHOUT A SANDBOX, as --unsandboxed-i-understand says");
    }
    app.remark(json!({"event": "sources.unsandboxed", "sources": app.unsandboxed}))
        .await;
    Ok(())
}
